//! Where other brokers come in: accepts connections, greets, and hands the driver what they send.
//!
//! One connection for each broker: a newer one ends the older, which a broker that came back has forgotten; but as long as one
//! stands, nobody with another data directory is welcome under the same number. Whatever is not as it should be ends its connection and is counted; the log tells the first time, the tenth, the hundredth.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidelog_core::effect::Input;
use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::peer::{BadEnvelope, Envelope};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::frames::{Frames, TooLong};
use super::hello::{self, Caller, Failed, Refusal};
use super::link::prepare;
use crate::driver::{Inbox, Message};
use crate::host::{TcpListener, TcpStream, random};
use crate::limits::PEER_GREETING_MAX;
use crate::net::{Acceptor, take_room};

/// How many faults are told apart.
const FAULTS_MAX: usize = 256;

/// Accepts the connections of other brokers.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) own: NodeId,
    pub(super) inbox: Inbox,
    /// Room for what was read and waits for the driver.
    pub(super) room: Arc<Semaphore>,
    /// Who may come in, and whom to tell that they did.
    pub(super) known: Arc<BTreeMap<NodeId, Arc<Notify>>>,
    pub(super) shared: Arc<Mutex<Shared>>,
    /// How often there was a fault.
    pub(super) refused: Arc<AtomicU64>,
}

/// What the connections of a door share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The data directory of each connected broker. Its connection ends when the other part does.
    current: BTreeMap<NodeId, (DirectoryId, oneshot::Sender<()>)>,
    faults: Faults,
}

/// What went wrong how often: for each broker, kind of fault, and what that kind is about.
#[derive(Debug, Default)]
struct Faults(BTreeMap<(Option<NodeId>, u8, u32), u64>);

impl Faults {
    /// Counts a fault, and gives how often it happened. When too many differ, they are no longer told apart.
    fn count(&mut self, from: Option<NodeId>, fault: &Fault) -> u64 {
        let (kind, about) = fault.kind();
        let known = (from, kind, about);
        let key = if self.0.len() < FAULTS_MAX || self.0.contains_key(&known) { known } else { (None, kind, 0) };
        let count = self.0.entry(key).or_default();
        *count += 1;
        *count
    }
}

/// What ends a connection and should not happen.
#[derive(Debug)]
enum Fault {
    Refused(Refusal),
    Silent,
    Frame(TooLong),
    Envelope(BadEnvelope),
    Names,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Silent => f.write_str("it does not greet"),
            Self::Frame(TooLong(length)) => write!(f, "a frame of {length} bytes is longer than an envelope may be"),
            Self::Envelope(bad) => bad.fmt(f),
            Self::Names => f.write_str("an envelope that is not from it to this broker"),
        }
    }
}

impl Fault {
    /// Its kind, and what it is about: what is counted together.
    fn kind(&self) -> (u8, u32) {
        match self {
            Self::Refused(Refusal::Magic) => (0, 0),
            Self::Refused(Refusal::Version(version)) => (1, (*version).into()),
            Self::Refused(Refusal::Receiver(node)) => (2, node.0),
            Self::Refused(Refusal::Stranger(node)) => (3, node.0),
            Self::Refused(Refusal::Replayed) => (4, 0),
            Self::Refused(Refusal::Taken(node)) => (9, node.0),
            Self::Silent => (5, 0),
            Self::Frame(_) => (6, 0),
            Self::Envelope(_) => (7, 0),
            Self::Names => (8, 0),
        }
    }
}

impl Door {
    /// Accepts connections for ever, so many at a time.
    pub(super) async fn run(self, socket: TcpListener, connections_max: usize) {
        let slots = Arc::new(Semaphore::new(connections_max));
        let mut acceptor = Acceptor::new(socket, "brokers");
        let _watch = self.inbox.watch("peer-door");
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes the slots");
            let (stream, peer) = acceptor.accept().await;
            let door = self.clone();
            tokio::spawn(async move {
                door.serve(stream, &peer.to_string()).await;
                drop(slot);
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream, peer: &str) {
        if let Err(error) = prepare(&stream) {
            return debug!(peer, %error, "could not set up the connection of a broker");
        }
        let challenge = u64::from_ne_bytes(random());
        let greeting = hello::accept(&mut stream, self.own, challenge, |caller| self.welcome(caller));
        let Caller { node: from, directory } = match timeout(PEER_GREETING_MAX, greeting).await {
            Ok(Ok(caller)) => caller,
            Ok(Err(Failed::Refused(refusal))) => {
                self.fault(peer, None, &Fault::Refused(refusal));
                // Whoever goes on sending is cut off.
                let _ = timeout(PEER_GREETING_MAX, linger(&mut stream)).await;
                return;
            }
            Ok(Err(failed @ (Failed::Io(_) | Failed::Other(_) | Failed::Unwelcome(_)))) => {
                return debug!(peer, why = %failed, "no greeting");
            }
            Err(_) => return self.fault(peer, None, &Fault::Silent),
        };
        debug!(%from, peer, "a broker connected");
        let (current, mut replaced) = oneshot::channel();
        self.shared().current.insert(from, (directory, current));
        if let Some(seen) = self.known.get(&from) {
            seen.notify_one();
        }
        tokio::select! {
            biased;
            _ = &mut replaced => debug!(%from, peer, "a newer connection of the same broker replaces one"),
            end = self.read(&mut stream, from) => match end {
                Ok(why) => debug!(%from, peer, why, "the connection of a broker ended"),
                Err(fault) => self.fault(peer, Some(from), &fault),
            },
        }
        let mut shared = self.shared();
        // Said under the lock, so that it comes before anything that is heard over a newer connection.
        if matches!(replaced.try_recv(), Err(TryRecvError::Empty)) {
            shared.current.remove(&from);
            // The node may be at its end.
            let _ = self.inbox.send(Message::Input(Input::Lost { node: from }));
        }
    }

    fn welcome(&self, caller: Caller) -> Result<(), Refusal> {
        let Caller { node, directory } = caller;
        if !self.known.contains_key(&node) {
            return Err(Refusal::Stranger(node));
        }
        match self.shared().current.get(&node) {
            Some((other, _)) if *other != directory => Err(Refusal::Taken(node)),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads envelopes until there can be no more. Gives why, if nobody is at fault.
    async fn read(&self, stream: &mut TcpStream, from: NodeId) -> Result<String, Fault> {
        let mut frames = Frames::default();
        loop {
            while let Some(frame) = frames.next().map_err(Fault::Frame)? {
                let room = take_room(&self.room, frame.len()).await;
                let envelope = Envelope::decode(frame).map_err(Fault::Envelope)?;
                if envelope.from != from || envelope.to != self.own {
                    return Err(Fault::Names);
                }
                if !self.inbox.send(Message::Peer { from, envelope, room }) {
                    return Ok("the node ends".to_owned());
                }
            }
            match stream.read_buf(frames.space()).await {
                Ok(0) => return Ok("it was closed".to_owned()),
                Ok(_) => {}
                Err(error) => return Ok(error.to_string()),
            }
        }
    }

    fn fault(&self, peer: &str, from: Option<NodeId>, fault: &Fault) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let count = self.shared().faults.count(from, fault);
        if worth_telling(count) {
            let from = from.map(|node| node.0);
            warn!(peer, from, why = %fault, count, "closed a connection to the port for brokers");
        } else {
            debug!(peer, ?from, why = %fault, count, "closed a connection to the port for brokers");
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        // Nothing that can panic is done under the lock.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the log tells of a fault that happened so often: at every power of ten.
fn worth_telling(count: u64) -> bool {
    count > 0 && 10_u64.pow(count.ilog10()) == count
}

/// Waits for the end of a connection that is not wanted: a socket closed with bytes unread takes back what was said last.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart_up_to_a_bound() {
        let mut faults = Faults::default();
        let stranger = |node| Fault::Refused(Refusal::Stranger(NodeId(node)));
        for node in 0..FAULTS_MAX as u32 {
            assert_eq!(faults.count(None, &stranger(node)), 1);
        }
        assert_eq!(faults.count(None, &stranger(7)), 2);
        assert_eq!(faults.count(None, &stranger(5_000)), 2, "counted with number 0");
        assert_eq!(faults.count(Some(NodeId(2)), &Fault::Names), 1);
        assert_eq!(faults.count(Some(NodeId(3)), &Fault::Names), 2);
        assert_eq!(faults.0.len(), FAULTS_MAX + 1);
    }

    #[test]
    fn faults_are_told_at_powers_of_ten() {
        let told: Vec<u64> = (0..2_000).filter(|count| worth_telling(*count)).collect();
        assert_eq!(told, [1, 10, 100, 1_000]);
    }
}
