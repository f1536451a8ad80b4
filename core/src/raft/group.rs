//! One replica of one group: how it comes to life, its time and its role, and the pump that carries everything through the
//! crate in one order.
//!
//! What it says, what it is asked, what of it is durable, who its members are and the files that stand for its log have a room
//! each below. Promises are bullets on [`Group`]. Does not know what an entry says, or what time it is.

mod asked;
mod disk;
mod level;
mod members;
mod messages;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{Entry, EntryType, HardState as RaftHardState, Message, MessageType};
use raft::{RawNode, StateRole};

use self::disk::{Write, entry_from_journal, entry_to_journal};
use self::level::Level;
use super::conf::Conf;
use super::fence;
use super::terms::{Committed, Output, Recovered, Role, Setup, Token};
use super::window::Window;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId, Term};
use crate::journal::{self, Journal, Ticket};
use crate::limits::LAST_RESORT_ELECTIONS;
use crate::marks;
use crate::mutants::Mutant;
use crate::rng::mix;

pub(super) use self::disk::entry_digest;

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
    level: Level,
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
    /// Of those, the ones that nobody told it of but themselves: one for each node, and nodes are members of the cluster.
    strangers: BTreeMap<NodeId, ReplicaId>,
    /// A snapshot's mark is on its way to the disk.
    frozen: bool,
    /// Its state machine has lost its state: it votes and holds entries, and never campaigns.
    barred: bool,
    /// For how many ticks it would have campaigned if it were not barred.
    leaderless: u32,
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

/// The most append messages on their way to one member.
const MESSAGES_INFLIGHT_MAX: usize = 64;
/// The most bytes of entries a leader appends beyond what is committed.
const UNCOMMITTED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most bytes of committed entries given out at once.
const COMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

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
            max_size_per_msg: setup.append_bytes,
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
            strangers: BTreeMap::new(),
            frozen: false,
            barred: false,
            leaderless: 0,
            level: Level::default(),
        };
        // The state machine applied them before there was a group to be changed.
        let forgets = group.setup.mutants.planted(Mutant::ChangesNotReplayed);
        for change in changes.into_iter().filter(|_| !forgets) {
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

    /// In which term it serves, if it does. A word of a newer term may have come already, in which somebody else may lead.
    pub fn serves_in(&self) -> Option<Term> {
        self.serving().then_some(self.role_term)
    }

    /// Whether it leads.
    pub fn leading(&self) -> bool {
        matches!(self.role, Role::Leading { .. })
    }

    /// Whether the crate has it lead: before the next pump already, when [`Group::leading`] knows of it.
    fn is_elected(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// What it knows to be committed.
    pub fn commit(&self) -> Index {
        Index(self.raw.raft.raft_log.committed)
    }

    /// What is applied.
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// The end of its log.
    pub fn last(&self) -> Index {
        Index(self.raw.raft.raft_log.last_index())
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
        let quiet = self.leading() && self.applied == self.last();
        if quiet && self.setup.mutants.planted(Mutant::IdleLeadersSilent) {
            return;
        }
        if self.barred && !self.leading() {
            return self.tick_barred();
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

    /// A tick of who does not campaign, unless there is no leader for long: perhaps nobody else has all that is committed.
    fn tick_barred(&mut self) {
        if self.raw.raft.election_elapsed + 1 < self.raw.raft.randomized_election_timeout() {
            self.leaderless = 0;
            self.raw.tick();
            self.set_timeout();
            return;
        }
        self.leaderless += 1;
        if self.leaderless >= self.setup.election_ticks_max.saturating_mul(LAST_RESORT_ELECTIONS) && !self.sole_voter()
        {
            self.leaderless = 0;
            self.campaigns += 1;
            // The only error is an unpromotable replica: one that is no voter.
            let _ = self.raw.campaign();
            self.set_timeout();
        }
    }

    /// From now on it campaigns only as a last resort, or may as any other again: who can not apply leads but to hand over.
    pub fn bar(&mut self, barred: bool) {
        assert!(!barred || !self.leading(), "who leads has a state");
        self.barred = barred;
        self.set_timeout();
    }

    /// The broker `node` is most likely down. If it is the leader known here, there is none from now on: others get this
    /// replica's vote at once, and it campaigns after the random part of its election timeout. Whether it was.
    pub fn lost(&mut self, node: NodeId) -> bool {
        if self.leading() || self.leader().is_none_or(|(leader, _)| leader != node) {
            return false;
        }
        let raft = &mut self.raw.raft;
        // Followers with a leader that was heard of lately refuse their votes. If it lives, it says so with its next heartbeat.
        raft.leader_id = raft::INVALID_ID;
        raft.election_elapsed = raft.election_elapsed.max(self.setup.election_ticks_min as usize);
        true
    }

    /// Whether it heard of no leader for so long that it wants to be one.
    pub fn campaigning(&self) -> bool {
        matches!(self.raw.raft.state, StateRole::PreCandidate | StateRole::Candidate)
    }

    /// A sole voter campaigns at once: nobody else could be leading.
    pub fn tick_if_alone(&mut self) {
        if self.sole_voter() {
            self.tick();
        }
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

    fn note_role(&mut self, events: &mut Effects, output: &mut Output) {
        let term = self.term();
        let leading = self.is_elected();
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
            let rounds = std::mem::take(&mut self.rounds);
            if !self.setup.mutants.planted(Mutant::DeposedReadsDropped) {
                output.unreadable.extend(rounds.into_values().flatten());
            }
            output.unreadable.extend(std::mem::take(&mut self.confirmed).into_iter().flat_map(|(_, tokens)| tokens));
            output.unreadable.append(&mut self.reads);
            output.lost.extend(std::mem::take(&mut self.proposals).into_iter().map(|(token, _)| token));
        }
        self.role_term = term;
        if leading {
            self.role = Role::Leading { first: self.last(), serving: false };
            self.leads();
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
