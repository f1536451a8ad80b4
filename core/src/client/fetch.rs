//! Carries the consumer's fetches to the leaders, and the answers back.
//!
//! Promises one fetch at a time to each broker, on a connection of its own. Does not know positions.

use std::collections::BTreeMap;

use super::api::{Config, Effect};
use super::connections::{Ask, Connections, Lane, Lost, Node, Outgoing};
use super::consumer::{Consumer, Wanted};
use super::limits;
use super::metadata::Metadata;
use crate::id::TopicId;
use crate::kafka::ResponseBody;
use crate::kafka::messages::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::time::{Duration, Instant};

/// The newest version that names topics; later ones send their ids (KIP-516).
const VERSION_WITH_NAMES: i16 = 12;

#[derive(Debug)]
struct Flight {
    node: Node,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
pub(super) struct Fetcher {
    max_wait: Duration,
    min_bytes: i32,
    max_bytes: i32,
    partition_max_bytes: i32,
    flights: BTreeMap<u64, Flight>,
    last_flight: u64,
}

impl Fetcher {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            max_wait: config.fetch_max_wait,
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            partition_max_bytes: config.fetch_partition_max_bytes,
            flights: BTreeMap::new(),
            last_flight: 0,
        }
    }

    pub(super) fn drive(
        &mut self,
        now: Instant,
        consumer: &mut Consumer,
        metadata: &mut Metadata,
        net: &mut Connections,
        out: &mut Vec<Effect>,
    ) {
        let mut by_leader: BTreeMap<Node, Vec<(Wanted, i32)>> = BTreeMap::new();
        for wanted in consumer.wanted(now) {
            if let Some((leader, epoch)) = metadata.leader(now, &wanted.place.0, wanted.place.1) {
                by_leader.entry(leader).or_default().push((wanted, epoch));
            }
        }
        for (leader, wanted) in by_leader {
            let busy = self.flights.values().any(|flight| flight.node == leader);
            if busy || !metadata.reach(now, net, leader, Lane::Fetch, out) {
                continue;
            }
            let wait = self.max_wait.min(consumer.patience(now));
            let mut topics: Vec<FetchTopic> = Vec::new();
            let mut version_max = i16::MAX;
            for (wanted, epoch) in &wanted {
                let (topic, partition) = &wanted.place;
                let part = FetchPartition {
                    partition: *partition,
                    current_leader_epoch: *epoch,
                    fetch_offset: wanted.offset,
                    partition_max_bytes: self.partition_max_bytes,
                    ..FetchPartition::default()
                };
                match topics.iter_mut().find(|known| known.topic == *topic) {
                    Some(known) => known.partitions.push(part),
                    None => {
                        let topic_id = metadata.topic_id(topic).unwrap_or(TopicId::ZERO);
                        if topic_id == TopicId::ZERO {
                            version_max = VERSION_WITH_NAMES;
                        }
                        topics.push(FetchTopic { topic: topic.clone(), topic_id, partitions: vec![part] });
                    }
                }
            }
            let body = FetchRequest {
                max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
                min_bytes: self.min_bytes,
                max_bytes: self.max_bytes,
                topics,
                ..FetchRequest::default()
            };
            let request = Outgoing { patience: wait, version_max, ..Outgoing::new(body) };
            self.last_flight += 1;
            let wanted: Vec<Wanted> = wanted.into_iter().map(|(wanted, _)| wanted).collect();
            for wanted in &wanted {
                consumer.sent(wanted);
            }
            self.flights.insert(self.last_flight, Flight { node: leader, wanted });
            net.send(now, (leader, Lane::Fetch), Ask::Fetch(self.last_flight), request, out);
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        flight: u64,
        result: &Result<ResponseBody, Lost>,
        consumer: &mut Consumer,
        metadata: &mut Metadata,
    ) {
        let Some(flight) = self.flights.remove(&flight) else {
            return;
        };
        let mut brought: BTreeMap<(&str, i32), (TopicId, &PartitionData)> = BTreeMap::new();
        if let Ok(ResponseBody::Fetch(response)) = result
            && response.error_code == 0
        {
            for topic in &response.responses {
                let named = Some(topic.topic.as_str()).filter(|name| !name.is_empty());
                let Some(name) = named.or_else(|| metadata.topic_name(topic.topic_id)) else {
                    continue;
                };
                let id = topic.topic_id;
                brought.extend(topic.partitions.iter().map(|part| ((name, part.partition_index), (id, part))));
            }
        }
        let mut room = limits::FETCHED_BYTES_MAX;
        let mut stale = false;
        let mut hints = Vec::new();
        for wanted in &flight.wanted {
            let data = brought.get(&(wanted.place.0.as_str(), wanted.place.1)).copied();
            stale |= consumer.fetched(now, flight.node, wanted, data, &mut room);
            hints.extend(data.map(|(_, data)| (&wanted.place, data.current_leader.clone())));
        }
        for (place, hint) in hints {
            metadata.hint(&place.0, place.1, &hint);
        }
        if stale {
            metadata.is_stale();
        }
    }
}
