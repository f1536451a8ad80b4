//! A client that writes the batches of idempotent producers by hand, and does what our own client never does: five in flight before
//! anything was answered, duplicates of any age, gaps, epochs that begin anywhere, sequences that go round, batches that come again on
//! another connection, several partitions in one request.
//!
//! It knows what may come of each act only as far as it goes on from there: what is right is judged by
//! [`tidelog_properties::producers`], which sees every batch come and every entry applied.

mod lines;
mod writer;

use std::collections::BTreeMap;

use tidelog_core::client::{CallId, Config, Effect, Failure, Input, Outcome};
use tidelog_core::kafka::messages::{
    InitProducerIdRequest, MetadataRequest, PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidelog_core::kafka::{ErrorCode, Records, RequestBody, ResponseBody};
use tidelog_core::rng::Rng;

use crate::program::{Desk, Program};
use crate::scenario::RawSpec;
use lines::Lines;
use writer::{Books, Key, Place, Writer};

/// The version of Metadata requests, and of those for producer ids, which let a producer say what it has (KIP-360).
const METADATA_VERSION: i16 = 12;
const PRODUCER_ID_VERSION: i16 = 4;
/// The most connections at a time.
const LINES_MAX: usize = 6;

/// What a request was about.
#[derive(Debug)]
enum About {
    Leaders,
    ProducerId,
    Batches(Vec<Key>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Raw {
    spec: RawSpec,
    brokers: u32,
    config: Config,
    rng: Rng,
    lines: Lines<About>,
    /// Ids that were given and not used yet.
    ids: Vec<i64>,
    leaders: BTreeMap<Place, i32>,
    writers: Vec<Writer>,
    /// Writers that are silent, and may come back.
    retired: Vec<Writer>,
    books: Books,
    draining: bool,
}

impl Raw {
    pub(super) fn new(spec: RawSpec, brokers: u32, config: Config, rng: Rng) -> Self {
        Self {
            spec,
            brokers,
            config,
            rng,
            lines: Lines::new(),
            ids: Vec::new(),
            leaders: BTreeMap::new(),
            writers: Vec::new(),
            retired: Vec::new(),
            books: Books::default(),
            draining: false,
        }
    }

    fn any_broker(&mut self) -> i32 {
        self.rng.between(1, u64::from(self.brokers)) as i32
    }

    /// Asks what it needs to know, now and then.
    fn ask(&mut self, out: &mut Vec<Effect>) {
        if self.ids.len() < 2 || self.rng.per_mille(20) {
            let has =
                self.rng.pick(&self.writers).filter(|_| self.ids.len() == 1).map(|writer| (writer.id, writer.epoch));
            let (producer_id, producer_epoch) = has.unwrap_or((-1, -1));
            let body = InitProducerIdRequest { producer_id, producer_epoch, ..InitProducerIdRequest::default() };
            let node = self.any_broker();
            let conn = self.lines.to(node, out);
            self.lines.send(conn, PRODUCER_ID_VERSION, &body.into(), About::ProducerId, out);
        }
        if self.leaders.is_empty() || self.rng.per_mille(150) {
            let body = MetadataRequest { topics: None, ..MetadataRequest::default() };
            let node = self.any_broker();
            let conn = self.lines.to(node, out);
            self.lines.send(conn, METADATA_VERSION, &body.into(), About::Leaders, out);
        }
    }

    /// Sees to it that somebody writes: under a new id, or one that was silent for a while.
    fn recruit(&mut self, desk: &Desk<'_>) {
        while self.writers.len() < self.spec.writers as usize {
            if !self.retired.is_empty() && self.rng.per_mille(600) {
                let at = self.rng.below(self.retired.len() as u64) as usize;
                let mut writer = self.retired.swap_remove(at);
                writer.comes_back();
                self.writers.push(writer);
                continue;
            }
            let places = desk.board.partitions();
            let (Some(place), Some(id)) = (self.rng.pick(&places).cloned(), self.ids.pop()) else {
                return;
            };
            self.writers.push(Writer::new(place, id));
        }
        if self.rng.per_mille(120) {
            let at = self.rng.below(self.writers.len() as u64) as usize;
            let writer = self.writers.swap_remove(at);
            // Its id writes elsewhere, too, as ids do.
            if self.rng.per_mille(300) {
                let places = desk.board.partitions();
                let place = self.rng.pick(&places).cloned();
                self.retired.extend(place.map(|place| Writer::new(place, writer.id)));
            }
            self.retired.push(writer);
        }
    }

    /// One or two writers act; what they write to one broker may share its requests.
    fn act(&mut self, desk: &mut Desk<'_>) {
        let mut acts: Vec<(i32, bool, Vec<Key>)> = Vec::new();
        let first = self.rng.below(self.writers.len().max(1) as u64) as usize;
        let both = usize::from(self.rng.per_mille(400));
        for at in (first..=first + both).take(self.writers.len()) {
            let at = at % self.writers.len();
            let place = self.writers[at].place.clone();
            let leader = self.leaders.get(&place).copied().filter(|_| !self.rng.per_mille(30));
            let node = leader.unwrap_or_else(|| self.rng.between(1, u64::from(self.brokers)) as i32);
            let act = self.writers[at].act(&mut self.books, &mut self.rng, desk);
            acts.push((node, act.elsewhere, act.batches));
        }
        let mut out = std::mem::take(&mut desk.wires);
        if let [(one, _, first), (other, _, second)] = acts.as_mut_slice()
            && one == other
            && self.rng.per_mille(700)
        {
            let second = std::mem::take(second);
            let (node, first) = (*one, std::mem::take(first));
            let conn = self.lines.to(node, &mut out);
            for at in 0..first.len().max(second.len()) {
                let both = first.get(at).into_iter().chain(second.get(at)).cloned().collect();
                self.send(conn, both, &mut out);
            }
        }
        for (node, elsewhere, batches) in acts {
            let mut conn = self.lines.to(node, &mut out);
            if elsewhere && !batches.is_empty() {
                if self.rng.per_mille(500) {
                    self.lines.cut(conn, &mut out);
                }
                conn = self.lines.open(node, &mut out);
            }
            batches.into_iter().for_each(|batch| self.send(conn, vec![batch], &mut out));
        }
        for conn in self.lines.all().iter().rev().skip(LINES_MAX) {
            self.lines.cut(*conn, &mut out);
        }
        desk.wires = out;
    }

    fn send(&mut self, conn: u64, batches: Vec<Key>, out: &mut Vec<Effect>) {
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for key in &batches {
            let Some(bytes) = self.books.bytes(key) else { continue };
            let (name, index) = key.place.clone();
            let data = PartitionProduceData { index, records: Some(Records(vec![bytes])) };
            match topic_data.last_mut().filter(|topic| topic.name == name) {
                Some(topic) => topic.partition_data.push(data),
                None => topic_data.push(TopicProduceData { name, partition_data: vec![data] }),
            }
        }
        let acks = if self.rng.per_mille(self.spec.leader_acks) { 1 } else { -1 };
        let timeout_ms = self.rng.between(500, 5_000) as i32;
        let version = self.rng.between(3, 11) as i16;
        let body = ProduceRequest { transactional_id: None, acks, timeout_ms, topic_data };
        self.lines.send(conn, version, &RequestBody::Produce(body), About::Batches(batches), out);
    }

    fn produced(&mut self, batches: Vec<Key>, response: &ProduceResponse, desk: &mut Desk<'_>) {
        let answers = response.responses.iter().flat_map(|topic| {
            topic.partition_responses.iter().map(move |answer| ((topic.name.clone(), answer.index), answer))
        });
        for (key, (place, answer)) in batches.iter().zip(answers) {
            assert_eq!(key.place, place, "each partition is answered, in the order of the request");
            let error = ErrorCode::from_code(answer.error_code).expect("a broker answers with an error that is one");
            if error == ErrorCode::None {
                self.books.taken(key, answer.base_offset, desk);
            }
            if let Some(writer) = self.writers.iter_mut().find(|writer| writer.wrote(key)) {
                writer.told(key, error);
            }
            if matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition) {
                self.leaders.clear();
            }
        }
    }
}

impl Program for Raw {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn is_raw(&self) -> bool {
        true
    }

    fn restarted(&mut self, _life: u64) -> Config {
        self.lines.forget();
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.draining {
            return;
        }
        let mut out = std::mem::take(&mut desk.wires);
        self.ask(&mut out);
        desk.wires = out;
        self.recruit(desk);
        if !self.writers.is_empty() && !self.leaders.is_empty() {
            self.act(desk);
        }
        desk.wake = Some(desk.now + self.rng.between(self.spec.pause / 2, self.spec.pause * 3 / 2));
    }

    fn heard(&mut self, input: Input, desk: &mut Desk<'_>) {
        let mut out = std::mem::take(&mut desk.wires);
        let answers = self.lines.heard(input, &mut out);
        desk.wires = out;
        for (about, body) in answers {
            match (about, body) {
                (About::Leaders, ResponseBody::Metadata(response)) => {
                    for topic in response.topics {
                        let Some(name) = topic.name else { continue };
                        for partition in topic.partitions.iter().filter(|partition| partition.leader_id > 0) {
                            self.leaders.insert((name.clone(), partition.partition_index), partition.leader_id);
                        }
                    }
                }
                (About::ProducerId, ResponseBody::InitProducerId(response)) => {
                    if response.error_code == 0 {
                        self.ids.push(response.producer_id);
                    }
                }
                (About::Batches(batches), ResponseBody::Produce(response)) => self.produced(batches, &response, desk),
                (about, body) => panic!("a request about {about:?} was answered with {body:?}"),
            }
        }
    }

    fn completed(&mut self, call: CallId, _result: Result<Outcome, Failure>, _desk: &mut Desk<'_>) {
        panic!("nobody called {call:?}");
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self) -> bool {
        self.draining && !self.lines.wait()
    }

    fn waiting_for(&self) -> String {
        "answers to batches it wrote by hand".to_owned()
    }
}
