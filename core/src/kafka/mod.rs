//! The Kafka wire protocol: bytes to typed requests and back, purely.
//!
//! Hosts cut a stream into frames ([`FrameReader`]), decode them ([`decode_request`]) and encode the answers
//! ([`Response::encode`]); clients go the other way ([`encode_request`], [`decode_response`]). One type per request whatever
//! its version. What the messages are is in `schema.txt`, from which [`messages`] is generated. Does not know what any request
//! means to a broker.

// Generated, and compared byte for byte by a test.
#[rustfmt::skip]
mod api;
pub mod batch;
pub mod compress;
pub mod errors;
mod frame;
#[rustfmt::skip]
pub mod messages;
mod wire;

pub use api::{ApiKey, RequestBody, ResponseBody, SUPPORTED};
pub use errors::ErrorCode;
pub use frame::{
    FrameReader, FrameTooLarge, Malformed, Request, RequestHeader, Response, api_versions_response, decode_request,
    decode_response, encode_request,
};
pub use wire::{Flaw, Records};
