//! Whatever the order in which a disk works, and whatever a crash leaves of what was not synced: the log holds what was
//! appended, reads and lookups agree with a model, and the last marked checkpoint comes back exactly.

use crate::support::{World, batch, settings};
use proptest::prelude::*;
use tidelog_core::id::Offset;
use tidelog_core::time::Timestamp;

#[derive(Clone, Debug)]
enum Act {
    Append { timestamps: Vec<i64>, bytes: usize, next_epoch: bool },
    Flush,
    Pump(usize),
    PumpAll,
    Checkpoint,
    Mark,
    MarkThenCrash(u64),
    Crash(u64),
    Evict(u64),
    LogStart(u64),
    Roll,
    Read { from: u64, max_bytes: u64, at_least_one: bool },
    Find { from: u64, at_least: i64 },
    FindMax,
    Full(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => (
            proptest::collection::vec(prop_oneof![4 => 0..60_i64, 1 => Just(-1)], 1..5),
            prop_oneof![0..300_usize, 0..3_000_usize],
            proptest::bool::weighted(0.1),
        ).prop_map(|(timestamps, bytes, next_epoch)| Act::Append { timestamps, bytes, next_epoch }),
        2 => Just(Act::Flush),
        12 => any::<usize>().prop_map(Act::Pump),
        2 => Just(Act::PumpAll),
        3 => Just(Act::Checkpoint),
        3 => Just(Act::Mark),
        1 => any::<u64>().prop_map(Act::MarkThenCrash),
        2 => any::<u64>().prop_map(Act::Crash),
        3 => (0..3_000_u64).prop_map(Act::Evict),
        1 => (0..=1_000_u64).prop_map(Act::LogStart),
        1 => Just(Act::Roll),
        6 => (0..=1_010_u64, 0..4_000_u64, any::<bool>())
            .prop_map(|(from, max_bytes, at_least_one)| Act::Read { from, max_bytes, at_least_one }),
        4 => (0..=1_000_u64, -1..65_i64).prop_map(|(from, at_least)| Act::Find { from, at_least }),
        3 => Just(Act::FindMax),
        1 => any::<bool>().prop_map(Act::Full),
    ]
}

/// An offset of the log as it is, in thousandths of its length.
fn place(world: &World, per_mille: u64) -> Offset {
    Offset(world.log.next_offset().0 * per_mille as i64 / 1_000)
}

fn run(world: &mut World, acts: Vec<Act>) {
    let mut epoch = 1;
    for act in acts {
        match act {
            Act::Append { timestamps, bytes, next_epoch } => {
                epoch += i32::from(next_epoch);
                world.append(&batch(&timestamps, bytes), epoch);
            }
            Act::Flush => {
                world.log.flush();
                world.drain();
            }
            Act::Pump(which) => {
                world.pump(which);
            }
            Act::PumpAll => world.pump_all(),
            Act::Checkpoint => world.checkpoint(),
            Act::Mark => world.mark(true),
            Act::MarkThenCrash(seed) => {
                world.mark(false);
                world.crash(seed);
            }
            Act::Crash(seed) => world.crash(seed),
            Act::Evict(keep) => world.log.evict_tail(keep),
            Act::LogStart(at) => world.set_log_start(place(world, at)),
            Act::Roll => world.roll(),
            Act::Read { from, max_bytes, at_least_one } => world.read(place(world, from), max_bytes, at_least_one),
            Act::Find { from, at_least } => world.find(place(world, from), Timestamp(at_least)),
            Act::FindMax => world.find_max(),
            Act::Full(full) => world.disk.full = full,
        }
        world.log.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_log_is_what_was_appended(acts in proptest::collection::vec(act(), 1..120), seed in any::<u64>()) {
        let mut world = World::new(settings());
        run(&mut world, acts);
        world.settle();
        world.read_everything();
        let (next_offset, epoch) = (world.log.next_offset(), world.log.last_epoch());
        world.crash(seed);
        prop_assert_eq!(world.log.next_offset(), next_offset);
        prop_assert_eq!(world.log.last_epoch(), epoch);
        for at_least in [0, 20, 59, 60] {
            world.find(Offset(0), Timestamp(at_least));
            world.pump_all();
        }
        world.find_max();
        world.pump_all();
        world.settle();
    }
}
