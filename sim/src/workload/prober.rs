//! After the heal: writes to every partition until each has acknowledged one record. A cluster that elects leaders and then
//! refuses work is not alive.

use std::collections::BTreeMap;

use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::rng::Rng;
use tidelog_properties::history::OpId;

use super::producer;
use crate::program::{Calls, Desk, Program};
use crate::record::Sending;

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 300_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Prober {
    config: Config,
    calls: Calls,
    left: Option<Vec<(String, i32)>>,
    waiting: BTreeMap<CallId, (String, i32, OpId)>,
    last_failure: String,
    /// Partitions forget producers: what is sent again may stand twice.
    forgets: bool,
}

impl Prober {
    pub(super) fn new(config: Config, forgets: bool) -> Self {
        Self {
            config,
            calls: Calls::default(),
            left: None,
            waiting: BTreeMap::new(),
            last_failure: "no answer yet".to_owned(),
            forgets,
        }
    }
}

impl Program for Prober {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        let left = self.left.get_or_insert_with(|| desk.board.partitions());
        for (topic, partition) in std::mem::take(left) {
            let value = desk.log.value();
            let record = producer::record(value, 8, desk.clocks.wall, &mut Rng::stream(value, &[]));
            let how = Sending {
                idempotent: !self.forgets,
                acks: -1,
                topic: &topic,
                partition,
                may_repeat: self.forgets,
                by_key: false,
            };
            let op = desk.log.send(&how, &record, value);
            let call = self.calls.mint();
            desk.calls.push((call, Operation::Produce { topic: topic.clone(), partition: Some(partition), record }));
            self.waiting.insert(call, (topic, partition, op));
        }
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((topic, partition, op)) = self.waiting.remove(&call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        match result {
            Ok(Outcome::Produced { offset, .. }) => {
                let offset = offset.map(|offset| offset.0);
                desk.log.sent(op, offset, -1);
                if let Some(offset) = offset {
                    desk.board.acked((topic, partition, offset), desk.now);
                }
            }
            Ok(other) => panic!("a produce gave {other:?}"),
            Err(failure) => {
                desk.log.fail(op, &failure);
                self.last_failure = failure.to_string();
                // Its clock, or the broker's, is off by hours: the partition has answered, as its topic wants.
                if matches!(failure, Failure::Definite { error: ErrorCode::InvalidTimestamp, .. }) {
                    return;
                }
                self.left.get_or_insert_default().push((topic, partition));
                desk.wake = Some(desk.now + AGAIN);
            }
        }
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.left.as_ref().is_some_and(Vec::is_empty)
    }

    fn waiting_for(&self) -> String {
        let waiting = self.waiting.values().map(|(topic, partition, _)| (topic, partition));
        let left = self.left.iter().flatten().map(|(topic, partition)| (topic, partition));
        let places: Vec<String> =
            waiting.chain(left).map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        format!("one acknowledged record in each of {} ({})", places.join(", "), self.last_failure)
    }
}
