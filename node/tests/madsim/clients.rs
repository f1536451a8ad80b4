//! Producers and consumers on the core's client, whose every operation goes into the history.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tidelog::client::{Driver, Ending};
use tidelog_core::client::{Assignment, CallId, Config, Consumed, Failure, Operation, Outcome, Position, Record};
use tidelog_core::id::NodeId;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::rng::Rng;
use tidelog_core::time::{self, Timestamp};
use tidelog_properties::History;
use tidelog_properties::history::{self, Op, OpId, Poll, Process, Seen, Send, Which};
use tokio::time::{Instant, sleep};

use crate::machines::{address, brokers};
use crate::witness::Witness;

/// The topic, and how many partitions it has.
pub(crate) const TOPIC: &str = "tides";
/// See [`TOPIC`].
pub(crate) const PARTITIONS: i32 = 2;
/// Records of one producer that may wait for their answer.
const WAITING_MAX: usize = 100;
/// How long an answer may take while nothing is broken.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the run is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Anything may happen.
    Faults,
    /// Nothing is broken, and nobody has to wait for long.
    Calm,
    /// Nothing new is begun.
    Drain,
}

/// What the clients of a run share. Copies are the same desk.
#[derive(Clone)]
pub(crate) struct Desk {
    begun: Instant,
    witness: Witness,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    stage: Stage,
    history: History,
    values: u64,
    acked: u64,
    read: u64,
}

impl Desk {
    pub(crate) fn new(witness: &Witness) -> Self {
        let shared = Shared { stage: Stage::Faults, history: History::new(), values: 0, acked: 0, read: 0 };
        Self { begun: Instant::now(), witness: witness.clone(), shared: Arc::new(Mutex::new(shared)) }
    }

    fn shared<T>(&self, with: impl FnOnce(&mut Shared, u64) -> T) -> T {
        let now = self.begun.elapsed().as_micros() as u64;
        with(&mut self.shared.lock().expect("a panic ends the run"), now)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.shared(|shared, _| shared.stage)
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.shared(|shared, _| shared.stage = stage);
    }

    /// Something is wrong.
    pub(crate) fn wrong(&self, what: String) {
        self.witness.seen().wrong.push(format!("{:?}: {what}", self.begun.elapsed()));
    }

    /// Records acknowledged and read so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.shared(|shared, _| (shared.acked, shared.read))
    }

    /// What is wrong with what clients saw.
    pub(crate) fn judge(&self) -> Vec<String> {
        let violations = self.shared(|shared, _| tidelog_properties::judge(&shared.history));
        violations.iter().map(ToString::to_string).collect()
    }

    fn invoke(&self, process: u64, op: Op) -> OpId {
        self.shared(|shared, now| shared.history.invoke(Process(process), now, op))
    }

    fn complete(&self, id: OpId, outcome: history::Outcome) {
        self.shared(|shared, now| {
            match &outcome {
                history::Outcome::Sent { .. } => shared.acked += 1,
                history::Outcome::Polled { records, .. } => shared.read += records.len() as u64,
                _ => {}
            }
            shared.history.complete(id, now, outcome);
        });
    }

    fn fail(&self, id: OpId, failure: &Failure) {
        let error = failure.to_string();
        self.complete(
            id,
            match failure {
                Failure::Definite { .. } => history::Outcome::Failed { error },
                Failure::Unknown { .. } => history::Outcome::Unknown { error },
            },
        );
    }
}

/// A client of the cluster.
pub(crate) fn config(rng: &mut Rng) -> Config {
    let bootstrap = brokers().map(|node: NodeId| (address(node).ip().to_string(), address(node).port())).collect();
    Config {
        request_timeout: time::Duration::from_secs(20),
        delivery_timeout: time::Duration::from_secs(60),
        linger: time::Duration::from_millis(rng.below(20)),
        max_in_flight: rng.between(1, 5) as usize,
        seed: rng.next_u64(),
        ..Config::new(bootstrap)
    }
}

fn digest(key: Option<&[u8]>, value: Option<&[u8]>, timestamp: Timestamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value, timestamp.0).hash(&mut hasher);
    hasher.finish()
}

/// Creates the topic; tries until it is there.
pub(crate) async fn create_topic(mut rng: Rng) {
    let mut driver = Driver::new(config(&mut rng));
    loop {
        let create = Operation::CreateTopic {
            name: TOPIC.to_owned(),
            partitions: PARTITIONS,
            replication_factor: 3,
            configs: Vec::new(),
        };
        match driver.run(create).await {
            Ok(_) => break,
            Err(Failure::Definite { error: ErrorCode::TopicAlreadyExists, .. }) => break,
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
    driver.finish().await;
}

/// Writes records until the run drains, and waits for the last answer.
pub(crate) async fn produce(desk: Desk, process: u64, mut rng: Rng, bytes_max: u64) {
    let mut driver = Driver::new(config(&mut rng));
    let mut waiting: BTreeMap<CallId, (OpId, Instant)> = BTreeMap::new();
    let mut next = Instant::now();
    while desk.stage() != Stage::Drain || !waiting.is_empty() {
        let wait = next.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            (call, ending) = driver.next() => {
                let (op, since) = waiting.remove(&call).expect("the client ends what was asked, once");
                if desk.stage() == Stage::Calm && since.elapsed() > PATIENCE {
                    desk.wrong(format!("producer {process} waited {:?} for an answer", since.elapsed()));
                }
                settle(&desk, op, ending);
            }
            () = sleep(wait) => {
                next = Instant::now() + Duration::from_millis(rng.between(10, 150));
                if desk.stage() != Stage::Drain && waiting.len() < WAITING_MAX {
                    // Where nobody may wait for long there is more to be muted for.
                    let (often, most) = if desk.stage() == Stage::Calm { (150, 60) } else { (50, 20) };
                    for _ in 0..if rng.per_mille(often) { rng.between(2, most) } else { 1 } {
                        let (call, op) = send(&desk, &mut driver, process, &mut rng, bytes_max);
                        waiting.insert(call, (op, Instant::now()));
                    }
                }
            }
        }
    }
    driver.finish().await;
}

fn send(desk: &Desk, driver: &mut Driver, process: u64, rng: &mut Rng, bytes_max: u64) -> (CallId, OpId) {
    let value = desk.shared(|shared, _| {
        shared.values += 1;
        shared.values
    });
    let most = if rng.per_mille(20) { bytes_max } else { 2_000 };
    let padding = rng.below(most);
    let mut bytes = BytesMut::new();
    bytes.put_u64(value);
    bytes.put_bytes(value as u8, padding as usize);
    // Long before the simulated year: what lies an hour ahead of the broker is refused.
    let timestamp = Timestamp(1_600_000_000_000 + value as i64);
    let key = Bytes::from(format!("key {}", value % 7));
    let record =
        Record { key: Some(key), value: Some(bytes.freeze()), headers: Vec::new(), timestamp: Some(timestamp) };
    let partition = rng.below(PARTITIONS as u64) as i32;
    let op = desk.invoke(
        process,
        Op::Send(Send {
            producer: process,
            session: 0,
            idempotent: true,
            acks: -1,
            topic: TOPIC.to_owned(),
            partition,
            value,
            key_hash: None,
            digest: digest(record.key.as_deref(), record.value.as_deref(), timestamp),
        }),
    );
    let call = driver.call(Operation::Produce { topic: TOPIC.to_owned(), partition: Some(partition), record });
    (call, op)
}

fn settle(desk: &Desk, op: OpId, ending: Ending) {
    match ending {
        Ok(Outcome::Produced { offset, .. }) => {
            desk.complete(op, history::Outcome::Sent { offset: offset.map(|offset| offset.0) });
        }
        Ok(other) => panic!("a produce gave {other:?}"),
        Err(failure) => desk.fail(op, &failure),
    }
}

/// Reads along until the run drains.
pub(crate) async fn consume(desk: Desk, process: u64, mut rng: Rng) {
    let mut reader = Reader::new(&desk, process, &mut rng);
    while desk.stage() != Stage::Drain {
        let (stage, since) = (desk.stage(), Instant::now());
        if !reader.read(false).await {
            sleep(Duration::from_millis(200)).await;
        }
        if stage == Stage::Calm && since.elapsed() > PATIENCE {
            desk.wrong(format!("consumer {process} waited {:?} for an answer", since.elapsed()));
        }
    }
    reader.driver.finish().await;
}

/// After everything: reads every partition from its start to its end.
pub(crate) async fn read_everything(desk: Desk, process: u64, mut rng: Rng) {
    let mut reader = Reader::new(&desk, process, &mut rng);
    let mut ends = BTreeMap::new();
    for partition in 0..PARTITIONS {
        while !ends.contains_key(&partition) {
            let which = Op::Offsets { topic: TOPIC.to_owned(), partition, which: Which::Latest };
            let op = desk.invoke(process, which);
            let ask = Operation::ListOffsets { topic: TOPIC.to_owned(), partition, at: Position::Latest };
            match reader.driver.run(ask).await {
                Ok(Outcome::Offset { offset, .. }) => {
                    let offset = offset.map(|offset| offset.0);
                    desk.complete(op, history::Outcome::Offsets { offset, timestamp: None });
                    ends.extend(offset.map(|end| (partition, end)));
                }
                Ok(other) => panic!("a question for an offset gave {other:?}"),
                Err(failure) => desk.fail(op, &failure),
            }
        }
    }
    while !ends.iter().all(|(partition, end)| reader.positions.get(partition).is_some_and(|at| at >= end)) {
        if !reader.read(true).await {
            sleep(Duration::from_millis(200)).await;
        }
    }
    reader.driver.finish().await;
}

/// A consumer of all partitions, from their starts.
struct Reader {
    desk: Desk,
    process: u64,
    driver: Driver,
    /// Where it is; empty before anything is assigned.
    positions: BTreeMap<i32, i64>,
}

impl Reader {
    fn new(desk: &Desk, process: u64, rng: &mut Rng) -> Self {
        Self { desk: desk.clone(), process, driver: Driver::new(config(rng)), positions: BTreeMap::new() }
    }

    /// One step: an assignment or a poll. Gives whether it succeeded.
    async fn read(&mut self, is_final: bool) -> bool {
        if self.positions.is_empty() { self.assign().await } else { self.poll(is_final).await }
    }

    async fn assign(&mut self) -> bool {
        let from = Position::Earliest;
        let place = |partition| Assignment { topic: TOPIC.to_owned(), partition, from };
        let assign = Operation::Assign { partitions: (0..PARTITIONS).map(place).collect() };
        let Ok(Outcome::Assigned { progress }) = self.driver.run(assign).await else { return false };
        for at in progress {
            let (consumer, partition) = (self.process, at.partition);
            let op = self.desk.invoke(consumer, Op::Assign { consumer, topic: at.topic, partition });
            self.desk.complete(op, history::Outcome::Done);
            self.positions.insert(partition, at.position.0);
        }
        true
    }

    async fn poll(&mut self, is_final: bool) -> bool {
        let begin = |(&partition, &from_offset): (&i32, &i64)| {
            let poll = Poll { consumer: self.process, topic: TOPIC.to_owned(), partition, from_offset, is_final };
            (partition, self.desk.invoke(self.process, Op::Poll(poll)))
        };
        let polls: Vec<(i32, OpId)> = self.positions.iter().map(begin).collect();
        let poll = Operation::Poll { max_records: 300, max_wait: time::Duration::from_millis(300) };
        match self.driver.run(poll).await {
            Ok(Outcome::Polled { records, progress }) => {
                self.positions = progress.iter().map(|at| (at.partition, at.position.0)).collect();
                for (partition, op) in polls {
                    let here = records.iter().filter(|record| record.partition == partition);
                    let next = self.positions[&partition];
                    self.desk.complete(op, history::Outcome::Polled { records: here.map(seen).collect(), next });
                }
                true
            }
            Ok(other) => panic!("a poll gave {other:?}"),
            Err(failure) => {
                polls.into_iter().for_each(|(_, op)| self.desk.fail(op, &failure));
                false
            }
        }
    }
}

fn seen(record: &Consumed) -> Seen {
    let value = record.value.as_deref();
    Seen {
        offset: record.offset.0,
        value: value.and_then(|value| value.first_chunk()).map(|head| u64::from_be_bytes(*head)),
        digest: digest(record.key.as_deref(), value, record.timestamp),
        timestamp: record.timestamp.0,
    }
}
