//! However a broker's bytes are cut, and whatever they are: the client does the same, or starts again.

use bytes::Bytes;
use proptest::prelude::*;
use tidelog_core::client::{Assignment, CallId, Config, Failure, Operation, Outcome, Position};
use tidelog_core::kafka::ApiKey;
use tidelog_core::time::Duration;

use crate::fake::{Cluster, Deed};
use crate::world::{World, config, produce};

type Results = Vec<Result<Outcome, Failure>>;

/// Writes and reads through a network that cuts, and gives all results and the log.
fn session(cut: Box<dyn FnMut(usize) -> usize>) -> (Results, Vec<String>) {
    let mut cluster = Cluster::new(2);
    cluster.topic("t", 2);
    let mut world = World::new(Config { batch_bytes: 100, ..config() }, cluster);
    world.cut = cut;
    let calls: Vec<CallId> = (0..12).map(|n| world.call(produce("t", n % 2, &n.to_string()))).collect();
    let mut results: Results = calls.into_iter().map(|call| world.wait(call)).collect();
    let one = |partition| Assignment { topic: "t".to_owned(), partition, from: Position::Earliest };
    results.push(world.run(Operation::Assign { partitions: vec![one(0), one(1)] }));
    for _ in 0..14 {
        results.push(world.run(Operation::Poll { max_records: 1, max_wait: Duration::from_millis(100) }));
    }
    let log = [world.cluster.partition("t", 0).values(), world.cluster.partition("t", 1).values()].concat();
    (results, log)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_results(pieces in proptest::collection::vec(1usize..40, 1..30)) {
        let whole = session(Box::new(|rest| rest));
        let mut turn = 0;
        let cut = session(Box::new(move |_| {
            turn += 1;
            pieces[turn % pieces.len()]
        }));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn garbage_costs_a_connection_and_nothing_else(
        garbage in proptest::collection::vec(any::<u8>(), 1..80),
        framed in any::<bool>(),
        turns in proptest::collection::btree_set(0usize..12, 1..5),
    ) {
        let mut cluster = Cluster::new(2);
        cluster.topic("t", 2);
        let mut world = World::new(Config { batch_bytes: 1, ..config() }, cluster);
        let bytes: Bytes = if framed {
            [&(garbage.len() as u32).to_be_bytes()[..], &garbage].concat().into()
        } else {
            garbage.into()
        };
        let mut turn = 0;
        world.script = Box::new(move |_, _, _| {
            turn += 1;
            if turns.contains(&turn) { Deed::Garbage(bytes.clone()) } else { Deed::Answer }
        });
        let calls: Vec<CallId> = (0..6).map(|n| world.call(produce("t", n % 2, &n.to_string()))).collect();
        for call in calls {
            world.wait(call).unwrap();
        }
        prop_assert_eq!(world.cluster.partition("t", 0).values(), ["0", "2", "4"]);
        prop_assert_eq!(world.cluster.partition("t", 1).values(), ["1", "3", "5"]);
    }

    #[test]
    fn lost_connections_and_answers_neither_lose_nor_double_nor_reorder(
        deeds in proptest::collection::vec(0u8..10, 10..60),
        leaders in proptest::collection::vec(1i32..4, 1..8),
    ) {
        let mut cluster = Cluster::new(3);
        cluster.topic("t", 1);
        let mut world = World::new(Config { batch_bytes: 1, request_timeout: Duration::from_millis(300), ..config() }, cluster);
        let mut turn = 0;
        world.script = Box::new(move |cluster, _, request| {
            if request.header.api_key == ApiKey::ApiVersions || turn >= deeds.len() {
                return Deed::Answer;
            }
            turn += 1;
            match deeds[turn - 1] {
                0 => Deed::Close,
                1 => Deed::CarryOutAndClose,
                2 => Deed::Ignore,
                3 => {
                    let partition = cluster.partition("t", 0);
                    partition.leader = leaders[turn % leaders.len()];
                    partition.epoch += 1;
                    Deed::Answer
                }
                _ => Deed::Answer,
            }
        });
        let calls: Vec<CallId> = (0..20).map(|n| world.call(produce("t", 0, &n.to_string()))).collect();
        let mut last = -1;
        for call in calls {
            world.wait(call).unwrap();
            prop_assert!(world.offset(call) > last);
            last = world.offset(call);
        }
        let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        prop_assert_eq!(world.cluster.partition("t", 0).values(), expected);
    }
}

#[test]
fn an_old_broker_is_spoken_to_in_its_versions() {
    let mut cluster = Cluster::new(1);
    cluster.topic("t", 1);
    let mut world = World::new(config(), cluster);
    // Version 0 of the answer: error 35, and ApiVersions from 0 to 2 (KIP-511).
    let mut first = true;
    world.script = Box::new(move |_, _, request| {
        if request.header.api_key != ApiKey::ApiVersions || !std::mem::take(&mut first) {
            return Deed::Answer;
        }
        let mut answer = request.header.correlation_id.to_be_bytes().to_vec();
        answer.extend([0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2]);
        let frame = [&(answer.len() as u32).to_be_bytes()[..], &answer].concat();
        Deed::Garbage(frame.into())
    });
    world.run(produce("t", 0, "x")).unwrap();
    assert_eq!(world.connects, 2, "one by the bootstrap address, one by the broker's own; none was given up");
}
