//! Whatever comes, decoding answers: no panic, no allocation for a count that the frame can not hold.

#[allow(dead_code)]
mod support;

use bytes::Bytes;
use proptest::prelude::*;
use support::draw::Drawer;
use support::draw_messages::{draw_request, draw_response};
use support::{every_version, frame, header};
use tidelog_core::kafka::messages::MetadataRequest;
use tidelog_core::kafka::*;

fn request(seed: u64, api_key: ApiKey, version: i16) -> Vec<u8> {
    let body = draw_request(api_key, &mut Drawer::new(seed, version));
    frame(&encode_request(&header(api_key, version), &body)).to_vec()
}

fn answer(seed: u64, api_key: ApiKey, version: i16) -> Vec<u8> {
    let body = draw_response(api_key, &mut Drawer::new(seed, version));
    frame(&Response::to(&header(api_key, version), body).encode()).to_vec()
}

/// Decodes; what can be decoded is a message, so encoding it and decoding again gives it back.
fn decodes_stably(bytes: &[u8], api_key: ApiKey, version: i16) {
    if let Ok(request) = decode_request(Bytes::copy_from_slice(bytes))
        && request.body != RequestBody::ApiVersionsUnsupported
    {
        let again = decode_request(frame(&encode_request(&request.header, &request.body))).expect("our own request");
        assert_eq!((again.header, again.body), (request.header, request.body));
    }
    if let Ok(response) = decode_response(Bytes::copy_from_slice(bytes), api_key, version) {
        let again = decode_response(frame(&response.encode()), api_key, response.api_version).expect("our own answer");
        assert_eq!(again, response);
    }
}

/// What an attacker writes over the bytes of a good frame.
fn mutate(bytes: &mut Vec<u8>, d: &mut Drawer) {
    let at = d.below(bytes.len() + 1);
    let length = d.below(9);
    let end = (at + length).min(bytes.len());
    let patch = match d.below(7) {
        0 => vec![0xff; length],
        1 => vec![0x7f, 0xff, 0xff, 0xff],
        2 => vec![0xff, 0xff, 0xff, 0xff, 0x0f],
        3 => vec![0x80; length],
        4 => vec![0; length],
        5 => Vec::new(),
        _ => d.bytes(length),
    };
    bytes.splice(at..end, patch);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn mutated_messages(seed: u64) {
        for (api_key, version) in every_version() {
            let mut d = Drawer::new(seed, version);
            for whole in [request(seed, api_key, version), answer(seed, api_key, version)] {
                let mut bytes = whole.clone();
                for _ in 0..6 {
                    mutate(&mut bytes, &mut d);
                    decodes_stably(&bytes, api_key, version);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        decodes_stably(&body, ApiKey::Metadata, 12);
        for (api_key, version) in every_version() {
            let mut bytes = [api_key.code().to_be_bytes(), version.to_be_bytes()].concat();
            bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
            if version >= api_key.flexible_from() {
                bytes.push(0);
            }
            bytes.extend(&body);
            decodes_stably(&bytes, api_key, version);
            decodes_stably(&[&[0; 4], body.as_slice()].concat(), api_key, version);
        }
    }

    #[test]
    fn a_message_cut_short_is_refused(seed: u64, cut: prop::sample::Index) {
        for (api_key, version) in every_version() {
            let whole = request(seed, api_key, version);
            let short = Bytes::copy_from_slice(&whole[..cut.index(whole.len())]);
            prop_assert!(decode_request(short).is_err(), "{:?} {}", api_key, version);
            let whole = answer(seed, api_key, version);
            let short = Bytes::copy_from_slice(&whole[..cut.index(whole.len())]);
            prop_assert!(decode_response(short, api_key, version).is_err(), "{:?} {}", api_key, version);
        }
    }

    #[test]
    fn bytes_after_a_request_are_ignored_and_after_an_answer_refused(
        seed: u64,
        more in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        for (api_key, version) in every_version() {
            let whole = request(seed, api_key, version);
            let plain = decode_request(whole.clone().into()).expect("our own request");
            let longer = decode_request([whole.as_slice(), &more].concat().into());
            let longer = longer.map(|request| (request.header, request.body));
            prop_assert_eq!(longer, Ok((plain.header, plain.body)));
            let whole = answer(seed, api_key, version);
            if let Err(error) = decode_response(whole.clone().into(), api_key, version) {
                prop_assert!(false, "our own answer: {}", error);
            }
            let flaw = Flaw::Trailing;
            prop_assert_eq!(
                decode_response([whole.as_slice(), &more].concat().into(), api_key, version),
                Err(Malformed::Body { api_key, api_version: version, flaw })
            );
        }
    }

    #[test]
    fn unknown_tagged_fields_are_skipped_and_broken_ones_refused(seed: u64) {
        for (api_key, version) in every_version().filter(|(api_key, version)| *version >= api_key.flexible_from()) {
            // Fetch alone has tagged fields of its own at the end of the request.
            if api_key == ApiKey::Fetch {
                continue;
            }
            let whole = request(seed, api_key, version);
            let plain = decode_request(whole.clone().into()).expect("our own request");
            let tagged = |tags: &[u8]| {
                let (last, body) = whole.split_last().expect("not empty");
                assert_eq!(*last, 0, "no tagged fields");
                decode_request([body, tags].concat().into()).map(|request| request.body)
            };
            prop_assert_eq!(tagged(&[2, 100, 3, 9, 9, 9, 0x80, 1, 0]), Ok(plain.body));
            let refused = |flaw| Err(Malformed::Body { api_key, api_version: version, flaw });
            prop_assert_eq!(tagged(&[2, 100, 0, 100, 0]), refused(Flaw::TagOrder));
            prop_assert_eq!(tagged(&[2, 100, 0, 99, 0]), refused(Flaw::TagOrder));
            prop_assert_eq!(tagged(&[1, 100, 4, 9, 9, 9]), refused(Flaw::Short));
            prop_assert_eq!(tagged(&[1, 100, 0xff, 0xff, 0xff, 0xff, 0x0f]), refused(Flaw::Short));
            prop_assert_eq!(tagged(&[1, 100, 0xff, 0xff, 0xff, 0xff, 0x1f]), refused(Flaw::Varint));
            prop_assert_eq!(tagged(&[1, 100, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), refused(Flaw::Varint));
            prop_assert_eq!(tagged(&[0xff, 0xff, 0xff, 0xff, 0x0f]), refused(Flaw::Short));
            prop_assert_eq!(tagged(&[2, 100, 0]), refused(Flaw::Short));
        }
    }
}

/// One body of one request: what is wrong with it.
fn flaw(api_key: ApiKey, version: i16, body: &[u8]) -> Option<Flaw> {
    let mut bytes = [api_key.code().to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
    if version >= api_key.flexible_from() {
        bytes.push(0);
    }
    bytes.extend(body);
    match decode_request(bytes.into()) {
        Ok(_) => None,
        Err(Malformed::Body { flaw, .. }) => Some(flaw),
        Err(other) => panic!("not the body: {other}"),
    }
}

#[test]
fn counts_and_lengths_are_held_against_the_bytes_left() {
    let metadata = |version, body: &[u8]| flaw(ApiKey::Metadata, version, body);
    assert_eq!(metadata(1, &[0x7f, 0xff, 0xff, 0xff, 0]), Some(Flaw::Count(i32::MAX as u32)));
    assert_eq!(metadata(9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), Some(Flaw::Count(u32::MAX - 1)));
    assert_eq!(metadata(1, &[0, 0, 0, 3, 0, 0]), Some(Flaw::Count(3)));
    assert_eq!(metadata(1, &[0, 0, 0, 2, 0, 0]), Some(Flaw::Short), "two topics in the bytes of one");
    assert_eq!(metadata(1, &[0xff, 0xff, 0xff, 0xfe]), Some(Flaw::NegativeLength));
    assert_eq!(metadata(1, &[0x80, 0, 0, 0]), Some(Flaw::NegativeLength));
    assert_eq!(metadata(1, &[0, 0, 0, 1, 0x7f, 0xff, b'a']), Some(Flaw::Short));
    assert_eq!(metadata(1, &[0, 0, 0, 1, 0xff, 0xfe, b'a']), Some(Flaw::NegativeLength));
    assert_eq!(metadata(1, &[0, 0, 0, 1, 0, 1, 0xff]), Some(Flaw::Utf8));
    assert_eq!(metadata(1, &[0xff, 0xff, 0xff, 0xff]), None, "null is all topics");
}

#[test]
fn what_a_frame_unfolds_to_is_bounded_by_its_size() {
    // Metadata 9: a count as three bytes of varint, then topics of a name and no tagged fields; then three flags and no tags.
    let count = 60_000_u32;
    let varint = [(count + 1) as u8 | 0x80, ((count + 1) >> 7) as u8 | 0x80, ((count + 1) >> 14) as u8];
    let topics = |topic: &[u8]| [&varint[..], &topic.repeat(count as usize), &[0, 0, 0, 0]].concat();
    assert_eq!(flaw(ApiKey::Metadata, 9, &topics(&[4, b'a', b'b', b'c', 0])), None, "many short names are honest");
    assert_eq!(flaw(ApiKey::Metadata, 9, &topics(&[1, 0])), Some(Flaw::Count(count)), "many empty names are not");
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    assert_eq!(flaw(ApiKey::Metadata, 0, &[0xff, 0xff, 0xff, 0xff]), Some(Flaw::Null));
    assert_eq!(flaw(ApiKey::Metadata, 8, &[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0]), Some(Flaw::Null), "name of a topic");
    assert_eq!(flaw(ApiKey::Metadata, 9, &[2, 0, 0, 0, 0, 0, 0]), Some(Flaw::Null), "name of a topic");
    let by_id = [&[2][..], &[7; 16], &[0, 0, 0, 0, 0]].concat();
    assert_eq!(flaw(ApiKey::Metadata, 12, &by_id), None, "by its id");
    assert_eq!(flaw(ApiKey::DeleteTopics, 5, &[0, 0, 0, 0, 0, 0]), Some(Flaw::Null), "list of topics");
}

#[test]
fn a_known_tagged_field_must_fill_its_size() {
    // Fetch 12 begins with six numbers and three empty lists or strings; tag 0 is the id of the cluster.
    let fetch = |tags: &[u8]| flaw(ApiKey::Fetch, 12, &[&[0; 25], &[1, 1, 1][..], tags].concat());
    assert_eq!(fetch(&[1, 0, 3, 3, b'a', b'b']), None);
    assert_eq!(fetch(&[1, 0, 4, 3, b'a', b'b', b'c']), Some(Flaw::TagSize));
    assert_eq!(fetch(&[1, 0, 2, 3, b'a', b'b']), Some(Flaw::Short));
    assert_eq!(fetch(&[1, 1, 1, 9]), None, "tag 1 comes with version 15: unknown in 12");
}

/// What librdkafka 2.16.1 sends to list all topics: null in one byte, with room for the four of an older version.
#[test]
fn librdkafka_may_list_all_topics() {
    let frame = b"\0\x03\0\x0d\0\0\0\x03\0\x07rdkafka\0\0\0\0\0\x01\0\0";
    let request = decode_request(Bytes::from_static(frame)).expect("as Apache Kafka reads it");
    assert_eq!(
        request.body,
        RequestBody::Metadata(MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        })
    );
}
