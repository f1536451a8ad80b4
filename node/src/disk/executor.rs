//! Carries out disk commands on whatever thread it is called: one by one, or several whose syncs are done together.
//!
//! What a command still owes the medium after its work is a [`Debt`]; whoever pays the debts of several commands at once
//! syncs each file, and the directory, only once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileKind};

use super::Cold;
use super::direct::{DirectBuffer, is_aligned};
use super::files::{Files, refuses_direct};

/// The most slices the system takes in one write (`IOV_MAX`).
const GATHER_MAX: usize = 1024;
/// With more files than this to be made durable at once, the whole file system is.
const SYNC_FILES_MAX: usize = 128;
/// Of a read that is longer, the system is told before: then it reads all of it at once, not a little ahead.
const READ_ADVISED_BYTES: u64 = 1024 * 1024;
/// How many zeros are written at a time where space can not be asked for otherwise.
const ZEROS_BYTES: usize = 1024 * 1024;

/// What must be synced before a command is done.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Debt {
    /// Content, and what is needed to find it.
    files: Vec<FileId>,
    /// Entries of the directory.
    directory: bool,
}

/// Carries out disk commands.
#[derive(Debug)]
pub struct Executor {
    files: Arc<Files>,
    direct: DirectBuffer,
}

impl Executor {
    /// An executor on these files, with a buffer of its own.
    pub fn new(files: Arc<Files>) -> Self {
        Self { files, direct: DirectBuffer::default() }
    }

    /// Carries out one command, to its end.
    pub fn run(&mut self, command: DiskCommand) -> DiskResult {
        let (output, debt) = self.begin(command)?;
        self.pay(&debt)?;
        Ok(output)
    }

    /// Carries out commands that are under way at the same time, to their ends: their syncs are done together. The results
    /// are in the order of the commands.
    pub fn run_all(&mut self, commands: Vec<DiskCommand>) -> Vec<DiskResult> {
        let begun: Vec<_> = commands.into_iter().map(|command| self.begin(command)).collect();
        let debts = || begun.iter().flatten().map(|(_, debt)| debt);
        let files: BTreeSet<FileId> = debts().flat_map(|debt| debt.files.iter().copied()).collect();
        let together = Debt { files: files.into_iter().collect(), directory: debts().any(|debt| debt.directory) };
        match self.pay(&together) {
            Ok(()) => begun.into_iter().map(|begun| begun.map(|(output, _)| output)).collect(),
            // One of them named a file that is not there, which is not the fault of the others.
            Err(DiskError::Missing) => begun
                .into_iter()
                .map(|begun| {
                    let (output, debt) = begun?;
                    self.pay(&debt).map(|()| output)
                })
                .collect(),
            // Nobody knows whose bytes were lost: none of those who owed something is told that they are safe.
            Err(error) => begun
                .into_iter()
                .map(|begun| match begun? {
                    (output, debt) if debt == Debt::default() => Ok(output),
                    (..) => Err(error.clone()),
                })
                .collect(),
        }
    }

    /// Syncs files that nobody asked to be synced yet, and lets the page cache go of those that are cold. A system tells of a
    /// lost write once: it is kept for those who will ask.
    pub(super) fn sync_early(&self, files: &BTreeMap<FileId, Cold>) {
        for (file, cold) in files {
            match self.sync(*file, File::sync_data) {
                Ok(()) if *cold => self.forget(*file),
                Ok(()) => {}
                // It was removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.files.lose(format!("syncing {} early: {error}", file.name())),
            }
        }
    }

    /// Does what a command asks for, but for making it durable.
    fn begin(&mut self, command: DiskCommand) -> Result<(DiskOutput, Debt), DiskError> {
        let nothing = Debt::default();
        match command {
            DiskCommand::List => {
                let listed = self.files.list().map_err(|error| io_error("listing", "the directory", &error))?;
                Ok((DiskOutput::Listed(listed), nothing))
            }
            DiskCommand::Read { file, at, len } => {
                let bytes = self.read(file, at, len).map_err(|error| failure("reading", file, &error))?;
                Ok((DiskOutput::Read(bytes), nothing))
            }
            DiskCommand::Write { file, at, bytes, durable, cold: _ } => {
                let debt = self.write(file, at, &bytes, durable).map_err(|error| failure("writing", file, &error))?;
                Ok((DiskOutput::Done, debt))
            }
            DiskCommand::Sync { files } => Ok((DiskOutput::Done, Debt { files, directory: false })),
            DiskCommand::Allocate { file, len } => match self.allocate(file, len) {
                // The entry too, even if the file was there: it may have been made just before a kill, and not be durable.
                Ok(()) => Ok((DiskOutput::Done, Debt { files: vec![file], directory: true })),
                Err(error) if is_full(&error) => Err(DiskError::Full),
                Err(error) => Err(failure("allocating", file, &error)),
            },
            DiskCommand::Truncate { file, len } => {
                self.truncate(file, len).map_err(|error| failure("shortening", file, &error))?;
                Ok((DiskOutput::Done, nothing))
            }
            DiskCommand::Remove { file } => {
                self.files.remove(file).map_err(|error| failure("removing", file, &error))?;
                Ok((DiskOutput::Done, Debt { files: Vec::new(), directory: true }))
            }
        }
    }

    /// Makes durable what is owed.
    fn pay(&self, debt: &Debt) -> Result<(), DiskError> {
        if let Some(lost) = self.files.lost() {
            return Err(DiskError::Io(lost));
        }
        if debt.files.len() > SYNC_FILES_MAX {
            for file in &debt.files {
                self.files.get(*file).map_err(|error| failure("syncing", *file, &error))?;
            }
            return self.files.sync_all().map_err(|error| io_error("syncing", "the file system", &error));
        }
        for file in &debt.files {
            let sync = if debt.directory { File::sync_all } else { File::sync_data };
            self.sync(*file, sync).map_err(|error| failure("syncing", *file, &error))?;
        }
        if debt.directory {
            self.files.sync_directory().map_err(|error| io_error("syncing", "the directory", &error))?;
        }
        Ok(())
    }

    fn sync(&self, file: FileId, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
        let open = self.files.get(file)?;
        self.files.counts().sync();
        sync(&open)
    }

    fn forget(&self, file: FileId) {
        if let Ok(open) = self.files.get(file) {
            // Only a hint: a file system that takes none keeps what it has.
            let _ = rustix::fs::fadvise(&*open, 0, None, Advice::DontNeed);
        }
    }

    fn read(&self, file: FileId, at: u64, len: u64) -> io::Result<Bytes> {
        let open = self.files.get(file)?;
        let there = open.metadata()?.len().saturating_sub(at);
        let wanted = usize::try_from(len.min(there)).map_err(io::Error::other)?;
        if len > READ_ADVISED_BYTES {
            // Only a hint: a file system that takes none reads as it does.
            let _ = rustix::fs::fadvise(&*open, at, NonZeroU64::new(wanted as u64), Advice::WillNeed);
        }
        let mut bytes = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match open.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(Bytes::from(bytes))
    }

    fn write(&mut self, file: FileId, at: u64, slices: &[Bytes], durable: bool) -> io::Result<Debt> {
        if durable && file.kind() == FileKind::Journal {
            let length = slices.iter().map(|slice| slice.len() as u64).sum();
            self.files.counts().journal_block(length);
            if is_aligned(at, length)
                && let Some(open) = self.files.get_direct(file)?
            {
                match self.direct.write(&open, at, slices) {
                    Err(error) if refuses_direct(&error) => self.files.refuse_direct(),
                    result => {
                        self.files.counts().sync();
                        return result.map(|()| Debt::default());
                    }
                }
            }
        }
        let open = self.files.get(file)?;
        write_gathered(&open, at, slices)?;
        let files = if durable { vec![file] } else { Vec::new() };
        Ok(Debt { files, directory: false })
    }

    fn allocate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        let (open, new) = self.files.get_or_create(file)?;
        let before = open.metadata()?.len();
        if before < len
            && let Err(error) = self.grow(file, &open, before, len)
        {
            // Gives back what little there was; the first error is the one to tell.
            let _ = if new { self.files.remove(file) } else { open.set_len(before) };
            return Err(error);
        }
        Ok(())
    }

    /// Gives the file the bytes from `before` to `len`, all zero.
    fn grow(&mut self, file: FileId, open: &File, before: u64, len: u64) -> io::Result<()> {
        let reserved = match rustix::fs::fallocate(open, FallocateFlags::empty(), before, len - before) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP) => false,
            Err(error) => return Err(error.into()),
        };
        match file.kind() {
            // Written once now, so that a block written later changes nothing but the block.
            FileKind::Journal => self.write_zeros(file, open, before, len),
            FileKind::Segment | FileKind::SegmentIndex | FileKind::State | FileKind::Formation if reserved => Ok(()),
            FileKind::Segment | FileKind::SegmentIndex | FileKind::State | FileKind::Formation => {
                write_zeros(open, before, len)
            }
        }
    }

    fn write_zeros(&mut self, file: FileId, open: &File, from: u64, to: u64) -> io::Result<()> {
        if is_aligned(from, to - from)
            && let Some(direct) = self.files.get_direct_unsynced(file)?
        {
            match self.direct.write_zeros(&direct, from, to) {
                Err(error) if refuses_direct(&error) => self.files.refuse_direct(),
                result => return result,
            }
        }
        write_zeros(open, from, to)
    }

    fn truncate(&self, file: FileId, len: u64) -> io::Result<()> {
        let open = self.files.get(file)?;
        if open.metadata()?.len() > len {
            open.set_len(len)?;
        }
        Ok(())
    }
}

/// Writes slices one after the other through the page cache, without copying them together.
fn write_gathered(file: &File, mut at: u64, slices: &[Bytes]) -> io::Result<()> {
    let mut vectors: Vec<IoSlice<'_>> =
        slices.iter().filter(|slice| !slice.is_empty()).map(|slice| IoSlice::new(slice)).collect();
    let mut rest = &mut vectors[..];
    while !rest.is_empty() {
        match rustix::io::pwritev(file, &rest[..rest.len().min(GATHER_MAX)], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let length = (to - at).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..length as usize], at)?;
        at += length;
    }
    Ok(())
}

/// Whether this is how a file system says that it has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn failure(doing: &str, file: FileId, error: &io::Error) -> DiskError {
    if error.kind() == io::ErrorKind::NotFound { DiskError::Missing } else { io_error(doing, &file.name(), error) }
}

fn io_error(doing: &str, what: &str, error: &io::Error) -> DiskError {
    DiskError::Io(format!("{doing} {what}: {error}"))
}
