//! Carries out one disk command after the other, on whatever thread it is called.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tidelog_core::effect::{DiskCommand, DiskError, DiskOutput, DiskResult};
use tidelog_core::id::{FileId, FileKind};

use super::direct::{DirectBuffer, is_aligned};
use super::files::{Files, refuses_direct};

/// The most slices the system takes in one write (`IOV_MAX`).
const GATHER_MAX: usize = 1024;
/// How many zeros are written at a time where space can not be asked for otherwise.
const ZEROS_BYTES: usize = 1024 * 1024;

/// Carries out disk commands, one at a time.
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
        match command {
            DiskCommand::List => {
                self.files.list().map(DiskOutput::Listed).map_err(|error| io_error("listing", "the directory", &error))
            }
            DiskCommand::Read { file, at, len } => {
                self.read(file, at, len).map(DiskOutput::Read).map_err(|error| failure("reading", file, &error))
            }
            DiskCommand::Write { file, at, bytes, durable } => {
                done(self.write(file, at, &bytes, durable), "writing", file)
            }
            DiskCommand::Sync { files } => {
                for file in files {
                    done(self.files.get(file).and_then(|open| open.sync_data()), "syncing", file)?;
                }
                Ok(DiskOutput::Done)
            }
            DiskCommand::Allocate { file, len } => match self.allocate(file, len) {
                Err(error) if is_full(&error) => Err(DiskError::Full),
                result => done(result, "allocating", file),
            },
            DiskCommand::Truncate { file, len } => done(self.truncate(file, len), "shortening", file),
            DiskCommand::Remove { file } => {
                done(self.files.remove(file).and_then(|()| self.files.sync_directory()), "removing", file)
            }
        }
    }

    fn read(&self, file: FileId, at: u64, len: u64) -> io::Result<Bytes> {
        let open = self.files.get(file)?;
        let there = open.metadata()?.len().saturating_sub(at);
        let wanted = usize::try_from(len.min(there)).map_err(io::Error::other)?;
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

    fn write(&mut self, file: FileId, at: u64, slices: &[Bytes], durable: bool) -> io::Result<()> {
        if durable && file.kind() == FileKind::Journal {
            let length = slices.iter().map(|slice| slice.len() as u64).sum();
            if is_aligned(at, length)
                && let Some(open) = self.files.get_direct(file)?
            {
                match self.direct.write(&open, at, slices) {
                    Err(error) if refuses_direct(&error) => self.files.refuse_direct(),
                    result => return result,
                }
            }
        }
        let open = self.files.get(file)?;
        write_gathered(&open, at, slices)?;
        if durable { open.sync_data() } else { Ok(()) }
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
        open.sync_all()?;
        // Even if the file was there: it may have been made just before a kill, and its entry not yet be durable.
        self.files.sync_directory()
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
            && let Some(direct) = self.files.get_direct(file)?
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

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn done(result: io::Result<()>, doing: &str, file: FileId) -> DiskResult {
    result.map(|()| DiskOutput::Done).map_err(|error| failure(doing, file, &error))
}

fn failure(doing: &str, file: FileId, error: &io::Error) -> DiskError {
    if error.kind() == io::ErrorKind::NotFound { DiskError::Missing } else { io_error(doing, &file.name(), error) }
}

fn io_error(doing: &str, what: &str, error: &io::Error) -> DiskError {
    DiskError::Io(format!("{doing} {what}: {error}"))
}
