//! The part of a node that lives in tokio: everything between its sockets and the inbox of its driver.
//!
//! It promises that nothing is accepted before this is opened, and that what was answered and said to other brokers leaves
//! before it is closed, as far as the other side takes it in time. It does not know who drives.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::{self, Counted};
use crate::driver::Inbox;
use crate::host::TcpListener;
use crate::limits::{FAREWELL_MAX, PEER_FAREWELL_MAX};
use crate::net::{Listener, Rooms, all_closed};
use crate::peer::Links;

/// Where others come in.
pub(crate) struct Doors {
    pub(crate) clients: TcpListener,
    pub(crate) peers: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

/// How much of everything a node takes from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections of clients.
    pub(crate) connections: u32,
    /// See [`FRAMES_BYTES_MAX`](crate::limits::FRAMES_BYTES_MAX).
    pub(crate) frames_bytes: u32,
    /// See [`INBOX_BYTES_MAX`](crate::limits::INBOX_BYTES_MAX).
    pub(crate) inbox_bytes: u32,
    /// See [`PEER_INBOX_BYTES_MAX`](crate::limits::PEER_INBOX_BYTES_MAX).
    pub(crate) peer_inbox_bytes: u32,
}

/// The tasks of a node. They end with their runtime.
pub(crate) struct Shell {
    /// The sending sides of the connections to other brokers.
    links: Vec<JoinHandle<()>>,
    slots: Arc<Semaphore>,
    bounds: Bounds,
}

impl Shell {
    /// Starts the tasks, in the runtime this is called in.
    pub(crate) fn open(doors: Doors, links: Links, inbox: &Inbox, counted: Counted, bounds: Bounds) -> Self {
        let slots = Arc::new(Semaphore::new(bounds.connections as usize));
        let listener = Listener {
            socket: doors.clients,
            inbox: inbox.clone(),
            rooms: Rooms::new(bounds.frames_bytes, bounds.inbox_bytes),
            slots: Arc::clone(&slots),
        };
        tokio::spawn(listener.run());
        let links = links.run(doors.peers, inbox, bounds.peer_inbox_bytes, &counted.peers_refused);
        if let Some(admin) = doors.admin {
            tokio::spawn(admin::serve(admin, inbox.clone(), counted));
        }
        Self { links, slots, bounds }
    }

    /// Waits, after the driver has ended, until what it left to be sent is sent, but not for long.
    pub(crate) async fn close(self) {
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
