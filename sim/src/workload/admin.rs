//! The client that makes the topics, and goes on until each stands.

use std::collections::BTreeMap;

use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome};
use tidelog_core::kafka::ErrorCode;
use tidelog_properties::history::{self, Op, OpId};

use crate::program::{Calls, Desk, Program};
use crate::scenario::{Scenario, TopicSpec};

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 300_000;

/// So often a cluster may lack brokers for a topic before it is asked for with fewer replicas: one may be wiped for good.
const PATIENCE: u32 = 40;

/// See the module.
#[derive(Debug)]
pub(super) struct Admin {
    config: Config,
    left: Vec<TopicSpec>,
    calls: Calls,
    asked: BTreeMap<CallId, (TopicSpec, OpId)>,
    too_few: u32,
}

impl Admin {
    pub(super) fn new(scenario: &Scenario, config: Config) -> Self {
        Self { config, left: scenario.topics.clone(), calls: Calls::default(), asked: BTreeMap::new(), too_few: 0 }
    }
}

impl Program for Admin {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        for spec in std::mem::take(&mut self.left) {
            let call = self.calls.mint();
            let op = desk.log.begin(Op::CreateTopic {
                topic: spec.name.clone(),
                partitions: spec.partitions as i32,
                retention: false,
            });
            desk.calls.push((
                call,
                Operation::CreateTopic {
                    name: spec.name.clone(),
                    partitions: spec.partitions as i32,
                    replication_factor: spec.replication as i16,
                    configs: Vec::new(),
                },
            ));
            self.asked.insert(call, (spec, op));
        }
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((mut spec, op)) = self.asked.remove(&call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        let stands = match &result {
            Ok(_) => {
                desk.log.end(op, history::Outcome::Done);
                true
            }
            Err(failure) => {
                desk.log.fail(op, failure);
                matches!(failure, Failure::Definite { error: ErrorCode::TopicAlreadyExists, .. })
            }
        };
        if stands {
            desk.board.post(&spec.name, spec.partitions as i32);
        } else {
            if matches!(result, Err(Failure::Definite { error: ErrorCode::InvalidReplicationFactor, .. })) {
                self.too_few += 1;
                if self.too_few > PATIENCE && spec.replication == 3 {
                    spec.replication = 2;
                    desk.board.thin();
                }
            }
            self.left.push(spec);
            desk.wake = Some(desk.now + AGAIN);
        }
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        self.left.is_empty() && self.asked.is_empty()
    }

    fn waiting_for(&self) -> String {
        let left = self.left.iter().chain(self.asked.values().map(|(spec, _)| spec));
        let names: Vec<&str> = left.map(|spec| spec.name.as_str()).collect();
        format!("the creation of {}", names.join(", "))
    }
}
