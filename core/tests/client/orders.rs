//! Topics are created, described and deleted; what may have happened is never called failed.

use tidelog_core::client::{Failure, Operation, Outcome, Position, Resource};
use tidelog_core::id::Offset;
use tidelog_core::kafka::{ApiKey, ErrorCode};
use tidelog_core::time::Duration;

use crate::fake::{Cluster, Deed};
use crate::world::{World, config, produce};

fn create() -> Operation {
    Operation::CreateTopic { name: "new".to_owned(), partitions: 2, replication_factor: 1, configs: Vec::new() }
}

fn once(key: ApiKey, deed: Deed) -> crate::world::Script {
    let mut deed = Some(deed);
    Box::new(move |_, _, request| match request.header.api_key {
        it if it == key => deed.take().unwrap_or(Deed::Answer),
        _ => Deed::Answer,
    })
}

#[test]
fn topics_are_created_described_and_deleted() {
    let mut world = World::new(config(), Cluster::new(3));
    assert!(matches!(world.run(create()), Ok(Outcome::Created { .. })));
    let again = world.run(create()).unwrap_err();
    assert!(matches!(again, Failure::Definite { error: ErrorCode::TopicAlreadyExists, .. }), "{again:?}");
    let outcome = world.run(Operation::Describe { topics: None }).unwrap();
    let Outcome::Cluster { brokers, topics, controller, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(brokers.len(), 3);
    assert_eq!(controller, Some(1));
    assert_eq!((topics[0].name.as_str(), topics[0].partitions.len()), ("new", 2));
    let outcome = world.run(Operation::DescribeConfigs { resource: Resource::Topic("new".to_owned()) }).unwrap();
    let Outcome::Configs { entries } = outcome else { panic!("{outcome:?}") };
    assert_eq!(entries[0].name, "retention.ms");
    assert!(!entries[0].is_default);
    assert_eq!(world.run(Operation::DeleteTopic { name: "new".to_owned() }), Ok(Outcome::Deleted));
    let gone = world.run(Operation::DeleteTopic { name: "new".to_owned() }).unwrap_err();
    assert!(matches!(gone, Failure::Definite { error: ErrorCode::UnknownTopicOrPartition, .. }), "{gone:?}");
}

#[test]
fn a_create_whose_answer_was_lost_is_unknown_if_the_topic_stands() {
    let mut world = World::new(config(), Cluster::new(3));
    world.script = once(ApiKey::CreateTopics, Deed::CarryOutAndClose);
    assert!(matches!(world.run(create()), Err(Failure::Unknown { .. })));
}

#[test]
fn a_create_that_never_arrived_is_asked_again() {
    let mut world = World::new(config(), Cluster::new(3));
    world.script = once(ApiKey::CreateTopics, Deed::Close);
    assert!(matches!(world.run(create()), Ok(Outcome::Created { .. })));
}

#[test]
fn a_create_that_nobody_answers_is_unknown() {
    let mut world = World::new(config(), Cluster::new(3));
    world.script = Box::new(|_, _, request| match request.header.api_key {
        ApiKey::CreateTopics => Deed::Ignore,
        _ => Deed::Answer,
    });
    assert!(matches!(world.run(create()), Err(Failure::Unknown { .. })));
}

#[test]
fn a_question_that_nobody_answers_fails_definitely() {
    let mut world = World::new(config(), Cluster::new(3));
    world.script = Box::new(|_, _, _| Deed::Ignore);
    let failure = world.run(Operation::Describe { topics: None }).unwrap_err();
    assert!(matches!(failure, Failure::Definite { .. }), "{failure:?}");
}

#[test]
fn offsets_are_asked_of_the_leader() {
    let mut cluster = Cluster::new(3);
    cluster.topic("t", 3);
    let mut world = World::new(config(), cluster);
    world.run(produce("t", 2, "x")).unwrap();
    world.cluster.partition("t", 2).leader = 1;
    world.cluster.partition("t", 2).epoch = 2;
    let at = |at| Operation::ListOffsets { topic: "t".to_owned(), partition: 2, at };
    let offset = |outcome| match outcome {
        Ok(Outcome::Offset { offset, .. }) => offset,
        other => panic!("{other:?}"),
    };
    assert_eq!(offset(world.run(at(Position::Latest))), Some(Offset(1)));
    assert_eq!(offset(world.run(at(Position::Earliest))), Some(Offset(0)));
}

#[test]
fn a_name_no_topic_can_have_is_refused_without_asking() {
    let mut world = World::new(config(), Cluster::new(1));
    let failure = world.run(produce(&"x".repeat(250), 0, "v")).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::InvalidTopicException, .. }), "{failure:?}");
    assert_eq!(world.connects, 0);
}

#[test]
fn a_dead_bootstrap_broker_costs_only_time() {
    let mut config = config();
    config.bootstrap = vec![("broker-1".to_owned(), 9092), ("broker-2".to_owned(), 9092)];
    let mut world = World::new(config, Cluster::new(2));
    world.down = vec![1];
    assert!(world.run(Operation::Describe { topics: None }).is_ok());
}

#[test]
fn a_failing_broker_is_asked_at_growing_intervals() {
    let mut world = World::new(config(), Cluster::new(1));
    world.down = vec![1];
    world.call(Operation::Describe { topics: None });
    world.run_for(Duration::from_secs(10));
    assert!((8..20).contains(&world.connects), "{} connects", world.connects);
}

/// More brokers than are tried at a time are of no use: the others are found all the same.
#[test]
fn brokers_that_are_of_no_use_do_not_hide_the_others() {
    for seed in 0..12 {
        let bootstrap = (1..=5).map(|node| (format!("broker-{node}"), 9092)).collect();
        let mut world = World::new(tidelog_core::client::Config { bootstrap, seed, ..config() }, Cluster::new(5));
        world.down = vec![2, 3, 4, 5];
        let outcome = world.run(Operation::Describe { topics: None });
        assert!(matches!(outcome, Ok(Outcome::Cluster { .. })), "seed {seed}: {outcome:?}");
    }
}
