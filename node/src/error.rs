//! Why a node does not start, in one sentence each: the cause and the cure.
//!
//! These are facts about the machine around the broker (directory, port, flags). What the broker itself has against its
//! data arrives as [`Halt`](tidelog_core::effect::Halt) and is told by [`Ended`](crate::driver::Ended).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidelog_core::id::NodeId;

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// Clients can not connect to the address listened on, and were not given another.
    NeedsAdvertise {
        /// The address listened on.
        listen: String,
    },
    /// This broker is not in the list of voters.
    NotListed {
        /// This broker.
        node: NodeId,
        /// The list.
        cluster: String,
    },
    /// Where to listen for other brokers was given, but not which ones.
    NeedsCluster {
        /// Where.
        listen: String,
    },
    /// The recording can not be begun.
    NoRecording {
        /// Its file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The address does not stand for any.
    Unresolved {
        /// The flag it was given with.
        flag: &'static str,
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// Another process listens there.
    PortInUse {
        /// The flag it was given with.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    NoListen {
        /// The flag it was given with.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The system allows too few open files.
    FewFiles {
        /// How many it allows.
        allowed: u64,
        /// How many it takes.
        needed: u64,
    },
    /// Another process holds the lock of the data directory.
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The data directory belongs to another node.
    OtherNode {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        asked: NodeId,
    },
    /// The data directory was formatted by a version with another layout.
    OtherFormat {
        /// The directory.
        directory: PathBuf,
        /// Its format.
        found: u64,
        /// The format this build reads.
        known: u64,
    },
    /// The identity file does not say who the directory is.
    BadIdentity {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The directory holds files, but was never formatted.
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// A file that is there.
        found: String,
    },
    /// The directory was started as often as file names can count.
    WornOut {
        /// The directory.
        directory: PathBuf,
        /// How often it was started.
        boots: u64,
    },
    /// Missing permission.
    Denied {
        /// What was tried, as in "write".
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
    },
    /// The system failed otherwise.
    System {
        /// What was tried, as in "write".
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl StartError {
    /// The error of a file operation: permission is told apart, because its cure is another.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied { doing, path },
            _ => Self::System { doing, path, error },
        }
    }

    /// The error of taking a port or listening there: one that is in use is told apart, because its cure is another.
    pub(crate) fn listen(flag: &'static str, address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { flag, address },
            _ => Self::NoListen { flag, address, error },
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsAdvertise { listen } => write!(
                f,
                "clients can not connect to {listen}, which only means every address of this machine: \
                 add --advertise HOST:PORT with the name by which they reach it"
            ),
            Self::NotListed { node, cluster } => write!(
                f,
                "broker {node} is not in --cluster {cluster}: add it to the list of every broker, \
                 or choose one of the numbers there with --node-id"
            ),
            Self::NeedsCluster { listen } => write!(
                f,
                "--peer-listen {listen} is of no use without other brokers: name all of them with --cluster \
                 1@HOST:PORT,2@HOST:PORT,3@HOST:PORT, or leave --peer-listen out"
            ),
            Self::NoRecording { file, error } => write!(
                f,
                "the recording {} can not be begun ({error}): name a new file in a directory of this user with --record",
                file.display()
            ),
            Self::Unresolved { flag, address, error } => {
                write!(f, "{flag} {address} is not an address ({error}): give HOST:PORT, for example 127.0.0.1:9092")
            }
            Self::PortInUse { flag, address } => write!(
                f,
                "another process listens on {address}: stop it, or choose another port with {flag} {}:PORT",
                Host(*address)
            ),
            Self::NoListen { flag, address, error } => write!(
                f,
                "the system does not allow listening on {address} ({error}): choose another address with {flag} HOST:PORT"
            ),
            Self::FewFiles { allowed, needed } => write!(
                f,
                "the system allows this process {allowed} open files, and a node needs {needed}: raise the limit, with \
                 `ulimit -n 65536` in a shell or `LimitNOFILE=65536` in a systemd unit"
            ),
            Self::Locked { directory } => write!(
                f,
                "another process uses the data directory {}: stop it, or choose another directory with --data-dir",
                directory.display()
            ),
            Self::OtherNode { directory, found, asked } => write!(
                f,
                "the data directory {} belongs to node {found}, not to node {asked}: start with --node-id {found}, \
                 or choose another directory with --data-dir",
                directory.display()
            ),
            Self::OtherFormat { directory, found, known } => write!(
                f,
                "the data directory {} has format {found}, and this version of tidelog reads format {known}: \
                 use the version that wrote it, or choose another directory with --data-dir",
                directory.display()
            ),
            Self::BadIdentity { file, why } => write!(
                f,
                "{} does not tell whose data this is ({why}): restore the file from a backup, \
                 or choose another directory with --data-dir",
                file.display()
            ),
            Self::NotEmpty { directory, found } => write!(
                f,
                "the directory {} is not empty (it holds {found}) and is no data directory of tidelog: \
                 choose another with --data-dir",
                directory.display()
            ),
            Self::WornOut { directory, boots } => write!(
                f,
                "the data directory {} was started {boots} times, as often as its file names can count: \
                 choose another with --data-dir",
                directory.display()
            ),
            Self::Denied { doing, path } => write!(
                f,
                "missing permission to {doing} {}: give it to this user, or choose another directory with --data-dir",
                path.display()
            ),
            Self::System { doing, path, error } => write!(
                f,
                "could not {doing} {} ({error}): repair that, or choose another directory with --data-dir",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// What is full, how much is needed and how much there is, and what is to be done.
pub(crate) fn no_room(directory: Option<&Path>, needed: u64, free: Option<u64>, starting: bool) -> String {
    let place = directory.map_or_else(String::new, |directory| format!(" of {}", directory.display()));
    let free = free.map_or_else(|| "it is not known how many are free".to_owned(), |free| format!("{free} are free"));
    let (to, then) = if starting {
        (" to start", "make room, and the node goes on by itself")
    } else {
        ("", "reads are served and topics can be deleted, writes are refused until there is room")
    };
    format!("the disk{place} is full: {needed} bytes more are needed{to}, {free}: {then}")
}

/// The host part of an address, as it stands in front of a port.
struct Host(SocketAddr);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}", address.ip()),
            SocketAddr::V6(address) => write!(f, "[{}]", address.ip()),
        }
    }
}
