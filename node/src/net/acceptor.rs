//! Accepts connections as long as the system gives any.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::host::{TcpListener, TcpStream, close};

/// How long to wait when the system is out of files or memory for a socket.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening socket. Trouble that comes and stays is told once, and once more when it is over; whoever connects meanwhile waits
/// in the system's queue.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: TcpListener,
    /// Who connects, for the log.
    whose: &'static str,
    /// How often it failed since it last did not.
    failures: u64,
}

impl Acceptor {
    pub(crate) fn new(socket: TcpListener, whose: &'static str) -> Self {
        Self { socket, whose, failures: 0 }
    }

    /// The next connection, and who is there. May be dropped and asked again.
    pub(crate) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let whose = self.whose;
        loop {
            match self.socket.accept().await {
                Ok(accepted) => {
                    if self.failures > 0 {
                        info!(whose, failures = self.failures, "connections are accepted again");
                        self.failures = 0;
                    }
                    return accepted;
                }
                // Whoever it was has gone (accept(2)).
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => debug!(whose, %error, "not accepted"),
                Err(error) => {
                    if self.failures == 0 {
                        warn!(
                            whose,
                            %error,
                            "the system gives no new connections, and they wait; those that are open go on. Of files it gives more \
                             with `ulimit -n` or `LimitNOFILE`"
                        );
                    }
                    self.failures += 1;
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Accepts nobody any more, and gives who waits already.
    pub(crate) fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        close(self.socket)
    }
}
