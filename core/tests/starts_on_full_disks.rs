//! A broker that starts on a full disk serves what needs no room, refuses writes, and goes on by itself when there is room:
//! whichever allocation is the first to be refused, and however often it is started so.

#[path = "support/house.rs"]
mod house;

use house::requests::batch;
use house::{Disk, House};
use tidelog_core::effect::DiskCommand;
use tidelog_core::formation::Membership;
use tidelog_core::id::{ConnId, FileKind, NodeId};
use tidelog_core::kafka::messages::{DeleteTopicState, DeleteTopicsRequest};
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// A cluster with topics "old", which holds a record, and "new".
fn filled(nodes: u32) -> House {
    let mut house = House::empty(nodes);
    // As many starts fit a spare as on a node.
    house.settings.journal_file_bytes = 512 * 1024;
    for node in 1..=nodes {
        house.start(NodeId(node), Disk::default(), 1);
    }
    house.settle();
    house.ready();
    let conn = house.open(ONE, 1);
    let replicas = i16::try_from(nodes).expect("few");
    assert_eq!(house.create(ONE, conn, ("old", 1, replicas), &[]), 0);
    assert_eq!(house.create(ONE, conn, ("new", 1, replicas), &[]), 0);
    house.pass(Duration::from_secs(2));
    assert!(writes(&mut house, "old"));
    house.pass(Duration::from_secs(2));
    house
}

fn conn(house: &mut House, node: NodeId) -> ConnId {
    // One for each request.
    let next = house.homes[&node].next_request;
    house.open(node, 1_000 + next)
}

/// Whether a record can be written, wherever there is a leader.
fn writes(house: &mut House, topic: &str) -> bool {
    let nodes: Vec<NodeId> = house.homes.keys().copied().collect();
    nodes.into_iter().any(|node| {
        let conn = conn(house, node);
        house.produce(node, conn, topic, batch(None, &["x"], 1)).error_code == ErrorCode::None.code()
    })
}

/// Whether a record can be read.
fn reads(house: &mut House, topic: &str) -> bool {
    let nodes: Vec<NodeId> = house.homes.keys().copied().collect();
    nodes.into_iter().any(|node| {
        let conn = conn(house, node);
        let read = house.fetch(node, conn, topic, 0, 0);
        read.error_code == ErrorCode::None.code() && read.records.is_some_and(|records| !records.to_bytes().is_empty())
    })
}

fn deletes(house: &mut House, topic: &str) -> bool {
    let conn = conn(house, ONE);
    let state = DeleteTopicState { name: Some(topic.into()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 5_000, ..DeleteTopicsRequest::default() };
    let ResponseBody::DeleteTopics(answer) = house.ask(ONE, conn, 6, request) else { panic!("another answer") };
    answer.responses[0].error_code == ErrorCode::None.code()
}

fn disk(house: &mut House, node: NodeId) -> &mut Disk {
    &mut house.homes.get_mut(&node).expect("it lives").disk
}

/// Everything a full disk must not keep a broker from, and what room gives back.
fn serves(house: &mut House, nodes: &[NodeId], what: &str) {
    house.pass(Duration::from_secs(3));
    for node in nodes {
        let status = house.homes[node].broker.status();
        assert!(status.ready, "{what}: broker {node} waits for {}", status.waiting_for);
    }
    assert!(reads(house, "old"), "{what}: it reads");
    assert!(deletes(house, "old"), "{what}: it deletes");
    house.pass(Duration::from_secs(1));
    for node in nodes {
        (disk(house, *node).full, disk(house, *node).grants) = (false, None);
    }
    house.pass(Duration::from_secs(2));
    assert!(writes(house, "new"), "{what}: it writes again");
    assert!(reads(house, "new"), "{what}");
    house.is_tidy(nodes[0]);
}

#[test]
fn whichever_allocation_of_a_start_is_refused_the_broker_serves() {
    let mut before = filled(1);
    let home = before.stop(ONE);
    for grants in 0..12 {
        let mut house = House::empty(1);
        (house.now, house.settings) = (before.now, before.settings.clone());
        let disk = Disk { grants: Some(grants), ..home.disk.clone() };
        house.start(ONE, disk, home.boots + 1);
        house.settle();
        serves(&mut house, &[ONE], &format!("after {grants} allocations"));
    }
}

#[test]
fn whichever_allocation_of_the_first_start_is_refused_it_goes_on_when_there_is_room() {
    for grants in 0..8 {
        let mut house = House::empty(1);
        house.start(ONE, Disk { grants: Some(grants), ..Disk::default() }, 1);
        house.settle();
        house.pass(Duration::from_secs(1));
        let status = house.homes[&ONE].broker.status();
        assert!(status.ready || status.waiting_for.starts_with("room on the disk: "), "{}", status.waiting_for);
        // And again, before there is any.
        house.restart(ONE);
        house.pass(Duration::from_secs(1));
        disk(&mut house, ONE).grants = None;
        house.pass(Duration::from_secs(2));
        let status = house.homes[&ONE].broker.status();
        assert_eq!((status.ready, status.membership), (true, Membership::Member), "{grants}: {}", status.waiting_for);
    }
}

#[test]
fn fifty_starts_on_a_full_disk_use_the_same_files() {
    let mut house = filled(1);
    disk(&mut house, ONE).full = true;
    let mut files = 0;
    for start in 0..50 {
        let home = house.stop(ONE);
        house.start(ONE, home.disk, home.boots + 1);
        if start % 3 == 2 {
            // Killed on the way.
            let steps = (0..start).take_while(|_| house.step()).count();
            assert!(steps <= start, "it is killed on the way");
            continue;
        }
        house.settle();
        house.pass(Duration::from_secs(1));
        let status = house.homes[&ONE].broker.status();
        assert!(status.ready, "start {start}: {}", status.waiting_for);
        assert!(reads(&mut house, "old"), "start {start}");
        let now = disk(&mut house, ONE).files.keys().filter(|file| file.kind() == FileKind::Journal).count();
        assert!(files == 0 || now == files, "start {start}: {now} files");
        files = now;
    }
    serves(&mut house, &[ONE], "after fifty starts");
}

#[test]
fn records_that_are_not_in_a_checkpoint_outlive_starts_on_a_full_disk() {
    let mut house = filled(1);
    // Most of a journal file, so that it can not move; and no room for a checkpoint.
    house.slow = |command| matches!(command, DiskCommand::Allocate { file, .. } if file.kind() == FileKind::State);
    let value = "y".repeat(900);
    let conn = house.open(ONE, 7);
    for _ in 0..40 {
        let answer = house.produce(ONE, conn, "old", batch(None, &[&value], 1));
        assert_eq!(answer.error_code, ErrorCode::None.code());
    }
    disk(&mut house, ONE).full = true;
    house.hurry();
    for _ in 0..7 {
        house.restart(ONE);
        house.pass(Duration::from_secs(1));
        let conn = self::conn(&mut house, ONE);
        let end = house.fetch(ONE, conn, "old", 40, 0);
        assert_eq!((end.error_code, end.high_watermark), (ErrorCode::None.code(), 41));
    }
    serves(&mut house, &[ONE], "with a journal that can not be let go of");
}

#[test]
fn three_brokers_whose_disks_are_all_full_serve_after_restarts() {
    let mut house = filled(3);
    for node in NODES {
        disk(&mut house, node).full = true;
    }
    for _ in 0..4 {
        for node in NODES {
            house.restart(node);
            house.pass(Duration::from_millis(300));
        }
    }
    serves(&mut house, &NODES, "three full disks");
}

#[test]
fn one_of_three_whose_disk_is_full_takes_part_and_takes_no_records() {
    let mut house = filled(3);
    disk(&mut house, NODES[2]).full = true;
    house.restart(NODES[2]);
    house.pass(Duration::from_secs(3));
    for _ in 0..60 {
        assert!(writes(&mut house, "new"));
    }
    let value = "z".repeat(8_000);
    let leader = house.leader();
    if leader != NODES[2] {
        let conn = conn(&mut house, leader);
        for _ in 0..30 {
            house.produce(leader, conn, "new", batch(None, &[&value], 1));
        }
    }
    house.restart(NODES[2]);
    house.pass(Duration::from_secs(3));
    assert!(deletes(&mut house, "old"));
    house.pass(Duration::from_secs(2));
    // It heard of that: its journal has room for commands.
    assert!(house.homes[&NODES[2]].broker.topic("old").is_none());
    disk(&mut house, NODES[2]).full = false;
    house.pass(Duration::from_secs(5));
    house.ready();
}
