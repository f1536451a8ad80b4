//! What is encoded is decoded to the same, in every version, however the stream is cut.

#[allow(dead_code)]
mod support;

use bytes::Bytes;
use proptest::prelude::*;
use support::draw::Drawer;
use support::draw_messages::{draw_request, draw_response};
use support::{every_version, frame, header};
use tidelog_core::kafka::messages::*;
use tidelog_core::kafka::*;
use tidelog_core::limits;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests(seed: u64) {
        for (api_key, version) in every_version() {
            let mut body = draw_request(api_key, &mut Drawer::new(seed, version));
            let header = header(api_key, version);
            let bytes = frame(&encode_request(&header, &body));
            let back = decode_request(bytes.clone()).expect("our own request");
            if let RequestBody::Metadata(MetadataRequest { topics, .. }) = &mut body
                && version == 0 && topics.as_ref().is_some_and(Vec::is_empty)
            {
                *topics = None;
            }
            prop_assert_eq!(&back.header, &header);
            prop_assert_eq!(&back.body, &body);
            prop_assert_eq!(back.bytes as usize, bytes.len());
            let partitions = match &body {
                RequestBody::Produce(produce) => produce.topic_data.iter().map(|topic| topic.partition_data.len()).sum(),
                _ => 0,
            };
            prop_assert_eq!(back.batches.len(), partitions);
        }
    }

    #[test]
    fn answers(seed: u64) {
        for (api_key, version) in every_version() {
            let answer = Response::to(&header(api_key, version), draw_response(api_key, &mut Drawer::new(seed, version)));
            let back = decode_response(frame(&answer.encode()), api_key, version).expect("our own answer");
            if is_refusal(&answer) {
                continue; // It would be read in version 0; `codec_advertises.rs` has the true ones.
            }
            prop_assert_eq!(&back, &answer);
        }
    }

    #[test]
    fn streams_cut_anywhere(seed: u64, cuts in prop::collection::vec(1_usize..300, 1..40)) {
        let mut sent = Vec::new();
        let mut stream = Vec::new();
        for (api_key, version) in every_version().take(20) {
            let chunks = encode_request(&header(api_key, version), &draw_request(api_key, &mut Drawer::new(seed, version)));
            sent.push(frame(&chunks));
            stream.extend(chunks.concat());
        }
        let mut reader = FrameReader::new();
        let mut got = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            reader.feed(now);
            while let Some(frame) = reader.next_frame().expect("no frame is too large") {
                got.push(frame);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn lengths_out_of_bounds_are_refused_at_once(length: i32) {
        let mut reader = FrameReader::new();
        reader.feed(&length.to_be_bytes());
        let allowed = (0..=limits::REQUEST_BYTES_MAX as i32).contains(&length);
        let expected = match length {
            0 => Ok(Some(Bytes::new())),
            _ if allowed => Ok(None),
            _ => Err(FrameTooLarge { length }),
        };
        prop_assert_eq!(reader.next_frame(), expected);
    }
}

fn is_refusal(answer: &Response) -> bool {
    matches!(&answer.body, ResponseBody::ApiVersions(body) if body.error_code == ErrorCode::UnsupportedVersion.code())
}

#[test]
fn the_bounds_of_lengths_are_exact() {
    let max = limits::REQUEST_BYTES_MAX as i32;
    for (length, allowed) in [(max, true), (max + 1, false), (-1, false), (i32::MIN, false), (i32::MAX, false)] {
        let mut reader = FrameReader::new();
        reader.feed(&length.to_be_bytes());
        assert_eq!(reader.next_frame().is_ok(), allowed, "{length}");
        reader.feed(b"more");
        assert_eq!(reader.next_frame().is_ok(), allowed, "{length}, once more");
    }
}

#[test]
fn records_are_slices_both_ways() {
    let slices = [Bytes::from(vec![1; 5_000]), Bytes::new(), Bytes::from(vec![2; 7_000])];
    for version in ApiKey::Fetch.served() {
        let data = PartitionData { records: Some(Records(slices.to_vec())), ..PartitionData::default() };
        let topic = FetchableTopicResponse { partitions: vec![data.clone(), data], ..Default::default() };
        let body = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
        let chunks = Response::to(&header(ApiKey::Fetch, version), body).encode();
        let shared = chunks.iter().filter(|chunk| slices.iter().any(|slice| slice.as_ptr() == chunk.as_ptr())).count();
        assert_eq!(shared, 4, "two slices of two partitions go out as they are");
        assert!(chunks.iter().all(|chunk| !chunk.is_empty()));

        let whole = frame(&chunks);
        let back = decode_response(whole.clone(), ApiKey::Fetch, version).expect("our own answer");
        let ResponseBody::Fetch(back) = back.body else { panic!("another answer") };
        let records = back.responses[0].partitions[1].records.as_ref().expect("not null");
        let [slice] = records.0.as_slice() else { panic!("not one slice: {records:?}") };
        assert!(whole.as_ptr_range().contains(&slice.as_ptr()), "a slice of the frame");
        assert_eq!(slice.len(), 12_000);
    }
}

#[test]
fn fields_that_a_version_lacks_take_kafkas_defaults() {
    let decode = |body: RequestBody, version| {
        let header = header(body.api_key(), version);
        decode_request(frame(&encode_request(&header, &body))).expect("our own request").body
    };
    let metadata = MetadataRequest { allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let RequestBody::Metadata(old) = decode(metadata.clone().into(), 3) else { panic!("another request") };
    assert!(old.allow_auto_topic_creation);
    let RequestBody::Metadata(new) = decode(metadata.into(), 4) else { panic!("another request") };
    assert!(!new.allow_auto_topic_creation);

    let RequestBody::Fetch(fetch) = decode(FetchRequest::default().into(), 4) else { panic!("another request") };
    assert_eq!((fetch.session_id, fetch.session_epoch, fetch.replica_id), (0, -1, -1));
    let partition = FetchPartition { current_leader_epoch: 7, last_fetched_epoch: 8, ..FetchPartition::default() };
    let topic = FetchTopic { partitions: vec![partition], ..FetchTopic::default() };
    let body = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
    let RequestBody::Fetch(fetch) = decode(body.into(), 8) else { panic!("another request") };
    let partition = &fetch.topics[0].partitions[0];
    assert_eq!((partition.current_leader_epoch, partition.last_fetched_epoch), (-1, -1));

    let epochs = OffsetForLeaderEpochRequest::default();
    let RequestBody::OffsetForLeaderEpoch(epochs) = decode(epochs.into(), 2) else { panic!("another request") };
    assert_eq!(epochs.replica_id, -2);
    assert_eq!(MetadataResponse::default().cluster_authorized_operations, i32::MIN);
    assert_eq!(MetadataResponseTopic::default().topic_authorized_operations, i32::MIN);
    assert_eq!(DescribeClusterResponse::default().cluster_authorized_operations, i32::MIN);
    assert_eq!(CreateTopicsRequest::default().timeout_ms, 60_000);
}

#[test]
fn all_topics_and_no_topics_are_told_apart() {
    let decode = |topics: Option<Vec<MetadataRequestTopic>>, version| {
        let body = MetadataRequest { topics, ..MetadataRequest::default() };
        let back = decode_request(frame(&encode_request(&header(ApiKey::Metadata, version), &body.into())));
        let RequestBody::Metadata(body) = back.expect("our own request").body else { panic!("another request") };
        body.topics
    };
    for version in 1..=13 {
        assert_eq!(decode(None, version), None);
        assert_eq!(decode(Some(Vec::new()), version), Some(Vec::new()));
    }
    assert_eq!(decode(None, 0), None, "version 0 has no null: empty is all");
    assert_eq!(decode(Some(Vec::new()), 0), None);
}

/// A setting stored from a new version may be asked for in an old one, whose strings have 16-bit lengths.
#[test]
fn a_string_too_long_for_an_old_version_is_cut_between_characters() {
    let long = "潮".repeat(20_000);
    let setting = DescribeConfigsResourceResult { value: Some(long.clone()), ..Default::default() };
    let result = DescribeConfigsResult { configs: vec![setting], ..Default::default() };
    let body = DescribeConfigsResponse { results: vec![result], ..Default::default() };
    let value = |version| {
        let answer = Response::to(&header(ApiKey::DescribeConfigs, version), body.clone());
        let back = decode_response(frame(&answer.encode()), ApiKey::DescribeConfigs, version).expect("our own answer");
        let ResponseBody::DescribeConfigs(back) = back.body else { panic!("another answer") };
        back.results[0].configs[0].value.clone().expect("not null")
    };
    assert_eq!(value(4), long);
    assert_eq!(value(3), "潮".repeat(32_767 / 3));
}

/// Nulls before these versions would be refused by other clients; the other implementation does not know about it.
#[test]
fn null_is_written_as_empty_before_the_versions_that_have_it() {
    for version in ApiKey::Metadata.served() {
        let topics = vec![MetadataResponseTopic::default()];
        let answer =
            Response::to(&header(ApiKey::Metadata, version), MetadataResponse { topics, ..Default::default() });
        let back = decode_response(frame(&answer.encode()), ApiKey::Metadata, version).expect("our own answer");
        let ResponseBody::Metadata(back) = back.body else { panic!("another answer") };
        assert_eq!(back.topics[0].name.is_none(), version >= 12, "version {version}");
    }
    for version in ApiKey::DeleteTopics.served() {
        let responses = vec![DeletableTopicResult::default()];
        let body = DeleteTopicsResponse { responses, ..Default::default() };
        let answer = Response::to(&header(ApiKey::DeleteTopics, version), body);
        let back = decode_response(frame(&answer.encode()), ApiKey::DeleteTopics, version).expect("our own answer");
        let ResponseBody::DeleteTopics(back) = back.body else { panic!("another answer") };
        assert_eq!(back.responses[0].name.is_none(), version >= 6, "version {version}");
    }
}
