//! The disk of a node: carries out [`DiskCommand`]s on files of one directory, each on the thread of its lane.
//!
//! Every operation is reported exactly once, from the thread that did it, unless the disk is abandoned. Lanes keep what is
//! waited for (journal blocks) from standing behind what takes long (syncing segments, making files); there is no order
//! between two operations under way, in the same lane or not, because the core asks for none. What gathered in a lane while
//! it was busy is done together, with one sync of each file: ten thousand small checkpoints are not as many syncs.
//! Segments are synced now and then without being asked, so that a checkpoint finds little left to sync. The page cache lets
//! go of those that nobody is expected to read: a follower's copy takes no memory from what clients do read.
//!
//! Not known here: what is in a file. Its kind only chooses the lane, and how space is given to it.

mod counts;
mod direct;
mod executor;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tidelog_core::effect::{DiskCommand, DiskResult};
use tidelog_core::id::{FileId, FileKind, OpId};

pub use counts::Counts;
pub(crate) use executor::is_full;

pub use executor::Executor;
pub use files::Files;

/// What a thread of the disk is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    /// Journal blocks: a client waits for each.
    Journal,
    /// Other writes, into the page cache mostly.
    Write,
    /// Reads, in turn on several threads.
    Read(usize),
    /// Making durable what was written.
    Sync,
    /// Making, growing, shortening, removing and listing files.
    Space,
}

const READERS: usize = 3;
const LANES: [Lane; 7] =
    [Lane::Journal, Lane::Write, Lane::Read(0), Lane::Read(1), Lane::Read(2), Lane::Sync, Lane::Space];
/// The most operations that are done together.
const TOGETHER_MAX: usize = 512;
/// After so many bytes written to segments, those written to are synced.
const EARLY_SYNC_BYTES: u64 = 32 * 1024 * 1024;

impl Lane {
    /// The lane of the `nth` command.
    fn of(command: &DiskCommand, nth: usize) -> Self {
        match command {
            DiskCommand::Write { file, durable, .. } => match (file.kind(), durable) {
                (FileKind::Journal, true) => Self::Journal,
                (
                    FileKind::Journal
                    | FileKind::Segment
                    | FileKind::SegmentIndex
                    | FileKind::State
                    | FileKind::Formation,
                    _,
                ) => Self::Write,
            },
            DiskCommand::Read { .. } => Self::Read(nth % READERS),
            DiskCommand::Sync { .. } => Self::Sync,
            DiskCommand::List
            | DiskCommand::Allocate { .. }
            | DiskCommand::Truncate { .. }
            | DiskCommand::Remove { .. } => Self::Space,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Journal => "disk-journal",
            Self::Write => "disk-write",
            Self::Read(_) => "disk-read",
            Self::Sync => "disk-sync",
            Self::Space => "disk-space",
        }
    }

    /// How many operations that wait are done together.
    fn together_max(self) -> usize {
        match self {
            Self::Write | Self::Sync | Self::Space => TOGETHER_MAX,
            // Each is waited for by itself.
            Self::Journal | Self::Read(_) => 1,
        }
    }
}

/// Something for a lane to do.
#[derive(Debug)]
enum Work {
    /// To be reported.
    Asked(OpId, DiskCommand),
    /// To sync what nobody asked to be synced yet; of some files memory need not be kept then.
    Early(BTreeMap<FileId, Cold>),
}

/// Whether nobody is expected to read what was written last.
type Cold = bool;

/// What was written to segments since they were last synced early.
#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeMap<FileId, Cold>,
    bytes: u64,
}

impl Unsynced {
    fn add(&mut self, command: &DiskCommand) {
        if let DiskCommand::Write { file, bytes, durable: false, cold, .. } = command
            && file.kind() == FileKind::Segment
        {
            self.files.insert(*file, *cold);
            self.bytes += bytes.iter().map(|slice| slice.len() as u64).sum::<u64>();
        }
    }

    fn take_if_due(&mut self) -> Option<BTreeMap<FileId, Cold>> {
        (self.bytes >= EARLY_SYNC_BYTES).then(|| std::mem::take(self).files)
    }
}

/// One thread of a disk.
struct Worker<R> {
    lane: Lane,
    inbox: mpsc::Receiver<Work>,
    executor: Executor,
    report: R,
    abandoned: Arc<AtomicBool>,
    /// Of the lane that writes segments: who syncs them.
    syncer: Option<mpsc::Sender<Work>>,
}

impl<R: Report> Worker<R> {
    fn work(mut self) {
        let report = self.report.clone();
        let _watch = Watch(&report, self.lane.name());
        let mut unsynced = Unsynced::default();
        while let Ok(first) = self.inbox.recv() {
            let mut early = BTreeMap::new();
            let (mut ops, mut commands) = (Vec::new(), Vec::new());
            let more = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(self.lane.together_max() - 1);
            for work in std::iter::once(first).chain(more) {
                match work {
                    Work::Asked(op, command) => {
                        ops.push(op);
                        commands.push(command);
                    }
                    Work::Early(files) => early.extend(files),
                }
            }
            if self.abandoned.load(Ordering::Acquire) {
                break;
            }
            if self.syncer.is_some() {
                commands.iter().for_each(|command| unsynced.add(command));
            }
            for (op, result) in ops.into_iter().zip(self.executor.run_all(commands)) {
                report.done(op, result);
            }
            self.executor.sync_early(&early);
            if let (Some(syncer), Some(files)) = (&self.syncer, unsynced.take_if_due()) {
                // Fails only after a panic of the thread, which was reported.
                let _ = syncer.send(Work::Early(files));
            }
        }
    }
}

/// Whom the threads of the disk tell how an operation ended.
pub trait Report: Clone + Send + 'static {
    /// The operation came to its end.
    fn done(&self, op: OpId, result: DiskResult);
    /// A thread of this name panicked: its operations are never reported.
    fn panicked(&self, thread: &'static str);
}

/// The threads that do what the core asks of the disk.
#[derive(Debug)]
pub struct Disk {
    lanes: Vec<(Lane, mpsc::Sender<Work>)>,
    threads: Vec<JoinHandle<()>>,
    abandoned: Arc<AtomicBool>,
    submitted: AtomicUsize,
    counts: Arc<Counts>,
}

impl Disk {
    /// Starts the threads on the files of `directory`, of which at most `files_max` are kept open.
    pub fn start(directory: &Path, files_max: usize, report: impl Report) -> io::Result<Self> {
        let files = Arc::new(Files::open(directory, files_max)?);
        let (lanes, inboxes): (Vec<_>, Vec<_>) = LANES
            .into_iter()
            .map(|lane| {
                let (sender, inbox) = mpsc::channel();
                ((lane, sender), (lane, inbox))
            })
            .unzip();
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut disk = Self {
            lanes,
            threads: Vec::new(),
            abandoned: Arc::clone(&abandoned),
            submitted: AtomicUsize::new(0),
            counts: Arc::clone(files.counts()),
        };
        for (lane, inbox) in inboxes {
            let worker = Worker {
                lane,
                inbox,
                executor: Executor::new(Arc::clone(&files)),
                report: report.clone(),
                abandoned: Arc::clone(&abandoned),
                // Its thread ends before that of the syncs: what it sends last is done.
                syncer: (lane == Lane::Write).then(|| disk.sender(Lane::Sync).clone()),
            };
            disk.threads.push(std::thread::Builder::new().name(lane.name().to_owned()).spawn(|| worker.work())?);
        }
        Ok(disk)
    }

    /// What it did so far, counted.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn sender(&self, lane: Lane) -> &mpsc::Sender<Work> {
        let found = self.lanes.iter().find(|(name, _)| *name == lane);
        &found.expect("every lane has a thread").1
    }

    /// Begins an operation.
    pub fn submit(&self, op: OpId, command: DiskCommand) {
        let nth = self.submitted.fetch_add(1, Ordering::Relaxed);
        // Fails only after a panic of the thread, which was reported.
        let _ = self.sender(Lane::of(&command, nth)).send(Work::Asked(op, command));
    }

    /// Carries out everything begun, then ends the threads.
    pub fn finish(mut self) {
        self.join();
    }

    /// Ends the threads after what they are doing this moment: what they have not begun is never done, as after a kill.
    pub fn abandon(mut self) {
        self.abandoned.store(true, Ordering::Release);
        self.join();
    }

    fn join(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Tells of a panic while it unwinds.
struct Watch<'a, R: Report>(&'a R, &'static str);

impl<R: Report> Drop for Watch<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked(self.1);
        }
    }
}
