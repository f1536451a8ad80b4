//! Connections between brokers: moves envelopes, and knows nothing of what is in them.
//!
//! Each broker connects to every other one and only sends on that connection; what it hears comes over connections that it
//! accepted. A connection begins with a greeting ([`hello`]) and goes on with frames: a length of four bytes, big-endian, and
//! an [`Envelope`] of that length. There is no promise that anything arrives, nor in which order: a queue that is
//! full ([`queue`]) or a connection that breaks ([`link`]) loses what it holds, and the core lives with that.

mod door;
mod frames;
pub mod hello;
mod link;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tidelog_core::id::{DirectoryId, NodeId};
use tidelog_core::peer::Envelope;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::debug;

use crate::cluster::Cluster;
use crate::driver::Inbox;
use crate::host::{TcpListener, random};
use crate::net::room;
use door::{Door, Shared};
use hello::Caller;
use link::{Link, Retries};
use queue::{Receiver, Sender};

/// The driver's way to the other brokers. When it is dropped, what waits is sent and the connections end.
#[derive(Debug)]
pub(crate) struct Peers {
    queues: BTreeMap<NodeId, Sender>,
    /// Tells attempts to connect that they are no longer needed.
    _ending: watch::Sender<()>,
}

/// What the network does for [`Peers`], before it runs.
pub(crate) struct Links {
    own: Caller,
    ways: Vec<(NodeId, String, Receiver)>,
    ending: watch::Receiver<()>,
}

/// The ways from this broker to the others of its cluster; none if it has none.
pub(crate) fn ways(node: NodeId, directory: DirectoryId, cluster: Option<&Cluster>) -> (Peers, Links) {
    let (sender, ending) = watch::channel(());
    let mut peers = Peers { queues: BTreeMap::new(), _ending: sender };
    let mut ways = Vec::new();
    for (other, address) in cluster.into_iter().flat_map(|cluster| cluster.others(node)) {
        let (sender, receiver) = queue::queue(other);
        peers.queues.insert(other, sender);
        ways.push((other, address.to_string(), receiver));
    }
    (peers, Links { own: Caller { node, directory }, ways, ending })
}

impl Peers {
    /// Sends an envelope, or drops it.
    pub(crate) fn send(&mut self, to: NodeId, envelope: Envelope) {
        match self.queues.get_mut(&to) {
            Some(queue) => queue.send(envelope),
            None => debug!(%to, "no way to this broker: an envelope is dropped"),
        }
    }
}

impl Links {
    /// Runs the connections to the other brokers, and those from them on `socket`, in the runtime this is called in. Gives
    /// the sending sides: they end when [`Peers`] has ended and everything was sent. Of what others send, so many bytes may wait for
    /// the driver; there are at most `connections_max` of their connections. Those that were closed because of what was said
    /// there are counted in `refused`.
    pub(crate) fn run(
        self,
        socket: Option<TcpListener>,
        inbox: &Inbox,
        connections_max: usize,
        inbox_bytes_max: u32,
        refused: &Arc<AtomicU64>,
    ) -> Vec<JoinHandle<()>> {
        let seen: BTreeMap<NodeId, Arc<Notify>> =
            self.ways.iter().map(|(node, ..)| (*node, Arc::new(Notify::new()))).collect();
        if let Some(socket) = socket {
            let door = Door {
                own: self.own.node,
                inbox: inbox.clone(),
                room: room(inbox_bytes_max),
                known: Arc::new(seen.clone()),
                shared: Arc::new(Mutex::new(Shared::default())),
                refused: Arc::clone(refused),
            };
            tokio::spawn(door.run(socket, connections_max));
        }
        let link = |(to, address, queue)| {
            let seen = Arc::clone(&seen[&to]);
            let (own, ending, retries) = (self.own, self.ending.clone(), Retries::new(u64::from_ne_bytes(random())));
            let (link, inbox) = (Link { own, to, address, queue, seen, ending, retries }, inbox.clone());
            tokio::spawn(async move {
                let _watch = inbox.watch("peer-link");
                link.run().await;
            })
        };
        self.ways.into_iter().map(link).collect()
    }
}
