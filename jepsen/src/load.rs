//! The producers: what they send, how fast, and what is made of what librdkafka says about it.
//!
//! Two sorts, because librdkafka does not tell all that it does:
//!
//! - **Idempotent**, with no end to its patience (`message.timeout.ms=0`). It then has one producer id from its start to its end,
//!   and a history's session is one such process. Were it to give a record up, it would go on under a new producer id without
//!   saying so, and nothing could be said of the order any more. Some of these processes are killed now and then, so that there
//!   are sessions, and records of which nobody knows.
//! - **Plain**, acks=all, which gives up after a few seconds. It retries without telling, so that every record of it counts as
//!   sent more than once.
//!
//! Refused for good is only what is said to be so in `client.py`; every other failure leaves the outcome unknown.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tidelog_properties::history::{Op, OpId, Outcome, Process, Send};

use crate::context::Context;
use crate::payload::Payload;
use crate::python::Client;
use crate::rng::Rng;

/// Sends of one process that have no outcome yet, at most: a long outage is no reason to hoard.
const OUTSTANDING_MAX: u64 = 1000;
/// How often a handful of records is sent.
const TICK: Duration = Duration::from_millis(20);
/// What a broker says of an idempotent producer's sequence when the log forgot some of it.
const SEQUENCE_ERRORS: [&str; 3] = ["OUT_OF_ORDER_SEQUENCE_NUMBER", "DUPLICATE_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID"];

/// A sort of producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// Idempotent, one process from beginning to end.
    Idempotent,
    /// Idempotent, its process killed now and then.
    Restarted,
    /// Without sequence numbers, and without patience.
    Plain,
}

impl Sort {
    fn idempotent(self) -> bool {
        match self {
            Self::Idempotent | Self::Restarted => true,
            Self::Plain => false,
        }
    }

    fn config(self, bootstrap: &str) -> Value {
        let mut config = json!({
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "compression.type": "none",
            "socket.timeout.ms": 6000,
            "request.timeout.ms": 5000,
            "retry.backoff.ms": 50,
            "retry.backoff.max.ms": 500,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 2000,
            "topic.metadata.propagation.max.ms": 60000,
        });
        match self {
            Self::Idempotent | Self::Restarted => {
                config["enable.idempotence"] = json!(true);
                config["message.timeout.ms"] = json!(0);
                // Compressed here, so that both sorts of batches are in the log.
                config["compression.type"] = json!("lz4");
            }
            Self::Plain => config["message.timeout.ms"] = json!(4000),
        }
        config
    }

    /// The same, in the words of Java's client.
    fn java_config(self, bootstrap: &str) -> Value {
        // Patience of Java's client ends after 24 days, no sooner.
        let (idempotent, patience, compression) =
            if self.idempotent() { (true, i32::MAX, "lz4") } else { (false, 5_010, "none") };
        json!({
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "request.timeout.ms": 5000,
            "retry.backoff.ms": 50,
            "retry.backoff.max.ms": 500,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "metadata.max.age.ms": 2000,
            "enable.idempotence": idempotent,
            "delivery.timeout.ms": patience,
            "compression.type": compression,
        })
    }

    /// Starts a client of this sort.
    fn client(self, context: &Context, name: &str) -> io::Result<Client> {
        match &context.java {
            None => context.python.start(name, "producer", &self.config(&context.bootstrap)),
            Some(java) => {
                let first = json!({"role": "producer", "config": self.java_config(&context.bootstrap)});
                Client::start(java.command(), context.python.logs(), name, &first)
            }
        }
    }
}

/// A process that sends, and what it is in the history.
struct Session {
    client: Client,
    number: u64,
    outstanding: Arc<AtomicU64>,
    /// librdkafka said that it can not go on.
    spent: Arc<AtomicBool>,
    flushed: Receiver<u64>,
    ends: Instant,
}

/// Sends until it is told to stop, then waits for all outcomes. Gives how many never came.
pub fn produce(context: &Arc<Context>, producer: u64, sort: Sort) -> Result<u64, String> {
    let mut rng = Rng::new(context.seed, &format!("producer {producer}"));
    let mut session = start(context, producer, sort, 0, &mut rng)?;
    let per_tick = context.rate * TICK.as_micros() as u64;
    let mut owed = 0;
    while !context.stopping() {
        std::thread::sleep(TICK);
        let over = sort == Sort::Restarted && session.ends <= Instant::now();
        if over || session.spent.load(Ordering::Relaxed) {
            let number = session.number + 1;
            session.client.kill();
            session = start(context, producer, sort, number, &mut rng)?;
        }
        owed += per_tick;
        let room = OUTSTANDING_MAX.saturating_sub(session.outstanding.load(Ordering::Relaxed));
        let count = (owed / 1_000_000).min(room);
        owed -= (owed / 1_000_000) * 1_000_000;
        if count > 0 {
            let records: Vec<Value> =
                (0..count).map(|_| record(context, producer, sort, session.number, &mut rng)).collect();
            session.outstanding.fetch_add(count, Ordering::Relaxed);
            let said = session.client.say(&json!({"topic": context.topic, "send": records}));
            said.map_err(|error| format!("producer {producer} is gone: {error}"))?;
        }
    }
    let patience = context.patience;
    let said = session.client.say(&json!({"flush": patience.as_secs_f64()}));
    said.map_err(|error| format!("producer {producer} is gone: {error}"))?;
    session
        .flushed
        .recv_timeout(patience + Duration::from_secs(20))
        .map_err(|_| format!("producer {producer} did not come back from its flush; its log says why"))
}

fn start(context: &Arc<Context>, producer: u64, sort: Sort, number: u64, rng: &mut Rng) -> Result<Session, String> {
    let failed = |error: io::Error| format!("a producer does not start: {error}");
    let name = format!("producer-{producer}");
    let mut client = sort.client(context, &name).map_err(failed)?;
    let outstanding = Arc::new(AtomicU64::new(0));
    let spent = Arc::new(AtomicBool::new(false));
    let (sender, flushed) = mpsc::channel();
    if let Some(lines) = client.lines() {
        let (context, outstanding, spent) = (Arc::clone(context), Arc::clone(&outstanding), Arc::clone(&spent));
        let read = move || {
            for line in lines {
                if let Some(left) = heard(&context, producer, &outstanding, &spent, &line) {
                    // Nobody waits for it after a run that was given up.
                    let _ = sender.send(left);
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(read).map_err(failed)?;
    }
    let ends = Instant::now() + Duration::from_millis(rng.range(4000, 15_000));
    Ok(Session { client, number, outstanding, spent, flushed, ends })
}

/// A record, invoked and as the client takes it.
fn record(context: &Context, producer: u64, sort: Sort, session: u64, rng: &mut Rng) -> Value {
    let value = context.next_value();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let payload = Payload::draw(value, i64::try_from(since.as_millis()).unwrap_or(0), rng);
    let partition = i32::try_from(rng.below(u64::from(context.partitions))).unwrap_or(0);
    let send = Send {
        producer,
        session,
        idempotent: sort.idempotent(),
        acks: -1,
        topic: context.topic.clone(),
        partition,
        value,
        key_hash: None,
        digest: payload.digest(),
    };
    let id = context.recorder.invoke(Process(producer), Op::Send(send));
    if !sort.idempotent() {
        context.recorder.retry(id);
    }
    json!({
        "id": id.0, "partition": partition, "key": payload.key, "value": payload.value, "headers": payload.headers,
        "timestamp": payload.timestamp,
    })
}

/// Notes what a producer said; gives how many records have no outcome, if it was flushed.
fn heard(context: &Context, producer: u64, outstanding: &AtomicU64, spent: &AtomicBool, line: &Value) -> Option<u64> {
    for report in line["reports"].as_array().into_iter().flatten() {
        if let Some(id) = report["id"].as_u64() {
            context.recorder.complete(OpId(id), outcome(report));
            outstanding.fetch_sub(1, Ordering::Relaxed);
        }
    }
    if let Some(fatal) = line["fatal"].as_str() {
        spent.store(true, Ordering::Relaxed);
        context.fatal(producer, fatal, SEQUENCE_ERRORS.iter().any(|name| fatal.contains(name)));
    }
    line["flushed"].as_u64()
}

/// What may be concluded from a delivery report.
fn outcome(report: &Value) -> Outcome {
    match report["error"].as_str() {
        None => Outcome::Sent { offset: report["offset"].as_i64().filter(|&offset| offset >= 0) },
        Some(error) if report["refused"].as_bool() == Some(true) => Outcome::Failed { error: error.to_owned() },
        Some(error) => Outcome::Unknown { error: error.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_failed() {
        let of = |report: Value| outcome(&report);
        assert_eq!(of(json!({"id": 1, "offset": 5})), Outcome::Sent { offset: Some(5) });
        assert_eq!(of(json!({"id": 1, "offset": -1})), Outcome::Sent { offset: None });
        let error = || "e".to_owned();
        assert_eq!(of(json!({"id": 1, "error": "e", "refused": false})), Outcome::Unknown { error: error() });
        assert_eq!(of(json!({"id": 1, "error": "e"})), Outcome::Unknown { error: error() });
        assert_eq!(of(json!({"id": 1, "error": "e", "refused": true})), Outcome::Failed { error: error() });
    }
}
