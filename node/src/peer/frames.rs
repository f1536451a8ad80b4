//! Cuts what another broker sends into envelopes' frames, with memory that grows with what has come.

use bytes::{Bytes, BytesMut};
use tidelog_core::limits::ENVELOPE_BYTES_MAX;

use crate::limits::{PEER_FRAME_BYTES_AHEAD, READ_BYTES, READ_BYTES_MIN};

/// The bytes of a frame's length.
const PREFIX: usize = 4;

/// A frame that claims to be longer than an envelope may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLong(pub(super) u32);

/// What came and was not yet taken.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// The next whole frame, its length left off, or `None` until more has come. The frame shares the memory it was read into.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix);
        if length > ENVELOPE_BYTES_MAX {
            return Err(TooLong(length));
        }
        let end = PREFIX + length as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(end).freeze();
        Ok(Some(frame.split_off(PREFIX)))
    }

    /// Where to read to. There is space for what the frame at the front lacks, but for no more than has come already or
    /// [`PEER_FRAME_BYTES_AHEAD`], whichever is more: who claims much has to send much.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        let here = self.buffer.len();
        let whole =
            self.buffer.first_chunk::<PREFIX>().map_or(0, |prefix| PREFIX + u32::from_be_bytes(*prefix) as usize);
        let missing = whole.saturating_sub(here).min(here.max(PEER_FRAME_BYTES_AHEAD));
        let spare = self.buffer.capacity() - here;
        if spare < missing.max(READ_BYTES_MIN) {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            sizes in prop::collection::vec(0_usize..3_000, 0..12),
            cuts in prop::collection::vec(1_usize..2_000, 1..10),
        ) {
            let frames: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, size)| vec![at as u8; *size]).collect();
            let mut stream = Vec::new();
            for frame in &frames {
                stream.extend((frame.len() as u32).to_be_bytes());
                stream.extend(frame);
            }
            let (mut reader, mut out, mut rest) = (Frames::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                while let Some(frame) = reader.next().expect("short frames") {
                    out.push(frame.to_vec());
                }
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                reader.space().extend_from_slice(now);
                rest = later;
            }
            prop_assert_eq!(out, frames);
        }
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut frames = Frames::default();
        frames.space().extend_from_slice(&ENVELOPE_BYTES_MAX.to_be_bytes());
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.space().capacity() < 4 * PEER_FRAME_BYTES_AHEAD);
        frames.space().extend_from_slice(&vec![0; 8 * PEER_FRAME_BYTES_AHEAD]);
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.space().capacity() < 32 * PEER_FRAME_BYTES_AHEAD);
    }

    #[test]
    fn a_frame_longer_than_an_envelope_is_refused_by_its_length() {
        let mut frames = Frames::default();
        frames.space().extend_from_slice(&(ENVELOPE_BYTES_MAX + 1).to_be_bytes());
        assert_eq!(frames.next(), Err(TooLong(ENVELOPE_BYTES_MAX + 1)));
        assert_eq!(frames.next(), Err(TooLong(ENVELOPE_BYTES_MAX + 1)));
    }
}
