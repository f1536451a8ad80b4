//! What the cluster looks like: brokers, topics, leaders; asked for when somebody misses something, or when it is old.
//!
//! Promises that the leader epoch of a partition never goes back within one life of its topic, whichever broker is asked; that
//! brokers are asked in turn, so that one that is cut off from the rest is not believed for ever. Does not know why anybody
//! wants to know.

use std::collections::BTreeMap;

use super::api::{Config, Effect};
use super::connections::{Ask, Connections, Lane, Lost, Node, Outgoing};
use super::limits;
use crate::id::TopicId;
use crate::kafka::messages::{LeaderIdAndEpoch, MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::kafka::{ErrorCode, ResponseBody};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leader {
    node: Option<Node>,
    epoch: i32,
}

#[derive(Debug)]
struct Topic {
    id: TopicId,
    error: ErrorCode,
    partitions: BTreeMap<i32, Leader>,
    /// When somebody last asked for it; what nobody asks for is forgotten.
    wanted_at: Instant,
}

#[derive(Debug)]
pub(super) struct Metadata {
    retry_backoff: Duration,
    age_max: Duration,
    auto_create: bool,
    brokers: BTreeMap<Node, (String, u16)>,
    controller: Option<Node>,
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<TopicId, String>,
    needed: bool,
    in_flight: bool,
    not_before: Instant,
    fetched_at: Option<Instant>,
    turn: Turn,
}

/// Whom to ask next, when anybody will do.
#[derive(Debug)]
pub(super) struct Turn {
    at: u64,
    last: Option<Node>,
}

impl Turn {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { at: rng.next_u64() >> 1, last: None }
    }

    /// A broker that is connected, another one than last time if there is one; sees to it that there will be.
    pub(super) fn pick(&mut self, now: Instant, net: &mut Connections, out: &mut Vec<Effect>) -> Option<Node> {
        let mut nodes = net.candidates();
        if nodes.is_empty() {
            return None;
        }
        let first = (self.at % nodes.len() as u64) as usize;
        nodes.rotate_left(first);
        let other = nodes.iter().copied().filter(|node| Some(*node) != self.last);
        let found = other.into_iter().find(|node| net.is_ready(*node, Lane::Main));
        if found.is_none() {
            let mut begun = 0;
            for node in &nodes {
                if Some(*node) != self.last && begun < limits::CANDIDATES_MAX {
                    net.ready(now, *node, Lane::Main, out);
                    // Who fails waits for a while by itself, and must not keep the others from being tried.
                    begun += usize::from(!net.is_failing(*node, Lane::Main));
                }
            }
        }
        let found = found.or_else(|| self.last.filter(|last| net.ready(now, *last, Lane::Main, out)));
        if found.is_some() {
            self.at = self.at.wrapping_add(1);
            self.last = found;
        }
        found
    }
}

impl Metadata {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            retry_backoff: config.retry_backoff,
            age_max: config.metadata_max_age,
            auto_create: config.allow_auto_topic_creation,
            brokers: BTreeMap::new(),
            controller: None,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            needed: false,
            in_flight: false,
            not_before: Instant(0),
            fetched_at: None,
            turn: Turn::new(&mut Rng::stream(config.seed, &[super::STREAM_METADATA])),
        }
    }

    /// Who leads the partition, in which epoch. Asks if nobody knows.
    pub(super) fn leader(&mut self, now: Instant, topic: &str, partition: i32) -> Option<(Node, i32)> {
        let leader = self.want(now, topic).partitions.get(&partition).copied();
        let found = leader.and_then(|leader| Some((leader.node?, leader.epoch)));
        let found = found.filter(|(node, _)| self.brokers.contains_key(node));
        self.needed |= found.is_none();
        found
    }

    /// How many partitions the topic has. Asks if nobody knows.
    pub(super) fn partition_count(&mut self, now: Instant, topic: &str) -> Option<i32> {
        let count = self.want(now, topic).partitions.len();
        self.needed |= count == 0;
        i32::try_from(count).ok().filter(|count| *count > 0)
    }

    fn want(&mut self, now: Instant, topic: &str) -> &Topic {
        if !self.topics.contains_key(topic) {
            let unknown = Topic {
                id: TopicId::ZERO,
                error: ErrorCode::UnknownTopicOrPartition,
                partitions: BTreeMap::new(),
                wanted_at: now,
            };
            self.topics.insert(topic.to_owned(), unknown);
            self.needed = true;
        }
        let topic = self.topics.get_mut(topic).expect("it was just put there");
        topic.wanted_at = now;
        topic
    }

    /// What the cluster last said about the topic as a whole.
    pub(super) fn topic_error(&self, topic: &str) -> ErrorCode {
        self.topics.get(topic).map_or(ErrorCode::UnknownTopicOrPartition, |topic| topic.error)
    }

    pub(super) fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.topics.get(topic).map(|topic| topic.id).filter(|id| *id != TopicId::ZERO)
    }

    pub(super) fn topic_name(&self, id: TopicId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// The controller, if it can be reached at all.
    pub(super) fn controller(&self) -> Option<Node> {
        self.controller.filter(|node| self.brokers.contains_key(node))
    }

    pub(super) fn knows_broker(&self, node: Node) -> bool {
        self.brokers.contains_key(&node)
    }

    /// What is known proved wrong.
    pub(super) fn is_stale(&mut self) {
        self.needed = true;
    }

    /// Whether a leader can be asked. One that can not be reached may no longer lead: then the others are asked who does.
    pub(super) fn reach(
        &mut self,
        now: Instant,
        net: &mut Connections,
        leader: Node,
        lane: Lane,
        out: &mut Vec<Effect>,
    ) -> bool {
        let ready = net.ready(now, leader, lane, out);
        self.needed |= !ready && net.is_failing(leader, lane);
        ready
    }

    /// A broker that refused named the leader (KIP-951).
    pub(super) fn hint(&mut self, topic: &str, partition: i32, hint: &LeaderIdAndEpoch) {
        let known = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(&partition));
        if let Some(leader) = known
            && hint.leader_id >= 0
            && hint.leader_epoch > leader.epoch
            && self.brokers.contains_key(&hint.leader_id)
        {
            *leader = Leader { node: Some(hint.leader_id), epoch: hint.leader_epoch };
        }
    }

    pub(super) fn drive(&mut self, now: Instant, net: &mut Connections, out: &mut Vec<Effect>) {
        let old = self.fetched_at.is_some_and(|at| now >= at + self.age_max) && !self.topics.is_empty();
        self.needed |= old;
        if !self.needed || self.in_flight || now < self.not_before {
            return;
        }
        let Some(node) = self.turn.pick(now, net, out) else {
            return;
        };
        let age_max = self.age_max;
        // A topic that exists is never forgotten, nor the epochs of its leaders.
        self.topics.retain(|_, topic| topic.id != TopicId::ZERO || now < topic.wanted_at + age_max);
        let topics = self
            .topics
            .keys()
            .map(|name| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() });
        let body = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: self.auto_create,
            ..MetadataRequest::default()
        };
        self.needed = false;
        self.in_flight = true;
        net.send(now, (node, Lane::Main), Ask::Metadata, Outgoing::new(body), out);
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.in_flight {
            return None;
        }
        let age = self.fetched_at.map(|at| at + self.age_max).filter(|_| !self.topics.is_empty());
        if self.needed { Some(self.not_before) } else { age }
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        result: Result<ResponseBody, Lost>,
        net: &mut Connections,
        out: &mut Vec<Effect>,
    ) {
        self.in_flight = false;
        self.not_before = now + self.retry_backoff;
        match result {
            Ok(ResponseBody::Metadata(response)) if response.error_code == 0 => {
                self.fetched_at = Some(now);
                self.learn(now, &response, net, out);
            }
            _ => self.needed = true,
        }
    }

    /// Takes in what a broker says, whoever asked.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        response: &MetadataResponse,
        net: &mut Connections,
        out: &mut Vec<Effect>,
    ) {
        let brokers = response.brokers.iter().filter(|broker| broker.node_id >= 0);
        let brokers: BTreeMap<Node, (String, u16)> = brokers
            .filter_map(|broker| Some((broker.node_id, (broker.host.clone(), u16::try_from(broker.port).ok()?))))
            .collect();
        if brokers.is_empty() {
            // A broker that knows nobody, not even itself, knows nothing yet.
            self.needed = true;
            return;
        }
        net.set_brokers(now, &brokers, out);
        self.brokers = brokers;
        self.controller = Some(response.controller_id).filter(|id| *id >= 0);
        for theirs in &response.topics {
            let Some(topic) = theirs.name.as_ref().and_then(|name| self.topics.get_mut(name)) else {
                continue;
            };
            topic.error = ErrorCode::from_code(theirs.error_code).unwrap_or(ErrorCode::UnknownServerError);
            if topic.error != ErrorCode::None && theirs.partitions.is_empty() {
                // Gone or not there yet: what was known of its leaders is void only if the topic is.
                if topic.error == ErrorCode::UnknownTopicOrPartition {
                    topic.partitions.clear();
                }
                continue;
            }
            let same_life = topic.id == theirs.topic_id;
            topic.id = theirs.topic_id;
            let known = std::mem::take(&mut topic.partitions);
            for partition in &theirs.partitions {
                let node = Some(partition.leader_id).filter(|id| *id >= 0);
                let new = Leader { node, epoch: partition.leader_epoch };
                let old = known.get(&partition.partition_index).filter(|old| same_life && old.epoch > new.epoch);
                topic.partitions.insert(partition.partition_index, old.copied().unwrap_or(new));
            }
        }
        let ids = self.topics.iter().filter(|(_, topic)| topic.id != TopicId::ZERO);
        self.names = ids.map(|(name, topic)| (topic.id, name.clone())).collect();
    }
}
