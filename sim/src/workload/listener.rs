//! After the heal: a consumer that has read everything and waits for more, in fetches that wait for long. What it is given, and when,
//! it posts on the board.

use std::collections::BTreeMap;

use tidelog_core::client::{Assignment, CallId, Config, Failure, Operation, Outcome, Position};
use tidelog_core::time::Duration;
use tidelog_properties::history::OpId;

use crate::program::{Calls, Desk, Program};

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 100_000;

#[derive(Debug)]
enum Doing {
    Assign,
    Poll(Vec<(String, i32, OpId)>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Listener {
    config: Config,
    wait: u64,
    calls: Calls,
    doing: Option<(CallId, Doing)>,
    positions: BTreeMap<(String, i32), i64>,
}

impl Listener {
    pub(super) fn new(config: Config, wait: u64) -> Self {
        Self { config, wait, calls: Calls::default(), doing: None, positions: BTreeMap::new() }
    }
}

impl Program for Listener {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.doing.is_some() {
            return;
        }
        let call = self.calls.mint();
        if self.positions.is_empty() {
            let from = Position::Latest;
            let all = desk.board.partitions().into_iter();
            let partitions = all.map(|(topic, partition)| Assignment { topic, partition, from }).collect();
            self.doing = Some((call, Doing::Assign));
            desk.calls.push((call, Operation::Assign { partitions }));
            return;
        }
        let polls = self.positions.iter().map(|((topic, partition), from)| {
            (topic.clone(), *partition, desk.log.poll(topic, *partition, *from, false))
        });
        self.doing = Some((call, Doing::Poll(polls.collect())));
        let max_wait = Duration::from_micros(self.wait);
        desk.calls.push((call, Operation::Poll { max_records: 500, max_wait }));
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((_, doing)) = self.doing.take().filter(|(asked, _)| *asked == call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        desk.wake = Some(desk.now + 1);
        match (doing, result) {
            (Doing::Assign, Ok(Outcome::Assigned { progress })) => {
                for at in &progress {
                    desk.log.assigned(&at.topic, at.partition);
                }
                self.positions = progress.into_iter().map(|at| ((at.topic, at.partition), at.position.0)).collect();
            }
            (Doing::Poll(polls), Ok(Outcome::Polled { records, progress })) => {
                self.positions = progress.into_iter().map(|at| ((at.topic, at.partition), at.position.0)).collect();
                for (topic, partition, op) in polls {
                    let Some(next) = self.positions.get(&(topic.clone(), partition)).copied() else {
                        panic!("a poll of {topic}-{partition} gave no progress there");
                    };
                    let here = records.iter().filter(|record| record.topic == topic && record.partition == partition);
                    desk.log.polled(op, here, next);
                }
                for record in records {
                    desk.board.heard((record.topic, record.partition, record.offset.0), desk.now);
                }
            }
            (doing, Ok(other)) => panic!("{doing:?} gave {other:?}"),
            (doing, Err(failure)) => {
                desk.wake = Some(desk.now + AGAIN);
                match doing {
                    Doing::Assign => {}
                    Doing::Poll(polls) => {
                        polls.into_iter().for_each(|(_, _, op)| desk.log.fail_poll(op, &failure));
                    }
                }
            }
        }
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        // It listens for as long as the act lasts.
        true
    }

    fn ready(&self) -> bool {
        matches!(self.doing, Some((_, Doing::Poll(_))))
    }

    fn waiting_for(&self) -> String {
        "more records".to_owned()
    }
}
