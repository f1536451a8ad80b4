//! Turning to another file: a regular one, or a **spare** where the disk has no room for one.
//!
//! Spares are [`SPARES`] short files that are kept free, so that a start needs no new space: its first base goes into one of them.
//! What little is live in other files (elections and commands of earlier starts) is written again behind that base, in the same
//! block, so those files are free when it is durable. Two are enough for ever: one is written to, the other is free, in turn.
//!
//! Promises that a journal that turned to a spare is full ([`Writer::is_full`]) until it has turned to a regular file again, and
//! that nobody turns to the last spare while the one that is left could not be had back. Does not know blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{InUse, Slot};
use super::{Item, Writer, entries_bytes};
use crate::effect::DiskCommand;
use crate::id::{FileId, FileIds, FileKind, GroupId};
use crate::journal::Entry;
use crate::journal::block::block_bytes_bound;
use crate::journal::frame::{Body, Draft, ENTRY_HEADER_BYTES, FRAME_ALIGN, FRAME_HEADER_BYTES};
use crate::mutants::Mutant;

/// How many spare files are kept.
pub(super) const SPARES: usize = 2;
/// A spare is so many times shorter than a file under load, or longer if a base needs it.
const SPARES_PER_FILE: u64 = 16;
/// A file so many times longer than a spare has to be is no spare if one can be had.
const SPARE_LONGER_MAX: u64 = 2;
/// What a base takes at least for a group, without its runs, and in all for the rest.
const GROUP_BYTES_MIN: u64 = 512;
const BASE_BYTES: u64 = 1024;
const RUN_BYTES: u64 = 32;
/// Each group has so many times less than a regular file in a spare for what moves there, and at least so much: each start of a
/// leader is an entry, and on a full disk no checkpoint lets go of them.
const GROUPS_PER_FILE: u64 = 4096;
const GROUP_MOVES_MIN: u64 = 1024;

/// Live entries that came with one append, and may move to another file.
#[derive(Clone, Debug)]
pub(in crate::journal) struct Movable {
    pub(in crate::journal) group: GroupId,
    pub(in crate::journal) append: u64,
    pub(in crate::journal) entries: Vec<Entry>,
}

/// The most bytes that entries take when they are carried: each may need a frame of its own.
pub(in crate::journal) fn carried_bytes(entries: &[Entry]) -> u64 {
    entries_bytes(entries, FRAME_HEADER_BYTES + FRAME_ALIGN + 4 + ENTRY_HEADER_BYTES)
}

/// How much of a file what moves may take.
fn moves_max(file_bytes: u64) -> u64 {
    file_bytes / 8 * 5
}

/// Which files hold so little that it moves with a start: those that hold least, while all of it fits a free file.
pub(in crate::journal) fn little(bytes_in: BTreeMap<u64, u64>, free_bytes_max: u64) -> BTreeSet<u64> {
    let mut files: Vec<(u64, u64)> = bytes_in.into_iter().map(|(sequence, bytes)| (bytes, sequence)).collect();
    files.sort_unstable();
    let mut left = moves_max(free_bytes_max);
    let fits = files.into_iter().map_while(|(bytes, sequence)| {
        left = left.checked_sub(bytes)?;
        Some(sequence)
    });
    fits.collect()
}

impl Writer {
    /// Whether more than what has to be written can be taken: nothing that was wanted of the disk was refused.
    pub(in crate::journal) fn is_full(&self) -> bool {
        self.full || self.on_spare
    }

    /// Whether entries of so many bytes may come where they can be had again: on a full disk they leave half of what is left, and none
    /// come where a spare is lacking, or written to: what stands there has to move to the next start's.
    pub(in crate::journal) fn takes(&self, bytes: u64) -> bool {
        if !self.is_full() {
            return true;
        }
        let Some(current) = self.current else { return false };
        let file = &self.in_use[&current];
        let queued: u64 = self.queue.iter().map(|item| item.bytes).sum();
        let spare = self.on_spare || self.spares().len() < SPARES;
        !spare && queued + bytes + u64::from(self.settings.sector_bytes) <= (file.len - file.used.end) / 2
    }

    /// How long a spare has to be.
    fn spare_bytes(&self) -> u64 {
        let (groups, runs) = (self.table.groups().len() as u64, self.table.runs());
        let moves = groups * (self.settings.file_bytes / GROUPS_PER_FILE).max(GROUP_MOVES_MIN);
        let base = BASE_BYTES + groups * self.group_bytes.max(GROUP_BYTES_MIN) + runs * RUN_BYTES;
        let sector = self.settings.sector_bytes;
        let step = (self.settings.file_bytes / SPARES_PER_FILE).max(u64::from(sector));
        (u64::from(sector) + block_bytes_bound(2 * base + moves, groups + 1, sector)).next_multiple_of(step)
    }

    /// How much the spares take.
    pub(super) fn spares_bytes(&self) -> u64 {
        SPARES as u64 * self.spare_bytes()
    }

    /// The free files that are kept for starts: short ones, or any where no short ones can be had.
    pub(super) fn spares(&self) -> Vec<Slot> {
        let least = self.spare_bytes();
        let most = if self.full { u64::MAX } else { least.saturating_mul(SPARE_LONGER_MAX) };
        let mut long: Vec<Slot> = self.free.iter().filter(|slot| (least..=most).contains(&slot.len)).copied().collect();
        long.sort_by_key(|slot| (slot.len, slot.file));
        long.truncate(SPARES);
        long
    }

    /// The free files beside those.
    pub(super) fn beyond(&self) -> impl Iterator<Item = Slot> + '_ {
        let spares: BTreeSet<FileId> = self.spares().into_iter().map(|slot| slot.file).collect();
        self.free.iter().filter(move |slot| !spares.contains(&slot.file)).copied()
    }

    /// The longest free file beside the spares that can be opened, if it is at least so long.
    pub(super) fn ready(&self, len: u64) -> Option<Slot> {
        let ready = self.beyond().filter(|slot| slot.allocated && slot.blank && slot.len >= len);
        ready.max_by_key(|slot| slot.len)
    }

    /// How long a file is made that is turned to: a disk without room for a long one may have some for one that is long enough.
    fn turn_len(&self) -> u64 {
        if self.full { self.settings.file_bytes_first.max(self.len_min) } else { self.next_len() }
    }

    /// The files that the next base lists.
    fn listed(&self) -> BTreeSet<u64> {
        let mut listed: BTreeSet<u64> =
            self.in_use.keys().copied().filter(|sequence| self.table.needs(*sequence)).collect();
        if self.mutants.planted(Mutant::RecycleEarly) {
            listed.pop_first();
        }
        listed
    }

    /// Opens the next file with these items of the queue, or makes one ready for it.
    pub(super) fn turn(&mut self, items: usize, bytes: u64, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let stuck = self.full && !self.full_retry && !self.may_turn_to_spare();
        if self.ready(self.len_min).is_none() && (self.preparing.is_some() || stuck) {
            // No file to turn to, and a base takes time to put together.
            return;
        }
        let sector = self.settings.sector_bytes;
        let listed = self.listed();
        let base = self.base(&listed);
        let base_bytes: u64 = base.iter().map(Draft::bytes).sum();
        let of_groups = base_bytes.saturating_sub(self.table.runs() * RUN_BYTES);
        self.group_bytes = of_groups / base.len() as u64 * 5 / 4;
        // What little is live in old files moves with each start, and with whoever leaves a spare.
        let moves = self.current.is_none() || (self.on_spare && self.movable_whole);
        let moved = if moves { self.movable_bytes() } else { 0 };
        let groups = (items + base.len() + self.movable.len()) as u64;
        // At least as much room again as the base takes, or files would hold little else.
        let len = u64::from(sector) + block_bytes_bound(2 * base_bytes + moved + bytes, groups, sector);
        self.len_min = u64::from(sector) + block_bytes_bound(2 * base_bytes, base.len() as u64, sector);
        if let Some(slot) = self.ready(len) {
            let (listed, drafts) = if moves { self.moving() } else { (listed, base) };
            self.movable.clear();
            self.on_spare = false;
            return self.open(slot, listed, drafts, items, out);
        }
        // Before the first base, one refusal is enough to do with less.
        if !self.full || (self.full_retry && self.current.is_some()) {
            return self.prepare(len.max(self.turn_len()), ids);
        }
        self.turn_to_spare(base_bytes, ids, out);
    }

    /// A spare is left as soon as that is possible: nothing that would have to be refused waits for it.
    pub(super) fn leaves_spare(&self) -> bool {
        self.on_spare && self.ready(self.len_min).is_some()
    }

    /// Whether a spare may be turned to: a start may turn to any file, and in a life a spare must be left, or come back.
    fn may_turn_to_spare(&self) -> bool {
        let spares = self.spares();
        let fits = |item: &Item| spares.first().is_some_and(|slot| item.bytes < slot.len / 2);
        match self.current {
            None => !self.free.is_empty(),
            Some(_) if self.on_spare => self.movable_whole && self.queue.front().is_none_or(fits),
            Some(_) => spares.len() >= SPARES && self.queue.front().is_none_or(fits),
        }
    }

    fn turn_to_spare(&mut self, base_bytes: u64, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        if self.preparing.is_some() {
            return;
        }
        if self.mutants.planted(Mutant::FullStartWaits) || !self.may_turn_to_spare() {
            if self.current.is_none() && self.full_retry {
                self.prepare_spare(ids);
            }
            return;
        }
        let Some((slot, head)) = self.spare_for(base_bytes) else {
            if self.current.is_none() && self.full_retry {
                self.prepare_spare(ids);
            }
            return;
        };
        let left = (slot.len - head) / 2;
        let (items, bytes) = self.choose(left);
        if items > 0 && bytes > left {
            // Turning would not help: what waits first needs a longer file.
            return;
        }
        if !slot.allocated || !slot.blank {
            self.free.remove(&slot);
            return self.make_ready(slot, slot.len, true);
        }
        let (listed, drafts) = self.moving();
        (self.on_spare, self.movable_whole) = (true, true);
        self.open(slot, listed, drafts, items, out);
    }

    /// The shortest free file that a base of so many bytes may open, and how many bytes of it that takes with what moves. If none is
    /// long enough for that, nothing moves.
    fn spare_for(&mut self, base_bytes: u64) -> Option<(Slot, u64)> {
        let slots = if self.current.is_some() { self.spares() } else { self.free.iter().copied().collect() };
        let sector = self.settings.sector_bytes;
        let groups = (self.table.groups().len() + self.movable.len() + 1) as u64;
        let fitting = |moved: u64| {
            let head = u64::from(sector) + block_bytes_bound(base_bytes + moved, groups, sector);
            let long = slots.iter().filter(|slot| slot.len >= head + u64::from(sector));
            long.min_by_key(|slot| (slot.len, slot.file)).map(|slot| (*slot, head))
        };
        fitting(self.movable_bytes()).or_else(|| {
            if self.on_spare {
                // Without what moves the one written to would not come back.
                return None;
            }
            self.movable.clear();
            fitting(0)
        })
    }

    /// The files that the next base lists, the base, and what moves with it.
    fn moving(&mut self) -> (BTreeSet<u64>, Vec<Draft>) {
        let moved = self.moved();
        let listed = self.listed();
        let mut drafts = self.base(&listed);
        drafts.extend(moved);
        (listed, drafts)
    }

    /// Frames of what moves to the next file; the table knows it there from now on.
    fn moved(&mut self) -> Vec<Draft> {
        let sequence = self.next_sequence;
        let mut drafts = Vec::new();
        for one in std::mem::take(&mut self.movable) {
            let Movable { group, append, entries } = one;
            let live = |entry: &Entry| {
                let run = self.table.get(group).and_then(|known| known.run_of(entry.index));
                run.is_some_and(|run| run.append == append)
            };
            let entries: Vec<Entry> = entries.into_iter().filter(live).collect();
            // What is live of one append is contiguous: marks take from the front, truncations from the back.
            let Some((first, last)) = entries.first().zip(entries.last()) else { continue };
            self.table.carry(group, append, first.index, last.index, sequence);
            drafts.push(Draft::new(group, append, &Body::Carry(entries.clone())));
            self.movable.push(Movable { group, append, entries });
        }
        drafts
    }

    fn movable_bytes(&self) -> u64 {
        self.movable.iter().map(|one| carried_bytes(&one.entries)).sum()
    }

    /// How much may move to the spare that is turned to next.
    fn moves_max(&self) -> u64 {
        moves_max(self.spares().iter().map(|slot| slot.len).max().unwrap_or(0))
    }

    /// What is written to a spare is kept in mind: it moves on to the next file.
    pub(super) fn keep_movable(&mut self, group: GroupId, append: u64, entries: &[Entry]) {
        if !self.on_spare || entries.is_empty() || !self.movable_whole {
            return;
        }
        if self.movable_bytes() + carried_bytes(entries) > self.moves_max() {
            self.movable_whole = false;
            return;
        }
        self.movable.push(Movable { group, append, entries: entries.to_vec() });
    }

    fn open(
        &mut self,
        slot: Slot,
        listed: BTreeSet<u64>,
        mut drafts: Vec<Draft>,
        items: usize,
        out: &mut Vec<(u64, DiskCommand)>,
    ) {
        self.free.remove(&slot);
        drafts.extend(self.take(items, self.next_sequence));
        self.put(drafts, Some((slot, listed)), out);
    }

    /// Makes the next file ready while the current one is being filled, and keeps the spares.
    pub(super) fn prepare_ahead(&mut self, ids: &mut FileIds) {
        if self.current.is_none() || self.preparing.is_some() {
            return;
        }
        if self.lacks_spares() && self.prepare_spare(ids) {
            return;
        }
        let len = self.turn_len();
        if self.is_turn_due() && self.ready(len).is_none() {
            return self.prepare(len, ids);
        }
        // Nothing is lacking, unless something waits for a longer file.
        self.full &= self.turning || self.lacks_spares();
    }

    /// Whether the next file is to be ready: the one written to is half full, or a spare.
    pub(super) fn is_turn_due(&self) -> bool {
        let half = |file: &InUse| file.used.end >= file.len / 2;
        self.on_spare || self.current.is_some_and(|current| half(&self.in_use[&current]))
    }

    fn lacks_spares(&self) -> bool {
        let least = self.spare_bytes();
        let most = least.saturating_mul(SPARE_LONGER_MAX);
        let spares = self.free.iter().filter(|slot| (least..=most).contains(&slot.len)).count();
        spares < SPARES && !self.mutants.planted(Mutant::SparesNotKept)
    }

    /// Begins to make a spare, if the disk may have room for it.
    fn prepare_spare(&mut self, ids: &mut FileIds) -> bool {
        if self.full && !self.full_retry {
            return false;
        }
        self.full_retry = false;
        let len = self.spare_bytes();
        let slot = self.free.iter().filter(|slot| slot.len < len).max_by_key(|slot| slot.len).copied();
        let slot = slot.unwrap_or_else(|| Slot::new(ids.mint(FileKind::Journal)));
        self.free.remove(&slot);
        self.make_ready(slot, len, true);
        true
    }
}
