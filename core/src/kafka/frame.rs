//! Frames: a length, a header, a body. From a stream to requests, from answers to a stream; and the client's way round.
//!
//! Promises that whatever is on the stream, reading it gives a request or says what is wrong, without a panic and without
//! memory beyond a bounded multiple of the frame. Does not know what a host does about it (Kafka closes the connection).

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::kafka::api::{ApiKey, RequestBody, ResponseBody, SUPPORTED};
use crate::kafka::batch::{self, Batch, Compression};
use crate::kafka::errors::ErrorCode;
use crate::kafka::messages::{ApiVersion, ApiVersionsResponse, ProduceRequest};
use crate::kafka::wire::{Flaw, Reader, Records, Writer};
use crate::limits;

/// What every request begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version of it that the request is in and the answer will be in.
    pub api_version: i16,
    /// The client's number for the request; the answer carries it.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it began with.
    pub header: RequestHeader,
    /// What it asks.
    pub body: RequestBody,
    /// How large its frame was, for bounds on memory.
    pub bytes: u32,
    /// Of a Produce: one entry for each partition, in the order of the request; what [`batch::validate`] says of its records,
    /// and [`ErrorCode::UnsupportedCompressionType`] for zstd in versions that did not have it.
    /// Empty for others.
    pub batches: Vec<Result<Batch, ErrorCode>>,
}

/// An answer, with what it takes to encode it.
#[derive(Clone, PartialEq, Debug)]
pub struct Response {
    /// The API of the request.
    pub api_key: ApiKey,
    /// The version of the request, but for ApiVersions in a version we lack, where it is 0.
    pub api_version: i16,
    /// The client's number for the request.
    pub correlation_id: i32,
    /// What is answered.
    pub body: ResponseBody,
}

/// A frame that is no message. The connection it came from is of no further use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The header is broken.
    Header(Flaw),
    /// An API that we do not know.
    UnknownKey {
        /// Its key.
        api_key: i16,
        /// Its version.
        api_version: i16,
    },
    /// A version that we do not serve.
    Version {
        /// The API.
        api_key: ApiKey,
        /// The version.
        api_version: i16,
    },
    /// The body is broken.
    Body {
        /// The API.
        api_key: ApiKey,
        /// The version.
        api_version: i16,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Header(flaw) => write!(f, "broken header: {flaw}"),
            Malformed::UnknownKey { api_key, api_version } => write!(f, "unknown API {api_key} version {api_version}"),
            Malformed::Version { api_key, api_version } => write!(f, "{api_key:?} version {api_version} is not served"),
            Malformed::Body { api_key, api_version, flaw } => {
                write!(f, "broken {api_key:?} version {api_version}: {flaw}")
            }
        }
    }
}

impl std::error::Error for Malformed {}

impl ApiKey {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether the header of an answer ends with tagged fields. ApiVersions' never does: its client may not know what we speak.
    const fn is_response_header_flexible(self, version: i16) -> bool {
        self.is_flexible(version) && !matches!(self, ApiKey::ApiVersions)
    }
}

/// Decodes a request from a frame, its length left off. Record batches stay slices of the frame.
///
/// Bytes after the end of the request are ignored, as Apache Kafka does: librdkafka, from Metadata version 9 on, writes null for the
/// list of topics in one byte and leaves the three that it had reserved behind it (librdkafka issue 5049).
///
/// # Errors
///
/// [`Malformed`] if the host has to close the connection. ApiVersions in a version we lack is no such error: it is
/// [`RequestBody::ApiVersionsUnsupported`], to be answered.
pub fn decode_request(frame: Bytes) -> Result<Request, Malformed> {
    let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut r = Reader::new(frame, 0, false);
    let (code, api_version) = read_key(&mut r).map_err(Malformed::Header)?;
    let api_key = ApiKey::from_code(code).ok_or(Malformed::UnknownKey { api_key: code, api_version })?;
    let supported = api_key.served().contains(&api_version);
    if !supported && api_key != ApiKey::ApiVersions {
        return Err(Malformed::Version { api_key, api_version });
    }
    // The client id is of the old kind in every version of the header.
    let correlation_id = r.get().map_err(Malformed::Header)?;
    let client_id = r.get().map_err(Malformed::Header)?;
    let header = RequestHeader { api_key, api_version, correlation_id, client_id };
    if !supported {
        return Ok(Request { header, body: RequestBody::ApiVersionsUnsupported, bytes, batches: Vec::new() });
    }
    r.set_version(api_version, api_key.is_flexible(api_version));
    r.no_tags().map_err(Malformed::Header)?;
    let broken = |flaw| Malformed::Body { api_key, api_version, flaw };
    let mut body = RequestBody::read(api_key, &mut r).map_err(broken)?;
    normalise(&mut body, api_version);
    let batches = match &body {
        RequestBody::Produce(produce) => validate_batches(produce, api_version),
        _ => Vec::new(),
    };
    Ok(Request { header, body, bytes, batches })
}

fn read_key(r: &mut Reader) -> Result<(i16, i16), Flaw> {
    Ok((r.get()?, r.get()?))
}

/// Makes the same question look the same in every version.
fn normalise(body: &mut RequestBody, api_version: i16) {
    if let RequestBody::Metadata(metadata) = body
        && api_version == 0
        && metadata.topics.as_ref().is_some_and(Vec::is_empty)
    {
        metadata.topics = None;
    }
}

/// The first version of Produce whose batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

fn validate_batches(produce: &ProduceRequest, api_version: i16) -> Vec<Result<Batch, ErrorCode>> {
    let partitions = produce.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let batches = partitions.map(|partition| {
        let batch = batch::validate(partition.records.as_ref().map(Records::to_bytes))?;
        if batch.compression() == Compression::Zstd && api_version < ZSTD_FROM {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        Ok(batch)
    });
    batches.collect()
}

/// Encodes a request, length included. Fields that the version lacks are dropped; records are not copied.
pub fn encode_request(header: &RequestHeader, body: &RequestBody) -> Vec<Bytes> {
    let (api_key, api_version) = (header.api_key, header.api_version);
    let mut w = Writer::new(api_version, false);
    w.begin_frame();
    w.put(&api_key.code());
    w.put(&api_version);
    w.put(&header.correlation_id);
    w.put(&header.client_id);
    w.set_flexible(api_key.is_flexible(api_version));
    w.no_tags();
    body.write(&mut w);
    w.into_frame()
}

impl Response {
    /// The answer to the request with this header.
    pub fn to(header: &RequestHeader, body: impl Into<ResponseBody>) -> Self {
        let body = body.into();
        assert_eq!(header.api_key, body.api_key(), "an answer to another question");
        let supported = header.api_key.served().contains(&header.api_version);
        Self {
            api_key: header.api_key,
            api_version: if supported { header.api_version } else { 0 },
            correlation_id: header.correlation_id,
            body,
        }
    }

    /// Encodes the answer, length included. Fields that the version lacks are dropped; records are not copied.
    pub fn encode(&self) -> Vec<Bytes> {
        let mut w = Writer::new(self.api_version, self.api_key.is_response_header_flexible(self.api_version));
        w.begin_frame();
        w.put(&self.correlation_id);
        w.no_tags();
        w.set_flexible(self.api_key.is_flexible(self.api_version));
        self.body.write(&mut w);
        w.into_frame()
    }
}

/// Decodes the answer to a request of this API and version from a frame, its length left off.
///
/// An answer to ApiVersions is read in version 0 if it says that the version asked for is not supported (KIP-511).
///
/// # Errors
///
/// [`Malformed`] if this is no such answer.
pub fn decode_response(frame: Bytes, api_key: ApiKey, api_version: i16) -> Result<Response, Malformed> {
    let mut r = Reader::new(frame, api_version, api_key.is_response_header_flexible(api_version));
    let correlation_id = r.get().map_err(Malformed::Header)?;
    r.no_tags().map_err(Malformed::Header)?;
    let refused = api_key == ApiKey::ApiVersions && r.peek_i16() == Some(ErrorCode::UnsupportedVersion.code());
    let api_version = if refused { 0 } else { api_version };
    if !api_key.served().contains(&api_version) {
        return Err(Malformed::Version { api_key, api_version });
    }
    r.set_version(api_version, api_key.is_flexible(api_version));
    let broken = |flaw| Malformed::Body { api_key, api_version, flaw };
    let body = ResponseBody::read(api_key, &mut r).map_err(broken)?;
    r.finish().map_err(broken)?;
    Ok(Response { api_key, api_version, correlation_id, body })
}

/// The answer to ApiVersions: everything in [`SUPPORTED`], no features. To a version we lack (see
/// [`RequestBody::ApiVersionsUnsupported`]) the error is [`ErrorCode::UnsupportedVersion`]. No version's answer differs from the
/// others as long as there are no features (those whose minimum is 0 would have to stay out of versions 0 to 3, KAFKA-17011).
pub fn api_versions_response(_version: i16, error: ErrorCode) -> ApiVersionsResponse {
    let api_keys = SUPPORTED.iter().map(|&(api_key, min_version, max_version)| ApiVersion {
        api_key: api_key.code(),
        min_version,
        max_version,
    });
    ApiVersionsResponse { error_code: error.code(), api_keys: api_keys.collect(), ..ApiVersionsResponse::default() }
}

/// A frame whose length is negative or above [`limits::REQUEST_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameTooLarge {
    /// The length it claims.
    pub length: i32,
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes; 0 to {} are allowed", self.length, limits::REQUEST_BYTES_MAX)
    }
}

impl std::error::Error for FrameTooLarge {}

/// Cuts a stream into frames, however the stream itself was cut.
///
/// Holds what was fed and not yet taken: a host that takes frames after every feeding holds less than one frame and one feed.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next bytes of the stream may be appended without a copy.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame, its length left off, or `None` until more is fed.
    ///
    /// # Errors
    ///
    /// [`FrameTooLarge`] as soon as the length is there, and at every call from then on: the stream can not be read further.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        let Some(&prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(prefix);
        let size = u32::try_from(length).ok().filter(|size| *size <= limits::REQUEST_BYTES_MAX);
        let end = 4 + size.ok_or(FrameTooLarge { length })? as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(end).freeze();
        Ok(Some(frame.split_off(4)))
    }
}
