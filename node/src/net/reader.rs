//! The reading half of a connection: a stream to frames, frames to requests, requests to the driver.

use std::fmt;
use std::io;
use std::sync::Arc;

use tidelog_core::id::RequestId;
use tidelog_core::kafka::{FrameReader, FrameTooLarge, Malformed, decode_request};
use tidelog_core::limits::REQUEST_BYTES_MAX;
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::connection::Session;
use super::gate::Gate;
use super::listener::{Rooms, take_room};
use crate::host::OwnedReadHalf;
use crate::limits::{CONNECTION_IDLE_MAX, FRAME_BYTES_FREE, FRAME_STALLED_MAX, READ_BYTES, READ_BYTES_MIN};

/// Why a connection is no longer read from.
#[derive(Debug)]
pub(super) enum Parting {
    /// The client ended it.
    Ended,
    /// The socket failed.
    Failed(io::Error),
    /// What came is no frame.
    Frame(FrameTooLarge),
    /// What came is no request.
    Request(Malformed),
    /// Nothing came for long, and nothing was asked for.
    Idle,
    /// A large request stopped half-way.
    Stalled,
    /// The driver has ended.
    Stopped,
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the client closed it"),
            Self::Failed(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Idle => f.write_str("idle"),
            Self::Stalled => f.write_str("a large request stopped half-way"),
            Self::Stopped => f.write_str("the node ends"),
        }
    }
}

impl Parting {
    /// Whether the client broke the protocol: worth a line in the log.
    pub(super) fn is_fault(&self) -> bool {
        match self {
            Self::Frame(_) | Self::Request(_) | Self::Stalled => true,
            Self::Ended | Self::Failed(_) | Self::Idle | Self::Stopped => false,
        }
    }
}

/// The reading half of one connection.
pub(super) struct Reader<'a> {
    pub(super) socket: &'a mut OwnedReadHalf,
    pub(super) session: &'a Session,
    pub(super) gate: Arc<Gate>,
    pub(super) rooms: Rooms,
}

impl Reader<'_> {
    /// Reads requests until there can be no more.
    pub(super) async fn run(self) -> Parting {
        match self.read().await {
            Ok(never) => match never {},
            Err(parting) => parting,
        }
    }

    async fn read(self) -> Result<std::convert::Infallible, Parting> {
        let mut frames = FrameReader::new();
        let mut last = RequestId(0);
        // Room for the frame that is being read, if it is a large one.
        let mut claim: Option<OwnedSemaphorePermit> = None;
        loop {
            while let Some(frame) = frames.next_frame().map_err(Parting::Frame)? {
                self.gate.open().await;
                let room = take_room(&self.rooms.inbox, frame.len()).await;
                claim = None;
                let kept = self.session.keeps_frames().then(|| frame.clone());
                let request = decode_request(frame).map_err(Parting::Request)?;
                last = RequestId(last.0 + 1);
                if !self.session.request(last, request, kept, room) {
                    return Err(Parting::Stopped);
                }
            }
            self.gate.open().await;
            let missing = bytes_missing(frames.buffer());
            if missing > FRAME_BYTES_FREE && claim.is_none() {
                claim = Some(take_room(&self.rooms.frames, missing).await);
            }
            let buffer = frames.buffer();
            let spare = buffer.capacity() - buffer.len();
            if spare < missing.max(READ_BYTES_MIN) {
                buffer.reserve(missing + READ_BYTES);
            }
            let patience = if claim.is_some() { FRAME_STALLED_MAX } else { CONNECTION_IDLE_MAX };
            match timeout(patience, self.socket.read_buf(buffer)).await {
                Ok(Ok(0)) => return Err(Parting::Ended),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Parting::Failed(error)),
                Err(_) if claim.is_some() => return Err(Parting::Stalled),
                Err(_) if self.gate.is_quiet(last) => return Err(Parting::Idle),
                Err(_) => {}
            }
        }
    }
}

/// How many bytes of the frame at the front of the buffer are still to come, as far as one can tell. Never more than a frame
/// may have: what claims more is refused by the frame reader.
fn bytes_missing(buffer: &[u8]) -> usize {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return 0;
    };
    let length = u32::from_be_bytes(*prefix).min(REQUEST_BYTES_MAX) as usize;
    (length + 4).saturating_sub(buffer.len())
}
