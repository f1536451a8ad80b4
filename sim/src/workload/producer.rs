//! A client that writes records now and then, to every topic that stands.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome, Record};
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;
use tidelog_properties::history::OpId;

use crate::program::{Calls, Desk, Program, another_life};
use crate::record::Sending;
use crate::scenario::ProducerSpec;

/// Records that may wait for their answer; beyond it the producer holds its breath.
const WAITING_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Producer {
    spec: ProducerSpec,
    config: Config,
    rng: Rng,
    calls: Calls,
    waiting: BTreeMap<CallId, OpId>,
    draining: bool,
}

/// A record that carries its number, and is told from others in every part.
pub(super) fn record(value: u64, padding: u64, wall: tidelog_core::time::Timestamp, rng: &mut Rng) -> Record {
    let mut bytes = BytesMut::with_capacity(8 + padding as usize);
    bytes.put_u64(value);
    bytes.put_bytes((value % 251) as u8, padding as usize);
    Record {
        key: rng.per_mille(700).then(|| Bytes::from(format!("key-{}", value % 17))),
        value: Some(bytes.freeze()),
        headers: match rng.below(4) {
            0 => vec![("n".to_owned(), Some(Bytes::copy_from_slice(&value.to_be_bytes()))), ("none".to_owned(), None)],
            _ => Vec::new(),
        },
        timestamp: Some(wall),
    }
}

impl Producer {
    pub(super) fn new(spec: ProducerSpec, mut config: Config, mut rng: Rng) -> Self {
        config.idempotent = spec.idempotent;
        config.acks = spec.acks;
        config.linger = Duration::from_micros(spec.linger);
        config.max_in_flight = rng.between(1, 5) as usize;
        if !spec.idempotent && rng.per_mille(500) {
            config.retries = 0;
        }
        Self { spec, config, rng, calls: Calls::default(), waiting: BTreeMap::new(), draining: false }
    }

    fn produce(&mut self, desk: &mut Desk<'_>) {
        let partitions = desk.board.partitions();
        let Some((topic, partition)) = self.rng.pick(&partitions).cloned() else {
            return;
        };
        let value = desk.log.value();
        let padding = self.rng.below(u64::from(self.spec.padding) + 1);
        let record = record(value, padding, desk.clocks.wall, &mut self.rng);
        let how = Sending {
            idempotent: self.spec.idempotent,
            acks: self.spec.acks,
            topic: &topic,
            partition,
            may_repeat: !self.spec.idempotent && self.config.retries > 0,
        };
        let op = desk.log.send(&how, &record, value);
        let call = self.calls.mint();
        self.waiting.insert(call, op);
        desk.calls.push((call, Operation::Produce { topic, partition: Some(partition), record }));
    }
}

impl Program for Producer {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn restarted(&mut self, life: u64) -> Config {
        self.waiting.clear();
        another_life(&self.config, life)
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.draining {
            return;
        }
        if self.waiting.len() < WAITING_MAX {
            let burst = if self.rng.per_mille(30) { self.rng.between(2, 20) } else { 1 };
            (0..burst).for_each(|_| self.produce(desk));
        }
        desk.wake = Some(desk.now + self.rng.between(self.spec.pause / 2, self.spec.pause * 3 / 2).max(100));
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some(op) = self.waiting.remove(&call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        match result {
            Ok(Outcome::Produced { offset, .. }) => desk.log.sent(op, offset.map(|offset| offset.0), self.spec.acks),
            Ok(other) => panic!("a produce gave {other:?}"),
            Err(failure) => desk.log.fail(op, &failure),
        }
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self) -> bool {
        self.draining && self.waiting.is_empty()
    }

    fn waiting_for(&self) -> String {
        format!("the answers to {} records (producer, acks {})", self.waiting.len(), self.spec.acks)
    }
}
