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
        self.meet(node, from);
        if self.frozen {
            // As good as lost: what it would be answered is about to change.
            return Ok(());
        }
        let leading = self.is_elected().then(|| self.term());
        let mut message = fence::inward(raft, from, to, self.last(), leading)?;
        let late = match message.get_msg_type() {
            MessageType::MsgRequestVoteResponse => self.setup.mutants.planted(Mutant::LateVoteCounts),
            MessageType::MsgAppend => self.setup.mutants.planted(Mutant::LateAppendCounts),
            _ => false,
        };
        if late {
            message.term = self.raw.raft.term;
        }
        // What a member is known to hold it can not refuse: a late answer to an earlier probe would send the crate looking for
        // entries that were let go of.
        let matched = self.raw.raft.prs().get(from.0).map_or(0, |progress| progress.matched);
        if leading.is_some()
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

    /// Takes note of where a replica is that nobody introduced. One for each node: what is at the same place now took the
    /// place of the one before.
    pub(super) fn meet(&mut self, node: NodeId, replica: ReplicaId) {
        if self.places.contains_key(&replica) {
            return;
        }
        if let Some(before) = self.strangers.insert(node, replica)
            && !self.conf.contains(before)
        {
            self.places.remove(&before);
        }
        self.places.insert(replica, node);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Term;
    use crate::mutants::Mutants;
    use crate::peer::MessageKind;
    use crate::raft::terms::Recovered;

    #[test]
    fn who_claims_to_be_many_is_one() {
        let (group, replica) = (GroupId(3), ReplicaId(9));
        let members = (1..=3).map(|node| (NodeId(node), ReplicaId(node.into()), true)).collect();
        let setup = Setup {
            group,
            replica,
            members,
            seed: 1,
            election_ticks_min: 10,
            election_ticks_max: 20,
            heartbeat_ticks: 2,
            append_bytes: 1024 * 1024,
            mutants: Mutants::default(),
        };
        // It shall be a member, and knows only those that were members once.
        let mut newcomer = Group::new(setup, Recovered::default());
        for from in (4..1_000).filter(|id| *id != replica.0) {
            let raft = RaftMessage { kind: MessageKind::Heartbeat, term: Term(from), ..RaftMessage::default() };
            let message = GroupMessage { group, from: ReplicaId(from), to: replica, raft };
            newcomer.receive(NodeId(2), message).expect("it may be a member by now");
        }
        assert_eq!(newcomer.places.len(), 4);
        assert_eq!(newcomer.leader(), Some((NodeId(2), ReplicaId(999))));
        let told = (NodeId(2), ReplicaId(999));
        newcomer.introduce([told]);
        newcomer.meet(NodeId(2), ReplicaId(1_000));
        assert!(newcomer.places.contains_key(&told.1), "who was introduced is no stranger");
    }
}
