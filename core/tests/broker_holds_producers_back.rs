//! A disk that is behind mutes who produces, and nobody else; it refuses nothing, and all go on when it has caught up.

#[path = "support/house.rs"]
mod house;

use house::{Disk, House};
use tidelog_core::broker::Settings;
use tidelog_core::effect::DiskCommand;
use tidelog_core::id::{ConnId, FileKind, NodeId};
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{Records, RequestBody, ResponseBody};
use tidelog_core::time::{Duration, Timestamp};

const ONE: NodeId = NodeId(1);

fn house() -> (House, ConnId) {
    with(Settings::simulation())
}

fn with(settings: Settings) -> (House, ConnId) {
    let mut house = House::empty(1);
    house.settings = settings;
    house.start(ONE, Disk::default(), 1);
    house.settle();
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), &[]), 0);
    house.answers.clear();
    (house, conn)
}

fn produce(house: &mut House, conn: ConnId, bytes: usize) {
    let mut builder = Builder::new();
    builder.push(Timestamp(1), None, Some(&vec![7; bytes]), &[]);
    let records = Some(Records(vec![builder.build()]));
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 60_000,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![PartitionProduceData { index: 0, records }],
        }],
        ..ProduceRequest::default()
    };
    house.send(ONE, conn, 11, &RequestBody::from(request));
}

/// Produces, a moment apart, until the connection is muted. Gives how many it took.
fn produce_until_muted(house: &mut House, conn: ConnId, bytes: usize) -> usize {
    for sent in 1..=1_000 {
        produce(house, conn, bytes);
        if house.muted.contains(&(ONE, conn)) {
            return sent;
        }
        house.pass(Duration::from_millis(30));
    }
    panic!("never muted");
}

/// Every produce was answered, and none with an error.
fn all_produced(house: &House, sent: usize) {
    let errors: Vec<i16> = house
        .answers
        .iter()
        .map(|(.., response)| match &response.body {
            ResponseBody::Produce(response) => response.responses[0].partition_responses[0].error_code,
            other => panic!("another answer: {other:?}"),
        })
        .collect();
    assert_eq!(errors, vec![0; sent]);
}

#[test]
fn while_segments_are_not_written() {
    let (mut house, conn) = house();
    let reader = house.open(ONE, 2);
    house.slow = |command| matches!(command, DiskCommand::Write { file, .. } if file.kind() == FileKind::Segment);
    let sent = produce_until_muted(&mut house, conn, 1_000);
    assert!((8..12).contains(&sent), "8 KiB may be unwritten, and {sent} KB were sent");
    house.pass(Duration::from_secs(10));
    assert!(house.muted.contains(&(ONE, conn)), "nothing was written");
    assert!(!house.muted.contains(&(ONE, reader)), "who does not produce is heard");
    house.hurry();
    house.pass(Duration::from_millis(100));
    assert!(house.muted.is_empty(), "all is written");
    produce(&mut house, conn, 1_000);
    all_produced(&house, sent + 1);
    assert!(house.muted.is_empty());
}

#[test]
fn while_checkpoints_keep_journal_files() {
    let (mut house, conn) = house();
    house.slow = |command| matches!(command, DiskCommand::Sync { .. });
    let sent = produce_until_muted(&mut house, conn, 20_000);
    assert!(sent > 20, "eight files of up to 128 KiB may be in use, and {sent} times 20 KB were sent");
    house.hurry();
    house.pass(Duration::from_secs(1));
    assert!(house.muted.is_empty(), "the checkpoint released the files");
    produce(&mut house, conn, 1_000);
    all_produced(&house, sent + 1);
}

/// No file may be in use at all while a checkpoint is under way: producers wait for each, and it comes to an end.
#[test]
fn a_limit_of_nothing_is_a_limit() {
    let (mut house, conn) = with(Settings { journal_files_busy: 0, ..Settings::simulation() });
    house.slow = |command| matches!(command, DiskCommand::Sync { .. });
    let sent = produce_until_muted(&mut house, conn, 20_000);
    house.pass(Duration::from_secs(1));
    house.hurry();
    house.pass(Duration::from_secs(1));
    assert!(house.muted.is_empty(), "the checkpoint is done");
    all_produced(&house, sent);
}
