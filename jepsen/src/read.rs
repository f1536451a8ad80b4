//! The consumers: one that follows every partition, one that jumps back again and again, and the last one, which reads it all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tidelog_properties::history::{Op, OpId, Outcome, Poll, Process, Seen};

use crate::context::Context;
use crate::payload::Payload;
use crate::python::Asked;
use crate::rng::Rng;

/// What librdkafka says when the position of a consumer is not in the log, and it was told not to choose another.
const POSITION_LOST: [&str; 2] = ["_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"];
const POLL_RECORDS: u32 = 500;
const POLL_WAIT: Duration = Duration::from_millis(300);

/// A record as `client.py` tells of it.
#[derive(Deserialize)]
struct Told {
    partition: i32,
    offset: i64,
    #[serde(flatten)]
    payload: Payload,
}

#[derive(Deserialize)]
struct Answer {
    records: Vec<Told>,
    ends: Vec<(i32, i64)>,
    errors: Vec<(i32, String)>,
}

/// A consumer, and where it stands in each partition.
struct Reader<'a> {
    context: &'a Context,
    consumer: u64,
    client: Asked,
    positions: BTreeMap<i32, i64>,
    is_final: bool,
}

impl<'a> Reader<'a> {
    fn start(context: &'a Context, consumer: u64, is_final: bool) -> Result<Self, String> {
        let client =
            Asked::start(&context.python, &format!("consumer-{consumer}"), &config(&context.bootstrap, consumer))
                .map_err(|error| format!("a consumer does not start: {error}"))?;
        let positions = (0..context.partitions).filter_map(|it| Some((i32::try_from(it).ok()?, 0))).collect();
        Ok(Self { context, consumer, client, positions, is_final })
    }

    /// Reads on from `positions`: as a new assignment, or as a seek of its own.
    fn assign(&mut self, anew: bool) -> Result<(), String> {
        for (&partition, &offset) in &self.positions {
            let (consumer, topic) = (self.consumer, self.context.topic.clone());
            let op = match anew {
                true => Op::Assign { consumer, topic, partition },
                false => Op::Seek { consumer, topic, partition, offset },
            };
            self.context.recorder.instant(Process(self.consumer), op);
        }
        let list: Vec<(i32, i64)> = self.positions.iter().map(|(&partition, &offset)| (partition, offset)).collect();
        let asked = json!({"assign": list, "topic": self.context.topic});
        self.client.ask(&asked, Duration::from_secs(10))?.map(drop)
    }

    /// Polls once; gives the partitions whose end was reached, and where that was.
    fn poll(&mut self) -> Result<Vec<(i32, i64)>, String> {
        let ask = |(&partition, &from_offset): (&i32, &i64)| {
            let (consumer, topic, is_final) = (self.consumer, self.context.topic.clone(), self.is_final);
            let poll = Poll { consumer, topic, partition, from_offset, is_final };
            (partition, self.context.recorder.invoke(Process(consumer), Op::Poll(poll)))
        };
        let ids: BTreeMap<i32, OpId> = self.positions.iter().map(ask).collect();
        let answer = match self.client.ask(&json!({"poll": POLL_RECORDS}), POLL_WAIT)? {
            Ok(answer) => answer,
            Err(error) => {
                for id in ids.into_values() {
                    self.context.recorder.complete(id, Outcome::Unknown { error: error.clone() });
                }
                return Ok(Vec::new());
            }
        };
        let answer: Answer = serde_json::from_value(answer)
            .map_err(|error| format!("a client says what nobody understands: {error}"))?;
        let mut read: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
        for told in answer.records {
            let seen = Seen {
                offset: told.offset,
                value: told.payload.number(),
                digest: told.payload.digest(),
                timestamp: told.payload.timestamp,
            };
            read.entry(told.partition).or_default().push(seen);
        }
        for (partition, id) in ids {
            let records = read.remove(&partition).unwrap_or_default();
            let position = self.positions.entry(partition).or_insert(0);
            let after = records.last().map_or(*position, |last| last.offset.saturating_add(1));
            let ends = answer.ends.iter().filter(|(at, _)| *at == partition).map(|(_, end)| *end);
            *position = ends.fold(after, i64::max);
            self.context.recorder.complete(id, Outcome::Polled { records, next: *position });
        }
        let lost = answer.errors.iter().any(|(_, error)| POSITION_LOST.iter().any(|name| error.starts_with(name)));
        if lost {
            self.context.note(|notes| notes.positions_lost += 1);
            self.assign(false)?;
        }
        Ok(answer.ends)
    }
}

fn config(bootstrap: &str, consumer: u64) -> Value {
    json!({
        "bootstrap.servers": bootstrap,
        "group.id": format!("none-{consumer}"),
        "enable.auto.commit": false,
        "enable.partition.eof": true,
        "auto.offset.reset": "error",
        "check.crcs": true,
        "fetch.wait.max.ms": 200,
        "fetch.error.backoff.ms": 100,
        "socket.timeout.ms": 6000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 2000,
        "allow.auto.create.topics": false,
    })
}

/// Starts a client that only asks.
pub fn asker(context: &Context, name: &str) -> Result<Asked, String> {
    Asked::start(&context.python, name, &config(&context.bootstrap, 0))
        .map_err(|error| format!("a client does not start: {error}"))
}

/// Reads all partitions from the beginning, and on as they grow.
pub fn follow(context: &Arc<Context>, consumer: u64) -> Result<(), String> {
    let mut reader = Reader::start(context, consumer, false)?;
    reader.assign(true)?;
    while !context.quieting() {
        reader.poll()?;
    }
    Ok(())
}

/// Reads all partitions, and now and then goes back to where it was before, in a new assignment or by a seek.
pub fn hop(context: &Arc<Context>, consumer: u64) -> Result<(), String> {
    let mut reader = Reader::start(context, consumer, false)?;
    let mut rng = Rng::new(context.seed, &format!("consumer {consumer}"));
    reader.assign(true)?;
    let mut next = Instant::now() + Duration::from_secs(4);
    while !context.quieting() {
        reader.poll()?;
        if next <= Instant::now() {
            for position in reader.positions.values_mut() {
                // Mostly a little, so that it keeps up; negative positions there are none.
                let back = if rng.one_in(4) { *position } else { (*position).min(200) };
                *position -= i64::try_from(rng.below(u64::try_from(back).unwrap_or(0) + 1)).unwrap_or(0);
            }
            reader.assign(rng.one_in(2))?;
            next = Instant::now() + Duration::from_millis(rng.range(1000, 5000));
        }
    }
    Ok(())
}

/// Reads everything from the beginning to the end. Gives the partitions whose end was not reached in time.
pub fn read_all(context: &Context, consumer: u64) -> Result<Vec<i32>, String> {
    let deadline = Instant::now() + context.patience;
    let mut asker = asker(context, "final-ends")?;
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    let all: BTreeSet<i32> = (0..context.partitions).filter_map(|it| i32::try_from(it).ok()).collect();
    while ends.len() < all.len() && Instant::now() < deadline {
        for &partition in all.iter().filter(|&partition| !ends.contains_key(partition)).collect::<Vec<_>>() {
            let question = json!({"watermarks": partition, "topic": context.topic});
            if let Some(high) = asker.ask(&question, Duration::from_secs(5))?.ok().and_then(|it| it["high"].as_i64()) {
                ends.insert(partition, high);
            }
        }
    }
    let mut reader = Reader::start(context, consumer, true)?;
    reader.assign(true)?;
    let mut left = all;
    while !left.is_empty() && Instant::now() < deadline {
        for (partition, end) in reader.poll()? {
            if ends.get(&partition).is_some_and(|&known| known <= end) {
                left.remove(&partition);
            }
        }
    }
    Ok(left.into_iter().collect())
}
