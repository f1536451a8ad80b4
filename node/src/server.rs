//! A running node: the broker, its disk, its connections, in this process.
//!
//! [`start`] takes the ports and the data directory, or says in one sentence why it can not. The port for clients is ours from then
//! on, and open once the broker can answer them: until then they are refused. A [`Server`] then runs until the broker ends it: after [`Server::stop`], or for a reason of its own. Dropping it ends everything where it stands, which is as
//! near to `kill -9` as one gets within a process.
//!
//! These functions block, and own a runtime: they are not for use inside another one.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Resource;
use tidelog_core::broker::{Broker, Config, Status};
use tidelog_core::effect::Halt;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use crate::admin::{self, Counted};
use crate::data_dir::DataDir;
use crate::driver::{Driver, Inbox, Machine, Message};
use crate::error::StartError;
use crate::host::{Compute, Disk, Reserved, TcpListener, drive};
use crate::limits::{FAREWELL_MAX, FRAMES_BYTES_MAX, INBOX_BYTES_MAX, PEER_INBOX_BYTES_MAX};
use crate::net::Port;
use crate::options::{Advertise, Options, resolve};
use crate::peer;
use crate::porch::Porch;
use crate::shares::Shares;
use crate::shell::{Bounds, Doors, Shell};

pub use crate::driver::Ended;

/// A running node. Dropping it kills it.
pub struct Server {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    advertised: Advertise,
    inbox: Inbox,
    /// What runs, until it has ended.
    running: Option<Running>,
    /// Locked until everything else has ended.
    directory: DataDir,
}

struct Running {
    driver: JoinHandle<Ended>,
    shell: Shell,
    runtime: Runtime,
}

/// Starts a node: a broker that is one of the voters of its cluster, the only one if no others are named.
///
/// # Errors
///
/// [`StartError`], with cause and cure. The data directory is not touched before the port is ours.
pub fn start(options: &Options) -> Result<Server, StartError> {
    start_with(options, |config, directory| Broker::new(config, directory.boot()))
}

/// As [`start`], with something else in the broker's place.
///
/// # Errors
///
/// As [`start`].
pub fn start_with<M: Machine>(
    options: &Options,
    machine: impl FnOnce(Config, &DataDir) -> M,
) -> Result<Server, StartError> {
    let shares = Shares::of(files_allowed())?;
    let clients = reserve("--listen", &options.listen)?;
    let address = clients.local_addr().expect("a bound socket has an address");
    let advertised = options.advertised(address)?;
    let admin = options.admin_listen.as_deref().map(|listen| bind("--admin-listen", listen)).transpose()?;
    let admin_address = admin.as_ref().map(local_address);
    let peer_socket = options.listen_for_peers()?.map(|listen| bind("--peer-listen", &listen)).transpose()?;
    let peer_address = peer_socket.as_ref().map(local_address);
    let mut porch = Porch::default();
    let directory =
        DataDir::open_when_there_is_room(&options.data_dir, options.node, |why| porch.wait(admin.as_ref(), why))?;

    let threads = |error| StartError::file("start threads for", directory.path(), error);
    let (inbox, messages) = Inbox::new(options.record.is_some());
    let disk = Disk::start(directory.path(), shares.data, inbox.clone()).map_err(threads)?;
    let counted = Counted { disk: Arc::clone(disk.counts()), peers_refused: Arc::default() };
    let compute = Compute::start(&inbox).map_err(threads)?;
    let config = options.config(directory.directory(), &advertised);
    let recorder = options.recorder(&config, &directory.boot())?;
    let machine = machine(config, &directory);
    let (peers, links) = peer::ways(options.node, directory.directory(), options.cluster.as_ref());
    let (opener, opening) = oneshot::channel();
    let mut driver = Driver::new(machine, peers, disk, compute, opener);
    driver.keeps(directory.path());
    if let Some(recorder) = recorder {
        driver.record(recorder);
    }
    let driver = std::thread::Builder::new().name("driver".to_owned()).spawn(move || drive(driver, &messages));
    let driver = driver.map_err(threads)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(threads)?;

    let entered = runtime.enter();
    let door = |socket| TcpListener::from_std(socket).map_err(threads);
    let doors =
        Doors { clients, address, peers: peer_socket.map(door).transpose()?, admin: admin.map(door).transpose()? };
    let shell = Shell::open(doors, opening, links, &inbox, counted, bounds(&shares));
    drop(entered);
    info!("{shares}");
    Ok(Server {
        address,
        admin: admin_address,
        peer: peer_address,
        advertised,
        inbox,
        running: Some(Running { driver, shell, runtime }),
        directory,
    })
}

impl Server {
    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for health checks.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where it listens for other brokers.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Where clients are told to connect to.
    pub fn advertised(&self) -> &Advertise {
        &self.advertised
    }

    /// Its data directory.
    pub fn directory(&self) -> &DataDir {
        &self.directory
    }

    /// How the broker is, or `None` if it has ended.
    pub fn status(&self) -> Option<Status> {
        self.runtime().block_on(admin::status(&self.inbox))
    }

    /// Waits until the broker is ready, and clients are let in; gives false if it ends before.
    pub fn wait_ready(&self) -> bool {
        self.runtime().block_on(self.ready())
    }

    /// As [`Self::wait_ready`], but gives up after `patience`: `None` if the broker is neither ready nor at its end by then.
    pub fn wait_ready_for(&self, patience: Duration) -> Option<bool> {
        self.runtime().block_on(async { timeout(patience, self.ready()).await.ok() })
    }

    /// Waits until clients are let in, which is when they can be answered; gives false if the broker ends before.
    pub fn wait_open(&self) -> bool {
        self.runtime().block_on(self.opened())
    }

    /// Whether clients are let in.
    pub fn is_open(&self) -> bool {
        *self.shell().port().borrow() == Port::Open
    }

    async fn ready(&self) -> bool {
        let (asker, ready) = oneshot::channel();
        self.inbox.send(Message::WhenReady(asker));
        ready.await.is_ok() && self.opened().await
    }

    async fn opened(&self) -> bool {
        let mut port = self.shell().port();
        port.wait_for(|port| *port != Port::Shut).await.is_ok_and(|port| *port == Port::Open)
    }

    /// Asks the broker to end: no client is let in any more. [`Server::wait`] tells when it has.
    pub fn stop(&self) {
        self.shell().stop().ask();
    }

    /// From now on SIGINT, SIGTERM and SIGHUP stop the broker, and a second one ends the process at once. A SIGHUP that whoever
    /// started the process had it ignore (nohup) stays ignored.
    ///
    /// # Errors
    ///
    /// The system's, if it takes no handler.
    pub fn stop_on_signals(&self) -> io::Result<()> {
        let _entered = self.runtime().enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let stop = self.shell().stop();
        self.runtime().spawn(async move {
            let mut asked = false;
            loop {
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up => {}
                }
                if asked {
                    std::process::exit(130);
                }
                asked = true;
                stop.ask();
            }
        });
        Ok(())
    }

    /// Waits for the broker to end, and tells why it did. Answers already given are sent.
    pub fn wait(mut self) -> Ended {
        self.end().expect("it ends once")
    }

    /// Ends everything where it stands: what the disk has not begun is never done, connections are cut.
    pub fn kill(self) {
        drop(self);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is consumed")
    }

    fn runtime(&self) -> &Runtime {
        &self.running().runtime
    }

    fn shell(&self) -> &Shell {
        &self.running().shell
    }

    fn end(&mut self) -> Option<Ended> {
        let Running { driver, shell, runtime } = self.running.take()?;
        let ended = driver.join().unwrap_or_else(|_| Ended::Panicked("driver".to_owned()));
        if matches!(ended, Ended::Halted(_)) {
            runtime.block_on(shell.close());
        }
        runtime.shutdown_timeout(FAREWELL_MAX);
        Some(ended)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.inbox.send(Message::Kill);
            self.end();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Ended {
    /// One sentence with cause and cure if the node ended for another reason than being asked to.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Halted(Halt::Stopped) | Self::Killed => None,
            Self::Halted(Halt::DiskFailed(why)) => Some(format!(
                "the disk failed ({why}), and nobody knows what of the last writes is on it: \
                 repair or replace the disk, then start again"
            )),
            Self::Halted(Halt::Corrupt(why)) => Some(format!(
                "the data is damaged ({why}), and this broker may have forgotten what it promised: in a cluster of three or \
                 more, empty its data directory, start it, and admit it again (`tidelog cluster admit`), and the others refill it; \
                 a smaller one needs a backup"
            )),
            Self::Halted(Halt::Foreign(why)) => {
                Some(format!("the data directory is not this node's ({why}): choose another with --data-dir"))
            }
            Self::PortLost(sentence) => Some(sentence.clone()),
            Self::Panicked(thread) => Some(format!(
                "a bug in tidelog ended its {thread} thread (told above): please report it; what was acknowledged is safe, \
                 start again"
            )),
        }
    }
}

/// Takes the port for clients, who are not let in yet.
fn reserve(flag: &'static str, listen: &str) -> Result<Reserved, StartError> {
    let address = resolve(flag, listen)?;
    Reserved::bind(address).map_err(|error| StartError::listen(flag, address, error))
}

/// Listens at a port, ready for the runtime.
fn bind(flag: &'static str, listen: &str) -> Result<net::TcpListener, StartError> {
    let address = resolve(flag, listen)?;
    let bound = net::TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.map_err(|error| StartError::listen(flag, address, error))
}

fn local_address(socket: &net::TcpListener) -> SocketAddr {
    socket.local_addr().expect("a bound socket has an address")
}

/// How much this machine takes.
fn bounds(shares: &Shares) -> Bounds {
    Bounds {
        connections: u32::try_from(shares.clients).expect("no more than CONNECTIONS_MAX"),
        peers: shares.peers,
        health: shares.health,
        frames_bytes: FRAMES_BYTES_MAX,
        inbox_bytes: INBOX_BYTES_MAX,
        peer_inbox_bytes: PEER_INBOX_BYTES_MAX,
    }
}

/// How many files we may have open: asks the system for as many as we use, and tells what it gives.
fn files_allowed() -> u64 {
    let wanted = Shares::WANTED as u64;
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let reachable = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < reachable) {
        limit.current = Some(reachable);
        // Refused or not, the system tells below what holds.
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

/// Whether SIGHUP was ignored before we came, as far as the system tells.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1, which is SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 1)
}
