//! A house for brokers: instant disks in memory, an instant network, time that moves when told.
//!
//! Everything passes as bytes, through the functions a host calls. Nothing is checked, printed or lost. A step counts as a
//! change if it gave an effect or an event; both, and the time spent inside [`Broker::step`], are counted.

use std::collections::{BTreeMap, VecDeque};
use std::time;

use bytes::{Bytes, BytesMut};
use tidelog_core::broker::{Boot, Broker, Config, Settings};
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult, Effect, Effects, Input};
use tidelog_core::id::{ConnId, DirectoryId, FileId, NodeId, RequestId};
use tidelog_core::kafka::messages::MetadataResponsePartition;
use tidelog_core::kafka::{RequestBody, ResponseBody, decode_request};
use tidelog_core::mutants::Mutants;
use tidelog_core::peer::Envelope;
use tidelog_core::time::{Duration, Instant, Now, Timestamp};

use crate::requests;

/// A disk that does everything at once and forgets nothing.
#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<FileId, Vec<u8>>,
}

impl Disk {
    fn run(&mut self, command: DiskCommand) -> DiskResult {
        match command {
            DiskCommand::List => {
                let files = self.files.iter().map(|(file, bytes)| (*file, bytes.len() as u64));
                return Ok(DiskOutput::Listed(files.collect()));
            }
            DiskCommand::Read { file, at, len } => {
                let bytes = self.files.get(&file).ok_or(DiskError::Missing)?;
                let from = (at as usize).min(bytes.len());
                let to = (from + len as usize).min(bytes.len());
                return Ok(DiskOutput::Read(Bytes::copy_from_slice(&bytes[from..to])));
            }
            DiskCommand::Write { file, at, bytes, .. } => {
                let content = self.files.get_mut(&file).ok_or(DiskError::Missing)?;
                let mut at = at as usize;
                for slice in bytes {
                    content[at..at + slice.len()].copy_from_slice(&slice);
                    at += slice.len();
                }
            }
            DiskCommand::Sync { .. } => {}
            DiskCommand::Allocate { file, len } => {
                let content = self.files.entry(file).or_default();
                content.resize(content.len().max(len as usize), 0);
            }
            DiskCommand::Truncate { file, len } => {
                let content = self.files.get_mut(&file).ok_or(DiskError::Missing)?;
                content.truncate(len as usize);
            }
            DiskCommand::Remove { file } => drop(self.files.remove(&file)),
        }
        Ok(DiskOutput::Done)
    }
}

#[derive(Debug)]
struct Home {
    broker: Broker,
    disk: Disk,
    wake_at: Option<Instant>,
    next_request: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Steps of any broker.
    pub steps: u64,
    /// Those that gave an effect or an event.
    pub changes: u64,
    /// Time spent inside [`Broker::step`].
    pub inside: time::Duration,
    /// Requests answered.
    pub answers: u64,
}

/// Brokers 1, 2, ... of one cluster.
#[derive(Debug)]
pub struct House {
    now: Now,
    homes: BTreeMap<NodeId, Home>,
    inputs: VecDeque<(NodeId, Input)>,
    out: Effects,
    counts: Counts,
    last_answer: Option<ResponseBody>,
}

/// The one connection to each broker.
const CONN: ConnId = ConnId(1);

impl House {
    /// So many brokers, every one ready, with a connection to each.
    ///
    /// Panics if they do not become ready.
    pub fn new(brokers: u32, settings: &Settings) -> Self {
        let voters: Vec<NodeId> = (1..=brokers).map(NodeId).collect();
        let mut house = Self {
            now: Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000) },
            homes: BTreeMap::new(),
            inputs: VecDeque::new(),
            out: Effects::default(),
            counts: Counts::default(),
            last_answer: None,
        };
        for &node in &voters {
            let config = Config {
                node,
                directory: DirectoryId([node.0 as u8; 16]),
                voters: voters.clone(),
                host: format!("broker-{node}"),
                port: 9092,
                rack: None,
                auto_create: false,
                settings: settings.clone(),
                mutants: Mutants::default(),
            };
            let boot = Boot { counter: 1, seed: u64::from(node.0) };
            let home =
                Home { broker: Broker::new(config, boot), disk: Disk::default(), wake_at: None, next_request: 1 };
            house.homes.insert(node, home);
            house.inputs.push_back((node, Input::Wake));
            let peer = "bench".to_owned();
            house.inputs.push_back((node, Input::Opened { conn: CONN, peer }));
        }
        let ready = |house: &Self| house.homes.values().all(|home| home.broker.status().ready);
        house.pass_until(ready, "the brokers become ready");
        house
    }

    /// Creates a topic on all brokers, and gives who leads each of its partitions from then on.
    ///
    /// Panics if it can not be had.
    pub fn create_topic(&mut self, topic: &str, partitions: i32) -> Vec<NodeId> {
        let factor = self.homes.len() as i16;
        let ResponseBody::CreateTopics(created) = self.ask(NodeId(1), &requests::create(topic, partitions, factor))
        else {
            panic!("an answer to another question");
        };
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        for _ in 0..10_000 {
            self.pass(Duration::from_millis(10));
            let ResponseBody::Metadata(answer) = self.ask(NodeId(1), &requests::metadata(topic)) else {
                panic!("an answer to another question");
            };
            let partitions = &answer.topics[0].partitions;
            let leaders = partitions.iter().map(|partition| u32::try_from(partition.leader_id));
            let leaders: Result<Vec<u32>, _> = leaders.collect();
            // Once the first replica leads, leadership stays where it is.
            let stays = |partition: &MetadataResponsePartition| {
                partition.error_code == 0 && partition.replica_nodes.first() == Some(&partition.leader_id)
            };
            if let Ok(leaders) = leaders
                && partitions.iter().all(stays)
            {
                return leaders.into_iter().map(NodeId).collect();
            }
        }
        panic!("the partitions get leaders");
    }

    /// Gives a broker a request: a frame, its length left off. It is decoded now, and taken by the next [`House::settle`].
    ///
    /// Panics if it is no request.
    pub fn send(&mut self, node: NodeId, frame: Bytes) {
        let home = self.homes.get_mut(&node).expect("it lives");
        let id = RequestId(home.next_request);
        home.next_request += 1;
        let request = decode_request(frame).expect("a request");
        self.inputs.push_back((node, Input::Request { conn: CONN, id, request }));
    }

    fn ask(&mut self, node: NodeId, body: &RequestBody) -> ResponseBody {
        self.last_answer = None;
        self.send(node, Bytes::from(requests::frame(body, 1)).slice(4..));
        self.pass_until(|house| house.last_answer.is_some(), "a request is answered");
        self.last_answer.take().expect("it was answered")
    }

    fn pass_until(&mut self, done: impl Fn(&Self) -> bool, what: &str) {
        for _ in 0..10_000 {
            self.settle();
            if done(self) {
                return;
            }
            self.pass(Duration::from_millis(1));
        }
        panic!("{what}");
    }

    /// What was counted since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The last answer any broker gave.
    pub fn last_answer(&self) -> Option<&ResponseBody> {
        self.last_answer.as_ref()
    }

    /// Carries everything out until nothing is left to do at this moment.
    pub fn settle(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        while let Some((node, input)) = self.inputs.pop_front() {
            let home = self.homes.get_mut(&node).expect("it lives");
            let begun = time::Instant::now();
            home.broker.step(self.now, input, &mut out);
            self.counts.inside += begun.elapsed();
            self.counts.steps += 1;
            self.counts.changes += u64::from(!out.effects.is_empty() || !out.events.is_empty());
            out.events.clear();
            for effect in out.effects.drain(..) {
                self.carry_out(node, effect);
            }
        }
        self.out = out;
    }

    fn carry_out(&mut self, node: NodeId, effect: Effect) {
        let home = self.homes.get_mut(&node).expect("it lives");
        let input = match effect {
            Effect::Respond { response, .. } => {
                // Encoded as for a client, and not sent.
                std::hint::black_box(response.encode());
                self.last_answer = Some(response.body);
                self.counts.answers += 1;
                return;
            }
            Effect::Send { to, envelope } => {
                let mut frame = BytesMut::new();
                envelope.encode().iter().for_each(|slice| frame.extend_from_slice(slice));
                let envelope = Envelope::decode(frame.split_off(4).freeze()).expect("an envelope");
                self.inputs.push_back((to, Input::Peer { from: node, envelope }));
                return;
            }
            Effect::WakeAt(at) => {
                home.wake_at = Some(at);
                return;
            }
            Effect::Mute { .. } | Effect::Unmute { .. } => return,
            Effect::Disk { op, command } => {
                let result = home.disk.run(command);
                Input::DiskDone { op, result }
            }
            Effect::Compute { job, job_input } => Input::Computed { job, output: job_input.run() },
            Effect::Close { reason, .. } => panic!("a connection closes: {reason}"),
            Effect::Halt(why) => panic!("a broker halts: {why:?}"),
        };
        self.inputs.push_back((node, input));
    }

    /// Lets time pass, waking whoever asked for it.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            let due = self.homes.iter().filter_map(|(node, home)| Some((home.wake_at?, *node)));
            let Some((at, node)) = due.min().filter(|(at, _)| *at <= end) else {
                break;
            };
            self.advance(at);
            self.homes.get_mut(&node).expect("it lives").wake_at = None;
            self.inputs.push_back((node, Input::Wake));
            self.settle();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let to = to.max(self.now.mono);
        let millis = |at: Instant| (at.0 / 1_000) as i64;
        self.now.wall.0 += millis(to) - millis(self.now.mono);
        self.now.mono = to;
    }
}
