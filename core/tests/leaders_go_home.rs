//! Leadership goes back to the first replica of each partition once that has been there for a while, one group at a time.

#[path = "support/house.rs"]
mod house;

use std::collections::BTreeSet;

use house::House;
use house::requests::batch;
use tidelog_core::effect::Input;
use tidelog_core::id::{ConnId, NodeId};
use tidelog_core::kafka::ResponseBody;
use tidelog_core::kafka::messages::{MetadataRequest, MetadataRequestTopic};
use tidelog_core::marks;
use tidelog_core::time::Duration;

/// Leader and first replica of each partition, as clients are told.
fn partitions(house: &mut House, node: NodeId) -> Vec<(i32, i32)> {
    let conn = house.open(node, 999);
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let ResponseBody::Metadata(response) = house.ask(node, conn, 9, request) else { panic!("another answer") };
    house.inputs.push_back((node, Input::Closed { conn: ConnId(999) }));
    let partitions = response.topics[0].partitions.iter();
    partitions.map(|partition| (partition.leader_id, partition.replica_nodes[0])).collect()
}

fn strayed(house: &mut House, node: NodeId) -> usize {
    partitions(house, node).into_iter().filter(|(leader, first)| leader != first).count()
}

fn asked(house: &House) -> u32 {
    let of =
        |((_, mark), count): (&(NodeId, &'static str), &u32)| if *mark == marks::PREFERRED_ASKED { *count } else { 0 };
    house.marks.iter().map(of).sum()
}

/// A broker ends as its operator wants, and begins again.
fn restart(house: &mut House, node: NodeId) {
    house.inputs.push_back((node, Input::Stop));
    house.settle();
    house.pass(Duration::from_millis(200));
    assert!(house.homes[&node].stopped, "it hands over and ends");
    house.restart(node);
    house.ready();
}

fn three() -> House {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(NodeId(1), 1);
    assert_eq!(house.create(NodeId(1), conn, ("t", 6, 3), &[]), 0);
    house.ready();
    house
}

#[test]
fn after_a_rolling_restart_every_broker_leads_its_share_again() {
    let mut house = three();
    for node in 1..=3 {
        restart(&mut house, NodeId(node));
    }
    assert!(strayed(&mut house, NodeId(1)) >= 2, "the last one leads nothing");
    let mut before = asked(&house);
    for _ in 0..400 {
        house.pass(Duration::from_millis(20));
        let now = asked(&house);
        assert!(now <= before + house.homes.len() as u32, "each broker asks for one group at a time");
        before = now;
    }
    assert_eq!(strayed(&mut house, NodeId(1)), 0);
    let leaders: BTreeSet<i32> = partitions(&mut house, NodeId(2)).into_iter().map(|(leader, _)| leader).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2, 3]));
    // Nothing moves any more, and what is written is there.
    let asked_before = asked(&house);
    let leader = NodeId(partitions(&mut house, NodeId(1))[0].0 as u32);
    let conn = house.open(leader, 5);
    assert_eq!(house.produce(leader, conn, "t", batch(None, &["x"], 1)).error_code, 0);
    house.pass(Duration::from_secs(10));
    assert_eq!(asked(&house), asked_before);
}

#[test]
fn who_has_just_come_back_leads_nothing_yet() {
    let mut house = three();
    house.pass(Duration::from_secs(8));
    assert_eq!(strayed(&mut house, NodeId(1)), 0);
    let before = asked(&house);
    restart(&mut house, NodeId(2));
    assert_eq!(strayed(&mut house, NodeId(1)), 2, "others took over");
    // Ten longest election times are 3.2 seconds here.
    house.pass(Duration::from_secs(2));
    assert_eq!((strayed(&mut house, NodeId(1)), asked(&house)), (2, before));
    // It is away again, and is not asked while it is.
    let home = house.homes.remove(&NodeId(2)).expect("it lives");
    house.pass(Duration::from_secs(8));
    assert_eq!(asked(&house), before);
    house.start(NodeId(2), home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    assert_eq!(asked(&house), before);
    house.pass(Duration::from_secs(3));
    assert_eq!((strayed(&mut house, NodeId(1)), asked(&house)), (0, before + 2));
}
