//! What the tests of the codec share.

pub(crate) mod draw;
// Generated, and compared byte for byte by a test.
#[rustfmt::skip]
pub(crate) mod draw_messages;

use bytes::Bytes;
use tidelog_core::kafka::{ApiKey, RequestHeader, SUPPORTED};

/// Every API in every version that is served.
pub(crate) fn every_version() -> impl Iterator<Item = (ApiKey, i16)> {
    SUPPORTED.iter().flat_map(|&(api_key, _, _)| api_key.served().map(move |version| (api_key, version)))
}

/// A header of a request.
pub(crate) fn header(api_key: ApiKey, api_version: i16) -> RequestHeader {
    RequestHeader { api_key, api_version, correlation_id: 0x0102_0304, client_id: Some("tide".to_owned()) }
}

/// A frame in one piece, its length checked and left off.
pub(crate) fn frame(chunks: &[Bytes]) -> Bytes {
    let whole = chunks.concat();
    let (length, rest) = whole.split_first_chunk().expect("a frame has a length");
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len(), "the length of the frame");
    Bytes::copy_from_slice(rest)
}
