//! What a replica is told when it comes to life, what it is, and what it wants done.

use bytes::Bytes;

use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId, Term};
use crate::journal;
use crate::mutants::Mutants;
use crate::peer::GroupMessage;

use super::conf::Conf;

/// Names a proposal or a read until it is answered; the owner's to choose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// What a replica is told when it comes to life.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// The members the group began with: where each is, which replica it has, whether it votes.
    pub members: Vec<(NodeId, ReplicaId, bool)>,
    /// The seed of this incarnation of the broker.
    pub seed: u64,
    /// The fewest ticks without a leader before it campaigns.
    pub election_ticks_min: u32,
    /// One more than the most.
    pub election_ticks_max: u32,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: u32,
    /// The most bytes of entries in one append message, unless one entry has more.
    pub append_bytes: u64,
    /// Planted bugs.
    pub mutants: Mutants,
}

/// What came back from the disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The hard state.
    pub hard: journal::HardState,
    /// What the state machine has applied.
    pub applied: Index,
    /// The entry before the first one held.
    pub base: (Index, Term),
    /// What is held of the log.
    pub entries: Vec<journal::Entry>,
    /// The configuration at `base`; none if that is the first one.
    pub conf: Option<Conf>,
}

impl Recovered {
    /// The end of the log.
    pub fn last(&self) -> Index {
        Index(self.base.0.0 + self.entries.len() as u64)
    }

    /// What is known to be committed, of what is there.
    pub fn commit(&self) -> Index {
        self.hard.commit.max(self.applied).min(self.last())
    }

    /// Tells what came back, before any of it is used.
    pub fn tell(&self, setup: &Setup, events: &mut Effects) {
        events.event(Event::Recovered {
            group: setup.group,
            replica: setup.replica,
            term: self.hard.term,
            vote: self.hard.vote,
            commit: self.commit(),
            applied: self.applied,
            last: self.last(),
        });
    }
}

/// What a follower makes of an offer of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// The files are to be copied.
    Wanted,
    /// What they hold is here already, or about to be.
    Held,
    /// Its leader no longer leads.
    Late,
}

/// What a replica is in its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It follows, campaigns or learns.
    Following,
    /// It leads.
    Leading {
        /// Its own term's first entry.
        first: Index,
        /// Whether that entry is applied: before, nothing is served.
        serving: bool,
    },
}

/// A committed entry to be applied.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its index.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Whether it changes the configuration, and holds nothing for the state machine.
    pub change: bool,
    /// What its proposer said beside the data; empty for a leader's first entry.
    pub context: Bytes,
    /// Its data.
    pub data: Bytes,
    /// The proposal it comes from, if this replica made it in this term.
    pub token: Option<Token>,
}

/// What a replica wants done after it was pumped.
#[derive(Debug, Default)]
pub struct Output {
    /// To be sent.
    pub messages: Vec<(NodeId, GroupMessage)>,
    /// Members that need the files of a checkpoint.
    pub snapshots: Vec<(NodeId, ReplicaId)>,
    /// To be applied, in order; then [`Group::applied`](super::Group::applied) is called.
    pub committed: Vec<Committed>,
    /// Proposals whose outcome this replica can not know any more.
    pub lost: Vec<Token>,
    /// Reads that may be answered from what is applied now.
    pub readable: Vec<Token>,
    /// Reads that this replica can not answer any more.
    pub unreadable: Vec<Token>,
}
