//! The disk of a node: carries out [`DiskCommand`]s on files of one directory, each on the thread of its lane.
//!
//! Every operation is reported exactly once, from the thread that did it, unless the disk is abandoned. Lanes keep what is
//! waited for (journal blocks) from standing behind what takes long (syncing segments, making files); there is no order
//! between two operations under way, in the same lane or not, because the core asks for none.
//!
//! Not known here: what is in a file. Its kind only chooses the lane, and how space is given to it.

mod direct;
mod executor;
mod files;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tidelog_core::effect::{DiskCommand, DiskResult};
use tidelog_core::id::{FileKind, OpId};

pub use executor::Executor;
pub use files::Files;

/// What a thread of the disk is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    /// Journal blocks: a client waits for each.
    Journal,
    /// Other writes, into the page cache mostly.
    Write,
    /// Reads.
    Read,
    /// Making durable what was written.
    Sync,
    /// Making, growing, shortening, removing and listing files.
    Space,
}

const LANES: [Lane; 5] = [Lane::Journal, Lane::Write, Lane::Read, Lane::Sync, Lane::Space];

impl Lane {
    fn of(command: &DiskCommand) -> Self {
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
            DiskCommand::Read { .. } => Self::Read,
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
            Self::Read => "disk-read",
            Self::Sync => "disk-sync",
            Self::Space => "disk-space",
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
    lanes: Vec<(Lane, mpsc::Sender<(OpId, DiskCommand)>)>,
    threads: Vec<JoinHandle<()>>,
    abandoned: Arc<AtomicBool>,
}

impl Disk {
    /// Starts the threads on the files of `directory`.
    pub fn start(directory: &Path, report: impl Report) -> io::Result<Self> {
        let files = Arc::new(Files::open(directory)?);
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut disk = Self { lanes: Vec::new(), threads: Vec::new(), abandoned: Arc::clone(&abandoned) };
        for lane in LANES {
            let (sender, inbox) = mpsc::channel::<(OpId, DiskCommand)>();
            let mut executor = Executor::new(Arc::clone(&files));
            let (report, abandoned) = (report.clone(), Arc::clone(&abandoned));
            let work = move || {
                let watch = Watch(&report, lane.name());
                while let Ok((op, command)) = inbox.recv() {
                    if abandoned.load(Ordering::Acquire) {
                        break;
                    }
                    watch.0.done(op, executor.run(command));
                }
            };
            let thread = std::thread::Builder::new().name(lane.name().to_owned()).spawn(work)?;
            disk.lanes.push((lane, sender));
            disk.threads.push(thread);
        }
        Ok(disk)
    }

    /// Begins an operation.
    pub fn submit(&self, op: OpId, command: DiskCommand) {
        let lane = Lane::of(&command);
        for (name, sender) in &self.lanes {
            if *name == lane {
                // Fails only after a panic of the thread, which was reported.
                let _ = sender.send((op, command));
                return;
            }
        }
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
