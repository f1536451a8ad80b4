//! Accepts connections, a bounded number of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidelog_core::id::ConnId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::connection::serve;
use crate::driver::Inbox;
use crate::host::{TcpListener, TcpStream, sockopt};
use crate::limits::KEEPALIVE_AFTER;

/// How long to wait when the system is out of files or memory for a socket.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The grain in which room is counted, so that sums fit what a semaphore counts.
const ROOM_UNIT_BYTES: usize = 1024;

/// Room for so many bytes.
pub(crate) fn room(bytes: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes as usize / ROOM_UNIT_BYTES))
}

/// Room for the bytes that clients send, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// Large requests of which only a part has come.
    pub(super) frames: Arc<Semaphore>,
    /// Requests that wait for the driver.
    pub(super) inbox: Arc<Semaphore>,
}

impl Rooms {
    /// Room for so many bytes of each kind.
    pub(crate) fn new(frames: u32, inbox: u32) -> Self {
        Self { frames: room(frames), inbox: room(inbox) }
    }
}

/// Waits for room for so many bytes.
pub(crate) async fn take_room(room: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let units = u32::try_from(bytes / ROOM_UNIT_BYTES + 1).expect("no frame is that large");
    let taken = Arc::clone(room).acquire_many_owned(units).await;
    taken.expect("nobody closes the rooms")
}

/// Accepts connections and serves each in a task of its own.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) inbox: Inbox,
    pub(crate) rooms: Rooms,
    /// One for each connection that may be open.
    pub(crate) slots: Arc<Semaphore>,
}

impl Listener {
    /// Accepts connections for ever.
    pub(crate) async fn run(self) {
        let mut next = ConnId(1);
        let mut full = false;
        loop {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                if !full {
                    warn!(%peer, "as many connections as there may be: new ones are refused until one closes");
                    full = true;
                }
                continue;
            };
            full = false;
            let conn = next;
            next = ConnId(next.0 + 1);
            let (inbox, rooms) = (self.inbox.clone(), self.rooms.clone());
            tokio::spawn(async move {
                match prepare(&stream) {
                    Ok(()) => serve(stream, peer.to_string(), conn, inbox, rooms).await,
                    Err(error) => warn!(%peer, %error, "could not set up a connection"),
                }
                drop(slot);
            });
        }
    }
}

/// Waits until every connection is closed, but no longer than `patience`.
pub(crate) async fn all_closed(slots: &Semaphore, all: u32, patience: Duration) {
    // Those that are not are cut off with the runtime.
    let _ = timeout(patience, slots.acquire_many(all)).await;
}

/// Small answers leave at once; clients that vanish are noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    Ok(())
}
