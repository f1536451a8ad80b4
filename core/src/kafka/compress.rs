//! Unfolding what producers compressed, within a limit. tidelog never compresses: batches are kept and served as they came.
//!
//! Pure, and total on bytes from outside: whatever they are, the answer is the content, or an error.

use std::fmt;
use std::io::{self, Read};

use super::batch::Compression;

mod strict;

pub use strict::unfold;

/// Why a payload does not unfold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// It would give more than the limit, in bytes.
    TooLarge(usize),
    /// It is not in the format its batch names; in the codec's words.
    Malformed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "it unfolds to more than {limit} bytes"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Unfolds `payload`, to at most `limit` bytes: what is kept, or comes from other brokers, as far as it can be read. What a producer
/// sends is judged by [`unfold`].
///
/// # Errors
/// [`Error::TooLarge`] if there is more, [`Error::Malformed`] if the codec can not read it.
pub fn decompress(codec: Compression, payload: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    match codec {
        Compression::None => append(&mut out, payload, limit)?,
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(payload), &mut out, limit)?,
        Compression::Snappy => snappy(payload, &mut out, limit)?,
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(payload), &mut out, limit)?,
        Compression::Zstd => zstd(payload, &mut out, limit)?,
    }
    Ok(out)
}

fn malformed(error: impl fmt::Display) -> Error {
    Error::Malformed(error.to_string())
}

fn append(out: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), Error> {
    if bytes.len() > limit - out.len() {
        return Err(Error::TooLarge(limit));
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Reads to the end, unless there is more than the limit.
fn read_bounded(mut from: impl Read, out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => append(out, &chunk[..count], limit)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(error)),
        }
    }
}

/// What the Java library puts before its blocks, followed by two versions of four bytes each.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;

fn snappy(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    if !payload.starts_with(&XERIAL_MAGIC) {
        return snappy_block(payload, out, limit);
    }
    let mut rest = payload.get(XERIAL_HEADER_BYTES..).ok_or_else(|| malformed("the framing ends early"))?;
    while !rest.is_empty() {
        // Streams that were glued together repeat the header.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| malformed("the framing ends early"))?;
            continue;
        }
        let (len, after) = rest.split_first_chunk().ok_or_else(|| malformed("the framing ends early"))?;
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let (block, after) = after.split_at_checked(len).ok_or_else(|| malformed("a block ends early"))?;
        snappy_block(block, out, limit)?;
        rest = after;
    }
    Ok(())
}

/// Snappy's densest element gives 64 bytes for three: a block that claims more than this many times its length lies, and must
/// not make us allocate.
const SNAPPY_RATIO_MAX: usize = 32;

fn snappy_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let claimed = snap::raw::decompress_len(block).map_err(malformed)?;
    if claimed > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(malformed("a block claims more than it can hold"));
    }
    if claimed > limit - out.len() {
        return Err(Error::TooLarge(limit));
    }
    let unfolded = snap::raw::Decoder::new().decompress_vec(block).map_err(malformed)?;
    append(out, &unfolded, limit)
}

/// Frames that hold no data: 0x184D2A50 to 0x184D2A5F, then a length (RFC 8878, section 3.1.2).
const ZSTD_SKIPPABLE: u32 = 0x184D_2A50;

fn zstd(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let mut rest = payload;
    while !rest.is_empty() {
        if let Some(([a, b, c, d, len @ ..], after)) = rest.split_first_chunk::<8>()
            && u32::from_le_bytes([*a, *b, *c, *d]) & !0xf == ZSTD_SKIPPABLE
        {
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            rest = after.get(len..).ok_or_else(|| malformed("a skippable frame ends early"))?;
            continue;
        }
        // Reads one frame, and moves `rest` behind it.
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(malformed)?;
        read_bounded(frame, out, limit)?;
    }
    Ok(())
}
