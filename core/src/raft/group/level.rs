//! Whether a replica has come as far, in this life, as its leader was.
//!
//! A leader learns from the first answer to its heartbeats that a member lacks something, and sends it, or offers files, before it
//! sends many more. Promises: a replica that is level once held all that a leader had committed when it was heard of first. Does
//! not know how far the leader is by now.

use raft::eraftpb::{Message, MessageType};

use super::Group;
use crate::id::Index;
use crate::mutants::Mutant;

/// So many heartbeats, and nothing said of anything that is not here.
const BEATS: u8 = 3;

/// What was heard of how far others are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Level {
    beats: u8,
    /// The furthest a leader was committed.
    told: Index,
    reached: bool,
}

impl Group {
    /// Whether it has come as far, in this life, as its leader was.
    pub fn level(&self) -> bool {
        self.level.reached
    }

    /// Files up to this entry are offered: that far a leader is.
    pub fn told_of(&mut self, index: Index) {
        self.level.told = self.level.told.max(index);
    }

    /// A leader said something that the crate has taken.
    pub(super) fn heard(&mut self, kind: MessageType, commit: Index) {
        match kind {
            MessageType::MsgHeartbeat => self.level.beats = self.level.beats.saturating_add(1),
            MessageType::MsgAppend => self.told_of(commit),
            _ => return,
        }
        let beats = if self.setup.mutants.planted(Mutant::LevelLate) { u8::MAX } else { BEATS };
        self.level.reached |= self.level.beats >= beats && self.level.told <= self.last();
    }

    /// It leads: nobody is further.
    pub(super) fn leads(&mut self) {
        self.level.reached = true;
    }
}

/// What a message may say of how far its sender is.
pub(super) fn said(message: &Message) -> (MessageType, Index) {
    (message.get_msg_type(), Index(message.commit))
}
