//! A disk in memory that forgets what was not synced, and a log on it beside a model of what it must hold.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileIds, Offset};
use tidelog_core::kafka::batch::{Batch, Builder, Stored, validate};
use tidelog_core::log::{Candidate, Done, Log, Lookup, Manifest, Read, ReadError, ReadId, Settings};
use tidelog_core::rng::Rng;
use tidelog_core::time::Timestamp;

const SECTOR: usize = 512;

#[derive(Clone, Default, Debug)]
struct File {
    /// What reads see.
    cached: Vec<u8>,
    /// What a crash surely leaves.
    durable: Vec<u8>,
    /// Sectors in which both may differ.
    dirty: BTreeSet<usize>,
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.cached.len(), "written beyond what was allocated");
        self.cached[at..at + bytes.len()].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..(at + bytes.len()).div_ceil(SECTOR));
    }

    fn settle(&mut self, sector: usize, keep: bool) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.cached.len());
        if keep {
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        } else {
            self.cached[range.clone()].copy_from_slice(&self.durable[range]);
        }
        self.dirty.remove(&sector);
    }
}

/// A command that was given to the disk; for a sync, what was done before it.
struct Outstanding {
    tag: u64,
    command: DiskCommand,
    covers: Vec<(FileId, BTreeSet<usize>)>,
}

#[derive(Default)]
pub(crate) struct Disk {
    files: BTreeMap<FileId, File>,
    outstanding: Vec<Outstanding>,
    pub(crate) full: bool,
    pub(crate) fail_writes: bool,
    pub(crate) reads: u64,
    /// Somebody tampered with it.
    pub(crate) tampered: bool,
}

impl Disk {
    fn accept(&mut self, tag: u64, command: DiskCommand) {
        let covers = match &command {
            DiskCommand::Sync { files } => files.iter().map(|file| (*file, self.files[file].dirty.clone())).collect(),
            _ => Vec::new(),
        };
        self.outstanding.push(Outstanding { tag, command, covers });
    }

    fn finish(&mut self, at: usize) -> (u64, DiskResult) {
        let Outstanding { tag, command, covers } = self.outstanding.remove(at);
        let result = match command {
            DiskCommand::List => panic!("a log does not ask for this"),
            DiskCommand::Truncate { file, len } => {
                let beyond = |other: &Outstanding| match &other.command {
                    DiskCommand::Read { file: used, at, len: read } => *used == file && at + read > len,
                    DiskCommand::Write { file: used, at, bytes, .. } => {
                        *used == file && at + bytes.iter().map(Bytes::len).sum::<usize>() as u64 > len
                    }
                    DiskCommand::Allocate { file: used, .. } => *used == file,
                    _ => false,
                };
                assert!(!self.outstanding.iter().any(beyond), "shortened into what is in use");
                let file = self.files.get_mut(&file).expect("shortened without a file");
                file.cached.truncate(len as usize);
                file.durable.truncate(len as usize);
                file.dirty.retain(|sector| sector * SECTOR < len as usize);
                Ok(DiskOutput::Done)
            }
            DiskCommand::Read { file, at, len } => {
                self.reads += 1;
                match self.files.get(&file) {
                    None => Err(DiskError::Missing),
                    Some(file) => {
                        let at = (at as usize).min(file.cached.len());
                        let end = (at + len as usize).min(file.cached.len());
                        Ok(DiskOutput::Read(Bytes::copy_from_slice(&file.cached[at..end])))
                    }
                }
            }
            DiskCommand::Write { .. } if self.fail_writes => Err(DiskError::Io("no".into())),
            DiskCommand::Write { file, at, bytes, durable, cold: _ } => {
                let file = self.files.get_mut(&file).expect("written without a file");
                let bytes = bytes.concat();
                file.write(at as usize, &bytes);
                if durable {
                    for sector in at as usize / SECTOR..(at as usize + bytes.len()).div_ceil(SECTOR) {
                        file.settle(sector, true);
                    }
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Sync { .. } => {
                for (file, sectors) in covers {
                    let file = self.files.get_mut(&file).expect("synced without a file");
                    sectors.into_iter().for_each(|sector| file.settle(sector, true));
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Allocate { .. } if self.full => Err(DiskError::Full),
            DiskCommand::Allocate { file, len } => {
                let file = self.files.entry(file).or_default();
                file.cached.resize(file.cached.len().max(len as usize), 0);
                file.durable.resize(file.cached.len(), 0);
                Ok(DiskOutput::Done)
            }
            DiskCommand::Remove { file } => {
                let reading = |other: &Outstanding| matches!(&other.command, DiskCommand::Read { file: read, .. } if *read == file);
                assert!(!self.outstanding.iter().any(reading), "removed under a reader");
                self.files.remove(&file);
                Ok(DiskOutput::Done)
            }
        };
        (tag, result)
    }

    /// Power is lost: what was outstanding happened or not, in parts; of what was not synced any sectors remain.
    fn crash(&mut self, rng: &mut Rng) {
        for Outstanding { command, .. } in std::mem::take(&mut self.outstanding) {
            let happens = rng.below(2) == 0;
            match command {
                DiskCommand::Write { file, at, bytes, .. } => {
                    let file = self.files.get_mut(&file).expect("written without a file");
                    file.write(at as usize, &bytes.concat());
                }
                DiskCommand::Allocate { file, len } if happens => {
                    let file = self.files.entry(file).or_default();
                    file.cached.resize(file.cached.len().max(len as usize), 0);
                    file.durable.resize(file.cached.len(), 0);
                }
                DiskCommand::Remove { file } if happens => {
                    self.files.remove(&file);
                }
                _ => {}
            }
        }
        let keep_all = rng.below(4) == 0;
        let lose_all = rng.below(3) == 0;
        for file in self.files.values_mut() {
            for sector in std::mem::take(&mut file.dirty) {
                file.settle(sector, keep_all || (!lose_all && rng.below(2) == 0));
            }
        }
    }

    pub(crate) fn files(&self) -> BTreeSet<FileId> {
        self.files.keys().copied().collect()
    }

    pub(crate) fn content(&self, file: FileId) -> &[u8] {
        &self.files[&file].cached
    }

    /// Replaces a file.
    pub(crate) fn put(&mut self, file: FileId, content: Vec<u8>) {
        self.tampered = true;
        let durable = content.clone();
        self.files.insert(file, File { cached: content, durable, dirty: BTreeSet::new() });
    }

    pub(crate) fn flip(&mut self, file: FileId, at: usize) {
        self.tampered = true;
        let file = self.files.get_mut(&file).expect("there is such a file");
        file.cached[at] ^= 0x10;
        file.durable[at] ^= 0x10;
    }

    pub(crate) fn remove(&mut self, file: FileId) {
        self.tampered = true;
        self.files.remove(&file);
    }
}

/// A command of the partition's replicated log, which survives everything.
#[derive(Clone, Debug)]
enum Entry {
    Append(Batch, i32),
    LogStart(Offset),
    Roll,
}

/// What a read or lookup must give.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Read {
        from: Offset,
        max_bytes: u64,
        at_least_one: bool,
    },
    /// Without a timestamp: the largest.
    Find {
        from: Offset,
        at_least: Option<Timestamp>,
        next_offset: Offset,
    },
}

/// A mark in the journal.
#[derive(Clone, Debug)]
struct Mark {
    manifest: Bytes,
    /// How many entries it covers.
    entries: usize,
    extra: Bytes,
}

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) disk: Disk,
    pub(crate) settings: Settings,
    ids: FileIds,
    boot: u64,
    entries: Vec<Entry>,
    batches: Vec<Stored>,
    expected: BTreeMap<ReadId, Expected>,
    begun: Option<(usize, Bytes)>,
    ready: Option<Mark>,
    mark: Option<Mark>,
    restored: Option<Bytes>,
    pub(crate) dones: Vec<Done>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        segment_bytes: 4_000,
        index_interval_bytes: 600,
        allocate_first: 128,
        allocate_step: 1_024,
        write_threshold: 2_000,
    }
}

pub(crate) fn batch(timestamps: &[i64], bytes: usize) -> Batch {
    let mut builder = Builder::new();
    let value = vec![b'x'; bytes / timestamps.len()];
    for timestamp in timestamps {
        builder.push(Timestamp(*timestamp), None, Some(&value), &[]);
    }
    validate(Some(builder.build())).expect("the builder makes good batches")
}

pub(crate) fn joined(stored: &Stored) -> Bytes {
    let mut bytes = BytesMut::from(&stored.head[..]);
    bytes.extend_from_slice(&stored.body);
    bytes.freeze()
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            log: Log::new(settings),
            disk: Disk::default(),
            settings,
            ids: FileIds::new(1),
            boot: 1,
            entries: Vec::new(),
            batches: Vec::new(),
            expected: BTreeMap::new(),
            begun: None,
            ready: None,
            mark: None,
            restored: None,
            dones: Vec::new(),
        }
    }

    pub(crate) fn append(&mut self, batch: &Batch, epoch: i32) {
        self.batches.push(batch.assign(self.log.next_offset(), epoch));
        self.apply(Entry::Append(batch.clone(), epoch));
    }

    pub(crate) fn set_log_start(&mut self, to: Offset) {
        self.apply(Entry::LogStart(to));
    }

    pub(crate) fn roll(&mut self) {
        self.apply(Entry::Roll);
    }

    fn apply(&mut self, entry: Entry) {
        apply(&mut self.log, &entry);
        self.entries.push(entry);
        self.drain();
    }

    /// Gives the disk what the log wants.
    pub(crate) fn drain(&mut self) {
        let mut commands = Vec::new();
        self.log.commands(&mut self.ids, &mut commands);
        for (tag, command) in commands {
            self.disk.accept(tag, command);
        }
        self.log.check();
    }

    /// Ends one disk command, if one is out.
    pub(crate) fn pump(&mut self, which: usize) -> bool {
        if self.disk.outstanding.is_empty() {
            return false;
        }
        let at = which % self.disk.outstanding.len();
        let (tag, result) = self.disk.finish(at);
        for done in self.log.done(tag, result) {
            self.judge(done);
        }
        self.drain();
        true
    }

    pub(crate) fn pump_all(&mut self) {
        let mut turns = 0;
        while self.pump(turns) {
            turns += 7;
            assert!(turns < 1_000_000, "the log never comes to rest");
        }
    }

    /// Ends commands until only the one that is out the longest is left; whether there were others.
    pub(crate) fn pump_all_but_the_oldest(&mut self) -> bool {
        let mut ended = false;
        while self.disk.outstanding.len() > 1 {
            ended |= self.pump(1);
        }
        ended
    }

    fn judge(&mut self, done: Done) {
        match &done {
            Done::Read(id, result) => {
                let expected = self.expected.remove(id).expect("a read that was asked for");
                let Expected::Read { from, max_bytes, at_least_one } = expected else { panic!("it was a lookup") };
                match result {
                    Ok(batches) => self.judge_read(from, max_bytes, at_least_one, batches),
                    Err(ReadError::OutOfRange) => assert!(from < self.log.log_start()),
                    Err(error @ (ReadError::Damaged { .. } | ReadError::Disk(_))) => {
                        assert!(self.disk.tampered, "{error}")
                    }
                }
            }
            Done::Lookup(id, result) => {
                let expected = self.expected.remove(id).expect("a lookup that was asked for");
                match result {
                    Ok(candidate) => self.judge_find(expected, candidate.as_ref()),
                    Err(error) => assert!(self.disk.tampered, "{error}"),
                }
            }
            Done::CheckpointReady(manifest) => {
                let (entries, extra) = self.begun.take().expect("a checkpoint was begun");
                self.ready = Some(Mark { manifest: manifest.encode(), entries, extra });
            }
            Done::Restored { extra } => self.restored = Some(extra.clone()),
            Done::Copied(..) | Done::Corrupt(_) | Done::Full | Done::Failed(_) => {}
        }
        self.dones.push(done);
    }

    fn judge_read(&self, from: Offset, max_bytes: u64, at_least_one: bool, got: &[Bytes]) {
        let got = got.concat();
        let first = self.batches.partition_point(|batch| batch.last_offset < from);
        let mut rest = &got[..];
        for batch in &self.batches[first..] {
            if rest.is_empty() {
                break;
            }
            let expected = joined(batch);
            assert!(batch.last_offset < self.log.next_offset(), "read beyond the end");
            assert!(rest.starts_with(&expected), "the batch at {} is not what was appended", batch.base_offset);
            rest = &rest[expected.len()..];
        }
        assert!(rest.is_empty(), "more was read than there is");
        let first_bytes = self.batches[first].len();
        if first_bytes <= max_bytes || at_least_one {
            assert!(!got.is_empty(), "nothing was read at {from}");
            assert!(got.len() as u64 <= max_bytes.max(first_bytes));
        } else {
            assert!(got.is_empty());
        }
    }

    /// The first batch, of those below `below`, with an offset from `from` on and such a timestamp; or with the largest.
    fn first_batch(&self, from: Offset, at_least: Option<Timestamp>, below: Offset) -> Option<&Stored> {
        let from = from.max(self.log.log_start());
        let known = self.batches.iter().filter(|batch| batch.last_offset >= from && batch.base_offset < below);
        let largest = || known.clone().map(|batch| batch.max_timestamp).max().filter(|largest| largest.0 >= 0);
        let at_least = at_least.or_else(largest)?;
        known.clone().find(|batch| batch.max_timestamp >= at_least)
    }

    /// Judged by what is live at the end; what was appended meanwhile may be found or not.
    fn judge_find(&self, expected: Expected, got: Option<&Candidate>) {
        let Expected::Find { from, at_least, next_offset } = expected else { panic!("it was a read") };
        match (self.first_batch(from, at_least, next_offset), got) {
            // A larger one was appended while the largest was looked for.
            (Some(_), Some(got)) if at_least.is_none() && got.next > next_offset => {}
            (Some(batch), Some(got)) => {
                assert_eq!(got.next.0, batch.last_offset.0 + 1, "another batch was found");
                assert!(got.batch == joined(batch), "the batch found is not what was appended");
            }
            (Some(batch), None) => panic!("the batch at {} was not found", batch.base_offset),
            (None, Some(got)) => assert!(got.next > next_offset, "found what is not there"),
            (None, None) => {}
        }
    }

    pub(crate) fn read(&mut self, from: Offset, max_bytes: u64, at_least_one: bool) {
        match self.log.read(from, max_bytes, at_least_one) {
            Read::Ready(batches) => self.judge_read(from, max_bytes, at_least_one, &batches),
            Read::Pending(id) => {
                self.expected.insert(id, Expected::Read { from, max_bytes, at_least_one });
            }
            Read::AtEnd => assert_eq!(from, self.log.next_offset()),
            Read::OutOfRange => assert!(from < self.log.log_start() || from > self.log.next_offset()),
        }
        self.drain();
    }

    pub(crate) fn find(&mut self, from: Offset, at_least: Timestamp) {
        let lookup = self.log.find_timestamp(from, at_least);
        self.found(from, Some(at_least), lookup);
    }

    pub(crate) fn find_max(&mut self) {
        let lookup = self.log.find_max_timestamp();
        self.found(Offset(0), None, lookup);
    }

    fn found(&mut self, from: Offset, at_least: Option<Timestamp>, lookup: Lookup) {
        let expected = Expected::Find { from, at_least, next_offset: self.log.next_offset() };
        match lookup {
            Lookup::Found(candidate) => self.judge_find(expected, Some(&candidate)),
            Lookup::None => self.judge_find(expected, None),
            Lookup::Pending(id) => {
                self.expected.insert(id, expected);
            }
        }
        self.drain();
    }

    pub(crate) fn checkpoint(&mut self) {
        if self.log.is_checkpointing() {
            return;
        }
        let extra = Bytes::from(format!("after {} entries", self.entries.len()));
        self.begun = Some((self.entries.len(), extra.clone()));
        self.log.checkpoint(extra);
        self.drain();
    }

    /// The journal's mark is durable. The log may not hear of it before a crash.
    pub(crate) fn mark(&mut self, told: bool) {
        if let Some(mark) = self.ready.take() {
            self.mark = Some(mark);
            if told {
                self.log.checkpoint_marked();
                self.drain();
            }
        }
    }

    pub(crate) fn crash(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, &[]);
        self.disk.crash(&mut rng);
        // The layout may be configured anew.
        self.settings.segment_bytes = rng.between(1_000, 6_000);
        self.settings.index_interval_bytes = rng.between(1, 1_200);
        self.boot += 1;
        self.ids = FileIds::new(self.boot);
        self.expected.clear();
        self.begun = None;
        self.ready = None;
        self.restored = None;
        self.disk.full = false;
        let covered = match self.mark.clone() {
            None => {
                self.log = Log::new(self.settings);
                0
            }
            Some(mark) => {
                let manifest = Manifest::decode(mark.manifest).expect("our own manifest");
                let (next_offset, log_start) = (manifest.next_offset, manifest.log_start);
                self.log = Log::restore(self.settings, manifest);
                self.drain();
                self.pump_all();
                assert_eq!(self.restored, Some(mark.extra), "{:?}", self.dones.last());
                assert_eq!((self.log.next_offset(), self.log.log_start()), (next_offset, log_start));
                mark.entries
            }
        };
        // What the owner does with a listing.
        let known: BTreeSet<_> = self.log.files().collect();
        self.disk.files.retain(|file, _| known.contains(file));
        assert_eq!(self.disk.files(), known, "everything the checkpoint names is there");
        if covered > 0 {
            let lengths = |file: &FileId| (*file, self.disk.content(*file).len() as u64);
            self.log.compare(&known.iter().map(lengths).collect());
        }
        self.read_everything();
        for entry in &self.entries[covered..] {
            apply(&mut self.log, entry);
        }
        self.drain();
    }

    /// Reads all there is from the log start on, wherever it is.
    pub(crate) fn read_everything(&mut self) {
        let mut from = self.log.log_start();
        while from < self.log.next_offset() {
            self.read(from, 1_500, true);
            self.pump_all();
            let at = self.batches.partition_point(|batch| batch.last_offset < from);
            from = Offset(self.batches[at].last_offset.0 + 1);
        }
        assert!(self.expected.is_empty(), "every read was answered");
    }

    /// Writes everything, makes it durable, lets go of memory.
    pub(crate) fn settle(&mut self) {
        self.disk.full = false;
        self.log.flush();
        self.drain();
        self.pump_all();
        self.mark(true);
        self.checkpoint();
        self.pump_all();
        self.mark(true);
        self.pump_all();
        self.log.evict_tail(0);
        assert_eq!(self.log.unsynced_bytes(), 0);
        assert_eq!(self.log.tail_bytes(), 0);
        let known: BTreeSet<_> = self.log.files().collect();
        assert_eq!(self.disk.files(), known, "no file is left behind, none is missing");
    }
}

fn apply(log: &mut Log, entry: &Entry) {
    match entry {
        Entry::Append(batch, epoch) => log.append(batch.assign(log.next_offset(), *epoch)),
        Entry::LogStart(to) => log.set_log_start(*to),
        Entry::Roll => log.roll(),
    }
}
