//! One client connection: two ordered byte streams, cut into chunks anywhere.

use std::collections::VecDeque;

use bytes::Bytes;
use tidelog_core::id::ConnId;
use tidelog_core::rng::Rng;

use crate::table;

/// Which of the two streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
}

/// Bytes under way, in order.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) chunks: VecDeque<(u64, Bytes)>,
    /// Whether the queue holds a delivery for the first chunk.
    pub(crate) scheduled: bool,
    last: u64,
    /// The sender closed the stream behind the last chunk.
    pub(crate) finished: bool,
    /// Nothing comes through any more, whatever is sent.
    severed: bool,
}

impl Stream {
    /// Cuts bytes into chunks and gives each a moment of arrival, never before the one before.
    pub(crate) fn send(&mut self, now: u64, mut bytes: Bytes, rng: &mut Rng) {
        while !self.severed && !bytes.is_empty() {
            let cut = match rng.below(8) {
                0 => rng.between(1, bytes.len() as u64) as usize,
                1 => bytes.len().min(rng.between(1, 9) as usize),
                _ => bytes.len(),
            };
            self.last = self.last.max(now + table::WIRE_LATENCY.draw(rng));
            self.chunks.push_back((self.last, bytes.split_to(cut)));
        }
    }

    /// The moment of the next delivery, if the queue does not hold one yet.
    pub(crate) fn schedule(&mut self) -> Option<u64> {
        if self.scheduled {
            return None;
        }
        let at = match self.chunks.front() {
            Some((at, _)) => *at,
            None if self.finished => self.last,
            None => return None,
        };
        self.scheduled = true;
        Some(at)
    }

    /// The moment by which everything under way has arrived.
    pub(crate) fn drained(&self) -> u64 {
        self.last
    }

    /// Drops what is under way and all that is still sent: a stream may end anywhere, but never has a hole.
    pub(crate) fn sever(&mut self) {
        self.severed = true;
        self.chunks.clear();
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) client: u32,
    /// The client's name for it.
    pub(crate) name: u64,
    pub(crate) place: u32,
    pub(crate) life: u64,
    /// The broker's name for it, once it was accepted.
    pub(crate) conn: Option<ConnId>,
    pub(crate) broker_open: bool,
    pub(crate) client_open: bool,
    pub(crate) up: Stream,
    pub(crate) down: Stream,
    pub(crate) muted: bool,
    pub(crate) frames: tidelog_core::kafka::FrameReader,
    pub(crate) next_request: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_their_order_and_their_bytes() {
        let mut rng = Rng::stream(1, &[1]);
        let mut stream = Stream::default();
        let sent: Vec<u8> = (0..=255).collect();
        for round in 0..40 {
            stream.send(round * 100, Bytes::from(sent.clone()), &mut rng);
        }
        assert!(stream.chunks.len() > 45, "some were cut");
        assert!(stream.chunks.iter().zip(stream.chunks.iter().skip(1)).all(|(a, b)| a.0 <= b.0));
        let got: Vec<u8> = stream.chunks.iter().flat_map(|(_, chunk)| chunk.to_vec()).collect();
        assert_eq!(got, sent.repeat(40));
    }

    #[test]
    fn a_severed_stream_has_no_hole() {
        let mut rng = Rng::stream(1, &[2]);
        let mut stream = Stream::default();
        stream.send(0, Bytes::from_static(b"the first half, "), &mut rng);
        stream.sever();
        stream.send(1, Bytes::from_static(b"the second half"), &mut rng);
        assert!(stream.chunks.is_empty());
    }
}
