//! Into which life of a topic a record went.
//!
//! Clients produce by name, and a broker that is behind may still take records into a topic that was deleted and made again
//! elsewhere. The acknowledgement does not say which it was; whoever stands beside the broker can: if its image had the same
//! topic under the name when the request came and when it was answered, that topic took the record, for an image never
//! goes back within a life of a broker, and ids are never given twice.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::broker::Broker;
use tidelog_core::id::{ConnId, RequestId, TopicId};
use tidelog_core::kafka::batch::{Batch, Check, views};
use tidelog_core::kafka::{ErrorCode, Request, RequestBody, ResponseBody};

use crate::record;

/// One partition of a produce request under way.
#[derive(Debug)]
struct Part {
    topic: String,
    partition: i32,
    id: TopicId,
    values: Vec<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// Names that had, or will have, more than one topic.
    mortal: BTreeSet<String>,
    open: BTreeMap<(u32, ConnId, RequestId), Vec<Part>>,
    /// Which topics acknowledged a value.
    took: BTreeMap<u64, BTreeSet<TopicId>>,
}

fn values(batch: &Batch) -> Vec<u64> {
    let records = views(batch.bytes(), Check::Header).flatten().filter_map(|view| view.records().ok()).flatten();
    records.filter_map(|record| record::number(record.value.as_deref())).collect()
}

impl Lives {
    pub(crate) fn new(mortal: BTreeSet<String>) -> Self {
        Self { mortal, ..Self::default() }
    }

    /// A request is about to be taken by a broker.
    pub(crate) fn asked(&mut self, place: u32, broker: &Broker, conn: ConnId, id: RequestId, request: &Request) {
        let RequestBody::Produce(produce) = &request.body else {
            return;
        };
        let mut batches = request.batches.iter();
        let mut parts = Vec::new();
        for topic in &produce.topic_data {
            for partition in &topic.partition_data {
                let Some(Ok(batch)) = batches.next() else { continue };
                if !self.mortal.contains(&topic.name) {
                    continue;
                }
                if let Some((id, _)) = broker.topic(&topic.name) {
                    let (topic, partition) = (topic.name.clone(), partition.index);
                    parts.push(Part { topic, partition, id, values: values(batch) });
                }
            }
        }
        if !parts.is_empty() {
            self.open.insert((place, conn, id), parts);
        }
    }

    /// A broker has answered.
    pub(crate) fn answered(&mut self, place: u32, broker: &Broker, conn: ConnId, id: RequestId, body: &ResponseBody) {
        let ResponseBody::Produce(response) = body else {
            return;
        };
        for part in self.open.remove(&(place, conn, id)).unwrap_or_default() {
            let of_topic = response.responses.iter().filter(|topic| topic.name == part.topic);
            let mut of_partition = of_topic.flat_map(|topic| &topic.partition_responses);
            let good = of_partition
                .any(|answer| answer.index == part.partition && answer.error_code == ErrorCode::None.code());
            if good && broker.topic(&part.topic).is_some_and(|(now, _)| now == part.id) {
                part.values.iter().for_each(|value| {
                    self.took.entry(*value).or_default().insert(part.id);
                });
            }
        }
    }

    /// The process at this place is gone, and what it was asked with it.
    pub(crate) fn died(&mut self, place: u32) {
        self.open.retain(|(at, ..), _| *at != place);
    }

    /// Whether a name may have several topics over time.
    pub(crate) fn is_mortal(&self, name: &str) -> bool {
        self.mortal.contains(name)
    }

    /// The topic that took a value, if it can only have been that one.
    pub(crate) fn of(&self, value: u64) -> Option<TopicId> {
        let ids = self.took.get(&value)?;
        if ids.len() == 1 { ids.first().copied() } else { None }
    }
}

/// What histories call a life of a topic.
pub(crate) fn label(name: &str, id: TopicId) -> String {
    format!("{name}#{id}")
}
