//! The way of a checkpoint: capture, write, sync, store the blob, hand out the manifest, be marked.
//!
//! One at a time. What was captured stays as it was: appends go on behind it, and no segment is dropped meanwhile.

use bytes::Bytes;

use super::manifest::{Manifest, State};
use super::segment::{Index, Segment};
use super::writer::Op;
use super::{Condition, Done, Log};
use crate::effect::DiskCommand;
use crate::id::{FileId, FileIds, FileKind, Offset};

#[derive(Debug)]
pub(super) enum Checkpoint {
    /// None is wanted.
    Idle,
    /// Waiting until what was captured is written, index files included.
    Gathering(Capture),
    /// Waiting until it is durable.
    Syncing(Capture),
    /// On the way to a durable blob.
    Storing { step: Store, blob: Bytes, manifest: Manifest, appended_bytes: u64 },
    /// The owner has the manifest.
    Ready { manifest: Manifest, appended_bytes: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Store {
    Allocate,
    Allocating,
    Write,
    Writing,
}

/// The log as it was when the checkpoint was begun. Segments lack what only comes with writing them: their files.
#[derive(Debug)]
pub(super) struct Capture {
    state: State,
    appended_bytes: u64,
}

impl Checkpoint {
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Self::Idle | Self::Gathering(_) | Self::Syncing(_) => None,
            Self::Storing { manifest, .. } | Self::Ready { manifest, .. } => Some(manifest.state),
        }
    }
}

impl Log {
    /// Begins a checkpoint of the log as it is now, with `extra` as what the owner wants back at [`Done::Restored`].
    /// [`Done::CheckpointReady`] follows.
    ///
    /// Panics if one is in progress ([`Log::is_checkpointing`]).
    pub fn checkpoint(&mut self, extra: Bytes) {
        assert!(self.is_usable(), "a checkpoint of a log that is not restored");
        assert!(!self.is_checkpointing(), "one checkpoint at a time");
        self.drop_dead_segments();
        let state = State {
            log_start: self.log_start,
            next_offset: self.next_offset,
            epochs: self.epochs.clone(),
            segments: self.segments.iter().map(captured).collect(),
            extra,
        };
        self.checkpoint = Checkpoint::Gathering(Capture { state, appended_bytes: self.appended_bytes });
        self.flush();
    }

    /// Whether a checkpoint was begun that is not marked yet.
    pub fn is_checkpointing(&self) -> bool {
        !matches!(self.checkpoint, Checkpoint::Idle)
    }

    /// The mark with the last ready manifest is durable: what only its predecessor named can go.
    ///
    /// Panics if no manifest is ready.
    pub fn checkpoint_marked(&mut self) {
        let Checkpoint::Ready { manifest, appended_bytes } = std::mem::replace(&mut self.checkpoint, Checkpoint::Idle)
        else {
            panic!("no manifest was ready to be marked");
        };
        self.removable.extend(self.marked.replace(manifest).map(|before| before.state));
        self.removable.append(&mut self.doomed);
        self.marked_bytes = appended_bytes;
    }

    /// Forgets segments that end at or below the log start. Their files stay until the coming checkpoint, which does not name
    /// them, is marked. A segment with work outstanding waits for the next one.
    fn drop_dead_segments(&mut self) {
        while let Some(first) = self.segments.front() {
            let Index::File(index) = &first.index else { return };
            let resized = [self.allocating, self.trimming].contains(&Some(first.base));
            let busy = first.written < first.len || resized;
            if first.next > self.log_start || busy {
                return;
            }
            self.doomed.extend(first.file);
            self.doomed.push(index.file);
            self.segments.pop_front();
        }
    }

    /// Moves the checkpoint as far as it goes without waiting.
    pub(super) fn want_checkpoint(&mut self, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        match std::mem::replace(&mut self.checkpoint, Checkpoint::Idle) {
            Checkpoint::Gathering(capture) if self.is_gathered(&capture) => self.sync(capture, ids, out),
            Checkpoint::Storing { step, blob, manifest, appended_bytes } => {
                let step = self.store(step, &blob, &manifest, out);
                self.checkpoint = Checkpoint::Storing { step, blob, manifest, appended_bytes };
            }
            waiting @ (Checkpoint::Idle
            | Checkpoint::Gathering(_)
            | Checkpoint::Syncing(_)
            | Checkpoint::Ready { .. }) => self.checkpoint = waiting,
        }
    }

    fn is_gathered(&self, capture: &Capture) -> bool {
        let indexed = |captured: &Segment| {
            let segment = self.segment_of(captured.base).expect("captured segments stay");
            !captured.sealed || matches!(segment.index, Index::File(_))
        };
        self.written >= capture.state.next_offset && capture.state.segments.iter().all(indexed)
    }

    fn sync(&mut self, capture: Capture, ids: &mut FileIds, out: &mut Vec<(u64, DiskCommand)>) {
        let mut files = Vec::new();
        let mut segments = Vec::new();
        for captured in &capture.state.segments {
            let segment = self.segment_of(captured.base).expect("captured segments stay");
            let mut touched = false;
            if segment.synced < captured.len {
                files.extend(segment.file);
                touched = true;
            }
            if let Index::File(index) = &segment.index
                && captured.sealed
                && !index.synced
            {
                files.push(index.file);
                touched = true;
            }
            if touched {
                segments.push((captured.base, segment.written));
            }
        }
        if files.is_empty() {
            self.begin_store(capture, ids);
            self.want_checkpoint(ids, out);
        } else {
            self.checkpoint = Checkpoint::Syncing(capture);
            self.issue(Op::Sync { segments }, DiskCommand::Sync { files }, out);
        }
    }

    /// The files of what was captured are durable; `segments` is how far each was written when the sync was asked for.
    pub(super) fn synced(&mut self, segments: &[(Offset, u64)]) {
        for (base, written) in segments {
            let segment = self.segment_mut(*base);
            segment.synced = segment.synced.max(*written);
        }
        let Checkpoint::Syncing(capture) = std::mem::replace(&mut self.checkpoint, Checkpoint::Idle) else {
            panic!("only a checkpoint syncs");
        };
        for captured in capture.state.segments.iter().filter(|captured| captured.sealed) {
            if let Index::File(index) = &mut self.segment_mut(captured.base).index {
                index.synced = true;
            }
        }
        // Nothing is left to sync, so the next round of commands goes on with the blob.
        self.checkpoint = Checkpoint::Gathering(capture);
    }

    fn begin_store(&mut self, mut capture: Capture, ids: &mut FileIds) {
        for captured in &mut capture.state.segments {
            let segment = self.segment_of(captured.base).expect("captured segments stay");
            captured.file = segment.file;
            captured.allocated = segment.allocated;
            if captured.sealed {
                captured.index = segment.index.clone();
            }
        }
        let blob = capture.state.encode();
        let manifest = Manifest {
            state: ids.mint(FileKind::State),
            state_len: blob.len() as u64,
            state_crc: crc32c::crc32c(&blob),
            next_offset: capture.state.next_offset,
            log_start: capture.state.log_start,
        };
        let appended_bytes = capture.appended_bytes;
        self.checkpoint = Checkpoint::Storing { step: Store::Allocate, blob, manifest, appended_bytes };
    }

    fn store(&mut self, step: Store, blob: &Bytes, manifest: &Manifest, out: &mut Vec<(u64, DiskCommand)>) -> Store {
        let file = manifest.state;
        match step {
            Store::Allocate if self.condition == Condition::Full => step,
            Store::Allocate => {
                self.issue(Op::AllocateState, DiskCommand::Allocate { file, len: manifest.state_len }, out);
                Store::Allocating
            }
            Store::Write => {
                let bytes = vec![blob.clone()];
                self.issue(Op::WriteState, DiskCommand::Write { file, at: 0, bytes, durable: true, cold: false }, out);
                Store::Writing
            }
            Store::Allocating | Store::Writing => step,
        }
    }

    /// How long the blob is that is being stored; zero if there is none.
    pub(super) fn state_bytes(&self) -> u64 {
        match &self.checkpoint {
            Checkpoint::Storing { manifest, .. } | Checkpoint::Ready { manifest, .. } => manifest.state_len,
            Checkpoint::Idle | Checkpoint::Gathering(_) | Checkpoint::Syncing(_) => 0,
        }
    }

    /// The blob's allocation ended: with space, or not.
    pub(super) fn state_allocated(&mut self, allocated: bool) {
        let Checkpoint::Storing { step, .. } = &mut self.checkpoint else { panic!("no blob is being stored") };
        *step = if allocated { Store::Write } else { Store::Allocate };
    }

    /// The blob is durable.
    pub(super) fn state_written(&mut self) -> Done {
        let Checkpoint::Storing { manifest, appended_bytes, .. } =
            std::mem::replace(&mut self.checkpoint, Checkpoint::Idle)
        else {
            panic!("no blob is being stored");
        };
        self.checkpoint = Checkpoint::Ready { manifest: manifest.clone(), appended_bytes };
        Done::CheckpointReady(manifest)
    }

    /// The blob of a restored log was read.
    pub(super) fn restored(&mut self, blob: Bytes) -> Done {
        let Condition::Restoring { manifest, .. } = self.condition.clone() else { panic!("the log is restored") };
        let state = match State::decode(blob, &manifest) {
            Ok(state) => state,
            Err(what) => {
                self.condition = Condition::Failed;
                return Done::Corrupt(what.into());
            }
        };
        self.marked = Some(manifest);
        self.epochs = state.epochs;
        self.segments = state.segments;
        self.written = self.next_offset;
        self.flush_to = self.next_offset;
        self.condition = Condition::Usable;
        Done::Restored { extra: state.extra }
    }
}

/// What a blob says of a segment, but for what is known only when it is written. The index of an active one is needed as it
/// is now; a sealed one is in a file then, and is not copied.
fn captured(segment: &Segment) -> Segment {
    let index = match &segment.index {
        Index::Memory(_) if segment.sealed => Index::Memory(Vec::new()),
        index @ (Index::Memory(_) | Index::File(_)) => index.clone(),
    };
    Segment { index, file: None, ..*segment }
}
