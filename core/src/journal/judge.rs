//! Judging the bytes of one file: which blocks are whole, where the log ends, what is torn and what is corrupt.
//!
//! Pure: bytes in, pieces out. Exactly one block is in flight, so anything valid of a later block of the same incarnation
//! proves that the ones before it were synced: what is damaged there is corrupt. Only the last block may be torn, and any
//! subset of its sectors may be missing. Does not know groups' states, nor other files beyond what they prove.

use std::collections::{BTreeMap, BTreeSet};

use std::ops::Range;

use bytes::Bytes;

use super::Damage;
use super::block::{self, Found};
use super::frame::{Frame, Salt, Stamp};
use crate::mutants::{Mutant, Mutants};

/// Where a log in a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Close {
    /// It is the newest file: the end is to be found. Blocks up to this number (zero is none) are proven by other files.
    Open { proven: u64 },
    /// A base says where: the byte behind the last frame, and the number of the last block.
    Closed { end: usize, last_block: u64 },
}

/// A stretch of a file.
#[derive(Debug)]
pub(super) enum Piece {
    /// The believed frames of a block.
    Block(Vec<Frame>),
    /// Damaged blocks.
    Damage(Damage),
}

/// What was judged of a file.
#[derive(Debug)]
pub(super) struct Verdict {
    /// In order.
    pub(super) pieces: Vec<Piece>,
    /// The byte behind the last believed frame.
    pub(super) end: usize,
    /// The last block of which something is believed.
    pub(super) last_block: u64,
    /// The number of the last block, if its remains were cut off.
    pub(super) torn: Option<u64>,
    /// The highest block number anything valid was seen of.
    pub(super) highest_block: u64,
    /// The highest append number among what was found behind damage.
    pub(super) highest_append: u64,
}

/// The groups of blocks `first..=last`, if a directory of each survives.
fn named(found: &[Found], first: u64, last: u64) -> Option<BTreeSet<crate::id::GroupId>> {
    let mut directories = BTreeMap::new();
    for item in found.iter().filter(|item| (first..=last).contains(&item.stamp.block)) {
        if let Some(groups) = &item.directory {
            directories.insert(item.stamp.block, groups);
        }
    }
    let all = directories.len() as u64 == (last - first).saturating_add(1);
    all.then(|| directories.into_values().flatten().copied().collect())
}

/// Judges the blocks from byte `start` on, the first of which is stamped `first`. Where something could not be read, nobody
/// can say that it was torn: there the last block counts as damaged.
pub(super) fn judge(
    bytes: &Bytes,
    unreadable: &[Range<u64>],
    start: usize,
    first: Stamp,
    salt: Salt,
    close: Close,
    mutants: Mutants,
) -> Verdict {
    let (mut at, mut stamp) = (start, first);
    let mut verdict = Verdict {
        pieces: Vec::new(),
        end: start,
        last_block: first.block.saturating_sub(1),
        torn: None,
        highest_block: 0,
        highest_append: 0,
    };
    loop {
        if matches!(close, Close::Closed { end, .. } if at >= end) {
            break;
        }
        let read = block::read(bytes, at, salt, stamp);
        if let Some(end) = read.end {
            verdict.pieces.push(Piece::Block(read.frames));
            (verdict.end, verdict.last_block) = (end, stamp.block);
            verdict.highest_block = verdict.highest_block.max(stamp.block);
            (at, stamp.block) = (end, stamp.block.saturating_add(1));
            continue;
        }
        if matches!(close, Close::Closed { end, .. } if read.good_end == end) {
            // A recovery cut this block here.
            verdict.pieces.push(Piece::Block(read.frames));
            (verdict.end, verdict.last_block) = (read.good_end, stamp.block);
            break;
        }
        let mut found = block::scan(bytes, at, salt, Some(stamp.sequence));
        found.retain(|item| item.stamp.boot == stamp.boot && item.stamp.block >= stamp.block);
        let seen = found.iter().map(|item| item.stamp.block).max().unwrap_or(0);
        verdict.highest_block = verdict.highest_block.max(seen);
        verdict.highest_append = found.iter().map(|item| item.append).fold(verdict.highest_append, u64::max);
        let proven = match close {
            Close::Open { proven } => proven.max(seen.saturating_sub(1)),
            Close::Closed { last_block, .. } => last_block,
        };
        let to = (at as u64).saturating_add(block::claimed_bytes(bytes, at, salt, stamp));
        let doubtful = unreadable.iter().any(|range| range.start < to && (at as u64) < range.end);
        let proven = if doubtful { proven.max(stamp.block) } else { proven };
        let proven = if mutants.planted(Mutant::CorruptIsTorn) { 0 } else { proven };
        let part = seen == stamp.block && mutants.planted(Mutant::SubsetTornIsCorrupt);
        let proven = if part { proven.max(stamp.block) } else { proven };
        if proven < stamp.block {
            if seen == stamp.block {
                verdict.torn = Some(stamp.block);
            }
            if read.good_end > at {
                verdict.pieces.push(Piece::Block(read.frames));
                (verdict.end, verdict.last_block) = (read.good_end, stamp.block);
            }
            break;
        }
        let resume = found.iter().find(|item| item.header && item.stamp.block > stamp.block);
        let last = resume.map_or(proven, |item| item.stamp.block - 1);
        verdict.pieces.push(Piece::Damage(Damage {
            sequence: stamp.sequence,
            at: at as u64,
            first_block: stamp.block,
            last_block: last,
            groups: named(&found, stamp.block, last),
        }));
        match resume {
            Some(item) => (at, stamp.block) = (item.at, item.stamp.block),
            None => {
                if seen > last {
                    verdict.torn = Some(seen);
                }
                break;
            }
        }
    }
    verdict
}
