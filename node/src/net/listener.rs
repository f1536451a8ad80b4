//! Lets clients in once they can be answered, a bounded number of them, until the node is to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidelog_core::effect::Input;
use tidelog_core::id::ConnId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::acceptor::Acceptor;
use super::connection::serve;
use crate::driver::{Inbox, Message};
use crate::error::StartError;
use crate::host::{Reserved, TcpStream, sockopt};
use crate::limits::KEEPALIVE_AFTER;

/// How often the log is told of connections that were turned away.
const TURNED_AWAY_TOLD_EVERY: Duration = Duration::from_secs(10);

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

/// Whether clients are let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    /// Not yet: they could not be answered.
    Shut,
    /// They are.
    Open,
    /// No longer: the node is to end.
    Closed,
}

/// Accepts connections and serves each in a task of its own.
pub(crate) struct Listener {
    pub(crate) socket: Reserved,
    /// Where that is.
    pub(crate) address: SocketAddr,
    pub(crate) inbox: Inbox,
    pub(crate) rooms: Rooms,
    /// One for each connection that may be open.
    pub(crate) slots: Arc<Semaphore>,
    /// The broker can answer.
    pub(crate) opening: oneshot::Receiver<()>,
    /// The node is to end: nobody is let in any more, then the broker hears of it.
    pub(crate) closing: Arc<Notify>,
    /// Whoever wants to know whether clients are let in.
    pub(crate) port: watch::Sender<Port>,
}

impl Listener {
    /// Lets clients in, from the moment on that they can be answered until the node is to end. If the port can not be listened at,
    /// the driver is told why, in the words of who gave `flag`.
    pub(crate) async fn run(self, flag: &'static str) {
        let Self { socket, address, inbox, rooms, slots, opening, closing, port } = self;
        let _watch = inbox.watch("listener");
        let opened = tokio::select! {
            biased;
            () = closing.notified() => false,
            opened = opening => match opened {
                Ok(()) => true,
                // The driver has ended by itself.
                Err(_) => return,
            },
        };
        if opened {
            let socket = match socket.listen().await {
                Ok(socket) => socket,
                Err(error) => {
                    inbox.send(Message::PortLost(StartError::listen(flag, address, error).to_string()));
                    return;
                }
            };
            info!(%address, "clients are let in");
            port.send_replace(Port::Open);
            let mut acceptor = Acceptor::new(socket, "clients");
            let mut entrance = Entrance::new(inbox.clone(), rooms, slots);
            loop {
                let (stream, peer) = tokio::select! {
                    biased;
                    () = closing.notified() => break,
                    accepted = acceptor.accept() => accepted,
                };
                entrance.admit(stream, peer);
            }
            // Whoever waits in the queue already is let in.
            for (stream, peer) in acceptor.close() {
                entrance.admit(stream, peer);
            }
        }
        port.send_replace(Port::Closed);
        inbox.send(Message::Input(Input::Stop));
    }
}

/// Where connections become served ones, or are turned away.
struct Entrance {
    inbox: Inbox,
    rooms: Rooms,
    slots: Arc<Semaphore>,
    /// How many connections there may be.
    most: usize,
    next: ConnId,
    /// When the log was told of somebody who was turned away, and how many were since.
    told: Option<Instant>,
    untold: u64,
}

impl Entrance {
    fn new(inbox: Inbox, rooms: Rooms, slots: Arc<Semaphore>) -> Self {
        let most = slots.available_permits();
        Self { inbox, rooms, slots, most, next: ConnId(1), told: None, untold: 0 }
    }

    /// Serves a connection, unless there are as many as there may be: then it is closed, as Apache Kafka does.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            drop(stream);
            return self.turned_away(peer);
        };
        let conn = self.next;
        self.next = ConnId(conn.0 + 1);
        let (inbox, rooms) = (self.inbox.clone(), self.rooms.clone());
        tokio::spawn(async move {
            match prepare(&stream) {
                Ok(()) => serve(stream, peer.to_string(), conn, inbox, rooms).await,
                Err(error) => warn!(%peer, %error, "could not set up a connection"),
            }
            drop(slot);
        });
    }

    fn turned_away(&mut self, peer: SocketAddr) {
        self.untold += 1;
        if self.told.is_none_or(|at| at.elapsed() >= TURNED_AWAY_TOLD_EVERY) {
            let (most, count) = (self.most, self.untold);
            warn!(%peer, count, "closed a connection: there are {most}, as many as there may be, until one of them ends");
            self.told = Some(Instant::now());
            self.untold = 0;
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
