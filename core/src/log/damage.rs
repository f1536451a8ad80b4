//! Damage: files of the log that do not hold what was written to them, as far as somebody looked.
//!
//! A **patrol** looks: it reads sealed segments from end to end, a piece at a time, when its owner says so. Promises that such a
//! file is never taken for a part of what is copied from elsewhere. Does not know what heals it: [`Log::install`] does, for then
//! other files are in its place.

use std::collections::BTreeMap;

use super::read::ReadError;
use super::segment::Index;
use super::writer::{Op, bytes_of};
use super::{Condition, Log};
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::{FileId, Offset};
use crate::limits::PATROL_BYTES;
use crate::mutants::Mutant;

/// How far a patrol is: the segment it reads or looks for, and what was read of it.
#[derive(Default, Debug)]
pub(super) struct Patrol {
    base: Offset,
    at: u64,
    sum: u32,
    /// A read is wanted, or out.
    wanted: bool,
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

    /// Begins to read every sealed segment, unless that is being done. [`Log::patrol_on`] moves it.
    pub fn patrol(&mut self) {
        self.patrol.get_or_insert_default();
    }

    /// Other files took the place of those it read: it begins anew.
    pub(super) fn patrol_anew(&mut self) {
        self.patrol = self.patrol.as_ref().map(|_| Patrol::default());
    }

    /// Has the next piece read. False once there is nothing left to read.
    pub fn patrol_on(&mut self) -> bool {
        if let Some(patrol) = &mut self.patrol {
            patrol.wanted = true;
        }
        self.patrol.is_some()
    }

    pub(super) fn want_patrol(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        let Some(patrol) = self.patrol.as_mut().filter(|patrol| patrol.wanted && !patrol.out) else { return };
        let sealed = |file: FileId, len: u64, written: u64| (written == len).then_some((file, len));
        let segments = self.segments.iter().filter(|segment| segment.sealed && segment.base >= patrol.base);
        let readable = |file: &FileId| !self.damaged.contains_key(file);
        let mut files = segments.filter_map(|segment| {
            let (file, len) = sealed(segment.file.filter(readable)?, segment.len, segment.written)?;
            Some((segment.base, file, len))
        });
        let Some((base, file, len)) = files.next() else {
            self.patrol = None;
            return;
        };
        if base > patrol.base {
            (patrol.base, patrol.at, patrol.sum) = (base, 0, 0);
        }
        let (at, len) = (patrol.at, PATROL_BYTES.min(len - patrol.at));
        (patrol.wanted, patrol.out) = (false, true);
        self.reads.hold(file);
        self.issue(Op::Patrol { file, base, len }, DiskCommand::Read { file, at, len }, out);
    }

    pub(super) fn patrol_done(&mut self, file: FileId, base: Offset, len: u64, result: DiskResult) {
        self.reads.release(file);
        let Some(patrol) = &mut self.patrol else { return };
        patrol.out = false;
        let segment = self.segments.iter().find(|segment| segment.base == base && segment.file == Some(file));
        // Another file may have taken its place, or none.
        let Some(segment) = segment.filter(|_| patrol.base == base) else { return };
        let error = match result.map(bytes_of) {
            Ok(bytes) => {
                patrol.sum = crc32c::crc32c_append(patrol.sum, &bytes);
                patrol.at += bytes.len() as u64;
                if bytes.len() as u64 == len && patrol.at < segment.len {
                    return;
                }
                let same = bytes.len() as u64 == len && patrol.sum == segment.crc;
                let what = "its bytes are not those that were written".to_owned();
                (!same).then_some(ReadError::Damaged { file, what })
            }
            Err(error) => Some(ReadError::Disk(error)),
        };
        (patrol.base, patrol.at, patrol.sum) = (segment.next, 0, 0);
        if let Some(error) = error {
            self.suspect(file, &error);
        }
    }

    /// Whether the file is known to be damaged.
    pub(super) fn is_damaged(&self, file: FileId) -> bool {
        self.damaged.contains_key(&file)
    }
}
