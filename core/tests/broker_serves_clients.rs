//! A client's first minutes with one broker and with three: create, write, read, look up, restart, read again.

#[path = "support/house.rs"]
mod house;

use bytes::Bytes;
use house::House;
use house::requests::batch;
use tidelog_core::id::{ConnId, NodeId};
use tidelog_core::kafka::batch::{Check, views};
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ErrorCode, Records, ResponseBody};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);

fn produce(house: &mut House, node: NodeId, conn: ConnId, topic: &str, records: Bytes) -> (i16, i64) {
    let answer = house.produce(node, conn, topic, records);
    (answer.error_code, answer.base_offset)
}

fn fetch(house: &mut House, node: NodeId, conn: ConnId, topic: &str, offset: i64) -> (i16, Vec<(i64, String)>, i64) {
    let data = house.fetch(node, conn, topic, offset, 100);
    let bytes = data.records.as_ref().map(Records::to_bytes).unwrap_or_default();
    let mut seen = Vec::new();
    for view in views(bytes, Check::Crc) {
        for record in view.expect("a stored batch is whole").records().expect("and can be read") {
            let value = record.value.map(|value| String::from_utf8_lossy(&value).into_owned());
            seen.push((record.offset.0, value.unwrap_or_default()));
        }
    }
    (data.error_code, seen, data.high_watermark)
}

fn list(house: &mut House, node: NodeId, conn: ConnId, topic: &str, timestamp: i64) -> (i16, i64, i64) {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() }],
        }],
        ..ListOffsetsRequest::default()
    };
    let ResponseBody::ListOffsets(response) = house.ask(node, conn, 7, request) else { panic!("another answer") };
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp)
}

#[test]
fn one_broker_creates_writes_reads_and_remembers() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("logs", 1, 1), &[]), 0);
    assert_eq!(house.create(ONE, conn, ("logs", 1, 1), &[]), ErrorCode::TopicAlreadyExists.code());
    assert_eq!(produce(&mut house, ONE, conn, "logs", batch(None, &["a", "b"], 1_000)), (0, 0));
    assert_eq!(produce(&mut house, ONE, conn, "logs", batch(None, &["c"], 2_000)), (0, 2));
    let wanted = vec![(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(fetch(&mut house, ONE, conn, "logs", 0), (0, wanted.clone(), 3));
    assert_eq!(list(&mut house, ONE, conn, "logs", -1), (0, 3, -1));
    assert_eq!(list(&mut house, ONE, conn, "logs", -2), (0, 0, -1));
    assert_eq!(list(&mut house, ONE, conn, "logs", 1_500), (0, 2, 2_000));
    assert_eq!(list(&mut house, ONE, conn, "logs", 9_000), (0, -1, -1));
    assert_eq!(fetch(&mut house, ONE, conn, "logs", 4).0, ErrorCode::OffsetOutOfRange.code());
    for _ in 0..3 {
        house.restart(ONE);
        house.ready();
        let conn = house.open(ONE, 1);
        assert_eq!(fetch(&mut house, ONE, conn, "logs", 0), (0, wanted.clone(), 3));
    }
}

#[test]
fn a_duplicate_gets_the_original_offset_even_after_a_restart() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    house.create(ONE, conn, ("t", 1, 1), &[]);
    let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
    let ResponseBody::InitProducerId(id) = house.ask(ONE, conn, 4, request) else { panic!("another answer") };
    assert_eq!(id.error_code, 0);
    for sequence in 0..5 {
        let records = batch(Some((id.producer_id, 0, sequence)), &["x"], 1);
        assert_eq!(produce(&mut house, ONE, conn, "t", records), (0, i64::from(sequence)));
    }
    house.restart(ONE);
    house.ready();
    let conn = house.open(ONE, 1);
    for sequence in [0, 4, 2] {
        let records = batch(Some((id.producer_id, 0, sequence)), &["x"], 1);
        assert_eq!(produce(&mut house, ONE, conn, "t", records), (0, i64::from(sequence)));
    }
    let gap = batch(Some((id.producer_id, 0, 7)), &["x"], 1);
    assert_eq!(produce(&mut house, ONE, conn, "t", gap).0, ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(fetch(&mut house, ONE, conn, "t", 0).2, 5);
}

#[test]
fn three_brokers_replicate_and_outlive_their_leader() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    let first = house.leader();
    let conn = house.open(first, 2);
    for at in 0..20 {
        assert_eq!(produce(&mut house, first, conn, "t", batch(None, &["v"], at)), (0, at));
    }
    let other = house.homes.keys().copied().find(|node| *node != first).expect("there are three");
    let conn = house.open(other, 3);
    assert_eq!(produce(&mut house, other, conn, "t", batch(None, &["v"], 0)).0, ErrorCode::NotLeaderOrFollower.code());
    house.restart(first);
    house.ready();
    let second = house.leader();
    let conn = house.open(second, 4);
    assert_eq!(fetch(&mut house, second, conn, "t", 0).1.len(), 20);
    assert_eq!(produce(&mut house, second, conn, "t", batch(None, &["w"], 50)), (0, 20));
}

#[test]
fn a_deleted_topic_is_gone_and_another_of_its_name_is_empty() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    house.create(ONE, conn, ("t", 2, 1), &[]);
    produce(&mut house, ONE, conn, "t", batch(None, &["old"], 1));
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some("t".into()), ..DeleteTopicState::default() }],
        timeout_ms: 5_000,
        ..DeleteTopicsRequest::default()
    };
    let ResponseBody::DeleteTopics(response) = house.ask(ONE, conn, 6, request) else { panic!("another answer") };
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(
        produce(&mut house, ONE, conn, "t", batch(None, &["lost"], 1)).0,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    assert_eq!(fetch(&mut house, ONE, conn, "t", 0), (0, Vec::new(), 0));
    house.restart(ONE);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(fetch(&mut house, ONE, conn, "t", 0), (0, Vec::new(), 0));
}

#[test]
fn a_full_house_keeps_going_when_the_journal_wraps() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    let value = "x".repeat(4_000);
    for round in 0..300u32 {
        let leader = house.leader();
        let conn = house.open(leader, 100 + u64::from(round));
        let (error, offset) = produce(&mut house, leader, conn, "t", batch(None, &[&value], 1));
        assert_eq!((error, offset), (0, i64::from(round)), "round {round}");
        if round % 60 == 59 {
            house.restart(NodeId((round / 60) % 3 + 1));
            house.ready();
        }
    }
    for home in house.homes.values() {
        let journals = home.disk.files.keys().filter(|file| file.name().starts_with("journal")).count();
        assert!(journals <= 8, "journal files are recycled, {journals} are there");
    }
}

/// Clients read from leaders: what a follower writes need not stay in memory.
#[test]
fn followers_write_for_no_reader() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    house.ready();
    let leader = house.leader();
    let conn = house.open(leader, 2);
    house.printing = true;
    for _ in 0..8 {
        let (error, _) = produce(&mut house, leader, conn, "t", batch(None, &["0123456789".repeat(100).as_str()], 1));
        assert_eq!(error, 0);
    }
    house.pass(Duration::from_millis(500));
    for node in (1..=3).map(NodeId) {
        let from = format!("{node:?} -> ");
        let mut writes = house.log.lines().filter(|line| line.starts_with(&from) && line.contains("write segment-"));
        let cold = |line: &str| line.ends_with(", for no reader");
        assert!(writes.clone().count() > 0, "{node:?} writes");
        assert!(writes.all(|line| cold(line) == (node != leader)), "{}", house.log);
    }
}
