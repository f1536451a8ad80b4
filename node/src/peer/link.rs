//! The way to one other broker: connects, greets, sends what is queued, and begins again when that ends.
//!
//! What waited while an attempt failed is dropped: it speaks of a moment that is over. A failure is logged when it is another one
//! than before, not every time, and a connection that ended is told of by what becomes of the next.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use tidelog_core::id::NodeId;
use tidelog_core::limits::ENVELOPE_BYTES_MAX;
use tidelog_core::rng::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::hello::{self, Caller};
use super::queue::{Receiver, Taken};
use crate::host::{TcpStream, sockopt};
use crate::limits::{PEER_GREETING_MAX, PEER_RETRY_MAX, PEER_RETRY_MIN, PEER_STALLED_MAX, WRITE_BYTES};
use crate::net::Pending;

/// The sending side of the connection to another broker.
pub(super) struct Link {
    pub(super) own: Caller,
    pub(super) to: NodeId,
    /// `HOST:PORT`, looked up at every attempt.
    pub(super) address: String,
    pub(super) queue: Receiver,
    /// The other broker is there: it just connected to us.
    pub(super) seen: Arc<Notify>,
    /// Ends with the driver.
    pub(super) ending: watch::Receiver<()>,
    pub(super) retries: Retries,
}

/// How a connection ended.
enum End {
    /// Nothing more will be sent.
    Done,
    /// It broke, for this reason.
    Broken(String),
}

impl Link {
    /// Sends until the queue ends.
    pub(super) async fn run(mut self) {
        let mut told: Option<String> = None;
        let mut greeted = false;
        let mut ending = self.ending.clone();
        loop {
            let attempt = tokio::select! {
                biased;
                // An error: nobody ever says anything there, the driver just lets go of it.
                _ = ending.changed() => return,
                attempt = self.connect() => attempt,
            };
            let (why, held) = match attempt {
                Err(why) => (why, false),
                Ok(stream) => {
                    if !greeted {
                        let dropped = self.queue.dropped();
                        info!(to = %self.to, address = self.address, dropped, "connected to a broker");
                        greeted = true;
                    }
                    let since = Instant::now();
                    let why = match self.carry(stream).await {
                        End::Done => return,
                        End::Broken(why) => why,
                    };
                    let held = since.elapsed() > PEER_RETRY_MAX;
                    if held {
                        self.retries.reset();
                        told = None;
                        greeted = false;
                    }
                    (why, held)
                }
            };
            if held {
                // Why there is no new one is worth more.
                debug!(to = %self.to, address = self.address, why, "the connection to a broker ended");
            } else if told.as_ref() == Some(&why) {
                debug!(to = %self.to, address = self.address, why, "still no connection to a broker");
            } else {
                warn!(to = %self.to, address = self.address, why, "no connection to a broker, trying again and again");
                told = Some(why);
                greeted = false;
            }
            self.queue.discard();
            tokio::select! {
                biased;
                _ = ending.changed() => return,
                () = self.seen.notified() => {}
                () = sleep(self.retries.next()) => {}
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let late = |_| "it does not answer".to_owned();
        let found = timeout(PEER_GREETING_MAX, lookup_host(&self.address)).await;
        let found: Vec<SocketAddr> = match found.map_err(|_| "its name is not resolved in time".to_owned())? {
            Ok(found) => found.collect(),
            Err(error) => return Err(format!("its name is not resolved: {error}")),
        };
        let mut why = "its name has no address".to_owned();
        for address in found {
            match timeout(PEER_GREETING_MAX, TcpStream::connect(address)).await.map_err(late) {
                Ok(Ok(mut stream)) => {
                    prepare(&stream).map_err(|error| error.to_string())?;
                    let greeting = hello::connect(&mut stream, self.own, self.to);
                    match timeout(PEER_GREETING_MAX, greeting).await.map_err(late)? {
                        Ok(()) => return Ok(stream),
                        Err(failed) => why = failed.to_string(),
                    }
                }
                Ok(Err(error)) => why = error.to_string(),
                Err(late) => why = late,
            }
        }
        Err(why)
    }

    async fn carry(&mut self, stream: TcpStream) -> End {
        let (mut read, mut write) = stream.into_split();
        let mut scratch = [0];
        // The other side has nothing to say: whatever comes is the end.
        let mut hangup = pin!(async {
            match read.read(&mut scratch).await {
                Ok(0) => "it closed the connection".to_owned(),
                Ok(_) => "it answers where nothing was asked".to_owned(),
                Err(error) => error.to_string(),
            }
        });
        let mut pending = Pending::default();
        loop {
            let first = tokio::select! {
                biased;
                why = &mut hangup => return End::Broken(why),
                first = self.queue.next() => first,
            };
            if first.is_none() {
                // Everything was written; what became of it is no longer ours to know.
                let _ = write.shutdown().await;
                return End::Done;
            }
            let mut taken = Taken::default();
            let mut next = first;
            while let Some((envelope, room)) = next {
                let pieces = envelope.encode();
                let bytes: usize = pieces.iter().map(bytes::Bytes::len).sum();
                if bytes - 4 > ENVELOPE_BYTES_MAX as usize {
                    warn!(to = %self.to, bytes, "an envelope is longer than any broker takes: it is dropped");
                    self.queue.lost(room);
                } else {
                    pending.extend(pieces);
                    taken.add(room);
                }
                next = if pending.remaining() < WRITE_BYTES { self.queue.try_next() } else { None };
            }
            let broken = tokio::select! {
                biased;
                written = write_all(&mut write, &mut pending) => written.err().map(|error| error.to_string()),
                why = &mut hangup => Some(why),
            };
            if let Some(why) = broken {
                self.queue.lost(taken);
                return End::Broken(why);
            }
            self.queue.done(taken);
        }
    }
}

async fn write_all(write: &mut (impl AsyncWriteExt + Unpin), pending: &mut Pending) -> io::Result<()> {
    while pending.has_remaining() {
        let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "it takes nothing of what is sent");
        let written = timeout(PEER_STALLED_MAX, write.write_buf(pending)).await.map_err(stalled)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Envelopes leave at once; a broker that vanished with its machine is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PEER_STALLED_MAX)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, PEER_STALLED_MAX.as_millis().try_into().expect("a few seconds"))?;
    Ok(())
}

/// How long to wait before the next attempt: twice as long each time, up to a bound, and never in step with others.
#[derive(Debug)]
pub(super) struct Retries {
    rng: Rng,
    wait: Duration,
}

impl Retries {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::stream(seed, &[]), wait: PEER_RETRY_MIN }
    }

    fn reset(&mut self) {
        self.wait = PEER_RETRY_MIN;
    }

    fn next(&mut self) -> Duration {
        let most = u64::try_from(self.wait.as_micros()).expect("a second at most");
        self.wait = (2 * self.wait).min(PEER_RETRY_MAX);
        Duration::from_micros(self.rng.between(most / 2, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_until_a_connection_held() {
        let mut retries = Retries::new(7);
        let mut most = PEER_RETRY_MIN;
        for _ in 0..12 {
            let wait = retries.next();
            assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
            most = (2 * most).min(PEER_RETRY_MAX);
        }
        retries.reset();
        assert!(retries.next() <= PEER_RETRY_MIN);
    }
}
