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

/// The tasks of a node. They end with their runtime.
pub(crate) struct Shell {
    /// The sending sides of the connections to other brokers.
    links: Vec<JoinHandle<()>>,
    slots: Arc<Semaphore>,
    connections_max: u32,
}

impl Shell {
    /// Starts the tasks, in the runtime this is called in.
    pub(crate) fn open(doors: Doors, links: Links, inbox: &Inbox, counted: Counted, connections_max: u32) -> Self {
        let slots = Arc::new(Semaphore::new(connections_max as usize));
        let listener =
            Listener { socket: doors.clients, inbox: inbox.clone(), rooms: Rooms::new(), slots: Arc::clone(&slots) };
        tokio::spawn(listener.run());
        let links = links.run(doors.peers, inbox, &counted.peers_refused);
        if let Some(admin) = doors.admin {
            tokio::spawn(admin::serve(admin, inbox.clone(), counted));
        }
        Self { links, slots, connections_max }
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
        all_closed(&self.slots, self.connections_max, FAREWELL_MAX).await;
    }
}
