//! The writing half of a connection: answers to bytes, bytes to the socket, nothing copied together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::gate::{Gate, Outgoing};
use crate::host::OwnedWriteHalf;
use crate::limits::{CONNECTION_STALLED_MAX, WRITE_BYTES};

/// Sends what is asked until told to close, or until the driver lets go of the connection; then ends the stream. Gives whether
/// it was told.
pub(super) async fn run(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    gate: Arc<Gate>,
) -> io::Result<bool> {
    let mut pending = Pending::default();
    let mut closing = false;
    while !closing && let Some(first) = queue.recv().await {
        let mut next = Some(first);
        let mut sent = None;
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Response { id, response } => {
                    pending.extend(response.encode());
                    sent = Some((id, sent.map_or(1, |(_, count)| count + 1)));
                }
                Outgoing::Close => {
                    closing = true;
                    break;
                }
            }
            next = if pending.remaining() < WRITE_BYTES { queue.try_recv().ok() } else { None };
        }
        while pending.has_remaining() {
            let written = timeout(CONNECTION_STALLED_MAX, socket.write_buf(&mut pending)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if let Some((last, count)) = sent {
            gate.sent(last, count);
        }
    }
    socket.shutdown().await?;
    Ok(closing)
}

/// Bytes to be sent, in the pieces in which they came.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pending {
    /// Adds pieces at the end.
    pub(crate) fn extend(&mut self, pieces: Vec<Bytes>) {
        for piece in pieces {
            if !piece.is_empty() {
                self.bytes += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }
}

impl Buf for Pending {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "more was sent than there was");
        self.bytes -= count;
        while count > 0 {
            let front = self.pieces.front_mut().expect("the pieces add up to the bytes");
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_leave_in_order_whatever_the_socket_takes(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12),
            takes in prop::collection::vec(1_usize..50, 1..10),
        ) {
            let whole = pieces.concat();
            let mut pending = Pending::default();
            pending.extend(pieces.into_iter().map(Bytes::from).collect());
            let mut left = Vec::new();
            for take in takes.iter().cycle() {
                prop_assert_eq!(pending.remaining(), whole.len() - left.len());
                if !pending.has_remaining() {
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = pending.chunks_vectored(&mut slices);
                prop_assert!(slices[0].starts_with(pending.chunk()));
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(!offered.is_empty());
                let taken = offered.len().min(*take);
                left.extend_from_slice(&offered[..taken]);
                pending.advance(taken);
            }
            prop_assert_eq!(left, whole);
        }
    }
}
