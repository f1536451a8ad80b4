//! Random appends, truncations, marks, carries and forgets; crashes at any time, with any subset of unsynced sectors kept,
//! and again during recovery. Every group comes back in a state it passed through, with all that was durable.

mod journal_support;

use journal_support::model::{Op, World, op};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_comes_back(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            world.host.journal.check();
        }
        world.run(&Op::Settle);
        world.run(&Op::Kill { steps: 0 });
    }

    #[test]
    fn recovering_twice_gives_the_same(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.run(op));
        world.crash(|host| host.killed());
        let mut first = world.recover();
        world.crash(|host| host.power_lost(&mut || false));
        let second = world.recover();
        first.cut = None;
        prop_assert_eq!(first, second);
    }
}
