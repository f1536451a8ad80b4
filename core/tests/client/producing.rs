//! Records reach the log once and in order, or their caller is told the truth.

use tidelog_core::client::{CallId, Config, Failure, Outcome, SEQUENCE_BROKEN};
use tidelog_core::id::Offset;
use tidelog_core::kafka::{ApiKey, ErrorCode};
use tidelog_core::time::Duration;

use crate::fake::{Cluster, Deed};
use crate::world::{World, config, produce};

/// One record, one batch.
fn single() -> Config {
    Config { batch_bytes: 1, ..config() }
}

fn world(config: Config) -> World {
    let mut cluster = Cluster::new(3);
    cluster.topic("t", 3);
    World::new(config, cluster)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn produce_all(world: &mut World, count: usize) -> Vec<CallId> {
    numbered(count).iter().map(|value| world.call(produce("t", 0, value))).collect()
}

/// Does something else than answering to the produce requests of these turns, from 0.
fn on_produce(deeds: Vec<(usize, Deed)>) -> crate::world::Script {
    let mut turn = 0;
    Box::new(move |_, _, request| {
        if request.header.api_key != ApiKey::Produce {
            return Deed::Answer;
        }
        turn += 1;
        let deed = deeds.iter().find(|(at, _)| *at + 1 == turn).map(|(_, deed)| deed.clone());
        deed.unwrap_or(Deed::Answer)
    })
}

#[test]
fn records_get_offsets_in_the_order_of_their_calls() {
    let mut world = world(config());
    let calls = produce_all(&mut world, 30);
    for call in &calls {
        world.wait(*call).unwrap();
    }
    let offsets: Vec<i64> = calls.iter().map(|call| world.offset(*call)).collect();
    assert_eq!(offsets, (0..30).collect::<Vec<i64>>());
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(30));
    assert_eq!(world.client.open_calls(), 0);
}

#[test]
fn records_wait_for_company_as_long_as_they_may_linger() {
    let mut world = world(Config { linger: Duration::from_millis(20), ..config() });
    let first = world.call(produce("t", 0, "0"));
    world.run_for(Duration::from_millis(10));
    let second = world.call(produce("t", 0, "1"));
    world.wait(first).unwrap();
    world.wait(second).unwrap();
    assert_eq!(world.cluster.partition("t", 0).log.len(), 1);
}

#[test]
fn a_lost_response_makes_no_duplicate() {
    let mut world = world(single());
    world.script = on_produce(vec![(0, Deed::CarryOutAndClose)]);
    let calls = produce_all(&mut world, 3);
    for call in &calls {
        world.wait(*call).unwrap();
    }
    assert_eq!(world.offset(calls[0]), 0);
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(3));
    // The first came twice, under one sequence.
    assert_eq!(world.cluster.produced[..2], [(0, 0), (0, 0)]);
}

#[test]
fn five_in_flight_are_sent_again_in_order_to_a_new_leader() {
    let mut world = world(single());
    // The first batch alone, so that the broker knows the producer; then five at once.
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    let mut turn = 0;
    world.script = Box::new(move |cluster, _, request| {
        if request.header.api_key == ApiKey::Produce {
            turn += 1;
            if turn == 2 {
                // The second of the five meets a broker that has just been deposed; its successor has what was appended.
                cluster.partition("t", 0).leader = 2;
                cluster.partition("t", 0).epoch = 2;
            }
        }
        Deed::Answer
    });
    let calls: Vec<CallId> = (1..9).map(|n| world.call(produce("t", 0, &n.to_string()))).collect();
    for call in &calls {
        world.wait(*call).unwrap();
    }
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(9));
    let sequences: Vec<i32> = world.cluster.produced.iter().map(|(_, sequence)| *sequence).collect();
    // Five at once, of which one was appended and made room for the next; then what failed, in order, before anything new.
    assert_eq!(sequences[..12], [0, 1, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6]);
}

#[test]
fn the_others_are_asked_until_a_dead_leader_has_a_successor() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    world.kill(1);
    let killed = world.now;
    let second = world.call(produce("t", 0, "1"));
    // The others do not know yet, and name it still.
    world.run_for(Duration::from_millis(900));
    world.cluster.partition("t", 0).leader = 2;
    world.cluster.partition("t", 0).epoch = 2;
    world.wait(second).unwrap();
    assert!(world.now.since(killed) < Duration::from_millis(1_100), "after {:?}", world.now.since(killed));
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(2));
}

#[test]
fn no_batch_overtakes_one_that_failed() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    // Refused once before the append; the four behind it meet a gap.
    world.script = on_produce(vec![(0, Deed::Refuse(ErrorCode::NotEnoughReplicas))]);
    let calls: Vec<CallId> = (1..6).map(|n| world.call(produce("t", 0, &n.to_string()))).collect();
    for call in &calls {
        world.wait(*call).unwrap();
    }
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(6));
}

#[test]
fn a_producer_proves_itself_before_it_pipelines() {
    let mut world = world(single());
    world.script = on_produce(vec![(0, Deed::Ignore)]);
    produce_all(&mut world, 5);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.cluster.produced.len(), 0);
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(5));
}

#[test]
fn a_refusal_before_the_append_is_definite_and_stops_nobody_else() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    world.script = on_produce(vec![(0, Deed::Refuse(ErrorCode::MessageTooLarge))]);
    let refused = world.call(produce("t", 0, "too large"));
    let others: Vec<CallId> = (1..4).map(|n| world.call(produce("t", 0, &n.to_string()))).collect();
    let failure = world.wait(refused).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::MessageTooLarge, .. }), "{failure:?}");
    for call in others {
        world.wait(call).unwrap();
    }
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(4));
    assert_eq!(world.cluster.partition("t", 0).epochs(), [1], "the sequence has a gap: the next epoch");
}

#[test]
fn a_time_that_can_not_be_fails_for_good_and_says_what_helps() {
    let mut world = world(single());
    world.run(produce("t", 0, "0")).unwrap();
    // Those behind it come too early, of course; one of them is then refused for another reason.
    world.script =
        on_produce(vec![(0, Deed::Refuse(ErrorCode::InvalidTimestamp)), (3, Deed::Refuse(ErrorCode::MessageTooLarge))]);
    let misdated = world.call(produce("t", 0, "of another day"));
    let others: Vec<CallId> = (1..3).map(|n| world.call(produce("t", 0, &n.to_string()))).collect();
    let failure = world.wait(misdated).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::InvalidTimestamp, .. }), "{failure:?}");
    assert!(failure.to_string().contains("raise message.timestamp.after.max.ms"), "{failure}");
    let failure = world.wait(others[0]).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::MessageTooLarge, .. }), "{failure:?}");
    assert!(!failure.to_string().contains(SEQUENCE_BROKEN), "nobody broke the sequence but the client: {failure}");
    world.wait(others[1]).unwrap();
    assert_eq!(world.cluster.partition("t", 0).values(), ["0", "2"]);
}

#[test]
fn a_producer_goes_on_with_its_next_sequence_when_its_topic_is_made_again() {
    let mut world = world(single());
    world.run(produce("t", 0, "0")).unwrap();
    world.cluster.topics.remove("t");
    let waits = world.call(produce("t", 0, "1"));
    world.run_for(Duration::from_secs(1));
    world.cluster.topic("t", 1);
    world.cluster.partition("t", 0).heirs = true;
    world.wait(waits).unwrap();
    world.run(produce("t", 0, "2")).unwrap();
    assert_eq!(world.cluster.partition("t", 0).values(), ["1", "2"]);
    assert_eq!(world.cluster.partition("t", 0).epochs(), [0], "as librdkafka and the Java client do");
    assert_eq!(world.cluster.produced.last(), Some(&(0, 2)));
}

#[test]
fn a_log_that_lost_the_sequence_gets_the_next_epoch() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    world.cluster.partition("t", 0).forget_producers();
    let second = world.call(produce("t", 0, "1"));
    world.wait(second).unwrap();
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(2));
    assert_eq!(world.cluster.partition("t", 0).epochs(), [1]);
    assert_eq!(world.cluster.next_producer, 1, "no other id is needed for that");
}

#[test]
fn a_log_that_lost_the_sequence_of_a_doubtful_batch_leaves_it_unknown() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    let mut turn = 0;
    world.script = Box::new(move |cluster, _, request| {
        if request.header.api_key != ApiKey::Produce {
            return Deed::Answer;
        }
        turn += 1;
        if turn == 2 {
            cluster.partition("t", 0).forget_producers();
        }
        if turn == 1 { Deed::Close } else { Deed::Answer }
    });
    let doubtful = world.call(produce("t", 0, "never"));
    assert!(matches!(world.wait(doubtful), Err(Failure::Unknown { .. })));
    world.run(produce("t", 0, "1")).unwrap();
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(2));
}

#[test]
fn a_batch_that_was_sent_and_never_answered_is_unknown_and_the_next_one_has_another_epoch() {
    let mut world = world(single());
    let first = world.call(produce("t", 0, "0"));
    world.wait(first).unwrap();
    world.script = Box::new(|_, _, request| match request.header.api_key {
        ApiKey::Produce => Deed::Ignore,
        _ => Deed::Answer,
    });
    let lost = world.call(produce("t", 0, "lost"));
    assert!(matches!(world.wait(lost), Err(Failure::Unknown { .. })));
    world.script = Box::new(|_, _, _| Deed::Answer);
    let next = world.call(produce("t", 0, "1"));
    world.wait(next).unwrap();
    assert_eq!(world.cluster.partition("t", 0).values(), numbered(2));
    assert_eq!(world.cluster.partition("t", 0).epochs(), [1]);
    assert_eq!(world.cluster.next_producer, 1, "no other id is needed for that");
}

#[test]
fn what_was_never_sent_fails_definitely() {
    let mut world = world(single());
    world.down = vec![1, 2, 3];
    let call = world.call(produce("t", 0, "0"));
    let failure = world.wait(call).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::RequestTimedOut, .. }), "{failure:?}");
    let missing = {
        world.down.clear();
        world.run(produce("missing", 0, "0")).unwrap_err()
    };
    assert!(matches!(missing, Failure::Definite { .. }), "{missing:?}");
}

#[test]
fn an_error_nobody_knows_is_unknown() {
    let mut world = world(single());
    world.script = on_produce(vec![(0, Deed::Refuse(ErrorCode::UnknownServerError))]);
    let failure = world.run(produce("t", 0, "0")).unwrap_err();
    assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
}

#[test]
fn without_acks_records_are_done_when_they_are_sent() {
    let mut world = world(Config { acks: 0, ..single() });
    let outcome = world.run(produce("t", 1, "0")).unwrap();
    assert!(matches!(outcome, Outcome::Produced { partition: 1, offset: None, .. }), "{outcome:?}");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.cluster.partition("t", 1).values(), numbered(1));
    assert_eq!(world.cluster.next_producer, 0, "no sequence without a quorum's word");
}

#[test]
fn keys_go_where_the_java_client_sends_them() {
    let mut world = world(config());
    // murmur2("foobar") & 0x7fffffff is 1357151166, and 1357151166 % 3 is 0.
    let record = tidelog_core::client::Record {
        key: Some("foobar".into()),
        value: Some("v".into()),
        headers: vec![("h".to_owned(), Some("x".into()))],
        timestamp: None,
    };
    let operation = tidelog_core::client::Operation::Produce { topic: "t".to_owned(), partition: None, record };
    let outcome = world.run(operation).unwrap();
    assert!(matches!(outcome, Outcome::Produced { partition: 0, offset: Some(Offset(0)), .. }), "{outcome:?}");
}

#[test]
fn a_full_buffer_refuses_at_once() {
    let mut world = world(Config { buffer_bytes: 100, ..single() });
    world.down = vec![1, 2, 3];
    let calls = produce_all(&mut world, 5);
    let failure = world.wait(calls[4]).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::ThrottlingQuotaExceeded, .. }), "{failure:?}");
    world.down.clear();
    world.wait(calls[0]).unwrap();
}

#[test]
fn partitions_of_several_leaders_are_served_side_by_side() {
    let mut world = world(single());
    let calls: Vec<CallId> = (0..30).map(|n| world.call(produce("t", n % 3, &n.to_string()))).collect();
    for call in calls {
        world.wait(call).unwrap();
    }
    for partition in 0..3 {
        let expected: Vec<String> = (0..30).filter(|n| n % 3 == partition).map(|n| n.to_string()).collect();
        assert_eq!(world.cluster.partition("t", partition).values(), expected);
    }
}
