//! What ApiVersions answers, in every version and to versions we lack.

#[allow(dead_code)]
mod support;

use bytes::Bytes;
use support::{frame, header};
use tidelog_core::kafka::{
    ApiKey, ErrorCode, Malformed, RequestBody, Response, ResponseBody, SUPPORTED, api_versions_response,
    decode_request, decode_response,
};

/// A version range is a promise: changing this list changes what clients will ask.
const GOLDEN: &str = "\
0 Produce 0-11
1 Fetch 4-16
2 ListOffsets 1-9
3 Metadata 0-13
18 ApiVersions 0-4
19 CreateTopics 2-7
20 DeleteTopics 1-6
22 InitProducerId 0-5
23 OffsetForLeaderEpoch 2-4
32 DescribeConfigs 1-4
55 DescribeQuorum 0-2
60 DescribeCluster 0-1
80 AddRaftVoter 0-0
";

#[test]
fn the_list_is_the_golden_one() {
    let list: String =
        SUPPORTED.iter().map(|(key, min, max)| format!("{} {key:?} {min}-{max}\n", key.code())).collect();
    assert_eq!(list, GOLDEN);
}

#[test]
fn everything_advertised_is_served_but_the_oldest_produce() {
    for &(api_key, min, max) in SUPPORTED {
        let served = api_key.served();
        let floor = if api_key == ApiKey::Produce { 3 } else { min };
        assert_eq!((*served.start(), *served.end()), (floor, max), "{api_key:?}");
        assert_eq!(ApiKey::from_code(api_key.code()), Some(api_key));
    }
}

#[test]
fn every_version_is_answered_with_the_same_list() {
    for version in ApiKey::ApiVersions.served() {
        let answer =
            Response::to(&header(ApiKey::ApiVersions, version), api_versions_response(version, ErrorCode::None));
        let back = decode_response(frame(&answer.encode()), ApiKey::ApiVersions, version).expect("our own answer");
        let ResponseBody::ApiVersions(body) = back.body else { panic!("another answer: {back:?}") };
        let list: Vec<_> = body.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let supported: Vec<_> = SUPPORTED.iter().map(|&(key, min, max)| (key.code(), min, max)).collect();
        assert_eq!(list, supported);
        assert_eq!((body.error_code, body.finalized_features_epoch), (0, -1));
        assert!(body.supported_features.is_empty() && body.finalized_features.is_empty());
    }
}

/// As librdkafka wants them: no tag byte in the header (the answer to ApiVersions), no tagged field that holds its default.
#[test]
fn version_3_is_answered_in_these_bytes() {
    let answer = Response::to(&header(ApiKey::ApiVersions, 3), api_versions_response(3, ErrorCode::None));
    let bytes = frame(&answer.encode());
    let count = SUPPORTED.len();
    assert_eq!(bytes[..7], [1, 2, 3, 4, 0, 0, count as u8 + 1], "correlation id, error, count");
    assert_eq!(bytes[7..14], [0, 0, 0, 0, 0, 11, 0], "Produce 0-11, no tags");
    assert_eq!(bytes[7 + 7 * count..], [0, 0, 0, 0, 0], "throttle time, no tags");
}

#[test]
fn a_version_we_lack_is_answered_in_version_0_with_error_35() {
    for version in [5, 99, i16::MAX, -1] {
        let mut request = vec![0, 18];
        request.extend(version.to_be_bytes());
        request.extend([1, 2, 3, 4, 0xff, 0xff]);
        request.extend(b"whatever that version says");
        let request = decode_request(request.into()).expect("it is to be answered");
        assert_eq!(request.body, RequestBody::ApiVersionsUnsupported);
        assert_eq!((request.header.api_version, request.header.correlation_id), (version, 0x0102_0304));
        let answer = Response::to(&request.header, api_versions_response(version, ErrorCode::UnsupportedVersion));
        let bytes = frame(&answer.encode());
        assert_eq!(bytes[..10], [1, 2, 3, 4, 0, 35, 0, 0, 0, SUPPORTED.len() as u8], "error, then a 32-bit count");
        assert_eq!(bytes.len(), 10 + 6 * SUPPORTED.len(), "no throttle time, no tags");
        let back = decode_response(bytes, ApiKey::ApiVersions, 4).expect("a client of version 4 understands");
        assert_eq!(back.api_version, 0);
        assert_eq!(back.body, answer.body);
    }
}

#[test]
fn other_apis_at_versions_we_lack_and_unknown_apis_are_refused() {
    let frame = |key: i16, version: i16| {
        let mut bytes = key.to_be_bytes().to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend([0; 64]);
        Bytes::from(bytes)
    };
    for &(api_key, min, max) in SUPPORTED.iter().filter(|(api_key, _, _)| *api_key != ApiKey::ApiVersions) {
        let unserved = if api_key == ApiKey::Produce { 2 } else { min - 1 };
        for api_version in [unserved, max + 1, i16::MIN, i16::MAX] {
            let refused = decode_request(frame(api_key.code(), api_version)).expect_err("not served");
            assert_eq!(refused, Malformed::Version { api_key, api_version });
        }
    }
    for api_key in [-1, 4, 17, 59, 61, i16::MAX] {
        let refused = decode_request(frame(api_key, 0)).expect_err("not known");
        assert_eq!(refused, Malformed::UnknownKey { api_key, api_version: 0 });
        assert!(refused.to_string().contains(&api_key.to_string()), "the log names the key: {refused}");
    }
}
