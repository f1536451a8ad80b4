//! A topic is deleted and made again while idempotent producers live: they go on with their next sequence. Nobody else begins
//! anywhere but at zero, and gaps are seen as ever.

#[path = "support/house.rs"]
mod house;

use house::House;
use house::requests::batch;
use tidelog_core::id::{ConnId, NodeId};
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::limits::BEGINNERS_HELD_MAX;
use tidelog_core::marks;
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);
const NONE: i16 = 0;
const EARLY: i16 = ErrorCode::OutOfOrderSequenceNumber.code();
const UNKNOWN: i16 = ErrorCode::UnknownTopicOrPartition.code();

fn create(house: &mut House) {
    let replicas = house.homes.len() as i16;
    let conn = house.open(ONE, 1_000 + house.homes[&ONE].next_request);
    assert_eq!(house.create(ONE, conn, ("t", 1, replicas), &[]), 0);
    house.pass(Duration::from_secs(1));
}

fn delete(house: &mut House) {
    let conn = house.open(ONE, 1_000 + house.homes[&ONE].next_request);
    let topics = vec![DeleteTopicState { name: Some("t".into()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 5_000, ..DeleteTopicsRequest::default() };
    let ResponseBody::DeleteTopics(response) = house.ask(ONE, conn, 6, request) else { panic!("another answer") };
    assert_eq!(response.responses[0].error_code, 0);
    house.pass(Duration::from_secs(1));
}

/// A producer id from this broker.
fn producer(house: &mut House, node: NodeId) -> i64 {
    let conn = house.open(node, 1_000 + house.homes[&node].next_request);
    let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
    let ResponseBody::InitProducerId(id) = house.ask(node, conn, 4, request) else { panic!("another answer") };
    assert_eq!(id.error_code, 0);
    id.producer_id
}

/// Sends one record, on a connection.
fn send_on(house: &mut House, node: NodeId, conn: ConnId, producer: i64, sequence: i32) -> (i16, i64) {
    let answer = house.produce(node, conn, "t", batch(Some((producer, 0, sequence)), &["x"], 1));
    (answer.error_code, answer.base_offset)
}

/// Sends one record to whoever leads, on a connection of its own.
fn send(house: &mut House, producer: i64, sequence: i32) -> (i16, i64) {
    let leader = house.leader();
    let conn = house.open(leader, 1_000 + house.homes[&leader].next_request);
    send_on(house, leader, conn, producer, sequence)
}

/// Some brokers, and a producer that wrote three records into a topic that was deleted and made again since.
fn outlived(brokers: u32) -> (House, i64) {
    let mut house = House::new(brokers);
    house.ready();
    let id = producer(&mut house, ONE);
    create(&mut house);
    for sequence in 0..3 {
        assert_eq!(send(&mut house, id, sequence), (NONE, i64::from(sequence)));
    }
    delete(&mut house);
    create(&mut house);
    (house, id)
}

#[test]
fn a_producer_goes_on_where_it_was() {
    let (mut house, id) = outlived(1);
    assert_eq!(send(&mut house, id, 3), (NONE, 0));
    assert_eq!(send(&mut house, id, 4), (NONE, 1));
    assert_eq!(send(&mut house, id, 6).0, EARLY, "now it is known, and a gap is a gap");
    assert_eq!(send(&mut house, id, 3), (NONE, 0), "and what is sent twice is in the log once");
}

#[test]
fn once_more_and_after_restarts() {
    let (mut house, id) = outlived(1);
    assert_eq!(send(&mut house, id, 3), (NONE, 0));
    let silent = producer(&mut house, ONE);
    delete(&mut house);
    create(&mut house);
    house.restart(ONE);
    house.ready();
    // One begins before the next restart, and is applied again then; the other begins after it.
    assert_eq!(send(&mut house, id, 4), (NONE, 0));
    house.restart(ONE);
    house.ready();
    assert_eq!(send(&mut house, id, 5), (NONE, 1));
    assert_eq!(send(&mut house, silent, 100), (NONE, 2));
}

#[test]
fn whoever_is_younger_than_the_deletion_begins_at_zero() {
    let mut house = House::new(1);
    house.ready();
    let id = producer(&mut house, ONE);
    create(&mut house);
    assert_eq!(send(&mut house, id, 1).0, EARLY, "the topic has no predecessor, although the producer is older");
    delete(&mut house);
    // Another life of the broker gives out ids of another block.
    house.restart(ONE);
    house.ready();
    let younger = producer(&mut house, ONE);
    create(&mut house);
    assert!(younger / 1_000 > id / 1_000);
    assert_eq!(send(&mut house, younger, 1).0, EARLY, "it is older than the topic, and never wrote to its predecessor");
    assert_eq!(send(&mut house, younger, 0), (NONE, 0));
    assert_eq!(send(&mut house, id, 1), (NONE, 1));
}

#[test]
fn every_replica_knows_who_may_go_on() {
    let (mut house, id) = outlived(3);
    let others: Vec<i64> = (0..3).map(|_| producer(&mut house, ONE)).collect();
    delete(&mut house);
    create(&mut house);
    for (nth, node) in (1..=3).map(NodeId).enumerate() {
        house.until_leads(node);
        assert_eq!(send(&mut house, others[nth], 50), (NONE, nth as i64), "broker {node:?}");
    }
    house.pass(Duration::from_secs(1));
    let digests: Vec<u64> = (1..=3).map(|node| house.partition(NodeId(node)).digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    assert_eq!(send(&mut house, id, 3), (NONE, 3));
}

#[test]
fn a_replica_that_copies_its_files_knows_it_too() {
    let (mut house, id) = outlived(3);
    let first = house.leader();
    let away = house.homes.keys().copied().find(|node| *node != first).expect("three");
    let home = house.homes.remove(&away).expect("it lives");
    let conn = house.open(first, 5_000);
    for _ in 0..80 {
        assert_eq!(house.produce(first, conn, "t", batch(None, &[&"x".repeat(3_000)], 1)).error_code, NONE);
    }
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(5));
    assert_eq!(house.marks.get(&(away, marks::SNAPSHOT_INSTALLED)), Some(&1));
    // It applies the entry after the copy, as the others do.
    assert_eq!(send(&mut house, id, 3).0, NONE);
    house.pass(Duration::from_secs(1));
    let digests: Vec<u64> = (1..=3).map(|node| house.partition(NodeId(node)).digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn what_follows_a_batch_that_found_no_topic_is_to_be_sent_again_with_it() {
    let (mut house, id) = outlived(1);
    delete(&mut house);
    let conn = house.open(ONE, 3);
    assert_eq!(send_on(&mut house, ONE, conn, id, 3).0, UNKNOWN);
    create(&mut house);
    // They were on their way already. The partition knows nothing of their producer, and would take either for the first.
    assert_eq!(send_on(&mut house, ONE, conn, id, 4).0, UNKNOWN);
    assert_eq!(send_on(&mut house, ONE, conn, id, 5).0, UNKNOWN);
    for sequence in 3..6 {
        assert_eq!(send_on(&mut house, ONE, conn, id, sequence), (NONE, i64::from(sequence) - 3));
    }
}

#[test]
fn however_many_were_turned_away_before_it() {
    let (mut house, id) = outlived(1);
    delete(&mut house);
    let conn = house.open(ONE, 3);
    // More than can be behind the first: its producer sent that again elsewhere, maybe. What is turned away counts by itself.
    for sequence in 3..9 {
        assert_eq!(send_on(&mut house, ONE, conn, id, sequence).0, UNKNOWN);
    }
    create(&mut house);
    for sequence in 9..13 {
        assert_eq!(send_on(&mut house, ONE, conn, id, sequence).0, UNKNOWN);
    }
    for sequence in 5..13 {
        assert_eq!(send_on(&mut house, ONE, conn, id, sequence), (NONE, i64::from(sequence) - 5));
    }
}

#[test]
fn who_never_sends_again_is_let_through_at_last() {
    let (mut house, id) = outlived(1);
    delete(&mut house);
    let conn = house.open(ONE, 3);
    assert_eq!(send_on(&mut house, ONE, conn, id, 3).0, UNKNOWN);
    create(&mut house);
    let told: Vec<i16> = (4..30).map(|sequence| send_on(&mut house, ONE, conn, id, sequence).0).collect();
    let held = told.iter().take_while(|code| **code == UNKNOWN).count();
    assert_eq!(held, BEGINNERS_HELD_MAX);
    assert!(told[held..].iter().all(|code| *code == NONE), "{told:?}");
}

#[test]
fn who_passes_over_what_found_no_topic_begins_with_the_next() {
    let (mut house, id) = outlived(1);
    delete(&mut house);
    let conn = house.open(ONE, 3);
    assert_eq!(send_on(&mut house, ONE, conn, id, 3).0, UNKNOWN);
    assert_eq!(send_on(&mut house, ONE, conn, id, 4).0, UNKNOWN);
    create(&mut house);
    // It has heard of both, and has given the first up.
    assert_eq!(send_on(&mut house, ONE, conn, id, 4), (NONE, 0));
    assert_eq!(send_on(&mut house, ONE, conn, id, 3).0, EARLY);
}
