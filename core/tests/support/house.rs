//! A house for brokers in tests: instant disks in memory, a network that delivers in order, time that moves when told.
//!
//! Prints what it carries out, for golden scripts. Everything passes as bytes, through the functions a host calls.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of the house")]

pub mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use tidelog_core::broker::{Boot, Broker, Config, Settings};
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, Effect, Effects, Halt, Input};
use tidelog_core::event::Event;
use tidelog_core::id::{ClusterId, ConnId, DirectoryId, FileId, FileKind, GroupId, NodeId, OpId, ReplicaId, RequestId};
use tidelog_core::kafka::{
    ApiKey, RequestBody, RequestHeader, Response, ResponseBody, decode_request, decode_response, encode_request,
};
use tidelog_core::mutants::Mutants;
use tidelog_core::peer::Envelope;
use tidelog_core::time::{Duration, Instant, Now, Timestamp};

/// A disk that does everything at once and forgets nothing.
#[derive(Clone, Default)]
pub struct Disk {
    pub files: BTreeMap<FileId, Vec<u8>>,
    /// No file can grow.
    pub full: bool,
    /// So many times more files can grow: then it is full.
    pub grants: Option<u32>,
}

impl Disk {
    pub fn run(&mut self, command: &DiskCommand) -> Result<DiskOutput, DiskError> {
        match command {
            DiskCommand::List => {
                Ok(DiskOutput::Listed(self.files.iter().map(|(file, bytes)| (*file, bytes.len() as u64)).collect()))
            }
            DiskCommand::Read { file, at, len } => {
                let bytes = self.files.get(file).ok_or(DiskError::Missing)?;
                let from = (*at as usize).min(bytes.len());
                let to = (at + len).min(bytes.len() as u64) as usize;
                Ok(DiskOutput::Read(Bytes::copy_from_slice(&bytes[from..to])))
            }
            DiskCommand::Write { file, at, bytes, durable: _, cold: _ } => {
                let content = self.files.get_mut(file).ok_or(DiskError::Missing)?;
                let mut at = *at as usize;
                for slice in bytes {
                    assert!(at + slice.len() <= content.len(), "a write stays within what was allocated");
                    content[at..at + slice.len()].copy_from_slice(slice);
                    at += slice.len();
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Sync { .. } => Ok(DiskOutput::Done),
            DiskCommand::Allocate { file, len } => {
                let len_now = self.files.get(file).map_or(0, Vec::len);
                if len_now < *len as usize {
                    if self.full || self.grants == Some(0) {
                        return Err(DiskError::Full);
                    }
                    self.grants = self.grants.map(|grants| grants - 1);
                }
                let content = self.files.entry(*file).or_default();
                if content.len() < *len as usize {
                    content.resize(*len as usize, 0);
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Truncate { file, len } => {
                self.files.get_mut(file).ok_or(DiskError::Missing)?.truncate(*len as usize);
                Ok(DiskOutput::Done)
            }
            DiskCommand::Remove { file } => {
                self.files.remove(file);
                Ok(DiskOutput::Done)
            }
        }
    }
}

pub struct Home {
    pub broker: Broker,
    pub disk: Disk,
    pub boots: u64,
    pub wake_at: Option<Instant>,
    pub next_request: u64,
    pub stopped: bool,
    /// Why it ended, if it has.
    pub halted: Option<Halt>,
}

/// Brokers, and what is under way between them.
pub struct House {
    pub now: Now,
    pub homes: BTreeMap<NodeId, Home>,
    pub inputs: VecDeque<(NodeId, Input)>,
    pub answers: Vec<(NodeId, ConnId, Response)>,
    pub log: String,
    pub printing: bool,
    pub largest_envelope: usize,
    /// Connections that are not read from.
    pub muted: BTreeSet<(NodeId, ConnId)>,
    /// Which disk commands are kept waiting until [`House::hurry`].
    pub slow: fn(&DiskCommand) -> bool,
    kept: Vec<(NodeId, OpId, DiskCommand)>,
    pub directories: BTreeMap<NodeId, DirectoryId>,
    /// What brokers are told of the voters, where it is not everybody.
    pub lists: BTreeMap<NodeId, Vec<NodeId>>,
    /// How often each broker met each rare situation.
    pub marks: BTreeMap<(NodeId, &'static str), u32>,
    /// Which replica brokers came back as, or began to be, in the order in which they did.
    pub recovered: Vec<(NodeId, GroupId, ReplicaId)>,
    /// What brokers noted.
    pub notes: Vec<(NodeId, String)>,
    /// Messages for which this holds are lost.
    pub loses: fn(NodeId, NodeId, &Envelope) -> bool,
    /// What happens to messages on the way.
    pub spoils: fn(&mut Envelope),
    /// What brokers that are started are told of sizes and times.
    pub settings: Settings,
    nodes: u32,
    asked: BTreeMap<(NodeId, ConnId, RequestId), (ApiKey, i16)>,
}

impl House {
    /// So many brokers with empty disks, which have formed a cluster.
    pub fn new(nodes: u32) -> Self {
        let mut house = Self::empty(nodes);
        for node in 1..=nodes {
            house.start(NodeId(node), Disk::default(), 1);
        }
        house.settle();
        house
    }

    /// Room for so many brokers; none is started.
    pub fn empty(nodes: u32) -> Self {
        Self {
            now: Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000) },
            homes: BTreeMap::new(),
            inputs: VecDeque::new(),
            answers: Vec::new(),
            log: String::new(),
            printing: false,
            largest_envelope: 0,
            muted: BTreeSet::new(),
            slow: |_| false,
            kept: Vec::new(),
            directories: BTreeMap::new(),
            lists: BTreeMap::new(),
            marks: BTreeMap::new(),
            recovered: Vec::new(),
            notes: Vec::new(),
            loses: |_, _, _| false,
            spoils: |_| {},
            settings: Settings::simulation(),
            nodes,
            asked: BTreeMap::new(),
        }
    }

    /// The cluster that a broker says it is of.
    pub fn cluster(&self, node: NodeId) -> ClusterId {
        self.homes[&node].broker.status().cluster
    }

    fn config(&self, node: NodeId) -> Config {
        Config {
            node,
            directory: self.directories.get(&node).copied().unwrap_or(DirectoryId([node.0 as u8; 16])),
            voters: self.lists.get(&node).cloned().unwrap_or_else(|| (1..=self.nodes).map(NodeId).collect()),
            host: format!("host{}", node.0),
            port: 9092,
            rack: None,
            auto_create: self.nodes == 1,
            settings: self.settings.clone(),
            mutants: Mutants::default(),
        }
    }

    pub fn start(&mut self, node: NodeId, disk: Disk, boots: u64) {
        let boot = Boot { counter: boots, seed: u64::from(node.0) * 1_000 + boots };
        let broker = Broker::new(self.config(node), boot);
        let home = Home { broker, disk, boots, wake_at: None, next_request: 1, stopped: false, halted: None };
        self.homes.insert(node, home);
        self.inputs.push_back((node, Input::Wake));
    }

    /// Ends the process; the disk stays.
    pub fn stop(&mut self, node: NodeId) -> Home {
        let home = self.homes.remove(&node).expect("it lives");
        self.inputs.retain(|(to, _)| *to != node);
        self.asked.retain(|(to, ..), _| *to != node);
        self.muted.retain(|(of, _)| *of != node);
        self.kept.retain(|(of, ..)| *of != node);
        home
    }

    /// The next life of what was stopped.
    pub fn bring_back(&mut self, node: NodeId, home: Home) {
        self.start(node, home.disk, home.boots + 1);
        self.settle();
    }

    pub fn restart(&mut self, node: NodeId) {
        let home = self.stop(node);
        self.bring_back(node, home);
    }

    /// Carries everything out until nothing is left to do at this moment.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 1_000_000, "the house comes to rest");
        }
    }

    /// Carries one thing out. False if there is nothing.
    pub fn step(&mut self) -> bool {
        let mut out = Effects::default();
        if let Some((node, input)) = self.inputs.pop_front() {
            let Some(home) = self.homes.get_mut(&node) else {
                return true;
            };
            if self.printing {
                let _ = writeln!(self.log, "{node:?} <- {}", describe_input(&input));
            }
            home.broker.step(self.now, input, &mut out);
            home.broker.check();
            for event in out.events.drain(..) {
                if self.printing {
                    let _ = writeln!(self.log, "{node:?}    event {event:?}");
                }
                match event {
                    Event::Sometimes(mark) => *self.marks.entry((node, mark)).or_default() += 1,
                    Event::Note(text) | Event::Progress(text) => self.notes.push((node, text)),
                    Event::Recovered { group, replica, .. } => self.recovered.push((node, group, replica)),
                    _ => {}
                }
            }
            for effect in out.effects.drain(..) {
                self.carry_out(node, effect);
            }
            return true;
        }
        false
    }

    fn carry_out(&mut self, node: NodeId, effect: Effect) {
        if self.printing {
            let _ = writeln!(self.log, "{node:?} -> {}", describe_effect(&effect));
        }
        let Some(home) = self.homes.get_mut(&node) else { return };
        match effect {
            Effect::Respond { conn, id, response } => {
                let (key, version) = self.asked.remove(&(node, conn, id)).expect("an answer has a question");
                let frame = joined(response.encode()).split_off(4);
                let decoded = decode_response(frame.freeze(), key, version).expect("an answer can be read");
                self.answers.push((node, conn, decoded));
            }
            Effect::Close { conn, reason: _ } => self.inputs.push_back((node, Input::Closed { conn })),
            Effect::Mute { conn } => assert!(self.muted.insert((node, conn)), "who is muted is not muted again"),
            Effect::Unmute { conn } => assert!(self.muted.remove(&(node, conn)), "who is heard was muted"),
            Effect::Send { to, envelope } => {
                let frame = joined(envelope.encode()).split_off(4);
                self.largest_envelope = self.largest_envelope.max(frame.len());
                let mut envelope = Envelope::decode(frame.freeze()).expect("an envelope can be read");
                (self.spoils)(&mut envelope);
                if (self.loses)(node, to, &envelope) {
                    return;
                }
                self.inputs.push_back((to, Input::Peer { from: node, envelope }));
            }
            Effect::Disk { op, command } if (self.slow)(&command) => self.kept.push((node, op, command)),
            Effect::Disk { op, command } => {
                let result = home.disk.run(&command);
                self.inputs.push_back((node, Input::DiskDone { op, result }));
            }
            Effect::Compute { job, job_input } => {
                self.inputs.push_back((node, Input::Computed { job, output: job_input.run() }));
            }
            Effect::WakeAt(at) => home.wake_at = Some(at),
            Effect::Halt(why) => {
                home.stopped = true;
                home.halted = Some(why);
            }
        }
    }

    /// Disks are quick again, and do what they kept waiting.
    pub fn hurry(&mut self) {
        self.slow = |_| false;
        for (node, op, command) in std::mem::take(&mut self.kept) {
            self.carry_out(node, Effect::Disk { op, command });
        }
        self.settle();
    }

    /// Lets time pass, waking whoever asked for it.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            let due = self.homes.iter().filter_map(|(node, home)| Some((home.wake_at?, *node))).min();
            match due.filter(|(at, _)| *at <= end) {
                Some((at, node)) => {
                    self.advance(at);
                    if let Some(home) = self.homes.get_mut(&node) {
                        home.wake_at = None;
                    }
                    self.inputs.push_back((node, Input::Wake));
                    self.settle();
                }
                None => {
                    self.advance(end);
                    return;
                }
            }
        }
    }

    fn advance(&mut self, to: Instant) {
        let to = to.max(self.now.mono);
        let passed = to.since(self.now.mono);
        self.now = Now { mono: to, wall: Timestamp(self.now.wall.0 + passed.as_millis() as i64) };
    }

    pub fn open(&mut self, node: NodeId, conn: u64) -> ConnId {
        let conn = ConnId(conn);
        self.inputs.push_back((node, Input::Opened { conn, peer: "test".into() }));
        self.settle();
        conn
    }

    /// Sends a request as bytes.
    pub fn send(&mut self, node: NodeId, conn: ConnId, version: i16, body: &RequestBody) -> RequestId {
        let home = self.homes.get_mut(&node).expect("it lives");
        let id = RequestId(home.next_request);
        home.next_request += 1;
        let api_key = body.api_key();
        let header = RequestHeader {
            api_key,
            api_version: version,
            correlation_id: id.0 as i32,
            client_id: Some("test".into()),
        };
        let frame = joined(encode_request(&header, body)).split_off(4);
        let request = decode_request(frame.freeze()).expect("a request can be read");
        self.asked.insert((node, conn, id), (api_key, version));
        self.inputs.push_back((node, Input::Request { conn, id, request }));
        self.settle();
        id
    }

    /// Sends a request and waits for its answer, at most ten seconds.
    pub fn ask(&mut self, node: NodeId, conn: ConnId, version: i16, body: impl Into<RequestBody>) -> ResponseBody {
        self.answers.clear();
        self.send(node, conn, version, &body.into());
        for _ in 0..1_000 {
            if let Some((.., response)) = self.answers.pop() {
                return response.body;
            }
            self.pass(Duration::from_millis(10));
        }
        panic!("no answer in ten seconds");
    }

    /// In five seconds, nothing is on the disk that nobody knows of, and nothing that is known is damaged.
    pub fn is_tidy(&mut self, node: NodeId) {
        self.pass(Duration::from_secs(5));
        let home = &self.homes[&node];
        let audit = home.broker.audit(|file| home.disk.files.get(&file).map(|bytes| bytes.clone().into()));
        let known = |file: &FileId| {
            matches!(file.kind(), FileKind::Journal | FileKind::Formation) || audit.files.contains(file)
        };
        let stray: Vec<_> = home.disk.files.keys().filter(|file| !known(file)).collect();
        assert!(stray.is_empty(), "{stray:?}");
        assert!(audit.groups.iter().all(|group| group.damage.is_none()), "{:?}", audit.groups);
    }

    /// Waits until every broker is ready.
    pub fn ready(&mut self) {
        for _ in 0..1_000 {
            if self.homes.values().all(|home| home.broker.status().ready) {
                return;
            }
            self.pass(Duration::from_millis(20));
        }
        panic!("not ready: {:?}", self.homes.values().map(|home| home.broker.status().waiting_for).collect::<Vec<_>>());
    }
}

pub fn joined(slices: Vec<Bytes>) -> BytesMut {
    let mut bytes = BytesMut::new();
    slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
    bytes
}

fn describe_input(input: &Input) -> String {
    match input {
        Input::Wake => "wake".into(),
        Input::Opened { conn, .. } => format!("opened {conn:?}"),
        Input::Request { conn, id, request } => {
            format!("request {conn:?} {id:?} {:?} v{}", request.header.api_key, request.header.api_version)
        }
        Input::Closed { conn } => format!("closed {conn:?}"),
        Input::Peer { from, envelope } => format!("from {from:?} {}", describe_envelope(envelope)),
        Input::DiskDone { op, result } => format!("disk {op:?} {}", describe_result(result)),
        Input::Computed { job, output } => format!("computed {job:?} {output:?}"),
        Input::Stop => "stop".into(),
        Input::Lost { node } => format!("lost {node:?}"),
    }
}

fn describe_result(result: &Result<DiskOutput, DiskError>) -> String {
    match result {
        Ok(DiskOutput::Listed(files)) => format!("listed {} files", files.len()),
        Ok(DiskOutput::Read(bytes)) => format!("read {} bytes", bytes.len()),
        Ok(DiskOutput::Done) => "done".into(),
        Err(error) => format!("failed {error:?}"),
    }
}

fn describe_envelope(envelope: &Envelope) -> String {
    let mut parts: Vec<String> = envelope
        .messages
        .iter()
        .map(|message| {
            let raft = &message.raft;
            format!(
                "{:?} {:?} {:?} at {:?} commit {:?} entries {}{}",
                message.group,
                raft.kind,
                raft.term,
                raft.index,
                raft.commit,
                raft.entries.len(),
                if raft.reject { " no" } else { "" }
            )
        })
        .collect();
    parts.extend(envelope.leading.iter().map(|(group, term)| format!("leads {group:?} {term:?}")));
    parts.extend(envelope.commands.iter().map(|_| "command".to_owned()));
    parts.extend(envelope.formation.iter().map(|message| format!("{message:?}")));
    parts.join("; ")
}

fn describe_effect(effect: &Effect) -> String {
    match effect {
        Effect::Respond { conn, id, response } => format!("respond {conn:?} {id:?} {:?}", response.api_key),
        Effect::Close { conn, reason } => format!("close {conn:?}: {reason}"),
        Effect::Mute { conn } => format!("mute {conn:?}"),
        Effect::Unmute { conn } => format!("unmute {conn:?}"),
        Effect::Send { to, envelope } => format!("to {to:?} {}", describe_envelope(envelope)),
        Effect::Disk { op, command } => format!("disk {op:?} {}", describe_command(command)),
        Effect::Compute { job, .. } => format!("compute {job:?}"),
        Effect::WakeAt(_) => "wake me".into(),
        Effect::Halt(why) => format!("halt {why:?}"),
    }
}

fn describe_command(command: &DiskCommand) -> String {
    match command {
        DiskCommand::List => "list".into(),
        DiskCommand::Read { file, at, len } => format!("read {file} at {at}, {len} bytes"),
        DiskCommand::Write { file, at, bytes, durable, cold } => {
            let len: usize = bytes.iter().map(Bytes::len).sum();
            let how = if *durable { ", durably" } else { "" };
            format!("write {file} at {at}, {len} bytes{how}{}", if *cold { ", for no reader" } else { "" })
        }
        DiskCommand::Sync { files } => format!("sync {files:?}"),
        DiskCommand::Allocate { file, len } => format!("allocate {file}, {len} bytes"),
        DiskCommand::Truncate { file, len } => format!("truncate {file} to {len} bytes"),
        DiskCommand::Remove { file } => format!("remove {file}"),
    }
}
