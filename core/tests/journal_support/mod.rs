//! An in-memory sector disk, a journal on it, and a model of what the journal promises.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{ClusterId, DirectoryId, FileId, FileIds, Index, ReplicaId, Term};
use tidelog_core::journal::{Done, Entry, HardState, Identity, Journal, Mark, Recovered, Settings};

pub const SECTOR: u32 = 512;

#[derive(Clone, Default, Debug)]
pub struct File {
    /// What reads see.
    pub cache: Vec<u8>,
    /// What survives a power loss.
    pub medium: Vec<u8>,
}

/// Page cache and medium, by sectors.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    pub files: BTreeMap<FileId, File>,
    pub bytes_max: Option<u64>,
    /// Sectors that can not be read: file and first byte. A write heals them.
    pub unreadable: BTreeSet<(FileId, u64)>,
    /// Every write that was asked for: file, first byte, length, durable.
    pub writes: Vec<(FileId, u64, u64, bool)>,
    /// File sequence and block number of the last block that was done, over all incarnations.
    pub last_done: (u64, u64),
}

/// File sequence and block number of the block that begins at `at`.
fn stamp(bytes: &[u8], at: usize) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    (number(at + 16), number(at + 32))
}

/// Whether a command wipes the header of a file that is to be written over: a first block needs more than a sector.
pub fn is_wipe(command: &DiskCommand) -> bool {
    match command {
        DiskCommand::Write { at, bytes, .. } => {
            *at == 0 && bytes.iter().map(Bytes::len).sum::<usize>() == SECTOR as usize
        }
        _ => false,
    }
}

impl Disk {
    pub fn listing(&self) -> Vec<(FileId, u64)> {
        self.files.iter().map(|(id, file)| (*id, file.cache.len() as u64)).collect()
    }

    /// The write reaches the page cache. Durability is given by [`Disk::finish`].
    pub fn begin(&mut self, command: &DiskCommand) {
        if let DiskCommand::Write { file, at, bytes, durable, cold: _ } = command {
            let cache = &mut self.files.get_mut(file).expect("written files exist").cache;
            let len: usize = bytes.iter().map(Bytes::len).sum();
            self.writes.push((*file, *at, len as u64, *durable));
            let to = *at + len as u64;
            self.unreadable.retain(|(bad, from)| bad != file || *from < *at || *from >= to);
            let mut at = *at as usize;
            for slice in bytes {
                cache[at..at + slice.len()].copy_from_slice(slice);
                at += slice.len();
            }
        }
    }

    pub fn finish(&mut self, command: &DiskCommand) -> DiskResult {
        match command {
            DiskCommand::Write { file, durable, .. } if is_wipe(command) => {
                assert!(*durable, "a header is wiped durably");
                let file = self.files.get_mut(file).expect("written files exist");
                file.medium.clone_from(&file.cache);
                Ok(DiskOutput::Done)
            }
            DiskCommand::Write { file, at, durable, .. } => {
                let file = self.files.get_mut(file).expect("written files exist");
                let (sequence, block) = stamp(&file.cache, if *at == 0 { SECTOR as usize } else { *at as usize });
                let ascends = block > self.last_done.1 && sequence >= self.last_done.0 + u64::from(*at == 0);
                assert!(ascends, "block numbers and file sequences ascend");
                self.last_done = (sequence, block);
                if *durable {
                    file.medium.clone_from(&file.cache);
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Sync { files } => {
                for file in files {
                    let file = self.files.get_mut(file).ok_or(DiskError::Missing)?;
                    file.medium.clone_from(&file.cache);
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Allocate { file, len } => {
                let used: u64 = self.files.values().map(|file| file.cache.len() as u64).sum();
                let file = self.files.entry(*file).or_default();
                if *len > file.cache.len() as u64 {
                    if self.bytes_max.is_some_and(|max| used + len - file.cache.len() as u64 > max) {
                        return Err(DiskError::Full);
                    }
                    file.cache.resize(*len as usize, 0);
                    file.medium.resize(*len as usize, 0);
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Read { file, at, len } => {
                let bytes = &self.files.get(file).ok_or(DiskError::Missing)?.cache;
                let at = (*at as usize).min(bytes.len());
                let end = (at + *len as usize).min(bytes.len());
                let hit = |(bad, from): &(FileId, u64)| {
                    bad == file && (*from as usize) < end && at < *from as usize + SECTOR as usize
                };
                if self.unreadable.iter().any(hit) {
                    return Err(DiskError::Io("unreadable".into()));
                }
                Ok(DiskOutput::Read(Bytes::copy_from_slice(&bytes[at..end])))
            }
            DiskCommand::Remove { file } => {
                self.files.remove(file);
                Ok(DiskOutput::Done)
            }
            DiskCommand::List | DiskCommand::Truncate { .. } => {
                panic!("the journal does not ask for this: {command:?}")
            }
        }
    }

    /// The writes that nothing was written over since: harm to one of them is harm to one block.
    pub fn standing(&self) -> Vec<(FileId, u64, u64)> {
        let apart = |(file, at, len): (FileId, u64, u64), later: &(FileId, u64, u64, bool)| {
            later.0 != file || later.1 + later.2 <= at || at + len <= later.1
        };
        let writes = self.writes.iter().enumerate();
        let places = writes.map(|(number, (file, at, len, _))| (number, (*file, *at, *len)));
        let standing =
            places.filter(|(number, place)| self.writes[number + 1..].iter().all(|later| apart(*place, later)));
        // What wiped a header is no block.
        standing.map(|(_, place)| place).filter(|(_, at, len)| (*at, *len) != (0, u64::from(SECTOR))).collect()
    }

    /// Power is lost: of the sectors that were not synced, any subset survives.
    pub fn lose_power(&mut self, keep: &mut dyn FnMut() -> bool) {
        for file in self.files.values_mut() {
            let sector = SECTOR as usize;
            for at in (0..file.cache.len()).step_by(sector) {
                let range = at..(at + sector).min(file.cache.len());
                if file.cache[range.clone()] != file.medium[range.clone()] && keep() {
                    let kept = file.cache[range.clone()].to_vec();
                    file.medium[range].copy_from_slice(&kept);
                }
            }
            file.cache.clone_from(&file.medium);
        }
    }
}

pub fn settings() -> Settings {
    Settings {
        file_bytes: 16 * 1024,
        file_bytes_first: 8 * 1024,
        rest_bytes: 32 * 1024,
        files_max: 16,
        files_target: 4,
        sector_bytes: SECTOR,
        block_bytes_max: 4096,
    }
}

pub fn identity(boot: u64) -> Identity {
    Identity { cluster: ClusterId([7; 16]), directory: DirectoryId([9; 16]), boot }
}

pub fn entry(index: u64, term: u64, len: usize) -> Entry {
    let byte = (index * 31 + term * 7) as u8;
    Entry {
        index: Index(index),
        term: Term(term),
        kind: 1,
        context: Bytes::from(vec![byte; (index % 9) as usize]),
        data: Bytes::from(vec![byte.wrapping_add(1); len]),
    }
}

pub fn entries(range: std::ops::RangeInclusive<u64>, term: u64, len: usize) -> Vec<Entry> {
    range.map(|index| entry(index, term, len)).collect()
}

pub fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: ReplicaId(vote), commit: Index(commit) }
}

pub fn mark(applied: u64, term: u64) -> Mark {
    let (index, term) = (Index(applied), Term(term));
    let body = Bytes::from(vec![applied as u8; (applied % 40) as usize]);
    Mark { applied: index, applied_term: term, body }
}

/// A broker's disk with a journal on it.
pub struct Host {
    pub disk: Disk,
    pub journal: Journal,
    pub ids: FileIds,
    pub boot: u64,
    pub settings: Settings,
    /// Commands begun and not finished.
    pub pending: Vec<(u64, DiskCommand)>,
    pub events: Vec<Done>,
}

impl Host {
    /// Starts a journal on a disk; nothing is run yet.
    pub fn start(disk: Disk, boot: u64, settings: Settings) -> Self {
        let journal = Journal::open(settings, identity(boot), disk.listing());
        Self { disk, journal, ids: FileIds::new(boot), boot, settings, pending: Vec::new(), events: Vec::new() }
    }

    /// A new disk, recovered.
    pub fn fresh() -> Self {
        let mut host = Self::start(Disk::default(), 1, settings());
        host.recover();
        host
    }

    /// Collects commands: writes begin at once.
    pub fn collect(&mut self) {
        let mut out = Vec::new();
        self.journal.commands(&mut self.ids, &mut out);
        let writes = self.pending.iter().chain(&out).map(|(_, command)| command).filter(|command| !is_wipe(command));
        let writes = writes.filter(|command| matches!(command, DiskCommand::Write { .. }));
        assert!(writes.count() <= 1, "one block is in flight");
        out.iter().for_each(|(_, command)| self.disk.begin(command));
        self.pending.extend(out);
        self.journal.check();
    }

    /// Finishes one pending command. False if there is none.
    pub fn finish_one(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let (tag, command) = self.pending.remove(0);
        let result = self.disk.finish(&command);
        self.events.extend(self.journal.done(tag, result));
        self.journal.check();
        true
    }

    /// Runs until nothing is asked for.
    pub fn settle(&mut self) {
        loop {
            self.collect();
            if !self.finish_one() {
                return;
            }
        }
    }

    /// Runs until recovery ends, and gives what it found.
    pub fn recover(&mut self) -> Recovered {
        loop {
            self.collect();
            assert!(self.finish_one(), "recovery waits for nothing: {:?}", self.events);
            let done = self.events.iter().find_map(|event| match event {
                Done::Recovered(recovered) => Some((**recovered).clone()),
                _ => None,
            });
            if let Some(recovered) = done {
                return recovered;
            }
        }
    }

    /// The process dies, the next one starts: the page cache stays.
    pub fn killed(self) -> Self {
        Self::start(self.disk, self.boot + 1, self.settings)
    }

    /// Power is lost; of unsynced sectors those stay that `keep` says.
    pub fn power_lost(mut self, keep: &mut dyn FnMut() -> bool) -> Self {
        self.disk.lose_power(keep);
        Self::start(self.disk, self.boot + 1, self.settings)
    }

    /// Runs until an empty block is the last.
    pub fn seal(&mut self) {
        self.settle();
        while self.journal.is_idle_unsealed() {
            self.journal.seal();
            self.settle();
        }
    }

    /// Changes synced bytes behind the journal's back.
    pub fn damage(&mut self, file: FileId, at: u64, change: impl Fn(&mut u8)) {
        // Recovery can not count on from what is no longer there.
        self.disk.last_done = (0, 0);
        let file = self.disk.files.get_mut(&file).expect("damaged files exist");
        change(&mut file.cache[at as usize]);
        change(&mut file.medium[at as usize]);
    }

    pub fn damages(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Done::Corrupt(_))).count()
    }
}
