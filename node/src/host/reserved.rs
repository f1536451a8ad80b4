//! A port that is taken before anybody is let in, and closed after the last who came is.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::limits::BACKLOG;

/// A port that is ours, at which nobody is listened to yet: who connects is refused.
#[derive(Debug)]
pub(crate) struct Reserved(TcpSocket);

impl Reserved {
    /// Takes a port. Port 0 is any free one.
    ///
    /// # Errors
    ///
    /// The system's. Where connections of an earlier life still fade, another process that takes the port in the same way is told
    /// only when it listens, or we are.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        // Two sockets that share addresses (SO_REUSEADDR) may both take a port until one listens; one that does not share has it
        // alone at once.
        let alone = socket(address)?;
        match alone.bind(address) {
            Ok(()) => Ok(Self(alone)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let shared = socket(address)?;
                shared.set_reuseaddr(true)?;
                shared.bind(address)?;
                Ok(Self(shared))
            }
            Err(error) => Err(error),
        }
    }

    /// Where it is.
    ///
    /// # Errors
    ///
    /// None of a socket that is bound.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Lets clients in from now on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn listen(self) -> io::Result<TcpListener> {
        // Accepted sockets inherit it: what remains of them after our end does not keep the next life from the port.
        self.0.set_reuseaddr(true)?;
        self.0.listen(BACKLOG)
    }
}

/// Closes a listening socket, and gives who waited in its queue. The system is asked who that is, not what tokio last heard of it:
/// whoever is left in a queue that goes is cut off.
pub(crate) fn close(socket: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut waiting = Vec::new();
    let Ok(socket) = socket.into_std() else { return waiting };
    while waiting.len() < BACKLOG as usize {
        match socket.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                waiting.extend(stream.map(|stream| (stream, peer)));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
            Err(_) => break,
        }
    }
    waiting
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}
