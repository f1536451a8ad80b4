//! A running node on a simulated machine: what `server` is on a real one.

use std::sync::Arc;
use std::time::Duration;

use tidelog_core::broker::{Boot, Config};
use tokio::signal::ctrl_c;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{Compute, Disk, Platter, Receiver, Reserved, TcpListener, random};
use crate::admin::Counted;
use crate::driver::{Driver, Ended, Inbox, Machine, Message};
use crate::error::StartError;
use crate::options::{Options, resolve};
use crate::peer;
use crate::shell::{Bounds, Doors, Shell};

/// How much a node takes: little more than the largest frame of a run, so that room that is not given back is missed soon.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    peers: 64,
    health: 64,
    frames_bytes: 1024 * 1024,
    inbox_bytes: 512 * 1024,
    peer_inbox_bytes: 4 * 1024 * 1024,
};

/// Runs a node on the machine of madsim's that this is called on, and tells why it ended. SIGINT asks it to, a second one ends
/// it at once. Somebody may want to know when the broker is ready.
///
/// # Errors
///
/// As `server::start`, but for the data directory.
pub async fn run<M: Machine>(
    options: &Options,
    platter: &Platter,
    ready: oneshot::Sender<()>,
    machine: impl FnOnce(Config, Boot) -> M,
) -> Result<Ended, StartError> {
    let address = resolve("--listen", &options.listen)?;
    let clients = Reserved::bind(address);
    let advertised = options.advertised(address)?;
    let admin = match &options.admin_listen {
        Some(listen) => Some(bind("--admin-listen", listen).await?),
        None => None,
    };
    let peers = match options.listen_for_peers()? {
        Some(listen) => Some(bind("--peer-listen", &listen).await?),
        None => None,
    };
    let doors = Doors { clients, address, peers, admin };

    let boot = Boot { counter: platter.boot(), seed: u64::from_le_bytes(random()) };
    let (inbox, messages) = Inbox::new(options.record.is_some());
    let disk = Disk::start(platter, inbox.clone());
    let counted = Counted { disk: Arc::clone(disk.counts()), peers_refused: Arc::default() };
    let config = options.config(platter.directory(), &advertised);
    let recorder = options.recorder(&config, &boot)?;
    let machine = machine(config, boot);
    let (peers, links) = peer::ways(options.node, platter.directory(), options.cluster.as_ref());
    let (opener, opening) = oneshot::channel();
    let mut driver = Driver::new(machine, peers, disk, Compute::start(&inbox), opener);
    if let Some(recorder) = recorder {
        driver.record(recorder);
    }
    inbox.send(Message::WhenReady(ready));
    let driving = tokio::spawn(drive(driver, messages));
    let shell = Shell::open(doors, opening, links, &inbox, counted, BOUNDS);
    let stop = shell.stop();
    tokio::spawn(async move {
        // Fails only where the system takes no handler.
        let _ = ctrl_c().await;
        stop.ask();
        let _ = ctrl_c().await;
        inbox.send(Message::Kill);
    });
    let ended = driving.await.expect("a panic ends the run");
    if matches!(ended, Ended::Halted(_)) {
        shell.close().await;
    }
    Ok(ended)
}

/// Drives a broker until it ends.
async fn drive<M: Machine>(mut driver: Driver<M>, mut inbox: Receiver<Message>) -> Ended {
    let mut ended = driver.begin();
    let ended = loop {
        if let Some(ended) = ended {
            break ended;
        }
        // Time goes on, and others have their turn.
        yield_now().await;
        let gone = "connections hold the inbox";
        let message = match driver.wait() {
            None => Some(inbox.recv().await.expect(gone)),
            Some(Duration::ZERO) => None,
            Some(wait) => tokio::select! {
                biased;
                message = inbox.recv() => Some(message.expect(gone)),
                () = sleep(wait) => None,
            },
        };
        ended = driver.hear(message);
    };
    let (disk, Compute { .. }) = driver.end();
    if ended.is_orderly() {
        disk.finish().await;
    } else {
        disk.abandon();
    }
    ended
}

async fn bind(flag: &'static str, listen: &str) -> Result<TcpListener, StartError> {
    let address = resolve(flag, listen)?;
    TcpListener::bind(address).await.map_err(|error| StartError::listen(flag, address, error))
}
