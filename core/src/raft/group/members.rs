//! Who is in the group, what a leader knows of each, and how a group comes to other members or to another leader.
//!
//! Promises: one change at a time, each from what is committed; who left leads no more. Does not know why the members shall be
//! others: [`Change`] says which step is next.

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Progress, StateRole};

use super::Group;
use crate::effect::Effects;
use crate::id::{Index, NodeId, ReplicaId};
use crate::raft::change::{Change, Member};
use crate::raft::conf::Conf;

/// A member that lacks no more entries than this of what is committed may vote, or lead.
const CAUGHT_UP_WITHIN: u64 = 64;

impl Group {
    /// The configuration it goes by.
    pub fn conf(&self) -> &Conf {
        &self.conf
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

    /// Whether a member is known to hold everything up to `index` durably (meaningful on a leader).
    pub fn has_matched(&self, member: ReplicaId, index: Index) -> bool {
        self.raw.raft.prs().get(member.0).is_some_and(|progress| progress.matched >= index.0)
    }

    /// How many voters the group has; of a joint configuration, the larger half.
    pub fn voters(&self) -> usize {
        self.conf.voters.len().max(self.conf.outgoing.len())
    }

    /// Whether it votes, and no other configuration than the one it votes in is decided by.
    pub fn votes(&self) -> bool {
        self.conf.voters.contains(&self.setup.replica) && self.conf.outgoing.is_empty()
    }

    pub(super) fn sole_voter(&self) -> bool {
        let own = self.setup.replica;
        self.conf.voters == [own] && self.conf.outgoing.iter().all(|replica| *replica == own)
    }

    /// Asks the member that is furthest, of those heard of lately that are not `unfit`, to take over (section 3.10 of Ongaro's
    /// dissertation); until it does, or time is up, proposals are refused. False if this replica does not lead, or nobody else
    /// votes: where there is nobody to ask just now, there may be soon.
    pub fn hand_over(&mut self, unfit: &[ReplicaId]) -> bool {
        if !self.leading() {
            return false;
        }
        if self.hands_over() {
            return true;
        }
        let progress = self.raw.raft.prs();
        let able = |(id, progress): &(&u64, &Progress)| {
            let (own, id) = (self.setup.replica, ReplicaId(**id));
            // Not to who leaves: in a joint configuration only the incoming half is of use.
            id != own && self.conf.voters.contains(&id) && progress.recent_active && !unfit.contains(&id)
        };
        let heir = progress.iter().filter(able).max_by_key(|(id, progress)| (progress.matched, **id));
        let Some(heir) = heir.map(|(id, _)| *id) else {
            // Who was heard of is forgotten at every check of the quorum, until the next answers.
            return !self.conf.is_alone(self.setup.replica);
        };
        self.raw.transfer_leader(heir);
        self.set_timeout();
        true
    }

    /// Whether it asked another member to take over, which has not happened yet, nor is time up.
    pub fn hands_over(&self) -> bool {
        self.leading() && self.raw.raft.lead_transferee.is_some()
    }

    /// Whether a member could lead in the place of this replica: it votes, was heard of lately, and lacks hardly anything.
    pub fn could_lead(&self, replica: ReplicaId) -> bool {
        let voters = self.conf.outgoing.is_empty() && self.conf.voters.contains(&replica);
        let progress = self.raw.raft.prs().get(replica.0);
        let able = |one: &Progress| one.recent_active && self.is_caught_up(one);
        self.serving() && voters && replica != self.setup.replica && progress.is_some_and(able)
    }

    /// Asks a member that could lead to take over, as [`Group::hand_over`] does. False if it is not asked.
    pub fn hand_over_to(&mut self, replica: ReplicaId) -> bool {
        // Who is asked while the members change may be no member when it is elected.
        if !self.could_lead(replica) || self.hands_over() || self.raw.raft.has_pending_conf() {
            return false;
        }
        self.raw.transfer_leader(replica.0);
        self.set_timeout();
        self.hands_over()
    }

    fn is_caught_up(&self, member: &Progress) -> bool {
        member.matched > 0 && member.matched.saturating_add(CAUGHT_UP_WITHIN) >= self.commit().0
    }

    /// Tells where replicas are that shall be, or were lately, members: a leader may be heard of before the entry that made it one.
    pub fn introduce(&mut self, members: impl IntoIterator<Item = (NodeId, ReplicaId)>) {
        for (node, replica) in members {
            self.places.insert(replica, node);
            self.strangers.retain(|_, stranger| *stranger != replica);
        }
    }

    /// Whether the configuration is what it shall be.
    pub fn is_formed(&self, target: &[Member]) -> bool {
        Change::is_there(&self.conf, target)
    }

    /// Takes the next step to the members the group shall have, if it leads and there is one to be taken now. `asked` is how
    /// far into the controller's log the target is from: an older one does not undo what was done for a newer one.
    pub fn form(&mut self, target: &[Member], asked: Index) {
        // A change that the crate refuses becomes an empty entry without a word: it is asked only when it will not.
        if !self.serving() || self.raw.raft.has_pending_conf() || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        let progress = self.raw.raft.prs();
        let caught_up = |replica: ReplicaId| progress.get(replica.0).is_some_and(|one| self.is_caught_up(one));
        let Some(change) = Change::towards(&self.conf, (target, asked), self.setup.replica, caught_up) else {
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
    pub(super) fn reform(&mut self, entry: &Entry) {
        let change = Change::decode(entry.data.clone()).expect("what is in the log was judged");
        self.places.extend(change.nodes.iter().map(|(node, replica)| (*replica, *node)));
        // A change that does not fit changes nothing, on every replica alike.
        if let Ok(state) = self.raw.apply_conf_change(&change.to_raft()) {
            let asked = self.conf.asked.max(change.asked);
            self.conf = Conf::from_raft(&state, asked, |replica| self.places.get(&replica).copied());
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
}
