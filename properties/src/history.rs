//! What clients asked of a cluster and what they were told: the material that [`crate::client`] judges.
//!
//! Promises: the order of calls to a [`History`] is the order of the events; nothing is dropped, and what does not fit
//! together (an answer to nobody, time that goes back) is kept and judged. Every call costs constant time.
//! Does not know brokers, and does not know which answers are right.

mod json;

use serde::{Deserialize, Serialize};

pub use json::ReadError;

/// Names an operation of a history: its place among the operations, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u64);

/// One client: it sees what it was told in the order in which it was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process(pub u64);

/// One record on its way to a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The producer.
    pub producer: u64,
    /// Sends of one producer and session are ordered by the protocol itself. Idempotent: the producer id and epoch;
    /// acks=0: the connection. Otherwise of no meaning.
    pub session: u64,
    /// Whether the producer numbers its batches (KIP-98).
    pub idempotent: bool,
    /// `acks` of the request: 0, 1 or -1.
    pub acks: i8,
    /// The topic: a name used once in a history, for one life of a topic. A topic that is deleted and made again has a label
    /// for each life, `name#life`; a send that bears the name alone may have gone into any of them.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The value, unique in the history.
    pub value: u64,
    /// A hash of the key, if the client chose the partition from the key.
    pub key_hash: Option<u64>,
    /// A digest of key, value, headers and timestamp, as consumers must see them.
    pub digest: u64,
}

/// A read of one partition by one consumer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// The consumer. Its polls are one after the other.
    pub consumer: u64,
    /// The topic, as in [`Send::topic`].
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset asked for.
    pub from_offset: i64,
    /// Part of the reads after heal, from the log start to the end of every partition.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// A record as a consumer saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Where it stands.
    pub offset: i64,
    /// Its value, if it could be understood.
    pub value: Option<u64>,
    /// A digest of key, value, headers and timestamp.
    pub digest: u64,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp: i64,
}

/// What ListOffsets is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record of this timestamp or later, in milliseconds since 1970.
    Time(i64),
}

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Produce one record.
    Send(Send),
    /// Fetch from one partition.
    Poll(Poll),
    /// The consumer takes up the partition anew, at a position its next poll tells. Takes effect when invoked.
    Assign {
        /// The consumer.
        consumer: u64,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The consumer moves, on its own wish or after OFFSET_OUT_OF_RANGE. Takes effect when invoked.
    Seek {
        /// The consumer.
        consumer: u64,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where to; negative if the broker is to say.
        offset: i64,
    },
    /// ListOffsets.
    Offsets {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Which offset.
        which: Which,
    },
    /// CreateTopics.
    CreateTopic {
        /// The topic.
        topic: String,
        /// How many partitions.
        partitions: i32,
        /// Whether old records may go by themselves.
        retention: bool,
    },
    /// DeleteTopics.
    DeleteTopic {
        /// The topic: the life that was named by its id, or a name, which may hit any life of it.
        topic: String,
    },
    /// DeleteRecords: everything below an offset may go.
    DeleteRecords {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first offset that stays.
        before: i64,
    },
}

/// What a client may conclude at the end of an operation.
///
/// **Unknown** is: a timeout, a disconnect, and every retriable error (NOT_LEADER too) once the request may have been sent.
/// **Failed** is only what was rejected before the append: unknown topic, too large, invalid, not authorised, fenced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A send was acknowledged (acks=0: handed to the connection).
    Sent {
        /// Where the record stands, if the broker said.
        offset: Option<i64>,
    },
    /// A poll returned, perhaps nothing.
    Polled {
        /// The records, as returned.
        records: Vec<Seen>,
        /// Where the consumer will read on.
        next: i64,
    },
    /// ListOffsets answered.
    Offsets {
        /// The offset; none if no record is late enough.
        offset: Option<i64>,
        /// The timestamp of the record found, if asked by time.
        timestamp: Option<i64>,
    },
    /// An administrative operation succeeded.
    Done,
    /// It did not happen and never will.
    Failed {
        /// The error.
        error: String,
    },
    /// It may have happened, or may yet.
    Unknown {
        /// The error.
        error: String,
    },
}

/// The name of a topic in the label of one of its lives.
pub fn name_of(label: &str) -> &str {
    label.split_once('#').map_or(label, |(name, _)| name)
}

/// When something happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    /// Its place among all events of the history: this, not the time, says what came first.
    pub seq: u64,
    /// Microseconds since the run began.
    pub time: u64,
}

/// One operation and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Who asked.
    pub process: Process,
    /// When.
    pub invoked: Moment,
    /// What.
    pub op: Op,
    /// How often the client sent it again after an attempt of unknown outcome.
    pub retries: u32,
    /// How it ended; none is as good as unknown.
    pub completed: Option<(Moment, Outcome)>,
}

/// One event of a history: one line of its file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Invoke { id: OpId, process: Process, time: u64, op: Op },
    Retry { id: OpId, time: u64 },
    Complete { id: OpId, time: u64, outcome: Outcome },
}

/// A history. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    records: Vec<Record>,
    /// The operation of each event but the invocations' contents; enough to write the lines again in order.
    order: Vec<Step>,
    oddities: Vec<String>,
    now: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Invoked(OpId),
    Retried(OpId, u64),
    Completed(OpId),
}

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// `process` asks for `op` at `time` (microseconds).
    pub fn invoke(&mut self, process: Process, time: u64, op: Op) -> OpId {
        let id = OpId(self.records.len() as u64);
        let invoked = self.moment(time);
        self.order.push(Step::Invoked(id));
        self.records.push(Record { process, invoked, op, retries: 0, completed: None });
        id
    }

    /// The client of `id` sends it again, not knowing what became of the attempt before.
    pub fn retry(&mut self, id: OpId, time: u64) {
        self.moment(time);
        match self.slot(id) {
            Some(at) if self.records[at].completed.is_none() => {
                self.records[at].retries = self.records[at].retries.saturating_add(1);
                self.order.push(Step::Retried(id, time));
            }
            Some(_) => self.oddities.push(format!("operation {} was retried after its end", id.0)),
            None => self.oddities.push(format!("operation {} was retried and never invoked", id.0)),
        }
    }

    /// `id` ends. An operation without an end has an unknown outcome.
    pub fn complete(&mut self, id: OpId, time: u64, outcome: Outcome) {
        let moment = self.moment(time);
        match self.slot(id) {
            Some(at) if self.records[at].completed.is_none() => {
                self.records[at].completed = Some((moment, outcome));
                self.order.push(Step::Completed(id));
            }
            Some(_) => self.oddities.push(format!("operation {} ended twice", id.0)),
            None => self.oddities.push(format!("operation {} ended and was never invoked", id.0)),
        }
    }

    /// It became known which life of a topic the operation was about: only a name was known before.
    pub fn relabel(&mut self, id: OpId, label: &str) {
        let at = self.slot(id);
        let topic = match at.map(|at| &mut self.records[at].op) {
            Some(Op::Send(send)) => &mut send.topic,
            Some(Op::CreateTopic { topic, .. }) => topic,
            Some(_) | None => {
                self.oddities.push(format!("operation {} can not be about {label}", id.0));
                return;
            }
        };
        if name_of(label) == topic.as_str() {
            label.clone_into(topic);
        } else {
            self.oddities.push(format!("operation {} was about {topic} and not about {label}", id.0));
        }
    }

    /// Every operation, in the order of invocation; [`OpId`] is the place.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The operation called `id`.
    pub fn record(&self, id: OpId) -> Option<&Record> {
        self.records.get(self.slot(id)?)
    }

    /// What was reported and fits nothing.
    pub(crate) fn oddities(&self) -> &[String] {
        &self.oddities
    }

    fn slot(&self, id: OpId) -> Option<usize> {
        usize::try_from(id.0).ok().filter(|&at| at < self.records.len())
    }

    fn moment(&mut self, time: u64) -> Moment {
        if time < self.now {
            self.oddities.push(format!("time went back from {} to {time} microseconds", self.now));
        }
        self.now = self.now.max(time);
        Moment { seq: self.order.len() as u64, time }
    }
}
