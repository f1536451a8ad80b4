//! Somebody damages files of one broker by hand: no vote from forgotten state, no wrong byte, and what others have heals.

#[path = "support/house.rs"]
mod house;

use house::{Disk, House};
use tidelog_core::effect::Halt;
use tidelog_core::id::{FileId, FileKind, NodeId};
use tidelog_core::time::Duration;

const TWO: NodeId = NodeId(2);

fn files(disk: &Disk, kind: FileKind) -> Vec<FileId> {
    disk.files.keys().copied().filter(|file| file.kind() == kind).collect()
}

fn corrupt(house: &House, node: NodeId) -> String {
    match &house.homes[&node].halted {
        Some(Halt::Corrupt(why)) => why.clone(),
        other => panic!("it is {other:?}"),
    }
}

/// Three brokers; the second was stopped, and comes back after `damage`.
fn damaged(damage: impl FnOnce(&mut Disk)) -> House {
    let mut house = House::new(3);
    house.ready();
    let mut home = house.homes.remove(&TWO).expect("it lives");
    damage(&mut home.disk);
    house.start(TWO, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    house
}

#[test]
fn a_journal_that_vanished_is_missed() {
    let house = damaged(|disk| {
        for file in files(disk, FileKind::Journal) {
            disk.files.remove(&file);
        }
    });
    assert!(corrupt(&house, TWO).contains("the journal is gone"));
}

#[test]
fn a_journal_that_lost_its_newest_file_is_missed() {
    let mut house = House::new(3);
    house.ready();
    // Each life opens a file.
    house.restart(TWO);
    house.ready();
    let mut home = house.homes.remove(&TWO).expect("it lives");
    let journals = files(&home.disk, FileKind::Journal);
    assert!(journals.len() > 1, "{journals:?}");
    let newest = journals
        .iter()
        .max_by_key(|file| home.disk.files[file].get(56..64).map(|b| u64::from_le_bytes(b.try_into().expect("eight"))));
    home.disk.files.remove(newest.expect("there is one"));
    house.start(TWO, home.disk, home.boots + 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    assert!(corrupt(&house, TWO).contains("the journal ends with"), "{}", corrupt(&house, TWO));
}

#[test]
fn a_journal_that_was_truncated_is_missed() {
    let house = damaged(|disk| {
        let newest = *files(disk, FileKind::Journal).last().expect("there is one");
        let bytes = disk.files.get_mut(&newest).expect("it is there");
        // Behind all that was written: only the room that was made is less.
        bytes.truncate(bytes.len() - 512);
    });
    assert!(corrupt(&house, TWO).contains("damaged"), "{}", corrupt(&house, TWO));
}

#[test]
fn a_journal_that_was_never_opened_is_not_missed() {
    let mut house = House::new(3);
    house.ready();
    for _ in 0..3 {
        house.restart(TWO);
    }
    house.pass(Duration::from_secs(2));
    assert_eq!(house.homes[&TWO].halted, None);
}
