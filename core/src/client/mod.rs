//! A Kafka client that does no IO: the command line, the simulator's workloads and the tests all drive this one.
//!
//! One door, as the broker has: [`Client::step`] takes the time and an [`Input`] and appends [`Effect`]s. One value is one
//! producer, one consumer of assigned partitions, and any number of administrative calls.
//!
//! Promises: every call is completed exactly once, and no sooner than its outcome is certain or its time is over; a failure
//! that may have had an effect says so; no bytes from a broker make it panic; equal inputs give equal effects.
//! It does not know sockets, threads or clocks, nor (yet) groups, transactions and authentication.

mod admin;
mod api;
mod calls;
mod connections;
mod consumer;
mod decode;
mod deliver;
mod fetch;
mod limits;
mod metadata;
mod partitioner;
mod producer;
mod settle;

use std::collections::BTreeSet;

pub use api::{
    Assignment, Broker, CallId, Config, ConfigEntry, Consumed, Effect, Failure, Input, Operation, Outcome, Partition,
    Position, Progress, QuorumMember, Record, Resource, Topic, Trouble,
};

use calls::{Calls, Owner, What};
use connections::{Answer, Ask, Connections};
use consumer::Consumer;
use deliver::Delivery;
use fetch::Fetcher;
use metadata::Metadata;
use producer::Completion;
pub use producer::SEQUENCE_BROKEN;

use crate::kafka::ErrorCode;
use crate::time::{Instant, Now};

// The isolated streams of the client's seed.
const STREAM_BACKOFF: u64 = 1;
const STREAM_METADATA: u64 = 2;
const STREAM_PARTITIONS: u64 = 3;
const STREAM_PRODUCER: u64 = 4;
const STREAM_CALLS: u64 = 5;

/// The client. See the module.
#[derive(Debug)]
pub struct Client {
    net: Connections,
    metadata: Metadata,
    delivery: Delivery,
    consumer: Consumer,
    fetcher: Fetcher,
    calls: Calls,
    open: BTreeSet<CallId>,
    may_create: bool,
    wake_asked: Option<Instant>,
}

impl Client {
    /// A client that has done nothing yet. Its first step may be any input.
    pub fn new(mut config: Config) -> Self {
        // A quorum's word is what makes a sequence worth anything (KIP-98).
        config.idempotent &= config.acks == -1;
        Self {
            net: Connections::new(&config),
            metadata: Metadata::new(&config),
            delivery: Delivery::new(&config),
            consumer: Consumer::new(&config),
            fetcher: Fetcher::new(&config),
            calls: Calls::new(&config),
            open: BTreeSet::new(),
            may_create: config.allow_auto_topic_creation,
            wake_asked: None,
        }
    }

    /// How many calls are not completed.
    pub fn open_calls(&self) -> usize {
        self.open.len()
    }

    /// Why what was asked for is not done yet: the last retriable error of each partition and call that had one since it last
    /// came on. For whoever waits; nobody has to ask.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.consumer.troubles().chain(self.delivery.troubles()).chain(self.calls.troubles()).collect()
    }

    /// Takes one input and appends what is to be done about it, in order.
    ///
    /// Panics if a call's number is one of an open call.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        let mut done = Vec::new();
        match input {
            Input::Wake => {}
            Input::Connected { conn } => self.net.connected(now.mono, conn, out),
            Input::Received { conn, bytes } => self.net.received(now.mono, conn, &bytes, out),
            Input::Disconnected { conn } => self.net.disconnected(now.mono, conn),
            Input::Call { call, operation } => {
                assert!(self.open.insert(call), "{call:?} is still open");
                self.call(now, call, operation, &mut done);
            }
        }
        self.net.expire(now.mono, out);
        loop {
            while let Some(answer) = self.net.next_answer() {
                self.answered(now.mono, answer, &mut done, out);
            }
            if !self.drive(now.mono, &mut done, out) {
                break;
            }
        }
        for (call, result) in done {
            assert!(self.open.remove(&call), "{call:?} completed twice");
            out.push(Effect::Completed { call, result });
        }
        self.ask_wake(now.mono, out);
    }

    fn call(&mut self, now: Now, call: CallId, operation: Operation, done: &mut Vec<Completion>) {
        if let Some(failure) = refusal(&operation) {
            done.push((call, Err(failure)));
            return;
        }
        let mono = now.mono;
        let mut begin = |what| self.calls.begin(mono, Owner::Caller(call), what);
        match operation {
            Operation::Produce { topic, partition, record } => {
                let timestamp = record.timestamp.unwrap_or(now.wall);
                if let Err(failure) = self.delivery.take(mono, call, (topic, partition), record, timestamp) {
                    done.push((call, Err(failure)));
                }
            }
            Operation::Assign { partitions } => {
                for (owner, what) in self.consumer.assign(mono, call, partitions, done) {
                    self.calls.begin(mono, owner, what);
                }
            }
            Operation::Seek { to } => {
                for (owner, what) in self.consumer.seek(mono, call, to, done) {
                    self.calls.begin(mono, owner, what);
                }
            }
            Operation::Poll { max_records, max_wait } => self.consumer.poll(mono, call, max_records, max_wait, done),
            Operation::ListOffsets { topic, partition, at } => begin(What::Offset { topic, partition, at }),
            Operation::CreateTopic { name, partitions, replication_factor, configs } => {
                begin(What::Create { name, partitions, replication_factor, configs });
            }
            Operation::DeleteTopic { name } => begin(What::Delete { name }),
            Operation::DeleteTopicById { id } => begin(What::DeleteById { id }),
            Operation::Describe { topics } => {
                let may_create = self.may_create;
                begin(What::Describe { topics, may_create });
            }
            Operation::DescribeConfigs { resource } => begin(What::Configs { resource }),
            Operation::DescribeQuorum => begin(What::Quorum),
            Operation::Admit { node, directory } => begin(What::Admit { node, directory }),
        }
    }

    fn answered(&mut self, now: Instant, answer: Answer, done: &mut Vec<Completion>, out: &mut Vec<Effect>) {
        let Answer { ask, result } = answer;
        if result.is_err() {
            // Whoever does not answer may no longer lead.
            self.metadata.is_stale();
        }
        match ask {
            Ask::Versions => {}
            Ask::Metadata => self.metadata.answered(now, result, &mut self.net, out),
            Ask::ProducerId => self.delivery.identified(now, result, done),
            Ask::Produce(flight) => self.delivery.answered(now, flight, result, &mut self.metadata, done),
            Ask::Fetch(flight) => {
                self.fetcher.answered(now, flight, &result, &mut self.consumer, &mut self.metadata);
            }
            Ask::Call(number) => {
                let mut answers = Vec::new();
                let knowledge = (&mut self.metadata, &mut self.net);
                self.calls.answered(now, number, result, knowledge, &mut answers, out);
                self.hand_out(now, answers, done);
            }
        }
    }

    /// Lets every part do what can be done now. Says whether that gave answers, or anything else to look at again.
    fn drive(&mut self, now: Instant, done: &mut Vec<Completion>, out: &mut Vec<Effect>) -> bool {
        let mut answers = Vec::new();
        self.calls.drive(now, &mut self.metadata, &mut self.net, &mut answers, out);
        let again = self.hand_out(now, answers, done);
        self.consumer.serve(now, done);
        self.fetcher.drive(now, &mut self.consumer, &mut self.metadata, &mut self.net, out);
        self.delivery.drive(now, &mut self.metadata, &mut self.net, done, out);
        self.metadata.drive(now, &mut self.net, out);
        again || self.net.has_answers()
    }

    /// Gives the answers of calls to whoever asked. Says whether that led to more calls.
    fn hand_out(
        &mut self,
        now: Instant,
        answers: Vec<(Owner, Result<Outcome, Failure>)>,
        done: &mut Vec<Completion>,
    ) -> bool {
        let mut more = false;
        for (owner, result) in answers {
            match owner {
                Owner::Caller(call) => done.push((call, result)),
                Owner::Consumer(number) => {
                    more = true;
                    if let Some((owner, what)) = self.consumer.found(now, number, result, done) {
                        self.calls.begin(now, owner, what);
                    }
                }
            }
        }
        more
    }

    fn ask_wake(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let parts = [
            self.net.deadline(now),
            self.metadata.deadline(),
            self.delivery.deadline(now),
            self.consumer.deadline(now),
            self.calls.deadline(now),
        ];
        // What is due already waits for something else: a connection, an answer.
        let next = parts.into_iter().flatten().filter(|at| *at > now).min();
        if let Some(at) = next
            && self.wake_asked.is_none_or(|asked| asked != at || asked <= now)
        {
            self.wake_asked = Some(at);
            out.push(Effect::WakeAt(at));
        }
    }
}

/// Why an operation can not even be asked.
fn refusal(operation: &Operation) -> Option<Failure> {
    let named = |name: &str| {
        let fits = !name.is_empty() && name.len() <= crate::limits::TOPIC_NAME_BYTES_MAX;
        let message = format!("{name:?} is no name for a topic: 1 to {} bytes", crate::limits::TOPIC_NAME_BYTES_MAX);
        (!fits).then(|| Failure::definite(ErrorCode::InvalidTopicException, message))
    };
    match operation {
        Operation::Produce { topic, .. } | Operation::ListOffsets { topic, .. } => named(topic),
        Operation::CreateTopic { name, configs, .. } => named(name).or_else(|| {
            let long = configs.iter().find(|(key, value)| key.len().max(value.len()) > limits::STRING_BYTES_MAX)?;
            let message = format!("the configuration of {} is too long", long.0.chars().take(80).collect::<String>());
            Some(Failure::definite(ErrorCode::InvalidConfig, message))
        }),
        Operation::DeleteTopic { name } => named(name),
        Operation::Assign { partitions } => partitions.iter().find_map(|it| named(&it.topic)).or_else(|| {
            let places: BTreeSet<_> = partitions.iter().map(|it| (&it.topic, it.partition)).collect();
            let message = "a partition is assigned twice";
            (places.len() < partitions.len()).then(|| Failure::definite(ErrorCode::InvalidRequest, message))
        }),
        Operation::Seek { to } => named(&to.topic),
        Operation::Describe { topics } => topics.iter().flatten().find_map(|topic| named(topic)),
        Operation::DescribeConfigs { resource: Resource::Topic(topic) } => named(topic),
        Operation::DescribeConfigs { resource: Resource::Broker(_) }
        | Operation::DeleteTopicById { .. }
        | Operation::DescribeQuorum
        | Operation::Admit { .. }
        | Operation::Poll { .. } => None,
    }
}
