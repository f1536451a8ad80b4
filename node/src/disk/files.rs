//! The files of the data directory, by id: open handles are kept, a bounded number of them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use rustix::fs::OFlags;
use tidelog_core::id::FileId;

use super::counts::Counts;

/// How a file is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Access {
    /// Through the page cache.
    Cached,
    /// Past it (`O_DIRECT`), each write durable when it is done (`O_DSYNC`).
    Direct,
    /// Past it, and durable when it is synced.
    DirectUnsynced,
}

/// The files of one directory.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    directory: File,
    open: Mutex<Open>,
    /// Whether the file system refused to be written past the page cache.
    direct_refused: AtomicBool,
    /// What failed to become durable while nobody waited for it.
    lost: OnceLock<String>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Open {
    handles: BTreeMap<(FileId, Access), Handle>,
    uses: u64,
    /// How many handles are kept.
    most: usize,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    used: u64,
}

impl Files {
    /// The files of the directory at `path`, of which at most `files_max` are kept open.
    pub fn open(path: &Path, files_max: usize) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            directory: File::open(path)?,
            open: Mutex::new(Open { handles: BTreeMap::new(), uses: 0, most: files_max }),
            direct_refused: AtomicBool::new(false),
            lost: OnceLock::new(),
            counts: Arc::default(),
        })
    }

    /// What is done with them, counted.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The file, if it is there.
    pub(super) fn get(&self, id: FileId) -> io::Result<Arc<File>> {
        self.handle(id, Access::Cached, |options| options)
    }

    /// The file for writing past the page cache, each write durable when it is done; `None` if its file system can not.
    pub(super) fn get_direct(&self, id: FileId) -> io::Result<Option<Arc<File>>> {
        self.direct(id, Access::Direct, OFlags::DIRECT | OFlags::DSYNC)
    }

    /// The file for writing past the page cache; `None` if its file system can not.
    pub(super) fn get_direct_unsynced(&self, id: FileId) -> io::Result<Option<Arc<File>>> {
        self.direct(id, Access::DirectUnsynced, OFlags::DIRECT)
    }

    fn direct(&self, id: FileId, access: Access, flags: OFlags) -> io::Result<Option<Arc<File>>> {
        if self.direct_refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.handle(id, access, |options| options.custom_flags(flags.bits().cast_signed())) {
            Ok(file) => Ok(Some(file)),
            Err(error) if refuses_direct(&error) => {
                self.refuse_direct();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// From now on, everything goes through the page cache.
    pub(super) fn refuse_direct(&self) {
        self.direct_refused.store(true, Ordering::Relaxed);
    }

    /// The file, and whether it had to be made. Its directory entry is not yet durable.
    pub(super) fn get_or_create(&self, id: FileId) -> io::Result<(Arc<File>, bool)> {
        match self.get(id) {
            Ok(file) => Ok((file, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = self.handle(id, Access::Cached, |options| options.create_new(true))?;
                Ok((file, true))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the file; not an error if it is not there. The directory is not yet durable.
    pub(super) fn remove(&self, id: FileId) -> io::Result<()> {
        let mut open = self.lock();
        open.handles.remove(&(id, Access::Cached));
        open.handles.remove(&(id, Access::Direct));
        open.handles.remove(&(id, Access::DirectUnsynced));
        drop(open);
        match fs::remove_file(self.path.join(id.name())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Remembers that something written is lost: whoever syncs from now on is told.
    pub(super) fn lose(&self, what: String) {
        self.lost.get_or_init(|| what);
    }

    /// What was lost.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.get().cloned()
    }

    /// Makes the entries of the directory durable.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.counts.sync();
        self.directory.sync_all()
    }

    /// Makes everything of the file system durable: of many files at once, cheaper than one by one.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        self.counts.sync();
        Ok(rustix::fs::syncfs(&self.directory)?)
    }

    /// Which files are there, and how long they are, ascending. What is not named as one of ours is not one of ours.
    pub(super) fn list(&self) -> io::Result<Vec<(FileId, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| FileId::parse(name).filter(|id| id.name() == name));
            if let Some(id) = id {
                found.push((id, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// How many handles are kept open.
    pub fn open_handles(&self) -> usize {
        self.lock().handles.len()
    }

    fn handle(
        &self,
        id: FileId,
        access: Access,
        how: impl FnOnce(&mut OpenOptions) -> &mut OpenOptions,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = self.lock().used(id, access) {
            return Ok(file);
        }
        let mut options = OpenOptions::new();
        let (options, path) = (how(options.read(true).write(true)), self.path.join(id.name()));
        let mut opened = options.open(&path);
        // Somebody took more than their share: what is kept and was not used for long makes room, one by one, because whoever waits
        // for a file takes all that is let go of.
        while opened.as_ref().is_err_and(is_out_of_files) && self.lock().let_go() {
            opened = options.open(&path);
        }
        let file = Arc::new(opened?);
        self.lock().keep(id, access, Arc::clone(&file));
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("no panic while files are looked up")
    }
}

impl Open {
    fn used(&mut self, id: FileId, access: Access) -> Option<Arc<File>> {
        self.uses += 1;
        let handle = self.handles.get_mut(&(id, access))?;
        handle.used = self.uses;
        Some(Arc::clone(&handle.file))
    }

    /// Keeps a handle; the one unused for longest makes room. Whoever still uses it has a reference of their own.
    fn keep(&mut self, id: FileId, access: Access, file: Arc<File>) {
        let used = self.uses;
        self.handles.insert((id, access), Handle { file, used });
        if self.handles.len() > self.most {
            self.let_go();
        }
    }

    /// Lets go of the handle that was unused for longest. False if there is none.
    fn let_go(&mut self) -> bool {
        let oldest = self.handles.iter().min_by_key(|(_, handle)| handle.used).map(|(key, _)| *key);
        oldest.and_then(|oldest| self.handles.remove(&oldest)).is_some()
    }
}

/// Whether the process, or the system, has as many open files as it may.
fn is_out_of_files(error: &io::Error) -> bool {
    let out_of_files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    out_of_files.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether this is how a file system says that it knows no `O_DIRECT`.
pub(super) fn refuses_direct(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}
