//! Somebody damages the journal of one broker by hand: what it promised in the groups that stood there is forgotten, so it says
//! nothing in their name any more, is given new replica ids, and copies everything anew. Nothing that was acknowledged is lost.

#[path = "support/house.rs"]
mod house;

use house::requests::batch;
use house::{Disk, House};
use tidelog_core::effect::Halt;
use tidelog_core::formation::Message;
use tidelog_core::id::{ConnId, DirectoryId, FileId, FileKind, GroupId, NodeId, ReplicaId};
use tidelog_core::kafka::messages::{DeleteTopicState, DeleteTopicsRequest};
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::marks;
use tidelog_core::peer::Envelope;
use tidelog_core::time::Duration;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn files(disk: &Disk, kind: FileKind) -> Vec<FileId> {
    disk.files.keys().copied().filter(|file| file.kind() == kind).collect()
}

/// The journal file that was opened last.
fn newest(disk: &Disk) -> FileId {
    let sequence =
        |file: &FileId| disk.files[file].get(56..64).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
    files(disk, FileKind::Journal).into_iter().max_by_key(sequence).expect("there is one")
}

fn met(house: &House, node: NodeId, mark: &'static str) -> u32 {
    house.marks.get(&(node, mark)).copied().unwrap_or(0)
}

/// Which replica a broker is in each group.
fn replicas(house: &House, node: NodeId) -> Vec<(GroupId, ReplicaId)> {
    house.homes[&node].broker.status().groups.iter().map(|group| (group.group, group.replica)).collect()
}

/// Three brokers, topics with three replicas, and some records, in the journals and in files.
fn laden(topics: &[&str]) -> House {
    let mut house = House::empty(3);
    house.settings.checkpoint_bytes = 256;
    for node in [ONE, TWO, THREE] {
        house.start(node, Disk::default(), 1);
    }
    house.settle();
    house.ready();
    load(&mut house, topics);
    let disk = &house.homes[&TWO].disk;
    let made = [FileKind::Segment, FileKind::State].map(|kind| files(disk, kind).len());
    assert!(made.iter().all(|made| *made >= topics.len()), "{made:?}");
    house
}

fn load(house: &mut House, topics: &[&str]) {
    for topic in topics {
        create(house, topic, 3);
    }
    for round in 0..20 {
        for topic in topics {
            produce(house, topic, &format!("{round}"));
        }
    }
    house.pass(Duration::from_secs(1));
}

/// Creates a topic of one partition, and gives its group.
fn create(house: &mut House, topic: &str, replicas: i16) -> GroupId {
    let conn = open(house, ONE);
    assert_eq!(house.create(ONE, conn, (topic, 1, replicas), &[]), 0);
    house.pass(Duration::from_secs(1));
    house.homes[&ONE].broker.topic(topic).expect("it is known").1[0]
}

fn delete(house: &mut House, topic: &str) {
    let conn = open(house, ONE);
    let topics = vec![DeleteTopicState { name: Some(topic.into()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 5_000, ..DeleteTopicsRequest::default() };
    let ResponseBody::DeleteTopics(response) = house.ask(ONE, conn, 6, request) else { panic!("another answer") };
    assert_eq!(response.responses[0].error_code, 0);
    house.pass(Duration::from_secs(1));
}

/// A connection of which no request was sent yet.
fn open(house: &mut House, node: NodeId) -> ConnId {
    house.open(node, 1_000 + house.homes[&node].next_request)
}

/// Writes by whoever leads.
fn produce(house: &mut House, topic: &str, value: &str) {
    for _ in 0..50 {
        for node in house.homes.keys().copied().collect::<Vec<_>>() {
            let conn = open(house, node);
            match house.produce(node, conn, topic, batch(None, &[value], 1)).error_code {
                0 => return,
                code => assert_eq!(code, ErrorCode::NotLeaderOrFollower.code()),
            }
        }
        house.pass(Duration::from_millis(200));
    }
    panic!("nobody takes it");
}

/// How many records of a topic whoever leads gives, from the first.
fn count(house: &mut House, topic: &str) -> i64 {
    for node in house.homes.keys().copied().collect::<Vec<_>>() {
        let conn = open(house, node);
        let partition = house.fetch(node, conn, topic, 0, 100);
        if partition.error_code == 0 {
            return partition.high_watermark;
        }
    }
    panic!("nobody leads {topic}");
}

/// The second broker comes back after `damage`.
fn damage(house: &mut House, damage: impl FnOnce(&mut Disk)) {
    let mut home = house.stop(TWO);
    house.pass(Duration::from_secs(2));
    damage(&mut home.disk);
    house.bring_back(TWO, home);
}

/// The second broker counts: with another away, records are acknowledged, and all are there.
fn counts(house: &mut House, topics: &[&str]) {
    for away in [ONE, THREE] {
        let home = house.stop(away);
        house.pass(Duration::from_secs(3));
        for topic in topics {
            let before = count(house, topic);
            produce(house, topic, "more");
            assert_eq!(count(house, topic), before + 1);
        }
        house.bring_back(away, home);
        house.ready();
    }
}

#[test]
fn a_broker_whose_journal_vanished_becomes_other_replicas_of_everything() {
    let mut house = laden(&["t", "u"]);
    let before = replicas(&house, TWO);
    damage(&mut house, vanish);
    house.ready();
    let after = replicas(&house, TWO);
    assert_eq!(before.len(), 3);
    assert!(before.iter().zip(&after).all(|(was, is)| was.0 == is.0 && was.1 < is.1), "{before:?} {after:?}");
    for mark in [marks::SUSPENDED, marks::CONTROLLER_RENEWED, marks::REPLICAS_RENEWED] {
        assert_eq!(met(&house, TWO, mark), 1, "{mark}");
    }
    assert!(house.notes.iter().any(|(of, text)| *of == TWO && text.contains("is missing")), "{:?}", house.notes);
    counts(&mut house, &["t", "u"]);
    house.is_tidy(TWO);
    // It is over: the next start finds a journal that is whole.
    house.restart(TWO);
    house.ready();
    assert_eq!((met(&house, TWO, marks::SUSPENDED), replicas(&house, TWO)), (1, after));
    assert_eq!((count(&mut house, "t"), count(&mut house, "u")), (22, 22));
}

#[test]
fn a_broker_whose_journal_lost_its_newest_file_becomes_other_replicas() {
    let mut house = laden(&["t"]);
    house.restart(TWO);
    house.ready();
    let before = replicas(&house, TWO);
    damage(&mut house, |disk| drop(disk.files.remove(&newest(disk))));
    house.ready();
    let after = replicas(&house, TWO);
    assert!(before.iter().zip(&after).all(|(was, is)| was.1 < is.1), "{before:?} {after:?}");
    counts(&mut house, &["t"]);
}

#[test]
fn a_journal_that_was_truncated_is_missed() {
    let mut house = laden(&["t"]);
    damage(&mut house, |disk| {
        let newest = newest(disk);
        let bytes = disk.files.get_mut(&newest).expect("it is there");
        // Behind all that was written: only the room that was made is less.
        bytes.truncate(bytes.len() - 512);
    });
    house.ready();
    assert_eq!(met(&house, TWO, marks::SUSPENDED), 1);
    counts(&mut house, &["t"]);
}

#[test]
fn a_journal_that_was_never_opened_is_not_missed() {
    let mut house = House::new(3);
    house.ready();
    for _ in 0..3 {
        house.restart(TWO);
    }
    house.ready();
    assert_eq!(met(&house, TWO, marks::SUSPENDED), 0);
}

/// Wherever a bit flips: what is not suspended is what it was, what is begins anew, and all acknowledged records are there.
#[test]
fn a_flipped_bit_costs_the_replicas_whose_groups_stood_there() {
    let mut partly = 0;
    let written = {
        let house = laden(&["t", "u"]);
        let disk = &house.homes[&TWO].disk;
        let bytes = &disk.files[&newest(disk)];
        bytes.iter().rposition(|byte| *byte != 0).expect("something was written")
    };
    for at in (600..written).step_by(written / 16) {
        let mut house = laden(&["t", "u"]);
        let before = replicas(&house, TWO);
        damage(&mut house, |disk| {
            let newest = newest(disk);
            disk.files.get_mut(&newest).expect("it is there")[at] ^= 0x10;
        });
        house.ready();
        let after = replicas(&house, TWO);
        let renewed = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        assert_eq!(renewed > 0, met(&house, TWO, marks::SUSPENDED) > 0, "at {at}");
        partly += usize::from((1..before.len()).contains(&renewed));
        counts(&mut house, &["t", "u"]);
        assert_eq!((count(&mut house, "t"), count(&mut house, "u")), (22, 22), "at {at}");
        house.is_tidy(TWO);
    }
    assert!(partly > 0, "damage that names a group spares the others");
}

/// The broker dies again and again while it is given new ids: it never speaks under one that it may have forgotten.
#[test]
fn dying_while_it_begins_anew_costs_nothing() {
    for steps in 0..20 {
        let mut house = laden(&["t"]);
        damage(&mut house, vanish);
        for _ in 0..3 {
            for _ in 0..steps * 9 {
                if !house.step() {
                    house.pass(Duration::from_millis(20));
                }
            }
            house.restart(TWO);
        }
        house.ready();
        counts(&mut house, &["t"]);
        assert_eq!(count(&mut house, "t"), 22, "after {steps} steps");
        house.is_tidy(TWO);
    }
}

/// Topics with this one replica, until the second broker has it, or nobody who lives. Gives its name.
fn on_two(house: &mut House, prefix: char) -> String {
    for nth in 0..12 {
        let topic = format!("{prefix}{nth}");
        let group = create(house, &topic, 1);
        let holds = |node: &NodeId| replicas(house, *node).iter().any(|(of, _)| *of == group);
        if house.homes.keys().all(|node| holds(node) == (*node == TWO)) {
            return topic;
        }
    }
    panic!("they are spread");
}

fn vanish(disk: &mut Disk) {
    disk.files.retain(|file, _| file.kind() != FileKind::Journal);
}

/// What the second broker says to who writes and to who reads.
fn answers(house: &mut House, topic: &str) -> (i16, i16) {
    let conn = open(house, TWO);
    let written = house.produce(TWO, conn, topic, batch(None, &["x"], 1)).error_code;
    (written, house.fetch(TWO, conn, topic, 0, 100).error_code)
}

#[test]
fn what_has_no_other_replica_stays_suspended_until_it_is_deleted() {
    let mut house = laden(&["t"]);
    let alone = on_two(&mut house, 'a');
    produce(&mut house, &alone, "once");
    damage(&mut house, vanish);
    let error = ErrorCode::KafkaStorageError.code();
    for _ in 0..2 {
        house.ready();
        house.pass(Duration::from_secs(1));
        assert_eq!(answers(&mut house, &alone), (error, error));
        assert!(house.notes.iter().any(|(_, text)| text.contains("no majority of the replicas")), "{:?}", house.notes);
        assert_eq!(count(&mut house, "t"), 20);
        house.restart(TWO);
    }
    house.ready();
    // What is new is not what was lost, wherever it is created.
    let home = house.stop(TWO);
    let fresh = on_two(&mut house, 'b');
    house.bring_back(TWO, home);
    house.ready();
    house.pass(Duration::from_secs(1));
    assert_eq!((answers(&mut house, &fresh), answers(&mut house, &alone)), ((0, 0), (error, error)));
    let files = |house: &House| house.homes[&TWO].disk.files.len();
    let before = files(&house);
    delete(&mut house, &alone);
    house.is_tidy(TWO);
    assert!(files(&house) < before, "nothing of what was lost takes room any more");
    counts(&mut house, &["t"]);
}

#[test]
fn of_two_replicas_neither_can_be_made_again() {
    let mut house = House::new(3);
    house.ready();
    let topic = ["a", "b", "c"].into_iter().find(|topic| {
        let group = create(&mut house, topic, 2);
        replicas(&house, TWO).iter().any(|(of, _)| *of == group)
    });
    let topic = topic.expect("they are spread");
    produce(&mut house, topic, "once");
    damage(&mut house, vanish);
    house.pass(Duration::from_secs(5));
    let error = ErrorCode::KafkaStorageError.code();
    assert_eq!(answers(&mut house, topic), (error, error));
    assert!(house.notes.iter().any(|(_, text)| text.contains("no majority of the replicas")), "{:?}", house.notes);
    delete(&mut house, topic);
    house.ready();
}

/// Damages the last block but one or earlier that names the controller alone.
fn harm_controller(disk: &mut Disk) {
    let newest = newest(disk);
    let bytes = disk.files.get_mut(&newest).expect("it is there");
    let number = |at: usize, len: usize| -> u64 {
        bytes[at..at + len].iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    };
    let (mut at, mut blocks) = (512, Vec::new());
    while bytes.get(at..at + 4) == Some(b"tlBK") {
        // A directory of one group, and that is zero.
        blocks.push((at, number(at + 56, 4) == 8 && number(at + 104, 8) == 0));
        at += number(at + 40, 8) as usize;
    }
    blocks.pop();
    let (at, _) = *blocks.iter().skip(1).rfind(|(_, alone)| *alone).expect("there is one");
    bytes[at + 170] ^= 0x10;
}

/// All power fails; the second broker comes back last, with this damage.
fn power_fails(house: &mut House, damage: impl FnOnce(&mut Disk)) {
    let [one, mut two, three] = [ONE, TWO, THREE].map(|node| house.stop(node));
    house.bring_back(ONE, one);
    house.bring_back(THREE, three);
    house.pass(Duration::from_secs(2));
    damage(&mut two.disk);
    house.bring_back(TWO, two);
    house.ready();
}

/// A new replica of the controller hears its whole history, and meanwhile knows what was, not what is.
#[test]
fn what_it_was_once_it_never_is_again_when_the_controller_begins_anew() {
    let mut house = House::empty(3);
    house.settings.window_bytes = 64 << 20;
    house.settings.checkpoint_bytes = 128 << 20;
    house.settings.append_bytes = 1;
    // One entry after the other.
    house.spoils = |envelope| {
        let mut laden = 0;
        envelope.messages.retain(|message| {
            laden += usize::from(!message.raft.entries.is_empty());
            message.raft.entries.is_empty() || laden == 1
        });
    };
    for node in [ONE, TWO, THREE] {
        house.start(node, Disk::default(), 1);
    }
    house.settle();
    house.ready();
    load(&mut house, &["t", "gone"]);
    let [group, gone] = ["t", "gone"].map(|topic| house.homes[&ONE].broker.topic(topic).expect("it is known").1[0]);
    delete(&mut house, "gone");
    power_fails(&mut house, vanish);
    let renewed = replicas(&house, TWO).into_iter().find(|(of, _)| *of == group).expect("it has it").1;
    produce(&mut house, "t", "more");
    for topic in ["a", "b", "c", "d"] {
        create(&mut house, topic, 1);
    }
    house.recovered.clear();
    power_fails(&mut house, harm_controller);
    assert_eq!(met(&house, TWO, marks::CONTROLLER_RENEWED), 2);
    let was = |of: GroupId| house.recovered.iter().filter(move |one| (one.0, one.1) == (TWO, of)).map(|one| one.2);
    assert_eq!(was(group).collect::<Vec<_>>(), [renewed], "what is whole stays what it is");
    assert_eq!(was(gone).count(), 0, "what is deleted is not begun");
    counts(&mut house, &["t"]);
}

/// The new replica of the controller hears of its former wishes too, and what they brought: none of it is for this life.
#[test]
fn damage_in_two_lives_costs_two_ids() {
    let mut house = House::empty(3);
    house.settings.append_bytes = 1;
    for node in [ONE, TWO, THREE] {
        house.start(node, Disk::default(), 1);
    }
    house.settle();
    house.ready();
    load(&mut house, &["t", "u"]);
    power_fails(&mut house, vanish);
    let before: Vec<_> = house.recovered.iter().filter(|(node, ..)| *node == TWO).copied().collect();
    power_fails(&mut house, vanish);
    assert_eq!(met(&house, TWO, marks::REPLICAS_RENEWED), 2);
    let after: Vec<_> = house.recovered.iter().filter(|(node, ..)| *node == TWO).skip(before.len()).collect();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|one| !before.contains(one)), "{before:?} {after:?}");
    counts(&mut house, &["t", "u"]);
}

/// A broker that has lost its promises waits for the answer to what it asks in this life of this disk.
#[test]
fn only_an_answer_to_this_wish_is_believed() {
    let mut house = laden(&["t"]);
    let to_another_wish: [fn(&mut Envelope); 2] = [
        |envelope| {
            if let Some(Message::Admitted { renews, .. }) = &mut envelope.formation {
                *renews = 0;
            }
        },
        |envelope| {
            if let Some(Message::Admitted { admitted, .. }) = &mut envelope.formation {
                *admitted = DirectoryId([77; 16]);
            }
        },
    ];
    for spoils in to_another_wish {
        house.spoils = spoils;
        let before = met(&house, TWO, marks::CONTROLLER_RENEWED);
        damage(&mut house, vanish);
        house.pass(Duration::from_secs(5));
        assert_eq!(met(&house, TWO, marks::CONTROLLER_RENEWED), before);
        assert!(!house.homes[&TWO].broker.status().ready);
        house.spoils = |_| {};
        house.ready();
        assert_eq!(met(&house, TWO, marks::CONTROLLER_RENEWED), before + 1);
    }
    counts(&mut house, &["t"]);
}

#[test]
fn a_single_node_whose_journal_is_damaged_stops() {
    let mut house = House::new(1);
    house.ready();
    let conn = open(&mut house, ONE);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    produce(&mut house, "t", "x");
    let mut home = house.stop(ONE);
    vanish(&mut home.disk);
    let before = home.disk.files.clone();
    house.bring_back(ONE, home);
    let Some(Halt::Corrupt(why)) = &house.homes[&ONE].halted else { panic!("{:?}", house.homes[&ONE].halted) };
    assert!(why.contains("is missing"), "{why}");
    assert_eq!(house.homes[&ONE].disk.files, before, "nothing was touched");
}
