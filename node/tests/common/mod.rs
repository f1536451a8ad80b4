//! What the tests of the node share: directories of their own, a client of bytes, a script in the broker's place.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tidelog::driver::Machine;
use tidelog::options::Options;
use tidelog::server::{Server, start_with};
use tidelog_core::broker::Status;
use tidelog_core::effect::{Effects, Input};
use tidelog_core::kafka::{
    ApiKey, RequestBody, RequestHeader, Response, ResponseBody, decode_response, encode_request, messages,
};
use tidelog_core::time::Now;

/// A directory that is removed with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidelog-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory of our own");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node on a free port.
pub(crate) fn options(data_dir: &Path) -> Options {
    Options { listen: "127.0.0.1:0".to_owned(), data_dir: data_dir.to_owned(), ..Options::default() }
}

/// A function in the broker's place.
pub(crate) struct Script<F> {
    pub(crate) step: F,
    pub(crate) status: Status,
}

impl<F: FnMut(Input, &mut Effects) + Send + 'static> Machine for Script<F> {
    fn step(&mut self, _now: Now, input: Input, out: &mut Effects) {
        (self.step)(input, out);
    }

    fn status(&self) -> Status {
        self.status.clone()
    }

    fn answers(&self) -> bool {
        true
    }
}

/// A node with a function in the broker's place, which lets clients in unless the function ended it.
pub(crate) fn scripted(options: &Options, step: impl FnMut(Input, &mut Effects) + Send + 'static) -> Server {
    let status = Status::default();
    let server = start_with(options, |_, _| Script { step, status }).expect("a node starts");
    server.wait_open();
    server
}

/// A client that says what it is told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the node listens")
    }

    /// Connects, if the node listens.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, next: 1 })
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&mut self, api_version: i16, body: &RequestBody) -> RequestHeader {
        let (header, bytes) = self.encode(api_version, body);
        self.stream.write_all(&bytes).expect("the node reads");
        header
    }

    /// A request as bytes.
    pub(crate) fn encode(&mut self, api_version: i16, body: &RequestBody) -> (RequestHeader, Vec<u8>) {
        let header = RequestHeader {
            api_key: body.api_key(),
            api_version,
            correlation_id: self.next,
            client_id: Some("test".to_owned()),
        };
        self.next += 1;
        let bytes = encode_request(&header, body).concat();
        (header, bytes)
    }

    /// The next answer, which must be to this request.
    pub(crate) fn receive(&mut self, to: &RequestHeader) -> ResponseBody {
        let frame = self.frame().expect("an answer");
        let response = decode_response(frame, to.api_key, to.api_version).expect("a whole answer");
        assert_eq!(response.correlation_id, to.correlation_id, "answers stay in line");
        response.body
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, api_version: i16, body: &RequestBody) -> ResponseBody {
        let header = self.send(api_version, body);
        self.receive(&header)
    }

    /// Asks and waits, unless the node hangs up.
    pub(crate) fn try_ask(&mut self, api_version: i16, body: &RequestBody) -> io::Result<ResponseBody> {
        let (header, bytes) = self.encode(api_version, body);
        self.stream.write_all(&bytes)?;
        let response = decode_response(self.frame()?, header.api_key, header.api_version).expect("a whole answer");
        Ok(response.body)
    }

    fn frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// Waits for the end of the stream, before which nothing more must come.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(rest, b"", "bytes after the last answer"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

/// The smallest question.
pub(crate) fn api_versions() -> RequestBody {
    RequestBody::ApiVersions(messages::ApiVersionsRequest::default())
}

/// An answer to it.
pub(crate) fn api_versions_answer(header: &RequestHeader) -> Response {
    assert_eq!(header.api_key, ApiKey::ApiVersions);
    let none = tidelog_core::kafka::ErrorCode::None;
    let body = tidelog_core::kafka::api_versions_response(header.api_version, none);
    Response::to(header, body)
}
