//! What a broker says of itself as it happens, for those who watch: the white-box checkers, the trace, the log.
//!
//! Events change nothing. The simulator hashes them into the trace; the node logs a few.

use crate::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, Offset, ProducerId, ReplicaId, Term};
use crate::kafka::ErrorCode;
use crate::time::Timestamp;

/// A batch, and what a partition made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// When its leader proposed it, by that broker's clock.
    pub stamp: Timestamp,
    /// Its producer, the epoch of that, and the sequence of its first record; none without a producer id.
    pub sequence: Option<(ProducerId, i16, i32)>,
    /// How many records it has.
    pub count: i32,
    /// What came of it.
    pub fate: Fate,
}

/// What comes of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stands in the log from this offset on.
    Appended(Offset),
    /// It stood there already.
    Duplicate(Offset),
    /// It consumes no offset.
    Refused(ErrorCode),
}

/// Something that happened inside one broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A group came back from the disk (or was made, with zeros).
    Recovered {
        /// The group.
        group: GroupId,
        /// Which replica of it this broker is.
        replica: ReplicaId,
        /// Its term on disk.
        term: Term,
        /// Its vote in that term; zero is none.
        vote: ReplicaId,
        /// What it knows to be committed.
        commit: Index,
        /// What its checkpoint covers.
        applied: Index,
        /// The end of its log.
        last: Index,
    },
    /// An entry was put at the end of a replica's log, in memory; what stood at this index or after is gone.
    Appended {
        /// The group.
        group: GroupId,
        /// The entry's index.
        index: Index,
        /// The entry's term.
        term: Term,
        /// A digest of the entry's bytes.
        digest: u64,
    },
    /// Everything up to this entry of this term is durable on this replica.
    Persisted {
        /// The group.
        group: GroupId,
        /// The last durable index.
        index: Index,
        /// The term of the entry there.
        term: Term,
    },
    /// A hard state became durable.
    HardStatePersisted {
        /// The group.
        group: GroupId,
        /// The term.
        term: Term,
        /// The vote in it; zero is none.
        vote: ReplicaId,
    },
    /// An entry was applied.
    Applied {
        /// The group.
        group: GroupId,
        /// Its index.
        index: Index,
        /// Its term.
        term: Term,
        /// A digest of the state machine's externally visible result: chained over every entry applied so far.
        digest: u64,
        /// The offset the next record will get (partitions; zero for the controller).
        next_offset: Offset,
        /// The first offset served.
        log_start: Offset,
    },
    /// What came of the batch of an entry that is applied.
    Judged {
        /// The group.
        group: GroupId,
        /// The entry's index.
        index: Index,
        /// What was decided.
        judged: Judged,
    },
    /// A replica won an election.
    Elected {
        /// The group.
        group: GroupId,
        /// The term it leads.
        term: Term,
    },
    /// A leader applied its own term's first entry and serves.
    Serving {
        /// The group.
        group: GroupId,
        /// The term it leads.
        term: Term,
    },
    /// A leader no longer leads.
    Deposed {
        /// The group.
        group: GroupId,
        /// The term it now knows.
        term: Term,
    },
    /// The voters and learners of a group changed, or were learned at recovery.
    Configured {
        /// The group.
        group: GroupId,
        /// The index the configuration comes from; zero is the first.
        index: Index,
        /// Voters; in a joint configuration the incoming ones.
        voters: Vec<(NodeId, ReplicaId)>,
        /// Voters of the outgoing half of a joint configuration.
        outgoing: Vec<ReplicaId>,
    },
    /// A checkpoint mark became durable.
    Checkpointed {
        /// The group.
        group: GroupId,
        /// What it covers.
        applied: Index,
    },
    /// The broker durably knows its cluster: at every start, before any group comes back, and when it changes.
    Chartered {
        /// The cluster.
        cluster: ClusterId,
        /// This broker's disk.
        directory: DirectoryId,
        /// Its replica id in the controller group; zero if it observes.
        replica: ReplicaId,
        /// The first voters of the controller group, as the charter lists them.
        members: Vec<(NodeId, DirectoryId, ReplicaId)>,
    },
    /// Copied files are durable, and the mark that puts them in the place of all a replica has is on its way to the disk.
    Installing {
        /// The group.
        group: GroupId,
        /// What they cover.
        index: Index,
        /// The term of the entry there.
        term: Term,
    },
    /// That mark is durable, and the replica is what it says.
    Installed {
        /// The group.
        group: GroupId,
        /// What the files cover.
        index: Index,
        /// The term of the entry there.
        term: Term,
        /// The digest of the state machine, as in [`Event::Applied`].
        digest: u64,
        /// The offset the next record will get (partitions; zero for the controller).
        next_offset: Offset,
        /// The first offset served.
        log_start: Offset,
    },
    /// Files that were copied took the place of damaged ones, durably; the log of the group is what it was.
    Healed {
        /// The group.
        group: GroupId,
        /// What the files cover: no less than what was applied.
        index: Index,
        /// The term of the entry there.
        term: Term,
        /// The digest of the state machine, as in [`Event::Applied`].
        digest: u64,
        /// The offset the next record will get (partitions; zero for the controller).
        next_offset: Offset,
        /// The first offset served.
        log_start: Offset,
    },
    /// The broker has recovered everything it holds, and takes part.
    Started,
    /// A rare situation, named in [`crate::marks`], was met.
    Sometimes(&'static str),
    /// Something an operator should read.
    Note(String),
    /// The disk refused room. Said once, and again only after there was room, or when the broker has started meanwhile.
    NoRoom {
        /// How many bytes it was asked for.
        needed: u64,
        /// Whether the broker can not start without them; one that runs refuses writes only.
        starting: bool,
    },
    /// Something that takes its time began, goes on or ended, as it should.
    Progress(String),
}
