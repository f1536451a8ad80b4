//! Damage: files of the log that do not hold what was written to them, as far as somebody looked.
//!
//! Promises that such a file is never taken for a part of what is copied from elsewhere. Does not know what heals it:
//! [`Log::install`] does, for then other files are in its place.

use std::collections::BTreeMap;

use super::read::ReadError;
use super::segment::Index;
use super::{Condition, Log};
use crate::effect::DiskError;
use crate::id::FileId;

impl Log {
    /// The first file that is known to be damaged, and what is wrong with it.
    pub fn damage(&self) -> Option<(FileId, &str)> {
        self.damaged.first_key_value().map(|(file, what)| (*file, what.as_str()))
    }

    /// Compares what a listing of the disk says of the files of a restored log with what is named: what is missing or too short
    /// is damaged.
    pub fn compare(&mut self, listed: &BTreeMap<FileId, u64>) {
        assert!(self.is_usable(), "the files of a log that is not restored are not known");
        let indexes = self.segments.iter().filter_map(|segment| match &segment.index {
            Index::File(index) => Some((index.file, index.len)),
            Index::Memory(_) => None,
        });
        let segments = self.segments.iter().filter_map(|segment| Some((segment.file?, segment.written)));
        let missing = segments.chain(indexes).filter_map(|(file, len)| match listed.get(&file) {
            None => Some((file, "it is missing".to_owned())),
            Some(there) if *there < len => Some((file, format!("it ends after {there} bytes of {len}"))),
            Some(_) => None,
        });
        self.damaged = missing.collect();
        for segment in &mut self.segments {
            // Room that was made and is gone is made again.
            let there = segment.file.and_then(|file| listed.get(&file)).copied().unwrap_or(0);
            segment.allocated = segment.allocated.min(there).max(segment.written);
        }
        let active = self.segments.back().filter(|last| !last.sealed).and_then(|last| last.file);
        if active.is_some_and(|file| self.damaged.contains_key(&file)) {
            // Nothing more is written to it.
            self.roll();
        }
    }

    /// What was read is not what was written, or could not be read at all.
    pub(super) fn suspect(&mut self, file: FileId, error: &ReadError) {
        let what = match error {
            ReadError::OutOfRange => return,
            ReadError::Damaged { file: _, what } => what.clone(),
            ReadError::Disk(DiskError::Missing) => "it is missing".to_owned(),
            ReadError::Disk(error) => format!("it can not be read: {error:?}"),
        };
        // A file that is no part of the log any more is nobody's loss.
        if self.condition != Condition::Failed && self.files().any(|named| named == file) {
            self.damaged.insert(file, what);
        }
    }

    /// Whether the file is known to be damaged.
    pub(super) fn is_damaged(&self, file: FileId) -> bool {
        self.damaged.contains_key(&file)
    }
}
