//! Files are allocated once and used again; marks and carries release them; what a group needs is never written over.

mod journal_support;

use journal_support::model::{Op, World, op};
use journal_support::*;
use proptest::prelude::*;
use tidelog_core::id::{GroupId, Index};

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

/// A is busy and checkpoints; B wrote once, long ago, and voted.
fn busy_and_stalled(host: &mut Host, rounds: u64, mut relieve: impl FnMut(&mut Host, GroupId)) {
    host.journal.append(B, entries(1..=3, 1, 100), None, Some(hard(4, 2, 0)));
    for index in 1..=rounds {
        host.journal.append(A, entries(index..=index, 1, 900), None, None);
        host.settle();
        for group in host.journal.relief() {
            if group == A {
                host.journal.mark(A, mark(index, 1));
            } else {
                relieve(host, group);
            }
        }
        host.settle();
    }
}

#[test]
fn a_stalled_group_is_carried_and_files_are_used_again() {
    let mut host = Host::fresh();
    let mut carried = 0;
    busy_and_stalled(&mut host, 400, |host, group| {
        carried += 1;
        host.journal.carry(group, entries(1..=3, 1, 100));
    });
    assert!(carried > 1);
    let files = host.disk.files.len() as u32;
    assert!(files <= host.settings.files_target + 5, "{files} files");
    assert!(host.disk.writes.iter().filter(|(_, at, ..)| *at == 0).count() > 20, "files were used again");
    let recovered = host.killed().recover();
    assert_eq!(recovered.groups[&B].entries, entries(1..=3, 1, 100));
    assert_eq!(recovered.groups[&B].hard, hard(4, 2, 0));
}

#[test]
fn carrying_many_stalled_groups_empties_the_files_they_kept() {
    let mut host = Host::fresh();
    let mut index = 0;
    for stalled in 2..12 {
        host.journal.append(GroupId(stalled), entries(1..=2, 1, 100), None, None);
        for _ in 0..20 {
            index += 1;
            host.journal.append(A, entries(index..=index, 1, 900), None, None);
            host.journal.mark(A, mark(index, 1));
            host.settle();
        }
        for group in host.journal.relief() {
            host.journal.carry(group, entries(1..=2, 1, 100));
        }
        host.settle();
        assert!(host.journal.relief().is_empty(), "what was carried stands in the newest file");
    }
    let files = host.disk.files.len() as u32;
    assert!(files <= host.settings.files_target + 5, "{files} files");
    let recovered = host.killed().recover();
    assert!((2..12).all(|group| recovered.groups[&GroupId(group)].entries == entries(1..=2, 1, 100)));
}

#[test]
fn a_file_a_group_needs_is_kept_however_old_it_is() {
    let mut host = Host::fresh();
    busy_and_stalled(&mut host, 200, |_, group| assert_eq!(group, B));
    assert!(host.disk.writes.iter().filter(|(_, at, ..)| *at == 0).count() > 10, "files were used again");
    let recovered = host.killed().recover();
    assert_eq!(recovered.groups[&B].entries, entries(1..=3, 1, 100));
}

#[test]
fn without_marks_pressure_holds_until_some_come() {
    let mut host = Host::fresh();
    let mut index = 0;
    while !host.journal.pressure() {
        index += 1;
        host.journal.append(A, entries(index..=index, 1, 2000), None, None);
        host.settle();
        assert!(index < 1000, "pressure comes in time");
    }
    assert!(host.disk.files.len() as u32 <= host.settings.files_max + 2, "but for the spares");
    assert_eq!(host.journal.relief(), [A]);
    host.journal.mark(A, mark(index, 1));
    host.settle();
    assert!(!host.journal.pressure() && host.journal.relief().is_empty());
}

#[test]
fn a_carry_restores_nothing_that_was_truncated_or_replaced() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=6, 1, 50), None, None);
    host.journal.append(A, entries(4..=5, 2, 50), Some(Index(4)), None);
    // The owner still held the old tail; only what is live is written.
    host.journal.carry(A, entries(1..=3, 1, 50));
    host.journal.append(A, entries(6..=7, 2, 50), None, None);
    host.journal.carry(A, entries(4..=4, 2, 50));
    host.settle();
    let expected = [entries(1..=3, 1, 50), entries(4..=7, 2, 50)].concat();
    assert_eq!(host.killed().recover().groups[&A].entries, expected);
}

#[test]
fn a_group_made_again_shares_nothing_with_its_former_self() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=5, 1, 50), None, Some(hard(1, 1, 1)));
    host.journal.append(B, entries(1..=1, 1, 50), None, None);
    host.settle();
    host.journal.forget(A);
    host.settle();
    let mut host = host.killed();
    assert!(!host.recover().groups.contains_key(&A));
    host.journal.append(A, entries(1..=2, 9, 50), None, None);
    host.settle();
    let again = host.killed().recover().groups[&A].clone();
    assert_eq!((again.hard, again.entries), (hard(0, 0, 0), entries(1..=2, 9, 50)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn files_stay_few_when_relief_is_heeded(ops in prop::collection::vec(op(), 100..300), carry in any::<bool>()) {
        let mut world = World::new();
        for op in &ops {
            // A carry of everything can not make room where everything is dirty: marks do, sooner or later.
            world.run(op);
            world.run(&Op::Settle);
            world.relieve(carry);
            world.run(&Op::Settle);
            if !world.host.journal.relief().is_empty() {
                world.relieve(false);
            }
            world.run(&Op::Settle);
        }
        let files = world.host.disk.files.len() as u32;
        prop_assert!(files <= world.host.settings.files_max, "{} files", files);
        world.run(&Op::Kill { steps: 0 });
    }
}
