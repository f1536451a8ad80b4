//! Looking for a batch by time: the first with a record at or after a timestamp, or the first with the largest timestamp.
//!
//! A cursor moves over the offsets: segments, then index intervals, whose largest timestamp is too small are passed over; an
//! interval that may hold the batch is read from the disk, and the tail is looked through in memory.
//!
//! For the largest timestamp the same search is made with the largest one any segment knows. It can miss only if that one
//! lies below the log start, in the segment the log starts inside; then the search is made again with the next lower bound.

use bytes::{Bytes, BytesMut};

use super::Log;
use super::read::{Candidate, Goal, Lookup, Need, Outcome, Purpose};
use super::segment::{Entry, Segment};
use crate::id::Offset;
use crate::kafka::batch::{Check, views};
use crate::time::Timestamp;

const NEVER: Timestamp = Timestamp(i64::MIN);

/// A search that goes on.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// Where it began.
    start: Offset,
    /// Everything from `start` up to here was looked at.
    from: Offset,
    at_least: Timestamp,
    /// Only for the largest timestamp.
    bounds: Option<Bounds>,
}

/// What is known of the segment the search begins inside.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// No batch of the interval the search begins inside has a larger timestamp.
    inside: Timestamp,
    /// Some batch has it.
    inside_is_exact: bool,
    /// No batch of the intervals after it has a larger timestamp.
    after: Timestamp,
}

const UNBOUND: Bounds = Bounds { inside: NEVER, inside_is_exact: false, after: NEVER };

impl Log {
    /// Finds the first batch that holds an offset from `from` on, and whose largest timestamp is `at_least` or later.
    pub fn find_timestamp(&mut self, from: Offset, at_least: Timestamp) -> Lookup {
        let start = from.max(self.log_start);
        self.look_up(Search { start, from: start, at_least, bounds: None })
    }

    /// Finds the first batch with the largest timestamp of the log, if any batch has one (KIP-734).
    pub fn find_max_timestamp(&mut self) -> Lookup {
        let start = self.log_start;
        match self.largest() {
            Some(at_least) => self.look_up(Search { start, from: start, at_least, bounds: Some(UNBOUND) }),
            None => Lookup::None,
        }
    }

    /// No batch has a larger timestamp, if any has one; but perhaps none from the log start on has this one.
    fn largest(&self) -> Option<Timestamp> {
        let live = self.segments.iter().filter(|segment| segment.next > self.log_start);
        live.map(|segment| segment.max_timestamp).max().filter(|largest| *largest >= Timestamp(0))
    }

    fn look_up(&mut self, mut search: Search) -> Lookup {
        match self.plan_find(&mut search) {
            Outcome::Candidate(Some(candidate)) => Lookup::Found(candidate),
            Outcome::Candidate(None) => Lookup::None,
            Outcome::Need(need) => Lookup::Pending(self.reads.begin(Goal::Find(search), need)),
            Outcome::Batches(_) | Outcome::Failed(_) => unreachable!("a plan reads nothing"),
        }
    }

    /// Moves the cursor as far as memory allows.
    pub(super) fn plan_find(&self, search: &mut Search) -> Outcome {
        if search.start < self.log_start {
            search.start = self.log_start;
            search.from = search.from.max(search.start);
            // What is known of the largest timestamp was known of another log.
            if search.bounds.is_some() {
                let Some(largest) = self.largest() else {
                    return Outcome::Candidate(None);
                };
                *search = Search { from: search.start, at_least: largest, bounds: Some(UNBOUND), ..*search };
            }
        }
        loop {
            if search.from >= self.tail_start() {
                if let Some(batch) = self.tail.first_at_least(search.from, search.at_least) {
                    let mut bytes = BytesMut::with_capacity(batch.head.len() + batch.body.len());
                    bytes.extend_from_slice(&batch.head);
                    bytes.extend_from_slice(&batch.body);
                    let next = Offset(batch.last_offset.0 + 1);
                    return Outcome::Candidate(Some(Candidate { batch: bytes.freeze(), next }));
                }
                if self.lower(search) {
                    continue;
                }
                return Outcome::Candidate(None);
            }
            let segment = self.segment_of(search.from).expect("every offset of the log is in a segment");
            if segment.max_timestamp < search.at_least {
                search.from = segment.next;
                continue;
            }
            let entries = match self.index_of(segment) {
                Ok(entries) => entries,
                Err(need) => return Outcome::Need(need),
            };
            search.look_at(segment, entries);
            match self.interval(search, segment, entries) {
                Some(need) => return Outcome::Need(need),
                None => continue,
            }
        }
    }

    /// The next interval of a segment that may hold the batch. Without one, moves the cursor to where the search goes on.
    fn interval(&self, search: &mut Search, segment: &Segment, entries: &[Entry]) -> Option<Need> {
        let first = entries.partition_point(|entry| entry.offset <= search.from) - 1;
        let found = (first..entries.len()).find(|at| entries[*at].max_timestamp >= search.at_least);
        let Some(at) = found else {
            search.from = segment.next;
            return None;
        };
        let entry = entries[at];
        if entry.offset >= self.tail_start() {
            search.from = search.from.max(entry.offset);
            return None;
        }
        let end = entries.get(at + 1).map_or(segment.len, |next| next.position).min(segment.written);
        Some(Need {
            file: segment.file.expect("what is not in the tail is written"),
            at: entry.position,
            len: end - entry.position,
            purpose: Purpose::Batches { expect: entry.offset, end },
        })
    }

    /// Looks through an interval that was read.
    pub(super) fn scan(&self, search: &mut Search, need: &Need, expect: Offset, bytes: Bytes) -> Outcome {
        search.from = search.from.max(self.log_start);
        let mut next = expect;
        let mut largest = NEVER;
        for view in views(bytes, Check::Header) {
            let view = match view {
                Ok(view) => view,
                Err(damage) => return need.damaged(damage),
            };
            if view.base_offset() != next {
                return need.damaged(format_args!("offset {} where {next} was written", view.base_offset()));
            }
            next = Offset(view.last_offset().0.saturating_add(1));
            if view.last_offset() >= search.from && view.max_timestamp() >= search.at_least {
                if let Some(Err(damage)) = views(view.bytes().clone(), Check::Crc).next() {
                    return need.damaged(damage);
                }
                return Outcome::Candidate(Some(Candidate { batch: view.bytes().clone(), next }));
            }
            if view.last_offset() >= search.start {
                largest = largest.max(view.max_timestamp());
            }
        }
        if let Some(bounds) = search.bounds.as_mut().filter(|_| expect < search.start) {
            bounds.inside = largest;
            bounds.inside_is_exact = true;
        }
        search.from = next;
        self.plan_find(search)
    }

    /// Begins again with the next lower timestamp that may be the largest, if there is one.
    fn lower(&self, search: &mut Search) -> bool {
        let Some(bounds) = search.bounds else { return false };
        let whole = self.segments.iter().filter(|segment| segment.base >= search.start);
        let known = whole.map(|segment| segment.max_timestamp).chain([bounds.inside, bounds.after]);
        let tail = self.tail.from(search.start.max(self.tail_start())).map(|batch| batch.max_timestamp);
        let lower = known.chain(tail).max().unwrap_or(NEVER);
        if lower >= search.at_least || lower < Timestamp(0) {
            return false;
        }
        search.at_least = lower;
        search.from = search.start;
        true
    }
}

impl Search {
    /// Learns from the index of the segment the search begins inside.
    fn look_at(&mut self, segment: &Segment, entries: &[Entry]) {
        let start = self.start;
        let Some(bounds) = self.bounds.as_mut().filter(|_| segment.base < start) else {
            return;
        };
        let first_after = entries.partition_point(|entry| entry.offset < start);
        bounds.after = entries[first_after..].iter().map(|entry| entry.max_timestamp).max().unwrap_or(NEVER);
        if !bounds.inside_is_exact {
            let inside = match entries.get(first_after) {
                Some(after) if after.offset == start => None,
                Some(_) | None => entries[..first_after].last(),
            };
            bounds.inside = inside.map_or(NEVER, |entry| entry.max_timestamp);
        }
    }
}
