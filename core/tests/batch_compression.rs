//! Every codec a producer may use unfolds to what went in, within the limit, and nothing else does.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tidelog_core::id::Offset;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::kafka::batch::{Builder, Check, Compression, find_timestamp, validate, views};
use tidelog_core::kafka::compress::{Error, decompress, unfold};
use tidelog_core::time::Timestamp;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The numbers 1 to 60, a line each, by zstd 1.5 at level 19: literals and sequences are both entropy-coded.
const ZSTD_NUMBERS: &str = "28b52ffd04688d0200b24a1309b0eb24498870529875037db3cd35d33cb3cc3177e60cf3c926974cf2c822875c9932c8175b5c31c5134b1c7163c6105fb75e9dfa74e9d1dbd9a11f375e9cf870e1c1cbc981df764dcf72dc1900f2f2427e";

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn numbers() -> Vec<u8> {
    (1..=60).flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn snappy(content: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(content).unwrap()
}

/// The framing of the Java library: a header, then blocks with their lengths.
fn xerial(content: &[u8], block: usize) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in content.chunks(block) {
        let block = snappy(block);
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

fn lz4(content: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame that compresses nothing: one segment, raw blocks.
fn zstd_raw(content: &[u8]) -> Vec<u8> {
    let mut out = 0xFD2F_B528_u32.to_le_bytes().to_vec();
    out.push(0b1010_0000);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let blocks: Vec<_> = if content.is_empty() { vec![content] } else { content.chunks(100_000).collect() };
    for (at, block) in blocks.iter().enumerate() {
        let last = u32::from(at + 1 == blocks.len());
        out.extend_from_slice(&(((block.len() as u32) << 3) | last).to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out
}

proptest! {
    #[test]
    fn what_went_in_comes_out(
        content in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..5_000),
            (proptest::collection::vec(any::<u8>(), 1..9), 0..2_000_usize).prop_map(|(word, times)| word.repeat(times)),
        ],
        block in 1..3_000_usize,
    ) {
        let limit = content.len();
        prop_assert_eq!(&decompress(Compression::None, &content, limit).unwrap(), &content);
        prop_assert_eq!(&decompress(Compression::Gzip, &gzip(&content), limit).unwrap(), &content);
        prop_assert_eq!(&decompress(Compression::Snappy, &snappy(&content), limit).unwrap(), &content);
        prop_assert_eq!(&decompress(Compression::Snappy, &xerial(&content, block), limit).unwrap(), &content);
        prop_assert_eq!(&decompress(Compression::Lz4, &lz4(&content), limit).unwrap(), &content);
        prop_assert_eq!(&decompress(Compression::Zstd, &zstd_raw(&content), limit).unwrap(), &content);
        if let Some(limit) = limit.checked_sub(1) {
            for (codec, payload) in [
                (Compression::None, content.clone()),
                (Compression::Gzip, gzip(&content)),
                (Compression::Snappy, snappy(&content)),
                (Compression::Snappy, xerial(&content, block)),
                (Compression::Lz4, lz4(&content)),
                (Compression::Zstd, zstd_raw(&content)),
            ] {
                prop_assert_eq!(decompress(codec, &payload, limit), Err(Error::TooLarge(limit)), "{:?}", codec);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        start in 0..7_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        // The beginning of something real, to get past the magic numbers.
        let starts = [
            Vec::new(), gzip(&bytes), snappy(&bytes), xerial(&bytes, 40), lz4(&bytes),
            unhex(ZSTD_NUMBERS), zstd_raw(&bytes),
        ];
        let mut payload = starts[start].clone();
        payload.truncate(payload.len() / 2);
        payload.extend_from_slice(&bytes);
        for codec in CODECS {
            if let Ok(content) = decompress(codec, &payload, 10_000) {
                prop_assert!(content.len() <= 10_000);
            }
        }
    }

    #[test]
    fn damaged_payloads_never_panic(
        which in 0..5_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let content = numbers();
        let (codec, mut payload) = [
            (Compression::Gzip, gzip(&content)),
            (Compression::Snappy, snappy(&content)),
            (Compression::Snappy, xerial(&content, 40)),
            (Compression::Lz4, lz4(&content)),
            (Compression::Zstd, unhex(ZSTD_NUMBERS)),
        ][which].clone();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Ok(content) = decompress(codec, &payload, 10_000) {
            prop_assert!(content.len() <= 10_000);
        }
    }
}

#[test]
fn zstd_by_its_own_tool() {
    let payload = unhex(ZSTD_NUMBERS);
    assert_eq!(decompress(Compression::Zstd, &payload, 1_000).unwrap(), numbers());
    // Frames may follow each other, and some hold nothing.
    let mut several = payload.clone();
    several.extend_from_slice(&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    several.extend_from_slice(&payload);
    assert_eq!(decompress(Compression::Zstd, &several, 1_000).unwrap(), numbers().repeat(2));
    several.truncate(payload.len() + 9);
    assert!(matches!(decompress(Compression::Zstd, &several, 1_000), Err(Error::Malformed(_))));
}

#[test]
fn what_ends_early_is_malformed() {
    let content = numbers();
    for (codec, payload) in [
        (Compression::Gzip, gzip(&content)),
        (Compression::Snappy, snappy(&content)),
        (Compression::Snappy, xerial(&content, 1_000)),
        (Compression::Lz4, lz4(&content)),
        (Compression::Zstd, unhex(ZSTD_NUMBERS)),
    ] {
        // Five, not one: the last four of LZ4 only say that no block follows.
        for len in [payload.len() - 5, payload.len() / 2, 3] {
            let cut = decompress(codec, &payload[..len], 10_000);
            assert!(matches!(cut, Err(Error::Malformed(_))), "{codec:?} cut at {len}: {cut:?}");
        }
    }
}

#[test]
fn a_small_bomb_is_not_believed() {
    // Varint 2^28-1, then nothing: a block that wants a quarter of a GiB.
    let claim = [0xff, 0xff, 0xff, 0x7f, 0];
    assert!(matches!(decompress(Compression::Snappy, &claim, usize::MAX), Err(Error::Malformed(_))));
    assert_eq!(decompress(Compression::Gzip, &gzip(&vec![0; 1 << 20]), 1 << 19), Err(Error::TooLarge(1 << 19)));
}

/// A batch whose payload is compressed as producers do it: everything behind the header.
fn compressed(codec: Compression, timestamps: &[i64]) -> Bytes {
    let mut builder = Builder::new();
    for timestamp in timestamps {
        builder.push(Timestamp(*timestamp), Some(b"key"), Some(b"a value a value a value"), &[]);
    }
    let plain = builder.build();
    let (number, payload) = match codec {
        Compression::None => (0, plain[61..].to_vec()),
        Compression::Gzip => (1, gzip(&plain[61..])),
        Compression::Snappy => (2, xerial(&plain[61..], 50)),
        Compression::Lz4 => (3, lz4(&plain[61..])),
        Compression::Zstd => (4, zstd_raw(&plain[61..])),
    };
    let mut bytes = BytesMut::from(&plain[..61]);
    bytes.extend_from_slice(&payload);
    let len = (bytes.len() - 12) as u32;
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    bytes[22] |= number;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[test]
fn compressed_batches_are_kept_as_sent_and_read_by_record() {
    for codec in CODECS {
        let sent = compressed(codec, &[10, 30, 20]);
        let batch = validate(Some(sent.clone())).unwrap();
        assert_eq!((batch.compression(), batch.bytes(), batch.max_timestamp()), (codec, sent, Timestamp(30)));
        let stored = batch.assign(Offset(50), 1);
        let kept = Bytes::from([&stored.head[..], &stored.body[..]].concat());
        let records = views(kept.clone(), Check::Crc).next().unwrap().unwrap().records().unwrap();
        assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [50, 51, 52]);
        assert_eq!(find_timestamp(kept, Timestamp(15)), Some((Offset(51), Timestamp(30))));
    }
}

#[test]
fn an_unreadable_payload_is_refused_and_if_stored_not_found() {
    let mut bytes = BytesMut::from(&compressed(Compression::Gzip, &[10])[..]);
    bytes[61] ^= 1;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let bytes = bytes.freeze();
    assert_eq!(validate(Some(bytes.clone())).unwrap_err(), ErrorCode::InvalidRecord);
    let next = validate(Some(compressed(Compression::Gzip, &[12]))).unwrap().assign(Offset(1), 1);
    let log = Bytes::from([&bytes[..], &next.head[..], &next.body[..]].concat());
    assert!(views(bytes, Check::Crc).next().unwrap().unwrap().records().is_err());
    assert_eq!(find_timestamp(log, Timestamp(5)), Some((Offset(1), Timestamp(12))));
}

#[test]
fn a_compressed_batch_that_lies_about_its_records_is_refused() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        let good = compressed(codec, &[10, 30, 20]);
        assert!(validate(Some(good.clone())).is_ok());
        for count in [1_i32, 2, 4, i32::MAX] {
            let mut bytes = BytesMut::from(&good[..]);
            bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(validate(Some(bytes.freeze())).unwrap_err(), ErrorCode::InvalidRecord, "{codec:?} {count}");
        }
    }
}

/// What producers write is taken, by the strict judge as well.
#[test]
fn whole_frames_are_taken() {
    let content = numbers();
    for (codec, payload) in [
        (Compression::Gzip, gzip(&content)),
        (Compression::Snappy, snappy(&content)),
        (Compression::Snappy, xerial(&content, 50)),
        (Compression::Lz4, lz4(&content)),
        (Compression::Zstd, zstd_raw(&content)),
        (Compression::Zstd, unhex(ZSTD_NUMBERS)),
    ] {
        assert_eq!(unfold(codec, &payload, content.len()), Ok(content.clone()), "{codec:?}");
        assert_eq!(unfold(codec, &payload, content.len() - 1), Err(Error::TooLarge(content.len() - 1)), "{codec:?}");
    }
}

/// Each of these some client library stops at, and some decoder shrugs at.
#[test]
fn what_some_client_can_not_read_is_refused() {
    let content = numbers();
    let joined = |first: &[u8], second: &[u8]| [first, second].concat();
    let spoilt = |mut payload: Vec<u8>, at: usize, with: u8| {
        payload[at] ^= with;
        payload
    };
    let (gz, lz, zs, xe) = (gzip(&content), lz4(&content), unhex(ZSTD_NUMBERS), xerial(&content, 50));
    // One record, stored, in LZ4 with a checksum of the content, and in zstd with one.
    let stored = b"\x04\x22\x4d\x18\x64\x40\xa7\x02\0\0\x80ab\0\0\0\0";
    let with_sum = joined(stored, &twox_hash::XxHash32::oneshot(0, b"ab").to_le_bytes());
    assert_eq!(unfold(Compression::Lz4, &with_sum, 2), Ok(b"ab".to_vec()));
    let frame = b"\x28\xb5\x2f\xfd\x24\x02\x11\0\0ab";
    let summed = joined(frame, &(twox_hash::XxHash64::oneshot(0, b"ab") as u32).to_le_bytes());
    assert_eq!(unfold(Compression::Zstd, &summed, 2), Ok(b"ab".to_vec()));
    let skippable = b"\x50\x2a\x4d\x18\x01\0\0\0x";
    for (what, codec, payload) in [
        ("gzip: another CRC", Compression::Gzip, spoilt(gz.clone(), gz.len() - 8, 1)),
        ("gzip: another length", Compression::Gzip, spoilt(gz.clone(), gz.len() - 4, 1)),
        ("gzip: no trailer", Compression::Gzip, gz[..gz.len() - 8].to_vec()),
        ("gzip: a reserved flag", Compression::Gzip, spoilt(gz.clone(), 3, 0x80)),
        ("gzip: bytes behind the member", Compression::Gzip, joined(&gz, b"\0")),
        ("gzip: two members", Compression::Gzip, joined(&gz, &gz)),
        ("xerial: another version", Compression::Snappy, spoilt(xe.clone(), 11, 3)),
        ("xerial: another compatible version", Compression::Snappy, spoilt(xe.clone(), 15, 3)),
        ("xerial: two streams", Compression::Snappy, joined(&xe, &xe)),
        ("xerial: an empty block", Compression::Snappy, joined(&xe, b"\0\0\0\x01\0")),
        ("xerial: nothing in it", Compression::Snappy, xe[..16].to_vec()),
        ("snappy: bytes behind the block", Compression::Snappy, joined(&snappy(&content), b"\0")),
        ("LZ4: no end mark", Compression::Lz4, lz[..lz.len() - 4].to_vec()),
        ("LZ4: half an end mark", Compression::Lz4, lz[..lz.len() - 2].to_vec()),
        ("LZ4: the header's checksum", Compression::Lz4, spoilt(lz.clone(), 6, 1)),
        ("LZ4: the content's checksum", Compression::Lz4, spoilt(with_sum.clone(), with_sum.len() - 1, 1)),
        ("LZ4: no content checksum", Compression::Lz4, stored.to_vec()),
        ("LZ4: two frames", Compression::Lz4, joined(&lz, &lz)),
        ("LZ4: bytes behind the frame", Compression::Lz4, joined(&lz, b"\0\0\0\0")),
        ("zstd: the content's checksum", Compression::Zstd, spoilt(summed.clone(), summed.len() - 1, 1)),
        ("zstd: no checksum", Compression::Zstd, frame.to_vec()),
        ("zstd: a reserved bit", Compression::Zstd, spoilt(summed.clone(), 4, 0b1000)),
        ("zstd: another content size", Compression::Zstd, spoilt(summed.clone(), 5, 1)),
        ("zstd: two frames", Compression::Zstd, joined(&zs, &zs)),
        ("zstd: a skippable frame first", Compression::Zstd, joined(skippable, &zs)),
        ("zstd: a skippable frame behind", Compression::Zstd, joined(&zs, skippable)),
        ("zstd: a window of a gibibyte", Compression::Zstd, b"\x28\xb5\x2f\xfd\0\xa0\x11\0\0ab".to_vec()),
    ] {
        let verdict = unfold(codec, &payload, 1 << 20);
        assert!(matches!(verdict, Err(Error::Malformed(_))), "{what}: {verdict:?}");
    }
}
