//! Another implementation of the protocol reads our bytes and writes them back the same, in every version both know.
//!
//! It is given our own bytes only: hostile counts can make it abort.

#[allow(dead_code)]
mod support;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use proptest::prelude::*;
use support::draw::Drawer;
use support::draw_messages::{draw_request, draw_response};
use support::{every_version, frame, header};
use tidelog_core::kafka::*;

/// The bytes of a header and a body, after their reading and writing.
fn through<H, B>(mut bytes: Bytes, header_version: i16, version: i16) -> Vec<u8>
where
    H: Encodable + Decodable,
    B: Encodable + Decodable,
{
    let header = H::decode(&mut bytes, header_version).expect("they read our header");
    let body = B::decode(&mut bytes, version).expect("they read our body");
    assert!(bytes.is_empty(), "they read all of it: {} bytes left", bytes.len());
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).expect("they write the header");
    body.encode(&mut out, version).expect("they write the body");
    out.to_vec()
}

fn request_through<B: Encodable + Decodable + HeaderVersion>(bytes: Bytes, version: i16) -> Vec<u8> {
    through::<theirs::RequestHeader, B>(bytes, B::header_version(version), version)
}

fn answer_through<B: Encodable + Decodable + HeaderVersion>(bytes: Bytes, version: i16) -> Vec<u8> {
    through::<theirs::ResponseHeader, B>(bytes, B::header_version(version), version)
}

fn any_request_through(api_key: ApiKey, bytes: Bytes, version: i16) -> Vec<u8> {
    match api_key {
        ApiKey::Produce => request_through::<theirs::ProduceRequest>(bytes, version),
        ApiKey::Fetch => request_through::<theirs::FetchRequest>(bytes, version),
        ApiKey::ListOffsets => request_through::<theirs::ListOffsetsRequest>(bytes, version),
        ApiKey::Metadata => request_through::<theirs::MetadataRequest>(bytes, version),
        ApiKey::ApiVersions => request_through::<theirs::ApiVersionsRequest>(bytes, version),
        ApiKey::CreateTopics => request_through::<theirs::CreateTopicsRequest>(bytes, version),
        ApiKey::DeleteTopics => request_through::<theirs::DeleteTopicsRequest>(bytes, version),
        ApiKey::InitProducerId => request_through::<theirs::InitProducerIdRequest>(bytes, version),
        ApiKey::OffsetForLeaderEpoch => request_through::<theirs::OffsetForLeaderEpochRequest>(bytes, version),
        ApiKey::DescribeConfigs => request_through::<theirs::DescribeConfigsRequest>(bytes, version),
        ApiKey::DescribeQuorum => request_through::<theirs::DescribeQuorumRequest>(bytes, version),
        ApiKey::DescribeCluster => request_through::<theirs::DescribeClusterRequest>(bytes, version),
        ApiKey::AddRaftVoter => request_through::<theirs::AddRaftVoterRequest>(bytes, version),
    }
}

fn any_answer_through(api_key: ApiKey, bytes: Bytes, version: i16) -> Vec<u8> {
    match api_key {
        ApiKey::Produce => answer_through::<theirs::ProduceResponse>(bytes, version),
        ApiKey::Fetch => answer_through::<theirs::FetchResponse>(bytes, version),
        ApiKey::ListOffsets => answer_through::<theirs::ListOffsetsResponse>(bytes, version),
        ApiKey::Metadata => answer_through::<theirs::MetadataResponse>(bytes, version),
        ApiKey::ApiVersions => answer_through::<theirs::ApiVersionsResponse>(bytes, version),
        ApiKey::CreateTopics => answer_through::<theirs::CreateTopicsResponse>(bytes, version),
        ApiKey::DeleteTopics => answer_through::<theirs::DeleteTopicsResponse>(bytes, version),
        ApiKey::InitProducerId => answer_through::<theirs::InitProducerIdResponse>(bytes, version),
        ApiKey::OffsetForLeaderEpoch => answer_through::<theirs::OffsetForLeaderEpochResponse>(bytes, version),
        ApiKey::DescribeConfigs => answer_through::<theirs::DescribeConfigsResponse>(bytes, version),
        ApiKey::DescribeQuorum => answer_through::<theirs::DescribeQuorumResponse>(bytes, version),
        ApiKey::DescribeCluster => answer_through::<theirs::DescribeClusterResponse>(bytes, version),
        ApiKey::AddRaftVoter => answer_through::<theirs::AddRaftVoterResponse>(bytes, version),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests(seed: u64) {
        for (api_key, version) in every_version() {
            let body = draw_request(api_key, &mut Drawer::new(seed, version));
            let ours = frame(&encode_request(&header(api_key, version), &body));
            let theirs = any_request_through(api_key, ours.clone(), version);
            prop_assert!(theirs == ours, "{:?} {}: {:?}", api_key, version, body);
            prop_assert!(decode_request(theirs.into()).is_ok());
        }
    }

    #[test]
    fn answers(seed: u64) {
        for (api_key, version) in every_version() {
            let body = draw_response(api_key, &mut Drawer::new(seed, version));
            let ours = frame(&Response::to(&header(api_key, version), body.clone()).encode());
            let theirs = any_answer_through(api_key, ours.clone(), version);
            prop_assert!(theirs == ours, "{:?} {}: {:?}", api_key, version, body);
        }
    }
}

#[test]
fn error_codes() {
    for code in -2..200 {
        let (ours, theirs) = (ErrorCode::from_code(code), ResponseError::try_from_code(code));
        match (ours, theirs) {
            (Some(ErrorCode::None), None) => assert_eq!(code, 0),
            (None, Some(ResponseError::Unknown(_))) => {}
            (Some(ours), Some(theirs)) => {
                assert_eq!((ours.code(), theirs.code()), (code, code));
                assert_eq!(ours.is_retriable(), theirs.is_retriable(), "{ours}");
                let camel: String = ours.name().split('_').map(capital).collect();
                assert_eq!(camel, format!("{theirs:?}"));
            }
            other => panic!("{code}: {other:?}"),
        }
    }
}

fn capital(word: &str) -> String {
    word[..1].to_owned() + &word[1..].to_lowercase()
}
