//! A decoded Produce brings the checked batch of each partition, or why there is none, in the order of the request.

#[allow(dead_code)]
mod support;

use bytes::Bytes;
use support::{frame, header};
use tidelog_core::kafka::batch::{Batch, Builder, validate};
use tidelog_core::kafka::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tidelog_core::kafka::*;
use tidelog_core::time::Timestamp;

fn good() -> Bytes {
    let mut builder = Builder::new();
    builder.push(Timestamp(1_000), Some(b"key"), Some(b"value"), &[]);
    builder.build()
}

/// The same batch in a zstd frame of one raw block (RFC 8878, 3.1.1).
fn zstd() -> Bytes {
    let plain = good();
    let records = &plain[61..];
    let len = u8::try_from(records.len()).expect("it is small");
    let mut bytes = plain[..61].to_vec();
    bytes.extend([0x28, 0xb5, 0x2f, 0xfd, 0x20, len]);
    bytes.extend(&((u32::from(len) << 3) | 1).to_le_bytes()[..3]);
    bytes.extend(records);
    let length = i32::try_from(bytes.len() - 12).expect("it is small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = 4; // the low byte of the attributes: the codec
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn batches(version: i16, topics: &[&[Option<Bytes>]]) -> Vec<Result<Batch, ErrorCode>> {
    let partition = |(index, records): (usize, &Option<Bytes>)| PartitionProduceData {
        index: index as i32,
        records: records.clone().map(Records::from),
    };
    let topic = |partitions: &&[Option<Bytes>]| TopicProduceData {
        name: "tide".to_owned(),
        partition_data: partitions.iter().enumerate().map(partition).collect(),
    };
    let body = ProduceRequest { topic_data: topics.iter().map(topic).collect(), ..ProduceRequest::default() };
    let bytes = frame(&encode_request(&header(ApiKey::Produce, version), &body.into()));
    decode_request(bytes).expect("our own request").batches
}

#[test]
fn one_result_for_each_partition_in_order() {
    let mut broken = good().to_vec();
    *broken.last_mut().expect("not empty") ^= 1;
    for version in ApiKey::Produce.served() {
        let got = batches(version, &[&[Some(good()), None], &[], &[Some(broken.clone().into()), Some(good())]]);
        let (none, bad) = (Err(ErrorCode::InvalidRecord), Err(ErrorCode::CorruptMessage));
        assert_eq!(got, [validate(Some(good())), none, bad, validate(Some(good()))]);
        assert!(got[0].is_ok());
    }
}

#[test]
fn zstd_is_for_versions_that_have_it() {
    assert!(validate(Some(zstd())).is_ok());
    for version in ApiKey::Produce.served() {
        let expected = if version < 7 { Err(ErrorCode::UnsupportedCompressionType) } else { validate(Some(zstd())) };
        assert_eq!(batches(version, &[&[Some(zstd())]]), [expected]);
    }
}
