//! Carries the producer's batches to the leaders, and the answers back; fetches producer ids.
//!
//! Promises that no connection carries more produce requests than configured, and that each batch of a request is settled once.
//! Does not know what an answer means for a batch (that is [`super::settle`]) nor how batches are ordered.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::api::{CallId, Config, Effect, Failure, Record, Trouble};
use super::connections::{Ask, Connections, Lane, Lost, Node, Outgoing};
use super::limits;
use super::metadata::{Metadata, Turn};
use super::producer::{Completion, Hold, Identity, Place, Producer, Ready, Reply};
use crate::id::ProducerId;
use crate::kafka::messages::{
    InitProducerIdRequest, PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use crate::kafka::{ErrorCode, Records, ResponseBody};
use crate::rng::Rng;
use crate::time::{Duration, Instant, Timestamp};

#[derive(Debug)]
struct Flight {
    node: Node,
    batches: Vec<(Place, u64)>,
}

#[derive(Debug)]
pub(super) struct Delivery {
    producer: Producer,
    acks: i16,
    timeout_ms: i32,
    retry_backoff: Duration,
    flights: BTreeMap<u64, Flight>,
    last_flight: u64,
    /// Produce requests in flight by broker.
    load: BTreeMap<Node, usize>,
    identity: Option<Identity>,
    identity_asked: bool,
    identity_not_before: Instant,
    /// A partition waits for an id of this generation.
    identity_wanted: Option<u64>,
    turn: Turn,
}

impl Delivery {
    pub(super) fn new(config: &Config) -> Self {
        // The broker gives up a little earlier than we do, so that its reason arrives.
        let patience = config.request_timeout.as_millis() / 5 * 4;
        Self {
            producer: Producer::new(config),
            acks: config.acks,
            timeout_ms: i32::try_from(patience).unwrap_or(i32::MAX).max(1),
            retry_backoff: config.retry_backoff,
            flights: BTreeMap::new(),
            last_flight: 0,
            load: BTreeMap::new(),
            identity: None,
            identity_asked: false,
            identity_not_before: Instant(0),
            identity_wanted: None,
            turn: Turn::new(&mut Rng::stream(config.seed, &[super::STREAM_PRODUCER])),
        }
    }

    pub(super) fn take(
        &mut self,
        now: Instant,
        call: CallId,
        to: (String, Option<i32>),
        record: Record,
        timestamp: Timestamp,
    ) -> Result<(), Failure> {
        self.producer.take(now, call, to, record, timestamp)
    }

    pub(super) fn drive(
        &mut self,
        now: Instant,
        metadata: &mut Metadata,
        net: &mut Connections,
        done: &mut Vec<Completion>,
        out: &mut Vec<Effect>,
    ) {
        for topic in self.producer.homeless() {
            if let Some(count) = metadata.partition_count(now, &topic) {
                self.producer.house(&topic, count);
            } else if is_hopeless(metadata.topic_error(&topic)) {
                self.producer.refuse_topic(&topic, metadata.topic_error(&topic), done);
            }
        }
        self.producer.expire(now, |topic| metadata.topic_error(topic), done);
        let mut by_leader: BTreeMap<Node, Vec<Place>> = BTreeMap::new();
        for place in self.producer.places() {
            if self.producer.is_due(now, &place)
                && let Some((leader, _)) = metadata.leader(now, &place.0, place.1)
            {
                by_leader.entry(leader).or_default().push(place);
            }
        }
        self.identity_wanted = None;
        for (leader, places) in by_leader {
            while self.load.get(&leader).copied().unwrap_or(0) < self.producer.in_flight_max()
                && metadata.reach(now, net, leader, Lane::Main, out)
            {
                let batches = self.gather(now, leader, &places);
                if batches.is_empty() {
                    break;
                }
                self.send(now, leader, batches, net, done, out);
            }
        }
        self.ask_identity(now, net, out);
    }

    /// The next batch of each partition, as many as fit into one request.
    fn gather(&mut self, now: Instant, leader: Node, places: &[Place]) -> Vec<Ready> {
        let mut batches = Vec::new();
        let mut room = usize::MAX;
        for place in places {
            match self.producer.next(now, place, leader, self.identity, room) {
                Ok(ready) => {
                    room = room.min(limits::PRODUCE_BYTES_MAX).saturating_sub(ready.bytes.len());
                    batches.push(ready);
                }
                Err(Hold::Identity(generation)) => self.identity_wanted = self.identity_wanted.max(Some(generation)),
                Err(Hold::Wait) => {}
            }
        }
        batches
    }

    fn send(
        &mut self,
        now: Instant,
        leader: Node,
        batches: Vec<Ready>,
        net: &mut Connections,
        done: &mut Vec<Completion>,
        out: &mut Vec<Effect>,
    ) {
        let mut topics: BTreeMap<String, Vec<PartitionProduceData>> = BTreeMap::new();
        let mut flight = Flight { node: leader, batches: Vec::new() };
        for Ready { place, batch, bytes } in batches {
            let records: Option<Records> = Some(Bytes::into(bytes));
            let data = PartitionProduceData { index: place.1, records };
            topics.entry(place.0.clone()).or_default().push(data);
            flight.batches.push((place, batch));
        }
        let topics = topics.into_iter().map(|(name, partition_data)| TopicProduceData { name, partition_data });
        let body = ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: self.timeout_ms,
            topic_data: topics.collect(),
        };
        self.last_flight += 1;
        let request = Outgoing { answered: self.acks != 0, ..Outgoing::new(body) };
        let sent = net.send(now, (leader, Lane::Main), Ask::Produce(self.last_flight), request, out);
        if sent && self.acks == 0 {
            for (place, batch) in flight.batches {
                self.producer.settle(now, &place, batch, Reply::Sent, done);
            }
        } else {
            *self.load.entry(leader).or_default() += 1;
            self.flights.insert(self.last_flight, flight);
        }
    }

    /// Settles the batches of a request.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        flight: u64,
        result: Result<ResponseBody, Lost>,
        metadata: &mut Metadata,
        done: &mut Vec<Completion>,
    ) {
        let Some(flight) = self.flights.remove(&flight) else {
            return;
        };
        if let Some(load) = self.load.get_mut(&flight.node) {
            *load -= 1;
        }
        let silence = match &result {
            Ok(_) => Reply::Lost("the broker's answer does not mention it".to_owned()),
            Err(Lost::Unsupported(_)) => Reply::Unsupported("the broker is too old".to_owned()),
            Err(lost @ Lost::Connection(_)) => Reply::Lost(lost.to_string()),
        };
        let mut said: BTreeMap<(&str, i32), &PartitionProduceResponse> = BTreeMap::new();
        if let Ok(ResponseBody::Produce(response)) = &result {
            for topic in &response.responses {
                said.extend(topic.partition_responses.iter().map(|part| ((topic.name.as_str(), part.index), part)));
            }
        }
        for (place, batch) in flight.batches {
            let reply = match said.get(&(place.0.as_str(), place.1)) {
                None => silence.clone(),
                Some(part) => {
                    metadata.hint(&place.0, place.1, &part.current_leader);
                    Reply::Said {
                        error: part.error_code,
                        message: sentence(part),
                        base: part.base_offset,
                        stamp: part.log_append_time_ms,
                    }
                }
            };
            if self.producer.settle(now, &place, batch, reply, done) {
                metadata.is_stale();
            }
        }
    }

    fn ask_identity(&mut self, now: Instant, net: &mut Connections, out: &mut Vec<Effect>) {
        let known = self.identity.map(|identity| identity.generation);
        if self.identity_wanted.is_none_or(|wanted| known >= Some(wanted))
            || self.identity_asked
            || now < self.identity_not_before
        {
            return;
        }
        let Some(node) = self.turn.pick(now, net, out) else {
            return;
        };
        let body = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        self.identity_asked = true;
        net.send(now, (node, Lane::Main), Ask::ProducerId, Outgoing::new(body), out);
    }

    /// Takes a producer id, or does without.
    pub(super) fn identified(&mut self, now: Instant, result: Result<ResponseBody, Lost>, done: &mut Vec<Completion>) {
        self.identity_asked = false;
        let code = match result {
            Ok(ResponseBody::InitProducerId(response)) if response.error_code == 0 && response.producer_id >= 0 => {
                let generation = self.identity.map_or(1, |identity| identity.generation + 1);
                let (id, epoch) = (ProducerId(response.producer_id), response.producer_epoch);
                self.identity = Some(Identity { id, epoch, generation });
                return;
            }
            Ok(ResponseBody::InitProducerId(response)) => response.error_code,
            Ok(_) | Err(Lost::Connection(_)) => ErrorCode::NetworkException.code(),
            Err(Lost::Unsupported(_)) => ErrorCode::UnsupportedVersion.code(),
        };
        self.identity_not_before = now + self.retry_backoff;
        let error = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        // Nothing is lost by asking again for what is no one's fault.
        if is_hopeless(error) {
            self.producer.refuse_identity(error, done);
        }
    }

    /// Batches that were not taken, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.producer.troubles()
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let waits = self.identity_wanted.is_some() && !self.identity_asked;
        let identity = Some(self.identity_not_before).filter(|at| waits && *at > now);
        identity.into_iter().chain(self.producer.deadline(now)).min()
    }
}

/// Whether asking again can not help.
fn is_hopeless(error: ErrorCode) -> bool {
    !error.is_retriable() && !matches!(error, ErrorCode::None | ErrorCode::UnknownServerError)
}

/// What a broker says of a batch that it refused, with the first record it names.
fn sentence(part: &PartitionProduceResponse) -> Option<String> {
    let record = part.record_errors.iter().find_map(|record| record.batch_index_error_message.as_deref());
    match (part.error_message.as_deref(), record) {
        (Some(batch), Some(record)) => Some(format!("{batch}: {record}")),
        (message, None) | (None, message) => message.map(str::to_owned),
    }
}
