//! A port of a simulated machine. It is the machine's own, so nobody else takes it, and it need not be held.

use std::io;
use std::net::SocketAddr;

use super::{TcpListener, TcpStream};

/// A port at which nobody is listened to yet: who connects is refused.
#[derive(Debug)]
pub(crate) struct Reserved(SocketAddr);

impl Reserved {
    /// A port of this machine, which must be named.
    pub(crate) fn bind(address: SocketAddr) -> Self {
        assert_ne!(address.port(), 0, "a simulated node is told its port");
        Self(address)
    }

    /// Lets clients in from now on.
    pub(crate) async fn listen(self) -> io::Result<TcpListener> {
        TcpListener::bind(self.0).await
    }
}

/// Closes a listening socket. Nobody waits in its queue: a simulated task that accepts is never late.
pub(crate) fn close(socket: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    drop(socket);
    Vec::new()
}
