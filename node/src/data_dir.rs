//! The data directory: whose it is, and that only one process uses it.
//!
//! A directory is formatted once: it gets a directory id and the number of its node, which never change after. `meta.json`
//! holds them and counts the starts; the count is durable before the first step of a life, because the broker builds names
//! from it that must never come twice. `lock` is locked for as long as the process lives.
//!
//! A start needs no new space: the next count is written over `meta.json.new`, which was made with the directory and is as long,
//! and then the two files change names.
//!
//! Not known here: what the other files of the directory are ([`crate::disk`]), and what is in them (the core): of which
//! cluster the directory is, for one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tidelog_core::broker::Boot;
use tidelog_core::id::{DirectoryId, NodeId};

use crate::disk::is_full;
use crate::error::{StartError, no_room};
use crate::host::{free_bytes, random};

/// The layout of the directory that this version writes and reads.
pub const FORMAT: u64 = 2;

const META: &str = "meta.json";
const META_NEW: &str = "meta.json.new";
const LOCK: &str = "lock";
/// What a directory may hold and still be formatted: what we may have left ourselves, and what `mkfs` leaves.
const IGNORED: [&str; 3] = [META_NEW, LOCK, "lost+found"];
/// More starts than this can not be told apart in the names of files: [`FileId`](tidelog_core::id::FileId) has 28 bits for them.
const BOOTS_MAX: u64 = (1 << 28) - 1;
/// No identity file is as long; what is, is not one.
const META_BYTES_MAX: u64 = 64 * 1024;
/// How long it is made, with blanks at its end: what replaces it is as long.
const META_BYTES: usize = 512;
/// What a directory that is formatted needs of the disk: itself, its first files, and a bit for the file system's own.
const FORMAT_BYTES: u64 = 4 * 4096;

/// What `meta.json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Meta {
    format: u64,
    node: u32,
    directory: String,
    boots: u64,
}

/// Only as much of `meta.json` as every version has.
#[derive(Deserialize)]
struct MetaFormat {
    format: u64,
}

/// A disk that has no room for the first files of a data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoRoom {
    /// The directory.
    pub directory: PathBuf,
    /// How many bytes it needs, at most.
    pub needed: u64,
    /// How many are free, if the system tells.
    pub free: Option<u64>,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&no_room(Some(&self.directory), self.needed, self.free, true))
    }
}

/// A data directory that is ours, until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    directory: DirectoryId,
    boot: Boot,
    formatted: bool,
    /// Holds the lock by being open.
    _lock: File,
}

impl DataDir {
    /// Takes the directory for `node`: creates and formats it if it is missing or empty, locks it, and counts the start.
    pub fn open(path: &Path, node: NodeId) -> Result<Self, StartError> {
        create(path)?;
        let lock = lock(path)?;
        let existing = read(path)?;
        let formatted = existing.is_none();
        let mut meta = match existing {
            Some(meta) => meta,
            None => fresh(path, node)?,
        };
        if meta.node != node.0 {
            return Err(StartError::OtherNode { directory: path.to_owned(), found: NodeId(meta.node), asked: node });
        }
        if meta.boots >= BOOTS_MAX {
            return Err(StartError::WornOut { directory: path.to_owned(), boots: meta.boots });
        }
        meta.boots += 1;
        let bad = |why: &str| StartError::BadIdentity { file: path.join(META), why: why.to_owned() };
        let directory =
            DirectoryId(parse_id(&meta.directory).ok_or_else(|| bad("`directory` is not 32 hexadecimal digits"))?);
        let boot = Boot { counter: meta.boots, seed: u64::from_le_bytes(random()) };
        write(path, &meta)?;
        Ok(Self { path: path.to_owned(), directory, boot, formatted, _lock: lock })
    }

    /// As [`Self::open`], but waits while the disk is full: `wait` is told why, once for each attempt, and takes its time.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], but for a full disk.
    pub fn open_when_there_is_room(
        path: &Path,
        node: NodeId,
        mut wait: impl FnMut(&NoRoom),
    ) -> Result<Self, StartError> {
        loop {
            match Self::open(path, node) {
                Err(StartError::System { error, .. }) if is_full(&error) => {
                    // What is missing of the directory is of no file system yet.
                    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
                    wait(&NoRoom { directory: path.to_owned(), needed: FORMAT_BYTES, free: free_bytes(there) });
                }
                opened => return opened,
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its own id, minted when it was formatted.
    pub fn directory(&self) -> DirectoryId {
        self.directory
    }

    /// What is new at this start.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether this start formatted it.
    pub fn formatted(&self) -> bool {
        self.formatted
    }
}

/// Creates the directory if it is missing, durably.
fn create(path: &Path) -> Result<(), StartError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|error| StartError::file("create the directory", path, error))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    sync_directory(parent).map_err(|error| StartError::file("sync", parent, error))
}

/// Takes the lock of the directory, or says who can not.
fn lock(path: &Path) -> Result<File, StartError> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(|error| StartError::file("write", &file, error))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked { directory: path.to_owned() }),
        Err(error) => Err(StartError::file("lock", file, error.into())),
    }
}

/// Reads `meta.json`; `None` if there is none.
fn read(path: &Path) -> Result<Option<Meta>, StartError> {
    let file = path.join(META);
    let mut bytes = Vec::new();
    match File::open(&file).and_then(|open| open.take(META_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::file("read", file, error)),
    }
    let bad = |error: serde_json::Error| StartError::BadIdentity { file: file.clone(), why: error.to_string() };
    let MetaFormat { format } = serde_json::from_slice(&bytes).map_err(bad)?;
    if format != FORMAT {
        return Err(StartError::OtherFormat { directory: path.to_owned(), found: format, known: FORMAT });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(bad)
}

/// The identity of a directory that has none yet, if nobody else's files are in it.
fn fresh(path: &Path, node: NodeId) -> Result<Meta, StartError> {
    let entries = fs::read_dir(path).map_err(|error| StartError::file("read", path, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| StartError::file("read", path, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !IGNORED.contains(&name.as_str()) {
            return Err(StartError::NotEmpty { directory: path.to_owned(), found: name });
        }
    }
    Ok(Meta { format: FORMAT, node: node.0, directory: DirectoryId(random()).to_string(), boots: 0 })
}

/// Replaces `meta.json`, so that a crash at any moment leaves the old one or the new one.
fn write(path: &Path, meta: &Meta) -> Result<(), StartError> {
    let (new, file) = (path.join(META_NEW), path.join(META));
    let mut text = serde_json::to_vec_pretty(meta).expect("numbers and strings are JSON");
    text.resize(text.len().max(META_BYTES - 1), b' ');
    text.push(b'\n');
    put(&new, &text).map_err(|error| StartError::file("write", &new, error))?;
    if !file.exists() {
        // The first of two.
        fs::rename(&new, &file).map_err(|error| StartError::file("write", &file, error))?;
        put(&new, &text).map_err(|error| StartError::file("write", &new, error))?;
    } else {
        exchange(&new, &file).map_err(|error| StartError::file("write", &file, error))?;
    }
    sync_directory(path).map_err(|error| StartError::file("sync", path, error))
}

/// Writes a file over, durably; makes it if it is missing.
fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// Makes two files change names; where the file system can not, the first one takes the name of the second, which is gone.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(one, other),
        Err(error) => Err(error.into()),
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}
