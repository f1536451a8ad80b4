//! Virtual time, connections that deliver bytes in pieces, and a script that decides what happens to each request.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidelog_core::client::{CallId, Client, Config, Effect, Failure, Input, Operation, Outcome, Record};
use tidelog_core::kafka::{FrameReader, Request, Response, decode_request};
use tidelog_core::time::{Duration, Instant, Now, Timestamp};

use crate::fake::{Cluster, Deed};

/// One way through the network.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);

struct Conn {
    node: i32,
    reader: FrameReader,
    open: bool,
}

/// Decides what happens to a request of the client to a broker.
pub(crate) type Script = Box<dyn FnMut(&mut Cluster, i32, &Request) -> Deed>;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
    pub(crate) script: Script,
    /// Cuts what a broker sends: the length of the next piece, for a rest of so many bytes.
    pub(crate) cut: Box<dyn FnMut(usize) -> usize>,
    pub(crate) results: BTreeMap<CallId, Result<Outcome, Failure>>,
    /// In the order of completion.
    pub(crate) completed: Vec<CallId>,
    /// Brokers that can not be connected to.
    pub(crate) down: Vec<i32>,
    pub(crate) connects: usize,
    conns: BTreeMap<u64, Conn>,
    inbox: BTreeMap<(Instant, u64), Input>,
    arrivals: BTreeMap<(Instant, u64), (u64, Bytes)>,
    wake: Option<Instant>,
    sequence: u64,
    last_call: u64,
}

pub(crate) fn config() -> Config {
    Config {
        request_timeout: Duration::from_secs(2),
        delivery_timeout: Duration::from_secs(20),
        retry_backoff: Duration::from_millis(50),
        seed: 7,
        ..Config::new(vec![("broker-1".to_owned(), 9092)])
    }
}

pub(crate) fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

pub(crate) fn produce(topic: &str, partition: i32, value: &str) -> Operation {
    Operation::Produce { topic: topic.to_owned(), partition: Some(partition), record: record(value) }
}

impl World {
    pub(crate) fn new(config: Config, cluster: Cluster) -> Self {
        Self {
            client: Client::new(config),
            cluster,
            now: Instant(1_000_000),
            script: Box::new(|_, _, _| Deed::Answer),
            cut: Box::new(|rest| rest),
            results: BTreeMap::new(),
            completed: Vec::new(),
            down: Vec::new(),
            connects: 0,
            conns: BTreeMap::new(),
            inbox: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            wake: None,
            sequence: 0,
            last_call: 0,
        }
    }

    pub(crate) fn step(&mut self, input: Input) {
        let now = Now { mono: self.now, wall: Timestamp(1_700_000_000_000 + self.now.0 as i64 / 1_000) };
        let mut out = Vec::new();
        self.client.step(now, input, &mut out);
        for effect in out {
            self.carry_out(effect);
        }
    }

    pub(crate) fn call(&mut self, operation: Operation) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.step(Input::Call { call, operation });
        call
    }

    fn later(&mut self, input: Input) {
        self.sequence += 1;
        self.inbox.insert((self.now + LATENCY, self.sequence), input);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { conn, host, port } => {
                assert_eq!(port, 9092);
                self.connects += 1;
                let node: i32 = host.strip_prefix("broker-").expect("a broker").parse().expect("a number");
                let open = !self.down.contains(&node);
                self.conns.insert(conn, Conn { node, reader: FrameReader::new(), open });
                self.later(if open { Input::Connected { conn } } else { Input::Disconnected { conn } });
            }
            Effect::Transmit { conn, bytes } => {
                self.sequence += 1;
                self.arrivals.insert((self.now + LATENCY, self.sequence), (conn, bytes.concat().into()));
            }
            Effect::Disconnect { conn } => self.conns.get_mut(&conn).expect("a connection").open = false,
            Effect::WakeAt(at) => self.wake = Some(at),
            Effect::Completed { call, result } => {
                self.completed.push(call);
                assert!(self.results.insert(call, result).is_none(), "{call:?} completed twice");
            }
        }
    }

    /// Bytes of the client reach a broker.
    fn arrive(&mut self, id: u64, bytes: &Bytes) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.open) else {
            return;
        };
        conn.reader.feed(bytes);
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.open) {
            let Some(frame) = conn.reader.next_frame().expect("the client sends frames") else {
                return;
            };
            let node = conn.node;
            let request = decode_request(frame).expect("the client sends requests");
            let deed = (self.script)(&mut self.cluster, node, &request);
            let (header, version) = (&request.header, request.header.api_version);
            let refuse = match deed {
                Deed::Refuse(error) => Some(error),
                Deed::Answer | Deed::CarryOutAndClose | Deed::Close | Deed::Ignore | Deed::Garbage(_) => None,
            };
            let mut act = || self.cluster.carry_out(node, version, &request.body, &request.batches, refuse);
            match deed {
                Deed::Answer | Deed::Refuse(_) => {
                    if let Some(body) = act() {
                        let bytes: Bytes = Response::to(header, body).encode().concat().into();
                        self.deliver(id, bytes);
                    }
                }
                Deed::CarryOutAndClose => {
                    act();
                    self.close(id);
                }
                Deed::Close => self.close(id),
                Deed::Ignore => {}
                Deed::Garbage(bytes) => self.deliver(id, bytes),
            }
        }
    }

    fn deliver(&mut self, conn: u64, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to((self.cut)(bytes.len()).clamp(1, bytes.len()));
            self.later(Input::Received { conn, bytes: piece });
        }
    }

    pub(crate) fn close(&mut self, id: u64) {
        self.conns.get_mut(&id).expect("a connection").open = false;
        self.later(Input::Disconnected { conn: id });
    }

    /// A broker dies: its connections close, and there are no new ones.
    pub(crate) fn kill(&mut self, node: i32) {
        self.down.push(node);
        let lost: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.open && conn.node == node).map(|(id, _)| *id).collect();
        for id in lost {
            self.close(id);
        }
    }

    /// Lets the next thing happen. False if nothing is left that could.
    pub(crate) fn advance(&mut self) -> bool {
        let inbox = self.inbox.first_key_value().map(|(at, _)| *at);
        let arrival = self.arrivals.first_key_value().map(|(at, _)| *at);
        let wake = self.wake.map(|at| (at, u64::MAX));
        let Some(next) = [inbox, arrival, wake].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next.0);
        if Some(next) == inbox {
            let input = self.inbox.remove(&next).expect("it is first");
            let dead = match &input {
                Input::Received { conn, .. } => !self.conns[conn].open,
                _ => false,
            };
            // What was on its way when the connection closed may come or not; here it does not.
            if !dead {
                self.step(input);
            }
        } else if Some(next) == arrival {
            let (conn, bytes) = self.arrivals.remove(&next).expect("it is first");
            self.arrive(conn, &bytes);
        } else {
            self.wake = None;
            self.step(Input::Wake);
        }
        true
    }

    /// Runs until the call is completed.
    pub(crate) fn wait(&mut self, call: CallId) -> Result<Outcome, Failure> {
        let deadline = self.now + Duration::from_secs(60);
        while !self.results.contains_key(&call) {
            assert!(self.now < deadline, "{call:?} is never completed");
            assert!(self.advance(), "{call:?}: nothing is left that could complete it");
        }
        self.results[&call].clone()
    }

    pub(crate) fn run(&mut self, operation: Operation) -> Result<Outcome, Failure> {
        let call = self.call(operation);
        self.wait(call)
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let inbox = self.inbox.first_key_value().map(|(at, _)| at.0);
            let arrival = self.arrivals.first_key_value().map(|(at, _)| at.0);
            match [inbox, arrival, self.wake].into_iter().flatten().min() {
                Some(at) if at <= until => self.advance(),
                Some(_) | None => break,
            };
        }
        self.now = until;
    }

    /// The offset that a produce was given.
    pub(crate) fn offset(&self, call: CallId) -> i64 {
        match &self.results[&call] {
            Ok(Outcome::Produced { offset: Some(offset), .. }) => offset.0,
            other => panic!("{call:?} was not produced: {other:?}"),
        }
    }
}
