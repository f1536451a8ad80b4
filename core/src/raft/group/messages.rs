//! What members say to each other: who is listened to, and where what is said goes.
//!
//! Promises: nothing reaches the crate but through the fence, from a member at its place. Does not know how messages travel.

use raft::eraftpb::{Message, MessageType};

use super::Group;
use super::level::said;
use crate::id::{GroupId, NodeId, ReplicaId};
use crate::mutants::Mutant;
use crate::peer::{GroupMessage, RaftMessage};
use crate::raft::fence::{self, Refused};
use crate::raft::terms::{Output, Setup};

impl Group {
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
            self.campaigns += 1;
            self.invited = true;
        }
        if self.setup.mutants.planted(Mutant::DuplicateAppendTruncates) {
            self.cut_what_follows(&message);
        }
        let ((kind, commit), term) = (said(&message), message.term);
        // Errors are messages the crate does not care for; they change nothing.
        let _ = self.raw.step(message);
        self.set_timeout();
        if term == self.raw.raft.term {
            self.heard(kind, commit);
        }
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

    pub(super) fn say(&mut self, messages: Vec<Message>, output: &mut Output) {
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
}
