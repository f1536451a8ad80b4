//! After the heal: a fresh consumer that reads every partition from its start to the end it had when asked.

use std::collections::BTreeMap;

use tidelog_core::client::{Assignment, CallId, Config, Failure, Operation, Outcome, Position};
use tidelog_core::time::Duration;
use tidelog_properties::history::{self, OpId, Which};

use crate::program::{Calls, Desk, Program};

/// Microseconds between a failure and the next attempt.
const AGAIN: u64 = 200_000;

type Place = (String, i32);

#[derive(Debug)]
enum Doing {
    End(Place, OpId),
    Assign,
    Poll(Vec<(Place, OpId)>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    config: Config,
    calls: Calls,
    places: Option<Vec<Place>>,
    ends: BTreeMap<Place, i64>,
    positions: BTreeMap<Place, i64>,
    doing: Option<(CallId, Doing)>,
    last_failure: String,
}

impl Reader {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            calls: Calls::default(),
            places: None,
            ends: BTreeMap::new(),
            positions: BTreeMap::new(),
            doing: None,
            last_failure: "no call has failed".to_owned(),
        }
    }

    fn unfinished(&self) -> Option<Place> {
        let behind = |(place, end): &(&Place, &i64)| self.positions.get(*place).is_none_or(|at| at < end);
        self.ends.iter().find(behind).map(|(place, _)| place.clone())
    }
}

impl Program for Reader {
    fn config(&self) -> Config {
        self.config.clone()
    }

    fn wake(&mut self, desk: &mut Desk<'_>) {
        if self.doing.is_some() {
            return;
        }
        let places = self.places.get_or_insert_with(|| desk.board.partitions()).clone();
        let (doing, operation) = if let Some(place) = places.iter().find(|place| !self.ends.contains_key(*place)) {
            let op = desk.log.offsets(&place.0, place.1, Which::Latest);
            let (topic, partition) = place.clone();
            let at = Position::Latest;
            (Doing::End(place.clone(), op), Operation::ListOffsets { topic, partition, at })
        } else if self.positions.is_empty() && !places.is_empty() {
            let from = Position::Earliest;
            let partitions =
                places.into_iter().map(|(topic, partition)| Assignment { topic, partition, from }).collect();
            (Doing::Assign, Operation::Assign { partitions })
        } else if self.unfinished().is_some() {
            let polls = self
                .positions
                .iter()
                .map(|(place, from)| (place.clone(), desk.log.poll(&place.0, place.1, *from, true)))
                .collect();
            let operation = Operation::Poll { max_records: 500, max_wait: Duration::from_millis(200) };
            (Doing::Poll(polls), operation)
        } else {
            return;
        };
        let call = self.calls.mint();
        self.doing = Some((call, doing));
        desk.calls.push((call, operation));
    }

    fn completed(&mut self, call: CallId, result: Result<Outcome, Failure>, desk: &mut Desk<'_>) {
        let Some((_, doing)) = self.doing.take().filter(|(asked, _)| *asked == call) else {
            panic!("the client ended {call:?}, which nobody asked for");
        };
        desk.wake = Some(desk.now + 1);
        match (doing, result) {
            (Doing::End(place, op), Ok(Outcome::Offset { offset, timestamp, .. })) => {
                let outcome = history::Outcome::Offsets {
                    offset: offset.map(|offset| offset.0),
                    timestamp: timestamp.map(|timestamp| timestamp.0),
                };
                desk.log.end(op, outcome);
                if let Some(end) = offset {
                    self.ends.insert(place, end.0);
                }
            }
            (Doing::Assign, Ok(Outcome::Assigned { progress })) => {
                for at in &progress {
                    desk.log.assigned(&at.topic, at.partition);
                }
                self.positions = progress.into_iter().map(|at| ((at.topic, at.partition), at.position.0)).collect();
            }
            (Doing::Poll(polls), Ok(Outcome::Polled { records, progress })) => {
                self.positions = progress.into_iter().map(|at| ((at.topic, at.partition), at.position.0)).collect();
                for (place, op) in polls {
                    let Some(next) = self.positions.get(&place).copied() else {
                        panic!("a poll of {place:?} gave no progress there");
                    };
                    let here = records.iter().filter(|record| record.topic == place.0 && record.partition == place.1);
                    desk.log.polled(op, here, next);
                }
            }
            (doing, Ok(other)) => panic!("{doing:?} gave {other:?}"),
            (doing, Err(failure)) => {
                self.last_failure = failure.to_string();
                desk.wake = Some(desk.now + AGAIN);
                let ops: Vec<OpId> = match doing {
                    Doing::End(_, op) => vec![op],
                    Doing::Assign => Vec::new(),
                    Doing::Poll(polls) => polls.into_iter().map(|(_, op)| op).collect(),
                };
                ops.into_iter().for_each(|op| desk.log.fail_poll(op, &failure));
            }
        }
    }

    fn drain(&mut self) {}

    fn idle(&self) -> bool {
        let known = self.places.as_ref().is_some_and(|places| places.len() == self.ends.len());
        known && self.doing.is_none() && self.unfinished().is_none()
    }

    fn waiting_for(&self) -> String {
        let what = match self.unfinished() {
            Some((topic, partition)) => format!("the records of {topic}-{partition}"),
            None => "the ends of the partitions".to_owned(),
        };
        format!("{what} (final reader; {})", self.last_failure)
    }
}
