//! A broker whose connection ended is taken for down: nobody is sent to it, and its groups elect without waiting for long.

#[path = "support/house.rs"]
mod house;

use house::House;
use tidelog_core::effect::Input;
use tidelog_core::id::{GroupId, NodeId, Term};
use tidelog_core::time::Duration;

/// Less than any replica waits for a leader it does not take for lost: eight ticks, and a heartbeat ago.
const SOON: Duration = Duration::from_millis(90);

/// Three brokers with a topic of six partitions.
fn three() -> House {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(NodeId(1), 1);
    assert_eq!(house.create(NodeId(1), conn, ("orders", 6, 3), &[]), 0);
    house.ready();
    // Until everything is led by whom it prefers.
    house.pass(Duration::from_secs(30));
    house
}

/// Who serves as a leader, and in which term.
fn leaders(house: &House) -> Vec<(GroupId, NodeId, Term)> {
    let of = |(node, home): (&NodeId, &house::Home)| {
        let serving = home.broker.status().groups.into_iter().filter(|group| group.serving);
        serving.map(|group| (group.group, *node, group.term)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = house.homes.iter().flat_map(of).collect();
    all.sort();
    all
}

/// A broker that leads more than one group.
fn busy(house: &House) -> NodeId {
    let leaders = leaders(house);
    let count = |node: &NodeId| leaders.iter().filter(|(_, leader, _)| leader == node).count();
    house.homes.keys().copied().max_by_key(count).expect("three")
}

fn lose(house: &mut House, node: NodeId) {
    let others: Vec<NodeId> = house.homes.keys().copied().filter(|other| *other != node).collect();
    house.inputs.extend(others.into_iter().map(|other| (other, Input::Lost { node })));
    house.settle();
}

#[test]
fn what_a_lost_broker_led_has_no_leader_and_then_a_new_one_soon() {
    let mut house = three();
    let lost = busy(&house);
    house.homes.remove(&lost);
    house.pass(Duration::from_millis(1));
    assert!(house.homes.values().all(|home| home.broker.status().ready), "nobody noticed yet");
    let before = leaders(&house).len();
    lose(&mut house, lost);
    for home in house.homes.values() {
        let waits = home.broker.status().waiting_for;
        assert!(waits.starts_with("a leader of"), "{waits}");
    }
    house.pass(SOON);
    assert!(leaders(&house).len() > before, "some are elected long before an election timeout");
    house.pass(Duration::from_millis(300));
    assert_eq!(leaders(&house).len(), 7, "all are elected");
    assert!(house.homes.values().all(|home| home.broker.status().ready));
}

#[test]
fn a_leader_that_one_follower_takes_for_lost_leads_on() {
    let mut house = three();
    let before = leaders(&house);
    let lost = busy(&house);
    let one = house.homes.keys().copied().find(|node| *node != lost).expect("three");
    for _ in 0..20 {
        house.inputs.push_back((one, Input::Lost { node: lost }));
        house.settle();
        house.pass(Duration::from_millis(70));
    }
    house.pass(Duration::from_secs(1));
    assert_eq!(leaders(&house), before);
    assert!(house.homes[&one].broker.status().ready);
}

#[test]
fn a_leader_that_all_take_for_lost_costs_an_election_at_most() {
    let mut house = three();
    let lost = busy(&house);
    lose(&mut house, lost);
    house.pass(Duration::from_secs(1));
    assert_eq!(leaders(&house).len(), 7);
    assert!(house.homes.values().all(|home| home.broker.status().ready));
}

#[test]
fn a_broker_that_is_left_alone_names_no_leader() {
    let mut house = three();
    let alone = NodeId(1);
    house.homes.retain(|node, _| *node == alone);
    house.pass(Duration::from_secs(2));
    let status = house.homes[&alone].broker.status();
    assert!(!status.ready, "it can not take a write");
    assert_eq!(status.waiting_for, "a leader of the controller");
}
