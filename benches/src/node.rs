//! A node as a process, and what the system says of it.
//!
//! Promises that no process and no directory is left behind: a [`Node`] that is dropped is killed, a [`Scratch`] that is
//! dropped is removed. Reads `/proc`, so it is for Linux.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process};

use rustix::process::{Pid, Signal, kill_process};

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new directory in `parent`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new(parent: &Path, name: &str) -> io::Result<Self> {
        let path = parent.join(format!("tidelog-bench-{name}-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    process: Child,
    address: SocketAddr,
    /// Held open, so that the node's last words meet a reader.
    stdout: BufReader<ChildStdout>,
    started: Instant,
}

/// A port nobody listens on now.
///
/// # Errors
///
/// The system's.
pub fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// So many ports nobody listens on now.
///
/// # Errors
///
/// The system's.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    // All are held before the first is let go, so no two are the same.
    let listeners: io::Result<Vec<TcpListener>> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(TcpListener::local_addr).collect()
}

/// The time a process spent on cores so far, in steps of 10 ms.
///
/// # Errors
///
/// The system's, or that it does not say.
pub fn cpu(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in brackets may hold anything; what follows it are numbers. User and system time are fields 14 and 15,
    // in ticks of which Linux has 100 a second on every architecture it tells them to.
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = rest.split_ascii_whitespace().skip(11).take(2);
    let ticks: Option<u64> = ticks.map(|tick| tick.parse::<u64>().ok()).sum();
    let ticks = ticks.ok_or_else(|| io::Error::other("no times in /proc"))?;
    Ok(Duration::from_millis(ticks * 10))
}

impl Node {
    /// Starts the program at `binary` on this address and directory, and does not wait for it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start(binary: &Path, data_dir: &Path, address: SocketAddr) -> io::Result<Self> {
        Self::start_with(binary, data_dir, address, &[])
    }

    /// As [`Node::start`], with more flags.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start_with(binary: &Path, data_dir: &Path, address: SocketAddr, flags: &[String]) -> io::Result<Self> {
        let started = Instant::now();
        let mut process = Command::new(binary)
            .args(["--log", "warn", "node", "--listen", &address.to_string(), "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", binary.display())))?;
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        Ok(Self { process, address, stdout, started })
    }

    /// Waits for its greeting, which it gives once it is ready; tells how long that took from the start on.
    ///
    /// # Errors
    ///
    /// That it ended instead.
    pub fn ready(&mut self) -> io::Result<Duration> {
        let mut greeting = String::new();
        self.stdout.read_line(&mut greeting)?;
        if greeting.contains(" listens on ") {
            Ok(self.started.elapsed())
        } else {
            Err(io::Error::other("the node did not come up"))
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Resident memory now and at most, in MiB.
    ///
    /// # Errors
    ///
    /// The system's, or that it does not say.
    pub fn memory_mib(&self) -> io::Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let missing = || io::Error::other("no memory in /proc");
        let now = field("VmRSS:").ok_or_else(missing)?;
        let most = field("VmHWM:").ok_or_else(missing)?;
        Ok((now / 1024, most / 1024))
    }

    /// The time it spent on cores so far, in steps of 10 ms.
    ///
    /// # Errors
    ///
    /// The system's, or that it does not say.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu(self.process.id())
    }

    /// How many bytes it handed to the disk so far, or made dirty in the page cache.
    ///
    /// # Errors
    ///
    /// The system's, or that it does not say.
    pub fn written(&self) -> io::Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.process.id()))?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
        written.ok_or_else(|| io::Error::other("no written bytes in /proc"))
    }

    /// Kills it where it stands, as `kill -9`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn kill(mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    ///
    /// The system's, or that it ended in another way.
    pub fn stop(mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let status = self.process.wait()?;
        if status.success() {
            Ok(begun.elapsed())
        } else {
            Err(io::Error::other(format!("the node ended with {status}")))
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is how it should be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
