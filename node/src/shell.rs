//! The part of a node that lives in tokio: everything between its sockets and the inbox of its driver.
//!
//! It promises that nothing is accepted before this is opened, and no client before the broker can answer, nor once the node is
//! to end; and that what was answered and said to other brokers leaves before it is closed, as far as the other side takes it in
//! time. It does not know who drives.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::{self, Counted};
use crate::driver::Inbox;
use crate::host::{Reserved, TcpListener};
use crate::limits::{FAREWELL_MAX, PEER_FAREWELL_MAX};
use crate::net::{Listener, Port, Rooms, all_closed};
use crate::peer::Links;

/// Where others come in.
pub(crate) struct Doors {
    /// Not open yet: it is when the broker can answer.
    pub(crate) clients: Reserved,
    /// Where that is.
    pub(crate) address: SocketAddr,
    pub(crate) peers: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

/// How much of everything a node takes from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections of clients.
    pub(crate) connections: u32,
    /// Connections from other brokers.
    pub(crate) peers: usize,
    /// Health checks at a time.
    pub(crate) health: usize,
    /// See [`FRAMES_BYTES_MAX`](crate::limits::FRAMES_BYTES_MAX).
    pub(crate) frames_bytes: u32,
    /// See [`INBOX_BYTES_MAX`](crate::limits::INBOX_BYTES_MAX).
    pub(crate) inbox_bytes: u32,
    /// See [`PEER_INBOX_BYTES_MAX`](crate::limits::PEER_INBOX_BYTES_MAX).
    pub(crate) peer_inbox_bytes: u32,
}

/// The tasks of a node. They end with their runtime.
pub(crate) struct Shell {
    /// Who lets clients in.
    listener: JoinHandle<()>,
    /// The sending sides of the connections to other brokers.
    links: Vec<JoinHandle<()>>,
    slots: Arc<Semaphore>,
    bounds: Bounds,
    closing: Arc<Notify>,
    #[cfg_attr(madsim, allow(dead_code, reason = "only the server asks"))]
    port: watch::Receiver<Port>,
}

/// Asks a node to end in good order. Copies ask the same node.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Notify>);

impl Stop {
    /// No client is let in from now on, and then the broker is asked to end. Once is enough.
    pub(crate) fn ask(&self) {
        self.0.notify_one();
    }
}

impl Shell {
    /// Starts the tasks, in the runtime this is called in. Clients are let in when `opening` says so.
    pub(crate) fn open(
        doors: Doors,
        opening: oneshot::Receiver<()>,
        links: Links,
        inbox: &Inbox,
        counted: Counted,
        bounds: Bounds,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(bounds.connections as usize));
        let closing = Arc::new(Notify::new());
        let (sender, port) = watch::channel(Port::Shut);
        let listener = Listener {
            socket: doors.clients,
            address: doors.address,
            inbox: inbox.clone(),
            rooms: Rooms::new(bounds.frames_bytes, bounds.inbox_bytes),
            slots: Arc::clone(&slots),
            opening,
            closing: Arc::clone(&closing),
            port: sender,
        };
        let listener = tokio::spawn(listener.run("--listen"));
        let links = links.run(doors.peers, inbox, bounds.peers, bounds.peer_inbox_bytes, &counted.peers_refused);
        if let Some(admin) = doors.admin {
            tokio::spawn(admin::serve(admin, bounds.health, inbox.clone(), port.clone(), counted));
        }
        Self { listener, links, slots, bounds, closing, port }
    }

    /// How the node is asked to end.
    pub(crate) fn stop(&self) -> Stop {
        Stop(Arc::clone(&self.closing))
    }

    /// Whether clients are let in.
    #[cfg_attr(madsim, allow(dead_code, reason = "only the server asks"))]
    pub(crate) fn port(&self) -> watch::Receiver<Port> {
        self.port.clone()
    }

    /// Waits, after the driver has ended, until what it left to be sent is sent, but not for long.
    pub(crate) async fn close(self) {
        // A broker that ended by itself has nobody to answer those who would still come.
        self.listener.abort();
        let sent = async {
            for link in self.links {
                // A panic was reported by the task itself.
                let _ = link.await;
            }
        };
        // Links that are not done are cut off with the runtime.
        let _ = timeout(PEER_FAREWELL_MAX, sent).await;
        all_closed(&self.slots, self.bounds.connections, FAREWELL_MAX).await;
    }
}
