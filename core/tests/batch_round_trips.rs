//! What a builder makes is accepted, placed and read back unchanged; what anyone else makes is judged, never a panic.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tidelog_core::id::{Offset, ProducerId};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::kafka::batch::{
    Batch, Builder, Check, Damage, HEADER_BYTES, Record, find_max_timestamp, find_timestamp, find_timestamp_from,
    validate, views,
};
use tidelog_core::time::Timestamp;

type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn parts() -> impl Strategy<Value = Parts> {
    let blob = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    (
        prop_oneof![Just(-1), 0..1_000_i64, Just(i64::MAX)],
        blob(),
        blob(),
        proptest::collection::vec((".{0,8}", blob()), 0..4),
    )
}

fn build(records: &[Parts]) -> Bytes {
    let mut builder = Builder::new().producer(ProducerId(7), 3, 100);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.clone(), value.clone().map(Bytes::from))).collect();
        builder.push(Timestamp(*timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    let expected = builder.bytes();
    let bytes = builder.build();
    assert_eq!(bytes.len(), expected);
    bytes
}

fn simple(timestamps: &[i64]) -> Bytes {
    build(&timestamps.iter().map(|at| (*at, None, Some(b"v".to_vec()), Vec::new())).collect::<Vec<_>>())
}

/// Changes header bytes and makes the CRC right again.
fn altered(bytes: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

fn refused(bytes: Bytes) -> ErrorCode {
    validate(Some(bytes)).expect_err("must be refused")
}

fn stored(batch: &Batch, base: i64, epoch: i32) -> Bytes {
    let stored = batch.assign(Offset(base), epoch);
    let mut bytes = BytesMut::from(&stored.head[..]);
    bytes.extend_from_slice(&stored.body);
    assert_eq!(bytes.len() as u64, stored.len());
    bytes.freeze()
}

proptest! {
    #[test]
    fn records_come_back_as_they_went(
        records in proptest::collection::vec(parts(), 1..20),
        base in 0..1_i64 << 40,
        epoch in 0..100_i32,
    ) {
        let sent = build(&records);
        let batch = validate(Some(sent.clone())).unwrap();
        prop_assert_eq!(batch.bytes(), sent);
        prop_assert_eq!(batch.producer_id(), Some(ProducerId(7)));
        prop_assert_eq!((batch.producer_epoch(), batch.base_sequence()), (3, 100));
        prop_assert_eq!(batch.last_sequence(), 99 + records.len() as i32);
        prop_assert_eq!(batch.record_count() as usize, records.len());
        prop_assert_eq!(&Batch::parse(batch.bytes()).unwrap(), &batch);

        let kept = stored(&batch, base, epoch);
        let read: Vec<_> = views(kept, Check::Crc).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(read[0].leader_epoch(), epoch);
        prop_assert_eq!(read[0].last_offset(), Offset(base + records.len() as i64 - 1));
        prop_assert_eq!(&read[0].to_stored(), &batch.assign(Offset(base), epoch));
        let expected: Vec<_> = records.iter().enumerate().map(|(at, (timestamp, key, value, headers))| {
            // The first timestamp is the base; a delta that would overflow is cut.
            let timestamp = records[0].0.saturating_add(timestamp.saturating_sub(records[0].0));
            Record {
                offset: Offset(base + at as i64),
                timestamp: Timestamp(timestamp),
                key: key.clone().map(Bytes::from),
                value: value.clone().map(Bytes::from),
                headers: headers.iter().map(|(name, value)| (name.clone(), value.clone().map(Bytes::from))).collect(),
            }
        }).collect();
        prop_assert_eq!(read[0].records().unwrap(), expected);
    }

    #[test]
    fn arbitrary_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = validate(Some(bytes.clone()));
        let _ = Batch::parse(bytes.clone());
        let _ = find_timestamp(bytes.clone(), Timestamp(0));
        for view in views(bytes, Check::Header).flatten() {
            let _ = view.records();
        }
    }

    /// Bytes that look much like a batch, so that the judge gets past the CRC and into the records.
    #[test]
    fn mutilated_batches_are_judged(
        records in proptest::collection::vec(parts(), 1..5),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let sent = build(&records);
        let bytes = altered(&sent, |bytes| {
            for (at, byte) in &changes {
                let at = 21 + at.index(bytes.len() - 21);
                bytes[at] = *byte;
            }
        });
        if let Ok(batch) = validate(Some(bytes.clone())) {
            let again = validate(Some(batch.bytes()));
            prop_assert_eq!(again.as_ref(), Ok(&batch), "what was accepted once is accepted again");
        }
        let _ = find_timestamp(bytes.clone(), Timestamp(0));
        let _ = find_max_timestamp(bytes.clone());
        for view in views(bytes, Check::Crc).flatten() {
            let _ = view.records();
        }
    }

    #[test]
    fn one_wrong_bit_is_noticed(records in proptest::collection::vec(parts(), 1..5), bit in any::<prop::sample::Index>()) {
        let mut bytes = BytesMut::from(&build(&records)[..]);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let leader_epoch = 12 * 8..16 * 8;
        prop_assert_eq!(validate(Some(bytes.freeze())).is_ok(), leader_epoch.contains(&bit));
    }

    #[test]
    fn time_lookup_agrees_with_a_scan(
        batches in proptest::collection::vec(proptest::collection::vec(0..50_i64, 1..5), 1..6),
        from in 0..12_i64,
        at_least in 0..60_i64,
    ) {
        let mut log = BytesMut::new();
        let mut all = Vec::new();
        for timestamps in &batches {
            let batch = validate(Some(simple(timestamps))).unwrap();
            log.extend_from_slice(&stored(&batch, all.len() as i64, 1));
            all.extend(timestamps.iter().copied());
        }
        let log = log.freeze();
        let scan = |from: i64| (from..all.len() as i64)
            .find(|at| all[*at as usize] >= at_least)
            .map(|at| (Offset(at), Timestamp(all[at as usize])));
        prop_assert_eq!(find_timestamp(log.clone(), Timestamp(at_least)), scan(0));
        prop_assert_eq!(find_timestamp_from(log.clone(), Offset(from), Timestamp(at_least)), scan(from));
        let max = *all.iter().max().unwrap();
        let first = all.iter().position(|at| *at == max).unwrap() as i64;
        prop_assert_eq!(find_max_timestamp(log), Some((Offset(first), Timestamp(max))));
    }
}

#[test]
fn another_implementation_agrees() {
    use kafka_protocol::records::{Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
    let records: Vec<_> = (0..3)
        .map(|at| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: 9,
            producer_epoch: 2,
            timestamp_type: kafka_protocol::records::TimestampType::Creation,
            offset: at,
            sequence: 40 + at as i32,
            timestamp: 1_000 + at,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from(format!("value {at}"))),
            headers: Default::default(),
            delete_horizon: false,
        })
        .collect();
    let mut theirs = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut theirs, &records, &options).unwrap();
    let batch = validate(Some(theirs.freeze())).unwrap();
    assert_eq!((batch.base_sequence(), batch.record_count(), batch.max_timestamp()), (40, 3, Timestamp(1_002)));

    let mut ours = simple(&[5, 6, 4]);
    let read = RecordBatchDecoder::decode(&mut ours).unwrap();
    assert_eq!(read.records.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [5, 6, 4]);
    assert_eq!(read.records[2].sequence, 102);
}

#[test]
fn nothing_and_garbage_are_corrupt() {
    // No batch at all, or less than one.
    assert_eq!(validate(None), Err(ErrorCode::InvalidRecord));
    assert_eq!(refused(Bytes::new()), ErrorCode::InvalidRecord);
    assert_eq!(refused(Bytes::from_static(&[9; 11])), ErrorCode::InvalidRecord);
    // The magic is judged before the length is compared with what there is.
    assert_eq!(refused(Bytes::from_static(&[9; 80])), ErrorCode::CorruptMessage);
    assert_eq!(
        refused(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 2, 2, 2, 2, 2, 2])),
        ErrorCode::CorruptMessage
    );
    let batch = simple(&[1]);
    assert_eq!(refused(batch.slice(..batch.len() - 1)), ErrorCode::InvalidRecord);
    let mut shorter = BytesMut::from(&batch[..]);
    shorter[8..12].copy_from_slice(&48_i32.to_be_bytes());
    assert_eq!(refused(shorter.freeze()), ErrorCode::CorruptMessage);
}

#[test]
fn older_formats_are_unsupported() {
    let mut old = BytesMut::zeroed(40);
    // Length 0 is none of any format.
    assert_eq!(refused(old.clone().freeze()), ErrorCode::CorruptMessage);
    old[11] = 28;
    assert_eq!(refused(old.clone().freeze()), ErrorCode::UnsupportedForMessageFormat);
    old[16] = 1;
    assert_eq!(refused(old.freeze()), ErrorCode::UnsupportedForMessageFormat);
}

#[test]
fn two_batches_are_invalid() {
    let one = simple(&[1]);
    let mut two = BytesMut::from(&one[..]);
    two.extend_from_slice(&one);
    assert_eq!(refused(two.freeze()), ErrorCode::InvalidRecord);
}

#[test]
fn headers_a_client_may_not_send() {
    let good = simple(&[1, 2]);
    let cases: &[(usize, &[u8], ErrorCode)] = &[
        (0, &1_i64.to_be_bytes(), ErrorCode::InvalidRecord), // base offset
        (21, &(1_u16 << 3).to_be_bytes(), ErrorCode::InvalidTimestamp), // log append time
        (21, &(1_u16 << 5).to_be_bytes(), ErrorCode::InvalidRecord), // control
        (21, &(1_u16 << 6).to_be_bytes(), ErrorCode::InvalidRecord), // delete horizon
        (21, &5_u16.to_be_bytes(), ErrorCode::UnsupportedCompressionType),
        (23, &2_i32.to_be_bytes(), ErrorCode::InvalidRecord), // last offset delta
        (57, &0_i32.to_be_bytes(), ErrorCode::InvalidRecord), // count
        (57, &3_i32.to_be_bytes(), ErrorCode::InvalidRecord),
        (43, &(-2_i64).to_be_bytes(), ErrorCode::InvalidRecord), // producer id
        (51, &(-1_i16).to_be_bytes(), ErrorCode::InvalidRecord), // epoch, with an id
        (53, &(-1_i32).to_be_bytes(), ErrorCode::InvalidRecord), // sequence, with an id
    ];
    for (at, field, error) in cases {
        let bad = altered(&good, |bytes| bytes[*at..at + field.len()].copy_from_slice(field));
        assert_eq!(refused(bad), *error, "at {at}: {field:?}");
    }
    let claims_more = altered(&good, |bytes| {
        bytes[23..27].copy_from_slice(&2_i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&3_i32.to_be_bytes());
    });
    assert_eq!(refused(claims_more), ErrorCode::InvalidRecord, "fewer records than the header says");
    let claims_fewer = altered(&good, |bytes| {
        bytes[23..27].copy_from_slice(&0_i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    });
    assert_eq!(refused(claims_fewer), ErrorCode::InvalidRecord, "more records than the header says");
}

#[test]
fn the_largest_timestamp_is_set_right() {
    let good = simple(&[10, 30, 20]);
    for wrong in [-1_i64, 0, i64::MAX] {
        let wrong = altered(&good, |bytes| bytes[35..43].copy_from_slice(&wrong.to_be_bytes()));
        assert_eq!(validate(Some(wrong)).unwrap().bytes(), good);
    }
}

#[test]
fn the_broker_can_stamp_a_batch() {
    let batch = validate(Some(simple(&[10, 30, 20]))).unwrap().with_log_append_time(Timestamp(500));
    let kept = stored(&batch, 40, 2);
    let view = views(kept.clone(), Check::Crc).next().unwrap().unwrap();
    assert!(view.records().unwrap().iter().all(|record| record.timestamp == Timestamp(500)));
    assert_eq!(find_timestamp(kept.clone(), Timestamp(31)), Some((Offset(40), Timestamp(500))));
    assert_eq!(find_timestamp_from(kept.clone(), Offset(41), Timestamp(31)), Some((Offset(41), Timestamp(500))));
    assert_eq!(find_timestamp(kept.clone(), Timestamp(501)), None);
    assert_eq!(find_max_timestamp(kept), Some((Offset(40), Timestamp(500))));
}

#[test]
fn sequences_wrap_within_a_batch() {
    let mut builder = Builder::new().producer(ProducerId(1), 0, i32::MAX - 1);
    for _ in 0..4 {
        builder.push(Timestamp(1), None, None, &[]);
    }
    assert_eq!(validate(Some(builder.build())).unwrap().last_sequence(), 1);
}

#[test]
fn a_scan_stops_at_damage() {
    let batch = validate(Some(simple(&[1]))).unwrap();
    let mut log = BytesMut::new();
    for base in 0..3 {
        log.extend_from_slice(&stored(&batch, base, 1));
    }
    let len = log.len() / 3;
    log[len + HEADER_BYTES] ^= 1;
    let found: Vec<_> = views(log.clone().freeze(), Check::Crc).collect();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[1], Err(Damage::Crc { .. })));
    assert_eq!(views(log.clone().freeze(), Check::Header).filter(Result::is_ok).count(), 3);
    log.truncate(2 * len + HEADER_BYTES);
    assert_eq!(views(log.freeze(), Check::Header).last(), Some(Err(Damage::Short)));
}

#[test]
fn a_batch_without_timestamps_has_no_largest() {
    let batch = validate(Some(simple(&[-1, -1]))).unwrap();
    assert_eq!(find_max_timestamp(stored(&batch, 0, 1)), None);
    assert_eq!(find_timestamp(stored(&batch, 0, 1), Timestamp(0)), None);
}
