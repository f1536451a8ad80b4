//! One broker's disk: files as bytes, and for each sector written but not synced, what the medium still holds.
//!
//! - A write is in flight from [`Disk::issue`] to [`Disk::finish`]; then it is page-cache content, and durable if it said so.
//! - A **kill** of the process keeps the page cache. Writes in flight may have happened, sector by sector.
//! - A **power loss** keeps, of what was not synced or was in flight, any subset of sectors.
//! - A sync makes durable what was written before it was *issued*; a sector written again meanwhile keeps the older content.
//! - A write or sync that **fails** may have happened in part; of what it should have made durable, any subset is lost for
//!   good, though reads still show it and the next sync succeeds (as Linux does).
//! - Misuse by the core (writing beyond what was allocated, cutting a file that is being read, reusing an id) panics.
//!
//! It knows nothing of time, of what the bytes mean, or of who asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileKind, OpId};
use tidelog_core::rng::Rng;

/// The unit a medium writes atomically.
const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// A sector whose page-cache content is not known to be on the medium.
#[derive(Clone, Debug)]
struct Dirty {
    /// What the medium holds for sure.
    durable: Box<Sector>,
    /// The last write that touched it.
    written: u64,
    /// Contents that syncs in flight may still make durable: (the last write they include, the content).
    versions: Vec<(u64, Box<Sector>)>,
    /// A failed write-back: reads show it, no sync carries it to the medium any more, only writing it again does.
    dropped: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    dirty: BTreeMap<u32, Dirty>,
    /// The tail a truncation cut off that no sync confirmed; a power loss may bring it back.
    cut: Vec<u8>,
    syncs: u32,
}

#[derive(Debug)]
struct Flight {
    command: DiskCommand,
    /// The number of the last write done when it was issued.
    issued: u64,
}

/// What a crash did to a disk, for statistics and stories.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Damage {
    /// Sectors that were not safely on the medium.
    pub unsynced: u64,
    /// Those of them whose new content was lost.
    pub lost: u64,
    /// Writes that were in flight.
    pub in_flight: u64,
}

/// Operation ids already used in this incarnation, kept small while they ascend.
#[derive(Debug, Default)]
struct Seen {
    below: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    fn insert(&mut self, id: u64) -> bool {
        if id < self.below || !self.above.insert(id) {
            return false;
        }
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }
}

/// One disk.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<FileId, File>,
    gone: BTreeSet<FileId>,
    flights: BTreeMap<OpId, Flight>,
    seen: Seen,
    writes: u64,
    /// Durable writes to journal files that are done, the newest last.
    journal: VecDeque<Extent>,
}

/// Where a write went.
#[derive(Clone, Copy, Debug)]
struct Extent {
    file: FileId,
    from: u64,
    to: u64,
}

/// How many of them are remembered.
const JOURNAL_WRITES_KEPT: usize = 400;

impl File {
    fn sector(&self, number: u32) -> Box<Sector> {
        let mut sector = Box::new([0; SECTOR]);
        let at = number as usize * SECTOR;
        let end = self.cache.len().min(at + SECTOR);
        if at < end {
            sector[..end - at].copy_from_slice(&self.cache[at..end]);
        }
        sector
    }

    fn put_sector(&mut self, number: u32, content: &Sector) {
        let at = number as usize * SECTOR;
        let end = self.cache.len().min(at + SECTOR);
        if at < end {
            self.cache[at..end].copy_from_slice(&content[..end - at]);
        }
    }

    /// Puts bytes into the page cache, remembering what the medium holds.
    fn write(&mut self, at: u64, bytes: &[u8], write: u64) {
        if bytes.is_empty() {
            return;
        }
        let start = at as usize;
        let end = start + bytes.len();
        for number in (start / SECTOR) as u32..=((end - 1) / SECTOR) as u32 {
            let before = self.sector(number);
            let keep = self.syncs > 0;
            let dirty = self.dirty.entry(number).or_insert_with(|| Dirty {
                durable: before.clone(),
                written: 0,
                versions: Vec::new(),
                dropped: false,
            });
            if keep && dirty.written > 0 {
                dirty.versions.push((write - 1, before));
            }
            dirty.written = write;
            dirty.dropped = false;
        }
        self.cache[start..end].copy_from_slice(bytes);
    }

    /// Makes durable what writes up to `upto` put into the sectors.
    fn settle(&mut self, upto: u64) {
        self.dirty.retain(|_, dirty| {
            if dirty.dropped {
                return true;
            }
            if dirty.written <= upto {
                return false;
            }
            if let Some(found) = dirty.versions.iter().position(|(includes, _)| *includes >= upto) {
                let mut older = dirty.versions.drain(..=found);
                if let Some((_, content)) = older.next_back() {
                    dirty.durable = content;
                }
            }
            true
        });
    }
}

fn joined(bytes: &[Bytes]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.iter().map(Bytes::len).sum());
    bytes.iter().for_each(|slice| all.extend_from_slice(slice));
    all
}

fn length(bytes: &[Bytes]) -> u64 {
    bytes.iter().map(|slice| slice.len() as u64).sum()
}

/// Whether a block of the journal names the controller's group (zero) and no other: behind its head (48 bytes) stands a frame
/// (head of 56 bytes, with the payload's length at 8) whose payload is the groups.
fn is_controllers(file: &File, block: Extent) -> bool {
    let bytes = |at: u64, len: usize| file.cache.get((block.from + at) as usize..).and_then(|rest| rest.get(..len));
    bytes(56, 4) == Some(&[8, 0, 0, 0]) && bytes(104, 8) == Some(&[0; 8])
}

impl Disk {
    /// Takes an operation of the broker. Panics on misuse.
    pub fn issue(&mut self, op: OpId, command: DiskCommand) {
        assert!(self.seen.insert(op.0), "disk misuse: operation {op:?} was used before");
        match &command {
            DiskCommand::List => {}
            DiskCommand::Read { .. } => {}
            DiskCommand::Write { file, at, bytes, .. } => {
                let len = length(bytes);
                let Some(there) = self.files.get(file) else {
                    panic!("disk misuse: write to {file:?}, which is not there");
                };
                assert!(
                    at.checked_add(len).is_some_and(|end| end <= there.cache.len() as u64),
                    "disk misuse: write of {len} bytes at {at} of {file:?}, allocated {}",
                    there.cache.len()
                );
                for other in self.flights.values() {
                    let (what, from, count) = match &other.command {
                        DiskCommand::Write { file: f, at, bytes, .. } if f == file => ("write", *at, length(bytes)),
                        DiskCommand::Read { file: f, at, len } if f == file => ("read", *at, *len),
                        DiskCommand::Truncate { file: f, len } if f == file => ("cut", *len, u64::MAX),
                        _ => continue,
                    };
                    assert!(
                        at + len <= from || from.saturating_add(count) <= *at,
                        "disk misuse: write of {len} bytes at {at} of {file:?} overlaps a {what} in flight"
                    );
                }
            }
            DiskCommand::Sync { files } => {
                for file in files {
                    let Some(there) = self.files.get_mut(file) else {
                        panic!("disk misuse: sync of {file:?}, which is not there");
                    };
                    there.syncs += 1;
                }
            }
            DiskCommand::Allocate { file, .. } => {
                assert!(!self.gone.contains(file), "disk misuse: {file:?} was removed and is used again");
            }
            DiskCommand::Truncate { file, len } => {
                for other in self.flights.values() {
                    let (f, end) = match &other.command {
                        DiskCommand::Read { file: f, at, len } => (f, at.saturating_add(*len)),
                        DiskCommand::Write { file: f, at, bytes, .. } => (f, at + length(bytes)),
                        _ => continue,
                    };
                    assert!(f != file || end <= *len, "disk misuse: {command:?} into what is read or written");
                }
            }
            DiskCommand::Remove { file } => {
                for other in self.flights.values() {
                    let busy = match &other.command {
                        DiskCommand::Read { file: f, .. } | DiskCommand::Write { file: f, .. } => f == file,
                        _ => false,
                    };
                    assert!(!busy, "disk misuse: {command:?} while {file:?} is read or written");
                }
            }
        }
        let issued = self.writes;
        self.flights.insert(op, Flight { command, issued });
    }

    /// Every file there is, and how long it is.
    pub fn lengths(&self) -> BTreeMap<FileId, u64> {
        self.files.iter().map(|(id, file)| (*id, file.cache.len() as u64)).collect()
    }

    /// Every file there is.
    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files.keys().copied()
    }

    /// What a read of the whole file would give.
    pub fn content(&self, file: FileId) -> Option<Bytes> {
        self.files.get(&file).map(|there| Bytes::copy_from_slice(&there.cache))
    }

    /// The command of an operation in flight.
    pub fn in_flight(&self, op: OpId) -> Option<&DiskCommand> {
        self.flights.get(&op).map(|flight| &flight.command)
    }

    /// Carries out an operation in flight, and says how it ended. `None` if it was forgotten in a crash.
    pub fn finish(&mut self, op: OpId) -> Option<DiskResult> {
        let Flight { command, issued } = self.flights.remove(&op)?;
        Some(match command {
            DiskCommand::List => {
                Ok(DiskOutput::Listed(self.files.iter().map(|(id, file)| (*id, file.cache.len() as u64)).collect()))
            }
            DiskCommand::Read { file, at, len } => match self.files.get(&file) {
                None => Err(DiskError::Missing),
                Some(there) => {
                    let size = there.cache.len() as u64;
                    let start = at.min(size);
                    let end = at.saturating_add(len).min(size);
                    Ok(DiskOutput::Read(Bytes::copy_from_slice(&there.cache[start as usize..end as usize])))
                }
            },
            DiskCommand::Write { file, at, bytes, durable, cold: _ } => {
                self.writes += 1;
                let write = self.writes;
                let there = self.files.get_mut(&file).expect("checked when issued, and removal waits for writes");
                let all = joined(&bytes);
                there.write(at, &all, write);
                if durable && !all.is_empty() {
                    let first = (at as usize / SECTOR) as u32;
                    let last = ((at as usize + all.len() - 1) / SECTOR) as u32;
                    (first..=last).for_each(|number| {
                        there.dirty.remove(&number);
                    });
                    if file.kind() == FileKind::Journal {
                        self.journal_written(Extent { file, from: at, to: at + all.len() as u64 });
                    }
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Sync { files } => {
                for file in files {
                    if let Some(there) = self.files.get_mut(&file) {
                        there.syncs = there.syncs.saturating_sub(1);
                        there.settle(issued);
                        there.cut.clear();
                    }
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Allocate { file, len } => {
                self.allocate(file, len);
                Ok(DiskOutput::Done)
            }
            DiskCommand::Truncate { file, len } => match self.truncate(file, len) {
                true => Ok(DiskOutput::Done),
                false => Err(DiskError::Missing),
            },
            DiskCommand::Remove { file } => {
                self.remove(file);
                Ok(DiskOutput::Done)
            }
        })
    }

    fn journal_written(&mut self, extent: Extent) {
        self.journal.retain(|old| old.file != extent.file || old.to <= extent.from || extent.to <= old.from);
        self.journal.push_back(extent);
        if self.journal.len() > JOURNAL_WRITES_KEPT {
            self.journal.pop_front();
        }
    }

    /// Ends an allocation in flight because no space is left. `None` if it needs none, or is no allocation: it goes on.
    pub fn refuse(&mut self, op: OpId) -> Option<DiskResult> {
        let Some(DiskCommand::Allocate { file, len }) = self.in_flight(op) else {
            return None;
        };
        if self.files.get(file).is_some_and(|there| there.cache.len() as u64 >= *len) {
            return None;
        }
        self.flights.remove(&op);
        Some(Err(DiskError::Full))
    }

    /// Flips a bit in a block of the journal that a later one follows, or in any file of another kind. Says where.
    pub fn rot(&mut self, kind: FileKind, rng: &mut Rng) -> Option<(FileId, u64)> {
        let (file, at) = match kind {
            FileKind::Journal => {
                let newest = self.journal.back()?.file;
                let sealed: Vec<Extent> = self.journal.iter().rev().skip(1).copied().collect();
                // What the next recovery reads from end to end is the file that was written last.
                let head: Vec<Extent> = sealed.iter().filter(|block| block.file == newest).copied().collect();
                let any = head.is_empty() || rng.per_mille(250);
                let mut blocks = if any { sealed } else { head };
                // Hardly any block is the controller's alone, which takes a broker's knowledge of all others with it.
                let alone =
                    |block: &&Extent| self.files.get(&block.file).is_some_and(|file| is_controllers(file, **block));
                let controllers: Vec<Extent> = blocks.iter().filter(alone).copied().collect();
                if !controllers.is_empty() && rng.per_mille(400) {
                    blocks = controllers;
                }
                let block = rng.pick(&blocks)?;
                // Much of a block is padding, in which nothing is lost.
                let bytes = &self.files.get(&block.file)?.cache;
                let at = |rng: &mut Rng| rng.between(block.from, block.to - 1);
                let telling = (0..8).map(|_| at(rng)).find(|at| bytes.get(*at as usize).is_some_and(|byte| *byte != 0));
                (block.file, telling.unwrap_or(block.from))
            }
            FileKind::Segment | FileKind::SegmentIndex | FileKind::State | FileKind::Formation => {
                let of_kind = |(id, file): (&FileId, &File)| {
                    (id.kind() == kind && !file.cache.is_empty()).then_some((*id, file.cache.len() as u64))
                };
                let files: Vec<(FileId, u64)> = self.files.iter().filter_map(of_kind).collect();
                let (file, len) = rng.pick(&files)?;
                (*file, rng.below(*len))
            }
        };
        let bit = 1 << rng.below(8);
        *self.files.get_mut(&file)?.cache.get_mut(at as usize)? ^= bit;
        Some((file, at))
    }

    /// Removes a file of this kind, or cuts it off, as a careless hand does. Says which, and to what length.
    pub fn harm(&mut self, kind: FileKind, rng: &mut Rng) -> Option<(FileId, u64)> {
        let files: Vec<(FileId, u64)> = self.files.iter().map(|(id, file)| (*id, file.cache.len() as u64)).collect();
        let files: Vec<(FileId, u64)> = files.into_iter().filter(|(id, len)| id.kind() == kind && *len > 0).collect();
        let (file, len) = *rng.pick(&files)?;
        let len = if rng.per_mille(500) { 0 } else { rng.below(len) };
        if len == 0 {
            self.remove(file);
        } else {
            self.truncate(file, len);
            // Nothing brings that back.
            self.files.get_mut(&file)?.cut.clear();
        }
        Some((file, len))
    }

    /// Removes every file of this kind. Says how many there were.
    pub fn vanish(&mut self, kind: FileKind) -> usize {
        let files: Vec<FileId> = self.files.keys().copied().filter(|file| file.kind() == kind).collect();
        files.iter().for_each(|file| self.remove(*file));
        files.len()
    }

    /// Ends an operation in flight with an error of the medium: nothing of it is promised, parts of it may have happened.
    pub fn fail(&mut self, op: OpId, rng: &mut Rng) -> Option<DiskResult> {
        let flight = self.flights.remove(&op)?;
        let doomed: Vec<(FileId, u64, u64)> = match &flight.command {
            DiskCommand::Write { file, at, bytes, .. } => vec![(*file, *at, at + length(bytes))],
            DiskCommand::Sync { files } => files.iter().map(|file| (*file, 0, u64::MAX)).collect(),
            DiskCommand::List
            | DiskCommand::Read { .. }
            | DiskCommand::Allocate { .. }
            | DiskCommand::Truncate { .. }
            | DiskCommand::Remove { .. } => Vec::new(),
        };
        self.happen_partly(flight, rng);
        let keep = Keep::draw(rng);
        for (file, from, to) in doomed {
            let Some(there) = self.files.get_mut(&file) else {
                continue;
            };
            let sectors = (from / SECTOR as u64) as u32..=((to - 1) / SECTOR as u64).min(u64::from(u32::MAX)) as u32;
            let total = there.dirty.range(sectors.clone()).count() as u64;
            for (rank, (_, dirty)) in there.dirty.range_mut(sectors).enumerate() {
                dirty.dropped |= !keep.keeps(rank as u64, total, rng);
                dirty.versions.clear();
            }
        }
        Some(Err(DiskError::Io("simulated medium error".to_owned())))
    }

    fn allocate(&mut self, file: FileId, len: u64) {
        let there = self.files.entry(file).or_default();
        if there.cache.len() < len as usize {
            there.cache.resize(len as usize, 0);
        }
        there.cut.clear();
    }

    fn truncate(&mut self, file: FileId, len: u64) -> bool {
        let Some(there) = self.files.get_mut(&file) else {
            return false;
        };
        if (len as usize) < there.cache.len() {
            let tail = there.cache.split_off(len as usize);
            there.cut.splice(0..0, tail);
            let kept = len.div_ceil(SECTOR as u64);
            there.dirty.retain(|number, _| u64::from(*number) < kept);
        }
        true
    }

    fn remove(&mut self, file: FileId) {
        self.files.remove(&file);
        self.journal.retain(|extent| extent.file != file);
        self.gone.insert(file);
    }

    /// What may be left of an operation that was in flight when everything stopped.
    fn happen_partly(&mut self, flight: Flight, rng: &mut Rng) {
        match flight.command {
            DiskCommand::List | DiskCommand::Read { .. } => {}
            DiskCommand::Sync { files } => {
                for file in files {
                    if let Some(there) = self.files.get_mut(&file) {
                        there.syncs = there.syncs.saturating_sub(1);
                    }
                }
            }
            DiskCommand::Write { file, at, bytes, .. } => {
                let all = joined(&bytes);
                let keep = Keep::draw(rng);
                self.writes += 1;
                let write = self.writes;
                let Some(there) = self.files.get_mut(&file) else {
                    return;
                };
                let (mut from, mut piece) = (0, 0);
                let pieces = all.len().div_ceil(SECTOR) as u64 + 1;
                while from < all.len() {
                    let boundary = SECTOR - (at as usize + from) % SECTOR;
                    let upto = all.len().min(from + boundary);
                    if keep.keeps(piece, pieces, rng) {
                        there.write(at + from as u64, &all[from..upto], write);
                    }
                    from = upto;
                    piece += 1;
                }
            }
            DiskCommand::Allocate { file, len } => {
                if rng.per_mille(500) {
                    self.allocate(file, len);
                }
            }
            DiskCommand::Truncate { file, len } => {
                if rng.per_mille(500) {
                    self.truncate(file, len);
                }
            }
            DiskCommand::Remove { file } => {
                if rng.per_mille(500) {
                    self.remove(file);
                }
            }
        }
    }

    /// The process is killed: the page cache survives, operations in flight may have happened in part.
    pub fn kill(&mut self, rng: &mut Rng) -> Damage {
        let mut damage = Damage::default();
        for (_, flight) in std::mem::take(&mut self.flights) {
            damage.in_flight += u64::from(matches!(flight.command, DiskCommand::Write { .. }));
            self.happen_partly(flight, rng);
        }
        self.seen = Seen::default();
        for file in self.files.values_mut() {
            file.syncs = 0;
            file.dirty.values_mut().for_each(|dirty| dirty.versions.clear());
            damage.unsynced += file.dirty.len() as u64;
        }
        damage
    }

    /// The machine loses power: any subset of the unsynced sectors has reached the medium.
    pub fn power_loss(&mut self, rng: &mut Rng) -> Damage {
        let mut damage = self.kill(rng);
        for file in self.files.values_mut() {
            if !file.cut.is_empty() && rng.per_mille(500) {
                let tail = std::mem::take(&mut file.cut);
                file.cache.extend_from_slice(&tail);
            }
            file.cut.clear();
            let keep = Keep::draw(rng);
            let total = file.dirty.len() as u64;
            for (rank, (number, dirty)) in std::mem::take(&mut file.dirty).into_iter().enumerate() {
                if dirty.dropped || !keep.keeps(rank as u64, total, rng) {
                    damage.lost += 1;
                    file.put_sector(number, &dirty.durable);
                }
            }
        }
        damage
    }

    /// Sectors that are not safely on the medium, over all files.
    pub fn unsynced(&self) -> u64 {
        self.files.values().map(|file| file.dirty.len() as u64).sum()
    }
}

/// Which sectors of a dirty range a crash keeps: pure coin flips alone would almost never keep all or none of a large range.
#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Nothing,
    Some(u64),
    First(u64),
    Last(u64),
}

impl Keep {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0 | 1 => Keep::All,
            2..=4 => Keep::Nothing,
            5 | 6 => Keep::Some(rng.between(100, 900)),
            7 | 8 => Keep::First(rng.below(1_000)),
            _ => Keep::Last(rng.below(1_000)),
        }
    }

    fn keeps(self, rank: u64, total: u64, rng: &mut Rng) -> bool {
        match self {
            Keep::All => true,
            Keep::Nothing => false,
            Keep::Some(per_mille) => rng.per_mille(per_mille),
            Keep::First(share) => rank < total * share / 1_000,
            Keep::Last(share) => rank >= total * share / 1_000,
        }
    }
}

#[cfg(test)]
mod tests;
