//! What clients did and saw, written down for the judge of histories.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::client::{Consumed, Failure, Record};
use tidelog_core::id::TopicId;
use tidelog_core::kafka::ErrorCode;
use tidelog_properties::History;
use tidelog_properties::history::{Op, OpId, Outcome, Poll, Process, Seen, Send, Which};

use crate::digest::Digest;
use crate::lives::{Lives, label};
use crate::oracle::Finding;

/// Writes down operations as they are invoked and end.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    history: History,
    now: u64,
    process: Actor,
    values: u64,
    acked: u64,
    polled: u64,
    lives: Lives,
    /// Which life of a topic a consumer read last in a partition.
    reading: BTreeMap<(u64, String, i32), TopicId>,
}

/// The client that acts now.
#[derive(Clone, Copy, Debug, Default)]
struct Actor(u64);

/// The digest of what consumers must see of a record.
fn digest(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(String, Option<bytes::Bytes>)], timestamp: i64) -> u64 {
    let mut digest = Digest::default();
    let mut part = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => {
            digest.word(1);
            digest.bytes(bytes);
        }
        None => digest.word(0),
    };
    part(key);
    part(value);
    for (name, value) in headers {
        part(Some(name.as_bytes()));
        part(value.as_deref());
    }
    digest.word(timestamp as u64);
    digest.value()
}

fn hash(key: Option<&[u8]>) -> u64 {
    let mut digest = Digest::default();
    digest.bytes(key.unwrap_or_default());
    digest.value()
}

/// The number in a value, if the value is one of ours.
pub(crate) fn number(value: Option<&[u8]>) -> Option<u64> {
    let head = value?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*head))
}

impl Recorder {
    /// Everything from now on is done by this client at this moment.
    pub(crate) fn at(&mut self, now: u64, process: u64) {
        self.now = now;
        self.process = Actor(process);
    }

    /// A number no other record has.
    pub(crate) fn value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn invoke(&mut self, op: Op) -> OpId {
        self.history.invoke(Process(self.process.0), self.now, op)
    }

    /// Names whose topics are deleted and made again.
    pub(crate) fn mortal(&mut self, names: BTreeSet<String>) {
        self.lives = Lives::new(names);
    }

    /// Where records went that were produced by name.
    pub(crate) fn lives(&mut self) -> &mut Lives {
        &mut self.lives
    }

    /// A topic that will not be the only one of its name was made.
    pub(crate) fn topic_made(&mut self, id: OpId, name: &str, topic: TopicId) {
        self.history.relabel(id, &label(name, topic));
    }

    /// Any operation but a send or a poll begins.
    pub(crate) fn begin(&mut self, op: Op) -> OpId {
        self.invoke(op)
    }

    /// An operation ends.
    pub(crate) fn end(&mut self, id: OpId, outcome: Outcome) {
        self.history.complete(id, self.now, outcome);
    }

    /// An operation fails.
    pub(crate) fn fail(&mut self, id: OpId, failure: &Failure) {
        self.end(
            id,
            match failure {
                Failure::Definite { error, message } => {
                    Outcome::Failed { error: format!("{} {message}", error.name()) }
                }
                Failure::Unknown { why } => Outcome::Unknown { error: why.clone() },
            },
        );
    }

    /// A poll of several partitions fails: only those it is about are told why.
    pub(crate) fn fail_poll(&mut self, id: OpId, failure: &Failure) {
        let about = match (self.history.record(id).map(|record| &record.op), failure) {
            (Some(Op::Poll(poll)), Failure::Definite { error: ErrorCode::OffsetOutOfRange, message }) => {
                message.contains(&format!("of {}/{} is", poll.topic, poll.partition))
            }
            (_, Failure::Definite { .. } | Failure::Unknown { .. }) => true,
        };
        if about {
            self.fail(id, failure);
        } else {
            self.end(id, Outcome::Failed { error: "another partition of the poll failed".to_owned() });
        }
    }

    /// A record is handed to the client.
    pub(crate) fn send(&mut self, how: &Sending<'_>, record: &Record, value: u64) -> OpId {
        let timestamp = record.timestamp.map_or(0, |timestamp| timestamp.0);
        let id = self.invoke(Op::Send(Send {
            producer: self.process.0,
            session: if how.acks == 0 { value } else { 0 },
            idempotent: how.idempotent,
            acks: how.acks as i8,
            topic: how.topic.to_owned(),
            partition: how.partition,
            value,
            key_hash: how.by_key.then(|| hash(record.key.as_deref())),
            digest: digest(record.key.as_deref(), record.value.as_deref(), &record.headers, timestamp),
        }));
        if how.may_repeat {
            // The client does not tell when it sends a record again: every record of one that may, may come twice.
            self.history.retry(id, self.now);
        }
        id
    }

    /// A record was acknowledged by this partition.
    pub(crate) fn landed(&mut self, id: OpId, partition: i32) {
        if let Some(Op::Send(send)) = self.history.record(id).map(|record| &record.op) {
            assert_eq!(send.partition, partition, "the client chose the partition that the Java client chooses");
        }
    }

    /// A record was acknowledged.
    pub(crate) fn sent(&mut self, id: OpId, offset: Option<i64>, acks: i16) {
        if acks != 0 {
            self.acked += 1;
        }
        let sent = self.history.record(id).map(|record| &record.op);
        if let Some(Op::Send(Send { topic, value, .. })) = sent
            && self.lives.is_mortal(topic)
            && let Some(life) = self.lives.of(*value)
        {
            let label = label(topic, life);
            self.history.relabel(id, &label);
        }
        self.end(id, Outcome::Sent { offset });
    }

    /// A poll of one partition begins.
    pub(crate) fn poll(&mut self, topic: &str, partition: i32, from_offset: i64, is_final: bool) -> OpId {
        let consumer = self.process.0;
        self.invoke(Op::Poll(Poll { consumer, topic: topic.to_owned(), partition, from_offset, is_final }))
    }

    /// A poll of one partition returns.
    ///
    /// Where a name has had several topics, it is written down as a poll of the one that answered. Empty ones tell nothing there.
    pub(crate) fn polled<'a>(&mut self, id: OpId, records: impl Iterator<Item = &'a Consumed>, next: i64) {
        let records: Vec<&Consumed> = records.collect();
        let asked = self.history.record(id).map(|record| &record.op);
        let mut id = id;
        if let Some(Op::Poll(poll)) = asked
            && self.lives.is_mortal(&poll.topic)
        {
            let mut poll = poll.clone();
            let Some(life) = records.first().map(|record| record.topic_id).filter(|id| *id != TopicId::ZERO) else {
                return;
            };
            assert!(records.iter().all(|record| record.topic_id == life), "a fetch is answered by one topic");
            let place = (poll.consumer, poll.topic.clone(), poll.partition);
            poll.topic = label(&poll.topic, life);
            if self.reading.insert(place, life) != Some(life) {
                let (consumer, topic, partition) = (poll.consumer, poll.topic.clone(), poll.partition);
                let assign = self.invoke(Op::Assign { consumer, topic, partition });
                self.end(assign, Outcome::Done);
            }
            id = self.invoke(Op::Poll(poll));
        }
        let records: Vec<Seen> = records
            .into_iter()
            .map(|record| Seen {
                offset: record.offset.0,
                value: number(record.value.as_deref()),
                digest: digest(record.key.as_deref(), record.value.as_deref(), &record.headers, record.timestamp.0),
                timestamp: record.timestamp.0,
            })
            .collect();
        self.polled += records.len() as u64;
        self.end(id, Outcome::Polled { records, next });
    }

    /// A consumer has taken up a partition.
    pub(crate) fn assigned(&mut self, topic: &str, partition: i32) {
        let consumer = self.process.0;
        self.reading.remove(&(consumer, topic.to_owned(), partition));
        let id = self.invoke(Op::Assign { consumer, topic: topic.to_owned(), partition });
        self.end(id, Outcome::Done);
    }

    /// A consumer has moved; `offset` is negative if the broker said where to.
    pub(crate) fn sought(&mut self, topic: &str, partition: i32, offset: i64) {
        let consumer = self.process.0;
        self.reading.remove(&(consumer, topic.to_owned(), partition));
        let id = self.invoke(Op::Seek { consumer, topic: topic.to_owned(), partition, offset });
        self.end(id, Outcome::Done);
    }

    /// A client asks for an offset.
    pub(crate) fn offsets(&mut self, topic: &str, partition: i32, which: Which) -> OpId {
        self.invoke(Op::Offsets { topic: topic.to_owned(), partition, which })
    }

    /// What is wrong with what clients saw.
    pub(crate) fn judge(&self) -> Vec<Finding> {
        let violations = tidelog_properties::judge(&self.history);
        violations.into_iter().map(Finding::from).collect()
    }

    /// The history itself.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Records acknowledged so far.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Records read so far.
    pub(crate) fn records_polled(&self) -> u64 {
        self.polled
    }
}

/// How a record is sent.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) idempotent: bool,
    pub(crate) acks: i16,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// Whether the key chose the partition.
    pub(crate) by_key: bool,
    /// Whether the client may send it again without the broker knowing that it is the same.
    pub(crate) may_repeat: bool,
}
