//! A client that reads: takes up partitions from the start, polls, seeks now and then, asks for offsets.

use std::collections::BTreeMap;

use tidelog_core::client::{Assignment, CallId, Config, Failure, Operation, Outcome, Position, Progress};
use tidelog_core::id::Offset;
use tidelog_core::kafka::ErrorCode;
use tidelog_core::rng::Rng;
use tidelog_core::time::{Duration, Timestamp};
use tidelog_properties::history::{self, OpId, Which};

use crate::program::{Calls, Desk, Program, another_life};
use crate::scenario::ConsumerSpec;

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 150_000;
/// One thought in so many thousand gives up all partitions and takes up others.
const REASSIGN: u64 = 4;

#[derive(Debug)]
enum Doing {
    Assign,
    Seek { topic: String, partition: i32, told: i64 },
    Poll(Vec<(String, i32, OpId)>),
    Offsets(OpId),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Consumer {
    spec: ConsumerSpec,
    /// The longest it waits in a poll, if it is patient: microseconds.
    patience: Option<u64>,
    config: Config,
    rng: Rng,
    calls: Calls,
    doing: Option<(CallId, Doing)>,
    positions: BTreeMap<(String, i32), i64>,
    known: usize,
    /// Started again: it goes on from where it was.
    resumes: bool,
    draining: bool,
}

fn kept(progress: &[Progress]) -> BTreeMap<(String, i32), i64> {
    progress.iter().map(|at| ((at.topic.clone(), at.partition), at.position.0)).collect()
}

impl Consumer {
    pub(super) fn new(spec: ConsumerSpec, patience: Option<u64>, config: Config, rng: Rng) -> Self {
        Self {
            spec,
            patience,
            config,
            rng,
            calls: Calls::default(),
            doing: None,
            positions: BTreeMap::new(),
            known: 0,
            resumes: false,
            draining: false,
        }
    }

    fn call(&mut self, desk: &mut Desk<'_>, doing: Doing, operation: Operation) {
        let call = self.calls.mint();
        self.doing = Some((call, doing));
        desk.calls.push((call, operation));
    }

    fn assign(&mut self, desk: &mut Desk<'_>) {
        let all = desk.board.partitions();
        self.known = all.len();
        let mut chosen: Vec<(String, i32)> = all.iter().filter(|_| self.rng.per_mille(700)).cloned().collect();
        if chosen.is_empty() {
            chosen.extend(self.rng.pick(&all).cloned());
        }
        if chosen.is_empty() {
            return;
        }
        let from = if self.rng.per_mille(850) { Position::Earliest } else { Position::Latest };
        let partitions = chosen.into_iter().map(|(topic, partition)| Assignment { topic, partition, from }).collect();
        self.positions.clear();
        self.call(desk, Doing::Assign, Operation::Assign { partitions });
    }

    /// Takes up what it read in its life before, where it was.
    fn resume(&mut self, desk: &mut Desk<'_>) {
        let positions = std::mem::take(&mut self.positions);
        let from = |at| Position::Offset(Offset(at));
        let partitions = positions
            .into_iter()
            .map(|((topic, partition), at)| Assignment { topic, partition, from: from(at) })
            .collect();
        self.call(desk, Doing::Assign, Operation::Assign { partitions });
    }

    fn poll(&mut self, desk: &mut Desk<'_>) {
        let polls = self
            .positions
            .iter()
            .map(|((topic, partition), from)| {
                (topic.clone(), *partition, desk.log.poll(topic, *partition, *from, false))
            })
            .collect();
        let max_records = self.rng.between(1, 200) as usize;
        let max_wait = match self.patience {
            Some(longest) => Duration::from_micros(self.rng.between(longest / 10, longest)),
            None => Duration::from_millis(self.rng.between(10, 300)),
        };
        self.call(desk, Doing::Poll(polls), Operation::Poll { max_records, max_wait });
    }

    /// One partition of those it reads, and its position.
    fn some_partition(&mut self) -> Option<((String, i32), i64)> {
        let nth = self.rng.below(self.positions.len() as u64) as usize;
        self.positions.iter().nth(nth).map(|(place, at)| (place.clone(), *at))
    }

    fn seek(&mut self, desk: &mut Desk<'_>) {
        let Some(((topic, partition), at)) = self.some_partition() else {
            return;
        };
        let (told, from) = match self.rng.below(4) {
            0 => (-1, Position::Earliest),
            1 => (-1, Position::Latest),
            _ => {
                let to = self.rng.below(at.max(0) as u64 + 1) as i64;
                (to, Position::Offset(Offset(to)))
            }
        };
        let doing = Doing::Seek { topic: topic.clone(), partition, told };
        let to = Assignment { topic, partition, from };
        self.call(desk, doing, Operation::Seek { to });
    }

    fn ask(&mut self, desk: &mut Desk<'_>) {
        let Some(((topic, partition), _)) = self.some_partition() else {
            return;
        };
        let (which, at) = match self.rng.below(4) {
            0 => (Which::Earliest, Position::Earliest),
            1 | 2 => (Which::Latest, Position::Latest),
            _ => {
                let time = desk.clocks.wall.0 - self.rng.below(20_000) as i64;
                (Which::Time(time), Position::Timestamp(Timestamp(time)))
            }
        };
        let op = desk.log.offsets(&topic, partition, which);
        self.call(desk, Doing::Offsets(op), Operation::ListOffsets { topic, partition, at });
    }
}

impl Program for Consumer {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn restarted(&mut self, life: u64) -> Config {
        self.doing = None;
        self.resumes = true;
        another_life(&self.config, life)
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.doing.is_some() || self.draining {
            return;
        }
        let partitions = desk.board.partitions().len();
        if std::mem::take(&mut self.resumes) && !self.positions.is_empty() {
            self.resume(desk);
        } else if self.positions.is_empty()
            || (self.known < partitions && self.rng.per_mille(100))
            || self.rng.per_mille(REASSIGN)
        {
            self.assign(desk);
        } else if self.rng.per_mille(self.spec.seeks) {
            self.seek(desk);
        } else if self.rng.per_mille(self.spec.asks) {
            self.ask(desk);
        } else {
            self.poll(desk);
        }
        if self.doing.is_none() {
            desk.wake = Some(desk.now + AGAIN);
        }
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((_, doing)) = self.doing.take().filter(|(asked, _)| *asked == call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        let mut pause = self.rng.between(1, self.spec.pause);
        match (doing, result) {
            (Doing::Assign, Ok(Outcome::Assigned { progress })) => {
                // What failed left nothing assigned, so only what succeeded is worth writing down.
                for at in &progress {
                    desk.log.assigned(&at.topic, at.partition);
                }
                self.positions = kept(&progress);
            }
            (Doing::Seek { topic, partition, told }, Ok(Outcome::Assigned { progress })) => {
                desk.log.sought(&topic, partition, told);
                self.positions = kept(&progress);
            }
            (Doing::Poll(polls), Ok(Outcome::Polled { records, progress })) => {
                self.positions = kept(&progress);
                for (topic, partition, op) in polls {
                    let next = self.positions.get(&(topic.clone(), partition)).copied();
                    let Some(next) = next else {
                        panic!("a poll of {topic}-{partition} gave no progress there");
                    };
                    let here = records.iter().filter(|record| record.topic == topic && record.partition == partition);
                    desk.log.polled(op, here, next);
                }
            }
            (Doing::Offsets(op), Ok(Outcome::Offset { offset, timestamp, .. })) => {
                let outcome = history::Outcome::Offsets {
                    offset: offset.map(|offset| offset.0),
                    timestamp: timestamp.map(|timestamp| timestamp.0),
                };
                desk.log.end(op, outcome);
            }
            (doing, Ok(other)) => panic!("{doing:?} gave {other:?}"),
            (doing, Err(failure)) => {
                pause = AGAIN;
                let out_of_range = matches!(failure, Failure::Definite { error: ErrorCode::OffsetOutOfRange, .. });
                match doing {
                    Doing::Assign | Doing::Seek { .. } => self.positions.clear(),
                    Doing::Poll(polls) => {
                        polls.into_iter().for_each(|(_, _, op)| desk.log.fail_poll(op, &failure));
                        if out_of_range {
                            self.positions.clear();
                        }
                    }
                    Doing::Offsets(op) => desk.log.fail(op, &failure),
                }
            }
        }
        desk.wake = Some(desk.now + pause);
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self) -> bool {
        self.draining && self.doing.is_none()
    }

    fn waiting_for(&self) -> String {
        let what = match &self.doing {
            Some((_, Doing::Assign)) => "an assignment",
            Some((_, Doing::Seek { .. })) => "a seek",
            Some((_, Doing::Poll(_))) => "a poll",
            Some((_, Doing::Offsets(_))) => "an offset",
            None => "nothing",
        };
        format!("{what} (consumer)")
    }
}
