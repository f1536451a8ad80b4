//! What a broker says of itself when asked: plain data for metrics, readiness and white-box checkers.

use crate::formation::Membership;
use crate::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, Offset, ReplicaId, Term};

/// The state of a broker at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The broker.
    pub node: NodeId,
    /// Its cluster; zero before it knows.
    pub cluster: ClusterId,
    /// What it is in its cluster.
    pub membership: Membership,
    /// Brokers with an empty disk that asked this one to be admitted, ascending.
    pub applicants: Vec<(NodeId, DirectoryId)>,
    /// Envelopes that were dropped because they were of another cluster or for another broker.
    pub strays: u64,
    /// Whether its vote counts wherever it shall, every group it has a replica of has a leader, and every replica has been as far
    /// as its leader was in this life.
    pub ready: bool,
    /// What it waits for if it is not ready, in a few words.
    pub waiting_for: String,
    /// Every group it has a replica of, ascending.
    pub groups: Vec<GroupStatus>,
    /// Open client connections.
    pub connections: u64,
    /// Requests that wait for an answer.
    pub waiting_requests: u64,
    /// Topics in its metadata image.
    pub topics: u64,
    /// Messages about files to be copied that did not fit, in this life.
    pub copies_refused: u64,
}

/// The state of one replica.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Which replica this broker has.
    pub replica: ReplicaId,
    /// Whether it leads, and has applied its own term's first entry.
    pub serving: bool,
    /// Whether it leads.
    pub leading: bool,
    /// Whether it votes, and no other configuration than the one it votes in is decided by.
    pub votes: bool,
    /// The leader it knows; zero is none.
    pub leader: ReplicaId,
    /// Its term.
    pub term: Term,
    /// What it knows to be committed.
    pub commit: Index,
    /// What it applied.
    pub applied: Index,
    /// What of its log is durable.
    pub persisted: Index,
    /// The first index still in memory.
    pub first: Index,
    /// The end of its log.
    pub last: Index,
    /// What its last durable checkpoint covers.
    pub checkpoint: Index,
    /// The first offset served (partitions).
    pub log_start: Offset,
    /// The offset after the last applied record (partitions): the high watermark.
    pub next_offset: Offset,
    /// The digest chained over everything applied.
    pub digest: u64,
}
