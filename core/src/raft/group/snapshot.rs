//! Checkpoints that travel as files: what a leader offers, and what a follower makes of it.
//!
//! Promises: what is installed is never behind what the replica has committed, and between its mark's way to the disk and
//! [`Group::install`] nothing of the group moves. Does not know which files they are, or how they are copied.

use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType};

use super::Group;
use crate::id::{Index, NodeId, ReplicaId, Term};
use crate::journal::{self, Journal};
use crate::mutants::Mutant;
use crate::raft::conf::Conf;
use crate::raft::fence::{Offered, Refused};
use crate::raft::terms::{Admission, Output};
use crate::raft::window;

impl Group {
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
        self.meet(node, from);
        if self.frozen {
            return Ok(Admission::Held);
        }
        if offer.term < self.term() {
            return Ok(Admission::Late);
        }
        // What is committed is the same everywhere; the crate takes the word of a snapshot that says otherwise.
        let known = (offer.index == self.commit()).then(|| self.raw.store().term_at(offer.index)).flatten();
        let contradicts = known.is_some_and(|known| known != offer.index_term);
        if (self.is_elected() && offer.term == self.term()) || !offer.conf.contains(to) || contradicts {
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
        if installed {
            self.raw.store().want(to.0);
        }
        self.set_timeout();
    }

    /// A checkpoint is durable: it can be offered.
    pub fn checkpointed(&mut self, index: Index, term: Term, conf: &Conf) {
        self.raw.mut_store().set_checkpoint(index, term, conf.to_raft());
    }

    /// Whether a follower copies files, or has just come back with them.
    pub fn feeds_copiers(&self) -> bool {
        self.leading() && self.raw.store().is_wanted()
    }

    /// Whether a member waits for a checkpoint that can be offered.
    pub fn lacks_checkpoint(&self) -> bool {
        self.leading() && self.raw.store().lacks_checkpoint()
    }
}
