//! Damage: files of the log that do not hold what was written to them, as far as somebody looked.
//!
//! A **patrol** looks: it reads segments and their indexes, as far as they were written when it began, a piece at a time, when its
//! owner says so. Promises that a damaged file is never taken for a part of what is copied from elsewhere. Does not know what heals it: [`Log::install`] does, for then
//! other files are in its place.

use std::collections::{BTreeMap, VecDeque};

use super::read::ReadError;
use super::segment::Index;
use super::writer::{Op, bytes_of};
use super::{Condition, Log};
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::FileId;
use crate::limits::PATROL_BYTES;
use crate::mutants::Mutant;

/// A file that a patrol reads: its first `len` bytes, which have this CRC-32C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Beat {
    file: FileId,
    len: u64,
    crc: u32,
}

/// What a patrol has still to read, and how far it is with the first of it.
#[derive(Default, Debug)]
pub(super) struct Patrol {
    left: VecDeque<Beat>,
    at: u64,
    sum: u32,
    /// So much may be read before it is moved again.
    allowed: u64,
    /// A read is out.
    out: bool,
}

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
            // Room that was made and is gone is made again; what was made or given back since is not known to the checkpoint.
            let there = segment.file.and_then(|file| listed.get(&file)).copied().unwrap_or(0);
            segment.allocated = there.max(segment.written);
        }
        let forgets = self.mutants.planted(Mutant::StartKeepsRoom);
        self.loose = self.segments.iter().map(|segment| segment.base).filter(|_| !forgets).collect();
        let active = self.segments.back().filter(|last| !last.sealed).and_then(|last| last.file);
        if active.is_some_and(|file| self.damaged.contains_key(&file)) {
            // Nothing more is written to it.
            self.roll();
        }
        // From here on more is appended.
        self.patrol();
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

    /// Begins to read every file that is written as far as it shall be, indexes included, unless that is being done. A segment
    /// that is still appended to is read as far as it was written. [`Log::patrol_on`] moves it.
    pub fn patrol(&mut self) {
        if self.patrol.is_none() {
            self.patrol = Some(Patrol { left: self.beats(), ..Patrol::default() });
        }
    }

    /// Other files took the place of those it read: it begins anew.
    pub(super) fn patrol_anew(&mut self) {
        if self.patrol.take().is_some() {
            self.patrol();
        }
    }

    fn beats(&self) -> VecDeque<Beat> {
        let written = self.segments.iter().filter(|segment| segment.written == segment.len);
        let files = written.flat_map(|segment| {
            let records = segment.file.map(|file| Beat { file, len: segment.len, crc: segment.crc });
            let index = match &segment.index {
                Index::File(index) => Some(Beat { file: index.file, len: index.len, crc: index.crc }),
                Index::Memory(_) => None,
            };
            records.into_iter().chain(index)
        });
        files.collect()
    }

    /// Has [`PATROL_BYTES`] more read, or as much as comes before it is called again. False once there is nothing left to read.
    pub fn patrol_on(&mut self) -> bool {
        if let Some(patrol) = &mut self.patrol {
            patrol.allowed = PATROL_BYTES;
        }
        self.patrol.is_some()
    }

    pub(super) fn want_patrol(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(mut patrol) = self.patrol.take_if(|patrol| patrol.allowed > 0 && !patrol.out) else { return };
        // A file that is no part of the log any more, or is known to be damaged, is not read.
        while let Some(Beat { file, .. }) = patrol.left.front()
            && (self.is_damaged(*file) || !self.files().any(|named| named == *file))
        {
            patrol.left.pop_front();
            (patrol.at, patrol.sum) = (0, 0);
        }
        let Some(Beat { file, len, .. }) = patrol.left.front().copied() else { return };
        let (at, len) = (patrol.at, patrol.allowed.min(len - patrol.at));
        // What is empty is read, too.
        patrol.allowed -= len.max(1);
        patrol.out = true;
        self.patrol = Some(patrol);
        self.reads.hold(file);
        self.issue(Op::Patrol { file, len }, DiskCommand::Read { file, at, len }, out);
    }

    pub(super) fn patrol_done(&mut self, file: FileId, len: u64, result: DiskResult) {
        self.reads.release(file);
        let Some(patrol) = &mut self.patrol else { return };
        patrol.out = false;
        // It may have begun anew, with other files.
        let Some(beat) = patrol.left.front().copied().filter(|beat| beat.file == file) else { return };
        let error = match result.map(bytes_of) {
            Ok(bytes) => {
                patrol.sum = crc32c::crc32c_append(patrol.sum, &bytes);
                patrol.at += bytes.len() as u64;
                if bytes.len() as u64 == len && patrol.at < beat.len {
                    return;
                }
                let same = bytes.len() as u64 == len && patrol.sum == beat.crc;
                let what = "its bytes are not those that were written".to_owned();
                (!same).then_some(ReadError::Damaged { file, what })
            }
            Err(error) => Some(ReadError::Disk(error)),
        };
        patrol.left.pop_front();
        (patrol.at, patrol.sum) = (0, 0);
        if let Some(error) = error {
            self.suspect(file, &error);
        }
    }

    /// Whether the file is known to be damaged.
    pub(super) fn is_damaged(&self, file: FileId) -> bool {
        self.damaged.contains_key(&file)
    }
}
