//! Health checks over HTTP, by hand: `GET /livez` (the driver answers) and `GET /readyz` (the broker serves).
//! And `GET /metrics`: what the disk did and who was sent away from the port for brokers, as Prometheus reads it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_core::broker::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;
use tracing::debug;

use crate::disk::Counts;
use crate::driver::{Inbox, Message};
use crate::host::{TcpListener, TcpStream};
use crate::limits::{HEALTH_REQUEST_BYTES_MAX, HEALTH_WAIT_MAX};
use crate::net::{Acceptor, Port};

/// What is counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// What the disk did.
    pub(crate) disk: Arc<Counts>,
    /// Connections to the port for brokers that were closed because of what was said there.
    pub(crate) peers_refused: Arc<AtomicU64>,
}

/// Answers health checks for ever, one per connection and so many at a time.
pub(crate) async fn serve(
    socket: TcpListener,
    connections_max: usize,
    inbox: Inbox,
    port: watch::Receiver<Port>,
    counted: Counted,
) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut acceptor = Acceptor::new(socket, "health checks");
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes the slots");
        let (stream, peer) = acceptor.accept().await;
        let (inbox, port, counted) = (inbox.clone(), port.clone(), counted.clone());
        tokio::spawn(async move {
            if let Err(error) = timeout(2 * HEALTH_WAIT_MAX, answer(stream, &inbox, &port, &counted)).await {
                debug!(%peer, %error, "a health check was given up");
            }
            drop(slot);
        });
    }
}

/// How the broker is; `None` if the driver has ended or does not answer in time.
pub(crate) async fn status(inbox: &Inbox) -> Option<Status> {
    let (asker, answer) = oneshot::channel();
    inbox.send(Message::Status(asker));
    timeout(HEALTH_WAIT_MAX, answer).await.ok()?.ok()
}

/// The counters, in Prometheus' text format.
fn metrics(Counted { disk, peers_refused }: &Counted) -> String {
    let peers_refused = peers_refused.load(Ordering::Relaxed);
    let counters = [
        ("disk_syncs", "fsync, fdatasync, syncfs, and writes with O_DSYNC", disk.syncs()),
        ("disk_journal_blocks", "Blocks written to the journal", disk.journal_blocks()),
        ("disk_journal_bytes", "Bytes of these blocks", disk.journal_bytes()),
        (
            "peers_refused",
            "Connections to the port for brokers that were closed for what was said there",
            peers_refused,
        ),
    ];
    let lines = counters.map(|(name, help, value)| {
        let name = format!("tidelog_{name}_total");
        format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}")
    });
    lines.join("\n")
}

/// Whether clients are served, and else what they wait for.
async fn readiness(inbox: &Inbox, port: &watch::Receiver<Port>) -> Result<(), String> {
    let status = status(inbox).await.ok_or("the broker does not answer")?;
    if !status.ready {
        return Err(format!("waiting for {}", status.waiting_for));
    }
    match *port.borrow() {
        Port::Open => Ok(()),
        Port::Shut => Err("waiting for the port to open".to_owned()),
        Port::Closed => Err("the node is to end".to_owned()),
    }
}

async fn answer(
    mut stream: TcpStream,
    inbox: &Inbox,
    port: &watch::Receiver<Port>,
    counted: &Counted,
) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let space = HEALTH_REQUEST_BYTES_MAX - request.len();
        let mut rest = (&mut stream).take(space as u64);
        if space == 0 || rest.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (code, text) = match (method, path) {
        ("GET", "/livez") => match status(inbox).await {
            Some(_) => ("200 OK", "ok".to_owned()),
            None => ("503 Service Unavailable", "the broker does not answer".to_owned()),
        },
        ("GET", "/readyz") => match readiness(inbox, port).await {
            Ok(()) => ("200 OK", "ready".to_owned()),
            Err(why) => ("503 Service Unavailable", why),
        },
        ("GET", "/metrics") => ("200 OK", metrics(counted)),
        (_, "/livez" | "/readyz" | "/metrics") => ("405 Method Not Allowed", "GET only".to_owned()),
        _ => ("404 Not Found", "there are /livez, /readyz and /metrics".to_owned()),
    };
    let length = text.len() + 1;
    let response = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}\n"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}
