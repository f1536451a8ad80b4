//! Requests become commands, and what came of those becomes answers.

use super::*;
use crate::controller::command::RegisterBroker;
use crate::id::{ClusterId, DirectoryId, NodeId};
use crate::kafka::messages::{CreatableReplicaAssignment, CreatableTopicConfig, DeleteTopicState};

fn image() -> Image {
    let mut image = Image::new(ClusterId([3; 16]));
    let register = RegisterBroker {
        node: NodeId(1),
        host: "h".to_owned(),
        port: 9092,
        rack: None,
        directory: DirectoryId([1; 16]),
        boot: 1,
    };
    image.apply(image.applied().next(), Command::RegisterBroker(register)).expect("registered");
    image
}

fn minting() -> impl FnMut() -> Origin {
    let mut sequence = 0;
    move || {
        sequence += 1;
        Origin { node: NodeId(1), boot: 1, sequence }
    }
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: 1, ..Default::default() }
}

fn steps(topics: Vec<CreatableTopic>, validate_only: bool) -> Vec<CreateStep> {
    let request = CreateTopicsRequest { topics, validate_only, ..Default::default() };
    create_steps(&image(), Defaults::default(), &request, minting())
}

fn answers(steps: &[CreateStep]) -> Vec<(&str, i16, Option<&str>)> {
    let mut results = Vec::new();
    for step in steps {
        match step {
            CreateStep::Answer(result) => {
                results.push((result.name.as_str(), result.error_code, result.error_message.as_deref()));
            }
            CreateStep::Propose(create) => panic!("{create:?}"),
        }
    }
    results
}

#[test]
fn a_topic_becomes_a_command_and_its_outcome_an_answer() {
    let mut image = image();
    let mut asked = topic("a", 3);
    asked.configs = vec![CreatableTopicConfig { name: "segment.bytes".to_owned(), value: Some("1048576".to_owned()) }];
    let steps = steps(vec![asked], false);
    let [CreateStep::Propose(create)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(create.origin.sequence, 1);
    let applied = image.apply(image.applied().next(), Command::CreateTopic(create.clone()));
    let result = create_result(&image, "a", &applied);
    let id = image.topic_named("a").expect("created").id;
    assert_eq!((result.error_code, result.error_message, result.topic_id), (0, None, id));
    assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
    let configs = result.configs.expect("told");
    assert_eq!(configs.len(), crate::controller::configs::DEFINITIONS.len());
    let told = configs.iter().find(|config| config.name == "segment.bytes").expect("listed");
    assert_eq!((told.value.as_deref(), told.config_source), (Some("1048576"), 1));

    let mut again = create.clone();
    again.origin.sequence = 2;
    let applied = image.apply(image.applied().next(), Command::CreateTopic(again));
    let result = create_result(&image, "a", &applied);
    assert_eq!(result.error_code, ErrorCode::TopicAlreadyExists.code());
    assert_eq!(result.error_message.as_deref(), Some("Topic 'a' already exists."));
    assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
    assert_eq!(result.topic_id, TopicId::ZERO);
}

#[test]
fn a_name_asked_for_twice_is_refused_once() {
    let steps = steps(vec![topic("a", 1), topic("b", 1), topic("a", 2)], false);
    assert_eq!(steps.len(), 2);
    let duplicate = ("a", ErrorCode::InvalidRequest.code(), Some("Duplicate topic name."));
    assert_eq!(answers(&steps[..1]), [duplicate]);
    assert!(matches!(&steps[1], CreateStep::Propose(create) if create.name == "b"));
}

#[test]
fn validating_creates_nothing_and_says_what_creating_would() {
    let all = steps(vec![topic("a", -1), topic("b", 0), topic("a b", 1)], true);
    let invalid = ErrorCode::InvalidPartitions.code();
    assert_eq!(
        answers(&all),
        [
            ("a", 0, None),
            ("b", invalid, Some("Number of partitions was set to an invalid non-positive value.")),
            (
                "a b",
                ErrorCode::InvalidTopicException.code(),
                Some(
                    "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' \
                     and '-'"
                )
            ),
        ]
    );
    let CreateStep::Answer(result) = &all[0] else { panic!("answered") };
    assert_eq!((result.topic_id, result.num_partitions, result.replication_factor), (TopicId::ZERO, 1, 1));
}

#[test]
fn null_values_are_refused_as_kafka_does() {
    let mut asked = topic("a", 1);
    asked.configs = vec![CreatableTopicConfig { name: "segment.bytes".to_owned(), value: None }];
    let text = "Null value not supported for topic configs: segment.bytes";
    assert_eq!(answers(&steps(vec![asked], false)), [("a", ErrorCode::InvalidConfig.code(), Some(text))]);
}

#[test]
fn a_request_may_not_ask_for_too_many_partitions() {
    let text = "Excessively large number of partitions per request.";
    let code = ErrorCode::PolicyViolation.code();
    let all = steps(vec![topic("a", 5_000), topic("b", 5_001)], false);
    assert_eq!(answers(&all), [("a", code, Some(text)), ("b", code, Some(text))]);
    assert!(matches!(
        steps(vec![topic("a", 5_000), topic("b", 5_000)], false)[..],
        [CreateStep::Propose(_), CreateStep::Propose(_)]
    ));
    assert_eq!(answers(&steps(vec![topic("a", i32::MAX), topic("b", i32::MAX)], true)).len(), 2);
}

#[test]
fn a_huge_description_never_reaches_the_log() {
    let mut asked = topic("a", -1);
    asked.replication_factor = -1;
    asked.assignments =
        vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1; COMMAND_BYTES_MAX + 1] }];
    let text = "The manual partition assignment includes the broker 1 more than once.";
    assert_eq!(answers(&steps(vec![asked], false)), [("a", ErrorCode::InvalidReplicaAssignment.code(), Some(text))]);
}

fn deleting(topics: Vec<(Option<&str>, TopicId)>) -> Vec<DeleteStep> {
    let state =
        |(name, topic_id): (Option<&str>, TopicId)| DeleteTopicState { name: name.map(str::to_owned), topic_id };
    let request = DeleteTopicsRequest { topics: topics.into_iter().map(state).collect(), ..Default::default() };
    delete_steps(&request, minting())
}

#[test]
fn topics_are_deleted_by_name_or_by_id() {
    let id = TopicId([5; 16]);
    let all = deleting(vec![(Some("a"), TopicId::ZERO), (None, id)]);
    let refs: Vec<&TopicRef> = all
        .iter()
        .map(|step| match step {
            DeleteStep::Propose(delete) => &delete.topic,
            DeleteStep::Answer(result) => panic!("{result:?}"),
        })
        .collect();
    assert_eq!(refs, [&TopicRef::Name("a".to_owned()), &TopicRef::Id(id)]);
    let names = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    assert_eq!(delete_steps(&names, minting()), all[..1]);
}

#[test]
fn a_deletion_names_one_topic_once() {
    let id = TopicId([5; 16]);
    let refused = |topics| -> Vec<(Option<String>, TopicId, i16, Option<String>)> {
        let results = deleting(topics).into_iter().map(|step| match step {
            DeleteStep::Answer(result) => (result.name, result.topic_id, result.error_code, result.error_message),
            DeleteStep::Propose(delete) => panic!("{delete:?}"),
        });
        results.collect()
    };
    let code = ErrorCode::InvalidRequest.code();
    let answer = |name: Option<&str>, id, text: &str| vec![(name.map(str::to_owned), id, code, Some(text.to_owned()))];
    let neither = answer(None, TopicId::ZERO, "Neither topic name nor id were specified.");
    assert_eq!(refused(vec![(None, TopicId::ZERO)]), neither);
    let both = answer(Some("a"), id, "You may not specify both topic name and topic id.");
    assert_eq!(refused(vec![(Some("a"), id)]), both);
    let twice = answer(Some("a"), TopicId::ZERO, "Duplicate topic name.");
    assert_eq!(refused(vec![(Some("a"), TopicId::ZERO), (Some("a"), TopicId::ZERO)]), twice);
    assert_eq!(refused(vec![(None, id), (None, id)]), answer(None, id, "Duplicate topic id."));
    assert_eq!(refused(vec![(Some("a b"), TopicId::ZERO)])[0].2, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn the_outcome_of_a_deletion_names_the_topic_if_it_is_known() {
    let id = TopicId([5; 16]);
    let gone = Ok(Applied::TopicDeleted { id, name: "a".to_owned(), groups: Vec::new(), repeated: false });
    let result = delete_result(&TopicRef::Id(id), &gone);
    assert_eq!((result.name.as_deref(), result.topic_id, result.error_code), (Some("a"), id, 0));
    let result = delete_result(&TopicRef::Id(id), &Err(apply::unknown_topic_id()));
    assert_eq!((result.name, result.topic_id, result.error_code), (None, id, ErrorCode::UnknownTopicId.code()));
    let result = delete_result(&TopicRef::Name("a".to_owned()), &Err(apply::unknown_topic_name()));
    assert_eq!((result.name.as_deref(), result.topic_id), (Some("a"), TopicId::ZERO));
}
