//! Room: how long the files of segments are made, ahead of need while they are written, and no longer than what they hold once
//! they are sealed.
//!
//! A file begins small and doubles until it grows by whole steps: a small partition takes of the disk what it holds and a little
//! more, and a large one does not wait for many allocations. What is too long (a segment that was sealed, whatever a restart
//! finds) is shortened once nothing is on its way into it. Promises that a file is never shortened into what is written.

use super::writer::Op;
use super::{Log, Settings};
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::FileId;
use crate::mutants::Mutant;

impl Settings {
    /// How long the file of an active segment of which so much is `written` is made.
    pub(super) fn room(&self, written: u64) -> u64 {
        let step = self.allocate_step;
        let mut room = self.allocate_first.clamp(1, step);
        while room < written.min(step) {
            room = room.saturating_mul(2).min(step);
        }
        if written > step {
            room = written.checked_next_multiple_of(step).expect("files are shorter than that");
        }
        // A segment is sealed before it grows beyond this, unless it holds one batch that is larger.
        room.min(self.segment_bytes.max(written))
    }

    /// The longest that file may be: it grows before it is full.
    fn room_max(&self, written: u64) -> u64 {
        self.room(self.room(written).saturating_add(1))
    }
}

impl Log {
    /// Gives back what is allocated behind the end of segments that were sealed, or found at a start: one after the other.
    pub(super) fn want_trim(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        while self.trimming.is_none()
            && let Some(base) = self.loose.front().copied()
        {
            let Some(at) = self.position_of(base).filter(|at| self.segments[*at].base == base) else {
                self.loose.pop_front();
                continue;
            };
            let segment = &mut self.segments[at];
            if segment.written < segment.len || self.allocating == Some(base) {
                return;
            }
            self.loose.pop_front();
            let len = if segment.sealed { segment.len } else { self.settings.room_max(segment.written) };
            let Some(file) = segment.file.filter(|file| !self.damaged.contains_key(file)) else { continue };
            if segment.allocated <= len || self.mutants.planted(Mutant::SealedKeepsRoom) {
                continue;
            }
            // From now on nothing is written behind it, unless it is allocated again.
            segment.allocated = len;
            self.trimming = Some(base);
            self.issue(Op::Trim, DiskCommand::Truncate { file, len }, out);
        }
    }

    /// A file was shortened; one that is missing is missed by whoever reads it.
    pub(super) fn trimmed(&mut self, result: DiskResult) -> Result<(), DiskError> {
        self.trimming = None;
        match result {
            Ok(_) | Err(DiskError::Missing) => Ok(()),
            Err(error @ (DiskError::Full | DiskError::Io(_))) => Err(error),
        }
    }

    /// For whoever checks it from outside: each file of the log that is whole, how many bytes of it are written, and whether more
    /// will be.
    pub fn written_files(&self) -> impl Iterator<Item = (FileId, u64, bool)> + '_ {
        let whole = self.segments.iter().filter(|segment| segment.written == segment.len);
        let segments = whole.filter_map(|segment| Some((segment.file?, segment.written, !segment.sealed)));
        let index = |segment: &super::Segment| match &segment.index {
            super::segment::Index::File(index) => Some((index.file, index.len, false)),
            super::segment::Index::Memory(_) => None,
        };
        let state = self.marked.iter().map(|manifest| (manifest.state, manifest.state_len, false));
        segments.chain(self.segments.iter().filter_map(index)).chain(state)
    }
}
