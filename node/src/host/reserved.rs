//! A port that is taken before anybody is let in.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

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

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}
