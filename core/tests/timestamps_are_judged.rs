//! What a topic allows of its records' timestamps, judged by the clock of the leader before anything is proposed. What is expected
//! was asked of Apache Kafka 4.3.1.

#[path = "support/house.rs"]
mod house;

use bytes::{Bytes, BytesMut};
use house::House;
use house::requests::{batch, produce};
use tidelog_core::controller::configs::definition;
use tidelog_core::id::{ConnId, NodeId, ProducerId};
use tidelog_core::kafka::batch::Builder;
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::limits::RECORD_ERRORS_MAX;
use tidelog_core::time::{Duration, Timestamp};

const ONE: NodeId = NodeId(1);
const NONE: i16 = 0;
const INVALID: i16 = ErrorCode::InvalidTimestamp.code();
const HOUR: i64 = 3_600_000;

fn house(configs: &[(&str, &str)]) -> (House, ConnId, i64) {
    let mut house = House::new(1);
    house.ready();
    let conn = house.open(ONE, 1);
    assert_eq!(house.create(ONE, conn, ("t", 1, 1), configs), 0);
    let now = house.now.wall.0;
    (house, conn, now)
}

/// A batch with records of these times.
fn times(timestamps: &[i64]) -> Bytes {
    let mut builder = Builder::new();
    timestamps.iter().for_each(|at| builder.push(Timestamp(*at), None, Some(b"x"), &[]));
    builder.build()
}

/// The same, where the header speaks of another largest time.
fn lying(timestamps: &[i64], largest: i64) -> Bytes {
    sealed(times(timestamps), |bytes| bytes[35..43].copy_from_slice(&largest.to_be_bytes()))
}

fn sealed(batch: Bytes, change: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::from(batch.as_ref());
    change(&mut bytes);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

/// The same, compressed.
fn snappy(batch: Bytes) -> Bytes {
    sealed(batch, |bytes| {
        let payload = snap::raw::Encoder::new().compress_vec(&bytes[61..]).expect("it fits");
        bytes.truncate(61);
        bytes.extend_from_slice(&payload);
        bytes[22] = 2;
    })
}

fn send(house: &mut House, conn: ConnId, records: Bytes) -> PartitionProduceResponse {
    house.produce(ONE, conn, "t", records)
}

fn code(house: &mut House, conn: ConnId, timestamps: &[i64]) -> i16 {
    send(house, conn, times(timestamps)).error_code
}

#[test]
fn an_hour_ahead_is_allowed_and_any_past() {
    let (mut house, conn, now) = house(&[]);
    assert_eq!(code(&mut house, conn, &[now + HOUR]), NONE);
    assert_eq!(code(&mut house, conn, &[0]), NONE);
    assert_eq!(code(&mut house, conn, &[-5]), NONE);
    assert_eq!(code(&mut house, conn, &[now + HOUR + 1]), INVALID);
    assert_eq!(house.partition(ONE).next_offset.0, 3, "what is refused is not in the log");
    // It is the leader's clock that says what is ahead.
    house.pass(Duration::from_millis(5));
    assert_eq!(code(&mut house, conn, &[now + HOUR + 5]), NONE);
}

#[test]
fn both_bounds_are_the_topics() {
    let bounds = [("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "1000")];
    let (mut house, conn, now) = house(&bounds);
    assert_eq!(code(&mut house, conn, &[now - 60_000, now, now + 1_000]), NONE);
    assert_eq!(code(&mut house, conn, &[now - 60_001, now]), INVALID);
    assert_eq!(code(&mut house, conn, &[now, now + 1_001]), INVALID);
    assert_eq!(code(&mut house, conn, &[-1]), NONE, "a record without a time is as old as it likes");
    assert_eq!(code(&mut house, conn, &[-1, now - 60_001]), INVALID);
    assert_eq!(code(&mut house, conn, &[0]), INVALID);
}

#[test]
fn each_record_at_fault_is_named_in_kafkas_words() {
    let (mut house, conn, now) = house(&[("message.timestamp.before.max.ms", "60000")]);
    let range = format!("within [{}, {}]", now - 60_000, now + HOUR);
    let all = times(&[now, now + 2 * HOUR, now + 1, 7]);
    for records in [all.clone(), snappy(all)] {
        let answer = send(&mut house, conn, records);
        let error = |at: i32, time: i64| BatchIndexAndErrorMessage {
            batch_index: at,
            batch_index_error_message: Some(format!(
                "Timestamp {time} of message with offset {at} is out of range. The timestamp should be {range}"
            )),
        };
        let expected = PartitionProduceResponse {
            error_code: INVALID,
            base_offset: -1,
            log_start_offset: 0,
            record_errors: vec![error(1, now + 2 * HOUR), error(3, 7)],
            error_message: Some("One or more records have been rejected due to invalid timestamp".to_owned()),
            ..PartitionProduceResponse::default()
        };
        assert_eq!(answer, expected);
    }
    let many = send(&mut house, conn, times(&vec![7; RECORD_ERRORS_MAX + 5]));
    assert_eq!((many.error_code, many.record_errors.len()), (INVALID, RECORD_ERRORS_MAX));
}

#[test]
fn records_are_judged_not_what_the_batch_says_of_them() {
    let (mut house, conn, now) = house(&[]);
    for pack in [|batch| batch, snappy] {
        assert_eq!(send(&mut house, conn, pack(lying(&[now], now + 2 * HOUR))).error_code, NONE);
        assert_eq!(send(&mut house, conn, pack(lying(&[now + 2 * HOUR], now))).error_code, INVALID);
    }
}

#[test]
fn what_the_leader_stamps_is_not_judged() {
    let bounds = [("message.timestamp.type", "LogAppendTime"), ("message.timestamp.before.max.ms", "0")];
    let (mut house, conn, now) = house(&bounds);
    assert_eq!(code(&mut house, conn, &[0]), NONE);
    assert_eq!(code(&mut house, conn, &[now + 5 * HOUR]), NONE);
}

#[test]
fn what_is_in_the_log_is_not_judged_again() {
    let (mut house, conn, now) = house(&[]);
    assert_eq!(code(&mut house, conn, &[now + HOUR]), NONE);
    // Its clock goes back by a day; the log is applied again.
    house.now.wall = Timestamp(now - 24 * HOUR);
    house.restart(ONE);
    house.ready();
    assert_eq!(house.partition(ONE).next_offset.0, 1);
    let conn = house.open(ONE, 2);
    assert_eq!(code(&mut house, conn, &[now + HOUR]), INVALID);
}

#[test]
fn a_refusal_leaves_the_sequence_as_it_was() {
    let (mut house, conn, now) = house(&[]);
    let sequenced = |sequence, at: i64| {
        let mut builder = Builder::new().producer(ProducerId(5), 0, sequence);
        builder.push(Timestamp(at), None, Some(b"x"), &[]);
        builder.build()
    };
    assert_eq!(send(&mut house, conn, sequenced(0, now + 2 * HOUR)).error_code, INVALID);
    assert_eq!(send(&mut house, conn, sequenced(0, now)).error_code, NONE);
    assert_eq!(send(&mut house, conn, sequenced(1, now + 2 * HOUR)).error_code, INVALID);
    // Not one to be sent again: what follows it is out of order.
    assert_eq!(send(&mut house, conn, sequenced(2, now)).error_code, ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(send(&mut house, conn, sequenced(1, now)).error_code, NONE);
    // Times are looked at first, as Kafka does: also of what was appended before.
    assert_eq!(send(&mut house, conn, sequenced(1, now + 2 * HOUR)).error_code, INVALID);
}

#[test]
fn older_answers_have_only_the_code() {
    let (mut house, conn, now) = house(&[]);
    let ResponseBody::Produce(answer) = house.ask(ONE, conn, 7, produce("t", times(&[now + 2 * HOUR]))) else {
        panic!("another answer")
    };
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!((answer.error_code, answer.record_errors.len(), &answer.error_message), (INVALID, 0, &None));
    assert_eq!(send(&mut house, conn, batch(None, &["x"], now)).error_code, NONE);
}

#[test]
fn the_defaults_are_kafkas() {
    let default = |name| definition(name).expect("it is one of Kafka's").default;
    assert_eq!(default("message.timestamp.after.max.ms"), "3600000");
    assert_eq!(default("message.timestamp.before.max.ms"), "9223372036854775807");
}
