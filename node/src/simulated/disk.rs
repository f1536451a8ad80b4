//! A disk in memory: every operation takes a moment of its own, so that several under way end in any order.
//!
//! What is done outlives the process; what is under way when the process is killed is never done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use madsim::rand::Rng;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{DirectoryId, FileId, OpId};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::random;
use crate::disk::{Counts, Report};

/// The longest an operation takes; the shortest is the least that madsim sleeps.
const SLOW: Duration = Duration::from_millis(4);
/// The grain in which space is kept.
const PAGE: u64 = 4096;

/// What a machine has stored: the directory of one node. Copies are the same directory.
#[derive(Clone, Debug)]
pub struct Platter {
    directory: DirectoryId,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    boots: u64,
    files: BTreeMap<FileId, File>,
}

/// Bytes, zero where nothing was written.
#[derive(Debug, Default)]
struct File {
    len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl File {
    fn write(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize].into());
            let start = (at % PAGE) as usize;
            let count = bytes.len().min(page.len() - start);
            page[start..start + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            at += count as u64;
        }
        self.len = self.len.max(at);
    }

    fn read(&self, at: u64, len: u64) -> Bytes {
        let end = at.saturating_add(len).min(self.len);
        let mut bytes = vec![0; end.saturating_sub(at) as usize];
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done as u64;
            let start = (here % PAGE) as usize;
            let count = (bytes.len() - done).min(PAGE as usize - start);
            if let Some(page) = self.pages.get(&(here / PAGE)) {
                bytes[done..done + count].copy_from_slice(&page[start..start + count]);
            }
            done += count;
        }
        Bytes::from(bytes)
    }

    fn truncate(&mut self, len: u64) {
        if len < self.len {
            self.len = len;
            self.pages.split_off(&len.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                page[(len % PAGE) as usize..].fill(0);
            }
        }
    }
}

impl Content {
    fn run(&mut self, command: DiskCommand) -> DiskResult {
        match command {
            DiskCommand::List => {
                let listed = self.files.iter().map(|(file, content)| (*file, content.len));
                return Ok(DiskOutput::Listed(listed.collect()));
            }
            DiskCommand::Read { file, at, len } => return Ok(DiskOutput::Read(self.file(file)?.read(at, len))),
            DiskCommand::Write { file, mut at, bytes, durable: _, cold: _ } => {
                let open = self.file(file)?;
                let end = at + bytes.iter().map(|slice| slice.len() as u64).sum::<u64>();
                assert!(end <= open.len, "{file:?} is written up to {end} and has {}", open.len);
                for slice in bytes {
                    open.write(at, &slice);
                    at += slice.len() as u64;
                }
            }
            DiskCommand::Sync { files } => {
                for file in files {
                    self.file(file)?;
                }
            }
            DiskCommand::Allocate { file, len } => {
                let open = self.files.entry(file).or_default();
                open.len = open.len.max(len);
            }
            DiskCommand::Truncate { file, len } => self.file(file)?.truncate(len),
            DiskCommand::Remove { file } => drop(self.files.remove(&file)),
        }
        Ok(DiskOutput::Done)
    }

    fn file(&mut self, file: FileId) -> Result<&mut File, DiskError> {
        self.files.get_mut(&file).ok_or(DiskError::Missing)
    }
}

impl Platter {
    /// An empty directory. Must be made within a run: the seed chooses its id.
    pub fn blank() -> Self {
        Self { directory: DirectoryId(random()), content: Arc::default() }
    }

    /// Its id.
    pub(crate) fn directory(&self) -> DirectoryId {
        self.directory
    }

    /// Counts a start, and gives how many there were.
    pub(crate) fn boot(&self) -> u64 {
        let mut content = self.content();
        content.boots += 1;
        content.boots
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("a panic ends the run")
    }
}

/// The process's way to its disk.
#[derive(Debug)]
pub(crate) struct Disk {
    platter: Platter,
    report: Box<dyn Done>,
    abandoned: Arc<AtomicBool>,
    /// Every operation under way holds the sender.
    under_way: (mpsc::Sender<()>, mpsc::Receiver<()>),
    counts: Arc<Counts>,
}

/// A [`Report`] of which the type does not matter.
trait Done: Send + std::fmt::Debug {
    fn hold(&self) -> Box<dyn FnOnce(OpId, DiskResult) + Send>;
}

#[derive(Debug)]
struct Reporter<R>(R);

impl<R: Report + std::fmt::Debug> Done for Reporter<R> {
    fn hold(&self) -> Box<dyn FnOnce(OpId, DiskResult) + Send> {
        let report = self.0.clone();
        Box::new(move |op, result| report.done(op, result))
    }
}

impl Disk {
    /// Opens the disk of a machine.
    pub(crate) fn start(platter: &Platter, report: impl Report + std::fmt::Debug) -> Self {
        Self {
            platter: platter.clone(),
            report: Box::new(Reporter(report)),
            abandoned: Arc::default(),
            under_way: mpsc::channel(1),
            counts: Arc::default(),
        }
    }

    /// What it did so far, counted: nothing is.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Begins an operation.
    pub(crate) fn submit(&self, op: OpId, command: DiskCommand) {
        let moment = madsim::rand::thread_rng().gen_range(Duration::ZERO..SLOW);
        let (platter, report) = (self.platter.clone(), self.report.hold());
        let (abandoned, held) = (Arc::clone(&self.abandoned), self.under_way.0.clone());
        tokio::spawn(async move {
            sleep(moment).await;
            if !abandoned.load(Ordering::Acquire) {
                let result = platter.content().run(command);
                report(op, result);
            }
            drop(held);
        });
    }

    /// Waits until everything begun is done.
    pub(crate) async fn finish(self) {
        let (holder, mut others) = self.under_way;
        drop(holder);
        assert!(others.recv().await.is_none(), "nobody sends anything");
    }

    /// What is under way is never done, as after a kill.
    pub(crate) fn abandon(self) {
        self.abandoned.store(true, Ordering::Release);
    }
}
