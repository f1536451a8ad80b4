//! The client that makes the topics, goes on until each stands, and deletes and makes some of them again.

use std::collections::BTreeMap;

use tidelog_core::client::{CallId, Config, Failure, Operation, Outcome};
use tidelog_core::controller::configs::TopicConfig;
use tidelog_core::id::TopicId;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;
use tidelog_properties::history::{self, Op, OpId};

use crate::lives::label;
use crate::program::{Calls, Desk, Program};
use crate::scenario::{SECOND, Scenario, TopicSpec};

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 300_000;
/// So long before the end of the faults nothing is deleted any more: a late deletion must not hit the last life of a topic.
const PEACE: u64 = 20 * SECOND;

/// Where a topic is in its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// To be made at this moment.
    Missing(u64),
    Creating,
    /// It stands; its id, if the answer that told it arrived.
    Standing(Option<TopicId>),
    /// To be deleted (again) at this moment.
    Dying(Option<TopicId>, u64),
    Deleting(Option<TopicId>),
}

#[derive(Debug)]
struct Fate {
    spec: TopicSpec,
    stage: Stage,
    /// When it will be deleted, the next time last.
    ends: Vec<u64>,
}

/// So often a cluster may lack brokers for a topic before it is asked for with fewer replicas: one may be wiped, or lost, before
/// anybody knew of it.
const PATIENCE: u32 = 40;

/// See the module.
#[derive(Debug)]
pub(super) struct Admin {
    config: Config,
    rng: Rng,
    calls: Calls,
    fates: Vec<Fate>,
    asked: BTreeMap<CallId, (usize, OpId)>,
    /// How often there were too few brokers, if there may be for good.
    too_few: Option<u32>,
}

impl Admin {
    pub(super) fn new(scenario: &Scenario, mut config: Config, mut rng: Rng) -> Self {
        config.request_timeout = Duration::from_millis(2_000);
        config.delivery_timeout = Duration::from_millis(5_000);
        let last = scenario.chaos.saturating_sub(PEACE).max(6 * SECOND);
        let too_few = (scenario.rates.wipe > 0 || scenario.rates.rot > 0).then_some(0);
        let fates = scenario.topics.iter().map(|spec| {
            let mut ends: Vec<u64> = (0..spec.deletions).map(|_| rng.between(5 * SECOND, last)).collect();
            ends.sort_unstable_by(|a, b| b.cmp(a));
            Fate { spec: spec.clone(), stage: Stage::Missing(spec.late), ends }
        });
        Self { config, fates: fates.collect(), rng, calls: Calls::default(), asked: BTreeMap::new(), too_few }
    }

    /// Lets its client be set otherwise.
    pub(super) fn configure(&mut self, how: impl FnOnce(&mut Config)) {
        how(&mut self.config);
    }

    fn create(&mut self, at: usize, desk: &mut Desk<'_>) {
        let spec = self.fates[at].spec.clone();
        let TopicSpec { name, partitions, replication, min_insync, ahead_max_ms, behind_max_ms, .. } = spec;
        let partitions = partitions as i32;
        self.fates[at].stage = Stage::Creating;
        let op = desk.log.begin(Op::CreateTopic { topic: name.clone(), partitions, retention: false });
        let mut configs = match min_insync {
            1 => Vec::new(),
            more => vec![("min.insync.replicas".to_owned(), more.to_string())],
        };
        let TopicConfig { timestamp_after_max_ms, timestamp_before_max_ms, .. } = TopicConfig::default();
        if ahead_max_ms != timestamp_after_max_ms {
            configs.push(("message.timestamp.after.max.ms".to_owned(), ahead_max_ms.to_string()));
        }
        if behind_max_ms != timestamp_before_max_ms {
            configs.push(("message.timestamp.before.max.ms".to_owned(), behind_max_ms.to_string()));
        }
        let replication_factor = replication as i16;
        self.ask(at, op, Operation::CreateTopic { name, partitions, replication_factor, configs }, desk);
    }

    fn delete(&mut self, at: usize, id: Option<TopicId>, desk: &mut Desk<'_>) {
        self.fates[at].stage = Stage::Deleting(id);
        let name = self.fates[at].spec.name.clone();
        // A deletion by name is good for no more than to be met: nobody can say which life it hits.
        let (topic, operation) = match id {
            Some(id) if self.rng.per_mille(900) => (label(&name, id), Operation::DeleteTopicById { id }),
            Some(_) | None => (name.clone(), Operation::DeleteTopic { name }),
        };
        let op = desk.log.begin(Op::DeleteTopic { topic });
        self.ask(at, op, operation, desk);
    }

    fn ask(&mut self, at: usize, op: OpId, operation: Operation, desk: &mut Desk<'_>) {
        let call = self.calls.mint();
        self.asked.insert(call, (at, op));
        desk.calls.push((call, operation));
    }

    /// When it wants to think again.
    fn next(&self, now: u64) -> Option<u64> {
        let of_fate = |fate: &Fate| match fate.stage {
            Stage::Missing(at) | Stage::Dying(_, at) => Some(at),
            Stage::Standing(_) => fate.ends.last().copied(),
            Stage::Creating | Stage::Deleting(_) => None,
        };
        self.fates.iter().filter_map(of_fate).map(|at| at.max(now + 1)).min()
    }
}

impl Program for Admin {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if desk.board.take_hurry()
            && let Some(fate) = self.fates.iter_mut().find(|fate| fate.spec.deletions > 0)
            && let Stage::Standing(id) = fate.stage
        {
            fate.stage = Stage::Dying(id, desk.now);
        }
        for at in 0..self.fates.len() {
            let fate = &mut self.fates[at];
            if let Stage::Standing(id) = fate.stage
                && fate.ends.last().is_some_and(|end| *end <= desk.now)
            {
                fate.ends.pop();
                fate.stage = Stage::Dying(id, desk.now);
            }
            match self.fates[at].stage {
                Stage::Missing(when) if when <= desk.now => self.create(at, desk),
                Stage::Dying(id, when) if when <= desk.now => self.delete(at, id, desk),
                Stage::Missing(_) | Stage::Dying(..) | Stage::Creating | Stage::Standing(_) | Stage::Deleting(_) => {}
            }
        }
        desk.wake = self.next(desk.now);
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((at, op)) = self.asked.remove(&call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        let again = desk.now + AGAIN;
        let Fate { spec, stage, .. } = &self.fates[at];
        let error = match &result {
            Err(Failure::Definite { error, .. }) => Some(*error),
            Ok(_) | Err(Failure::Unknown { .. }) => None,
        };
        let next = match (*stage, &result) {
            (Stage::Creating, Ok(Outcome::Created { id })) => {
                if spec.deletions > 0 {
                    desk.log.topic_made(op, &spec.name, *id);
                }
                Stage::Standing(Some(*id))
            }
            (Stage::Creating, _) if error == Some(ErrorCode::TopicAlreadyExists) => Stage::Standing(None),
            (Stage::Creating, _) => Stage::Missing(again),
            (Stage::Deleting(_), result) => {
                let gone = matches!(error, Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId));
                match self.fates[at].stage {
                    _ if result.is_ok() || gone => Stage::Missing(desk.now + self.rng.below(3_000_000)),
                    Stage::Deleting(id) => Stage::Dying(id, again),
                    other => other,
                }
            }
            (Stage::Missing(_) | Stage::Standing(_) | Stage::Dying(..), _) => panic!("{stage:?} waits for no answer"),
        };
        match &result {
            Ok(_) => desk.log.end(op, history::Outcome::Done),
            Err(failure) => desk.log.fail(op, failure),
        }
        let Fate { spec, stage, .. } = &mut self.fates[at];
        *stage = next;
        if let (Some(ErrorCode::InvalidReplicationFactor), Some(times)) = (error, &mut self.too_few) {
            *times += 1;
            if *times > PATIENCE && spec.replication == 3 {
                spec.replication = 2;
                desk.board.thin();
            }
        }
        if matches!(stage, Stage::Standing(_)) {
            desk.board.post(&spec.name, spec.partitions as i32, spec.deletions > 0);
        }
        desk.wake = self.next(desk.now);
    }

    fn drain(&mut self) {
        self.fates.iter_mut().for_each(|fate| fate.ends.clear());
    }

    fn idle(&self) -> bool {
        self.asked.is_empty() && self.fates.iter().all(|fate| matches!(fate.stage, Stage::Standing(_)))
    }

    fn waiting_for(&self) -> String {
        let left = self.fates.iter().filter(|fate| !matches!(fate.stage, Stage::Standing(_)));
        let names: Vec<&str> = left.map(|fate| fate.spec.name.as_str()).collect();
        format!("the creation of {}", names.join(", "))
    }
}
