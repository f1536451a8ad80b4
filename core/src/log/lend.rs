//! Lending: the files of the last marked checkpoint, kept and read for somebody who copies them.
//!
//! A lent file is not removed, whatever happens to the log, until it is taken back. Does not know who copies, or for how
//! long.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::read::ReadError;
use super::segment::Index;
use super::writer::{Op, bytes_of};
use super::{Done, Log, Manifest};
use crate::effect::{DiskCommand, DiskResult};
use crate::id::FileId;

/// A read of a lent file; the owner's to choose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CopyId(pub u64);

/// Files that were lent. To be given to [`Log::take_back`].
#[derive(Debug)]
pub struct Lent {
    /// The checkpoint they are of.
    pub manifest: Manifest,
    files: BTreeSet<FileId>,
}

impl Lent {
    /// Whether the file is one of them.
    pub fn has(&self, file: FileId) -> bool {
        self.files.contains(&file)
    }
}

/// A read of a lent file that was not issued yet.
#[derive(Debug)]
pub(super) struct Wanted {
    copy: CopyId,
    file: FileId,
    at: u64,
    len: u64,
}

impl Log {
    /// Lends the files of the last marked checkpoint; none if there is none.
    pub fn lend(&mut self) -> Option<Lent> {
        let manifest = self.marked.clone().filter(|_| self.is_usable())?;
        let segments = self.segments.iter().flat_map(|segment| segment.file.into_iter().chain(segment.index_file()));
        let files: BTreeSet<FileId> = segments.chain([manifest.state]).collect();
        self.pin(&files);
        Some(Lent { manifest, files })
    }

    /// Lent files are needed no more.
    pub fn take_back(&mut self, lent: &Lent) {
        self.unpin(&lent.files);
    }

    /// Keeps these files, whatever happens to the log.
    pub(super) fn pin(&mut self, files: &BTreeSet<FileId>) {
        for file in files {
            *self.pins.entry(*file).or_default() += 1;
        }
    }

    pub(super) fn unpin(&mut self, files: &BTreeSet<FileId>) {
        for file in files {
            let count = self.pins.get_mut(file).expect("what is unpinned was pinned");
            *count -= 1;
            if *count == 0 {
                self.pins.remove(file);
            }
        }
    }

    /// Reads a piece of a lent file: [`Done::Copied`] follows.
    pub fn copy(&mut self, copy: CopyId, file: FileId, at: u64, len: u64) {
        assert!(self.pins.contains_key(&file), "only what was lent is copied");
        self.wanted_copies.push(Wanted { copy, file, at, len });
    }

    /// How many bytes of a segment or an index must be in its file.
    fn written(&self, file: FileId) -> Option<u64> {
        self.segments.iter().find_map(|segment| match &segment.index {
            _ if segment.file == Some(file) => Some(segment.written),
            Index::File(index) if index.file == file => Some(index.len),
            Index::File(_) | Index::Memory(_) => None,
        })
    }

    pub(super) fn want_copies(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        for Wanted { copy, file, at, len } in std::mem::take(&mut self.wanted_copies) {
            self.reads.hold(file);
            let end = at.saturating_add(len);
            self.issue(Op::Copy { copy, file, range: (at, end) }, DiskCommand::Read { file, at, len }, out);
        }
    }

    pub(super) fn copy_done(&mut self, copy: CopyId, file: FileId, (at, end): (u64, u64), result: DiskResult) -> Done {
        self.reads.release(file);
        let bytes: Option<Bytes> = match result {
            Ok(output) => {
                let bytes = bytes_of(output);
                let there = at.saturating_add(bytes.len() as u64);
                // Whoever asks may ask for more than there ever was.
                if there < end && self.written(file).is_some_and(|written| there < written) {
                    self.suspect(file, &ReadError::Damaged { file, what: format!("it ends after {there} bytes") });
                }
                Some(bytes)
            }
            Err(error) => {
                self.suspect(file, &ReadError::Disk(error));
                None
            }
        };
        Done::Copied(copy, bytes)
    }
}
