//! What a client is told and what it says: plain printable data.
//!
//! Promises that an [`Outcome`] happened, that a [`Failure::Definite`] did not and never will, and that everything else is
//! [`Failure::Unknown`]. Does not know how any of it is found out.

use std::fmt;

use bytes::Bytes;

use crate::id::{DirectoryId, NodeId, Offset, TopicId};
use crate::kafka::ErrorCode;
use crate::mutants::Mutants;
use crate::time::{Duration, Instant, Timestamp};

/// How a client behaves. [`Config::new`] gives the defaults of Kafka's own clients where they have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Brokers to ask first: host and port. Others are learned from them.
    pub bootstrap: Vec<(String, u16)>,
    /// The name the brokers log.
    pub client_id: String,
    /// How long an answer may take before its connection is given up (a fetch: on top of `fetch_max_wait`).
    pub request_timeout: Duration,
    /// How long to wait before the same thing is tried again. Grows with failed connects up to a named limit.
    pub retry_backoff: Duration,
    /// How old metadata may grow before it is asked for again.
    pub metadata_max_age: Duration,
    /// How long a record may wait for company in its batch.
    pub linger: Duration,
    /// How long after its call an operation is given up.
    pub delivery_timeout: Duration,
    /// A batch is full at this many bytes, uncompressed. A larger record travels alone.
    pub batch_bytes: usize,
    /// How many bytes of records may wait to be acknowledged; beyond it records are refused at once.
    pub buffer_bytes: usize,
    /// Whether batches carry a producer id and sequences, so that a retry is not a duplicate (KIP-98). Needs `acks` -1.
    pub idempotent: bool,
    /// -1: a quorum has it; 1: the leader has it; 0: no answer is asked for.
    pub acks: i16,
    /// How many times a batch may be sent again after its first attempt.
    pub retries: u32,
    /// How many produce requests a connection may carry unanswered; at most five count while idempotent.
    pub max_in_flight: usize,
    /// How long a broker may hold a fetch until `fetch_min_bytes` are there.
    pub fetch_max_wait: Duration,
    /// How much a broker gathers before it answers a fetch early.
    pub fetch_min_bytes: i32,
    /// How much one fetch may bring.
    pub fetch_max_bytes: i32,
    /// How much one partition may bring in one fetch.
    pub fetch_partition_max_bytes: i32,
    /// Whether asking for a missing topic may create it, where the broker is willing.
    pub allow_auto_topic_creation: bool,
    /// The seed of every random choice: which broker first, which partition for a record without key.
    pub seed: u64,
    /// Planted bugs; none in a normal build.
    pub mutants: Mutants,
}

impl Config {
    /// The usual client of these brokers: idempotent, `acks` -1, five in flight.
    pub fn new(bootstrap: Vec<(String, u16)>) -> Self {
        Self {
            bootstrap,
            client_id: "tidelog".to_owned(),
            request_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(100),
            metadata_max_age: Duration::from_secs(300),
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(120),
            batch_bytes: 16 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            idempotent: true,
            acks: -1,
            retries: u32::MAX,
            max_in_flight: 5,
            fetch_max_wait: Duration::from_millis(500),
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 * 1024 * 1024,
            fetch_partition_max_bytes: 1024 * 1024,
            allow_auto_topic_creation: false,
            seed: 0,
            mutants: Mutants::default(),
        }
    }
}

/// The caller's number for an operation. The client gives it back in [`Effect::Completed`] and never looks inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment asked for by [`Effect::WakeAt`] has come. Early, late and extra wakes are harmless.
    Wake,
    /// A connection asked for by [`Effect::Connect`] stands.
    Connected {
        /// The connection.
        conn: u64,
    },
    /// Bytes came, cut anywhere.
    Received {
        /// The connection.
        conn: u64,
        /// What came.
        bytes: Bytes,
    },
    /// A connection failed, was closed by the other side, or was never established.
    Disconnected {
        /// The connection.
        conn: u64,
    },
    /// The caller wants something. Exactly one [`Effect::Completed`] follows, at the latest a little after the delivery
    /// timeout, given wakes.
    Call {
        /// The caller's number for it, unused so far.
        call: CallId,
        /// What it wants.
        operation: Operation,
    },
}

/// What the client wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Connect; say [`Input::Connected`] or [`Input::Disconnected`].
    Connect {
        /// The name of the connection, ascending, never reused.
        conn: u64,
        /// Where to.
        host: String,
        /// Which port.
        port: u16,
    },
    /// Send these slices, one after the other, after everything sent before on this connection.
    Transmit {
        /// The connection.
        conn: u64,
        /// The slices.
        bytes: Vec<Bytes>,
    },
    /// Close the connection. Nothing more need be said about it, and what is said is ignored.
    Disconnect {
        /// The connection.
        conn: u64,
    },
    /// Say [`Input::Wake`] at this moment. Replaces the moment asked for before.
    WakeAt(Instant),
    /// An operation came to its end.
    Completed {
        /// Which one.
        call: CallId,
        /// How it ended.
        result: Result<Outcome, Failure>,
    },
}

/// Something a caller can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Append a record. Gives [`Outcome::Produced`].
    Produce {
        /// To which topic.
        topic: String,
        /// To which partition; `None` lets the key decide as Kafka's Java client does.
        partition: Option<i32>,
        /// What.
        record: Record,
    },
    /// Replace the set of partitions the consumer reads, each from a place. Gives [`Outcome::Assigned`] when every place is
    /// known; an assignment that fails leaves nothing assigned.
    Assign {
        /// The partitions.
        partitions: Vec<Assignment>,
    },
    /// Go on reading an assigned partition from another place. Gives [`Outcome::Assigned`].
    Seek {
        /// The partition and the place.
        to: Assignment,
    },
    /// Take records from the assigned partitions: as soon as there are some, or none after `max_wait`. One at a time.
    /// Gives [`Outcome::Polled`]; an error of one partition fails the poll, moves no position, and is met again.
    Poll {
        /// At most this many records.
        max_records: usize,
        /// How long to wait for the first.
        max_wait: Duration,
    },
    /// Find an offset. Gives [`Outcome::Offset`].
    ListOffsets {
        /// Of which topic.
        topic: String,
        /// Of which partition.
        partition: i32,
        /// Which offset.
        at: Position,
    },
    /// Create a topic. Gives [`Outcome::Created`].
    CreateTopic {
        /// Its name.
        name: String,
        /// How many partitions; -1 is the broker's default.
        partitions: i32,
        /// How many replicas of each; -1 is the broker's default.
        replication_factor: i16,
        /// Its configuration, where it differs from the default.
        configs: Vec<(String, String)>,
    },
    /// Delete a topic. Gives [`Outcome::Deleted`].
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// Delete a topic by its id, so that no other topic of its name is hit. Gives [`Outcome::Deleted`].
    DeleteTopicById {
        /// Its id.
        id: TopicId,
    },
    /// Describe the brokers, and these topics or all of them. Gives [`Outcome::Cluster`]. A topic that is missing is
    /// described by its error, and may be created by the question if `allow_auto_topic_creation` is set.
    Describe {
        /// Which topics; `None` is all, an empty list is none.
        topics: Option<Vec<String>>,
    },
    /// Tell who votes in the controller, and how far everybody is. Gives [`Outcome::Quorum`].
    DescribeQuorum,
    /// Make a broker on this data directory what its number says, under new replica ids. Gives [`Outcome::Admitted`].
    Admit {
        /// The broker.
        node: NodeId,
        /// Its data directory.
        directory: DirectoryId,
    },
    /// Read the configuration of a topic or a broker. Gives [`Outcome::Configs`].
    DescribeConfigs {
        /// Whose.
        resource: Resource,
    },
}

/// A partition and where to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first record to read.
    pub from: Position,
}

/// A place in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// This offset.
    Offset(Offset),
    /// The log start.
    Earliest,
    /// The high watermark.
    Latest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record at or after this time; the high watermark if there is none.
    Timestamp(Timestamp),
}

/// Whose configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A topic's.
    Topic(String),
    /// A broker's.
    Broker(NodeId),
}

/// A record to append.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Decides the partition where none is named.
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In their order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// `None` is the wall time of the call.
    pub timestamp: Option<Timestamp>,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consumed {
    /// Its topic.
    pub topic: String,
    /// The id of the topic it was fetched from; zero if the broker was asked by name.
    pub topic_id: TopicId,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, by whichever clock the topic keeps.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers in their order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// How far the consumer is in one assigned partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset that the next poll gives first.
    pub position: Offset,
    /// The high watermark of the last answer; `None` before the first.
    pub high_watermark: Option<Offset>,
}

/// A broker as its cluster describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where clients reach it.
    pub host: String,
    /// At which port.
    pub port: i32,
}

/// A topic as its cluster describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero where the broker told none.
    pub id: TopicId,
    /// [`ErrorCode::None`], or why the rest is empty.
    pub error: ErrorCode,
    /// Ascending by number.
    pub partitions: Vec<Partition>,
}

/// A partition as its cluster describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// Its leader; `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch; -1 where the broker told none.
    pub leader_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that keep up.
    pub in_sync: Vec<i32>,
}

/// One key of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None` where it is secret or unset.
    pub value: Option<String>,
    /// Whether nobody set it.
    pub is_default: bool,
}

/// What an operation gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The record is in the log as `acks` asked.
    Produced {
        /// Where.
        partition: i32,
        /// Where there; `None` if the broker did not say (`acks` 0, or a duplicate it no longer remembers exactly).
        offset: Option<Offset>,
        /// The timestamp the record has in the log.
        timestamp: Timestamp,
    },
    /// The consumer reads these partitions from these offsets.
    Assigned {
        /// All that is assigned.
        progress: Vec<Progress>,
    },
    /// What was read.
    Polled {
        /// Ascending by offset within a partition.
        records: Vec<Consumed>,
        /// How far every assigned partition is, this poll included.
        progress: Vec<Progress>,
    },
    /// What was found.
    Offset {
        /// `None` if there is no such record.
        offset: Option<Offset>,
        /// The record's timestamp, where one was asked for and found.
        timestamp: Option<Timestamp>,
        /// The epoch of the leader that said so; -1 where it did not tell.
        leader_epoch: i32,
    },
    /// The topic exists now.
    Created {
        /// Its id; zero where the broker told none.
        id: TopicId,
    },
    /// The topic is gone.
    Deleted,
    /// The cluster.
    Cluster {
        /// Its id, if it has one.
        cluster_id: Option<String>,
        /// Whom to send administrative requests to; `None` while nobody knows.
        controller: Option<i32>,
        /// Ascending by id.
        brokers: Vec<Broker>,
        /// Ascending by name.
        topics: Vec<Topic>,
    },
    /// The members of the controller.
    Quorum {
        /// Who leads; `None` while nobody does.
        leader: Option<i32>,
        /// In which epoch.
        epoch: i32,
        /// What is committed.
        committed: i64,
        /// Voters first, then those that only listen, or ask to be admitted.
        members: Vec<QuorumMember>,
    },
    /// The broker is admitted.
    Admitted,
    /// The configuration, in the broker's order.
    Configs {
        /// Its keys.
        entries: Vec<ConfigEntry>,
    },
}

/// A member of the controller, or a broker that wants to be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumMember {
    /// The broker.
    pub node: i32,
    /// Its data directory; zero where the broker that was asked does not tell.
    pub directory: DirectoryId,
    /// Whether it votes.
    pub voter: bool,
    /// How far its log reaches; `None` if that is not known.
    pub end: Option<i64>,
}

/// How an operation failed: the two kinds a history distinguishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It has no effect and never will. A read always fails in this way.
    Definite {
        /// The broker's reason, or the nearest of Kafka's names for ours ([`ErrorCode::RequestTimedOut`] if time ran out).
        error: ErrorCode,
        /// A sentence for people.
        message: String,
    },
    /// It may have happened, may happen later, or never.
    Unknown {
        /// A sentence for people.
        why: String,
    },
}

impl Failure {
    pub(crate) fn definite(error: ErrorCode, message: impl Into<String>) -> Self {
        Self::Definite { error, message: message.into() }
    }

    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definite { error, message } => write!(f, "{message} ({})", error.name()),
            Self::Unknown { why } => write!(f, "{why}; it may or may not have happened"),
        }
    }
}

impl std::error::Error for Failure {}

/// Why something that was asked for is not done yet: what a broker said of it last, or did not say, before it is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The partition it is about, if it is about one.
    pub place: Option<(String, i32)>,
    /// The broker that was asked last, if its number is known.
    pub broker: Option<i32>,
    /// What it said ([`ErrorCode::NetworkException`] if it said nothing).
    pub error: ErrorCode,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error.name())?;
        if let Some((topic, partition)) = &self.place {
            write!(f, " for {topic}/{partition}")?;
        }
        // Brokers that are known by their address alone have no number yet.
        self.broker.filter(|broker| *broker >= 0).map_or(Ok(()), |broker| write!(f, " by broker {broker}"))
    }
}
