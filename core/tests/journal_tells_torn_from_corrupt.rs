//! Damage in the last block is a torn write and is cut; damage before it suspends the groups it hit, and shortens nothing
//! silently.

mod journal_support;

use std::collections::BTreeSet;

use journal_support::model::{GROUPS, Op, World, op};
use journal_support::*;
use proptest::prelude::*;
use tidelog_core::id::{FileId, GroupId};
use tidelog_core::journal::{Recovered, Settings};

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);

/// A wrote, B wrote, A wrote again: three blocks. Gives where each stands.
fn three_blocks() -> (Host, Vec<(FileId, u64, u64)>) {
    let mut host = Host::fresh();
    for (group, range) in [(A, 1..=2), (B, 1..=3), (A, 3..=4)] {
        host.journal.append(group, entries(range, 1, 400), None, Some(hard(1, 1, 0)));
        host.settle();
    }
    let blocks = host.disk.writes[1..].iter().map(|(file, at, len, _)| (*file, *at, *len)).collect();
    (host, blocks)
}

fn with_damage(seal: bool, block: usize, at: impl Fn(u64) -> u64) -> Recovered {
    let (mut host, blocks) = three_blocks();
    if seal {
        host.seal();
    }
    let (file, start, len) = blocks[block];
    host.damage(file, start + at(len), |byte| *byte ^= 0x10);
    host.killed().recover()
}

fn count(recovered: &Recovered, group: GroupId) -> Option<usize> {
    recovered.groups.get(&group).map(|group| group.entries.len())
}

#[test]
fn a_flip_in_an_earlier_block_suspends_its_groups_wherever_it_hits() {
    for at in (0..1500).step_by(4) {
        let recovered = with_damage(false, 1, |_| at);
        if recovered.suspended.is_empty() {
            // Zeros that fill the block up: nothing was lost.
            assert_eq!((count(&recovered, A), count(&recovered, B)), (Some(4), Some(3)), "at {at}");
        } else {
            assert_eq!(recovered.suspended, BTreeSet::from([B]), "at {at}");
            assert_eq!(count(&recovered, A), Some(4), "at {at}");
            assert!(!recovered.all_suspended && recovered.cut.is_none(), "at {at}");
        }
    }
}

#[test]
fn a_flip_in_a_frame_of_an_earlier_block_is_never_taken_for_fill() {
    let recovered = with_damage(false, 1, |_| 300);
    assert_eq!(recovered.suspended, BTreeSet::from([B]));
}

#[test]
fn the_last_block_is_torn_if_nothing_proves_it_synced() {
    let recovered = with_damage(false, 2, |_| 300);
    assert!(recovered.suspended.is_empty());
    assert_eq!((count(&recovered, A), count(&recovered, B)), (Some(2), Some(3)));
    assert!(recovered.cut.is_some());
}

#[test]
fn a_torn_block_is_cut_at_its_first_bad_frame() {
    let mut host = Host::fresh();
    host.journal.append(A, entries(1..=1, 1, 1000), None, None);
    host.journal.append(B, entries(1..=1, 1, 1000), None, None);
    host.journal.append(A, entries(2..=2, 1, 1000), None, None);
    host.collect();
    // Seven sectors; the fourth is lost, where B's frame stands. What follows it is not believed, whole as it is.
    let mut sector = 0;
    let mut host = host.power_lost(&mut || {
        sector += 1;
        sector != 4
    });
    let recovered = host.recover();
    assert_eq!((count(&recovered, A), count(&recovered, B)), (Some(1), None));
    assert!(recovered.cut.is_some() && recovered.suspended.is_empty());
    assert_eq!(count(&host.killed().recover(), A), Some(1));
}

#[test]
fn the_last_block_of_a_sealed_journal_is_corrupt() {
    let recovered = with_damage(true, 2, |_| 300);
    assert_eq!(recovered.suspended, BTreeSet::from([A]));
    assert_eq!(count(&recovered, B), Some(3));
    assert!(recovered.cut.is_none());
}

#[test]
fn a_torn_header_before_surviving_frames_is_cut_and_stays_cut() {
    let (mut host, blocks) = three_blocks();
    let (file, start, _) = blocks[2];
    (start..start + 512).for_each(|at| host.damage(file, at, |byte| *byte = 0));
    let mut host = host.killed();
    let first = host.recover();
    assert!(first.suspended.is_empty());
    assert_eq!(first.cut.map(|cut| cut.at), Some(start));
    host.journal.append(B, entries(4..=4, 1, 10), None, None);
    host.settle();
    let second = host.killed().recover();
    assert_eq!((count(&second, A), count(&second, B)), (Some(2), Some(4)));
    assert!(second.suspended.is_empty() && second.cut.is_none());
}

#[test]
fn what_can_not_be_read_is_never_taken_for_torn() {
    // The last block, not sealed: a flip there would be cut. A sector that fails was written once, torn or not.
    for at in [0, 512] {
        let (mut host, blocks) = three_blocks();
        host.disk.unreadable.insert((blocks[2].0, blocks[2].1 + at));
        let mut host = host.killed();
        let recovered = host.recover();
        assert_eq!(recovered.suspended, BTreeSet::from([A]));
        assert!(recovered.cut.is_none() && !recovered.all_suspended);
        assert_eq!(host.killed().recover().suspended, recovered.suspended);
    }
    // A block in a single sector: neither directory can be read.
    let (mut host, _) = three_blocks();
    host.journal.append(A, entries(5..=5, 1, 10), None, None);
    host.settle();
    let (file, at, len, _) = *host.disk.writes.last().expect("a block was written");
    assert_eq!(len, 512);
    host.disk.unreadable.insert((file, at));
    assert!(host.killed().recover().all_suspended);
    // A header, a base, an earlier block.
    for (block, at) in [(0, None), (0, Some(512)), (1, Some(512))] {
        let (mut host, blocks) = three_blocks();
        let place = at.map_or(0, |at| blocks[block].1 + at);
        host.disk.unreadable.insert((blocks[block].0, place));
        let recovered = host.killed().recover();
        assert!(!recovered.suspended.is_empty() || recovered.all_suspended);
    }
    // Behind the end of the log there is nothing to lose.
    let (mut host, blocks) = three_blocks();
    host.disk.unreadable.insert((blocks[2].0, blocks[2].1 + blocks[2].2 + 512));
    let recovered = host.killed().recover();
    assert!(recovered.suspended.is_empty() && !recovered.all_suspended && recovered.cut.is_none());
    assert_eq!((count(&recovered, A), count(&recovered, B)), (Some(4), Some(3)));
}

#[test]
fn a_block_without_both_directories_suspends_all_until_each_is_dealt_with() {
    let (mut host, blocks) = three_blocks();
    let (file, start, len) = blocks[1];
    (start..start + len).for_each(|at| host.damage(file, at, |byte| *byte = 0));
    let mut host = host.killed();
    let recovered = host.recover();
    assert!(recovered.all_suspended && recovered.groups.is_empty());
    // Suspension outlives restarts, and a group that was readmitted is not suspended again.
    let mut host = host.killed();
    assert!(host.recover().all_suspended);
    host.journal.forget(A);
    host.journal.append(A, entries(1..=1, 9, 10), None, Some(hard(9, 9, 0)));
    host.settle();
    let mut host = host.killed();
    let recovered = host.recover();
    assert!(recovered.all_suspended);
    assert_eq!(count(&recovered, A), Some(1));
    host.journal.forget(B);
    host.journal.absolve(Vec::new());
    host.settle();
    let recovered = host.killed().recover();
    assert!(!recovered.all_suspended && recovered.suspended.is_empty());
    assert_eq!(count(&recovered, A), Some(1));
}

#[test]
fn a_vanished_block_is_corrupt_even_without_a_trace() {
    // A phantom write: acknowledged, never done. The next block proves it.
    let (mut host, blocks) = three_blocks();
    let (file, start, len) = blocks[2];
    host.seal();
    (start..start + len).for_each(|at| host.damage(file, at, |byte| *byte = 0));
    assert!(host.killed().recover().all_suspended);
}

#[test]
fn a_damaged_header_or_base_of_a_file_that_went_on_suspends_all() {
    for at in [20, 512, 560, 600] {
        let (mut host, blocks) = three_blocks();
        host.damage(blocks[0].0, at, |byte| *byte ^= 1);
        let mut host = host.killed();
        assert!(host.recover().all_suspended, "at {at}");
        assert!(host.killed().recover().all_suspended, "at {at}, after another restart");
    }
}

/// Damage within one block, and restarts on the way to recovery.
#[derive(Clone, Debug)]
struct Harm {
    write: prop::sample::Index,
    at: prop::sample::Index,
    len: usize,
    flip: u8,
    steps: Vec<u8>,
    seed: u64,
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let steps = prop::collection::vec(0u8..30, 0..3);
    (place, prop_oneof![Just(1usize), 1usize..2000], 1u8..=255, steps, any::<u64>())
        .prop_map(|((write, at), len, flip, steps, seed)| Harm { write, at, len, flip, steps, seed })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn damage_in_a_sealed_journal_shortens_nothing_silently(
        ops in prop::collection::vec(op(), 1..100),
        harm in harm(),
    ) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.run(op));
        world.run(&Op::Settle);
        world.host.seal();
        let standing = world.host.disk.standing();
        let (file, start, len) = *harm.write.get(&standing);
        let from = start + harm.at.index(len as usize) as u64;
        let to = (from + harm.len as u64).min(start + len);
        (from..to).for_each(|at| world.host.damage(file, at, |byte| *byte = byte.wrapping_add(harm.flip)));
        world.crash(|host| host.killed());
        let mut rng = tidelog_core::rng::Rng::stream(harm.seed, &[]);
        for steps in &harm.steps {
            for _ in 0..*steps {
                world.host.collect();
                world.host.finish_one();
            }
            world.host.collect();
            world.crash(|host| host.power_lost(&mut || rng.per_mille(500)));
        }
        // Everything was durable: what is not suspended is complete.
        let first = world.recover_damaged();
        // Suspension lasts, and does not spread.
        world.crash(|host| host.killed());
        let second = world.recover_damaged();
        prop_assert_eq!(&first.suspended, &second.suspended);
        prop_assert_eq!(first.all_suspended, second.all_suspended);
        prop_assert_eq!(&first.groups, &second.groups);
        // Once each group is dealt with, life goes on.
        for group in (0..GROUPS).map(GroupId) {
            world.run(&Op::Forget { group: group.0 });
            world.append(group, 3, 20, 0, true);
        }
        world.host.journal.absolve(Vec::new());
        world.host.settle();
        world.run(&Op::Kill { steps: 0 });
    }

    #[test]
    fn any_bytes_at_all_are_survived(
        noise in prop::collection::vec((0u64..40_000, any::<u8>()), 1..200),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.run(op));
        world.run(&Op::Settle);
        let files: Vec<_> = world.host.disk.listing();
        for (at, byte) in noise {
            let (file, len) = files[at as usize % files.len()];
            world.host.damage(file, at % len, |old| *old = byte);
        }
        let mut host = world.host.killed();
        host.recover();
        host.journal.check();
    }
}

#[test]
fn damage_is_not_reported_again_once_it_is_known() {
    let mut host = Host::start(Disk::default(), 1, Settings { files_target: 2, ..settings() });
    host.recover();
    host.journal.append(A, entries(1..=2, 1, 300), None, None);
    host.journal.append(B, entries(1..=2, 1, 300), None, None);
    host.settle();
    let (file, at, ..) = *host.disk.writes.last().expect("a block was written");
    host.journal.append(A, entries(3..=3, 1, 300), None, None);
    host.settle();
    host.damage(file, at + 300, |byte| *byte ^= 1);
    let mut host = host.killed();
    assert_eq!(host.recover().suspended, BTreeSet::from([A, B]));
    assert_eq!(host.damages(), 1);
    host.journal.forget(A);
    host.journal.append(A, entries(1..=1, 5, 300), None, None);
    host.settle();
    // The damaged file is still in use: what B had there was not given up.
    let mut host = host.killed();
    let recovered = host.recover();
    assert_eq!(host.damages(), 0);
    assert_eq!(recovered.suspended, BTreeSet::from([B]));
    assert_eq!(count(&recovered, A), Some(1));
}
