//! The base that opens every journal file: everything about every live group except the entries themselves.
//!
//! A base makes older files matter only for entries: it repeats hard state, mark and append counter of each group, and says
//! exactly which entries are live (index, append number) and in which file they stand. It lists the files still in use with
//! their exact ends, so that what stands behind the end of one (the remains of a torn block) is never read again: the cut
//! that a recovery made is recorded here. Does not know how it is stored.

use bytes::Bytes;

use super::cursor::Cursor;
use super::frame::{get_hard, get_mark, put_mark};
use super::table::Run;
use super::{Cut, HardState, Mark};
use crate::id::{FileId, Index};

/// A closed file that is still in use: its entries are needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UsedFile {
    /// Its sequence in this use.
    pub(super) sequence: u64,
    /// The file.
    pub(super) file: FileId,
    /// The incarnation that wrote it.
    pub(super) boot: u64,
    /// The first byte of its first block.
    pub(super) start: u64,
    /// The byte behind its last believed frame; what follows means nothing.
    pub(super) end: u64,
    /// The number of its first block.
    pub(super) first_block: u64,
    /// The number of its last block.
    pub(super) last_block: u64,
    /// Damaged blocks, first and last, that have been reported and led to suspensions.
    pub(super) damaged: Vec<(u64, u64)>,
}

/// What a base says of the whole journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Base {
    /// The highest append number any group ever had: a group that is made again starts behind it.
    pub(super) high: u64,
    /// Groups that are not known here are suspended.
    pub(super) all_suspended: bool,
    /// The cut that the recovery before this base made.
    pub(super) cut: Option<Cut>,
    /// The files in use, ascending by sequence.
    pub(super) files: Vec<UsedFile>,
}

/// What a base says of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BaseGroup {
    pub(super) hard: HardState,
    pub(super) mark: Option<Mark>,
    pub(super) suspended: bool,
    pub(super) runs: Vec<Run>,
}

const ALL_SUSPENDED: u32 = 1;
const HAS_CUT: u32 = 2;
const HAS_MARK: u32 = 1;
const SUSPENDED: u32 = 2;

impl Base {
    pub(super) fn put(&self, meta: &mut Vec<u8>) {
        let flags = if self.all_suspended { ALL_SUSPENDED } else { 0 } | if self.cut.is_some() { HAS_CUT } else { 0 };
        meta.extend_from_slice(&flags.to_le_bytes());
        meta.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        let mut numbers = vec![self.high];
        if let Some(cut) = &self.cut {
            numbers.extend([cut.sequence, cut.block, cut.at]);
        }
        numbers.iter().for_each(|number| meta.extend_from_slice(&number.to_le_bytes()));
        for file in &self.files {
            let UsedFile { sequence, file, boot, start, end, first_block, last_block, damaged } = file;
            for number in [*sequence, file.raw(), *boot, *start, *end, *first_block, *last_block] {
                meta.extend_from_slice(&number.to_le_bytes());
            }
            meta.extend_from_slice(&(damaged.len() as u32).to_le_bytes());
            for (first, last) in damaged {
                meta.extend_from_slice(&first.to_le_bytes());
                meta.extend_from_slice(&last.to_le_bytes());
            }
        }
    }

    pub(super) fn get(cursor: &mut Cursor<'_>) -> Option<Self> {
        let flags = cursor.u32()?;
        let count = cursor.count(60)?;
        let high = cursor.u64()?;
        let cut = if flags & HAS_CUT == 0 {
            None
        } else {
            Some(Cut { sequence: cursor.u64()?, block: cursor.u64()?, at: cursor.u64()? })
        };
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let (sequence, file) = (cursor.u64()?, FileId::from_raw(cursor.u64()?)?);
            let boot = cursor.u64()?;
            let (start, end) = (cursor.u64()?, cursor.u64()?);
            let (first_block, last_block) = (cursor.u64()?, cursor.u64()?);
            let ranges = cursor.count(16)?;
            let damaged = (0..ranges).map(|_| Some((cursor.u64()?, cursor.u64()?))).collect::<Option<_>>()?;
            files.push(UsedFile { sequence, file, boot, start, end, first_block, last_block, damaged });
        }
        Some(Self { high, all_suspended: flags & ALL_SUSPENDED != 0, cut, files })
    }
}

impl BaseGroup {
    pub(super) fn put(&self, meta: &mut Vec<u8>, payload: &mut Vec<Bytes>) {
        let flags = if self.mark.is_some() { HAS_MARK } else { 0 } | if self.suspended { SUSPENDED } else { 0 };
        meta.extend_from_slice(&flags.to_le_bytes());
        meta.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        for number in [self.hard.term.0, self.hard.vote.0, self.hard.commit.0] {
            meta.extend_from_slice(&number.to_le_bytes());
        }
        for run in &self.runs {
            for number in [run.first.0, run.last.0, run.append, run.sequence] {
                meta.extend_from_slice(&number.to_le_bytes());
            }
        }
        if let Some(mark) = &self.mark {
            put_mark(meta, payload, mark);
        }
    }

    pub(super) fn get(cursor: &mut Cursor<'_>) -> Option<Self> {
        let flags = cursor.u32()?;
        let count = cursor.count(32)?;
        let hard = get_hard(cursor)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let (first, last) = (Index(cursor.u64()?), Index(cursor.u64()?));
            runs.push(Run { first, last, append: cursor.u64()?, sequence: cursor.u64()? });
        }
        let mark = if flags & HAS_MARK == 0 { None } else { Some(get_mark(cursor)?) };
        Some(Self { hard, mark, suspended: flags & SUSPENDED != 0, runs })
    }
}
