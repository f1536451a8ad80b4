//! The consumer: assigned partitions, their positions, and records fetched ahead of the caller.
//!
//! Promises that records of a partition are given in the order of their offsets, each once, from the position on, and that a
//! position changes only by what was given or by the caller's word: an offset out of range is an error, not a jump. Does not
//! know groups, nor connections.

use std::collections::{BTreeMap, VecDeque};

use super::api::{Assignment, CallId, Config, Consumed, Failure, Outcome, Position, Progress, Trouble};
use super::calls::{Owner, What};
use super::decode::{Fetched, decode};
use super::producer::{Completion, Place};
use crate::id::{Offset, TopicId};
use crate::kafka::ErrorCode;
use crate::kafka::messages::PartitionData;
use crate::time::{Duration, Instant};

/// One assigned partition.
///
/// - `position` is what the caller gets next; `fetched`, never below it, is what is fetched next; `ahead` is between them.
/// - A fetch in flight belongs to one `life`; a seek begins another.
#[derive(Debug)]
struct Reading {
    life: u64,
    position: i64,
    fetched: i64,
    ahead: VecDeque<Consumed>,
    high_watermark: Option<Offset>,
    error: Option<Failure>,
    in_flight: bool,
    retry_at: Instant,
    /// What came of the last fetch, if that is to be tried again.
    trouble: Option<(i32, ErrorCode)>,
}

#[derive(Debug)]
struct Poll {
    call: CallId,
    max_records: usize,
    deadline: Instant,
}

/// An assignment or a seek that still looks for offsets.
#[derive(Debug)]
struct Moving {
    call: CallId,
    /// Whether it replaces everything that is assigned.
    replaces: bool,
    found: BTreeMap<Place, i64>,
    missing: usize,
}

/// An offset that was asked for.
#[derive(Debug)]
struct Lookup {
    moving: u64,
    place: Place,
    at: Position,
}

/// What to ask a leader for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) place: Place,
    pub(super) life: u64,
    pub(super) offset: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Consumer {
    retry_backoff: Duration,
    assigned: BTreeMap<Place, Reading>,
    /// The partition that was served last: the others come first.
    served: Option<Place>,
    last_life: u64,
    poll: Option<Poll>,
    moving: BTreeMap<u64, Moving>,
    lookups: BTreeMap<u64, Lookup>,
    last_number: u64,
}

impl Consumer {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            retry_backoff: config.retry_backoff,
            assigned: BTreeMap::new(),
            served: None,
            last_life: 0,
            poll: None,
            moving: BTreeMap::new(),
            lookups: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// Begins an assignment. Gives the questions that must be answered first.
    pub(super) fn assign(
        &mut self,
        now: Instant,
        call: CallId,
        partitions: Vec<Assignment>,
        done: &mut Vec<Completion>,
    ) -> Vec<(Owner, What)> {
        self.assigned.clear();
        let superseded: Vec<u64> = self.moving.keys().copied().collect();
        for number in superseded {
            let failure = Failure::definite(ErrorCode::InvalidRequest, "another assignment took its place");
            self.fail_moving(number, &failure, done);
        }
        self.begin_move(now, call, true, partitions, done)
    }

    /// Begins a seek. Gives the questions that must be answered first.
    pub(super) fn seek(
        &mut self,
        now: Instant,
        call: CallId,
        to: Assignment,
        done: &mut Vec<Completion>,
    ) -> Vec<(Owner, What)> {
        if !self.assigned.contains_key(&(to.topic.clone(), to.partition)) {
            let message = format!("{}/{} is not assigned: assign it first", to.topic, to.partition);
            done.push((call, Err(Failure::definite(ErrorCode::InvalidRequest, message))));
            return Vec::new();
        }
        self.begin_move(now, call, false, vec![to], done)
    }

    fn begin_move(
        &mut self,
        now: Instant,
        call: CallId,
        replaces: bool,
        partitions: Vec<Assignment>,
        done: &mut Vec<Completion>,
    ) -> Vec<(Owner, What)> {
        self.last_number += 1;
        let number = self.last_number;
        let mut moving = Moving { call, replaces, found: BTreeMap::new(), missing: 0 };
        let mut questions = Vec::new();
        for Assignment { topic, partition, from } in partitions {
            let place = (topic, partition);
            match from {
                Position::Offset(Offset(offset)) => {
                    moving.found.insert(place, offset);
                }
                at @ (Position::Earliest | Position::Latest | Position::MaxTimestamp | Position::Timestamp(_)) => {
                    moving.missing += 1;
                    questions.push(self.ask(number, place, at));
                }
            }
        }
        self.moving.insert(number, moving);
        self.finish_move(now, number, done);
        questions
    }

    fn ask(&mut self, moving: u64, place: Place, at: Position) -> (Owner, What) {
        self.last_number += 1;
        let what = What::Offset { topic: place.0.clone(), partition: place.1, at };
        self.lookups.insert(self.last_number, Lookup { moving, place, at });
        (Owner::Consumer(self.last_number), what)
    }

    /// Takes the answer to a question. Gives the next one, if the answer was that there is no such record.
    pub(super) fn found(
        &mut self,
        now: Instant,
        number: u64,
        result: Result<Outcome, Failure>,
        done: &mut Vec<Completion>,
    ) -> Option<(Owner, What)> {
        let Lookup { moving: number, place, at } = self.lookups.remove(&number)?;
        let moving = self.moving.get_mut(&number)?;
        match result {
            Ok(Outcome::Offset { offset: Some(offset), .. }) => {
                moving.missing -= 1;
                moving.found.insert(place, offset.0);
                self.finish_move(now, number, done);
                None
            }
            Ok(_) if at != Position::Latest => Some(self.ask(number, place, Position::Latest)),
            Ok(_) => {
                let message = format!("the leader of {}/{} tells no offset", place.0, place.1);
                self.fail_moving(number, &Failure::definite(ErrorCode::OffsetNotAvailable, message), done);
                None
            }
            Err(failure) => {
                self.fail_moving(number, &failure, done);
                None
            }
        }
    }

    fn fail_moving(&mut self, number: u64, failure: &Failure, done: &mut Vec<Completion>) {
        self.lookups.retain(|_, lookup| lookup.moving != number);
        if let Some(moving) = self.moving.remove(&number) {
            done.push((moving.call, Err(failure.clone())));
        }
    }

    fn finish_move(&mut self, now: Instant, number: u64, done: &mut Vec<Completion>) {
        if self.moving.get(&number).is_none_or(|moving| moving.missing > 0) {
            return;
        }
        let Some(moving) = self.moving.remove(&number) else {
            return;
        };
        for (place, position) in moving.found {
            if !moving.replaces && !self.assigned.contains_key(&place) {
                // It was taken away while the offset was looked for.
                let failure = Failure::definite(ErrorCode::InvalidRequest, "another assignment took its place");
                done.push((moving.call, Err(failure)));
                return;
            }
            self.last_life += 1;
            let reading = Reading {
                life: self.last_life,
                position,
                fetched: position,
                ahead: VecDeque::new(),
                high_watermark: None,
                error: None,
                in_flight: false,
                retry_at: now,
                trouble: None,
            };
            self.assigned.insert(place, reading);
        }
        done.push((moving.call, Ok(Outcome::Assigned { progress: self.progress() })));
    }

    pub(super) fn poll(
        &mut self,
        now: Instant,
        call: CallId,
        max_records: usize,
        max_wait: Duration,
        done: &mut Vec<Completion>,
    ) {
        if self.poll.is_some() {
            let failure = Failure::definite(ErrorCode::InvalidRequest, "another poll waits: one at a time");
            done.push((call, Err(failure)));
            return;
        }
        self.poll = Some(Poll { call, max_records: max_records.max(1), deadline: now + max_wait });
    }

    /// Answers the poll that waits, if it can be.
    pub(super) fn serve(&mut self, now: Instant, done: &mut Vec<Completion>) {
        let Some(poll) = self.poll.take() else { return };
        let records = self.take_records(poll.max_records);
        let error = if records.is_empty() { self.assigned.values_mut().find_map(|it| it.error.take()) } else { None };
        if let Some(failure) = error {
            done.push((poll.call, Err(failure)));
        } else if !records.is_empty() || now >= poll.deadline {
            done.push((poll.call, Ok(Outcome::Polled { records, progress: self.progress() })));
        } else {
            self.poll = Some(poll);
        }
    }

    fn take_records(&mut self, max: usize) -> Vec<Consumed> {
        let mut records = Vec::new();
        let after = |place: &Place| self.served.as_ref().is_some_and(|served| place > served);
        let (first, then): (Vec<Place>, Vec<Place>) = self.assigned.keys().cloned().partition(after);
        for place in first.into_iter().chain(then) {
            let Some(reading) = self.assigned.get_mut(&place) else {
                continue;
            };
            let room = max - records.len();
            if room == 0 {
                break;
            }
            let count = room.min(reading.ahead.len());
            if count == 0 {
                continue;
            }
            records.extend(reading.ahead.drain(..count));
            // What lies between the last record and the next fetch is gaps: passed once everything before them was given.
            let next = reading.ahead.front().map(|next| next.offset.0);
            reading.position = next.unwrap_or(reading.fetched);
            self.served = Some(place);
        }
        records
    }

    fn progress(&self) -> Vec<Progress> {
        let progress = self.assigned.iter().map(|((topic, partition), reading)| Progress {
            topic: topic.clone(),
            partition: *partition,
            position: Offset(reading.position),
            high_watermark: reading.high_watermark,
        });
        progress.collect()
    }

    /// What the waiting poll wants fetched; nothing if nobody waits. The partitions that were not served last come first.
    pub(super) fn wanted(&self, now: Instant) -> Vec<Wanted> {
        if self.poll.is_none() {
            return Vec::new();
        }
        let idle = self.assigned.iter().filter(|(_, reading)| {
            reading.ahead.is_empty() && !reading.in_flight && reading.error.is_none() && now >= reading.retry_at
        });
        let (first, then): (Vec<_>, Vec<_>) = idle
            .map(|(place, reading)| Wanted { place: place.clone(), life: reading.life, offset: reading.fetched })
            .partition(|wanted| self.served.as_ref().is_some_and(|served| wanted.place > *served));
        first.into_iter().chain(then).collect()
    }

    /// How long the waiting poll still waits.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        self.poll.as_ref().map_or(Duration::ZERO, |poll| poll.deadline.since(now))
    }

    pub(super) fn sent(&mut self, wanted: &Wanted) {
        if let Some(reading) = self.reading(wanted) {
            reading.in_flight = true;
        }
    }

    fn reading(&mut self, wanted: &Wanted) -> Option<&mut Reading> {
        self.assigned.get_mut(&wanted.place).filter(|reading| reading.life == wanted.life)
    }

    /// Takes what came of a fetch from this broker; `None` if nothing did. Says whether metadata proved stale.
    pub(super) fn fetched(
        &mut self,
        now: Instant,
        node: i32,
        wanted: &Wanted,
        data: Option<(TopicId, &PartitionData)>,
        room: &mut usize,
    ) -> bool {
        let retry_at = now + self.retry_backoff;
        let Some(reading) = self.reading(wanted) else {
            return false;
        };
        reading.in_flight = false;
        let Some((topic_id, data)) = data else {
            reading.retry_at = retry_at;
            reading.trouble = Some((node, ErrorCode::NetworkException));
            return true;
        };
        reading.trouble = None;
        let (topic, partition) = &wanted.place;
        let known = ErrorCode::from_code(data.error_code);
        match known.unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => {
                reading.high_watermark = Some(Offset(data.high_watermark)).filter(|at| at.0 >= 0);
                let records = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
                match decode(&wanted.place, topic_id, wanted.offset, records, room) {
                    Ok(Fetched { records, next }) => {
                        if next == wanted.offset && data.high_watermark > wanted.offset {
                            // Nothing although there is something: not at once again.
                            reading.retry_at = retry_at;
                        }
                        reading.fetched = next;
                        reading.ahead = records;
                        if reading.ahead.is_empty() {
                            reading.position = next;
                        }
                    }
                    Err(damage) => {
                        let message = format!("{topic}/{partition} can not be read at {}: {damage}", wanted.offset);
                        reading.error = Some(Failure::definite(ErrorCode::CorruptMessage, message));
                        reading.retry_at = retry_at;
                    }
                }
                false
            }
            ErrorCode::OffsetOutOfRange => {
                let message = format!("offset {} of {topic}/{partition} is out of range: seek first", wanted.offset);
                reading.error = Some(Failure::definite(ErrorCode::OffsetOutOfRange, message));
                false
            }
            error if error.is_retriable() || error == ErrorCode::UnknownServerError => {
                reading.retry_at = retry_at;
                reading.trouble = Some((node, error));
                true
            }
            error => {
                let message = format!("{topic}/{partition} can not be read: {}", error.name());
                reading.error = Some(Failure::definite(error, message));
                reading.retry_at = retry_at;
                false
            }
        }
    }

    /// Partitions that could not be fetched from, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.assigned.iter().filter_map(|(place, reading)| {
            let (broker, error) = reading.trouble?;
            Some(Trouble { place: Some(place.clone()), broker: Some(broker), error })
        })
    }

    /// The next moment at which something here changes by itself, after `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let poll = self.poll.as_ref()?;
        let retries = self.assigned.values().map(|reading| reading.retry_at);
        retries.chain([poll.deadline]).filter(|at| *at > now).min()
    }
}
