//! A follower that needs more than is in memory copies files: whole, across crashes, from one leader and then another, and
//! no more than it lacks.

#[path = "support/house.rs"]
mod house;

use house::House;
use house::requests::batch;
use tidelog_core::id::{ConnId, FileKind, NodeId};
use tidelog_core::marks;
use tidelog_core::peer::{CopyBody, Envelope};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);

fn produce(house: &mut House, conn: ConnId, count: usize) {
    let node = house.leader();
    for _ in 0..count {
        let answer = house.produce(node, conn, "t", batch(None, &[&"x".repeat(3_000)], 1));
        assert_eq!(answer.error_code, 0);
    }
}

fn met(house: &House, node: NodeId, mark: &'static str) -> u32 {
    house.marks.get(&(node, mark)).copied().unwrap_or(0)
}

/// Three brokers, of which one follower is away while the others go on. Gives the leader and the one away, with its disk.
fn one_away(configs: &[(&str, &str)], before: usize, meanwhile: usize) -> (House, NodeId, NodeId, house::Home) {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), configs), 0);
    let first = house.leader();
    let away = house.homes.keys().copied().find(|node| *node != first).expect("three");
    let conn = house.open(first, 2);
    produce(&mut house, conn, before);
    house.pass(Duration::from_secs(1));
    let home = house.homes.remove(&away).expect("it lives");
    produce(&mut house, conn, meanwhile);
    (house, first, away, home)
}

fn same(house: &House, a: NodeId, b: NodeId) {
    let (a, b) = (house.partition(a), house.partition(b));
    assert_eq!((a.applied, a.digest, a.next_offset), (b.applied, b.digest, b.next_offset));
}

/// Everything that is in the partition, read from `node`, which leads.
fn read_all(house: &mut House, node: NodeId) -> i64 {
    let conn = house.open(node, 77);
    let (mut at, end) = (0, house.partition(node).next_offset.0);
    while at < end {
        let partition = house.fetch(node, conn, "t", at, 100);
        assert_eq!(partition.error_code, 0);
        let records: Vec<u8> = partition.records.as_ref().map_or(Vec::new(), |r| r.0.concat());
        assert!(!records.is_empty(), "offset {at} can be read");
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let base = i64::from_be_bytes(rest[..8].try_into().expect("eight bytes"));
            let len = u32::from_be_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
            assert!(base <= at, "no gap");
            at = base + 1;
            rest = &rest[12 + len..];
        }
    }
    at
}

#[test]
fn a_follower_far_behind_copies_what_it_missed() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    let status = house.partition(first);
    assert!(status.last.0 - status.first.0 < 30, "memory is bounded: {status:?}");
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(5));
    same(&house, first, away);
    assert_eq!(met(&house, away, marks::SNAPSHOT_INSTALLED), 1, "{:?}", house.notes);
    assert!(met(&house, away, marks::SEGMENTS_COPIED) > 0);
    assert!(
        house.notes.iter().any(|(node, text)| *node == away && text.contains("caught up with t-0")),
        "{:?}",
        house.notes
    );
    // It is a replica like any other: it takes new records, comes back from its disk, leads, and serves what it copied.
    // Leadership may have gone home meanwhile.
    let leader = house.leader();
    let conn = house.open(leader, 3);
    produce(&mut house, conn, 5);
    house.pass(Duration::from_secs(1));
    same(&house, first, away);
    house.restart(away);
    house.pass(Duration::from_secs(3));
    same(&house, house.leader(), away);
    house.until_leads(away);
    assert_eq!(read_all(&mut house, away), 88);
}

#[test]
fn a_follower_is_ready_when_it_is_as_far_as_its_leader_was() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    house.loses = |_, _, envelope| envelope.copies.iter().any(|copy| matches!(copy.body, CopyBody::Piece { .. }));
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(3));
    let status = house.homes[&away].broker.status();
    assert!(!status.ready, "it has none of what it missed");
    assert_eq!(status.waiting_for, "t-0 to catch up with its leader");
    assert!(house.homes[&first].broker.status().ready, "it leads");
    house.loses = |_, _, _| false;
    house.pass(Duration::from_secs(5));
    assert!(house.homes[&away].broker.status().ready);
    same(&house, first, away);
    let told = |(node, text): &&(NodeId, String)| *node == away && text.contains("caught up with the leaders");
    assert_eq!(house.notes.iter().filter(told).count(), 2, "once in each life: {:?}", house.notes);
    // New records do not make it unready again.
    let leader = house.leader();
    let conn = house.open(leader, 3);
    produce(&mut house, conn, 1);
    assert!(house.homes[&away].broker.status().ready);
}

#[test]
fn a_follower_that_crashes_again_and_again_while_it_copies_catches_up() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    for _ in 0..40 {
        if met(&house, away, marks::SNAPSHOT_INSTALLED) > 0 {
            break;
        }
        house.pass(Duration::from_millis(20));
        let boots = house.homes[&away].boots;
        // Some of what is under way is carried out, and the rest is lost.
        for _ in 0..(boots * 3) {
            house.step();
        }
        house.restart(away);
    }
    house.pass(Duration::from_secs(5));
    same(&house, first, away);
    let files =
        |house: &House| house.homes[&away].disk.files.keys().filter(|file| file.kind() != FileKind::Journal).count();
    let named = files(&house);
    house.restart(away);
    house.pass(Duration::from_secs(3));
    assert!(files(&house) <= named, "a crash leaves no orphans");
}

#[test]
fn only_what_is_missing_travels() {
    fn copied(house: &House, node: NodeId) -> u64 {
        let note = house.notes.iter().rev().find(|(n, text)| *n == node && text.contains("caught up with t-0"));
        let (_, text) = note.expect("it caught up");
        text.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).expect("KiB")
    }
    for configs in [&[][..], &[("segment.bytes", "1048576")][..]] {
        let (mut house, first, away, home) = one_away(configs, 500, 60);
        house.start(away, home.disk, home.boots + 1);
        house.settle();
        house.pass(Duration::from_secs(5));
        same(&house, first, away);
        assert!(met(&house, away, marks::SUFFIX_COPIED) > 0, "{:?}", house.notes);
        assert!(copied(&house, away) < 1_000, "1.5 MB are there already: {:?}", house.notes);
        house.until_leads(away);
        assert_eq!(read_all(&mut house, away), 560);
    }
}

#[test]
fn another_leader_goes_on_where_the_first_one_left_off() {
    let (mut house, first, away, home) = one_away(&[], 3, 200);
    // Pieces of large files are lost, so that the copying lasts.
    house.loses = |_, _, envelope: &Envelope| {
        envelope.copies.iter().any(|copy| matches!(&copy.body, CopyBody::Piece { at, .. } if *at > 100_000))
    };
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_millis(1_500));
    assert_eq!(met(&house, away, marks::SNAPSHOT_INSTALLED), 0);
    let old = house.homes.remove(&first).expect("it lives");
    house.inputs.clear();
    house.loses = |_, _, _| false;
    house.pass(Duration::from_secs(6));
    let second = house.leader();
    assert_ne!(second, first);
    same(&house, second, away);
    assert!(met(&house, away, marks::SNAPSHOT_INSTALLED) > 0);
    house.start(first, old.disk, old.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(3));
    same(&house, second, first);
}

#[test]
fn what_a_slow_follower_will_need_next_stays_in_memory() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    // Pieces of large files are lost, so that the copying lasts.
    house.loses = |_, _, envelope: &Envelope| {
        envelope.copies.iter().any(|copy| matches!(&copy.body, CopyBody::Piece { at, .. } if *at > 100_000))
    };
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_millis(500));
    let lent = house.partition(first).checkpoint;
    let conn = house.open(first, 3);
    produce(&mut house, conn, 17);
    house.pass(Duration::from_millis(500));
    let status = house.partition(first);
    assert!(status.first <= lent.next(), "{status:?} feeds who copied up to {lent:?}");
    // More than that is not kept, however long it takes.
    produce(&mut house, conn, 60);
    house.pass(Duration::from_millis(500));
    let status = house.partition(first);
    assert!(status.last.0 - status.first.0 < 40, "memory is bounded: {status:?}");
    house.loses = |_, _, _| false;
    house.pass(Duration::from_secs(5));
    same(&house, first, away);
}

#[test]
fn a_slow_follower_copies_once() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    house.loses = |_, _, envelope: &Envelope| {
        envelope.copies.iter().any(|copy| matches!(&copy.body, CopyBody::Piece { at, .. } if *at > 100_000))
    };
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_millis(500));
    let conn = house.open(first, 3);
    for _ in 0..6 {
        produce(&mut house, conn, 3);
        house.pass(Duration::from_millis(200));
    }
    house.loses = |_, _, _| false;
    house.pass(Duration::from_secs(5));
    same(&house, first, away);
    assert_eq!(met(&house, away, marks::SNAPSHOT_INSTALLED), 1, "{:?}", house.notes);
}

#[test]
fn a_silent_follower_loses_its_lease_and_gets_another() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    // It is heard as a member, but never as one that copies.
    house.loses =
        |_, _, envelope: &Envelope| envelope.copies.iter().any(|copy| !matches!(copy.body, CopyBody::Offer(_)));
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(6));
    assert!(met(&house, first, marks::LEASE_EXPIRED) > 0);
    house.loses = |_, _, _| false;
    house.pass(Duration::from_secs(6));
    same(&house, first, away);
}

#[test]
fn pieces_that_are_not_what_was_said_are_never_installed() {
    let (mut house, first, away, home) = one_away(&[], 3, 80);
    house.spoils = |envelope| {
        for copy in &mut envelope.copies {
            if let CopyBody::Piece { bytes, at, .. } = &mut copy.body
                && *at > 20_000
            {
                let mut other = bytes.to_vec();
                other[7] ^= 1;
                *bytes = other.into();
            }
        }
    };
    house.start(away, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(5));
    assert_eq!(met(&house, away, marks::SNAPSHOT_INSTALLED), 0);
    assert!(house.notes.iter().any(|(_, text)| text.contains("not what its owner says")), "{:?}", house.notes);
    house.spoils = |_| {};
    house.pass(Duration::from_secs(5));
    same(&house, first, away);
}
