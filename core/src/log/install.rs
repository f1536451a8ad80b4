//! Installation: files that were copied take the place of everything a log has, once a mark that names them is durable.
//!
//! What the log had goes when nothing of it is under way any more; what both have stays.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::checkpoint::Checkpoint;
use super::incoming::Received;
use super::tail::Tail;
use super::writer::Op;
use super::{Condition, Done, Log};
use crate::effect::{DiskError, DiskResult};

impl Log {
    /// Becomes what was received. The mark with its manifest is durable, and nobody waits for a read of this log any more.
    /// Gives what the owner of the original put into its checkpoint.
    pub fn install(&mut self, received: Received) -> Bytes {
        assert!(self.is_usable(), "a log that is not restored is not replaced");
        let Received { manifest, state, lent } = received;
        let before: BTreeSet<_> = self.files().collect();
        self.unpin(&lent);
        self.log_start = state.log_start;
        self.next_offset = state.next_offset;
        self.epochs = state.epochs;
        self.segments = state.segments;
        self.tail = Tail::default();
        self.written = self.next_offset;
        self.unwritten_bytes = 0;
        self.flush_to = self.next_offset;
        self.appended_bytes = 0;
        self.marked_bytes = 0;
        self.writing = false;
        self.allocating = None;
        self.unindexed = VecDeque::new();
        self.index_job = None;
        self.loose = self.segments.iter().map(|segment| segment.base).collect();
        self.trimming = None;
        self.checkpoint = Checkpoint::Idle;
        self.marked = Some(manifest);
        self.doomed.clear();
        self.removable.clear();
        self.retired.clear();
        self.stale.extend(self.ops.keys().copied());
        self.reads.forget();
        self.patrol_anew();
        let after: BTreeSet<_> = self.files().collect();
        self.damaged.retain(|file, _| after.contains(file));
        self.retired = before.difference(&after).copied().collect();
        self.retire();
        state.extra
    }

    /// What was received is not used: the files of this log that it names are this log's alone again.
    pub fn give_back(&mut self, received: &Received) {
        self.unpin(&received.lent);
    }

    /// A command that was out when the log was replaced has ended.
    pub(super) fn stale_done(&mut self, op: Op, result: DiskResult) -> Vec<Done> {
        if let (Op::AllocateSegment { base, len }, Ok(_)) = (&op, &result)
            && let Some(at) = self.position_of(*base)
            && let Some(segment) = self.segments.get_mut(at).filter(|segment| segment.base == *base && segment.sealed)
        {
            // It may be one of those that stayed.
            segment.allocated = segment.allocated.max(*len);
            self.loose.push_back(*base);
        }
        let done = match op {
            Op::Read { file, .. } | Op::Patrol { file, .. } => {
                self.reads.release(file);
                Vec::new()
            }
            Op::Copy { copy, file, range } => vec![self.copy_done(copy, file, range, result)],
            Op::ReadState | Op::Remove => Vec::new(),
            Op::AllocateSegment { .. }
            | Op::AllocateIndex
            | Op::AllocateState
            | Op::Trim
            | Op::WriteSegment { .. }
            | Op::WriteIndex
            | Op::Sync { .. }
            | Op::WriteState => match result {
                Ok(_) | Err(DiskError::Full) => Vec::new(),
                Err(error @ (DiskError::Missing | DiskError::Io(_))) => {
                    self.condition = Condition::Failed;
                    vec![Done::Failed(error)]
                }
            },
        };
        self.retire();
        done
    }

    fn retire(&mut self) {
        if self.stale.is_empty() {
            self.removable.append(&mut self.retired);
        }
    }
}
