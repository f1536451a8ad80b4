//! When clients may be let in: as soon as they can be told which brokers there are, and not before.

#[path = "support/house.rs"]
mod house;

use house::{Disk, House};
use tidelog_core::formation::Membership;
use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::kafka::ResponseBody;
use tidelog_core::kafka::messages::{ApiVersionsRequest, MetadataRequest};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn answers(house: &House, node: NodeId) -> bool {
    house.homes[&node].broker.answers()
}

/// The brokers that a broker tells of, to a client that connects now.
fn told(house: &mut House, node: NodeId) -> Vec<i32> {
    let conn = house.open(node, 77);
    assert!(matches!(house.ask(node, conn, 3, ApiVersionsRequest::default()), ResponseBody::ApiVersions(_)));
    let ResponseBody::Metadata(answer) = house.ask(node, conn, 9, MetadataRequest::default()) else {
        panic!("another answer")
    };
    answer.brokers.iter().map(|broker| broker.node_id).collect()
}

/// The first step after which it may be asked is early enough, and it is asked for good.
#[test]
fn a_broker_answers_from_when_it_says_so_on() {
    let mut house = House::empty(1);
    house.start(ONE, Disk::default(), 1);
    let mut steps = 0;
    while !answers(&house, ONE) {
        if !house.step() {
            house.pass(Duration::from_millis(1));
        }
        steps += 1;
        assert!(steps < 10_000, "it never answers");
    }
    assert_eq!(told(&mut house, ONE), [1]);
    for _ in 0..100 {
        house.pass(Duration::from_millis(20));
        assert!(answers(&house, ONE), "it takes that back");
    }
    house.restart(ONE);
    house.ready();
    assert!(answers(&house, ONE));
}

/// Who waits for the others to form a cluster has nothing to tell.
#[test]
fn one_of_three_does_not_answer_before_the_cluster_is_formed() {
    let mut house = House::empty(3);
    house.start(ONE, Disk::default(), 1);
    house.settle();
    for _ in 0..100 {
        house.pass(Duration::from_millis(50));
        assert!(!answers(&house, ONE));
    }
    house.start(TWO, Disk::default(), 1);
    house.start(THREE, Disk::default(), 1);
    house.settle();
    house.ready();
    for node in [ONE, TWO, THREE] {
        assert!(answers(&house, node));
        assert_eq!(told(&mut house, node), [1, 2, 3]);
    }
}

/// Operators ask whoever is left what has become of the cluster, a start of it included.
#[test]
fn who_is_left_of_a_cluster_answers_without_a_leader() {
    let mut house = House::new(3);
    house.ready();
    house.stop(TWO);
    house.stop(THREE);
    house.pass(Duration::from_secs(5));
    assert!(answers(&house, ONE) && !house.homes[&ONE].broker.status().ready);
    assert_eq!(told(&mut house, ONE), [1, 2, 3]);
    house.restart(ONE);
    house.pass(Duration::from_secs(5));
    assert!(answers(&house, ONE) && !house.homes[&ONE].broker.status().ready);
    assert_eq!(told(&mut house, ONE), [1, 2, 3]);
}

/// Nothing is known on an empty disk, so clients are better served elsewhere until it is admitted.
#[test]
fn who_observes_does_not_answer() {
    let mut house = House::new(3);
    house.ready();
    house.stop(THREE);
    house.directories.insert(THREE, DirectoryId([103; 16]));
    house.start(THREE, Disk::default(), 1);
    house.settle();
    for _ in 0..100 {
        house.pass(Duration::from_millis(50));
        assert!(!answers(&house, THREE));
    }
    assert_eq!(house.homes[&THREE].broker.status().membership, Membership::Observer);
    assert_eq!(told(&mut house, ONE), [1, 2, 3]);
}
