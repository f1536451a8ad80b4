//! Receiving: the files of somebody else's checkpoint, piece by piece, into new files of our own.
//!
//! First the state blob, which names everything else; then each segment that is not here already. Of a segment that is here
//! in part, the part is copied from disk to disk: only the missing suffix travels. When everything is written and synced, a
//! blob of our own that names our own files is written, and the log can be replaced ([`Log::install`](super::Log::install)).
//!
//! Promises that nothing counts before its length and CRC were checked, that no file of the log in use is written to, and
//! that one disk command is out at a time: so a file can be given up whenever none is. Does not know who sends the pieces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::Log;
use super::manifest::{Manifest, State};
use super::segment::{Index, Segment};
use super::writer::bytes_of;
use crate::effect::{DiskCommand, DiskError, DiskResult};
use crate::id::{FileId, FileIds, FileKind, Offset};
use crate::limits::{COPIED_STATE_BYTES_MAX, COPY_PULLS_MAX};
use crate::mutants::{Mutant, Mutants};

/// A piece of a file that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The file, as its owner calls it.
    pub file: u64,
    /// The first byte.
    pub at: u64,
    /// How many.
    pub len: u32,
}

/// A piece that was not asked for, or is not what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfit;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Pieces are missing, or not durable yet.
    Going,
    /// [`Incoming::take`] gives what was received.
    Ready,
    /// It can not be used; why, in a few words.
    Failed(&'static str),
}

/// What was received, durable under names of our own.
#[derive(Debug)]
pub struct Received {
    /// For the mark.
    pub manifest: Manifest,
    pub(super) state: State,
    /// Files of the log in use that were pinned.
    pub(super) lent: BTreeSet<FileId>,
}

impl Received {
    /// What the owner of the original put into its checkpoint.
    pub fn extra(&self) -> Bytes {
        self.state.extra.clone()
    }

    /// Every file it names.
    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        let segments = self.state.segments.iter();
        let files = segments.flat_map(|segment| segment.file.into_iter().chain(segment.index_file()));
        files.chain([self.manifest.state])
    }

    /// Those of them that were made for it.
    pub fn own_files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files().filter(|file| !self.lent.contains(file))
    }
}

/// A file that is made.
#[derive(Clone, Debug)]
struct Item {
    /// Which segment of the state it belongs to.
    segment: usize,
    kind: FileKind,
    base: Offset,
    /// What its owner calls it.
    source: u64,
    len: u64,
    crc: u32,
    file: FileId,
    allocated: bool,
    /// How long the file was made, for this offer or an earlier one.
    room: u64,
    /// Written so far, and the CRC-32C of it.
    at: u64,
    sum: u32,
    /// Given to be written so far.
    queued: u64,
    /// Asked for so far.
    pulled: u64,
    /// A file of the log in use that begins with the same bytes, up to here.
    local: Option<(FileId, u64)>,
}

/// A piece that was asked for. No item: the state blob.
#[derive(Debug)]
struct Asked {
    item: Option<usize>,
    ask: Ask,
    sent: bool,
    bytes: Option<Bytes>,
}

#[derive(Debug)]
enum Stage {
    /// The blob is being pulled.
    Blob,
    /// The files it names are.
    Files,
    /// Everything is being synced.
    Sync,
    /// Our own blob is on its way to the disk.
    Store {
        manifest: Manifest,
        blob: Bytes,
        allocated: bool,
    },
    Ready {
        manifest: Manifest,
    },
    Failed(&'static str),
}

#[derive(Debug)]
enum Op {
    Allocate(usize),
    Write {
        item: usize,
        bytes: Bytes,
    },
    ReadLocal {
        item: usize,
        at: u64,
        len: u64,
    },
    Sync,
    AllocateState,
    WriteState,
    Remove,
    /// Of an offer that was replaced.
    Stale {
        read: bool,
    },
}

/// Files on their way from another replica. See the [module](self).
///
/// - at most one disk command is out
/// - pieces are written in order, each once
pub struct Incoming {
    piece_bytes: u32,
    manifest: Manifest,
    stage: Stage,
    blob: BytesMut,
    blob_pulled: u64,
    state: Option<State>,
    items: Vec<Item>,
    asked: VecDeque<Asked>,
    pieces: VecDeque<(usize, Bytes)>,
    op: Option<(u64, Op)>,
    next_tag: u64,
    full: bool,
    /// Parts of files of an earlier offer.
    salvage: BTreeMap<(FileKind, Offset), Item>,
    discards: Vec<FileId>,
    lent: BTreeSet<FileId>,
    /// Bytes on this disk turned out to be other bytes: everything travels.
    distrust: bool,
    copied: u64,
    total: u64,
    segments: bool,
    reused: bool,
    mutants: Mutants,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("manifest", &self.manifest)
            .field("copied", &self.copied)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// Begins with the checkpoint that `manifest` names, in pieces of at most `piece_bytes`.
    pub fn new(manifest: Manifest, piece_bytes: u32) -> Self {
        assert!(piece_bytes > 0, "pieces have bytes");
        let mut incoming = Self {
            piece_bytes,
            manifest,
            stage: Stage::Blob,
            blob: BytesMut::new(),
            blob_pulled: 0,
            state: None,
            items: Vec::new(),
            asked: VecDeque::new(),
            pieces: VecDeque::new(),
            op: None,
            next_tag: 1,
            full: false,
            salvage: BTreeMap::new(),
            discards: Vec::new(),
            lent: BTreeSet::new(),
            distrust: false,
            copied: 0,
            total: 0,
            segments: false,
            reused: false,
            mutants: Mutants::default(),
        };
        incoming.begin();
        incoming
    }

    /// Plants a bug, before anything else happens.
    pub(crate) fn plant(&mut self, mutants: Mutants) {
        self.mutants = mutants;
    }

    fn begin(&mut self) {
        self.total = self.manifest.state_len;
        self.copied = 0;
        if self.manifest.state_len == 0 || self.manifest.state_len > COPIED_STATE_BYTES_MAX {
            self.stage = Stage::Failed("the state is empty or too large");
        }
    }

    /// Turns to another checkpoint. What is here of its segments is kept.
    pub fn renew(&mut self, manifest: Manifest, local: &mut Log) {
        self.drop_work(local);
        for item in std::mem::take(&mut self.items) {
            // What is written and no more: pieces on their way are asked for again.
            let item = Item { queued: item.at, pulled: item.at, allocated: false, local: None, ..item };
            if let Some(before) = self.salvage.insert((item.kind, item.base), item) {
                self.discards.push(before.file);
            }
        }
        self.manifest = manifest;
        self.stage = Stage::Blob;
        self.begin();
    }

    /// Gives everything up; [`Incoming::commands`] removes the files, and then it is [over](Incoming::is_over).
    pub fn give_up(&mut self, why: &'static str, local: &mut Log) {
        self.drop_work(local);
        self.discards.extend(std::mem::take(&mut self.items).iter().map(|item| item.file));
        self.discards.extend(std::mem::take(&mut self.salvage).values().map(|item| item.file));
        self.stage = Stage::Failed(why);
    }

    fn drop_work(&mut self, local: &mut Log) {
        if let Some((_, op)) = &mut self.op {
            *op = Op::Stale { read: matches!(op, Op::ReadLocal { .. } | Op::Stale { read: true }) };
        }
        if let Stage::Store { manifest, .. } | Stage::Ready { manifest } = &self.stage {
            self.discards.push(manifest.state);
        }
        local.unpin(&std::mem::take(&mut self.lent));
        self.blob = BytesMut::new();
        self.blob_pulled = 0;
        self.state = None;
        self.asked.clear();
        self.pieces.clear();
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Failed(_)) && self.op.is_none() && self.discards.is_empty() && self.items.is_empty()
    }

    /// Whether bytes of this disk turned out to be other bytes than they should be: then everything travels.
    pub fn distrusts(&self) -> bool {
        self.distrust
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Blob | Stage::Files | Stage::Sync | Stage::Store { .. } => Progress::Going,
            Stage::Ready { .. } if self.op.is_some() || !self.discards.is_empty() => Progress::Going,
            Stage::Ready { .. } => Progress::Ready,
            Stage::Failed(why) => Progress::Failed(why),
        }
    }

    /// Bytes that travelled, and that have to in all, as far as that is known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.copied, self.total)
    }

    /// Whether segments travelled, and whether some of them or parts of them were here.
    pub fn suffix(&self) -> (bool, bool) {
        (self.segments, self.reused)
    }

    /// Takes what was received. Panics if it is not ready.
    pub fn take(self) -> Received {
        let (Stage::Ready { manifest }, Some(state)) = (self.stage, self.state) else {
            panic!("only what is ready is taken")
        };
        assert!(self.op.is_none() && self.discards.is_empty(), "nothing is left to do");
        Received { manifest, state, lent: self.lent }
    }

    /// Every file it may have made.
    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        let stored = match &self.stage {
            Stage::Store { manifest, .. } | Stage::Ready { manifest } => Some(manifest.state),
            Stage::Blob | Stage::Files | Stage::Sync | Stage::Failed(_) => None,
        };
        let items = self.items.iter().chain(self.salvage.values()).map(|item| item.file);
        items.chain(stored).chain(self.discards.iter().copied())
    }

    /// The pieces to be asked for now.
    pub fn asks(&mut self) -> Vec<Ask> {
        while self.asked.len() < COPY_PULLS_MAX && self.pieces.len() < COPY_PULLS_MAX {
            let (item, file, at, end) = match &self.stage {
                Stage::Blob if self.blob_pulled < self.manifest.state_len => {
                    (None, self.manifest.state.raw(), self.blob_pulled, self.manifest.state_len)
                }
                Stage::Files => {
                    let Some(place) = self.items.iter().position(|item| item.pulled < item.len) else { break };
                    let item = &self.items[place];
                    (Some(place), item.source, item.pulled, item.len)
                }
                Stage::Blob | Stage::Sync | Stage::Store { .. } | Stage::Ready { .. } | Stage::Failed(_) => break,
            };
            let len = u32::try_from(end - at).unwrap_or(u32::MAX).min(self.piece_bytes);
            match item {
                None => self.blob_pulled += u64::from(len),
                Some(place) => self.items[place].pulled += u64::from(len),
            }
            self.asked.push_back(Asked { item, ask: Ask { file, at, len }, sent: false, bytes: None });
        }
        let fresh = self.asked.iter_mut().filter(|asked| !asked.sent);
        fresh
            .map(|asked| {
                asked.sent = true;
                asked.ask
            })
            .collect()
    }

    /// What was not answered is to be asked for again, and what a full disk refused is to be tried again.
    pub fn retry(&mut self) {
        self.full = false;
        for asked in self.asked.iter_mut().filter(|asked| asked.bytes.is_none()) {
            asked.sent = false;
        }
    }

    /// A piece came.
    ///
    /// # Errors
    /// If nobody asked for it.
    pub fn piece(&mut self, file: u64, at: u64, bytes: Bytes, local: &mut Log, ids: &mut FileIds) -> Result<(), Unfit> {
        let fits = |asked: &&mut Asked| {
            let Ask { file: wanted, at: from, len } = asked.ask;
            (wanted, from, len as usize) == (file, at, bytes.len()) && asked.bytes.is_none()
        };
        let asked = self.asked.iter_mut().find(fits).ok_or(Unfit)?;
        self.copied += bytes.len() as u64;
        asked.bytes = Some(bytes);
        self.line_up(local, ids);
        Ok(())
    }

    /// Passes on the pieces that are next.
    fn line_up(&mut self, local: &mut Log, ids: &mut FileIds) {
        while let Some(asked) = self.asked.front() {
            let next = asked.item.is_none_or(|place| self.items[place].queued == asked.ask.at);
            if !next || asked.bytes.is_none() {
                return;
            }
            let Some(Asked { item, bytes: Some(bytes), .. }) = self.asked.pop_front() else { return };
            match item {
                Some(place) => {
                    self.items[place].queued += bytes.len() as u64;
                    self.pieces.push_back((place, bytes));
                }
                None => {
                    self.blob.extend_from_slice(&bytes);
                    if self.blob.len() as u64 == self.manifest.state_len {
                        let blob = std::mem::take(&mut self.blob).freeze();
                        if let Err(why) = self.plan(blob, local, ids) {
                            // Nothing was pinned yet.
                            self.lent.clear();
                            self.give_up(why, local);
                        }
                        return;
                    }
                }
            }
        }
    }

    /// The blob is here: what is missing of what it names?
    fn plan(&mut self, blob: Bytes, local: &mut Log, ids: &mut FileIds) -> Result<(), &'static str> {
        let mut state = State::decode(blob, &self.manifest)?;
        for (place, segment) in state.segments.iter_mut().enumerate() {
            if let Some(here) = local.whole(segment).filter(|_| !self.distrust) {
                self.lent.extend(here.file.into_iter().chain(here.index_file()));
                *segment = here;
                self.reused = true;
                continue;
            }
            let source = segment.file.map(FileId::raw).ok_or("a segment has no file")?;
            self.item(place, FileKind::Segment, segment.base, (source, segment.len, segment.crc), local, ids)?;
            if let Index::File(index) = &segment.index {
                let index = (index.file.raw(), index.len, index.crc);
                self.item(place, FileKind::SegmentIndex, segment.base, index, local, ids)?;
            }
        }
        self.discards.extend(std::mem::take(&mut self.salvage).values().map(|item| item.file));
        local.pin(&self.lent);
        self.state = Some(state);
        self.stage = Stage::Files;
        Ok(())
    }

    fn item(
        &mut self,
        segment: usize,
        kind: FileKind,
        base: Offset,
        (source, len, crc): (u64, u64, u32),
        local: &Log,
        ids: &mut FileIds,
    ) -> Result<(), &'static str> {
        if len == 0 {
            return Err("a file is empty");
        }
        let kept = self.salvage.remove(&(kind, base));
        let usable = |item: &Item| match kind {
            FileKind::SegmentIndex => item.at == len && item.sum == crc && item.len == len,
            FileKind::Segment | FileKind::State | FileKind::Journal | FileKind::Formation => {
                item.at < len || (item.at == len && item.sum == crc)
            }
        };
        let (file, at, sum, room) = match kept {
            Some(item) if usable(&item) && !self.distrust => (item.file, item.at, item.sum, item.room),
            Some(item) => {
                self.discards.push(item.file);
                (ids.mint(kind), 0, 0, 0)
            }
            None => (ids.mint(kind), 0, 0, 0),
        };
        let prefix = match kind {
            FileKind::Segment if !self.distrust => local.part(base).map(|(file, written)| (file, written.min(len))),
            FileKind::Segment | FileKind::SegmentIndex | FileKind::State | FileKind::Journal | FileKind::Formation => {
                None
            }
        };
        let prefix = prefix.filter(|(_, upto)| *upto > at);
        self.lent.extend(prefix.map(|(file, _)| file));
        let pulled = prefix.map_or(at, |(_, upto)| upto);
        self.reused |= pulled > 0;
        self.segments |= pulled < len;
        self.total += len - pulled;
        let (queued, allocated, local) = (at, false, prefix);
        self.items.push(Item {
            segment,
            kind,
            base,
            source,
            len,
            crc,
            file,
            allocated,
            room,
            at,
            sum,
            queued,
            pulled,
            local,
        });
        Ok(())
    }

    /// Adds what is wanted of the disk now, under tags that [`Incoming::done`] expects exactly once.
    pub fn commands(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        if self.op.is_some() {
            return;
        }
        if let Some(file) = self.discards.pop() {
            return self.issue(Op::Remove, DiskCommand::Remove { file }, out);
        }
        if let Stage::Files = self.stage {
            if let Some((place, bytes)) = self.pieces.front() {
                let item = &self.items[*place];
                if item.allocated {
                    let write = DiskCommand::Write {
                        file: item.file,
                        at: item.at,
                        bytes: vec![bytes.clone()],
                        durable: false,
                        cold: true,
                    };
                    let op = Op::Write { item: *place, bytes: bytes.clone() };
                    self.pieces.pop_front();
                    return self.issue(op, write, out);
                }
                if !self.full {
                    let allocate = DiskCommand::Allocate { file: item.file, len: item.len };
                    self.issue(Op::Allocate(*place), allocate, out);
                }
                return;
            }
            let unfinished = self.items.iter().position(|item| item.at < item.len);
            match unfinished.map(|place| (place, &self.items[place])) {
                Some((place, Item { local: Some((file, upto)), queued, .. })) if queued < upto => {
                    let (file, at) = (*file, *queued);
                    let len = (upto - queued).min(u64::from(self.piece_bytes));
                    self.issue(Op::ReadLocal { item: place, at, len }, DiskCommand::Read { file, at, len }, out);
                }
                Some(_) => {}
                None => self.stage = Stage::Sync,
            }
        }
        match &self.stage {
            Stage::Sync => {
                let files: BTreeSet<FileId> =
                    self.items.iter().map(|item| item.file).chain(self.whole_files()).collect();
                if files.is_empty() {
                    self.store(ids);
                    return self.commands(ids, out);
                }
                self.issue(Op::Sync, DiskCommand::Sync { files: files.into_iter().collect() }, out);
            }
            Stage::Store { manifest, blob, allocated } => {
                let (file, len) = (manifest.state, manifest.state_len);
                if *allocated {
                    let write =
                        DiskCommand::Write { file, at: 0, bytes: vec![blob.clone()], durable: true, cold: false };
                    self.issue(Op::WriteState, write, out);
                } else if !self.full {
                    self.issue(Op::AllocateState, DiskCommand::Allocate { file, len }, out);
                }
            }
            Stage::Blob | Stage::Files | Stage::Ready { .. } | Stage::Failed(_) => {}
        }
    }

    /// Files of the log in use that are named as they are: written, but perhaps not synced.
    fn whole_files(&self) -> impl Iterator<Item = FileId> + '_ {
        let segments = self.state.iter().flat_map(|state| &state.segments);
        let files = segments.flat_map(|segment| segment.file.into_iter().chain(segment.index_file()));
        let believes = self.mutants.planted(Mutant::KeptUnsynced);
        files.filter(move |file| self.lent.contains(file) && !believes)
    }

    fn issue(&mut self, op: Op, command: DiskCommand, out: &mut Vec<(u64, DiskCommand)>) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.op = Some((tag, op));
        out.push((tag, command));
    }

    /// Takes the end of a command.
    ///
    /// # Errors
    /// If nobody knows what is on the disk now.
    pub fn done(&mut self, tag: u64, result: DiskResult, local: &mut Log, ids: &mut FileIds) -> Result<(), DiskError> {
        let Some((_, op)) = self.op.take_if(|(out, _)| *out == tag) else { panic!("a command ends once") };
        match (op, result) {
            (Op::Remove | Op::Stale { .. }, Ok(_) | Err(DiskError::Missing | DiskError::Full)) => {}
            (Op::Stale { read: true }, Err(DiskError::Io(_))) => {}
            (Op::Allocate(_) | Op::AllocateState, Err(DiskError::Full)) => self.full = true,
            (Op::ReadLocal { .. }, Err(_)) => self.fail("the disk does not give back what is here", local),
            (_, Err(error)) => return Err(error),
            (Op::Allocate(place), Ok(_)) => {
                let item = &mut self.items[place];
                (item.allocated, item.room) = (true, item.room.max(item.len));
            }
            (Op::AllocateState, Ok(_)) => {
                if let Stage::Store { allocated, .. } = &mut self.stage {
                    *allocated = true;
                }
            }
            (Op::ReadLocal { item, at, len }, Ok(output)) => {
                let bytes = bytes_of(output);
                if bytes.len() as u64 != len || self.items[item].queued != at {
                    self.fail("the disk does not give back what is here", local);
                    return Ok(());
                }
                self.items[item].queued += len;
                self.pieces.push_back((item, bytes));
                self.line_up(local, ids);
            }
            (Op::Write { item, bytes }, Ok(_)) => {
                let item = &mut self.items[item];
                item.at += bytes.len() as u64;
                item.sum = crc32c::crc32c_append(item.sum, &bytes);
                if item.at == item.len && item.sum != item.crc {
                    self.fail("a file is not what its owner says", local);
                }
            }
            (Op::Sync, Ok(_)) => self.store(ids),
            (Op::WriteState, Ok(_)) => {
                if let Stage::Store { manifest, .. } = &self.stage {
                    self.stage = Stage::Ready { manifest: manifest.clone() };
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, why: &'static str, local: &mut Log) {
        self.distrust = self.reused;
        self.give_up(why, local);
    }

    /// Everything is durable: our own blob names our own files.
    fn store(&mut self, ids: &mut FileIds) {
        let Some(state) = &mut self.state else { panic!("what is synced was planned") };
        for item in &self.items {
            let segment = &mut state.segments[item.segment];
            match (item.kind, &mut segment.index) {
                (FileKind::SegmentIndex, Index::File(index)) => index.file = item.file,
                _ => {
                    segment.file = Some(item.file);
                    // What an earlier offer had behind the end is given back once it is installed.
                    segment.allocated = item.room.max(item.len);
                }
            }
        }
        for segment in &mut state.segments {
            segment.synced = segment.len;
            if let Index::File(index) = &mut segment.index {
                index.synced = true;
            }
        }
        let blob = state.encode();
        let manifest = Manifest {
            state: ids.mint(FileKind::State),
            state_len: blob.len() as u64,
            state_crc: crc32c::crc32c(&blob),
            ..self.manifest.clone()
        };
        self.stage = Stage::Store { manifest, blob, allocated: false };
    }
}

impl Log {
    /// The segment of this log that is the whole of another replica's, written to its end.
    fn whole(&self, theirs: &Segment) -> Option<Segment> {
        let ours = self.segment_of(theirs.base)?;
        let (Index::File(index), Index::File(their_index)) = (&ours.index, &theirs.index) else { return None };
        let key = |segment: &Segment| (segment.base, segment.next, segment.len, segment.crc, segment.max_timestamp);
        let same = key(ours) == key(theirs) && (index.len, index.crc) == (their_index.len, their_index.crc);
        let sound = !ours.file.into_iter().chain(ours.index_file()).any(|file| self.is_damaged(file));
        (same && sound && ours.sealed && ours.written == ours.len).then(|| ours.clone())
    }

    /// The file of the segment that begins here, and how much of it is written.
    fn part(&self, base: Offset) -> Option<(FileId, u64)> {
        let segment = self.segment_of(base).filter(|segment| segment.base == base && segment.written > 0)?;
        let file = segment.file.filter(|file| !self.is_damaged(*file))?;
        Some((file, segment.written))
    }
}
