//! The connections of a client that speaks to brokers by itself: requests out, answers in, each with what it was about.
//!
//! Nothing is greeted, nothing times out and nothing is sent again: whoever uses them decides.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidelog_core::client::{Effect, Input};
use tidelog_core::kafka::{
    ApiKey, FrameReader, RequestBody, RequestHeader, ResponseBody, decode_response, encode_request,
};

/// A request that is not answered.
#[derive(Debug)]
struct Sent<A> {
    correlation_id: i32,
    api_key: ApiKey,
    api_version: i16,
    about: A,
}

#[derive(Debug)]
struct Line<A> {
    node: i32,
    connected: bool,
    reader: FrameReader,
    next: i32,
    waiting: VecDeque<Sent<A>>,
    /// What is sent once it is connected.
    unsent: Vec<Bytes>,
}

/// See the module. `A` is what a request is about.
#[derive(Debug)]
pub(super) struct Lines<A> {
    lines: BTreeMap<u64, Line<A>>,
    last: u64,
}

impl<A> Lines<A> {
    pub(super) fn new() -> Self {
        Self { lines: BTreeMap::new(), last: 0 }
    }

    /// A connection to a broker: one that is there, or another.
    pub(super) fn to(&mut self, node: i32, out: &mut Vec<Effect>) -> u64 {
        let known = self.lines.iter().find(|(_, line)| line.node == node).map(|(conn, _)| *conn);
        known.unwrap_or_else(|| self.open(node, out))
    }

    /// Another connection to a broker.
    pub(super) fn open(&mut self, node: i32, out: &mut Vec<Effect>) -> u64 {
        self.last += 1;
        let (reader, waiting, unsent) = (FrameReader::new(), VecDeque::new(), Vec::new());
        self.lines.insert(self.last, Line { node, connected: false, reader, next: 0, waiting, unsent });
        out.push(Effect::Connect { conn: self.last, host: format!("broker-{node}"), port: 9092 });
        self.last
    }

    /// Cuts a connection: what was asked on it nobody will know.
    pub(super) fn cut(&mut self, conn: u64, out: &mut Vec<Effect>) {
        if self.lines.remove(&conn).is_some() {
            out.push(Effect::Disconnect { conn });
        }
    }

    /// The connections there are, the oldest first.
    pub(super) fn all(&self) -> Vec<u64> {
        self.lines.keys().copied().collect()
    }

    /// Forgets all connections: the process was killed.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
    }

    /// Whether an answer is waited for.
    pub(super) fn wait(&self) -> bool {
        self.lines.values().any(|line| !line.waiting.is_empty())
    }

    /// Sends a request. Answers come in the order of sending.
    pub(super) fn send(&mut self, conn: u64, api_version: i16, body: &RequestBody, about: A, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let (api_key, correlation_id) = (body.api_key(), line.next);
        line.next += 1;
        let client_id = Some("raw".to_owned());
        let bytes = encode_request(&RequestHeader { api_key, api_version, correlation_id, client_id }, body);
        line.waiting.push_back(Sent { correlation_id, api_key, api_version, about });
        match line.connected {
            true => out.push(Effect::Transmit { conn, bytes }),
            false => line.unsent.extend(bytes),
        }
    }

    /// Something has happened. Gives the answers that came.
    pub(super) fn heard(&mut self, input: Input, out: &mut Vec<Effect>) -> Vec<(A, ResponseBody)> {
        match input {
            Input::Connected { conn } => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.connected = true;
                    let bytes = std::mem::take(&mut line.unsent);
                    if !bytes.is_empty() {
                        out.push(Effect::Transmit { conn, bytes });
                    }
                }
                Vec::new()
            }
            Input::Disconnected { conn } => {
                self.lines.remove(&conn);
                Vec::new()
            }
            Input::Received { conn, bytes } => {
                self.lines.get_mut(&conn).map_or_else(Vec::new, |line| line.read(&bytes))
            }
            Input::Wake | Input::Call { .. } => unreachable!("it asks for no wake, and nobody calls it"),
        }
    }
}

impl<A> Line<A> {
    fn read(&mut self, bytes: &Bytes) -> Vec<(A, ResponseBody)> {
        self.reader.feed(bytes);
        let mut answers = Vec::new();
        while let Some(frame) = self.reader.next_frame().expect("brokers send frames") {
            let Some(Sent { correlation_id, api_key, api_version, about }) = self.waiting.pop_front() else {
                panic!("a broker sent an answer to no question");
            };
            let response = decode_response(frame, api_key, api_version).expect("an answer can be read");
            assert_eq!(response.correlation_id, correlation_id, "answers come in the order of requests");
            answers.push((about, response.body));
        }
        answers
    }
}
