//! Damage: files of the log that do not hold what was written to them, as far as somebody looked.
//!
//! A **patrol** looks: it reads sealed segments and their indexes from end to end, a piece at a time, when its owner says so. Promises that such a
//! file is never taken for a part of what is copied from elsewhere. Does not know what heals it: [`Log::install`] does, for then
//! other files are in its place.

use std::collections::BTreeMap;

use super::read::ReadError;
use super::segment::{Index, Segment};
use super::writer::{Op, bytes_of};
use super::{Condition, Log};
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::{FileId, Offset};
use crate::limits::PATROL_BYTES;

/// What a patrol reads of a sealed segment, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Part {
    #[default]
    Records,
    Index,
}

/// How far a patrol is: the file it reads or looks for, and what was read of it.
#[derive(Default, Debug)]
pub(super) struct Patrol {
    next: (Offset, Part),
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

    /// Begins to read every sealed segment and its index, unless that is being done. [`Log::patrol_on`] moves it.
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
        let sealed = self.segments.iter().filter(|segment| segment.sealed && segment.written == segment.len);
        let parts =
            sealed.flat_map(|segment| parts(segment).map(|(part, file, len, _)| ((segment.base, part), file, len)));
        let mut unread = parts.filter(|(part, file, _)| *part >= patrol.next && !self.damaged.contains_key(file));
        let next = unread.next();
        drop(unread);
        let Some((part, file, len)) = next else {
            self.patrol = None;
            return;
        };
        if part > patrol.next {
            (patrol.next, patrol.at, patrol.sum) = (part, 0, 0);
        }
        let (at, len) = (patrol.at, PATROL_BYTES.min(len - patrol.at));
        (patrol.wanted, patrol.out) = (false, true);
        self.reads.hold(file);
        self.issue(Op::Patrol { file, part, len }, DiskCommand::Read { file, at, len }, out);
    }

    pub(super) fn patrol_done(&mut self, file: FileId, part: (Offset, Part), len: u64, result: DiskResult) {
        self.reads.release(file);
        let Some(patrol) = &mut self.patrol else { return };
        patrol.out = false;
        let segment = self.segments.iter().find(|segment| segment.base == part.0);
        let whole = segment.into_iter().flat_map(parts).find(|known| (known.0, known.1) == (part.1, file));
        // Another file may have taken its place, or none.
        let Some((_, _, whole, crc)) = whole.filter(|_| patrol.next == part) else { return };
        let error = match result.map(bytes_of) {
            Ok(bytes) => {
                patrol.sum = crc32c::crc32c_append(patrol.sum, &bytes);
                patrol.at += bytes.len() as u64;
                if bytes.len() as u64 == len && patrol.at < whole {
                    return;
                }
                let same = bytes.len() as u64 == len && patrol.sum == crc;
                let what = "its bytes are not those that were written".to_owned();
                (!same).then_some(ReadError::Damaged { file, what })
            }
            Err(error) => Some(ReadError::Disk(error)),
        };
        let next = match part {
            (base, Part::Records) => (base, Part::Index),
            (base, Part::Index) => (Offset(base.0 + 1), Part::Records),
        };
        (patrol.next, patrol.at, patrol.sum) = (next, 0, 0);
        if let Some(error) = error {
            self.suspect(file, &error);
        }
    }

    /// Whether the file is known to be damaged.
    pub(super) fn is_damaged(&self, file: FileId) -> bool {
        self.damaged.contains_key(&file)
    }
}

/// The files of a segment that lie on the disk: which part, the file, its length and CRC-32C.
fn parts(segment: &Segment) -> impl Iterator<Item = (Part, FileId, u64, u32)> {
    let records = segment.file.map(|file| (Part::Records, file, segment.len, segment.crc));
    let index = match &segment.index {
        Index::File(index) => Some((Part::Index, index.file, index.len, index.crc)),
        Index::Memory(_) => None,
    };
    records.into_iter().chain(index)
}
