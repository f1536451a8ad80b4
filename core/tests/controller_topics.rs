//! Creating and deleting topics: ids are never reused, and what Kafka refuses is refused in its words.

mod controller_support;

use std::collections::BTreeSet;

use controller_support::*;
use tidelog_core::controller::command::{AllocateProducerIds, Command, DeleteTopic, TopicRef};
use tidelog_core::controller::configs::TopicConfig;
use tidelog_core::controller::image::{Applied, Image};
use tidelog_core::controller::{ORIGIN_WINDOW, PARTITIONS_TOTAL_MAX, TOMBSTONE_GROUPS_MAX};
use tidelog_core::id::{ClusterId, GroupId, Index, NodeId, ReplicaId, TopicId};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::limits::TOPIC_PARTITIONS_MAX;

#[test]
fn a_topic_gets_partitions_with_replicas_on_distinct_brokers() {
    let mut cluster = Cluster::new(4);
    let id = cluster.create("orders", 8, 3).unwrap();
    let topic = cluster.image.topic(id).unwrap();
    assert_eq!(cluster.image.topic_named("orders"), Some(topic));
    assert_eq!(topic.created_index, Index(5));
    assert_eq!(topic.config(), TopicConfig::default());
    assert_eq!((topic.partition_count(), topic.replication_factor()), (8, 3));
    for partition in &topic.partitions {
        let nodes: BTreeSet<NodeId> = partition.replicas.iter().map(|(node, _)| *node).collect();
        assert_eq!(nodes.len(), 3);
        let replicas: Vec<ReplicaId> = partition.replicas.iter().map(|(_, replica)| *replica).collect();
        assert_eq!(replicas, [ReplicaId(1), ReplicaId(2), ReplicaId(3)]);
        assert_eq!(partition.next_replica, ReplicaId(4));
    }
    let leads = |node| topic.partitions.iter().filter(|partition| partition.replicas[0].0 == node).count();
    assert_eq!([1, 2, 3, 4].map(|node| leads(NodeId(node))), [2, 2, 2, 2]);
    let (found, number, partition) = cluster.image.partition_of(topic.partitions[5].group).unwrap();
    assert_eq!((found.id, number, partition), (id, 5, &topic.partitions[5]));
    assert_eq!((1..=4).map(|node| cluster.image.replicas_on(NodeId(node)).count()).sum::<usize>(), 24);
}

#[test]
fn minus_one_means_the_defaults_and_no_more_replicas_than_brokers() {
    let shape = |brokers| {
        let mut cluster = Cluster::new(brokers);
        let id = cluster.create("a", -1, -1).unwrap();
        let topic = cluster.image.topic(id).unwrap();
        (topic.partition_count(), topic.replication_factor())
    };
    assert_eq!([1, 2, 3, 5].map(shape), [(1, 1), (1, 2), (1, 3), (1, 3)]);
    assert_rejected(
        Cluster::new(0).image.validate_create(&Cluster::new(0).topic("a", -1, -1)),
        ErrorCode::InvalidReplicationFactor,
        "only 0 broker(s) are registered",
    );
}

#[test]
fn a_topic_created_again_under_its_name_is_another() {
    let mut cluster = Cluster::new(3);
    let mut ids = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for _ in 0..4 {
        let id = cluster.create("orders", 3, 1).unwrap();
        assert!(ids.insert(id) && id != TopicId::ZERO);
        let made = cluster.groups(id);
        assert!(made.iter().all(|group| *group != GroupId::CONTROLLER && groups.insert(*group)));
        assert_eq!(cluster.delete(name("orders")), Ok((id, made.clone())));
        assert_eq!(cluster.image.topic_named("orders"), None);
        assert_eq!(cluster.image.topic(id), None);
        assert_eq!(cluster.image.tombstone(id).unwrap().groups, made);
    }
}

#[test]
fn topic_ids_are_uuids_that_differ_between_clusters() {
    let id_in = |cluster: u8| {
        let mut cluster =
            Cluster { image: tidelog_core::controller::image::Image::new(ClusterId([cluster; 16])), ..Cluster::new(0) };
        cluster.apply(Command::RegisterBroker(register(1))).unwrap();
        cluster.create("a", 1, 1).unwrap()
    };
    let ids: BTreeSet<TopicId> = (0..100).map(id_in).collect();
    assert_eq!(ids.len(), 100);
    for id in ids {
        assert_eq!(id.0[6] >> 4, 8, "version 8 of RFC 9562");
        assert_eq!(id.0[8] >> 6, 0b10, "the variant of RFC 9562");
        assert!(id.0[0] < 0x80, "the text does not begin with a dash");
    }
}

#[test]
fn names_are_refused_as_kafka_does() {
    let mut cluster = Cluster::new(1);
    let invalid = ErrorCode::InvalidTopicException;
    assert_rejected(cluster.create("a b", 1, 1), invalid, "Topic name is invalid: 'a b' contains");
    assert_rejected(cluster.create("", 1, 1), invalid, "the empty string is not allowed");
    cluster.create("a.b", 1, 1).unwrap();
    assert_rejected(cluster.create("a.b", 1, 1), ErrorCode::TopicAlreadyExists, "Topic 'a.b' already exists.");
    assert_rejected(cluster.create("a_b", 1, 1), invalid, "Topic 'a_b' collides with existing topic: a.b");
    cluster.delete(name("a.b")).unwrap();
    cluster.create("a_b", 1, 1).unwrap();
}

#[test]
fn counts_are_refused_as_kafka_does() {
    let mut cluster = Cluster::new(2);
    for factor in [0, -2] {
        let says = "Replication factor must be larger than 0, or -1 to use the default value.";
        assert_rejected(cluster.create("a", 0, factor), ErrorCode::InvalidReplicationFactor, says);
    }
    for partitions in [0, -2, i32::MIN] {
        let says = "Number of partitions was set to an invalid non-positive value.";
        assert_rejected(cluster.create("a", partitions, 1), ErrorCode::InvalidPartitions, says);
    }
    let says = "The target replication factor of 3 cannot be reached because only 2 broker(s) are registered";
    assert_rejected(cluster.create("a", 1, 3), ErrorCode::InvalidReplicationFactor, says);
    let says = "Excessively large number of partitions per request.";
    assert_rejected(cluster.create("a", TOPIC_PARTITIONS_MAX + 1, 1), ErrorCode::PolicyViolation, says);
    cluster.create("a", TOPIC_PARTITIONS_MAX, 1).unwrap();
}

#[test]
fn partitions_of_all_topics_together_are_bounded() {
    let mut cluster = Cluster::new(1);
    // Asserting the whole image after each of twenty large topics is slow: once is enough.
    while cluster.image.partitions_total() < PARTITIONS_TOTAL_MAX {
        let create = cluster.topic(&format!("t{}", cluster.index), TOPIC_PARTITIONS_MAX, 1);
        cluster.index += 1;
        cluster.image.apply(Index(cluster.index), Command::CreateTopic(create)).unwrap();
    }
    cluster.image.check();
    assert_eq!(cluster.image.partitions_total(), PARTITIONS_TOTAL_MAX);
    let one_more = cluster.topic("more", 1, 1);
    let says = "The cluster holds 200000 partitions; with 1 more";
    assert_rejected(cluster.image.validate_create(&one_more), ErrorCode::PolicyViolation, says);
}

#[test]
fn assignments_are_refused_as_kafka_does() {
    let mut cluster = Cluster::new(3);
    let mut refuse = |partitions: &[(i32, &[i32])], error, says| {
        let mut create = cluster.topic("a", -1, -1);
        create.assignment = assigned(partitions);
        assert_rejected(cluster.apply_create(create), error, says);
    };
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let sequence = "partitions should be a consecutive 0-based integer sequence";
    refuse(&[(0, &[1]), (2, &[1])], invalid, sequence);
    refuse(&[(-1, &[1])], invalid, sequence);
    refuse(&[(0, &[1, 1])], invalid, "includes the broker 1 more than once.");
    refuse(&[(0, &[9])], invalid, "includes broker 9, but no such broker is registered.");
    refuse(&[(0, &[-1])], invalid, "includes broker -1, but no such broker is registered.");
    refuse(&[(0, &[i32::MIN])], invalid, "no such broker is registered.");
    refuse(&[(0, &[])], invalid, "includes an empty replica list.");
    refuse(&[(0, &[1]), (1, &[1, 2])], invalid, "includes a partition with 2 replica(s)");
    refuse(&[(0, &[1]), (0, &[2])], invalid, "Found multiple manual partition assignments for partition 0");
    let mut create = cluster.topic("a", 2, -1);
    create.assignment = assigned(&[(0, &[1])]);
    assert_rejected(cluster.apply_create(create), ErrorCode::InvalidRequest, "numPartitions was not set to -1");
    let mut create = cluster.topic("a", -1, 1);
    create.assignment = assigned(&[(0, &[1])]);
    assert_rejected(cluster.apply_create(create), ErrorCode::InvalidRequest, "replication factor was not set to -1");
}

#[test]
fn an_assignment_is_followed_in_its_order() {
    let mut cluster = Cluster::new(3);
    let mut create = cluster.topic("a", -1, -1);
    create.assignment = assigned(&[(1, &[3, 1]), (0, &[2, 3])]);
    let id = cluster.apply_create(create).unwrap();
    let topic = cluster.image.topic(id).unwrap();
    let nodes = |at: usize| topic.partitions[at].replicas.iter().map(|(node, _)| node.0).collect::<Vec<_>>();
    assert_eq!((nodes(0), nodes(1)), (vec![2, 3], vec![3, 1]));
}

#[test]
fn configs_are_judged_before_counts_and_kept() {
    let mut cluster = Cluster::new(1);
    let mut create = cluster.topic("a", 0, 0);
    create.configs.insert("foo".to_owned(), "1".to_owned());
    assert_rejected(cluster.apply_create(create), ErrorCode::InvalidConfig, "Unknown topic config name: foo");
    let mut create = cluster.topic("a", 1, 1);
    create.configs.insert("min.insync.replicas".to_owned(), "2".to_owned());
    let id = cluster.apply_create(create).unwrap();
    assert_eq!(cluster.image.topic(id).unwrap().config().min_insync_replicas, 2);
}

#[test]
fn deleting_what_is_not_there_is_refused() {
    let mut cluster = Cluster::new(1);
    let error = ErrorCode::UnknownTopicOrPartition;
    assert_rejected(cluster.delete(name("a")), error, "This server does not host this topic-partition.");
    let unknown = TopicRef::Id(TopicId([9; 16]));
    assert_rejected(cluster.delete(unknown), ErrorCode::UnknownTopicId, "This server does not host this topic ID.");
    let id = cluster.create("a", 1, 1).unwrap();
    cluster.delete(TopicRef::Id(id)).unwrap();
    assert_rejected(cluster.delete(TopicRef::Id(id)), ErrorCode::UnknownTopicId, "topic ID");
}

#[test]
fn a_command_proposed_twice_is_applied_once() {
    let mut cluster = Cluster::new(1);
    let create = Command::CreateTopic(cluster.topic("a", 2, 1));
    let Ok(Applied::TopicCreated { id, repeated: false }) = cluster.apply(create.clone()) else { panic!("created") };
    assert_eq!(cluster.apply(create.clone()), Ok(Applied::TopicCreated { id, repeated: true }));
    let groups = cluster.groups(id);

    let delete = Command::DeleteTopic(DeleteTopic { origin: cluster.origin(), topic: name("a") });
    let gone = |repeated| Applied::TopicDeleted { id, name: "a".to_owned(), groups: groups.clone(), repeated };
    assert_eq!(cluster.apply(delete.clone()), Ok(gone(false)));
    assert_eq!(cluster.apply(delete.clone()), Ok(gone(true)));

    // The first creation, arriving late, does not bring the topic back,
    assert_rejected(cluster.apply(create), ErrorCode::RequestTimedOut, "received before");
    // nor does the deletion, arriving late, take away the next of that name.
    let next = cluster.create("a", 1, 1).unwrap();
    assert_eq!(cluster.apply(delete), Ok(gone(true)));
    assert!(cluster.image.topic(next).is_some());
}

#[test]
fn commands_of_one_broker_may_overtake_each_other() {
    let mut cluster = Cluster::new(1);
    let (first, second) = (cluster.topic("first", 1, 1), cluster.topic("second", 1, 1));
    cluster.apply_create(second).unwrap();
    cluster.apply_create(first).unwrap();
}

#[test]
fn how_far_commands_may_overtake_is_bounded() {
    let mut cluster = Cluster::new(1);
    let mut allocate = |sequence| {
        let origin = origin(sequence);
        cluster.apply(Command::AllocateProducerIds(AllocateProducerIds { origin }))
    };
    allocate(5_000).unwrap();
    allocate(5_000 - ORIGIN_WINDOW + 1).unwrap();
    assert_rejected(allocate(5_000 - ORIGIN_WINDOW), ErrorCode::RequestTimedOut, "received before");
    assert_rejected(allocate(0), ErrorCode::RequestTimedOut, "received before");
    allocate(u64::MAX).unwrap();
    assert_rejected(allocate(5_001), ErrorCode::RequestTimedOut, "received before");
    for sequence in u64::MAX - ORIGIN_WINDOW + 1..u64::MAX {
        allocate(sequence).unwrap();
    }
}

#[test]
fn commands_of_another_life_are_refused() {
    let mut cluster = Cluster::new(1);
    let create = cluster.topic("a", 1, 1);
    let mut again = register(1);
    again.boot = 2;
    cluster.apply(Command::RegisterBroker(again)).unwrap();
    let result = cluster.apply(Command::CreateTopic(create));
    assert_rejected(result, ErrorCode::BrokerIdNotRegistered, "Boot 1 of broker 1 is not registered.");
}

/// Producers with an id below this go on in the topic of this name.
fn heirs_below(cluster: &Cluster, topic: &str) -> i64 {
    cluster.image.topic_named(topic).expect("it stands").heirs_below().0
}

#[test]
fn heirs_are_those_whose_ids_were_given_out_before_the_former_topic_was_deleted() {
    let mut cluster = Cluster::new(1);
    let Ok(Applied::ProducerIds { first: before, count }) = cluster.allocate() else { panic!("given") };
    cluster.create("a", 1, 1).unwrap();
    assert_eq!(heirs_below(&cluster, "a"), 0, "there was none of its name");
    cluster.delete(name("a")).unwrap();
    let deleted = i64::try_from(cluster.index).unwrap();
    // Given out between the deletion and the creation: its producer never wrote to the former topic.
    let Ok(Applied::ProducerIds { first: between, .. }) = cluster.allocate() else { panic!("given") };
    cluster.create("b", 1, 1).unwrap();
    cluster.create("a", 1, 1).unwrap();
    assert_eq!(heirs_below(&cluster, "a"), deleted * 1_000);
    assert!(before + i64::from(count) <= heirs_below(&cluster, "a") && heirs_below(&cluster, "a") <= between);
    assert_eq!(heirs_below(&cluster, "b"), 0, "another name is another topic");
}

#[test]
fn of_several_deletions_the_last_counts() {
    let mut cluster = Cluster::new(1);
    let mut deleted = 0;
    for _ in 0..3 {
        cluster.create("a", 1, 1).unwrap();
        assert_eq!(heirs_below(&cluster, "a"), deleted * 1_000);
        cluster.delete(name("a")).unwrap();
        deleted = i64::try_from(cluster.index).unwrap();
    }
    // Deletions of the topic that stands, and of others, do not change what it began with.
    cluster.create("a", 1, 1).unwrap();
    let before = heirs_below(&cluster, "a");
    cluster.create("b", 1, 1).unwrap();
    cluster.delete(name("b")).unwrap();
    assert_eq!(heirs_below(&cluster, "a"), before);
    let again = Image::decode(cluster.image.encode()).expect("its own snapshot");
    assert_eq!(again.topic_named("a").map(|topic| topic.heirs_below().0), Some(before), "a snapshot keeps it");
}

#[test]
fn a_creation_that_does_not_speak_of_heirs_has_none() {
    let mut cluster = Cluster::new(1);
    cluster.heirs = false;
    cluster.create("a", 1, 1).unwrap();
    cluster.delete(name("a")).unwrap();
    cluster.create("a", 1, 1).unwrap();
    assert_eq!(heirs_below(&cluster, "a"), 0);
}

#[test]
fn the_oldest_tombstones_go_and_the_newest_stays() {
    let mut cluster = Cluster::new(1);
    let mut deleted = Vec::new();
    for _ in 0..=TOMBSTONE_GROUPS_MAX / TOPIC_PARTITIONS_MAX as u64 {
        let create = cluster.topic("a", TOPIC_PARTITIONS_MAX, 1);
        let delete = DeleteTopic { origin: cluster.origin(), topic: name("a") };
        for command in [Command::CreateTopic(create), Command::DeleteTopic(delete)] {
            cluster.index += 1;
            if let Applied::TopicDeleted { id, .. } = cluster.image.apply(Index(cluster.index), command).unwrap() {
                deleted.push(id);
            }
        }
    }
    cluster.image.check();
    assert_eq!(cluster.image.tombstone(deleted[0]), None);
    assert!(deleted[1..].iter().all(|id| cluster.image.tombstone(*id).is_some()));
    // The tombstone of another name goes with the oldest: then nobody remembers that there was a topic.
    cluster.create("b", 1, 1).unwrap();
    cluster.delete(name("b")).unwrap();
    for _ in 0..=TOMBSTONE_GROUPS_MAX / TOPIC_PARTITIONS_MAX as u64 {
        cluster.create("a", TOPIC_PARTITIONS_MAX, 1).unwrap();
        cluster.delete(name("a")).unwrap();
    }
    cluster.create("b", 1, 1).unwrap();
    assert_eq!(heirs_below(&cluster, "b"), 0);
}

#[test]
fn producer_ids_are_given_once() {
    let mut cluster = Cluster::new(1);
    let mut last = -1;
    for _ in 0..5 {
        let Ok(Applied::ProducerIds { first, count }) = cluster.allocate() else { panic!("given") };
        assert!(first > last);
        assert_eq!(first, i64::try_from(cluster.index).unwrap() * 1_000);
        last = first + i64::from(count) - 1;
    }
}
