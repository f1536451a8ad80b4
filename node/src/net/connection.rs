//! One connection from its first byte to its last.

use bytes::Bytes;
use tidelog_core::id::{ConnId, RequestId};
use tidelog_core::kafka::Request;
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{debug, info};

use super::gate::{Link, Outgoing};
use super::listener::Rooms;
use super::reader::Reader;
use super::writer;
use crate::driver::{Inbox, Message};
use crate::host::{OwnedReadHalf, TcpStream};
use crate::limits::{FAREWELL_MAX, READ_BYTES_MIN};

/// A connection as the driver knows it: opened by making this, closed by dropping it.
#[derive(Debug)]
pub(super) struct Session {
    conn: ConnId,
    inbox: Inbox,
}

impl Session {
    fn open(conn: ConnId, peer: String, link: Link, inbox: Inbox) -> Self {
        inbox.send(Message::Opened { conn, peer, link });
        Self { conn, inbox }
    }

    /// Hands a request to the driver. False if there is none any more.
    pub(super) fn request(
        &self,
        id: RequestId,
        request: Request,
        frame: Option<Bytes>,
        room: OwnedSemaphorePermit,
    ) -> bool {
        let (conn, request) = (self.conn, Box::new(request));
        self.inbox.send(Message::Request { conn, id, request, frame, room })
    }

    /// Whether requests are handed on with their frames.
    pub(super) fn keeps_frames(&self) -> bool {
        self.inbox.keeps_frames()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inbox.send(Message::Closed { conn: self.conn });
    }
}

/// Serves one connection until it is gone.
pub(super) async fn serve(stream: TcpStream, peer: String, conn: ConnId, inbox: Inbox, rooms: Rooms) {
    let (mut read, write) = stream.into_split();
    let (link, gate, queue) = Link::new();
    let farewell = link.downgrade();
    debug!(%conn, peer, "opened");
    let session = Session::open(conn, peer.clone(), link, inbox);
    let mut writer = tokio::spawn(writer::run(write, queue, gate.clone()));
    let reader = Reader { socket: &mut read, session: &session, gate, rooms };
    tokio::select! {
        biased;
        end = &mut writer => {
            debug!(%conn, ?end, "no more answers");
            if matches!(end, Ok(Ok(true))) {
                linger(&mut read).await;
            }
        }
        parting = reader.run() => {
            if parting.is_fault() {
                info!(%conn, peer, reason = %parting, "closing a connection");
            } else {
                debug!(%conn, reason = %parting, "closing");
            }
            if let Some(queue) = farewell.upgrade() {
                // Fails if the writer has gone, which is what this is for.
                let _ = queue.send(Outgoing::Close);
            }
            if timeout(FAREWELL_MAX, &mut writer).await.is_err() {
                writer.abort();
            } else if parting.is_fault() {
                linger(&mut read).await;
            }
        }
    }
    drop(session);
}

/// Lets the client take the last answers: a socket closed with bytes unread would take them back (RFC 1122, 4.2.2.13).
async fn linger(read: &mut OwnedReadHalf) {
    let mut scratch = vec![0; READ_BYTES_MIN];
    let drain = async { while matches!(read.read(&mut scratch).await, Ok(more) if more > 0) {} };
    // Whoever goes on sending is cut off.
    let _ = timeout(FAREWELL_MAX, drain).await;
}
