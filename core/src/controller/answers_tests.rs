//! What clients learn of brokers and topics.

use super::*;
use crate::controller::command::{Command, CreateTopic, Defaults, Origin, RegisterBroker};
use crate::controller::image::Applied;
use crate::id::{ClusterId, DirectoryId};

fn register(image: &mut Image, node: u8) {
    let register = RegisterBroker {
        node: NodeId(u32::from(node)),
        host: format!("h{node}"),
        port: 9092,
        rack: None,
        directory: DirectoryId([node; 16]),
        boot: 1,
    };
    image.apply(image.applied().next(), Command::RegisterBroker(register)).expect("registered");
}

fn create(image: &mut Image, name: &str, partitions: i32) -> TopicId {
    let index = image.applied().next();
    let create = CreateTopic {
        origin: Origin { node: NodeId(1), boot: 1, sequence: index.0 },
        name: name.to_owned(),
        partitions,
        replication_factor: 2,
        assignment: Vec::new(),
        configs: Default::default(),
        defaults: Defaults::default(),
        heirs: true,
    };
    match image.apply(index, Command::CreateTopic(create)) {
        Ok(Applied::TopicCreated { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

/// Two brokers, the topics `b` and `a`.
fn image() -> (Image, TopicId) {
    let mut image = Image::new(ClusterId([3; 16]));
    register(&mut image, 1);
    register(&mut image, 2);
    create(&mut image, "b", 1);
    let a = create(&mut image, "a", 2);
    (image, a)
}

fn led(_: GroupId) -> Option<Leader> {
    Some(Leader { node: NodeId(2), epoch: 7 })
}

fn by_name(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some((*name).to_owned()) };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

fn by_id(id: TopicId) -> MetadataRequest {
    let topic = MetadataRequestTopic { topic_id: id, name: None };
    MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
}

fn ask(version: i16, request: &MetadataRequest) -> Metadata {
    metadata(&image().0, &led, Some(NodeId(2)), version, request)
}

fn named(metadata: &Metadata) -> Vec<(Option<&str>, i16)> {
    metadata.response.topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code)).collect()
}

#[test]
fn null_is_all_topics_and_an_empty_list_is_none() {
    let all = ask(13, &MetadataRequest::default());
    assert_eq!(named(&all), [(Some("a"), 0), (Some("b"), 0)]);
    let none = ask(13, &by_name(&[]));
    assert!(none.response.topics.is_empty());
    assert_eq!(none.response.brokers.len(), 2);
    assert_eq!(none.response.cluster_id.as_deref(), Some("03030303030303030303030303030303"));
}

#[test]
fn a_topic_is_told_with_leaders_and_replicas() {
    let (image, a) = image();
    let answer = metadata(&image, &led, None, 13, &by_name(&["a"])).response;
    let topic = &answer.topics[0];
    assert_eq!((topic.topic_id, topic.is_internal, topic.partitions.len()), (a, false, 2));
    for (number, partition) in (0..).zip(&topic.partitions) {
        assert_eq!((partition.error_code, partition.partition_index), (0, number));
        assert_eq!((partition.leader_id, partition.leader_epoch), (2, 7));
        let mut replicas = partition.replica_nodes.clone();
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 2]);
        assert_eq!(partition.isr_nodes, partition.replica_nodes);
        assert!(partition.offline_replicas.is_empty());
    }
}

#[test]
fn a_leader_that_is_unknown_or_not_listed_is_none() {
    let (image, _) = image();
    let stranger = |_| Some(Leader { node: NodeId(9), epoch: 7 });
    let nobody = |_| None;
    for answer in
        [metadata(&image, &stranger, None, 9, &by_name(&["b"])), metadata(&image, &nobody, None, 9, &by_name(&["b"]))]
    {
        let partition = &answer.response.topics[0].partitions[0];
        assert_eq!((partition.leader_id, partition.leader_epoch), (-1, -1));
        assert_eq!(partition.error_code, ErrorCode::LeaderNotAvailable.code());
        assert_eq!(answer.response.topics[0].error_code, 0);
    }
}

#[test]
fn unknown_names_are_told_apart_from_bad_ones_and_offered_for_creation() {
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let invalid = ErrorCode::InvalidTopicException.code();
    let mut request = by_name(&["c", "a b", "", "c", "a"]);
    let answer = ask(1, &request);
    let expected = [(Some("c"), unknown), (Some("a b"), invalid), (Some(""), invalid), (Some("a"), 0)];
    assert_eq!(named(&answer), expected);
    assert_eq!(answer.missing, ["c"]);
    request.allow_auto_topic_creation = false;
    let answer = ask(4, &request);
    assert_eq!(named(&answer), expected);
    assert!(answer.missing.is_empty());
}

#[test]
fn a_name_that_collides_is_not_offered_for_creation() {
    let (mut image, _) = image();
    create(&mut image, "x.y", 1);
    let answer = metadata(&image, &led, None, 13, &by_name(&["x_y"]));
    assert_eq!(named(&answer), [(Some("x_y"), ErrorCode::UnknownTopicOrPartition.code())]);
    assert!(answer.missing.is_empty());
}

#[test]
fn ids_are_answered_from_version_12() {
    let (_, a) = image();
    assert_eq!(named(&ask(12, &by_id(a))), [(Some("a"), 0)]);
    let unknown = ask(12, &by_id(TopicId([9; 16])));
    assert_eq!(named(&unknown), [(None, ErrorCode::UnknownTopicId.code())]);
    assert_eq!(unknown.response.topics[0].topic_id, TopicId([9; 16]));
    assert!(unknown.missing.is_empty());
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(named(&ask(11, &by_id(a))), [(Some(""), invalid)]);
    assert_eq!(named(&ask(13, &by_id(TopicId::ZERO))), [(Some(""), invalid)]);
}

#[test]
fn the_controller_is_a_listed_broker() {
    let (image, _) = image();
    let told = |controller| metadata(&image, &led, controller, 9, &by_name(&[])).response.controller_id;
    assert_eq!((told(Some(NodeId(2))), told(Some(NodeId(9))), told(None)), (2, 1, 1));
    let empty = Image::new(ClusterId([3; 16]));
    assert_eq!(metadata(&empty, &led, Some(NodeId(1)), 9, &by_name(&[])).response.controller_id, -1);
}

#[test]
fn operations_are_told_when_asked_for() {
    let mut request = by_name(&["a", "c"]);
    let operations = |request: &MetadataRequest| {
        let response = ask(9, request).response;
        let topics: Vec<i32> = response.topics.iter().map(|topic| topic.topic_authorized_operations).collect();
        (response.cluster_authorized_operations, topics)
    };
    assert_eq!(operations(&request), (i32::MIN, vec![i32::MIN, i32::MIN]));
    request.include_topic_authorized_operations = true;
    request.include_cluster_authorized_operations = true;
    assert_eq!(operations(&request), (8096, vec![3576, i32::MIN]));
}

#[test]
fn internal_topics_are_marked() {
    let (mut image, _) = image();
    create(&mut image, "__consumer_offsets", 1);
    let answer = metadata(&image, &led, None, 9, &by_name(&["__consumer_offsets"]));
    assert!(answer.response.topics[0].is_internal);
}

#[test]
fn the_cluster_is_described_to_those_who_ask_for_brokers() {
    let (image, _) = image();
    let request =
        |endpoint_type| DescribeClusterRequest { include_cluster_authorized_operations: false, endpoint_type };
    let answer = describe_cluster(&image, Some(NodeId(2)), &request(1));
    assert_eq!((answer.error_code, answer.controller_id, answer.cluster_authorized_operations), (0, 2, i32::MIN));
    let brokers: Vec<(i32, &str, i32)> =
        answer.brokers.iter().map(|broker| (broker.broker_id, broker.host.as_str(), broker.port)).collect();
    assert_eq!(brokers, [(1, "h1", 9092), (2, "h2", 9092)]);
    let error = |endpoint_type| describe_cluster(&image, None, &request(endpoint_type)).error_code;
    assert_eq!(error(2), ErrorCode::MismatchedEndpointType.code());
    assert_eq!(error(3), ErrorCode::UnsupportedEndpointType.code());
}
