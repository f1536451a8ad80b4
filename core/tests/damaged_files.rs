//! Somebody damages files of one broker by hand: no vote from forgotten state, no wrong byte, and what others have heals.

#[path = "support/house.rs"]
mod house;

use house::requests::batch;
use house::{Disk, House};
use tidelog_core::effect::{Halt, Input};
use tidelog_core::id::{ConnId, FileId, FileKind, NodeId};
use tidelog_core::kafka::{ErrorCode, ResponseBody};

use tidelog_core::kafka::messages::{DeleteTopicState, DeleteTopicsRequest, PartitionData};
use tidelog_core::marks;
use tidelog_core::peer::{CopyBody, Envelope};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);

fn files(disk: &Disk, kind: FileKind) -> Vec<FileId> {
    disk.files.keys().copied().filter(|file| file.kind() == kind).collect()
}

fn corrupt(house: &House, node: NodeId) -> String {
    match &house.homes[&node].halted {
        Some(Halt::Corrupt(why)) => why.clone(),
        other => panic!("it is {other:?}"),
    }
}

/// A topic of one partition, with so many replicas.
fn create(house: &mut House, replicas: i16) {
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, replicas), &[("segment.bytes", "1048576")]), 0);
    house.pass(Duration::from_secs(1));
}

fn delete(house: &mut House) {
    let conn = house.open(ONE, 2_000);
    let topics = vec![DeleteTopicState { name: Some("t".into()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 5_000, ..DeleteTopicsRequest::default() };
    let ResponseBody::DeleteTopics(response) = house.ask(ONE, conn, 6, request) else { panic!("another answer") };
    assert_eq!(response.responses[0].error_code, 0);
}

fn try_produce(house: &mut House, node: NodeId, conn: ConnId) -> i16 {
    house.produce(node, conn, "t", batch(None, &["x".repeat(30_000).as_str()], 1)).error_code
}

fn produce(house: &mut House, count: usize) {
    let node = house.leader();
    let conn = house.open(node, 1_000 + house.homes[&node].next_request);
    for _ in 0..count {
        assert_eq!(try_produce(house, node, conn), 0);
    }
}

fn fetch(house: &mut House, node: NodeId, at: i64) -> PartitionData {
    let conn = house.open(node, 1_000 + house.homes[&node].next_request);
    house.fetch(node, conn, "t", at, 100)
}

/// Flips a bit of the state of a checkpoint: of the partition, which says more, or else of the controller.
fn spoil_state(disk: &mut Disk, partition: bool) {
    let states = files(disk, FileKind::State);
    let most = *states.iter().max_by_key(|file| disk.files[file].len()).expect("there are some");
    let spoilt: Vec<FileId> = states.into_iter().filter(|file| (*file == most) == partition).collect();
    assert!(!spoilt.is_empty());
    for state in spoilt {
        disk.files.get_mut(&state).expect("it is there")[9] ^= 1;
    }
}

/// Every record from the beginning, by whoever leads. Gives how many there are.
fn read_all(house: &mut House) -> i64 {
    let node = house.leader();
    let (mut at, end) = (0, house.partition(node).next_offset.0);
    while at < end {
        let partition = fetch(house, node, at);
        assert_eq!(partition.error_code, 0, "at {at}");
        let records = partition.records.map_or(Vec::new(), |records| records.0.concat());
        let mut rest = records.as_slice();
        assert!(!rest.is_empty(), "offset {at} can be read");
        while !rest.is_empty() {
            assert_eq!(i64::from_be_bytes(rest[..8].try_into().expect("eight bytes")), at);
            at += 1;
            rest = &rest[12 + u32::from_be_bytes(rest[8..12].try_into().expect("four bytes")) as usize..];
        }
    }
    at
}

fn met(house: &House, node: NodeId, mark: &'static str) -> u32 {
    house.marks.get(&(node, mark)).copied().unwrap_or(0)
}

/// Three brokers with five megabytes in one partition; gives a follower of it.
fn laden() -> (House, NodeId) {
    let mut house = House::new(3);
    house.ready();
    create(&mut house, 3);
    produce(&mut house, 150);
    house.pass(Duration::from_secs(1));
    let first = house.leader();
    let follower = house.homes.keys().copied().find(|node| *node != first).expect("three");
    (house, follower)
}

fn has_healed(house: &mut House, node: NodeId) {
    for _ in 0..50 {
        if met(house, node, marks::HEALED) > 0 {
            break;
        }
        house.pass(Duration::from_millis(200));
    }
    assert_eq!(met(house, node, marks::HEALED), 1, "{:?}", house.notes);
    assert_eq!(met(house, node, marks::DAMAGE_FOUND), 1, "{:?}", house.notes);
    let told = house.notes.iter().filter(|(of, text)| *of == node && text.contains("damaged (")).count();
    assert_eq!(told, 1, "{:?}", house.notes);
    produce(house, 3);
    house.pass(Duration::from_secs(1));
    let first = house.leader();
    let (ours, theirs) = (house.partition(node), house.partition(first));
    assert_eq!((ours.applied, ours.digest, ours.next_offset), (theirs.applied, theirs.digest, theirs.next_offset));
    // What it has now it also has after a crash, and can serve.
    house.restart(node);
    house.pass(Duration::from_secs(2));
    house.until_leads(node);
    assert_eq!(read_all(house), house.partition(node).next_offset.0);
    assert_eq!(met(house, node, marks::DAMAGE_FOUND), 1, "{:?}", house.notes);
}

#[test]
fn a_follower_without_a_segment_heals() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    let segment = files(&home.disk, FileKind::Segment)[1];
    home.disk.files.remove(&segment);
    let replica = home.broker.status().groups[1].replica;
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    has_healed(&mut house, follower);
    assert_eq!(house.partition(follower).replica, replica, "it stays the replica it is");
}

#[test]
fn a_follower_with_a_short_segment_or_index_heals() {
    for kind in [FileKind::Segment, FileKind::SegmentIndex] {
        let (mut house, follower) = laden();
        let mut home = house.stop(follower);
        let file = files(&home.disk, kind)[0];
        home.disk.files.get_mut(&file).expect("it is there").truncate(10);
        house.bring_back(follower, home);
        house.pass(Duration::from_secs(2));
        has_healed(&mut house, follower);
    }
}

#[test]
fn a_follower_without_its_last_segment_heals() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    let segment = *files(&home.disk, FileKind::Segment).last().expect("there are some");
    home.disk.files.remove(&segment);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    if met(&house, follower, marks::DAMAGE_FOUND) > 0 {
        has_healed(&mut house, follower);
    }
    produce(&mut house, 50);
    house.until_leads(follower);
    assert_eq!(read_all(&mut house), 200 + i64::from(met(&house, follower, marks::HEALED)) * 3);
}

#[test]
fn a_follower_whose_state_is_damaged_votes_and_acknowledges_until_it_heals() {
    let (mut house, follower) = laden();
    // While no other broker lends, nothing heals.
    house.loses = loses_offers;
    let mut home = house.stop(follower);
    spoil_state(&mut home.disk, true);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    assert_eq!(met(&house, follower, marks::DAMAGE_FOUND), 1, "{:?}", house.notes);
    let (first, before) = (house.leader(), house.partition(follower));
    let third = house.homes.keys().copied().find(|node| ![first, follower].contains(node)).expect("three");
    let away = house.stop(third);
    produce(&mut house, 2);
    let after = house.partition(follower);
    assert!(after.persisted > before.persisted && after.applied == before.applied, "{after:?}");
    house.bring_back(third, away);
    house.pass(Duration::from_secs(2));
    // The leader dies: the other can be elected, and only it.
    let away = house.stop(first);
    house.pass(Duration::from_secs(5));
    assert_eq!(house.leader(), third);
    house.bring_back(first, away);
    house.pass(Duration::from_secs(2));
    house.loses = |_, _, _| false;
    has_healed(&mut house, follower);
}

fn loses_offers(_: NodeId, _: NodeId, envelope: &Envelope) -> bool {
    envelope.copies.iter().any(|copy| matches!(copy.body, CopyBody::Offer(_)))
}

#[test]
fn a_replica_without_a_state_that_alone_has_all_leads_only_to_hand_over() {
    let (mut house, follower) = laden();
    let first = house.leader();
    let third = house.homes.keys().copied().find(|node| ![first, follower].contains(node)).expect("three");
    let away = house.stop(third);
    let mut home = house.stop(follower);
    spoil_state(&mut home.disk, true);
    house.loses = loses_offers;
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    produce(&mut house, 5);
    // What was acknowledged last is nowhere but in the log of the one that can not apply it.
    drop(house.stop(first));
    house.loses = |_, _, _| false;
    house.bring_back(third, away);
    house.pass(Duration::from_secs(2));
    for _ in 0..20 {
        if house.partition(third).serving {
            break;
        }
        house.pass(Duration::from_secs(1));
    }
    assert_eq!(house.leader(), third);
    assert_eq!(read_all(&mut house), 155);
    has_healed(&mut house, follower);
}

#[test]
fn nobody_hands_over_to_a_replica_that_says_it_is_damaged() {
    let (mut house, _) = laden();
    house.pass(Duration::from_secs(30));
    let first = house.leader();
    let mut home = house.stop(first);
    house.pass(Duration::from_secs(3));
    let second = house.leader();
    let third = house.homes.keys().copied().find(|node| *node != second).expect("two");
    spoil_state(&mut home.disk, true);
    house.loses = loses_offers;
    house.bring_back(first, home);
    house.pass(Duration::from_secs(2));
    let asked = |house: &House, node| met(house, node, marks::PREFERRED_ASKED);
    let before = [second, third].map(|node| asked(&house, node));
    // It is the partition's first replica, and would be asked.
    house.pass(Duration::from_secs(30));
    assert_eq!((house.leader(), asked(&house, second)), (second, before[0]));
    // Nor is it asked by one that ends, though it has all, as the other has.
    house.inputs.push_back((second, Input::Stop));
    house.settle();
    house.pass(Duration::from_millis(400));
    assert!(house.homes[&second].stopped, "before it has waited for long");
    assert!(house.partition(third).serving);
    house.loses = |_, _, _| false;
    house.restart(second);
    house.pass(Duration::from_secs(30));
    assert_eq!(met(&house, first, marks::HEALED), 1, "{:?}", house.notes);
    assert_eq!((house.leader(), asked(&house, third)), (first, before[1] + 1));
}

#[test]
fn a_controller_whose_state_is_damaged_heals() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    spoil_state(&mut home.disk, false);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    has_healed(&mut house, follower);
    let topics = |node: &NodeId| house.homes[node].broker.status().topics;
    assert!(house.homes.keys().all(|node| topics(node) == 1));
}

#[test]
fn a_controller_that_heals_does_not_begin_anew_what_was_deleted_since_its_checkpoint() {
    let (mut house, follower) = laden();
    delete(&mut house);
    house.pass(Duration::from_secs(1));
    assert!(house.homes.keys().all(|node| met(&house, *node, marks::REPLICA_DROPPED) == 1), "{:?}", house.marks);
    let mut home = house.stop(follower);
    // Of the partition nothing is left.
    spoil_state(&mut home.disk, true);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    assert_eq!(met(&house, follower, marks::HEALED), 1, "{:?}", house.notes);
    assert_eq!(met(&house, follower, marks::REPLICA_DROPPED), 1, "{:?}", house.notes);
    assert!(house.homes.values().all(|home| home.broker.status().topics == 0));
}

#[test]
fn a_single_node_whose_controller_is_damaged_stops() {
    let mut house = House::new(1);
    house.ready();
    create(&mut house, 1);
    produce(&mut house, 50);
    let mut home = house.stop(ONE);
    for state in files(&home.disk, FileKind::State) {
        home.disk.files.get_mut(&state).expect("it is there")[9] ^= 1;
    }
    house.bring_back(ONE, home);
    house.pass(Duration::from_secs(2));
    assert!(corrupt(&house, ONE).contains("the controller"), "{}", corrupt(&house, ONE));
}

#[test]
fn a_leader_whose_batch_is_damaged_hands_over_and_heals() {
    let (mut house, _) = laden();
    let first = house.leader();
    let file = files(&house.homes[&first].disk, FileKind::Segment)[0];
    // It was looked at when it was whole, and is in memory no more.
    let disk = &mut house.homes.get_mut(&first).expect("it lives").disk;
    disk.files.get_mut(&file).expect("it is there")[500] ^= 1;
    let partition = fetch(&mut house, first, 0);
    assert_eq!(partition.error_code, ErrorCode::KafkaStorageError.code());
    assert!(partition.records.is_none_or(|records| records.0.concat().is_empty()), "no wrong byte");
    house.pass(Duration::from_secs(2));
    assert_ne!(house.leader(), first, "another leads");
    assert_eq!(read_all(&mut house), 150);
    has_healed(&mut house, first);
}

#[test]
fn the_only_replica_of_a_partition_refuses_and_others_go_on() {
    let mut house = House::new(1);
    house.ready();
    create(&mut house, 1);
    produce(&mut house, 50);
    let conn = house.open(ONE, 5);
    assert_eq!(house.create(ONE, conn, ("u", 1, 1), &[]), 0);
    house.pass(Duration::from_secs(1));
    let mut home = house.stop(ONE);
    let before = files(&home.disk, FileKind::Segment);
    spoil_state(&mut home.disk, true);
    house.bring_back(ONE, home);
    house.pass(Duration::from_secs(2));
    house.ready();
    assert!(house.notes.iter().any(|(_, text)| text.contains("there is no other replica")), "{:?}", house.notes);
    assert_eq!(fetch(&mut house, ONE, 0).error_code, ErrorCode::KafkaStorageError.code());
    let conn = house.open(ONE, 6);
    assert_eq!(try_produce(&mut house, ONE, conn), ErrorCode::KafkaStorageError.code());
    assert_eq!(files(&house.homes[&ONE].disk, FileKind::Segment), before, "nothing of it is removed");
    // Until its topic is deleted.
    delete(&mut house);
    house.is_tidy(ONE);
    assert_eq!(files(&house.homes[&ONE].disk, FileKind::Segment), []);
}

#[test]
fn a_follower_without_a_state_that_was_away_for_long_takes_files_and_clears_the_former_away() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    spoil_state(&mut home.disk, true);
    house.pass(Duration::from_secs(2));
    produce(&mut house, 300);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(5));
    assert_eq!(met(&house, follower, marks::HEALED), 0);
    assert!(met(&house, follower, marks::SNAPSHOT_INSTALLED) > 0);
    house.is_tidy(follower);
}

#[test]
fn a_flipped_bit_is_found_before_anybody_reads_it() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    let file = files(&home.disk, FileKind::Segment)[0];
    home.disk.files.get_mut(&file).expect("it is there")[700_000] ^= 4;
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    has_healed(&mut house, follower);
}

#[test]
fn a_flipped_bit_of_an_index_is_found_before_anybody_looks_there() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    let file = files(&home.disk, FileKind::SegmentIndex)[0];
    home.disk.files.get_mut(&file).expect("it is there")[3] ^= 4;
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    has_healed(&mut house, follower);
}

#[test]
fn damage_that_is_found_after_other_damage_was_healed_heals_too() {
    let (mut house, follower) = laden();
    let mut home = house.stop(follower);
    let segments = files(&home.disk, FileKind::Segment);
    home.disk.files.get_mut(&segments[1]).expect("it is there")[700_000] ^= 4;
    home.disk.files.remove(&segments[0]);
    house.bring_back(follower, home);
    house.pass(Duration::from_secs(2));
    house.pass(Duration::from_secs(10));
    assert_eq!(met(&house, follower, marks::HEALED), 2, "{:?}", house.notes);
    house.until_leads(follower);
    assert_eq!(read_all(&mut house), 150);
}

#[test]
fn a_leader_that_lends_damaged_files_finds_out_and_another_lends() {
    let (mut house, follower) = laden();
    let first = house.leader();
    let mut behind = house.stop(follower);
    produce(&mut house, 60);
    house.pass(Duration::from_secs(1));
    // The patrol of this life is over.
    let file = files(&house.homes[&first].disk, FileKind::Segment)[0];
    house.homes.get_mut(&first).expect("it lives").disk.files.get_mut(&file).expect("it is there")[700_000] ^= 4;
    // What it has is of no use: it needs all.
    for kind in [FileKind::Segment, FileKind::SegmentIndex] {
        for file in files(&behind.disk, kind) {
            behind.disk.files.remove(&file);
        }
    }
    house.bring_back(follower, behind);
    house.pass(Duration::from_secs(2));
    house.pass(Duration::from_secs(10));
    assert_eq!(met(&house, first, marks::HEALED), 1, "{:?}", house.notes);
    house.until_leads(follower);
    assert_eq!(read_all(&mut house), 210);
}
