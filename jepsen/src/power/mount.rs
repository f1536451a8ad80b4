//! One disk as a directory: a FUSE mount, and the thread that answers for it.
//!
//! Promises: it is unmounted when it is dropped. While it is held nothing is answered; while it is off everything is an error.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::files::{Files, Refused};
use super::wire::{Answer, Asked, DIRECTORY, Request, WRITE_BYTES_MAX};
use crate::rng::Rng;

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const EFBIG: i32 = 27;
const ENOSYS: i32 = 38;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;
/// FALLOC_FL_KEEP_SIZE
const KEEP_SIZE: u32 = 1;

/// Whether a disk answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Power {
    On,
    /// What is asked waits.
    Held,
    /// What is asked fails.
    Off,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<(Power, Files)>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Power, Files)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that is mounted.
#[derive(Debug)]
pub(super) struct Disk {
    shared: Arc<Shared>,
    directory: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Mounts an empty disk on a directory, which is made if it is missing.
    pub(super) fn mount(directory: &Path, lies: bool) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options)?;
        mount("tidelog-jepsen", directory, "fuse", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))?;
        let shared = Arc::new(Shared { state: Mutex::new((Power::On, Files::new(lies))), changed: Condvar::new() });
        let mut disk = Self { shared: Arc::clone(&shared), directory: directory.to_owned(), thread: None };
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(move || serve(device, &shared))?;
        disk.thread = Some(thread);
        Ok(disk)
    }

    /// What is asked from now on waits.
    pub(super) fn hold(&self) {
        self.set(Power::Held);
    }

    /// What waited, and what is asked from now on, fails.
    pub(super) fn off(&self) {
        self.set(Power::Off);
    }

    /// What was not synced goes, and the disk answers again. Gives how much was at stake.
    pub(super) fn lose_power(&self, rng: &mut Rng) -> u64 {
        let at_stake = self.shared.lock().1.lose_power(rng);
        self.set(Power::On);
        at_stake
    }

    fn set(&self, power: Power) {
        self.shared.lock().0 = power;
        self.shared.changed.notify_all();
    }

    /// Unmounts it, and leaves its files in the directory.
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.unmount();
        let state = self.shared.lock();
        for (name, ino) in state.1.names() {
            let file = File::create(self.directory.join(String::from_utf8_lossy(name).as_ref()))?;
            let length = state.1.length(ino).unwrap_or(0);
            file.set_len(length)?;
            let step = 1 << 20;
            for at in (0..length).step_by(step) {
                let bytes = state.1.read(ino, at, step as u64).unwrap_or_default();
                if bytes.iter().any(|&byte| byte != 0) {
                    file.write_all_at(&bytes, at)?;
                }
            }
        }
        Ok(())
    }

    fn unmount(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.set(Power::On);
        // Whoever still uses it gets errors. Fails if somebody else unmounted it: then the thread has ended as well.
        let _ = unmount(&self.directory, UnmountFlags::FORCE | UnmountFlags::DETACH);
        // A panic of the thread was told on stderr.
        let _ = thread.join();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Answers until it is unmounted.
fn serve(mut device: File, shared: &Shared) {
    let mut buffer = vec![0; WRITE_BYTES_MAX + 64 * 1024];
    loop {
        let count = match device.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(ENODEV) => return,
            Err(error) if error.raw_os_error() == Some(ENOENT) || error.kind() == io::ErrorKind::Interrupted => {
                continue;
            }
            Err(_) => return,
        };
        let Some(asked) = Asked::parse(&buffer[..count]) else { continue };
        let mut state = shared.lock();
        while state.0 == Power::Held {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(answer) = respond(&asked, &mut state) else { continue };
        drop(state);
        // Fails if the one who asked was killed; nobody waits then.
        let _ = device.write(&answer);
    }
}

fn respond(asked: &Asked<'_>, state: &mut (Power, Files)) -> Option<Vec<u8>> {
    let (power, files) = state;
    let fine = Answer::default();
    let result = match &asked.request {
        Request::Silent => return None,
        Request::Init { major } if *major >= 7 => Ok(fine.init()),
        Request::Init { .. } => Err(EINVAL),
        Request::Release { handle } => {
            files.close(*handle);
            Ok(fine)
        }
        Request::Fine => Ok(fine),
        Request::Statfs => Ok(fine.statfs()),
        _ if *power == Power::Off => Err(EIO),
        request => change(request, asked.inode, files),
    };
    Some(match result {
        Ok(answer) => answer.done(asked.unique),
        Err(number) => Answer::error(asked.unique, number),
    })
}

fn change(request: &Request<'_>, inode: u64, files: &mut Files) -> Result<Answer, i32> {
    let fine = Answer::default();
    let length = |files: &Files, inode: u64| match inode {
        DIRECTORY => Ok(0),
        inode => files.length(inode).ok_or(ENOENT),
    };
    match request {
        Request::Lookup { name } => {
            let found = files.find(name).ok_or(ENOENT)?;
            Ok(fine.entry(found, length(files, found)?))
        }
        Request::Attributes => Ok(fine.attributes(inode, length(files, inode)?)),
        Request::Resize { length: wanted } => {
            if let Some(wanted) = wanted {
                files.resize(inode, *wanted).map_err(number)?;
            }
            Ok(fine.attributes(inode, length(files, inode)?))
        }
        Request::Remove { name } => files.remove(name).map(|()| fine).map_err(number),
        Request::Rename { flags: 1.., .. } => Err(EINVAL),
        Request::Rename { from, to, flags: 0 } => files.rename(from, to).map(|()| fine).map_err(number),
        Request::Open => Ok(fine.opened(files.open(inode).map_err(number)?, true)),
        Request::OpenDirectory => Ok(fine.opened(0, false)),
        Request::Create { name } => {
            let made = files.create(name).map_err(number)?;
            let handle = files.open(made).map_err(number)?;
            Ok(fine.entry(made, 0).opened(handle, true))
        }
        Request::Read { at, count } => Ok(fine.bytes(&files.read(inode, *at, u64::from(*count)).map_err(number)?)),
        Request::ReadDirectory { at, count } => {
            let room = usize::try_from(*count).unwrap_or(0);
            let mut answer = fine;
            for (next, (name, inode)) in (1u64..).zip(files.names()).skip(usize::try_from(*at).unwrap_or(usize::MAX)) {
                match answer.name(inode, next, name, room) {
                    Ok(more) => answer = more,
                    Err(full) => return Ok(full),
                }
            }
            Ok(answer)
        }
        Request::Write { at, bytes, durable } => {
            files.write(inode, *at, bytes, *durable).map_err(number)?;
            Ok(fine.u32(u32::try_from(bytes.len()).unwrap_or(0)).u32(0))
        }
        Request::Allocate { from, count, mode } => {
            let end = from.checked_add(*count).ok_or(EFBIG)?;
            match mode {
                0 if length(files, inode)? < end => files.resize(inode, end).map(|()| fine).map_err(number),
                0 | &KEEP_SIZE => Ok(fine),
                _ => Err(EOPNOTSUPP),
            }
        }
        Request::Sync => files.sync(inode).map(|()| fine).map_err(number),
        Request::SyncDirectory => {
            files.sync_names();
            Ok(fine)
        }
        Request::Unknown => Err(ENOSYS),
        Request::Init { .. } | Request::Release { .. } | Request::Statfs | Request::Fine | Request::Silent => {
            Err(ENOSYS)
        }
    }
}

fn number(refused: Refused) -> i32 {
    match refused {
        Refused::Missing => ENOENT,
        Refused::Exists => EEXIST,
        Refused::TooLong => EFBIG,
    }
}
