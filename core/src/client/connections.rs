//! Connections to brokers: made when somebody wants one, greeted with ApiVersions, given up when an answer is late or wrong.
//!
//! Promises that every request that was sent is answered once, by its response or by [`Lost`], in the order of sending within
//! a connection; that what a broker sends cannot do more than cost its connection; that a failing broker is asked at growing
//! intervals. Does not know what the requests are about, nor who leads what.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::api::{Config, Effect};
use super::limits;
use crate::kafka::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::{
    ApiKey, ErrorCode, FrameReader, RequestBody, RequestHeader, ResponseBody, SUPPORTED, decode_response,
    encode_request,
};
use crate::mutants::{Mutant, Mutants};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A broker's id; negative ones are the bootstrap addresses, whose ids nobody knows yet.
pub(super) type Node = i32;

/// Which of a broker's two connections. Answers come in line, so fetches that wait would hold back everything behind them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lane {
    Main,
    Fetch,
}

/// Who asked, and about what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Versions,
    Metadata,
    ProducerId,
    Produce(u64),
    Fetch(u64),
    Call(u64),
}

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// The request may have been carried out.
    Connection(String),
    /// The broker does not serve the API in a version we speak; nothing was sent.
    Unsupported(ApiKey),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => f.write_str(why),
            Self::Unsupported(api) => write!(f, "the broker serves no version of {api:?} that we speak"),
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) ask: Ask,
    pub(super) result: Result<ResponseBody, Lost>,
}

#[derive(Debug)]
struct Sent {
    correlation_id: i32,
    api_key: ApiKey,
    api_version: i16,
    ask: Ask,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct Stream {
    reader: FrameReader,
    next_correlation_id: i32,
    in_flight: VecDeque<Sent>,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting { conn: u64, deadline: Instant },
    Greeting { conn: u64, stream: Stream },
    Ready { conn: u64, stream: Stream, versions: BTreeMap<ApiKey, (i16, i16)> },
}

#[derive(Debug)]
struct Line {
    state: State,
    /// Failures since the last useful answer.
    failures: u32,
    not_before: Instant,
    /// Somebody was turned away because of `not_before`.
    wanted: bool,
}

#[derive(Debug)]
pub(super) struct Connections {
    client_id: String,
    request_timeout: Duration,
    retry_backoff: Duration,
    mutants: Mutants,
    rng: Rng,
    last_conn: u64,
    addresses: BTreeMap<Node, (String, u16)>,
    lines: BTreeMap<(Node, Lane), Line>,
    by_conn: BTreeMap<u64, (Node, Lane)>,
    answers: VecDeque<Answer>,
}

impl Connections {
    pub(super) fn new(config: &Config) -> Self {
        let bootstrap = config.bootstrap.iter().enumerate();
        Self {
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            retry_backoff: config.retry_backoff,
            mutants: config.mutants,
            rng: Rng::stream(config.seed, &[super::STREAM_BACKOFF]),
            last_conn: 0,
            addresses: bootstrap.map(|(i, address)| (-1 - i as i32, address.clone())).collect(),
            lines: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            answers: VecDeque::new(),
        }
    }

    /// Takes the brokers that the cluster has now. One that moved is connected to anew.
    pub(super) fn set_brokers(&mut self, now: Instant, brokers: &BTreeMap<Node, (String, u16)>, out: &mut Vec<Effect>) {
        let moved: Vec<Node> = (self.addresses.iter())
            .filter(|(node, address)| **node >= 0 && brokers.get(node) != Some(address))
            .map(|(node, _)| *node)
            .collect();
        for node in moved {
            for lane in [Lane::Main, Lane::Fetch] {
                self.drop_line(now, (node, lane), "the broker moved", out);
                self.lines.remove(&(node, lane));
            }
            self.addresses.remove(&node);
        }
        self.addresses.extend(brokers.iter().map(|(node, address)| (*node, address.clone())));
    }

    /// Whom to ask something that any broker knows: the brokers; while none of them answers, the bootstrap addresses too.
    pub(super) fn candidates(&self) -> Vec<Node> {
        let failing = |node: &Node| self.is_failing(*node, Lane::Main);
        let known = self.addresses.keys().filter(|node| **node >= 0);
        let lost = known.clone().all(failing);
        self.addresses.keys().filter(|node| lost || **node >= 0).copied().collect()
    }

    pub(super) fn is_ready(&self, node: Node, lane: Lane) -> bool {
        matches!(self.lines.get(&(node, lane)), Some(Line { state: State::Ready { .. }, .. }))
    }

    /// Whether the last attempt to reach or ask the broker failed.
    pub(super) fn is_failing(&self, node: Node, lane: Lane) -> bool {
        self.lines.get(&(node, lane)).is_some_and(|line| line.failures > 0)
    }

    /// Whether requests can be sent. If not, sees to it that they can be as soon as may be.
    pub(super) fn ready(&mut self, now: Instant, node: Node, lane: Lane, out: &mut Vec<Effect>) -> bool {
        let Some((host, port)) = self.addresses.get(&node) else {
            return false;
        };
        let line = self.lines.entry((node, lane)).or_insert_with(|| Line {
            state: State::Idle,
            failures: 0,
            not_before: Instant(0),
            wanted: false,
        });
        match line.state {
            State::Ready { .. } => true,
            State::Connecting { .. } | State::Greeting { .. } => false,
            State::Idle if now < line.not_before => {
                line.wanted = true;
                false
            }
            State::Idle => {
                self.last_conn += 1;
                let conn = self.last_conn;
                line.wanted = false;
                line.state = State::Connecting { conn, deadline: now + self.request_timeout };
                self.by_conn.insert(conn, (node, lane));
                out.push(Effect::Connect { conn, host: host.clone(), port: *port });
                false
            }
        }
    }

    /// Sends a request over a connection that is ready, in the newest version both sides speak, up to `version_max`. An answer
    /// may take `patience` longer than usual. Says whether the request went out; if not, [`Lost`] is the answer.
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: (Node, Lane),
        ask: Ask,
        request: Outgoing,
        out: &mut Vec<Effect>,
    ) -> bool {
        let api_key = request.body.api_key();
        let Some(Line { state: State::Ready { conn, stream, versions }, .. }) = self.lines.get_mut(&to) else {
            let why = "the connection was gone before the request was sent".to_owned();
            self.answers.push_back(Answer { ask, result: Err(Lost::Connection(why)) });
            return false;
        };
        let version = (versions.get(&api_key)).map(|(low, high)| (*low, (*high).min(request.version_max)));
        let Some((_, api_version)) = version.filter(|(low, high)| low <= high) else {
            self.answers.push_back(Answer { ask, result: Err(Lost::Unsupported(api_key)) });
            return false;
        };
        let deadline = now + self.request_timeout + request.patience;
        let answered = request.answered.then_some((ask, deadline));
        let bytes = stream.send(&self.client_id, api_key, api_version, &request.body, answered);
        out.push(Effect::Transmit { conn: *conn, bytes });
        true
    }

    /// The next answer, if one is there.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(super) fn connected(&mut self, now: Instant, conn: u64, out: &mut Vec<Effect>) {
        let Some(line) = self.by_conn.get(&conn).and_then(|key| self.lines.get_mut(key)) else {
            return;
        };
        if !matches!(line.state, State::Connecting { .. }) {
            return;
        }
        let mut stream = Stream::default();
        let version = *ApiKey::ApiVersions.served().end();
        let bytes = stream.greet(&self.client_id, version, now + self.request_timeout);
        line.state = State::Greeting { conn, stream };
        out.push(Effect::Transmit { conn, bytes });
    }

    pub(super) fn received(&mut self, now: Instant, conn: u64, bytes: &Bytes, out: &mut Vec<Effect>) {
        let Some(key) = self.by_conn.get(&conn).copied() else {
            return;
        };
        if let Some(Line { state: State::Greeting { stream, .. } | State::Ready { stream, .. }, .. }) =
            self.lines.get_mut(&key)
        {
            stream.reader.feed(bytes);
        }
        if let Err(why) = self.read(now, key, out) {
            self.drop_line(now, key, &why, out);
        }
    }

    fn read(&mut self, now: Instant, key: (Node, Lane), out: &mut Vec<Effect>) -> Result<(), String> {
        while let Some(line) = self.lines.get_mut(&key) {
            let (State::Greeting { stream, .. } | State::Ready { stream, .. }) = &mut line.state else {
                return Err("bytes came before the connection stood".to_owned());
            };
            let frame = stream.reader.next_frame().map_err(|e| format!("the broker sent a frame we refuse: {e}"))?;
            let Some(frame) = frame else { return Ok(()) };
            let first = stream.in_flight.front().ok_or("the broker sent an answer to no question")?;
            let response = decode_response(frame, first.api_key, first.api_version)
                .map_err(|e| format!("the broker sent an answer we can not read: {e}"))?;
            if response.correlation_id != first.correlation_id {
                return Err("the broker answered out of turn".to_owned());
            }
            let ask = stream.in_flight.pop_front().map(|sent| (sent.ask, sent.api_version));
            match (response.body, ask) {
                (ResponseBody::ApiVersions(versions), Some((Ask::Versions, asked))) => {
                    line.greeted(&self.client_id, &versions, asked, now + self.request_timeout, out)?;
                }
                (body, Some((ask, _))) => {
                    line.failures = 0;
                    self.answers.push_back(Answer { ask, result: Ok(body) });
                }
                (_, None) => return Ok(()),
            }
        }
        Ok(())
    }

    pub(super) fn disconnected(&mut self, now: Instant, conn: u64) {
        if let Some(key) = self.by_conn.get(&conn).copied() {
            self.fail_line(now, key, "the connection was lost");
        }
    }

    /// Gives up what is late.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late: Vec<(Node, Lane)> = (self.lines.iter())
            .filter(|(_, line)| line.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.drop_line(now, key, "the broker did not answer in time", out);
        }
    }

    /// The next moment after `now` at which something here is late, or can be tried again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let late = self.lines.values().filter_map(Line::deadline);
        let forgets = self.mutants.planted(Mutant::BackoffForgotten);
        let again = self.lines.values().filter(|line| line.wanted && !forgets).map(|line| line.not_before);
        late.chain(again).filter(|at| *at > now).min()
    }

    fn drop_line(&mut self, now: Instant, key: (Node, Lane), why: &str, out: &mut Vec<Effect>) {
        if let Some(conn) = self.fail_line(now, key, why) {
            out.push(Effect::Disconnect { conn });
        }
    }

    /// Forgets a connection and answers what was in flight on it.
    fn fail_line(&mut self, now: Instant, key: (Node, Lane), why: &str) -> Option<u64> {
        let line = self.lines.get_mut(&key)?;
        let (conn, stream, was_ready) = match std::mem::replace(&mut line.state, State::Idle) {
            State::Idle => return None,
            State::Connecting { conn, .. } => (conn, Stream::default(), false),
            State::Greeting { conn, stream } => (conn, stream, false),
            State::Ready { conn, stream, .. } => (conn, stream, true),
        };
        self.by_conn.remove(&conn);
        // A broker may close a connection that has nothing to do; that is no failure.
        let quiet = was_ready && stream.in_flight.is_empty();
        if !quiet {
            line.failures = line.failures.saturating_add(1);
            let doubled = self.retry_backoff.0.saturating_mul(1 << (line.failures - 1).min(10));
            let backoff = doubled.min(limits::BACKOFF_MAX.0).max(self.retry_backoff.0);
            line.not_before = now + Duration(backoff) + Duration(self.rng.below(backoff / 4 + 1));
        }
        for sent in stream.in_flight {
            if sent.ask != Ask::Versions {
                self.answers.push_back(Answer { ask: sent.ask, result: Err(Lost::Connection(why.to_owned())) });
            }
        }
        Some(conn)
    }
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) body: RequestBody,
    pub(super) patience: Duration,
    pub(super) version_max: i16,
    /// Whether a response will come at all (a produce with `acks` 0 has none).
    pub(super) answered: bool,
}

impl Outgoing {
    pub(super) fn new(body: impl Into<RequestBody>) -> Self {
        Self { body: body.into(), patience: Duration::ZERO, version_max: i16::MAX, answered: true }
    }
}

impl Line {
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::Connecting { deadline, .. } => Some(*deadline),
            State::Greeting { stream, .. } | State::Ready { stream, .. } => {
                stream.in_flight.iter().map(|sent| sent.deadline).min()
            }
        }
    }

    fn greeted(
        &mut self,
        client_id: &str,
        answer: &ApiVersionsResponse,
        asked: i16,
        deadline: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let State::Greeting { conn, stream } = &mut self.state else {
            return Err("the broker told its versions twice".to_owned());
        };
        let mut versions = BTreeMap::new();
        for (ours, ..) in SUPPORTED {
            for theirs in answer.api_keys.iter().filter(|theirs| theirs.api_key == ours.code()) {
                let low = theirs.min_version.max(*ours.served().start());
                let high = theirs.max_version.min(*ours.served().end());
                if low <= high {
                    versions.insert(*ours, (low, high));
                }
            }
        }
        if answer.error_code == ErrorCode::UnsupportedVersion.code() {
            // KIP-511: the broker lists the versions of ApiVersions that it speaks.
            let best = versions.get(&ApiKey::ApiVersions).map_or(0, |(_, high)| *high);
            if best >= asked {
                return Err("the broker refuses every version of ApiVersions".to_owned());
            }
            let bytes = stream.greet(client_id, best, deadline);
            out.push(Effect::Transmit { conn: *conn, bytes });
            return Ok(());
        }
        if answer.error_code != 0 {
            return Err(format!("the broker refused ApiVersions with error {}", answer.error_code));
        }
        if let State::Greeting { conn, stream } = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Ready { conn, stream, versions };
        }
        Ok(())
    }
}

impl Stream {
    fn greet(&mut self, client_id: &str, version: i16, deadline: Instant) -> Vec<Bytes> {
        let body = RequestBody::ApiVersions(ApiVersionsRequest {
            client_software_name: "tidelog".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        self.send(client_id, ApiKey::ApiVersions, version, &body, Some((Ask::Versions, deadline)))
    }

    fn send(
        &mut self,
        client_id: &str,
        api_key: ApiKey,
        api_version: i16,
        body: &RequestBody,
        answered: Option<(Ask, Instant)>,
    ) -> Vec<Bytes> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        if let Some((ask, deadline)) = answered {
            self.in_flight.push_back(Sent { correlation_id, api_key, api_version, ask, deadline });
        }
        let client_id = Some(client_id.to_owned());
        encode_request(&RequestHeader { api_key, api_version, correlation_id, client_id }, body)
    }
}
