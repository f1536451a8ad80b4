//! The door of a broker: what clients ask there, and what they are told, is shown to those who judge it.
//!
//! Knows what is inside (which group a partition is, which life of a topic a name means) only to say which promise an answer makes.

use std::ops::RangeInclusive;

use tidelog_core::broker::Broker;
use tidelog_core::id::{ConnId, GroupId, NodeId, Offset, RequestId};
use tidelog_core::kafka::batch::{self, Batch, Check, views};
use tidelog_core::kafka::{ErrorCode, Request, RequestBody, Response, ResponseBody};
use tidelog_core::time::Timestamp;
use tidelog_properties::fields::Topic;
use tidelog_properties::producers::Offer;

use super::{Phase, World};
use crate::oracle::Oracle;
use crate::record::{self, Recorder};
use crate::scenario::{SECOND, Scenario, TopicSpec};

/// After so long, in microseconds, every broker of a healed cluster has heard who leads.
const HEARD: u64 = 5 * SECOND;

/// A request as it reaches a broker.
pub(super) struct Asked<'a> {
    pub(super) now: u64,
    /// What the broker's own clock says.
    pub(super) wall: Timestamp,
    pub(super) place: u32,
    pub(super) line: (NodeId, ConnId),
    pub(super) id: RequestId,
    pub(super) request: &'a Request,
}

impl Asked<'_> {
    /// Shows it to whoever judges requests and their answers.
    pub(super) fn shown(&self, broker: &Broker, scenario: &Scenario, oracle: &mut Oracle, record: &mut Recorder) {
        let Self { now, wall, place, line, id, request } = *self;
        let (node, conn) = line;
        oracle.asked(node, conn, id, acks(request));
        oracle.due(now, line, id, request, scenario.settings().request_timeout.0);
        oracle.questioned(node, conn, id, request);
        if acks(request).is_some_and(|acks| acks != 0) {
            oracle.sent(node, conn, id, offered(broker, request));
        }
        if let RequestBody::InitProducerId(wish) = &request.body {
            oracle.wants_id(node, conn, id, wish.producer_id);
        }
        record.lives().asked(place, broker, conn, id, request);
        for (range, records) in bounded(&scenario.topics, wall, request) {
            oracle.offered(node, &records, &range);
        }
    }
}

impl World {
    /// What an answer promises is held against what is known inside.
    pub(super) fn answered(&mut self, place: u32, conn: ConnId, id: RequestId, response: &Response) {
        if let ResponseBody::Fetch(fetch) = &response.body {
            self.oracle.shown(fetch);
        }
        if let Some(process) = &self.hosts[place as usize].process {
            let topics = &self.scenario.topics;
            // Which life a name means is clear only where there is one.
            let lasting = |name: &str| topics.iter().any(|spec| spec.name == name && spec.deletions == 0);
            let groups = |topic: Topic<'_>, partition: i32| match topic {
                Topic::Id(id) => process.broker.partition_group(id, partition),
                Topic::Name(name) => {
                    let (id, _) = lasting(name).then(|| process.broker.topic(name)).flatten()?;
                    process.broker.partition_group(id, partition)
                }
            };
            let calm = matches!(self.phase, Phase::Reading { .. } | Phase::Closing { .. });
            let known = if calm { self.now.saturating_sub(HEARD) } else { 0 };
            self.oracle.told((NodeId(place + 1), conn), id, response, known, &groups);
        }
        if let ResponseBody::InitProducerId(given) = &response.body
            && given.error_code == ErrorCode::None.code()
        {
            self.oracle.gave_id(NodeId(place + 1), conn, id, given.producer_id, given.producer_epoch);
        }
        let (ResponseBody::Produce(produce), Some(process)) = (&response.body, &self.hosts[place as usize].process)
        else {
            return;
        };
        self.record.lives().answered(place, &process.broker, conn, id, &response.body);
        let answers = produce.responses.iter().flat_map(|topic| &topic.partition_responses);
        let answers: Vec<_> = answers.map(|answer| (answer.error_code, answer.base_offset)).collect();
        self.oracle.taken(NodeId(place + 1), conn, id, &answers);
        let acks_all = self.oracle.acks_all(NodeId(place + 1), conn, id);
        for topic in produce.responses.iter().filter(|_| acks_all) {
            let spec = self.scenario.topics.iter().find(|spec| spec.name == topic.name && spec.min_insync > 1);
            let known = spec.and_then(|spec| Some((spec, process.broker.topic(&topic.name)?)));
            // Which life answered is clear only where there is one.
            let Some((spec, (_, groups))) = known.filter(|(spec, _)| spec.deletions == 0) else {
                continue;
            };
            let good =
                topic.partition_responses.iter().filter(|answer| answer.error_code == 0 && answer.base_offset >= 0);
            for answer in good {
                if let Some(group) = groups.get(answer.index as usize) {
                    let needed = spec.min_insync as usize;
                    self.oracle.promised(self.now, NodeId(place + 1), *group, Offset(answer.base_offset), needed);
                }
            }
        }
    }
}

/// The batches of a produce, each in the partition that this broker takes it for.
fn offered(broker: &Broker, request: &Request) -> Vec<Option<Offer>> {
    let RequestBody::Produce(produce) = &request.body else {
        return Vec::new();
    };
    let partitions = produce.topic_data.iter().flat_map(|topic| {
        let groups = broker.topic(&topic.name).map(|(_, groups)| groups).unwrap_or_default();
        topic.partition_data.iter().map(move |partition| groups.get(usize::try_from(partition.index).ok()?).copied())
    });
    let offer = |(group, batch): (Option<GroupId>, &Result<Batch, ErrorCode>)| {
        let (group, batch) = (group?, batch.as_ref().ok()?);
        let sequence = batch.producer_id().map(|id| (id, batch.producer_epoch(), batch.base_sequence()));
        Some(Offer { group, sequence, count: batch.record_count() })
    };
    partitions.zip(&request.batches).map(offer).collect()
}

/// The timestamps that a topic allows now, and the value and timestamp of each record of a batch.
type Bounded = (RangeInclusive<i64>, Vec<(u64, i64)>);

/// The batches of a produce for topics that bound times: what their clock allows now, and the value and timestamp of each record.
fn bounded(specs: &[TopicSpec], now: Timestamp, request: &Request) -> Vec<Bounded> {
    let RequestBody::Produce(produce) = &request.body else {
        return Vec::new();
    };
    let topics = produce.topic_data.iter().flat_map(|topic| topic.partition_data.iter().map(move |_| &topic.name));
    let range = |spec: &TopicSpec| now.0.saturating_sub(spec.behind_max_ms)..=now.0.saturating_add(spec.ahead_max_ms);
    let of_batch = |(topic, batch): (&String, &Result<Batch, ErrorCode>)| {
        let spec = specs.iter().find(|spec| spec.name == *topic && spec.bounds_times())?;
        let views = views(batch.as_ref().ok()?.bytes(), Check::Header).flatten();
        let records = views.filter_map(|view| view.records().ok()).flatten();
        let numbered = |record: batch::Record| Some((record::number(record.value.as_deref())?, record.timestamp.0));
        Some((range(spec), records.filter_map(numbered).collect()))
    };
    topics.zip(&request.batches).filter_map(of_batch).collect()
}

/// The acknowledgements a produce asks for.
fn acks(request: &Request) -> Option<i16> {
    match &request.body {
        RequestBody::Produce(produce) => Some(produce.acks),
        _ => None,
    }
}
