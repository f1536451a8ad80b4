//! Recovery: from files to a table of groups, their entries, and the end of the log.
//!
//! Syncs every file first: a killed process leaves bytes in the page cache that a read shows and a power loss takes. Then
//! reads headers, finds the **head** (the newest file whose base is whole), replays it, and reads from older files only the
//! entries the table says are live: free files are not read, so that it takes as long as what is needed is large. A file whose first write is torn never existed. Promises never to write: the writer does
//! that when it opens the next file. Does not know what the frames it finds mean: `replay` does.

mod replay;

use std::collections::{BTreeMap, BTreeSet};

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::base::UsedFile;
use super::block::{self, FILE_HEADER_BYTES, FileHeader, HeaderFound};
use super::frame::{Body, Salt, Stamp};
use super::table::Table;
use super::writer::{InUse, Writer};
use super::{Cut, Damage, Done, Entry, FORMAT_VERSION, Identity, Recovered, Settings};
use crate::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use crate::id::{FileId, GroupId, Index};
use crate::mutants::{Mutant, Mutants};

/// How much is read at once of a file that could not be read whole.
const READ_BYTES: u64 = 1024 * 1024;
/// How many files are being read at once: while one is judged, the disk is busy with the next. Bounds what is in memory.
const READS_MAX: usize = 4;

/// How a finished command moved recovery.
pub(super) enum Step {
    /// More is to be read.
    Reading,
    /// It can not go on; why was said.
    Stopped,
    /// Everything was read. What was found is durable once the writer's first base is.
    Found(Box<Writer>, Box<Recovered>),
}

/// What all the bytes that were looked at prove, wherever they stood.
#[derive(Default, Debug)]
struct Evidence {
    /// Per incarnation the highest block something valid was seen of.
    blocks: BTreeMap<u64, u64>,
    sequence: u64,
    append: u64,
}

impl Evidence {
    fn add(&mut self, stamp: Stamp, append: u64) {
        let block = self.blocks.entry(stamp.boot).or_default();
        *block = (*block).max(stamp.block);
        self.sequence = self.sequence.max(stamp.sequence);
        self.append = self.append.max(append);
    }

    fn add_all(&mut self, found: &[block::Found]) {
        found.iter().for_each(|item| self.add(item.stamp, item.append));
    }

    /// The highest block of `boot` that is proven to have been synced: the one before the highest seen.
    fn proven(&self, boot: u64) -> u64 {
        self.blocks.get(&boot).map_or(0, |block| block.saturating_sub(1))
    }
}

#[derive(Debug)]
struct Head {
    header: FileHeader,
    file: FileId,
    bytes: Bytes,
    unreadable: Vec<Range<u64>>,
    older: Vec<UsedFile>,
}

impl Reading {
    fn new(file: FileId, end: u64) -> Self {
        Self { file, end, tag: None, whole: true, bytes: BytesMut::new(), careful_until: 0, unreadable: Vec::new() }
    }

    /// How much to read next.
    fn next_bytes(&self, sector_bytes: u32) -> u64 {
        if self.whole {
            return self.end;
        }
        let at = self.bytes.len() as u64;
        let most = if at < self.careful_until { u64::from(sector_bytes) } else { READ_BYTES };
        most.min(self.end - at)
    }

    /// Takes what was read, and gives all of it once there is no more. What was read whole is not copied.
    fn add(&mut self, chunk: Bytes) -> Option<Bytes> {
        if self.whole {
            return Some(chunk);
        }
        self.bytes.extend_from_slice(&chunk);
        let more = !chunk.is_empty() && (self.bytes.len() as u64) < self.end;
        (!more).then(|| std::mem::take(&mut self.bytes).freeze())
    }

    /// The last read failed: tries again in smaller pieces, or leaves one sector out. False if that was the last.
    fn give_up(&mut self, sector_bytes: u32) -> bool {
        if std::mem::replace(&mut self.whole, false) {
            return true;
        }
        let at = self.bytes.len() as u64;
        let to = at + self.next_bytes(sector_bytes);
        if at >= self.careful_until {
            self.careful_until = to;
            return true;
        }
        self.bytes.resize(to as usize, 0);
        self.unreadable.push(at..to);
        to < self.end
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Sync,
    /// The first bytes of each file.
    Headers,
    /// Files without a valid header: what do they prove?
    Headless,
    /// Files from the newest down, until one is the head.
    Candidates,
    /// Older files the head lists, if the table needs them still.
    Older,
}

impl Stage {
    fn reads_max(self) -> usize {
        match self {
            // Whether the next one is looked at depends on this one.
            Self::Candidates => 1,
            Self::Sync | Self::Headers | Self::Headless | Self::Older => READS_MAX,
        }
    }
}

/// A file being read.
#[derive(Debug)]
struct Reading {
    file: FileId,
    end: u64,
    /// The command that is out for it.
    tag: Option<u64>,
    /// It is read with one command; a failure of that ends it.
    whole: bool,
    bytes: BytesMut,
    /// Up to here a larger read failed: sector by sector, what can be read is.
    careful_until: u64,
    /// Sectors that could not be read; zeros stand for them.
    unreadable: Vec<Range<u64>>,
}

/// An entry in the journal: whose, with which append number, where.
type Key = (GroupId, u64, Index);

/// A recovery under way.
#[derive(Debug)]
pub(super) struct Recovery {
    settings: Settings,
    identity: Identity,
    salt: Salt,
    files: BTreeMap<FileId, u64>,
    stage: Stage,
    /// Files the stage still has to read, the next one last.
    todo: Vec<FileId>,
    reading: Vec<Reading>,
    syncing: Option<u64>,
    next_tag: u64,
    headers: BTreeMap<FileId, FileHeader>,
    evidence: Evidence,
    /// Sequences of headless files whose base was synced.
    lost_heads: Vec<u64>,
    head: Option<Head>,
    table: Table,
    entries: BTreeMap<Key, Entry>,
    in_use: BTreeMap<u64, InUse>,
    cut: Option<Cut>,
    damages: Vec<Damage>,
    /// The sequence of a file that was durable in an earlier life.
    pub(super) expected: u64,
    pub(super) mutants: Mutants,
}

impl Recovery {
    pub(super) fn new(settings: Settings, identity: Identity, files: Vec<(FileId, u64)>) -> Self {
        Self {
            settings,
            identity,
            salt: Salt::of(&identity),
            files: files.into_iter().collect(),
            stage: Stage::Sync,
            todo: Vec::new(),
            reading: Vec::new(),
            syncing: None,
            next_tag: 0,
            headers: BTreeMap::new(),
            evidence: Evidence::default(),
            lost_heads: Vec::new(),
            head: None,
            table: Table::default(),
            entries: BTreeMap::new(),
            in_use: BTreeMap::new(),
            cut: None,
            damages: Vec::new(),
            expected: 0,
            mutants: Mutants::default(),
        }
    }

    fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    pub(super) fn commands(&mut self, out: &mut Vec<(u64, DiskCommand)>) {
        if self.stage == Stage::Sync && self.syncing.is_none() {
            let tag = self.tag();
            self.syncing = Some(tag);
            let believes = self.mutants.planted(Mutant::RecoveryNoSync);
            let files = self.files.keys().copied().filter(|_| !believes).collect();
            out.push((tag, DiskCommand::Sync { files }));
        }
        for reading in self.reading.iter_mut().filter(|reading| reading.tag.is_none()) {
            self.next_tag += 1;
            reading.tag = Some(self.next_tag);
            let command = DiskCommand::Read {
                file: reading.file,
                at: reading.bytes.len() as u64,
                len: reading.next_bytes(self.settings.sector_bytes),
            };
            out.push((self.next_tag, command));
        }
    }

    pub(super) fn done(&mut self, tag: u64, result: DiskResult, out: &mut Vec<Done>) -> Step {
        if let Some(at) = self.reading.iter().position(|reading| reading.tag == Some(tag)) {
            let reading = &mut self.reading[at];
            reading.tag = None;
            let all = match result {
                Ok(DiskOutput::Read(chunk)) => reading.add(chunk),
                Ok(DiskOutput::Listed(_) | DiskOutput::Done) => panic!("a read gives bytes"),
                Err(DiskError::Io(_)) => {
                    let more = reading.give_up(self.settings.sector_bytes);
                    (!more).then(|| std::mem::take(&mut reading.bytes).freeze())
                }
                Err(error @ (DiskError::Full | DiskError::Missing)) => {
                    out.push(Done::Failed(format!("reading the journal failed: {error:?}")));
                    return Step::Stopped;
                }
            };
            let Some(bytes) = all else { return Step::Reading };
            let Reading { file, unreadable, .. } = self.reading.remove(at);
            if let Err(reason) = self.read(file, bytes, unreadable) {
                out.push(reason);
                return Step::Stopped;
            }
        } else if self.syncing != Some(tag) {
            return Step::Reading;
        } else if let Err(error) = result {
            out.push(Done::Failed(format!("syncing the journal failed: {error:?}")));
            return Step::Stopped;
        }
        match self.advance() {
            Ok(true) => Step::Reading,
            Ok(false) => {
                let (writer, recovered) = self.finish();
                out.extend(self.damages.drain(..).map(Done::Corrupt));
                Step::Found(Box::new(writer), Box::new(recovered))
            }
            Err(reason) => {
                out.push(reason);
                Step::Stopped
            }
        }
    }

    /// Turns to the next files, through the stages. False if everything was read.
    fn advance(&mut self) -> Result<bool, Done> {
        loop {
            while self.reading.len() < self.stage.reads_max()
                && let Some(file) = self.todo.pop()
            {
                let len = self.files[&file];
                let end = match self.stage {
                    Stage::Headers => len.min(FILE_HEADER_BYTES),
                    Stage::Older => len.min(self.older(file).map_or(0, |used| used.end)),
                    Stage::Sync | Stage::Headless | Stage::Candidates => len,
                };
                if end > 0 {
                    self.reading.push(Reading::new(file, end));
                } else {
                    self.read(file, Bytes::new(), Vec::new())?;
                }
            }
            if !self.reading.is_empty() {
                return Ok(true);
            }
            self.todo = match self.stage {
                Stage::Sync => {
                    self.stage = Stage::Headers;
                    self.files.keys().rev().copied().collect()
                }
                Stage::Headers => {
                    self.stage = Stage::Headless;
                    self.files.keys().copied().filter(|file| !self.headers.contains_key(file)).collect()
                }
                Stage::Headless => {
                    self.stage = Stage::Candidates;
                    let mut newest: Vec<_> = self.headers.iter().map(|(file, h)| (h.sequence, *file)).collect();
                    newest.sort_unstable();
                    newest.into_iter().map(|(_, file)| file).collect()
                }
                // A headed file that is older than the head and that the head does not list is free, and nothing in it is
                // newer than its header: a file is written over only after its header was wiped.
                Stage::Candidates => {
                    self.stage = Stage::Older;
                    self.replay();
                    let older = self.head.iter().flat_map(|head| &head.older);
                    let needed = older.filter(|used| self.table.needs(used.sequence)).map(|used| used.file);
                    needed.filter(|file| self.files.contains_key(file)).collect()
                }
                Stage::Older => return Ok(false),
            };
        }
    }

    fn older(&self, file: FileId) -> Option<&UsedFile> {
        self.head.as_ref()?.older.iter().find(|used| used.file == file)
    }

    /// A file was read, as far as its stage wants it.
    fn read(&mut self, file: FileId, bytes: Bytes, unreadable: Vec<Range<u64>>) -> Result<(), Done> {
        match self.stage {
            Stage::Sync => unreachable!("nothing is read before the sync"),
            Stage::Headers => return self.header(file, &bytes),
            Stage::Headless => {
                let found = block::scan(&bytes, 0, self.salt, None);
                self.evidence.add_all(&found);
                // Two blocks of one use of the file: its first write was synced, so the header is damaged, not torn.
                if let Some(sequence) = found.iter().map(|item| item.stamp.sequence).max() {
                    let newest = found.iter().filter(|item| item.stamp.sequence == sequence);
                    let blocks: BTreeSet<_> = newest.map(|item| item.stamp.block).collect();
                    // What can not be read was not torn either: a torn sector reads as one thing or the other.
                    if blocks.len() > 1 || !unreadable.is_empty() {
                        self.lost_heads.push(sequence);
                    }
                }
            }
            Stage::Candidates => self.candidate(file, bytes, unreadable),
            Stage::Older => self.read_older(file, &bytes),
        }
        Ok(())
    }

    fn header(&mut self, file: FileId, bytes: &Bytes) -> Result<(), Done> {
        let header = match FileHeader::parse(bytes) {
            HeaderFound::None => return Ok(()),
            HeaderFound::Version(version) => {
                return Err(Done::Foreign(format!(
                    "{file} has journal format {version}, and this build reads up to {FORMAT_VERSION}: start the version \
                     that wrote it, or a newer one"
                )));
            }
            HeaderFound::Header(header) => header,
        };
        let Identity { cluster, directory, boot } = self.identity;
        if header.cluster != cluster.0 || header.directory != directory.0 {
            return Err(Done::Foreign(format!(
                "{file} belongs to another cluster or directory than {cluster} {directory}: give the broker its own disk"
            )));
        }
        if header.boot >= boot {
            return Err(Done::Failed(format!(
                "{file} was written by incarnation {} and this is {boot}: the boot counter went back",
                header.boot
            )));
        }
        // A header in another file than its own was misdirected or copied, and says nothing about this one.
        if header.file == file.raw() {
            let stamp = Stamp { sequence: header.sequence, boot: header.boot, block: header.first_block };
            self.evidence.add(stamp, 0);
            self.headers.insert(file, header);
        }
        Ok(())
    }

    /// The newest file not looked at yet: is it the head?
    fn candidate(&mut self, file: FileId, bytes: Bytes, unreadable: Vec<Range<u64>>) {
        let header = self.headers[&file].clone();
        let stamp = Stamp { sequence: header.sequence, boot: header.boot, block: header.first_block };
        let first = block::read(&bytes, header.sector_bytes as usize, self.salt, stamp);
        if let (Some(_), Some(Body::Base(base))) = (first.end, first.frames.first().map(|frame| &frame.body)) {
            let older = base.files.clone();
            self.table.high = base.high;
            self.table.all_suspended = base.all_suspended;
            self.head = Some(Head { header, file, bytes, unreadable, older });
            self.todo.clear();
            return;
        }
        let found = block::scan(&bytes, 0, self.salt, Some(header.sequence));
        self.evidence.add_all(&found);
        if self.evidence.proven(header.boot) >= header.first_block || !unreadable.is_empty() {
            // Its base was synced, and is damaged: what all groups were is lost.
            self.lost_heads.push(header.sequence);
        }
    }
}
