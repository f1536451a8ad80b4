//! A client that writes records now and then, to every topic that stands.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome, Record, SEQUENCE_BROKEN};
use tidelog_core::rng::Rng;
use tidelog_core::time::{Duration, Timestamp};
use tidelog_properties::history::OpId;

use crate::program::{Calls, Desk, Program, another_life};
use crate::record::Sending;
use crate::scenario::{ProducerSpec, Scenario};
use crate::streams;

/// Records that may wait for their answer; beyond it the producer holds its breath.
const WAITING_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Producer {
    spec: ProducerSpec,
    config: Config,
    rng: Rng,
    calls: Calls,
    waiting: BTreeMap<CallId, OpId>,
    draining: bool,
    odd: OddTimes,
    /// Partitions forget producers: what is sent again may stand twice, and an old copy may break a sequence.
    forgets: bool,
}

/// Records of times that can not be, for topics that refuse them.
#[derive(Debug)]
pub(super) struct OddTimes {
    topics: BTreeSet<String>,
    rng: Rng,
}

impl OddTimes {
    pub(super) fn new(scenario: &Scenario, producer: u64) -> Self {
        let topics = scenario.topics.iter().filter(|topic| topic.bounds_times()).map(|topic| topic.name.clone());
        Self { topics: topics.collect(), rng: Rng::stream(scenario.seed, &[streams::TIMES, producer]) }
    }

    /// What a record says of its time that is sent to this topic now.
    fn stamp(&mut self, topic: &str, now: Timestamp) -> Timestamp {
        const MINUTE_MS: u64 = 60_000;
        if !self.topics.contains(topic) || !self.rng.per_mille(ODD_TIMES) {
            return now;
        }
        let off = self.rng.between(61 * MINUTE_MS, 300 * MINUTE_MS) as i64;
        Timestamp(if self.rng.per_mille(500) { now.0 + off } else { now.0 - off })
    }
}

/// So many in a thousand records for a topic that bounds times have one that can not be, if clocks are right.
const ODD_TIMES: u64 = 30;

/// A record that carries its number, and is told from others in every part.
pub(super) fn record(value: u64, padding: u64, wall: tidelog_core::time::Timestamp, rng: &mut Rng) -> Record {
    let mut bytes = BytesMut::with_capacity(8 + padding as usize);
    bytes.put_u64(value);
    bytes.put_bytes((value % 251) as u8, padding as usize);
    Record {
        key: rng.per_mille(700).then(|| Bytes::from(format!("key-{}", value % 17))),
        value: Some(bytes.freeze()),
        headers: match rng.below(4) {
            0 => vec![("n".to_owned(), Some(Bytes::copy_from_slice(&value.to_be_bytes()))), ("none".to_owned(), None)],
            _ => Vec::new(),
        },
        timestamp: Some(wall),
    }
}

impl Producer {
    pub(super) fn new(spec: ProducerSpec, mut config: Config, mut rng: Rng, odd: OddTimes, forgets: bool) -> Self {
        config.idempotent = spec.idempotent;
        config.acks = spec.acks;
        config.linger = Duration::from_micros(spec.linger);
        config.max_in_flight = rng.between(1, 5) as usize;
        if !spec.idempotent && rng.per_mille(500) {
            config.retries = 0;
        }
        Self { spec, config, rng, calls: Calls::default(), waiting: BTreeMap::new(), draining: false, odd, forgets }
    }

    fn produce(&mut self, desk: &mut Desk<'_>) {
        let partitions = desk.board.partitions();
        let Some((topic, partition)) = self.rng.pick(&partitions).cloned() else {
            return;
        };
        let value = desk.log.value();
        let padding = self.rng.below(u64::from(self.spec.padding) + 1);
        let stamp = self.odd.stamp(&topic, desk.clocks.wall);
        let mut record = record(value, padding, stamp, &mut self.rng);
        let stays = desk.board.topic(&topic).filter(|known| !known.mortal);
        let by_key = self.spec.keyed && stays.is_some();
        let mut partition = partition;
        if let (true, Some(known)) = (by_key, stays) {
            let key = Bytes::from(format!("key-{}", self.rng.below(40)));
            partition = java_partition(&key, known.partitions);
            record.key = Some(key);
        }
        let how = Sending {
            idempotent: self.spec.idempotent && !self.forgets,
            acks: self.spec.acks,
            topic: &topic,
            partition,
            may_repeat: (!self.spec.idempotent && self.config.retries > 0) || (self.spec.idempotent && self.forgets),
            by_key,
        };
        let op = desk.log.send(&how, &record, value);
        let call = self.calls.mint();
        self.waiting.insert(call, op);
        let partition = (!by_key).then_some(partition);
        desk.calls.push((call, Operation::Produce { topic, partition, record }));
    }
}

/// A failure of a producer that left out sequences, and is told so: nothing to complain of.
fn expected(failure: Failure) -> Failure {
    let without = |text: String| text.replace(SEQUENCE_BROKEN, "a part of its sequence was left out");
    match failure {
        Failure::Definite { error, message } => Failure::Definite { error, message: without(message) },
        Failure::Unknown { why } => Failure::Unknown { why: without(why) },
    }
}

/// The partition Kafka's Java client gives a key: murmur2 under the seed 0x9747b28c, without its sign, modulo.
fn java_partition(key: &[u8], partitions: i32) -> i32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut left = key;
    while let Some((word, rest)) = left.split_first_chunk::<4>() {
        let word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ (word ^ (word >> 24)).wrapping_mul(MIX);
        left = rest;
    }
    if !left.is_empty() {
        for (at, byte) in left.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    ((hash ^ (hash >> 15)) & 0x7fff_ffff) as i32 % partitions
}

impl Program for Producer {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn restarted(&mut self, life: u64) -> Config {
        self.waiting.clear();
        another_life(&self.config, life)
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.draining {
            return;
        }
        if self.waiting.len() < WAITING_MAX {
            let burst = if self.rng.per_mille(30) { self.rng.between(2, 20) } else { 1 };
            (0..burst).for_each(|_| self.produce(desk));
        }
        desk.wake = Some(desk.now + self.rng.between(self.spec.pause / 2, self.spec.pause * 3 / 2).max(100));
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some(op) = self.waiting.remove(&call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        match result {
            Ok(Outcome::Produced { partition, offset, .. }) => {
                desk.log.landed(op, partition);
                desk.log.sent(op, offset.map(|offset| offset.0), self.spec.acks);
            }
            Ok(other) => panic!("a produce gave {other:?}"),
            Err(failure) if self.spec.skips > 0 || self.forgets => desk.log.fail(op, &expected(failure)),
            Err(failure) => desk.log.fail(op, &failure),
        }
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self) -> bool {
        self.draining && self.waiting.is_empty()
    }

    fn waiting_for(&self) -> String {
        format!("the answers to {} records (producer, acks {})", self.waiting.len(), self.spec.acks)
    }
}
