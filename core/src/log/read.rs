//! Reading from an offset: from the tail at once, else from files in one to three steps (index, batches, a large batch again).
//!
//! What comes from a file is checked before it is given out: offsets, lengths, CRCs. Damage is told, not served.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::find::Search;
use super::segment::{Entry, Index, IndexFile, Segment, decode_index, floor};
use super::writer::{Op, bytes_of};
use super::{Condition, Done, Log};
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::{FileId, Offset};
use crate::kafka::batch::{Check, Damage, HEADER_BYTES, Header, views};

/// A read that waits for the disk; never reused within a log's life in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// What a read gives at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// Whole batches; the first may begin below the offset asked for. Empty if the first is larger than what was asked for.
    Ready(Vec<Bytes>),
    /// [`Done::Read`] follows.
    Pending(ReadId),
    /// The offset is the next one: there is nothing yet.
    AtEnd,
    /// The offset is below the log start, or beyond the end.
    OutOfRange,
}

/// What a lookup by time gives at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Look into this batch.
    Found(Candidate),
    /// No batch has such a record.
    None,
    /// [`Done::Lookup`] follows.
    Pending(ReadId),
}

/// The first batch whose header says that it has such a record. Headers of compressed batches are believed, and the log may
/// start inside it; so if the record is not in it after all, look again from `next`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The whole batch.
    pub batch: Bytes,
    /// The offset after it.
    pub next: Offset,
}

/// Why a pending read gave nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The log start moved beyond it meanwhile.
    OutOfRange,
    /// The file does not hold what was written to it.
    Damaged {
        /// Which one.
        file: FileId,
        /// What is wrong.
        what: String,
    },
    /// The disk did not give it.
    Disk(DiskError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("the log starts later"),
            Self::Damaged { file, what } => write!(f, "{file} is damaged: {what}"),
            Self::Disk(error) => write!(f, "the disk failed: {error:?}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads that wait, and the last index file that was read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next_id: u64,
    pending: BTreeMap<ReadId, Pending>,
    /// Those whose next command is not issued yet.
    wanted: Vec<ReadId>,
    /// How many reads of a file are out.
    outstanding: BTreeMap<FileId, u64>,
    cached_index: Option<(FileId, Vec<Entry>)>,
}

#[derive(Debug)]
struct Pending {
    goal: Goal,
    need: Need,
}

#[derive(Clone, Debug)]
pub(super) enum Goal {
    Fetch(Fetch),
    Find(Search),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch {
    from: Offset,
    max_bytes: u64,
    at_least_one: bool,
}

/// A piece of a file that a goal needs next.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) file: FileId,
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Index(IndexFile),
    /// Batches, of which the first begins at this offset, in a file that is written up to `end`.
    Batches {
        expect: Offset,
        end: u64,
    },
}

/// How far a goal got.
pub(super) enum Outcome {
    Batches(Vec<Bytes>),
    Candidate(Option<Candidate>),
    Need(Need),
    Failed(ReadError),
}

impl Reads {
    pub(super) fn is_reading(&self, file: FileId) -> bool {
        self.outstanding.contains_key(&file)
    }

    pub(super) fn begin(&mut self, goal: Goal, need: Need) -> ReadId {
        let id = ReadId(self.next_id);
        self.next_id += 1;
        self.resume(id, goal, need);
        id
    }

    fn resume(&mut self, id: ReadId, goal: Goal, need: Need) {
        self.pending.insert(id, Pending { goal, need });
        self.wanted.push(id);
    }

    /// A file is being read.
    pub(super) fn hold(&mut self, file: FileId) {
        *self.outstanding.entry(file).or_default() += 1;
    }

    /// Whoever waits, waits in vain. Reads that are out are still counted.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
        self.wanted.clear();
        self.cached_index = None;
    }

    pub(super) fn release(&mut self, file: FileId) {
        let count = self.outstanding.get_mut(&file).expect("a read that ended was out");
        *count -= 1;
        if *count == 0 {
            self.outstanding.remove(&file);
        }
    }
}

impl Need {
    pub(super) fn damaged(&self, what: impl fmt::Display) -> Outcome {
        Outcome::Failed(ReadError::Damaged { file: self.file, what: what.to_string() })
    }
}

impl Log {
    /// Whether [`Done::Read`] or [`Done::Lookup`] will follow for this read: it is at the disk, or about to be.
    pub fn is_reading(&self, read: ReadId) -> bool {
        let out = |op: &Op| matches!(op, Op::Read { id, .. } if *id == read);
        self.reads.pending.contains_key(&read)
            && (self.reads.wanted.contains(&read)
                || self.ops.iter().any(|(tag, op)| out(op) && !self.stale.contains(tag)))
    }

    /// Whether its state is at the disk, or about to be asked for.
    pub fn is_restoring(&self) -> bool {
        match &self.condition {
            Condition::Restoring { asked, .. } => !asked || self.ops.values().any(|op| matches!(op, Op::ReadState)),
            Condition::Usable | Condition::Full | Condition::Failed => false,
        }
    }

    /// Reads whole batches, from the one that holds `from` on, to at most `max_bytes`; but if `at_least_one`, the first one
    /// however large (KIP-74).
    pub fn read(&mut self, from: Offset, max_bytes: u64, at_least_one: bool) -> Read {
        if from < self.log_start || from > self.next_offset {
            return Read::OutOfRange;
        }
        if from == self.next_offset {
            return Read::AtEnd;
        }
        let fetch = Fetch { from, max_bytes, at_least_one };
        match self.plan_fetch(&fetch) {
            Outcome::Batches(batches) => Read::Ready(batches),
            Outcome::Need(need) => Read::Pending(self.reads.begin(Goal::Fetch(fetch), need)),
            Outcome::Failed(_) => Read::OutOfRange,
            Outcome::Candidate(_) => unreachable!("a fetch finds batches"),
        }
    }

    /// Issues the commands of reads that are to go on.
    pub(super) fn want_reads(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        for id in std::mem::take(&mut self.reads.wanted) {
            let need = &self.reads.pending[&id].need;
            let (file, at, len) = (need.file, need.at, need.len);
            self.reads.hold(file);
            self.issue(Op::Read { id, file }, DiskCommand::Read { file, at, len }, out);
        }
    }

    pub(super) fn read_done(&mut self, id: ReadId, file: FileId, result: DiskResult) -> Option<Done> {
        self.reads.release(file);
        let Pending { mut goal, need } = self.reads.pending.remove(&id).expect("a read that ended was pending");
        let outcome = match result {
            Ok(output) => self.advance(&mut goal, &need, bytes_of(output)),
            Err(error) => Outcome::Failed(ReadError::Disk(error)),
        };
        if let Outcome::Failed(error) = &outcome {
            self.suspect(file, error);
        }
        match (outcome, &goal) {
            (Outcome::Need(need), _) => {
                self.reads.resume(id, goal, need);
                None
            }
            (Outcome::Batches(batches), _) => Some(Done::Read(id, Ok(batches))),
            (Outcome::Candidate(candidate), _) => Some(Done::Lookup(id, Ok(candidate))),
            (Outcome::Failed(error), Goal::Fetch(_)) => Some(Done::Read(id, Err(error))),
            (Outcome::Failed(error), Goal::Find(_)) => Some(Done::Lookup(id, Err(error))),
        }
    }

    fn advance(&mut self, goal: &mut Goal, need: &Need, bytes: Bytes) -> Outcome {
        if (bytes.len() as u64) < need.len {
            return need.damaged("the file is shorter than what was written");
        }
        match need.purpose {
            Purpose::Index(index) => match decode_index(bytes, &index) {
                Ok(entries) => {
                    self.reads.cached_index = Some((index.file, entries));
                    match goal {
                        Goal::Fetch(fetch) => self.plan_fetch(fetch),
                        Goal::Find(search) => self.plan_find(search),
                    }
                }
                Err(what) => need.damaged(what),
            },
            Purpose::Batches { expect, end } => match goal {
                Goal::Fetch(fetch) => collect(fetch, need, expect, end, &bytes),
                Goal::Find(search) => self.scan(search, need, expect, bytes),
            },
        }
    }

    /// The sparse index of a segment, if it is in memory; else what to read.
    pub(super) fn index_of<'a>(&'a self, segment: &'a Segment) -> Result<&'a [Entry], Need> {
        match (&segment.index, &self.reads.cached_index) {
            (Index::Memory(entries), _) => Ok(entries),
            (Index::File(index), Some((file, entries))) if *file == index.file => Ok(entries),
            (Index::File(index), _) => {
                Err(Need { file: index.file, at: 0, len: index.len, purpose: Purpose::Index(*index) })
            }
        }
    }

    fn plan_fetch(&self, fetch: &Fetch) -> Outcome {
        if fetch.from < self.log_start {
            return Outcome::Failed(ReadError::OutOfRange);
        }
        if fetch.from >= self.tail_start() {
            return Outcome::Batches(self.tail.read(fetch.from, fetch.max_bytes, fetch.at_least_one));
        }
        let segment = self.segment_of(fetch.from).expect("every offset of the log is in a segment");
        let entries = match self.index_of(segment) {
            Ok(entries) => entries,
            Err(need) => return Outcome::Need(need),
        };
        let entry = floor(entries, fetch.from).expect("a segment's index begins with its first batch");
        let end = segment.written;
        let wanted = self.settings.index_interval_bytes.saturating_add(fetch.chunk_bytes());
        Outcome::Need(Need {
            file: segment.file.expect("what is not in the tail is written"),
            at: entry.position,
            len: wanted.min(end - entry.position),
            purpose: Purpose::Batches { expect: entry.offset, end },
        })
    }
}

impl Fetch {
    fn chunk_bytes(&self) -> u64 {
        self.max_bytes.saturating_add(HEADER_BYTES as u64)
    }

    /// The same file from `at` on, at least `least` bytes.
    fn more(&self, need: &Need, at: u64, expect: Offset, end: u64, least: u64) -> Outcome {
        match end.checked_sub(at) {
            Some(left) if left >= least => {
                let len = least.max(self.chunk_bytes()).min(left);
                Outcome::Need(Need { at, len, purpose: Purpose::Batches { expect, end }, ..*need })
            }
            Some(_) | None => need.damaged(format_args!("offset {} is not where it was written", self.from)),
        }
    }
}

/// Takes what was asked for out of what was read; or says what more to read.
fn collect(fetch: &Fetch, need: &Need, expect: Offset, end: u64, bytes: &Bytes) -> Outcome {
    let mut expect = expect;
    let mut at = 0_u64;
    let mut start = None;
    let mut left = fetch.max_bytes;
    loop {
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let header = match Header::read(rest) {
            Ok(header) => header,
            Err(Damage::Short) if start.is_none() => {
                return fetch.more(need, need.at + at, expect, end, HEADER_BYTES as u64);
            }
            Err(damage) if start.is_none() => return need.damaged(damage),
            // The next read will tell.
            Err(_) => break,
        };
        if header.base_offset != expect.0 {
            if start.is_some() {
                break;
            }
            return need.damaged(format_args!("offset {} where {expect} was written", header.base_offset));
        }
        let total = header.total_bytes();
        if header.last_offset() >= fetch.from.0 {
            match left.checked_sub(total as u64) {
                Some(rest) => left = rest,
                None if fetch.at_least_one && start.is_none() => left = 0,
                None => break,
            }
            let Some(batch) = rest.get(..total) else {
                if start.is_some() {
                    break;
                }
                return fetch.more(need, need.at + at, expect, end, total as u64);
            };
            if let Some(Err(damage)) = views(bytes.slice_ref(batch), Check::Crc).next() {
                if start.is_some() {
                    break;
                }
                return need.damaged(damage);
            }
            start.get_or_insert(at);
        }
        at += total as u64;
        expect = Offset(header.last_offset().saturating_add(1));
    }
    match start {
        Some(start) => Outcome::Batches(vec![bytes.slice(start as usize..at as usize)]),
        None => Outcome::Batches(Vec::new()),
    }
}
