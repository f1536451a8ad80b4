//! One replica of one group: what it proposes, holds, persists, commits and says.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState as RaftHardState, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};

use super::change::{Change, Member};
use super::conf::Conf;
use super::fence::{self, Offered, Refused};
use super::terms::{Admission, Committed, Output, Recovered, Role, Setup, Token};
use super::window::{self, Window};
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId, Term};
use crate::journal::{self, Journal, Ticket};
use crate::marks;
use crate::mutants::Mutant;
use crate::peer::{GroupMessage, RaftMessage};
use crate::rng::mix;

/// Something given to the journal, and what waits for it.
#[derive(Debug)]
struct Write {
    ticket: Ticket,
    ready: u64,
    hard: Option<(Term, ReplicaId)>,
    last: Option<(Index, Term)>,
    messages: Vec<Message>,
}

/// One replica of a group.
///
/// - a message leaves only when the hard state of the term it was written in is durable
/// - a sole voter with a write outstanding does not campaign
/// - a proposal is answered as its own only at its own index in its own term
/// - while a snapshot is being installed nothing of the group moves, and nothing is said for it
pub struct Group {
    setup: Setup,
    raw: RawNode<Window>,
    campaigns: u64,
    /// Its leader asked it to take over.
    invited: bool,
    role: Role,
    role_term: Term,
    writes: VecDeque<Write>,
    hard_ticket: Option<Ticket>,
    held: Vec<Message>,
    proposals: Vec<(Token, Entry)>,
    pending: BTreeMap<Index, (Term, Token)>,
    reads: Vec<Token>,
    rounds: BTreeMap<u64, Vec<Token>>,
    next_round: u64,
    confirmed: Vec<(Index, Vec<Token>)>,
    applied: Index,
    persisted: Index,
    conf: Conf,
    /// The entry it comes from.
    conf_index: Index,
    /// Where replicas are that this one has to do with: members, and those it was told of.
    places: BTreeMap<ReplicaId, NodeId>,
    /// A snapshot's mark is on its way to the disk.
    frozen: bool,
    /// Its state machine has lost its state: it votes and holds entries, and never campaigns.
    barred: bool,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("group", &self.setup.group)
            .field("replica", &self.setup.replica)
            .field("term", &self.term())
            .field("role", &self.role)
            .field("commit", &self.commit())
            .field("applied", &self.applied)
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}

/// The most bytes of entries in one append message.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// The most append messages on their way to one member.
const MESSAGES_INFLIGHT_MAX: usize = 64;
/// The most bytes of entries a leader appends beyond what is committed.
const UNCOMMITTED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most bytes of committed entries given out at once.
const COMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A learner that lacks no more entries than this of what is committed may vote.
const CAUGHT_UP_WITHIN: u64 = 64;

impl Group {
    /// A replica at the start of a life. `recovered.applied` is what its state machine has applied already.
    pub fn new(setup: Setup, recovered: Recovered) -> Self {
        let (last, commit) = (recovered.last(), recovered.commit());
        assert!(recovered.applied <= last && recovered.applied >= recovered.base.0, "what is applied is in the log");
        let mut hard = RaftHardState::default();
        hard.term = recovered.hard.term.0;
        hard.vote = recovered.hard.vote.0;
        hard.commit = commit.0;
        let recovered_conf = recovered.conf.is_some();
        let conf = recovered.conf.unwrap_or_else(|| Conf::of(&setup.members));
        let founding = setup.members.iter().map(|member| (member.1, member.0));
        let places = founding.chain(conf.nodes.iter().map(|(node, replica)| (*replica, *node))).collect();
        let changes: Vec<Entry> = (recovered.entries.iter())
            .filter(|entry| entry.index <= recovered.applied && fence::entry_type(entry.kind) != EntryType::EntryNormal)
            .map(|entry| entry_from_journal(entry.clone()))
            .collect();
        let entries: Vec<Entry> = recovered.entries.into_iter().map(entry_from_journal).collect();
        let mut window = Window::new(hard, conf.to_raft(), recovered.base, entries);
        // A life begins with what its last checkpoint covers.
        if recovered.base.0 > Index(0) {
            window.set_checkpoint(recovered.base.0, recovered.base.1, conf.to_raft());
        }
        let config = raft::Config {
            id: setup.replica.0,
            election_tick: setup.election_ticks_min as usize,
            heartbeat_tick: setup.heartbeat_ticks as usize,
            min_election_tick: setup.election_ticks_min as usize,
            max_election_tick: setup.election_ticks_max as usize,
            applied: recovered.applied.0,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_INFLIGHT_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, window, &logger).expect("the configuration is ours and valid");
        let mut group = Self {
            role_term: recovered.hard.term,
            setup,
            raw,
            campaigns: 0,
            invited: false,
            role: Role::Following,
            writes: VecDeque::new(),
            hard_ticket: None,
            held: Vec::new(),
            proposals: Vec::new(),
            pending: BTreeMap::new(),
            reads: Vec::new(),
            rounds: BTreeMap::new(),
            next_round: 1,
            confirmed: Vec::new(),
            applied: recovered.applied,
            persisted: last,
            conf,
            conf_index: if recovered_conf { recovered.base.0 } else { Index(0) },
            places,
            frozen: false,
            barred: false,
        };
        // The state machine applied them before there was a group to be changed.
        for change in changes {
            group.reform(&change);
        }
        group.set_timeout();
        group
    }

    /// This replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.setup.replica
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.setup.group
    }

    /// Its term.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// The leader it knows of in its term, itself included.
    pub fn leader(&self) -> Option<(NodeId, ReplicaId)> {
        let leader = ReplicaId(self.raw.raft.leader_id);
        self.places.get(&leader).map(|node| (*node, leader))
    }

    /// Whether it leads and has applied its own term's first entry.
    pub fn serving(&self) -> bool {
        matches!(self.role, Role::Leading { serving: true, .. })
    }

    /// Whether it leads.
    pub fn leading(&self) -> bool {
        matches!(self.role, Role::Leading { .. })
    }

    /// What it knows to be committed.
    pub fn commit(&self) -> Index {
        Index(self.raw.raft.raft_log.committed)
    }

    /// What is applied.
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// What of its log is durable.
    pub fn persisted(&self) -> Index {
        self.persisted
    }

    /// The entry before the first one in memory.
    pub fn base(&self) -> (Index, Term) {
        self.raw.store().base()
    }

    /// The end of its log.
    pub fn last(&self) -> Index {
        Index(self.raw.raft.raft_log.last_index())
    }

    /// The entries in memory after `after`, as the journal holds them.
    pub fn entries_after(&self, after: Index) -> Vec<journal::Entry> {
        self.raw.store().entries_after(after).map(entry_to_journal).collect()
    }

    /// The configuration it goes by.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// What its entries in memory take, in bytes of the budget.
    pub fn window_bytes(&self) -> u64 {
        self.raw.store().bytes()
    }

    /// How many voters hold the entry at `index` durably (meaningful on a leader).
    pub fn holders(&self, index: Index) -> usize {
        let voter = |id: u64| self.conf.voters.contains(&ReplicaId(id));
        self.raw.raft.prs().iter().filter(|(id, progress)| voter(**id) && progress.matched >= index.0).count()
    }

    /// What a member is known to hold durably; only a leader knows of others.
    pub fn matched(&self, replica: ReplicaId) -> Option<Index> {
        if replica == self.setup.replica {
            return Some(self.persisted);
        }
        let progress = self.raw.raft.prs().get(replica.0).filter(|_| self.leading())?;
        Some(Index(progress.matched))
    }

    /// How many voters the group has; of a joint configuration, the larger half.
    pub fn voters(&self) -> usize {
        self.conf.voters.len().max(self.conf.outgoing.len())
    }

    /// Whether it votes, and no other configuration than the one it votes in is decided by.
    pub fn votes(&self) -> bool {
        self.conf.voters.contains(&self.setup.replica) && self.conf.outgoing.is_empty()
    }

    fn sole_voter(&self) -> bool {
        let own = self.setup.replica;
        self.conf.voters == [own] && self.conf.outgoing.iter().all(|replica| *replica == own)
    }

    /// raft-rs redraws its election timeout from a thread's random numbers in many places: whatever it drew is replaced
    /// after every call, by a pure function of what is known.
    fn set_timeout(&mut self) {
        let Setup { group, replica, seed, election_ticks_min, election_ticks_max, .. } = self.setup;
        let draw = [group.0, replica.0, self.raw.raft.term, self.campaigns]
            .iter()
            .fold(mix(seed), |state, word| mix(state.rotate_left(17) ^ mix(word.wrapping_add(0x51_7c_c1_b7))));
        let span = u64::from(election_ticks_max - election_ticks_min);
        // Who never campaigns lets the lease of a leader run out first.
        let ticks =
            if self.barred { u64::from(election_ticks_max) - 1 } else { u64::from(election_ticks_min) + draw % span };
        self.raw.raft.set_randomized_election_timeout(ticks as usize);
    }

    /// One tick of time.
    pub fn tick(&mut self) {
        self.raw.mut_store().tick();
        if self.frozen {
            return;
        }
        if self.barred {
            if self.raw.raft.election_elapsed + 1 < self.raw.raft.randomized_election_timeout() {
                self.raw.tick();
                self.set_timeout();
            }
            return;
        }
        if !self.leading() {
            if self.sole_voter() {
                // raft-rs asserts that a sole voter that wins has nothing unpersisted, and nobody else could win.
                if self.writes.is_empty() && self.raw.raft.state == StateRole::Follower {
                    self.campaigns += 1;
                    // The only error is an unpromotable replica, and a voter is promotable.
                    let _ = self.raw.campaign();
                    self.set_timeout();
                }
                return;
            }
            if self.raw.raft.election_elapsed + 1 >= self.raw.raft.randomized_election_timeout() {
                self.campaigns += 1;
            }
        }
        self.raw.tick();
        self.set_timeout();
    }

    /// From now on it never campaigns, or may again: whoever leads has a state machine that can apply.
    pub fn bar(&mut self, barred: bool) {
        assert!(!barred || !self.leading(), "who leads has a state");
        self.barred = barred;
        self.set_timeout();
    }

    /// A sole voter campaigns at once: nobody else could be leading.
    pub fn tick_if_alone(&mut self) {
        if self.sole_voter() {
            self.tick();
        }
    }

    /// Asks the member that is furthest, of those heard of lately, to take over (section 3.10 of Ongaro's dissertation); until
    /// it does, or time is up, proposals are refused. False if this replica does not lead, or there is nobody to ask.
    pub fn hand_over(&mut self) -> bool {
        if !self.leading() {
            return false;
        }
        if self.raw.raft.lead_transferee.is_some() {
            return true;
        }
        let own = self.setup.replica.0;
        let progress = self.raw.raft.prs();
        // Not to who leaves: in a joint configuration only the incoming half is of use.
        let voters = progress.iter().filter(|(id, _)| **id != own && self.conf.voters.contains(&ReplicaId(**id)));
        let heir =
            voters.filter(|(_, progress)| progress.recent_active).max_by_key(|(id, progress)| (progress.matched, **id));
        let Some(heir) = heir.map(|(id, _)| *id) else {
            return false;
        };
        self.raw.transfer_leader(heir);
        self.set_timeout();
        true
    }

    /// Whether something of it is on its way to the disk.
    pub fn waits_for_disk(&self) -> bool {
        !self.writes.is_empty() || !self.held.is_empty()
    }

    /// A message from a member at `node`.
    pub fn receive(&mut self, node: NodeId, message: GroupMessage) -> Result<(), Refused> {
        let GroupMessage { group, from, to, raft } = message;
        self.acquainted(node, group, from, to)?;
        self.places.entry(from).or_insert(node);
        if self.frozen {
            // As good as lost: what it would be answered is about to change.
            return Ok(());
        }
        let leading = self.leading().then(|| self.term());
        let message = fence::inward(raft, from, to, self.last(), leading)?;
        // What a member is known to hold it can not refuse: a late answer to an earlier probe would send the crate looking for
        // entries that were let go of.
        let matched = self.raw.raft.prs().get(from.0).map_or(0, |progress| progress.matched);
        if self.leading()
            && message.get_msg_type() == MessageType::MsgAppendResponse
            && message.reject
            && message.index <= matched
        {
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgTimeoutNow {
            // raft-rs asserts that a sole voter that wins has nothing unpersisted.
            if self.sole_voter() {
                return Err(Refused::Malformed);
            }
            if self.barred {
                return Ok(());
            }
            self.campaigns += 1;
            self.invited = true;
        }
        if self.setup.mutants.planted(Mutant::DuplicateAppendTruncates) {
            self.cut_what_follows(&message);
        }
        // Errors are messages the crate does not care for; they change nothing.
        let _ = self.raw.step(message);
        self.set_timeout();
        Ok(())
    }

    /// Whether something from another replica comes from a member and is for this one.
    ///
    /// # Errors
    /// If it does not.
    pub fn acquainted(&self, node: NodeId, group: GroupId, from: ReplicaId, to: ReplicaId) -> Result<(), Refused> {
        // Who is not a member yet may know less of the members than they know of it.
        let new = !self.conf.contains(self.setup.replica);
        let member = self.places.get(&from).map_or(new, |place| *place == node);
        let ours = group == self.setup.group && to == self.setup.replica && from != to;
        if ours && member { Ok(()) } else { Err(Refused::Stranger) }
    }

    /// A leader at `node` offers the files of a checkpoint.
    ///
    /// # Errors
    /// If it is not to be listened to.
    pub fn offered(
        &mut self,
        node: NodeId,
        from: ReplicaId,
        to: ReplicaId,
        offer: &Offered,
    ) -> Result<Admission, Refused> {
        self.acquainted(node, self.setup.group, from, to)?;
        self.places.entry(from).or_insert(node);
        if self.frozen {
            return Ok(Admission::Held);
        }
        if offer.term < self.term() {
            return Ok(Admission::Late);
        }
        // What is committed is the same everywhere; the crate takes the word of a snapshot that says otherwise.
        let known = (offer.index == self.commit()).then(|| self.raw.store().term_at(offer.index)).flatten();
        let contradicts = known.is_some_and(|known| known != offer.index_term);
        if (self.leading() && offer.term == self.term()) || !offer.conf.contains(to) || contradicts {
            return Err(Refused::Malformed);
        }
        if self.needs(offer.index, offer.index_term) || self.setup.mutants.planted(Mutant::SnapshotRegress) {
            return Ok(Admission::Wanted);
        }
        // Nothing is to be copied; the crate tells the leader so.
        self.step_snapshot(from, offer.term, offer.index, offer.index_term, &offer.conf);
        Ok(Admission::Held)
    }

    /// Whether this entry is neither in its log nor covered by what is committed.
    pub fn needs(&self, index: Index, term: Term) -> bool {
        index > self.commit() && self.raw.store().term_at(index) != Some(term)
    }

    /// Whether its log, as far as it is in memory, says the same of this entry.
    pub fn agrees(&self, index: Index, term: Term) -> bool {
        self.raw.store().term_at(index).is_none_or(|here| here == term)
    }

    /// Whether a snapshot that a leader of `leader_term` offered can be installed now.
    pub fn installable(&self, leader_term: Term, index: Index, term: Term) -> bool {
        let regress = self.setup.mutants.planted(Mutant::SnapshotRegress);
        // What came in and was not carried through the crate yet is looked at first: it may hold what the snapshot does, and
        // nothing of it would become durable any more.
        let settled = !self.raw.has_ready();
        let follows = !self.leading() && leader_term == self.term();
        !self.frozen && settled && follows && (self.needs(index, term) || regress)
    }

    /// The mark of a snapshot is on its way to the disk: nothing of the group moves until [`Group::install`].
    pub fn freeze(&mut self) {
        assert!(!self.frozen && !self.leading(), "only a follower installs, one snapshot at a time");
        self.frozen = true;
    }

    /// The mark of a snapshot is durable, and the state machine is what it says: the log begins anew behind it.
    pub fn install(&mut self, from: ReplicaId, offer: &Offered, journal: &mut Journal, output: &mut Output) {
        assert!(self.frozen && self.writes.is_empty(), "what was written before the mark is durable");
        self.frozen = false;
        self.step_snapshot(from, offer.term, offer.index, offer.index_term, &offer.conf);
        let mut ready = self.raw.ready();
        let number = ready.number();
        let restored = ready.snapshot().get_metadata().index == offer.index.0;
        if restored {
            self.raw.mut_store().restore(offer.index, offer.index_term, offer.conf.to_raft());
        } else {
            assert!(self.setup.mutants.planted(Mutant::SnapshotRegress), "what is installable is restored");
        }
        if let Some(hard) = ready.hs() {
            // Term and vote are those of the frozen group: only the commit index is new.
            let (term, vote, commit) = (Term(hard.term), ReplicaId(hard.vote), Index(hard.commit));
            journal.hard_state(self.setup.group, journal::HardState { term, vote, commit }, true);
        }
        let messages = ready.take_persisted_messages();
        self.raw.advance_append_async(ready);
        self.raw.on_persist_ready(number);
        if restored {
            self.raw.advance_apply_to(offer.index.0);
        }
        self.set_timeout();
        self.conf = offer.conf.clone();
        self.conf_index = offer.index;
        self.places.extend(offer.conf.nodes.iter().map(|(node, replica)| (*replica, *node)));
        self.applied = offer.index;
        self.persisted = offer.index;
        self.say(messages, output);
    }

    fn step_snapshot(&mut self, from: ReplicaId, leader_term: Term, index: Index, term: Term, conf: &Conf) {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = from.0;
        message.to = self.setup.replica.0;
        message.term = leader_term.0;
        message.set_snapshot(window::snapshot(index, term, conf.to_raft()));
        let _ = self.raw.step(message);
        self.set_timeout();
    }

    /// What became of the snapshot that a member was offered.
    pub fn report_snapshot(&mut self, to: ReplicaId, installed: bool) {
        let status = if installed { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(to.0, status);
        self.set_timeout();
    }

    /// Whether a member is known to hold everything up to `index` durably (meaningful on a leader).
    pub fn has_matched(&self, member: ReplicaId, index: Index) -> bool {
        self.raw.raft.prs().get(member.0).is_some_and(|progress| progress.matched >= index.0)
    }

    /// A checkpoint is durable: it can be offered.
    pub fn checkpointed(&mut self, index: Index, term: Term, conf: &Conf) {
        self.raw.mut_store().set_checkpoint(index, term, conf.to_raft());
    }

    /// Whether a member waits for a checkpoint that can be offered.
    pub fn lacks_checkpoint(&self) -> bool {
        self.leading() && self.raw.store().lacks_checkpoint()
    }

    /// The planted bug: whatever follows the entries of an append is thrown away, even when all of them are held already.
    fn cut_what_follows(&mut self, message: &Message) {
        let current = message.term == self.raw.raft.term;
        let log = &mut self.raw.raft.raft_log;
        let Some(first) = message.entries.first() else { return };
        if message.get_msg_type() == MessageType::MsgAppend
            && current
            && first.index > log.committed
            && first.index <= log.last_index()
            && log.match_term(message.index, message.log_term)
        {
            log.append(&message.entries);
            log.persisted = log.persisted.min(first.index - 1);
        }
    }

    /// Offers an entry for the log. Answered by [`Output`]: committed with this token, or lost. Only while serving.
    pub fn propose(&mut self, token: Token, context: Bytes, data: Bytes) {
        assert!(self.serving(), "only a serving leader proposes");
        let mut entry = Entry::default();
        entry.context = context;
        entry.data = data;
        self.proposals.push((token, entry));
    }

    /// Asks whether what is applied now (or soon) is what a reader may see: one round for all reads of a step.
    pub fn read(&mut self, token: Token) {
        self.reads.push(token);
    }

    fn flush_proposals(&mut self, output: &mut Output) {
        if self.proposals.is_empty() {
            return;
        }
        let (tokens, entries): (Vec<Token>, Vec<Entry>) = std::mem::take(&mut self.proposals).into_iter().unzip();
        let first = self.last().0 + 1;
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.setup.replica.0;
        message.entries = entries.into();
        let taken = self.leading() && self.raw.raft.step(message).is_ok();
        self.set_timeout();
        if !taken {
            output.lost.extend(tokens);
            return;
        }
        let term = self.term();
        for (token, index) in tokens.into_iter().zip(first..) {
            self.pending.insert(Index(index), (term, token));
        }
    }

    fn flush_reads(&mut self, output: &mut Output) {
        if self.reads.is_empty() {
            return;
        }
        if !self.serving() {
            output.unreadable.append(&mut self.reads);
            return;
        }
        let round = self.next_round;
        self.next_round += 1;
        self.rounds.insert(round, std::mem::take(&mut self.reads));
        self.raw.read_index(round.to_be_bytes().to_vec());
        self.set_timeout();
    }

    /// Tells where replicas are that shall be, or were lately, members: a leader may be heard of before the entry that made it one.
    pub fn introduce(&mut self, members: impl IntoIterator<Item = (NodeId, ReplicaId)>) {
        self.places.extend(members.into_iter().map(|(node, replica)| (replica, node)));
    }

    /// Whether the configuration is what it shall be.
    pub fn is_formed(&self, target: &[Member]) -> bool {
        Change::is_there(&self.conf, target)
    }

    /// Takes the next step to the members the group shall have, if it leads and there is one to be taken now.
    pub fn form(&mut self, target: &[Member]) {
        // A change that the crate refuses becomes an empty entry without a word: it is asked only when it will not.
        if !self.serving() || self.raw.raft.has_pending_conf() || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        let (progress, commit) = (self.raw.raft.prs(), self.commit());
        let caught_up = |replica: ReplicaId| {
            progress
                .get(replica.0)
                .is_some_and(|one| one.matched.saturating_add(CAUGHT_UP_WITHIN) >= commit.0 && one.matched > 0)
        };
        let Some(change) = Change::towards(&self.conf, target, self.setup.replica, caught_up) else {
            return;
        };
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = change.encode();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.setup.replica.0;
        message.entries = vec![entry].into();
        // Refused for want of room: it is tried again.
        let _ = self.raw.step(message);
        self.set_timeout();
    }

    /// Tells those who watch which configuration the group goes by.
    pub fn tell(&self, events: &mut Effects) {
        self.conf.tell(self.setup.group, self.conf_index, events);
    }

    /// A change is committed: from here on the group goes by the next configuration.
    fn reform(&mut self, entry: &Entry) {
        let change = Change::decode(entry.data.clone()).expect("what is in the log was judged");
        self.places.extend(change.nodes.iter().map(|(node, replica)| (*replica, *node)));
        // A change that does not fit changes nothing, on every replica alike.
        if let Ok(state) = self.raw.apply_conf_change(&change.to_raft()) {
            self.conf = Conf::from_raft(&state, |replica| self.places.get(&replica).copied());
            self.raw.mut_store().set_conf(state);
        }
        self.conf_index = Index(entry.index);
        let own = self.setup.replica;
        let votes = self.conf.voters.contains(&own) || self.conf.outgoing.contains(&own);
        if self.raw.raft.state == StateRole::Leader && !votes {
            // Elected by the outgoing half. raft-rs would let it lead on, and panic once it hears what it has persisted.
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
        }
        self.set_timeout();
    }

    /// Carries everything that came in through the crate: to the journal, to the members, to the state machine.
    pub fn pump(&mut self, journal: &mut Journal, events: &mut Effects, output: &mut Output) {
        if self.frozen {
            return;
        }
        self.note_role(events, output);
        self.flush_proposals(output);
        self.flush_reads(output);
        self.note_role(events, output);
        while self.raw.has_ready() {
            self.pump_once(journal, events, output);
            self.note_role(events, output);
        }
        self.release_reads(output);
    }

    fn release_reads(&mut self, output: &mut Output) {
        let applied = self.applied;
        let (readable, waiting) = std::mem::take(&mut self.confirmed).into_iter().partition(|(at, _)| *at <= applied);
        self.confirmed = waiting;
        output.readable.extend(Vec::into_iter(readable).flat_map(|(_, tokens)| tokens));
    }

    fn pump_once(&mut self, journal: &mut Journal, events: &mut Effects, output: &mut Output) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let must_sync = ready.must_sync();
        let hard = ready.hs().map(|hard| journal::HardState {
            term: Term(hard.term),
            vote: ReplicaId(hard.vote),
            commit: Index(hard.commit),
        });
        let voted = hard.filter(|_| must_sync).map(|hard| (hard.term, hard.vote));
        let mut hard = hard;
        if let Some(hard) = hard.as_mut().filter(|_| self.setup.mutants.planted(Mutant::VoteForgotten)) {
            hard.vote = ReplicaId(0);
        }
        let entries = ready.take_entries();
        let last = entries.last().map(|entry| (Index(entry.index), Term(entry.term)));
        let ticket = if entries.is_empty() {
            let ticket = hard.map(|hard| journal.hard_state(self.setup.group, hard, !must_sync));
            ticket.filter(|_| must_sync)
        } else {
            let first = Index(entries[0].index);
            let truncate = (first <= self.raw.store().last()).then_some(first);
            for entry in &entries {
                events.event(Event::Appended {
                    group: self.setup.group,
                    index: Index(entry.index),
                    term: Term(entry.term),
                    digest: entry_digest(&entry.context, &entry.data),
                });
            }
            if truncate.is_some() {
                events.event(Event::Sometimes(marks::CONFLICT_TRUNCATED));
                self.persisted = self.persisted.min(Index(first.0 - 1));
            }
            let records = entries.iter().map(entry_to_journal).collect();
            self.raw.mut_store().append(&entries);
            Some(journal.append(self.setup.group, records, truncate, hard))
        };
        if voted.is_some() {
            self.hard_ticket = ticket;
        }
        for state in ready.take_read_states() {
            let round = state.request_ctx.as_slice().try_into().map(u64::from_be_bytes);
            if let Some(tokens) = round.ok().and_then(|round| self.rounds.remove(&round)) {
                self.confirmed.push((Index(state.index), tokens));
            }
        }
        let immediate = ready.take_messages();
        let mut after = ready.take_persisted_messages();
        let mut changes = Vec::new();
        for entry in ready.take_committed_entries() {
            let change = entry.get_entry_type() != EntryType::EntryNormal;
            if change {
                changes.push(entry.clone());
            }
            let (index, term) = (Index(entry.index), Term(entry.term));
            let token = match self.pending.remove(&index) {
                Some((proposed, token)) if proposed == term => Some(token),
                Some((_, token)) => {
                    output.lost.push(token);
                    None
                }
                None => None,
            };
            output.committed.push(Committed { index, term, change, context: entry.context, data: entry.data, token });
        }
        self.raw.advance_append_async(ready);
        for change in changes {
            self.reform(&change);
            self.tell(events);
        }
        let early = self.sole_voter() && self.setup.mutants.planted(Mutant::SoleVoterSendsEarly);
        if !early && self.hard_ticket.is_some_and(|ticket| ticket > journal.durable()) {
            self.held.extend(immediate);
        } else {
            self.say(immediate, output);
        }
        if self.setup.mutants.planted(Mutant::VoteBeforeSync) {
            let (votes, rest) =
                after.into_iter().partition(|message| message.get_msg_type() == MessageType::MsgRequestVoteResponse);
            self.say(votes, output);
            after = rest;
        }
        let behind = self.writes.back().map(|write| write.ticket);
        let write = Write { ticket: Ticket::default(), ready: number, hard: voted, last, messages: after };
        match ticket.or(behind).filter(|ticket| *ticket > journal.durable()) {
            Some(_) if self.setup.mutants.planted(Mutant::AckBeforeSync) && voted.is_none() => {
                self.persisted_by(vec![write], events, output);
            }
            Some(ticket) => self.writes.push_back(Write { ticket, ..write }),
            None => self.persisted_by(vec![write], events, output),
        }
    }

    /// The journal has become durable up to here.
    pub fn durable(&mut self, durable: Ticket, events: &mut Effects, output: &mut Output) {
        let mut done = Vec::new();
        while self.writes.front().is_some_and(|write| write.ticket <= durable) {
            done.extend(self.writes.pop_front());
        }
        if self.setup.mutants.planted(Mutant::PersistedIgnoresTerm) {
            let written = done.iter().filter_map(|write| write.last).map(|(index, _)| index).max();
            while self.writes.front().is_some_and(|write| write.last.is_some_and(|(last, _)| Some(last) <= written)) {
                done.extend(self.writes.pop_front());
            }
        }
        self.persisted_by(done, events, output);
        if !self.held.is_empty() && self.hard_ticket.is_none_or(|ticket| ticket <= durable) {
            let held = std::mem::take(&mut self.held);
            self.say(held, output);
        }
    }

    /// The crate hears of persistence before the messages that waited for it leave.
    fn persisted_by(&mut self, done: Vec<Write>, events: &mut Effects, output: &mut Output) {
        let Some(newest) = done.last() else { return };
        self.raw.on_persist_ready(newest.ready);
        self.set_timeout();
        for write in done {
            if let Some((term, vote)) = write.hard {
                events.event(Event::HardStatePersisted { group: self.setup.group, term, vote });
            }
            if let Some((index, term)) = write.last
                && self.raw.store().term_at(index) == Some(term)
            {
                self.persisted = self.persisted.max(index);
                events.event(Event::Persisted { group: self.setup.group, index, term });
            }
            self.say(write.messages, output);
        }
    }

    fn say(&mut self, messages: Vec<Message>, output: &mut Output) {
        for message in messages {
            let node_of = |to: ReplicaId| self.places.get(&to).copied();
            if message.get_msg_type() == MessageType::MsgSnapshot {
                // Held back: the files travel first.
                let to = ReplicaId(message.to);
                output
                    .snapshots
                    .extend(node_of(to).filter(|_| message.term == self.raw.raft.term).map(|node| (node, to)));
                continue;
            }
            let Some((to, raft)) = fence::outward(message) else {
                continue;
            };
            if let Some(node) = node_of(to) {
                output.messages.push((node, self.addressed(to, raft)));
            }
        }
    }

    fn addressed(&self, to: ReplicaId, raft: RaftMessage) -> GroupMessage {
        let Setup { group, replica, .. } = self.setup;
        GroupMessage { group, from: replica, to, raft }
    }

    /// The state machine has applied everything up to here.
    pub fn applied(&mut self, index: Index, events: &mut Effects, output: &mut Output) {
        assert!(index >= self.applied, "applied never goes back");
        self.applied = index;
        self.raw.advance_apply_to(index.0);
        self.set_timeout();
        if let Role::Leading { first, serving } = &mut self.role
            && !*serving
            && *first <= index
        {
            *serving = true;
            events.event(Event::Serving { group: self.setup.group, term: self.role_term });
        }
        self.release_reads(output);
    }

    /// Lets go of entries that are applied and that no member needs any more, as far as a leader knows that.
    pub fn release(&mut self) {
        if self.leading() {
            let least = self.raw.raft.prs().iter().map(|(_, progress)| progress.matched).min().unwrap_or(0);
            let to = self.applied.min(Index(least));
            self.raw.mut_store().release(to);
        }
    }

    /// Lets go of applied entries until those in memory take at most `keep_bytes`. A leader whose followers copy files keeps
    /// what follows its checkpoint, or they would never catch up. False if it keeps more for that alone.
    pub fn trim(&mut self, keep_bytes: u64, lending: bool) -> bool {
        let store = self.raw.store();
        let bound = (self.leading() && (lending || store.is_wanted())).then(|| store.checkpoint().unwrap_or_default());
        let to = bound.map_or(self.applied, |bound| bound.min(self.applied));
        self.raw.mut_store().trim(to, keep_bytes);
        self.window_bytes() <= keep_bytes || to == self.applied
    }

    fn note_role(&mut self, events: &mut Effects, output: &mut Output) {
        let term = self.term();
        let leading = self.raw.raft.state == StateRole::Leader;
        if leading == self.leading() && (!leading || term == self.role_term) {
            self.role_term = term;
            return;
        }
        if self.leading() {
            if !self.pending.is_empty() {
                events.event(Event::Sometimes(marks::PROPOSALS_LOST));
            }
            events.event(Event::Deposed { group: self.setup.group, term });
            self.role = Role::Following;
            output.lost.extend(std::mem::take(&mut self.pending).into_values().map(|(_, token)| token));
            output.unreadable.extend(std::mem::take(&mut self.rounds).into_values().flatten());
            output.unreadable.extend(std::mem::take(&mut self.confirmed).into_iter().flat_map(|(_, tokens)| tokens));
            output.unreadable.append(&mut self.reads);
            output.lost.extend(std::mem::take(&mut self.proposals).into_iter().map(|(token, _)| token));
        }
        self.role_term = term;
        if leading {
            self.role = Role::Leading { first: self.last(), serving: false };
            if std::mem::take(&mut self.invited) {
                events.event(Event::Sometimes(marks::HANDED_OVER));
            }
            events.event(Event::Elected { group: self.setup.group, term });
        }
    }

    /// The replica is given up: nobody will hear of its proposals and reads from it any more.
    pub fn abandon(self) -> Output {
        let pending = self.pending.into_values().map(|(_, token)| token);
        let rounds = self.rounds.into_values().flatten();
        let confirmed = self.confirmed.into_iter().flat_map(|(_, tokens)| tokens);
        Output {
            lost: pending.chain(self.proposals.into_iter().map(|(token, _)| token)).collect(),
            unreadable: rounds.chain(confirmed).chain(self.reads).collect(),
            ..Output::default()
        }
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        self.raw.store().check();
        let log = &self.raw.raft.raft_log;
        assert!(self.applied.0 <= log.committed, "applied is committed");
        assert!(log.committed <= log.last_index(), "committed is in the log");
        assert!(self.raw.store().base().0 <= self.applied, "only what is applied was let go of");
        assert!(i32::try_from(self.raw.raft.term).is_ok(), "a term fits a leader epoch");
        if !self.leading() {
            assert!(self.pending.is_empty(), "only a leader has proposals of its own");
        }
    }
}

/// A digest of an entry that costs little: a batch's own header holds the checksum of its payload.
pub(crate) fn entry_digest(context: &[u8], data: &[u8]) -> u64 {
    let head = &data[..data.len().min(64)];
    let sum = crc32c::crc32c_append(crc32c::crc32c(context), head);
    mix((u64::from(sum) << 32) ^ data.len() as u64)
}

fn entry_to_journal(entry: &Entry) -> journal::Entry {
    journal::Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        kind: fence::entry_kind(entry.get_entry_type()),
        context: entry.context.clone(),
        data: entry.data.clone(),
    }
}

fn entry_from_journal(entry: journal::Entry) -> Entry {
    let mut raft = Entry::default();
    raft.index = entry.index.0;
    raft.term = entry.term.0;
    raft.context = entry.context;
    raft.data = entry.data;
    raft.set_entry_type(fence::entry_type(entry.kind));
    raft
}
