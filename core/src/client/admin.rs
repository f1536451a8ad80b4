//! The requests of administrative calls, and what their answers mean. Pure: it knows neither time nor connections.

use std::collections::BTreeMap;

use super::api::{Broker, ConfigEntry, Outcome, Partition, Position, QuorumMember, Resource, Topic};
use super::calls::{Said, What};
use crate::id::{DirectoryId, Offset, TopicId};
use crate::kafka::messages::{
    AddRaftVoterRequest, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteTopicState,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeConfigsResource, DescribeQuorumPartition,
    DescribeQuorumPartitionState, DescribeQuorumReplica, DescribeQuorumRequest, DescribeQuorumTopic,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
    MetadataResponse,
};
use crate::kafka::{ErrorCode, RequestBody, ResponseBody};
use crate::time::{Duration, Timestamp};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// DescribeConfigs tells 5 for a value that nobody set.
const DEFAULT_CONFIG: i8 = 5;
/// What Kafka calls the controller's log.
const CONTROLLER_TOPIC: &str = "__cluster_metadata";

/// The request that asks it.
pub(super) fn request(what: &What, leader_epoch: i32, timeout: Duration) -> RequestBody {
    let timeout_ms = i32::try_from(timeout.as_millis() / 5 * 4).unwrap_or(i32::MAX).max(1);
    match what {
        What::Offset { topic, partition, at } => ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 0,
            topics: vec![ListOffsetsTopic {
                name: topic.clone(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: *partition,
                    current_leader_epoch: leader_epoch,
                    timestamp: code_of(*at),
                }],
            }],
        }
        .into(),
        What::Create { name, partitions, replication_factor, configs } => CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.clone(),
                num_partitions: *partitions,
                replication_factor: *replication_factor,
                assignments: Vec::new(),
                configs: (configs.iter())
                    .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
                    .collect(),
            }],
            timeout_ms,
            validate_only: false,
        }
        .into(),
        What::Delete { name } => DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.clone()), topic_id: TopicId::ZERO }],
            topic_names: vec![name.clone()],
            timeout_ms,
        }
        .into(),
        What::DeleteById { id } => DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: None, topic_id: *id }],
            topic_names: Vec::new(),
            timeout_ms,
        }
        .into(),
        What::Describe { topics, may_create } => MetadataRequest {
            topics: topics.as_ref().map(|topics| {
                let named = topics
                    .iter()
                    .map(|name| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() });
                named.collect()
            }),
            allow_auto_topic_creation: *may_create,
            ..MetadataRequest::default()
        }
        .into(),
        What::Quorum => DescribeQuorumRequest {
            topics: vec![DescribeQuorumTopic {
                topic_name: CONTROLLER_TOPIC.to_owned(),
                partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
            }],
        }
        .into(),
        What::Admit { node, directory } => AddRaftVoterRequest {
            timeout_ms,
            voter_id: i32::try_from(node.0).unwrap_or(-1),
            voter_directory_id: TopicId(directory.0),
            ..AddRaftVoterRequest::default()
        }
        .into(),
        What::Configs { resource } => {
            let (resource_type, resource_name) = match resource {
                Resource::Topic(name) => (TOPIC, name.clone()),
                Resource::Broker(id) => (BROKER, id.to_string()),
            };
            DescribeConfigsRequest {
                resources: vec![DescribeConfigsResource { resource_type, resource_name, configuration_keys: None }],
                include_synonyms: false,
                include_documentation: false,
            }
            .into()
        }
    }
}

fn code_of(at: Position) -> i64 {
    match at {
        Position::Latest => LATEST,
        Position::Earliest => EARLIEST,
        Position::MaxTimestamp => MAX_TIMESTAMP,
        Position::Timestamp(Timestamp(at)) => at.max(0),
        // Nobody asks a broker for an offset he has.
        Position::Offset(Offset(offset)) => offset,
    }
}

/// What the answer means.
pub(super) fn said(what: &What, body: &ResponseBody) -> Said {
    match (what, body) {
        (What::Offset { topic, partition, at }, ResponseBody::ListOffsets(response)) => {
            let mut found = response.topics.iter().filter(|theirs| theirs.name == *topic).flat_map(|t| &t.partitions);
            let Some(found) = found.find(|theirs| theirs.partition_index == *partition) else {
                return silent();
            };
            verdict(found.error_code, None, &format!("{topic}/{partition}"), false).unwrap_or_else(|| {
                let by_time = matches!(at, Position::Timestamp(_) | Position::MaxTimestamp);
                Said::Done(Outcome::Offset {
                    offset: Some(Offset(found.offset)).filter(|offset| offset.0 >= 0),
                    timestamp: Some(Timestamp(found.timestamp)).filter(|at| by_time && at.0 >= 0),
                    leader_epoch: found.leader_epoch,
                })
            })
        }
        (What::Create { name, .. }, ResponseBody::CreateTopics(response)) => {
            let Some(result) = response.topics.iter().find(|theirs| theirs.name == *name) else {
                return silent();
            };
            verdict(result.error_code, result.error_message.as_ref(), name, true)
                .unwrap_or(Said::Done(Outcome::Created { id: result.topic_id }))
        }
        (What::Delete { name }, ResponseBody::DeleteTopics(response)) => {
            let mut results = response.responses.iter();
            let Some(result) = results.find(|theirs| theirs.name.as_ref() == Some(name)) else {
                return silent();
            };
            verdict(result.error_code, result.error_message.as_ref(), name, true)
                .unwrap_or(Said::Done(Outcome::Deleted))
        }
        (What::DeleteById { id }, ResponseBody::DeleteTopics(response)) => {
            let Some(result) = response.responses.iter().find(|theirs| theirs.topic_id == *id) else {
                return silent();
            };
            verdict(result.error_code, result.error_message.as_ref(), &format!("topic {id}"), true)
                .unwrap_or(Said::Done(Outcome::Deleted))
        }
        (What::Describe { .. }, ResponseBody::Metadata(response)) => {
            verdict(response.error_code, None, "the cluster", false).unwrap_or_else(|| Said::Done(cluster(response)))
        }
        (What::Configs { resource }, ResponseBody::DescribeConfigs(response)) => {
            let Some(result) = response.results.first() else {
                return silent();
            };
            let name = match resource {
                Resource::Topic(name) => name.clone(),
                Resource::Broker(id) => format!("broker {id}"),
            };
            // A topic that is not there is an answer, not a reason to ask again.
            verdict(result.error_code, result.error_message.as_ref(), &name, true).unwrap_or_else(|| {
                let entries = result.configs.iter().map(|config| ConfigEntry {
                    name: config.name.clone(),
                    value: config.value.clone(),
                    is_default: config.config_source == DEFAULT_CONFIG,
                });
                Said::Done(Outcome::Configs { entries: entries.collect() })
            })
        }
        (What::Quorum, ResponseBody::DescribeQuorum(response)) => {
            let partition = response.topics.first().and_then(|topic| topic.partitions.first());
            let Some(partition) = partition else {
                return verdict(response.error_code, response.error_message.as_ref(), "the controller", false)
                    .unwrap_or_else(silent);
            };
            verdict(partition.error_code, partition.error_message.as_ref(), "the controller", false)
                .unwrap_or_else(|| Said::Done(quorum(partition)))
        }
        (What::Admit { node, .. }, ResponseBody::AddRaftVoter(response)) => {
            verdict(response.error_code, response.error_message.as_ref(), &format!("broker {node}"), true)
                .unwrap_or(Said::Done(Outcome::Admitted))
        }
        (
            What::Offset { .. }
            | What::Create { .. }
            | What::Delete { .. }
            | What::DeleteById { .. }
            | What::Describe { .. }
            | What::Quorum
            | What::Admit { .. }
            | What::Configs { .. },
            _,
        ) => silent(),
    }
}

fn quorum(partition: &DescribeQuorumPartitionState) -> Outcome {
    let member = |voter: bool| {
        move |replica: &DescribeQuorumReplica| QuorumMember {
            node: replica.replica_id,
            directory: DirectoryId(replica.replica_directory_id.0),
            voter,
            end: Some(replica.log_end_offset).filter(|end| *end >= 0),
        }
    };
    let voters = partition.current_voters.iter().map(member(true));
    Outcome::Quorum {
        leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
        epoch: partition.leader_epoch,
        committed: partition.high_watermark,
        members: voters.chain(partition.observers.iter().map(member(false))).collect(),
    }
}

fn silent() -> Said {
    let message = "the broker's answer does not mention what was asked".to_owned();
    Said::Again { error: ErrorCode::UnknownServerError, message, doubtful: true }
}

/// What an error code means; `None` if there is no error. `missing_is_final`: a topic that is not there will not be.
fn verdict(code: i16, message: Option<&String>, about: &str, missing_is_final: bool) -> Option<Said> {
    let known = ErrorCode::from_code(code);
    let error = known.unwrap_or(ErrorCode::UnknownServerError);
    let name = known.map_or_else(|| format!("error {code}"), |error| error.name().to_owned());
    let message = match message {
        Some(message) => format!("{about}: {message}"),
        None => format!("{about}: the broker answered {name}"),
    };
    let missing = matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
    match error {
        ErrorCode::None => None,
        _ if missing && missing_is_final => Some(Said::Refused(error, message)),
        // Those who are not the controller have not begun.
        ErrorCode::NotController => Some(Said::Again { error, message, doubtful: false }),
        _ if error.is_retriable() => Some(Said::Again { error, message, doubtful: true }),
        // A broker that fails in an order it began may have carried it out.
        ErrorCode::UnknownServerError => Some(Said::Again { error, message, doubtful: true }),
        _ => Some(Said::Refused(error, message)),
    }
}

fn cluster(response: &MetadataResponse) -> Outcome {
    let brokers: BTreeMap<i32, Broker> = (response.brokers.iter())
        .map(|broker| (broker.node_id, Broker { id: broker.node_id, host: broker.host.clone(), port: broker.port }))
        .collect();
    let mut topics: Vec<Topic> = (response.topics.iter())
        .map(|topic| {
            let mut partitions: Vec<Partition> = (topic.partitions.iter())
                .map(|partition| Partition {
                    partition: partition.partition_index,
                    leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.clone(),
                    in_sync: partition.isr_nodes.clone(),
                })
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            Topic {
                name: topic.name.clone().unwrap_or_default(),
                id: topic.topic_id,
                error: ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError),
                partitions,
            }
        })
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Outcome::Cluster {
        cluster_id: response.cluster_id.clone(),
        controller: Some(response.controller_id).filter(|id| *id >= 0),
        brokers: brokers.into_values().collect(),
        topics,
    }
}
