//! What the log wants of the disk, and what it makes of the answers.
//!
//! One segment write is out at a time; everything that is appended meanwhile gathers for the next. Space is allocated
//! before the file is full, while writes go on into the space there is; a write waits only if there is none at all. Sealed
//! segments get their index file in the same way, one at a time.

use bytes::Bytes;

use super::lend::CopyId;
use super::read::ReadId;
use super::segment::{Index, IndexFile, encode_index};
use super::{Condition, Done, Log};
use crate::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use crate::id::{FileId, FileIds, FileKind, Offset};
use crate::mutants::Mutant;

/// The most bytes one write gathers, unless a single batch is larger.
const WRITE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A file is made longer when less than this part of its last growth is left.
const GROWTH_LEFT: u64 = 4;

/// A disk command that is out.
#[derive(Debug)]
pub(super) enum Op {
    AllocateSegment { base: Offset, len: u64 },
    WriteSegment { base: Offset, bytes: u64, next: Offset },
    AllocateIndex,
    WriteIndex,
    Trim,
    Sync { segments: Vec<(Offset, u64)> },
    AllocateState,
    WriteState,
    ReadState,
    Remove,
    Read { id: ReadId, file: FileId },
    Copy { copy: CopyId, file: FileId, range: (u64, u64) },
    Patrol { file: FileId, len: u64 },
}

/// The index file that is being written.
#[derive(Debug)]
pub(super) struct IndexJob {
    pub(super) file: FileId,
    base: Offset,
    bytes: Bytes,
    step: IndexStep,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IndexStep {
    Allocate,
    Write,
    Waiting,
}

impl Log {
    /// Adds what the log wants of the disk now, each command under a tag that [`Log::done`] expects exactly once. Commands
    /// may run in any order and overlap. Call it after anything else was called.
    pub fn commands(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        match &mut self.condition {
            Condition::Usable | Condition::Full => {
                self.want_trim(out);
                self.want_write(ids, out);
                self.want_index(ids, out);
                self.want_checkpoint(ids, out);
                self.want_reads(out);
                self.want_copies(out);
                self.want_patrol(out);
                self.want_removals(out);
            }
            Condition::Restoring { manifest, asked } => {
                if !std::mem::replace(asked, true) {
                    let command = DiskCommand::Read { file: manifest.state, at: 0, len: manifest.state_len };
                    self.issue(Op::ReadState, command, out);
                }
            }
            Condition::Failed => {}
        }
    }

    pub(super) fn issue(&mut self, op: Op, command: DiskCommand, out: &mut Vec<(u64, DiskCommand)>) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.ops.insert(tag, op);
        out.push((tag, command));
    }

    /// Takes the end of a command, and gives what came of it. Panics on a tag that is not out.
    pub fn done(&mut self, tag: u64, result: DiskResult) -> Vec<Done> {
        let op = self.ops.remove(&tag).expect("done was said of a command that is not out");
        if self.condition == Condition::Failed {
            return Vec::new();
        }
        if self.stale.remove(&tag) {
            return self.stale_done(op, result);
        }
        match op {
            Op::Copy { copy, file, range } => vec![self.copy_done(copy, file, range, result)],
            Op::Patrol { file, len } => {
                self.patrol_done(file, len, result);
                Vec::new()
            }
            Op::Read { id, file } => self.read_done(id, file, result).into_iter().collect(),
            Op::ReadState => vec![match result {
                Ok(output) => self.restored(bytes_of(output)),
                Err(DiskError::Missing) => {
                    self.condition = Condition::Failed;
                    Done::Corrupt("the state blob is missing".into())
                }
                Err(error @ (DiskError::Full | DiskError::Io(_))) => self.failed(error),
            }],
            Op::Remove => match result {
                Ok(_) | Err(DiskError::Missing) => Vec::new(),
                Err(error @ (DiskError::Full | DiskError::Io(_))) => vec![self.failed(error)],
            },
            Op::Trim => match self.trimmed(result) {
                Ok(()) => Vec::new(),
                Err(error) => vec![self.failed(error)],
            },
            Op::AllocateSegment { .. } | Op::AllocateIndex | Op::AllocateState => match result {
                Ok(_) => {
                    self.allocated(&op, true);
                    Vec::new()
                }
                Err(DiskError::Full) => {
                    self.refused = self.asked(&op);
                    self.allocated(&op, false);
                    self.condition = Condition::Full;
                    vec![Done::Full]
                }
                Err(error @ (DiskError::Missing | DiskError::Io(_))) => vec![self.failed(error)],
            },
            Op::WriteSegment { .. } | Op::WriteIndex | Op::Sync { .. } | Op::WriteState => match result {
                Ok(_) => self.stored(op).into_iter().collect(),
                Err(error) => vec![self.failed(error)],
            },
        }
    }

    fn failed(&mut self, error: DiskError) -> Done {
        self.condition = Condition::Failed;
        Done::Failed(error)
    }

    fn want_write(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let due = self.flush_to > self.written || self.unwritten_bytes >= self.settings.write_threshold;
        if self.writing || self.unwritten_bytes == 0 || !due {
            return;
        }
        let at = self.position_of(self.written).expect("what is unwritten is in a segment");
        let segment = &mut self.segments[at];
        let gathered = self.tail.gather(self.written, segment.next, WRITE_BYTES_MAX);
        assert!(gathered.bytes > 0, "the tail holds what is unwritten");
        let end = segment.written + gathered.bytes;
        let (base, written, allocated) = (segment.base, segment.written, segment.allocated);
        // What is left to write is less than a segment may hold.
        let may_grow = !segment.sealed && allocated < self.settings.segment_bytes;
        let file = *segment.file.get_or_insert_with(|| ids.mint(FileKind::Segment));
        if end <= allocated {
            self.writing = true;
            let op = Op::WriteSegment { base, bytes: gathered.bytes, next: gathered.next };
            let command = DiskCommand::Write {
                file,
                at: written,
                bytes: gathered.slices,
                durable: false,
                cold: !self.has_readers,
            };
            self.issue(op, command, out);
        }
        let growth = allocated.min(self.settings.allocate_step);
        let near = end > allocated || (may_grow && allocated - end < growth / GROWTH_LEFT);
        let busy = self.allocating.is_some() || self.trimming == Some(base);
        if near && !busy && self.condition != Condition::Full {
            self.allocating = Some(base);
            let steps = self.mutants.planted(Mutant::RoomInSteps);
            let least = if steps { self.settings.allocate_step } else { 0 };
            let len = self.settings.room(end.max(allocated + 1).max(least));
            self.issue(Op::AllocateSegment { base, len }, DiskCommand::Allocate { file, len }, out);
        }
    }

    fn want_index(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        if self.index_job.is_none() {
            let ready = self.unindexed.front().filter(|base| {
                let segment = self.segment_of(**base).expect("a segment without index stays");
                segment.written == segment.len
            });
            let Some(base) = ready.copied() else { return };
            self.unindexed.pop_front();
            let Index::Memory(entries) = &self.segment_mut(base).index else {
                panic!("the index is in a file already")
            };
            let bytes = encode_index(entries);
            let file = ids.mint(FileKind::SegmentIndex);
            self.index_job = Some(IndexJob { file, base, bytes, step: IndexStep::Allocate });
        }
        let job = self.index_job.as_mut().expect("there is one now");
        let (op, command) = match job.step {
            IndexStep::Allocate if self.condition == Condition::Full => return,
            IndexStep::Allocate => {
                let len = job.bytes.len() as u64;
                (Op::AllocateIndex, DiskCommand::Allocate { file: job.file, len })
            }
            IndexStep::Write => {
                let bytes = vec![job.bytes.clone()];
                (Op::WriteIndex, DiskCommand::Write { file: job.file, at: 0, bytes, durable: false, cold: false })
            }
            IndexStep::Waiting => return,
        };
        job.step = IndexStep::Waiting;
        self.issue(op, command, out);
    }

    fn want_removals(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        for file in std::mem::take(&mut self.removable) {
            if self.reads.is_reading(file) || self.pins.contains_key(&file) {
                self.removable.push(file);
            } else {
                self.issue(Op::Remove, DiskCommand::Remove { file }, out);
            }
        }
    }

    /// How many bytes an allocation asked for; zero of what is none.
    fn asked(&self, op: &Op) -> u64 {
        match op {
            Op::AllocateSegment { base, len } => len - self.segment_of(*base).map_or(0, |segment| segment.allocated),
            Op::AllocateIndex => self.index_job.as_ref().map_or(0, |job| job.bytes.len() as u64),
            Op::AllocateState => self.state_bytes(),
            Op::WriteSegment { .. }
            | Op::WriteIndex
            | Op::Sync { .. }
            | Op::WriteState
            | Op::ReadState
            | Op::Trim
            | Op::Remove
            | Op::Copy { .. }
            | Op::Patrol { .. }
            | Op::Read { .. } => 0,
        }
    }

    fn allocated(&mut self, op: &Op, given: bool) {
        match op {
            Op::AllocateSegment { base, len } => {
                self.allocating = None;
                if given {
                    self.segment_mut(*base).allocated = *len;
                }
            }
            Op::AllocateIndex => {
                let job = self.index_job.as_mut().expect("an index is being written");
                job.step = if given { IndexStep::Write } else { IndexStep::Allocate };
            }
            Op::AllocateState => self.state_allocated(given),
            Op::WriteSegment { .. }
            | Op::WriteIndex
            | Op::Trim
            | Op::Sync { .. }
            | Op::WriteState
            | Op::ReadState
            | Op::Remove
            | Op::Copy { .. }
            | Op::Patrol { .. }
            | Op::Read { .. } => unreachable!("not an allocation"),
        }
    }

    fn stored(&mut self, op: Op) -> Option<Done> {
        match op {
            Op::WriteSegment { base, bytes, next } => {
                self.segment_mut(base).written += bytes;
                self.written = next;
                self.unwritten_bytes -= bytes;
                self.writing = false;
                None
            }
            Op::WriteIndex => {
                let job = self.index_job.take().expect("an index is being written");
                self.segment_mut(job.base).index = Index::File(IndexFile {
                    file: job.file,
                    len: job.bytes.len() as u64,
                    crc: crc32c::crc32c(&job.bytes),
                    synced: false,
                });
                None
            }
            Op::Sync { segments } => {
                self.synced(&segments);
                None
            }
            Op::WriteState => Some(self.state_written()),
            Op::AllocateSegment { .. }
            | Op::AllocateIndex
            | Op::AllocateState
            | Op::Trim
            | Op::ReadState
            | Op::Remove
            | Op::Copy { .. }
            | Op::Patrol { .. }
            | Op::Read { .. } => unreachable!("not a write"),
        }
    }
}

/// What a read gave. Panics on another output: the host mixed up operations.
pub(super) fn bytes_of(output: DiskOutput) -> Bytes {
    match output {
        DiskOutput::Read(bytes) => bytes,
        DiskOutput::Listed(_) | DiskOutput::Done => panic!("a read was answered with something else"),
    }
}
