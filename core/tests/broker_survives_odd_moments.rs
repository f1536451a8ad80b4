//! Moments that brokers did not survive once, or answered wrongly: each test is one of them, found by reading.

#[path = "support/house.rs"]
mod house;

use house::requests::{self, batch, fetch};
use house::{Disk, House};
use tidelog_core::effect::{DiskCommand, Input};
use tidelog_core::id::{DirectoryId, FileKind, GroupId, Index, NodeId, ReplicaId, Term};
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::peer::{Envelope, GroupMessage, MessageKind, RaftEntry, RaftMessage};
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);

/// A client may create 10,000 partitions; the broker goes on.
#[test]
fn a_topic_of_many_partitions_can_be_served() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("many", 5_100, 1), &[]), 0);
}

/// An offset beyond the end is out of range however short the client waits.
#[test]
fn an_impatient_fetch_beyond_the_end_is_out_of_range() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    let code = house.fetch(ONE, conn, "t", 100, 0).error_code;
    assert_eq!(code, ErrorCode::OffsetOutOfRange.code());
}

/// A fetch from beyond the end, where the end comes to be while the leader is asked whether that is so, waits for as long as its client
/// wants: not for as long as that question may take.
#[test]
fn a_fetch_that_was_early_waits_as_long_as_its_client_wants() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    // Leadership goes to the first replica.
    house.pass(Duration::from_secs(10));
    let leader = house.leader();
    let (writes, reads) = (house.open(leader, 2), house.open(leader, 3));
    house.slow = |command| matches!(command, DiskCommand::Write { .. });
    house.send(leader, writes, 11, &requests::produce("t", batch(None, &["x"], 1)));
    house.loses = |_, _, _| true;
    house.send(leader, reads, 12, &fetch("t", 1, 20_000));
    house.loses = |_, _, _| false;
    house.hurry();
    house.pass(Duration::from_millis(200));
    let answered = |house: &House, conn| house.answers.iter().any(|(_, to, _)| *to == conn);
    assert!(answered(&house, writes) && !answered(&house, reads), "there is nothing to read yet");
    house.pass(house.settings.request_timeout);
    house.pass(Duration::from_secs(1));
    assert!(!answered(&house, reads), "it has time: {:?}", house.answers);
    house.send(leader, writes, 11, &requests::produce("t", batch(None, &["y"], 1)));
    assert!(answered(&house, reads));
}

/// A duplicate is answered as the first time, its broker timestamp included.
#[test]
fn a_duplicate_has_the_original_log_append_time() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    let configs = [("message.timestamp.type", "LogAppendTime")];
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &configs), 0);
    let first = house.produce(ONE, conn, "t", batch(Some((7, 0, 0)), &["x"], 1));
    house.pass(Duration::from_secs(3));
    let again = house.produce(ONE, conn, "t", batch(Some((7, 0, 0)), &["x"], 1));
    assert_eq!(first.base_offset, again.base_offset);
    assert_eq!(first.log_append_time_ms, again.log_append_time_ms);
}

fn lie(house: &mut House, raft: RaftMessage) {
    let envelope = Envelope {
        cluster: house.cluster(ONE),
        from: NodeId(2),
        to: ONE,
        messages: vec![GroupMessage { group: GroupId::CONTROLLER, from: ReplicaId(2), to: ReplicaId(1), raft }],
        ..Envelope::default()
    };
    house.inputs.push_back((ONE, Input::Peer { from: NodeId(2), envelope }));
    house.settle();
}

/// No byte from outside reaches a panic of the crate: entries far beyond the log, said to follow term 0.
#[test]
fn an_append_that_follows_nothing_is_refused() {
    let mut house = House::new(3);
    house.ready();
    lie(
        &mut house,
        RaftMessage {
            kind: MessageKind::Append,
            term: Term(50),
            log_term: Term(0),
            index: Index(1_000),
            commit: Index(0),
            entries: vec![RaftEntry { term: Term(50), ..RaftEntry::default() }],
            ..RaftMessage::default()
        },
    );
}

/// The same without entries: only its commit index is believed.
#[test]
fn an_empty_append_that_follows_nothing_commits_nothing() {
    let mut house = House::new(3);
    house.ready();
    lie(
        &mut house,
        RaftMessage {
            kind: MessageKind::Append,
            term: Term(50),
            log_term: Term(0),
            index: Index(1_000),
            commit: Index(1_000),
            ..RaftMessage::default()
        },
    );
}

/// Leaders of partitions that nobody knows are forgotten before they fill the memory; those that are led are not.
#[test]
fn leaders_of_nothing_are_forgotten() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 2), &[]), 0);
    house.pass(Duration::from_secs(1));
    let cluster = house.cluster(ONE);
    let routes = |house: &House| format!("{:?}", house.homes[&ONE].broker).matches("Route {").count();
    for round in 1..=30 {
        let leading = (0..1_000).map(|group| (GroupId(round << 40 | group), Term(5))).collect();
        let envelope = Envelope { cluster, from: NodeId(2), to: ONE, leading, ..Envelope::default() };
        house.inputs.push_back((ONE, Input::Peer { from: NodeId(2), envelope }));
        house.settle();
        assert!(routes(&house) <= 10_100, "{} leaders are remembered in round {round}", routes(&house));
    }
    assert!(routes(&house) > 0 && house.homes[&ONE].broker.status().ready, "the partition has a leader");
}

/// Two of three brokers go on writing, and do not checkpoint without end, while the third is away.
#[test]
fn two_of_three_go_on_writing() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    let first = house.leader();
    let away = house.homes.keys().copied().find(|node| *node != first).expect("three");
    house.homes.remove(&away);
    let value = "x".repeat(8_000);
    let conn = house.open(first, 2);
    let mut blobs = std::collections::BTreeSet::new();
    for round in 0..1_500 {
        let answer = house.produce(first, conn, "t", batch(None, &[&value], 1));
        let home = &house.homes[&first];
        blobs.extend(home.disk.files.keys().filter(|file| file.kind() == FileKind::State).copied());
        assert_eq!(answer.error_code, 0, "round {round}, {} state blobs written", blobs.len());
    }
}

/// What is carried is written once.
#[test]
fn entries_are_carried_once() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    let first = house.leader();
    let away = house.homes.keys().copied().find(|node| *node != first).expect("three");
    house.homes.remove(&away);
    let value = "x".repeat(8_000);
    let conn = house.open(first, 2);
    house.printing = true;
    let mut written = 0;
    for _ in 0..120 {
        assert_eq!(house.produce(first, conn, "t", batch(None, &[&value], 1)).error_code, 0);
        for line in std::mem::take(&mut house.log).lines() {
            let Some((_, rest)) = line.split_once(&format!("{first:?} -> ")) else {
                continue;
            };
            if let Some((_, bytes)) = rest.split_once("write journal").and_then(|(_, rest)| rest.split_once(", ")) {
                let bytes: u64 = bytes.split(' ').next().expect("a number").parse().expect("a number");
                written += bytes;
            }
        }
    }
    assert!(written < 4_000_000, "{written} bytes of journal for 1 MB of records");
}

/// Rejections that come late do not silence a follower for the rest of a term.
#[test]
fn late_rejections_do_not_silence_a_follower() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    // Leadership goes to the partition's first replica, and stays there.
    house.pass(Duration::from_secs(6));
    let first = house.leader();
    let conn = house.open(first, 2);
    for _ in 0..10 {
        assert_eq!(house.produce(first, conn, "t", batch(None, &["x"], 1)).error_code, 0);
    }
    house.pass(Duration::from_secs(1));
    let lead = house.partition(first);
    let other = house.homes.keys().copied().find(|node| *node != first).expect("three");
    let follower = house.partition(other);
    for index in [lead.last.next(), lead.last] {
        let raft = RaftMessage {
            kind: MessageKind::AppendResponse,
            term: lead.term,
            index,
            reject: true,
            reject_hint: Index(1),
            ..RaftMessage::default()
        };
        let message = GroupMessage { group: lead.group, from: follower.replica, to: lead.replica, raft };
        let envelope = Envelope {
            cluster: house.cluster(first),
            from: other,
            to: first,
            messages: vec![message],
            ..Envelope::default()
        };
        house.inputs.push_back((first, Input::Peer { from: other, envelope }));
        house.settle();
    }
    for _ in 0..3 {
        assert_eq!(house.produce(first, conn, "t", batch(None, &["x"], 1)).error_code, 0);
    }
    house.pass(Duration::from_secs(20));
    assert_eq!(house.partition(first).term, lead.term);
    assert_eq!(house.partition(first).last, house.partition(other).last);
}

/// A connection that is gone leaves no call behind.
#[test]
fn a_closed_connection_leaves_no_call() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    house.send(ONE, conn, 12, &fetch("t", 0, 300_000));
    house.inputs.push_back((ONE, Input::Closed { conn }));
    house.settle();
    house.pass(Duration::from_secs(60));
    assert!(!format!("{:?}", house.homes[&ONE].broker).contains("FetchCall"));
}

/// A broker whose disk was wiped (another directory id) does not help to elect a leader that lacks what was acknowledged.
#[test]
fn a_wiped_broker_does_not_vote_as_the_old_one() {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 3), &[]), 0);
    let first = house.leader();
    let others: Vec<NodeId> = house.homes.keys().copied().filter(|node| *node != first).collect();
    let (wiped, late) = (others[0], others[1]);
    let asleep = house.homes.remove(&late).expect("it lives");
    let conn = house.open(first, 2);
    for _ in 0..5 {
        assert_eq!(house.produce(first, conn, "t", batch(None, &["x"], 1)).error_code, 0);
    }
    house.pass(Duration::from_secs(1));
    house.homes.remove(&first);
    house.homes.remove(&wiped);
    house.inputs.clear();
    house.directories.insert(wiped, DirectoryId([99; 16]));
    house.start(wiped, Disk::default(), 1);
    house.start(late, asleep.disk, asleep.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(20));
    for (node, home) in &house.homes {
        let groups = home.broker.status().groups;
        let serves = groups.iter().find(|group| group.group.0 != 0 && group.serving);
        assert_eq!(serves.map(|group| group.next_offset), None, "{node:?} serves without the records acknowledged");
    }
}

/// OffsetForLeaderEpoch of no epoch at all knows no end.
#[test]
fn no_epoch_has_no_end() {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch: -1 }],
        }],
    };
    let ResponseBody::OffsetForLeaderEpoch(response) = house.ask(ONE, conn, 4, request) else {
        panic!("another answer")
    };
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.leader_epoch, answer.end_offset), (-1, -1));
}

/// A broker that starts on a full disk has no file for its journal; once there is room it goes on by itself.
#[test]
fn a_broker_that_starts_on_a_full_disk_waits_for_space() {
    let mut house = House::new(1);
    house.homes.remove(&ONE);
    house.start(ONE, Disk { full: true, ..Disk::default() }, 1);
    house.settle();
    house.pass(Duration::from_secs(1));
    assert!(!house.homes[&ONE].broker.status().ready);
    house.homes.get_mut(&ONE).expect("it lives").disk.full = false;
    house.pass(Duration::from_secs(1));
    assert_eq!(house.homes[&ONE].broker.status().waiting_for, "");
}
