//! A broker that is to end gives what it leads to others first.

#[path = "support/house.rs"]
mod house;

use house::House;
use tidelog_core::effect::Input;
use tidelog_core::id::NodeId;
use tidelog_core::time::Duration;

/// Brokers that serve as leaders, one entry per group.
fn leaders(house: &House) -> Vec<NodeId> {
    let of = |node: &NodeId, home: &house::Home| {
        let groups = home.broker.status().groups.into_iter().filter(|group| group.serving && !home.stopped);
        groups.map(|_| *node).collect::<Vec<_>>()
    };
    house.homes.iter().flat_map(|(node, home)| of(node, home)).collect()
}

#[test]
fn a_stopping_broker_leaves_no_group_without_a_leader() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(NodeId(1), 1);
    assert_eq!(house.create(NodeId(1), conn, ("orders", 6, 3), &[]), 0);
    house.ready();
    assert_eq!(leaders(&house).len(), 7);
    let stopping = leaders(&house)[0];
    house.inputs.push_back((stopping, Input::Stop));
    house.settle();
    // Far below an election timeout: nobody had to notice that the leader is gone.
    house.pass(Duration::from_millis(60));
    assert!(house.homes[&stopping].stopped, "it ends as soon as everything is handed over");
    let left = leaders(&house);
    assert_eq!(left.len(), 7, "every group has a leader");
    assert!(!left.contains(&stopping));
}

#[test]
fn a_broker_with_nobody_to_hand_over_to_ends_in_time() {
    let mut house = House::new(3);
    house.ready();
    let leader = leaders(&house)[0];
    for node in 1..=3 {
        if NodeId(node) != leader {
            house.homes.remove(&NodeId(node));
        }
    }
    house.inputs.push_back((leader, Input::Stop));
    house.settle();
    house.pass(Duration::from_millis(1_100));
    assert!(house.homes[&leader].stopped);
}

#[test]
fn a_lonely_broker_ends_at_once() {
    let mut house = House::new(1);
    house.ready();
    house.inputs.push_back((NodeId(1), Input::Stop));
    house.settle();
    assert!(house.homes[&NodeId(1)].stopped);
}
