//! What waits to be sent to one broker: a queue bounded in envelopes and in bytes.
//!
//! When it is full, the new envelope is dropped: what waits is the beginning of a sequence of entries, and a receiver can use
//! the beginning. Raft takes the loss as it takes any, and asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tidelog_core::id::NodeId;
use tidelog_core::peer::Envelope;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::limits::{PEER_QUEUE_BYTES_MAX, PEER_QUEUE_ENVELOPES_MAX};

/// What every envelope and message is taken to weigh beside its payload.
const OVERHEAD_BYTES: usize = 64;

/// What is in a queue and on its way out of it.
#[derive(Debug, Default)]
struct Load {
    envelopes: AtomicUsize,
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// The end of a queue where envelopes are put.
#[derive(Debug)]
pub(super) struct Sender {
    to: NodeId,
    queue: mpsc::UnboundedSender<(Envelope, Taken)>,
    load: Arc<Load>,
    /// What was dropped since the queue became full; zero if it is not.
    dropped: u64,
}

/// The end of a queue where envelopes are taken.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: mpsc::UnboundedReceiver<(Envelope, Taken)>,
    load: Arc<Load>,
}

/// A queue to a broker.
pub(super) fn queue(to: NodeId) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Load::default());
    (Sender { to, queue: sender, load: Arc::clone(&load), dropped: 0 }, Receiver { queue: receiver, load })
}

/// About how much memory an envelope holds.
fn weight(envelope: &Envelope) -> usize {
    let entries = envelope.messages.iter().flat_map(|message| &message.raft.entries);
    let entries: usize = entries.map(|entry| OVERHEAD_BYTES + entry.data.len() + entry.context.len()).sum();
    let commands: usize = envelope.commands.iter().map(|command| OVERHEAD_BYTES + command.len()).sum();
    OVERHEAD_BYTES * (1 + envelope.messages.len()) + 16 * envelope.leading.len() + entries + commands
}

impl Sender {
    /// Puts an envelope at the end, or drops it if there is no room. One larger than all the room is taken alone.
    pub(super) fn send(&mut self, envelope: Envelope) {
        let bytes = weight(&envelope);
        let (waiting, held) = (self.load.envelopes.load(Ordering::Acquire), self.load.bytes.load(Ordering::Acquire));
        let room =
            waiting == 0 || (waiting < PEER_QUEUE_ENVELOPES_MAX && held.saturating_add(bytes) <= PEER_QUEUE_BYTES_MAX);
        if !room {
            if self.dropped == 0 {
                warn!(to = %self.to, waiting, bytes = held, "too much waits to be sent to a broker: what comes now is dropped");
            }
            self.dropped += 1;
            self.load.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.dropped > 0 {
            info!(to = %self.to, dropped = self.dropped, "there is room again for what is sent to a broker");
            self.dropped = 0;
        }
        self.load.envelopes.fetch_add(1, Ordering::AcqRel);
        self.load.bytes.fetch_add(bytes, Ordering::AcqRel);
        // Fails only after a panic of the task behind it.
        let _ = self.queue.send((envelope, Taken { envelopes: 1, bytes }));
    }
}

/// The room an envelope takes until it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    envelopes: usize,
    bytes: usize,
}

impl Taken {
    /// Adds another envelope's.
    pub(super) fn add(&mut self, more: Self) {
        self.envelopes += more.envelopes;
        self.bytes += more.bytes;
    }
}

impl Receiver {
    /// How many envelopes were dropped so far: for want of room, or because they could not be sent.
    pub(super) fn dropped(&self) -> u64 {
        self.load.dropped.load(Ordering::Relaxed)
    }

    /// The next envelope; `None` when there is none and there will be none. The room is to be given back by [`Self::done`].
    pub(super) async fn next(&mut self) -> Option<(Envelope, Taken)> {
        self.queue.recv().await
    }

    /// The next envelope if there is one.
    pub(super) fn try_next(&mut self) -> Option<(Envelope, Taken)> {
        self.queue.try_recv().ok()
    }

    /// Gives room back.
    pub(super) fn done(&self, taken: Taken) {
        self.load.envelopes.fetch_sub(taken.envelopes, Ordering::AcqRel);
        self.load.bytes.fetch_sub(taken.bytes, Ordering::AcqRel);
    }

    /// Gives room back of what could not be sent.
    pub(super) fn lost(&self, taken: Taken) {
        self.load.dropped.fetch_add(taken.envelopes as u64, Ordering::Relaxed);
        self.done(taken);
    }

    /// Drops everything that waits.
    pub(super) fn discard(&mut self) {
        while let Some((_, taken)) = self.try_next() {
            self.lost(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn envelope(bytes: usize) -> Envelope {
        Envelope { commands: vec![Bytes::from(vec![0; bytes])], ..Envelope::default() }
    }

    #[test]
    fn the_new_is_dropped_when_there_are_too_many() {
        let (mut sender, mut receiver) = queue(NodeId(2));
        for _ in 0..PEER_QUEUE_ENVELOPES_MAX + 3 {
            sender.send(envelope(1));
        }
        assert_eq!(receiver.dropped(), 3);
        let (_, first) = receiver.try_next().expect("the first");
        sender.send(envelope(1));
        assert_eq!(receiver.dropped(), 4, "what is being sent has its room still");
        receiver.done(first);
        sender.send(envelope(1));
        assert_eq!(receiver.dropped(), 4);
        receiver.discard();
        assert_eq!(receiver.dropped(), 4 + PEER_QUEUE_ENVELOPES_MAX as u64);
        assert!(receiver.try_next().is_none());
    }

    #[test]
    fn bytes_are_bounded_but_one_large_envelope_passes() {
        let (mut sender, mut receiver) = queue(NodeId(2));
        sender.send(envelope(PEER_QUEUE_BYTES_MAX + 1));
        sender.send(envelope(1));
        assert_eq!(receiver.dropped(), 1);
        let (large, taken) = receiver.try_next().expect("it was alone");
        assert_eq!(large.commands[0].len(), PEER_QUEUE_BYTES_MAX + 1);
        receiver.done(taken);
        sender.send(envelope(1));
        assert_eq!(receiver.dropped(), 1);
        assert_eq!(receiver.try_next().expect("there is room").0, envelope(1));
    }
}
