//! Assigned partitions are read in order, from where the caller said, and nowhere else.

use tidelog_core::client::{Assignment, Config, Consumed, Failure, Operation, Outcome, Position};
use tidelog_core::id::Offset;
use tidelog_core::kafka::{ApiKey, ErrorCode};
use tidelog_core::time::{Duration, Timestamp};

use crate::fake::{Cluster, Deed};
use crate::world::{World, config, produce};

fn world(records: i32) -> World {
    let mut cluster = Cluster::new(3);
    cluster.topic("t", 3);
    let mut world = World::new(Config { batch_bytes: 120, ..config() }, cluster);
    let calls: Vec<_> = (0..records).map(|n| world.call(produce("t", n % 3, &n.to_string()))).collect();
    for call in calls {
        world.wait(call).unwrap();
    }
    world
}

fn assign(from: Position) -> Operation {
    let one = |partition| Assignment { topic: "t".to_owned(), partition, from };
    Operation::Assign { partitions: (0..3).map(one).collect() }
}

fn poll(world: &mut World, max_records: usize) -> Result<Vec<Consumed>, Failure> {
    let outcome = world.run(Operation::Poll { max_records, max_wait: Duration::from_millis(200) })?;
    let Outcome::Polled { records, progress } = outcome else { panic!("{outcome:?}") };
    for record in &records {
        let after = progress.iter().find(|it| it.partition == record.partition).unwrap().position;
        assert!(after > record.offset);
    }
    Ok(records)
}

fn poll_all(world: &mut World, max_records: usize) -> Vec<Consumed> {
    let mut all = Vec::new();
    loop {
        let records = poll(world, max_records).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records);
    }
}

fn numbers(records: &[Consumed], partition: i32) -> Vec<i32> {
    let of = records.iter().filter(|record| record.partition == partition);
    of.map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap().parse().unwrap()).collect()
}

#[test]
fn every_record_is_read_once_and_in_order() {
    for max_records in [1, 4, 1_000] {
        let mut world = world(60);
        world.run(assign(Position::Earliest)).unwrap();
        let records = poll_all(&mut world, max_records);
        assert_eq!(records.len(), 60);
        for partition in 0..3 {
            let expected: Vec<i32> = (0..60).filter(|n| n % 3 == partition).collect();
            assert_eq!(numbers(&records, partition), expected);
            let offsets: Vec<i64> =
                records.iter().filter(|it| it.partition == partition).map(|it| it.offset.0).collect();
            assert_eq!(offsets, (0..20).collect::<Vec<i64>>());
        }
    }
}

#[test]
fn reading_begins_inside_a_batch() {
    let mut world = world(30);
    world.run(assign(Position::Offset(Offset(4)))).unwrap();
    let records = poll_all(&mut world, 100);
    for partition in 0..3 {
        let expected: Vec<i32> = (12..30).filter(|n| n % 3 == partition).collect();
        assert_eq!(numbers(&records, partition), expected);
    }
}

#[test]
fn latest_reads_only_what_comes() {
    let mut world = world(9);
    world.run(assign(Position::Latest)).unwrap();
    let waiting = world.call(Operation::Poll { max_records: 10, max_wait: Duration::from_secs(5) });
    world.run_for(Duration::from_millis(100));
    assert!(!world.results.contains_key(&waiting));
    world.run(produce("t", 1, "100")).unwrap();
    let Ok(Outcome::Polled { records, .. }) = world.wait(waiting) else { panic!() };
    assert_eq!(numbers(&records, 1), [100]);
}

#[test]
fn a_time_after_everything_is_the_end() {
    let mut world = world(9);
    let outcome = world.run(assign(Position::Timestamp(Timestamp(i64::MAX)))).unwrap();
    let Outcome::Assigned { progress } = outcome else { panic!("{outcome:?}") };
    assert!(progress.iter().all(|it| it.position == Offset(3)), "{progress:?}");
}

#[test]
fn a_seek_goes_back_and_drops_what_was_read_ahead() {
    let mut world = world(30);
    world.run(assign(Position::Earliest)).unwrap();
    let first = poll(&mut world, 1).unwrap();
    let partition = first[0].partition;
    let to = Assignment { topic: "t".to_owned(), partition, from: Position::Offset(Offset(7)) };
    world.run(Operation::Seek { to }).unwrap();
    let records = poll_all(&mut world, 100);
    let offsets: Vec<i64> = records.iter().filter(|it| it.partition == partition).map(|it| it.offset.0).collect();
    assert_eq!(offsets, [7, 8, 9]);
}

#[test]
fn an_offset_out_of_range_is_an_error_until_somebody_seeks() {
    let mut world = world(9);
    world.run(assign(Position::Offset(Offset(50)))).unwrap();
    for _ in 0..2 {
        let failure = poll(&mut world, 10).unwrap_err();
        assert!(matches!(failure, Failure::Definite { error: ErrorCode::OffsetOutOfRange, .. }), "{failure:?}");
    }
    world.run(assign(Position::Earliest)).unwrap();
    assert_eq!(poll_all(&mut world, 100).len(), 9);
}

#[test]
fn a_new_leader_is_found() {
    let mut world = world(30);
    world.run(assign(Position::Earliest)).unwrap();
    poll(&mut world, 1).unwrap();
    for partition in 0..3 {
        world.cluster.partition("t", partition).leader = 3 - partition;
        world.cluster.partition("t", partition).epoch = 9;
    }
    assert_eq!(poll_all(&mut world, 3).len(), 29);
}

#[test]
fn the_others_are_asked_until_a_dead_leader_has_a_successor() {
    let mut world = world(30);
    world.run(assign(Position::Earliest)).unwrap();
    poll(&mut world, 1).unwrap();
    world.kill(1);
    let killed = world.now;
    world.run_for(Duration::from_millis(900));
    for partition in 0..3 {
        world.cluster.partition("t", partition).leader = 2;
        world.cluster.partition("t", partition).epoch = 9;
    }
    assert_eq!(poll_all(&mut world, 3).len(), 29);
    assert!(world.now.since(killed) < Duration::from_secs(2), "after {:?}", world.now.since(killed));
}

#[test]
fn lost_fetches_are_asked_again() {
    let mut world = world(30);
    world.run(assign(Position::Earliest)).unwrap();
    let mut turn = 0;
    world.script = Box::new(move |_, _, request| {
        turn += usize::from(request.header.api_key == ApiKey::Fetch);
        match (request.header.api_key, turn % 3) {
            (ApiKey::Fetch, 0) => Deed::Close,
            (ApiKey::Fetch, 1) => Deed::Refuse(ErrorCode::NotLeaderOrFollower),
            _ => Deed::Answer,
        }
    });
    let mut records = Vec::new();
    while records.len() < 30 {
        records.extend(poll(&mut world, 7).unwrap());
    }
    for partition in 0..3 {
        let expected: Vec<i32> = (0..30).filter(|n| n % 3 == partition).collect();
        assert_eq!(numbers(&records, partition), expected);
    }
}

#[test]
fn one_poll_at_a_time() {
    let mut world = world(0);
    world.run(assign(Position::Earliest)).unwrap();
    let operation = Operation::Poll { max_records: 1, max_wait: Duration::from_millis(300) };
    let first = world.call(operation.clone());
    let second = world.run(operation).unwrap_err();
    assert!(matches!(second, Failure::Definite { error: ErrorCode::InvalidRequest, .. }), "{second:?}");
    let Ok(Outcome::Polled { records, .. }) = world.wait(first) else { panic!() };
    assert_eq!(records, []);
}

#[test]
fn a_partition_that_is_not_assigned_can_not_be_sought() {
    let mut world = world(0);
    let to = Assignment { topic: "t".to_owned(), partition: 0, from: Position::Earliest };
    let failure = world.run(Operation::Seek { to }).unwrap_err();
    assert!(matches!(failure, Failure::Definite { error: ErrorCode::InvalidRequest, .. }), "{failure:?}");
}

#[test]
fn whoever_waits_can_ask_why() {
    let mut world = world(30);
    world.run(assign(Position::Earliest)).unwrap();
    assert_eq!(poll_all(&mut world, 100).len(), 30);
    assert_eq!(world.client.troubles(), []);
    let leaders: Vec<i32> = (0..3).map(|partition| world.cluster.partition("t", partition).leader).collect();
    world.script = Box::new(|_, _, _| Deed::Refuse(ErrorCode::KafkaStorageError));
    assert_eq!(poll(&mut world, 10).unwrap(), []);
    let told: Vec<String> = world.client.troubles().iter().map(ToString::to_string).collect();
    let all = (0..3).zip(leaders).map(|(at, leader)| format!("KAFKA_STORAGE_ERROR for t/{at} by broker {leader}"));
    assert_eq!(told, all.collect::<Vec<_>>());
    // A batch that is refused again and again, too.
    world.call(produce("t", 1, "1000"));
    world.run_for(Duration::from_millis(300));
    assert!(world.client.troubles().len() == 4, "{:?}", world.client.troubles());
    world.script = Box::new(|_, _, _| Deed::Answer);
    assert_eq!(poll_all(&mut world, 100).len(), 1);
    assert_eq!(world.client.troubles(), []);
}
