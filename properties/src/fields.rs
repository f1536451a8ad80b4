//! Holds the fields of answers to their word: offsets, epochs, replicas, and that what was asked for is what is answered.
//!
//! Feed it every request that reaches a broker, every answer that leaves one, and what brokers apply. A field that nobody reads can
//! be wrong for years: here each is read, against the question, against the other fields, against what the broker said before on the
//! connection, and against what is committed. Does not judge records (the histories of clients do) nor what errors there are.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::id::{ConnId, GroupId, NodeId, RequestId, TopicId};
use tidelog_core::kafka::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse,
};
use tidelog_core::kafka::{Request, RequestBody, Response, ResponseBody};

use crate::violation::{Verdict, Violation};

/// Whoever asks for the beginning, and for the end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// What stands for operations when nobody asked.
const NOT_ASKED: i32 = i32::MIN;

/// The topic of an answer, as its version names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic<'a> {
    /// By its name.
    Name(&'a str),
    /// By its id.
    Id(TopicId),
}

impl<'a> Topic<'a> {
    fn of(name: &'a str, id: TopicId) -> Self {
        if id == TopicId::ZERO { Self::Name(name) } else { Self::Id(id) }
    }
}

/// Which group a partition is, as the broker that answers knows it.
pub type Groups<'a> = &'a dyn Fn(Topic<'_>, i32) -> Option<GroupId>;

/// A connection of a broker.
type Line = (NodeId, ConnId);

/// How far a partition is for all to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Range {
    start: i64,
    end: i64,
}

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Fields {
    asked: BTreeMap<(Line, RequestId), RequestBody>,
    /// The furthest that anybody applied, which is committed.
    committed: BTreeMap<GroupId, Range>,
    /// What was said of a partition last on a connection.
    said: BTreeMap<(Line, GroupId), Range>,
    epochs: BTreeMap<(Line, GroupId), i32>,
    /// Who was elected last, in which epoch, and when.
    elected: BTreeMap<GroupId, (i32, i32, u64)>,
    cluster: Option<String>,
    verdict: Verdict,
}

impl Fields {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody applied entries of a partition up to there: the offset after them, and the first that is served.
    pub fn applied(&mut self, group: GroupId, next_offset: i64, log_start: i64) {
        let range = self.committed.entry(group).or_default();
        range.end = range.end.max(next_offset);
        range.start = range.start.max(log_start);
    }

    /// A broker was elected to lead a partition.
    pub fn elected(&mut self, now: u64, group: GroupId, node: NodeId, epoch: i32) {
        let leader = i32::try_from(node.0).unwrap_or(-1);
        let before = self.elected.get(&group).map_or(0, |(_, epoch, _)| *epoch);
        if epoch > before {
            self.elected.insert(group, (leader, epoch, now));
        }
    }

    /// A broker is asked.
    pub fn asked(&mut self, node: NodeId, conn: ConnId, id: RequestId, request: &Request) {
        let body = match &request.body {
            // Of a produce the records are not needed.
            RequestBody::Produce(produce) => {
                let mut produce = produce.clone();
                let partitions = produce.topic_data.iter_mut().flat_map(|topic| &mut topic.partition_data);
                partitions.for_each(|partition| partition.records = None);
                RequestBody::Produce(produce)
            }
            body @ (RequestBody::Fetch(_) | RequestBody::ListOffsets(_) | RequestBody::Metadata(_)) => body.clone(),
            _ => return,
        };
        self.asked.insert(((node, conn), id), body);
    }

    /// A broker answers, which heard by now of all leaders that were elected before `known`.
    pub fn answered(&mut self, line: Line, id: RequestId, response: &Response, known: u64, groups: Groups<'_>) {
        let (node, conn) = line;
        let Some(asked) = self.asked.remove(&(line, id)) else { return };
        let wrong = match (asked, &response.body) {
            (RequestBody::Fetch(asked), ResponseBody::Fetch(told)) => self.fetch(line, &asked, told, groups),
            (RequestBody::Produce(asked), ResponseBody::Produce(told)) => self.produce(&asked, told, groups),
            (RequestBody::ListOffsets(asked), ResponseBody::ListOffsets(told)) => {
                self.list_offsets(&asked, told, groups)
            }
            (RequestBody::Metadata(asked), ResponseBody::Metadata(told)) => {
                self.metadata(line, &asked, told, known, groups)
            }
            _ => Err("the answer is of another kind than the question".to_owned()),
        };
        if let Err(what) = wrong {
            self.verdict.add("wrong-field", format!("{node:?}"), || {
                (format!("Broker {node} answered request {id} on connection {conn} wrongly: {what}."), Vec::new())
            });
        }
    }

    /// A connection has closed.
    pub fn closed(&mut self, node: NodeId, conn: ConnId) {
        let line = (node, conn);
        self.asked.retain(|(of, _), _| *of != line);
        self.said.retain(|(of, _), _| *of != line);
        self.epochs.retain(|(of, _), _| *of != line);
    }

    /// A broker is gone, and its connections with it.
    pub fn crashed(&mut self, node: NodeId) {
        self.asked.retain(|((of, _), _), _| *of != node);
        self.said.retain(|((of, _), _), _| *of != node);
        self.epochs.retain(|((of, _), _), _| *of != node);
    }

    /// Whether no promise was broken so far.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_empty()
    }

    /// The promises broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }

    fn committed(&self, group: GroupId) -> Range {
        self.committed.get(&group).copied().unwrap_or_default()
    }

    fn fetch(
        &mut self,
        line: Line,
        asked: &FetchRequest,
        told: &FetchResponse,
        groups: Groups<'_>,
    ) -> Result<(), String> {
        is("its throttle time", told.throttle_time_ms, 0)?;
        is("its session", told.session_id, 0)?;
        if told.error_code != 0 {
            return Ok(());
        }
        let wanted = asked.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic.as_str(), topic.topic_id, partition))
        });
        let mut given = told.responses.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic.as_str(), topic.topic_id, partition))
        });
        for (name, id, want) in wanted {
            let (told_name, told_id, data) = given.next().ok_or("a partition that was asked for is missing")?;
            let named = if id == TopicId::ZERO { name == told_name } else { id == told_id };
            if !named || want.partition != data.partition_index {
                return Err(format!(
                    "{name}-{} was asked for, and {told_name}-{} is told",
                    want.partition, data.partition_index
                ));
            }
            let place = format!(
                "{name}{}-{}",
                if id == TopicId::ZERO { String::new() } else { format!("{id}") },
                want.partition
            );
            is(&format!("the preferred replica of {place}"), data.preferred_read_replica, -1)?;
            is(
                &format!("the number of aborted transactions of {place}"),
                data.aborted_transactions.as_ref().map_or(0, Vec::len),
                0,
            )?;
            let (start, end) = (data.log_start_offset, data.high_watermark);
            is(&format!("the last stable offset of {place}"), data.last_stable_offset, end)?;
            if data.error_code != 0 {
                continue;
            }
            let at = want.fetch_offset;
            let diverges = data.diverging_epoch.epoch >= 0;
            if !(0 <= start && start <= end && (diverges || (start <= at && at <= end))) {
                return Err(format!("offset {at} of {place} was asked for, and its log is from {start} to {end}"));
            }
            if let Some(group) = groups(Topic::of(name, id), want.partition) {
                let committed = self.committed(group);
                if end > committed.end || start > committed.start {
                    return Err(format!(
                        "{place} is from {start} to {end}, and what is committed ends at {}",
                        committed.end
                    ));
                }
                let before = self.said.insert((line, group), Range { start, end }).unwrap_or_default();
                if end < before.end || start < before.start {
                    return Err(format!("{place} went back from {}..{} to {start}..{end}", before.start, before.end));
                }
            }
        }
        given.next().map_or(Ok(()), |(name, ..)| Err(format!("nobody asked for {name}")))
    }

    fn produce(&self, asked: &ProduceRequest, told: &ProduceResponse, groups: Groups<'_>) -> Result<(), String> {
        is("its throttle time", told.throttle_time_ms, 0)?;
        let wanted = asked
            .topic_data
            .iter()
            .flat_map(|topic| topic.partition_data.iter().map(|partition| (topic.name.as_str(), partition.index)));
        let mut given = told
            .responses
            .iter()
            .flat_map(|topic| topic.partition_responses.iter().map(|partition| (topic.name.as_str(), partition)));
        for (name, index) in wanted {
            let (told_name, data) = given.next().ok_or("a partition that was written to is missing")?;
            if (name, index) != (told_name, data.index) {
                return Err(format!("{name}-{index} was written to, and {told_name}-{} is told", data.index));
            }
            if data.error_code != 0 {
                is(&format!("the base offset of {name}-{index}, which was refused,"), data.base_offset, -1)?;
                continue;
            }
            is(&format!("the number of wrong records of {name}-{index}"), data.record_errors.len(), 0)?;
            // A duplicate that is older than what is remembered has no offset.
            if data.base_offset >= 0 && !(0 <= data.log_start_offset && data.log_start_offset <= data.base_offset) {
                return Err(format!("{name}-{index} has {} at {}", data.log_start_offset, data.base_offset));
            }
            let end = groups(Topic::Name(name), index).map(|group| self.committed(group).end);
            if end.is_some_and(|end| data.base_offset >= end) {
                return Err(format!(
                    "{name}-{index} is written at {}, and nothing is committed there",
                    data.base_offset
                ));
            }
        }
        given.next().map_or(Ok(()), |(name, _)| Err(format!("nobody wrote to {name}")))
    }

    fn list_offsets(
        &self,
        asked: &ListOffsetsRequest,
        told: &ListOffsetsResponse,
        groups: Groups<'_>,
    ) -> Result<(), String> {
        is("its throttle time", told.throttle_time_ms, 0)?;
        let wanted = asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (topic.name.as_str(), it)));
        let mut given =
            told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (topic.name.as_str(), it)));
        for (name, want) in wanted {
            let (told_name, data) = given.next().ok_or("a partition that was asked for is missing")?;
            let index = want.partition_index;
            if (name, index) != (told_name, data.partition_index) {
                return Err(format!("{name}-{index} was asked for, and {told_name}-{} is told", data.partition_index));
            }
            if data.error_code != 0 {
                continue;
            }
            let committed = groups(Topic::Name(name), index).map(|group| self.committed(group));
            let most = match want.timestamp {
                EARLIEST => committed.map(|range| range.start),
                LATEST => committed.map(|range| range.end),
                _ => committed.map(|range| range.end - 1),
            };
            let none = data.offset == -1 && want.timestamp != EARLIEST && want.timestamp != LATEST;
            if !none && (data.offset < 0 || most.is_some_and(|most| data.offset > most)) {
                return Err(format!("{name}-{index} has offset {} for {}", data.offset, want.timestamp));
            }
            if want.timestamp >= 0 && data.offset >= 0 && data.timestamp < want.timestamp {
                return Err(format!("{name}-{index} has a record of {} for {}", data.timestamp, want.timestamp));
            }
            if [EARLIEST, LATEST].contains(&want.timestamp) {
                is(&format!("the time of an end of {name}-{index}"), data.timestamp, -1)?;
            }
            if data.offset > 0 && data.leader_epoch < 1 {
                return Err(format!("{name}-{index} is led in epoch {}", data.leader_epoch));
            }
        }
        given.next().map_or(Ok(()), |(name, _)| Err(format!("nobody asked for {name}")))
    }

    fn metadata(
        &mut self,
        line: Line,
        asked: &MetadataRequest,
        told: &MetadataResponse,
        known: u64,
        groups: Groups<'_>,
    ) -> Result<(), String> {
        is("its throttle time", told.throttle_time_ms, 0)?;
        let brokers: BTreeSet<i32> = told.brokers.iter().map(|broker| broker.node_id).collect();
        is("the number of different brokers", brokers.len(), told.brokers.len())?;
        if told.controller_id != -1 && !brokers.contains(&told.controller_id) {
            return Err(format!("controller {} is none of its brokers", told.controller_id));
        }
        if told.brokers.iter().any(|broker| broker.host.is_empty() || !(1..=65_535).contains(&broker.port)) {
            return Err("a broker has no address".to_owned());
        }
        let cluster = self.cluster.get_or_insert_with(|| told.cluster_id.clone().unwrap_or_default());
        is("its cluster", told.cluster_id.as_deref().unwrap_or(""), cluster.as_str())?;
        if !asked.include_cluster_authorized_operations {
            is("what may be done to the cluster", told.cluster_authorized_operations, NOT_ASKED)?;
        }
        for topic in &told.topics {
            let name = topic.name.as_deref().unwrap_or("");
            let wanted = |want: &tidelog_core::kafka::messages::MetadataRequestTopic| {
                want.name.as_deref() == Some(name)
                    || (topic.topic_id != TopicId::ZERO && want.topic_id == topic.topic_id)
            };
            if asked.topics.as_ref().is_some_and(|all| !all.iter().any(wanted)) {
                return Err(format!("nobody asked for {name}"));
            }
            if !asked.include_topic_authorized_operations {
                is(&format!("what may be done to {name}"), topic.topic_authorized_operations, NOT_ASKED)?;
            }
            for (next, partition) in (0..).zip(&topic.partitions) {
                let place = format!("{name}-{}", partition.partition_index);
                is("the next partition", partition.partition_index, next)?;
                let replicas: BTreeSet<i32> = partition.replica_nodes.iter().copied().collect();
                is(
                    &format!("the number of different replicas of {place}"),
                    replicas.len(),
                    partition.replica_nodes.len(),
                )?;
                let within = |some: &[i32]| some.iter().all(|node| replicas.contains(node));
                if replicas.is_empty() || !within(&partition.isr_nodes) || !within(&partition.offline_replicas) {
                    return Err(format!("{place} is held by {replicas:?}, and others are called in sync or down"));
                }
                let (leader, epoch) = (partition.leader_id, partition.leader_epoch);
                if leader == -1 {
                    continue;
                }
                if !replicas.contains(&leader) || epoch < 1 {
                    return Err(format!("{place} is held by {replicas:?}, and led by {leader} in epoch {epoch}"));
                }
                if let Some(group) = groups(Topic::of(name, topic.topic_id), partition.partition_index) {
                    let before = self.epochs.insert((line, group), epoch).unwrap_or(0);
                    if epoch < before {
                        return Err(format!("the epoch of {place} went back from {before} to {epoch}"));
                    }
                    let elected = self.elected.get(&group).filter(|(.., at)| *at < known);
                    if let Some((node, in_epoch, _)) =
                        elected.filter(|(node, newest, _)| (*node, *newest) != (leader, epoch))
                    {
                        return Err(format!(
                            "{place} is said to be led by {leader} in epoch {epoch}, and {node} was elected in {in_epoch} long ago"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn is<T: PartialEq + std::fmt::Display>(what: &str, told: T, right: T) -> Result<(), String> {
    if told == right { Ok(()) } else { Err(format!("{what} is {told}, and should be {right}")) }
}
