//! The committed log of one partition: segments of record batches, a sparse index of offsets and times, a tail in memory,
//! and checkpoints that survive a crash.
//!
//! It is a machine inside the machine: it asks for disk commands ([`Log::commands`]) and is told when they are done
//! ([`Log::done`]). It promises:
//!
//! - Batches are kept and served byte for byte, in order, at dense offsets.
//! - What a marked checkpoint names is never overwritten, shortened or removed. After a crash the log of the last marked
//!   checkpoint comes back exactly; appending the same batches again gives the same log.
//! - A batch leaves the tail only when its write is done, so that every read finds it in one place or the other.
//! - A file is removed only when no marked checkpoint names it, nobody copies it and no read of it is outstanding.
//!
//! It does not know Raft, who appends or when a checkpoint is worth it; it does not know what producers or transactions are
//! (their state travels through a checkpoint as opaque bytes), and it never unfolds a payload.

mod checkpoint;
mod damage;
mod epochs;
mod find;
mod incoming;
mod install;
mod lend;
mod manifest;
mod read;
mod room;
mod scrub;
mod segment;
mod tail;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::effect::DiskError;
use crate::id::{FileId, Offset};
use crate::kafka::batch::Stored;
use crate::mutants::Mutants;
use crate::time::Timestamp;

pub use incoming::{Ask, Incoming, Progress, Received, Unfit};
pub use lend::{CopyId, Lent};
pub use manifest::{Manifest, ManifestError};
pub use read::{Candidate, Lookup, Read, ReadError, ReadId};

use checkpoint::Checkpoint;
use epochs::Epochs;
use read::Reads;
use segment::Segment;
use tail::Tail;
use writer::{IndexJob, Op};

/// How a log lays out its files. May change between lives of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A segment that would grow beyond this is sealed first (Kafka: `segment.bytes`).
    pub segment_bytes: u64,
    /// An index entry stands about every so many bytes.
    pub index_interval_bytes: u64,
    /// A file is first made so long; then it doubles, while that is less than a step; above zero.
    pub allocate_first: u64,
    /// Larger files grow by so many bytes at a time; above zero.
    pub allocate_step: u64,
    /// A write starts when so many bytes are unwritten, or when [`Log::flush`] asks.
    pub write_threshold: u64,
}

/// What came of a finished disk command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// A read that was [`Read::Pending`]: whole batches, one after the other, perhaps in several slices.
    Read(ReadId, Result<Vec<Bytes>, ReadError>),
    /// A lookup that was [`Lookup::Pending`]: the batch to look into, if there is one.
    Lookup(ReadId, Result<Option<Candidate>, ReadError>),
    /// A read of a lent file ([`Log::copy`]); nothing if the disk did not give it.
    Copied(CopyId, Option<Bytes>),
    /// Everything the manifest names is durable: put it into a mark, then say [`Log::checkpoint_marked`].
    CheckpointReady(Manifest),
    /// A restored log can be used. Its checkpoint was begun with these bytes.
    Restored {
        /// The owner's state.
        extra: Bytes,
    },
    /// The state blob of a restored log is damaged: nothing can be said of the log.
    Corrupt(String),
    /// The disk is full. Nothing is lost; the next [`Log::flush`] tries again.
    Full,
    /// A write failed, so nobody knows what is on the disk. The log does nothing more.
    Failed(DiskError),
}

/// The committed log of one partition.
///
/// - `segments` are contiguous, none is empty, and only the last may be unsealed.
/// - `log_start <= next_offset`; the last segment ends at `next_offset`.
/// - The tail ends at `next_offset` and holds at least everything from `written` on.
#[derive(Debug)]
pub struct Log {
    settings: Settings,
    log_start: Offset,
    next_offset: Offset,
    epochs: Epochs,
    segments: VecDeque<Segment>,
    tail: Tail,
    /// The first offset whose write is not done.
    written: Offset,
    /// How many bytes are from there on.
    unwritten_bytes: u64,
    /// Up to where to write whatever the threshold says.
    flush_to: Offset,
    /// Bytes appended in this life, and how many of them a marked checkpoint covers.
    appended_bytes: u64,
    marked_bytes: u64,

    /// Commands that are out, by tag.
    ops: BTreeMap<u64, Op>,
    next_tag: u64,
    /// One segment write is out.
    writing: bool,
    /// One segment allocation is out, for this segment: it stays until then.
    allocating: Option<Offset>,
    /// Sealed segments that have no index file yet, ascending.
    unindexed: VecDeque<Offset>,
    index_job: Option<IndexJob>,
    /// Segments whose files may be longer than they need to be.
    loose: VecDeque<Offset>,
    /// One of them is being shortened: it stays until then.
    trimming: Option<Offset>,
    checkpoint: Checkpoint,
    /// The last marked checkpoint.
    marked: Option<Manifest>,
    /// Files the checkpoint in progress no longer names.
    doomed: Vec<FileId>,
    /// Files nothing durable names.
    removable: Vec<FileId>,
    /// Files of a log that was replaced; `stale` are the commands of it that are still out.
    retired: Vec<FileId>,
    stale: BTreeSet<u64>,
    /// Files that somebody copies, and how many do.
    pins: BTreeMap<FileId, u64>,
    wanted_copies: Vec<lend::Wanted>,
    reads: Reads,
    /// Files that do not hold what was written to them, and what was seen of that.
    damaged: BTreeMap<FileId, String>,
    patrol: Option<damage::Patrol>,
    /// Somebody may read what is written now.
    has_readers: bool,
    condition: Condition,
    mutants: Mutants,
    /// How many bytes a full disk refused last.
    refused: u64,
}

/// What the log can do now.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Condition {
    /// Everything.
    Usable,
    /// Everything that needs no new space.
    Full,
    /// Nothing yet: the state blob is not read.
    Restoring { manifest: Manifest, asked: bool },
    /// Nothing any more.
    Failed,
}

impl Log {
    /// An empty log that starts at 0.
    pub fn new(settings: Settings) -> Self {
        assert!(settings.allocate_first > 0 && settings.allocate_step > 0, "files grow by something");
        Self {
            settings,
            log_start: Offset(0),
            next_offset: Offset(0),
            epochs: Epochs::default(),
            segments: VecDeque::new(),
            tail: Tail::default(),
            written: Offset(0),
            unwritten_bytes: 0,
            has_readers: true,
            flush_to: Offset(0),
            appended_bytes: 0,
            marked_bytes: 0,
            ops: BTreeMap::new(),
            next_tag: 0,
            writing: false,
            allocating: None,
            unindexed: VecDeque::new(),
            index_job: None,
            loose: VecDeque::new(),
            trimming: None,
            checkpoint: Checkpoint::Idle,
            marked: None,
            doomed: Vec::new(),
            removable: Vec::new(),
            retired: Vec::new(),
            stale: BTreeSet::new(),
            pins: BTreeMap::new(),
            wanted_copies: Vec::new(),
            reads: Reads::default(),
            damaged: BTreeMap::new(),
            patrol: None,
            condition: Condition::Usable,
            mutants: Mutants::default(),
            refused: 0,
        }
    }

    /// The log of a marked checkpoint. Not usable until [`Done::Restored`]; until then only its offsets are known, and
    /// [`Log::files`] must not be relied on.
    pub fn restore(settings: Settings, manifest: Manifest) -> Self {
        let mut log = Self::new(settings);
        log.log_start = manifest.log_start;
        log.next_offset = manifest.next_offset;
        log.condition = Condition::Restoring { manifest, asked: false };
        log
    }

    /// Plants a bug, before anything else happens.
    pub(crate) fn plant(&mut self, mutants: Mutants) {
        self.mutants = mutants;
    }

    /// From now on a segment that would grow beyond this is sealed first.
    pub fn set_segment_bytes(&mut self, segment_bytes: u64) {
        self.settings.segment_bytes = segment_bytes;
    }

    /// Whether the disk has no room for what was appended: more should wait until a flush succeeds.
    pub fn is_full(&self) -> bool {
        matches!(self.condition, Condition::Full)
    }

    /// How many bytes a full disk refused last.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether it can be appended to and read from.
    pub fn is_usable(&self) -> bool {
        matches!(self.condition, Condition::Usable | Condition::Full)
    }

    /// Puts an applied batch at the end. Panics if the batch was not placed there, or its epoch is below one before.
    pub fn append(&mut self, batch: Stored) {
        assert!(self.is_usable(), "appended to a log that is not restored");
        assert_eq!(batch.base_offset, self.next_offset, "a batch was placed elsewhere");
        self.start_epoch(batch.leader_epoch);
        let len = batch.len();
        if self.active().is_some_and(|active| active.len.saturating_add(len) > self.settings.segment_bytes) {
            self.roll();
        }
        if self.active().is_none() {
            self.segments.push_back(Segment::new(self.next_offset));
        }
        let active = self.segments.back_mut().expect("there is one now");
        active.append(&batch, self.settings.index_interval_bytes);
        self.next_offset = active.next;
        self.unwritten_bytes += len;
        self.appended_bytes += len;
        self.tail.push(batch);
    }

    /// Notes that a leader's term began here, as it does with the leader's first entry, records or not.
    ///
    /// Panics if an epoch above it was seen.
    pub fn start_epoch(&mut self, epoch: i32) {
        self.epochs.start(epoch, self.next_offset);
    }

    /// Seals the active segment, if there is one, so that retention can remove it.
    pub fn roll(&mut self) {
        if self.active().is_some() {
            let active = self.segments.back_mut().expect("there is one");
            active.sealed = true;
            self.unindexed.push_back(active.base);
            self.loose.push_back(active.base);
        }
    }

    fn active(&self) -> Option<&Segment> {
        self.segments.back().filter(|segment| !segment.sealed)
    }

    /// The offset the next record gets.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The first offset served.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Moves the log start to `to`, if it is behind it. The files go with the next checkpoint.
    ///
    /// Panics beyond the end: the command that moves it was checked.
    pub fn set_log_start(&mut self, to: Offset) {
        assert!(to <= self.next_offset, "the log can not start behind its end");
        self.log_start = self.log_start.max(to);
        self.epochs.cut_below(self.log_start);
    }

    /// The largest epoch at or below `epoch`, and the offset where it ended (OffsetForLeaderEpoch, KIP-101, KIP-279);
    /// none if `epoch` is above all that were seen, or none was seen.
    pub fn epoch_end(&self, epoch: i32) -> Option<(i32, Offset)> {
        self.epochs.end_of(epoch, self.next_offset)
    }

    /// The planted bug: no epoch was seen.
    pub(crate) fn forget_epochs(&mut self) {
        self.epochs = Epochs::default();
    }

    /// The last epoch seen.
    pub fn last_epoch(&self) -> Option<i32> {
        self.epochs.last()
    }

    /// Writes what is unwritten, even if it is little, and tries again what a full disk refused.
    pub fn flush(&mut self) {
        self.flush_to = self.next_offset;
        if self.condition == Condition::Full {
            self.condition = Condition::Usable;
        }
    }

    /// How many bytes were appended that no marked checkpoint covers: they would have to be applied again.
    pub fn unsynced_bytes(&self) -> u64 {
        self.appended_bytes - self.marked_bytes
    }

    /// Says whether clients read here: what is written while they do not is not worth memory once it is stored.
    pub fn expect_readers(&mut self, expected: bool) {
        self.has_readers = expected;
    }

    /// How many bytes the tail holds in memory.
    pub fn tail_bytes(&self) -> u64 {
        self.tail.bytes()
    }

    /// How many bytes of the tail can not be evicted, because they are not written.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// How many bytes of batches there are, in files or in memory, the dead ones of the first segment included.
    pub fn total_bytes(&self) -> u64 {
        self.segments.iter().filter(|segment| segment.next > self.log_start).map(|segment| segment.len).sum()
    }

    /// Gives memory back until the tail holds at most `keep_bytes`, or only what is not written.
    pub fn evict_tail(&mut self, keep_bytes: u64) {
        self.tail.evict(keep_bytes, self.written);
    }

    /// Sealed segments from the oldest on, for retention: where each ends, how long it is, its largest timestamp.
    pub fn sealed_segments(&self) -> impl Iterator<Item = (Offset, u64, Timestamp)> + '_ {
        let live = self.segments.iter().filter(|segment| segment.sealed && segment.next > self.log_start);
        live.map(|segment| (segment.next, segment.len, segment.max_timestamp))
    }

    /// The first offset the tail holds.
    fn tail_start(&self) -> Offset {
        self.tail.start().unwrap_or(self.next_offset)
    }

    /// The segment that holds an offset, or the last one before it.
    fn segment_of(&self, offset: Offset) -> Option<&Segment> {
        self.position_of(offset).map(|at| &self.segments[at])
    }

    fn position_of(&self, offset: Offset) -> Option<usize> {
        self.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)
    }

    /// The segment that starts here. Segments that are waited for are never dropped.
    fn segment_mut(&mut self, base: Offset) -> &mut Segment {
        let at = self.position_of(base).expect("a segment with work outstanding stays");
        let segment = &mut self.segments[at];
        assert_eq!(segment.base, base, "a segment with work outstanding stays");
        segment
    }

    /// Every file the log, or a checkpoint of it, may still need. What a disk holds beside is an orphan of an earlier life.
    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        let segments = self.segments.iter().flat_map(|segment| segment.file.into_iter().chain(segment.index_file()));
        segments
            .chain(self.index_job.iter().map(|job| job.file))
            .chain(self.checkpoint.file())
            .chain(self.marked.iter().map(|manifest| manifest.state))
            .chain(self.doomed.iter().copied())
            .chain(self.removable.iter().copied())
            .chain(self.retired.iter().copied())
    }

    /// Asserts what the type promises.
    pub fn check(&self) {
        assert!(self.log_start <= self.next_offset, "the log starts at or before its end");
        if !self.is_usable() {
            return;
        }
        let mut end = None;
        for segment in &self.segments {
            assert!(end.is_none_or(|end| end == segment.base), "segments are contiguous");
            assert!(segment.base < segment.next, "no segment is empty");
            assert!(segment.synced <= segment.written && segment.written <= segment.len, "written in order");
            assert!(segment.written <= segment.allocated, "everything is written into allocated space");
            end = Some(segment.next);
        }
        assert!(end.is_none_or(|end| end == self.next_offset), "the last segment ends where the log does");
        assert!(self.segments.iter().rev().skip(1).all(|segment| segment.sealed), "only the last is active");
        assert!(
            self.tail_start() <= self.written && self.written <= self.next_offset,
            "the tail holds what is unwritten"
        );
        let unwritten: u64 = self.segments.iter().map(|segment| segment.len - segment.written).sum();
        assert_eq!(unwritten, self.unwritten_bytes, "unwritten bytes are counted");
    }
}
