//! Kafka's questions about brokers and topics, answered from an image: Metadata and DescribeCluster.
//!
//! Promises answers in Kafka's shape for every version served: the codec drops what a version lacks. Does not know who may
//! ask, nor how old the image is, and creates nothing: it says which topics would have to be created.

use std::collections::BTreeSet;

use super::apply::unknown_topic_name;
use super::image::{Image, TopicInfo};
use super::names;
use crate::id::{GroupId, NodeId, TopicId};
use crate::kafka::errors::ErrorCode;
use crate::kafka::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataRequestTopic,
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

/// Who leads a partition, as far as the answering broker has heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    /// The broker.
    pub node: NodeId,
    /// Its leader epoch: the Raft term.
    pub epoch: i32,
}

/// What a broker has heard of leaders. Any `Fn(GroupId) -> Option<Leader>` is one.
pub trait Routes {
    /// The leader of a group, if one is known.
    fn leader(&self, group: GroupId) -> Option<Leader>;
}

impl<F: Fn(GroupId) -> Option<Leader>> Routes for F {
    fn leader(&self, group: GroupId) -> Option<Leader> {
        self(group)
    }
}

/// An answer to Metadata.
#[derive(Clone, PartialEq, Debug)]
pub struct Metadata {
    /// What to answer.
    pub response: MetadataResponse,
    /// Names that were asked for, are allowed and free, and that the client would like to be created. Empty if it would not.
    pub missing: Vec<String>,
}

/// The version of Metadata from which topics may be asked for by id (KIP-516).
const METADATA_BY_ID: i16 = 12;
/// Every operation on a topic, as bits: what a client may do where nothing is forbidden (KIP-430).
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Every operation on the cluster, as bits.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// What stands for operations when nobody asked.
const NOT_ASKED: i32 = i32::MIN;

/// Whether a topic belongs to the brokers themselves.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Answers Metadata. `controller` is the broker to name as the controller, if it is registered; else another is named, as
/// any broker passes requests on.
pub fn metadata(
    image: &Image,
    routes: &impl Routes,
    controller: Option<NodeId>,
    version: i16,
    request: &MetadataRequest,
) -> Metadata {
    let mut missing = Vec::new();
    let mut topics = match &request.topics {
        None => image.topics_by_name().map(|topic| known(image, routes, topic)).collect(),
        Some(asked) if version < METADATA_BY_ID && asked.iter().any(names_an_id) => {
            // One bad topic fails them all, as in Kafka.
            asked
                .iter()
                .map(|topic| refused(topic.name.clone().unwrap_or_default(), ErrorCode::InvalidRequest))
                .collect()
        }
        Some(asked) => {
            let mut seen = BTreeSet::new();
            let distinct = asked.iter().filter(|topic| seen.insert((topic.topic_id, topic.name.as_deref())));
            distinct.map(|topic| one(image, routes, topic, &mut missing)).collect::<Vec<_>>()
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == ErrorCode::None.code()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    if !request.allow_auto_topic_creation {
        missing.clear();
    }
    let response = MetadataResponse {
        throttle_time_ms: 0,
        brokers: image
            .brokers()
            .iter()
            .map(|(node, info)| MetadataResponseBroker {
                node_id: wire(*node),
                host: info.host.clone(),
                port: i32::from(info.port),
                rack: info.rack.clone(),
            })
            .collect(),
        cluster_id: Some(image.cluster().to_string()),
        controller_id: controller_id(image, controller),
        topics,
        cluster_authorized_operations: operations(request.include_cluster_authorized_operations),
        error_code: ErrorCode::None.code(),
    };
    Metadata { response, missing }
}

fn names_an_id(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_none() || topic.topic_id != TopicId::ZERO
}

fn one(
    image: &Image,
    routes: &impl Routes,
    asked: &MetadataRequestTopic,
    missing: &mut Vec<String>,
) -> MetadataResponseTopic {
    if asked.topic_id != TopicId::ZERO {
        return match image.topic(asked.topic_id) {
            Some(topic) => known(image, routes, topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                name: None,
                topic_id: asked.topic_id,
                ..MetadataResponseTopic::default()
            },
        };
    }
    let Some(name) = &asked.name else {
        return refused(String::new(), ErrorCode::InvalidRequest);
    };
    if let Some(topic) = image.topic_named(name) {
        return known(image, routes, topic);
    }
    if names::validate(name).is_err() {
        return refused(name.clone(), ErrorCode::InvalidTopicException);
    }
    if image.collision(name).is_none() {
        missing.push(name.clone());
    }
    refused(name.clone(), unknown_topic_name().error)
}

fn refused(name: String, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: is_internal(&name),
        name: Some(name),
        ..MetadataResponseTopic::default()
    }
}

fn known(image: &Image, routes: &impl Routes, topic: &TopicInfo) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(number, partition)| {
        // A leader that clients can not reach, as it is not among the brokers, is none to them.
        let leader = routes.leader(partition.group).filter(|leader| image.brokers().contains_key(&leader.node));
        let replicas: Vec<i32> = partition.replicas.iter().map(|(node, _)| wire(*node)).collect();
        let error = if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: number,
            leader_id: leader.map_or(-1, |leader| wire(leader.node)),
            leader_epoch: leader.map_or(-1, |leader| leader.epoch),
            isr_nodes: replicas.clone(),
            replica_nodes: replicas,
            offline_replicas: Vec::new(),
        }
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: NOT_ASKED,
    }
}

fn operations(asked: bool) -> i32 {
    if asked { CLUSTER_OPERATIONS } else { NOT_ASKED }
}

fn controller_id(image: &Image, controller: Option<NodeId>) -> i32 {
    let listed = controller.filter(|node| image.brokers().contains_key(node));
    listed.or_else(|| image.brokers().keys().next().copied()).map_or(-1, wire)
}

/// A broker's id as clients see it.
pub(super) fn wire(node: NodeId) -> i32 {
    i32::try_from(node.0).expect("node ids fit")
}

/// Answers DescribeCluster. `controller` as in [`metadata`].
pub fn describe_cluster(
    image: &Image,
    controller: Option<NodeId>,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    const BROKERS: i8 = 1;
    const CONTROLLERS: i8 = 2;
    let refuse = |error: ErrorCode, message: String| DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message),
        endpoint_type: request.endpoint_type,
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message =
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, message.to_owned());
        }
        other => {
            return refuse(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"));
        }
    }
    DescribeClusterResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None.code(),
        error_message: None,
        endpoint_type: BROKERS,
        cluster_id: image.cluster().to_string(),
        controller_id: controller_id(image, controller),
        brokers: image
            .brokers()
            .iter()
            .map(|(node, info)| DescribeClusterBroker {
                broker_id: wire(*node),
                host: info.host.clone(),
                port: i32::from(info.port),
                rack: info.rack.clone(),
            })
            .collect(),
        cluster_authorized_operations: operations(request.include_cluster_authorized_operations),
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
