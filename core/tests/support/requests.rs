//! What tests ask brokers for again and again: a topic, a record written, records read, who leads.
//!
//! Everything concerns partition 0 of one topic. What a test asks only once, it says itself.

use bytes::Bytes;
use tidelog_core::broker::GroupStatus;
use tidelog_core::id::{ConnId, GroupId, NodeId, ProducerId};
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{Records, RequestBody, ResponseBody};
use tidelog_core::time::{Duration, Timestamp};

use super::House;

/// A batch of these values; `producer` is its id, epoch and first sequence.
pub fn batch(producer: Option<(i64, i16, i32)>, values: &[&str], timestamp: i64) -> Bytes {
    let mut builder = Builder::new();
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(ProducerId(id), epoch, sequence);
    }
    for value in values {
        builder.push(Timestamp(timestamp), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// A request to write a batch, `acks=all`.
pub fn produce(topic: &str, records: Bytes) -> RequestBody {
    RequestBody::Produce(ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(Records(vec![records])) }],
        }],
        ..ProduceRequest::default()
    })
}

/// A request to read up to a megabyte from `offset`, for which the client waits so long.
pub fn fetch(topic: &str, offset: i64, max_wait_ms: i32) -> RequestBody {
    RequestBody::Fetch(FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    })
}

impl House {
    /// Creates a topic and gives the error code.
    pub fn create(
        &mut self,
        node: NodeId,
        conn: ConnId,
        (name, partitions, replicas): (&str, i32, i16),
        configs: &[(&str, &str)],
    ) -> i16 {
        let config =
            |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) };
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: replicas,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, ..CreateTopicsRequest::default() };
        let ResponseBody::CreateTopics(response) = self.ask(node, conn, 7, request) else { panic!("another answer") };
        response.topics[0].error_code
    }

    /// Writes a batch, `acks=all`.
    pub fn produce(&mut self, node: NodeId, conn: ConnId, topic: &str, records: Bytes) -> PartitionProduceResponse {
        let answer = self.ask(node, conn, 11, produce(topic, records));
        let ResponseBody::Produce(response) = answer else { panic!("another answer") };
        response.responses[0].partition_responses[0].clone()
    }

    /// Reads up to a megabyte from `offset`.
    pub fn fetch(&mut self, node: NodeId, conn: ConnId, topic: &str, offset: i64, max_wait_ms: i32) -> PartitionData {
        let answer = self.ask(node, conn, 12, fetch(topic, offset, max_wait_ms));
        let ResponseBody::Fetch(response) = answer else { panic!("another answer") };
        response.responses[0].partitions[0].clone()
    }

    /// Who serves the first partition that has a leader.
    pub fn leader(&self) -> NodeId {
        let serves = |home: &super::Home| {
            let groups = home.broker.status().groups;
            groups.iter().any(|group| group.group != GroupId::CONTROLLER && group.serving)
        };
        *self.homes.iter().find(|(_, home)| serves(home)).expect("there is a leader").0
    }

    /// Lets leaders fail, one after the other, until `node` leads; it lives on.
    pub fn until_leads(&mut self, node: NodeId) {
        for _ in 0..20 {
            let first = self.leader();
            if first == node {
                return;
            }
            let home = self.stop(first);
            self.pass(Duration::from_secs(3));
            self.bring_back(first, home);
            self.pass(Duration::from_secs(2));
        }
        panic!("{node:?} never led");
    }

    /// The first partition a broker holds.
    pub fn partition(&self, node: NodeId) -> GroupStatus {
        let groups = self.homes[&node].broker.status().groups;
        groups.into_iter().find(|group| group.group != GroupId::CONTROLLER).expect("it is there")
    }
}
