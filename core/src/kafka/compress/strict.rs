//! What a broker takes of compressed payloads: only what each client library reads, checksums and ends included.
//!
//! The libraries differ in what they overlook. Java's reads no LZ4 frame with linked blocks, and no zstd window above 2^27;
//! librdkafka verifies every checksum and wants the end mark; kafka-python reads one gzip member, one zstd frame and one xerial
//! stream of version 1, and takes the rest for nothing. A frame that one of them stops at hides everything behind it from its users,
//! for ever: here exactly one frame is taken, whole, with nothing behind it. Encoders write no other.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Error, XERIAL_HEADER_BYTES, XERIAL_MAGIC, append, malformed, snappy_block};
use crate::kafka::batch::Compression;

/// Unfolds `payload`, to at most `limit` bytes, if it is one whole frame.
///
/// # Errors
/// [`Error::TooLarge`] if there is more, [`Error::Malformed`] if some client could not read it.
pub fn unfold(codec: Compression, payload: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    match codec {
        Compression::None => append(&mut out, payload, limit)?,
        Compression::Gzip => gzip(payload, &mut out, limit)?,
        Compression::Snappy => snappy(payload, &mut out, limit)?,
        Compression::Lz4 => lz4(payload, &mut out, limit)?,
        Compression::Zstd => zstd(payload, &mut out, limit)?,
    }
    Ok(out)
}

/// One member (RFC 1952), judged by zlib's own rules: header, CRC-32 and length.
fn gzip(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    const WINDOW_BITS: u8 = 15;
    let mut inflate = Decompress::new_gzip(WINDOW_BITS);
    let mut chunk = [0; 16 * 1024];
    loop {
        let (read, written) = (inflate.total_in(), inflate.total_out());
        let rest = &payload[place(read)..];
        let status = inflate.decompress(rest, &mut chunk, FlushDecompress::None).map_err(malformed)?;
        append(out, &chunk[..place(inflate.total_out() - written)], limit)?;
        match status {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError if (inflate.total_in(), inflate.total_out()) == (read, written) => {
                return Err(malformed("the gzip member ends early"));
            }
            Status::Ok | Status::BufError => {}
        }
    }
    ends(place(inflate.total_in()), payload)
}

fn place(total: u64) -> usize {
    usize::try_from(total).expect("no more than is in memory")
}

fn ends(read: usize, payload: &[u8]) -> Result<(), Error> {
    if read == payload.len() { Ok(()) } else { Err(malformed("something stands behind the frame")) }
}

/// A raw block, or one xerial stream of version 1.
fn snappy(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    if !payload.starts_with(&XERIAL_MAGIC) {
        return snappy_block(payload, out, limit);
    }
    let (head, mut rest) =
        payload.split_at_checked(XERIAL_HEADER_BYTES).ok_or_else(|| malformed("the framing ends early"))?;
    if head[XERIAL_MAGIC.len()..] != [0, 0, 0, 1, 0, 0, 0, 1] || rest.is_empty() {
        return Err(malformed("a xerial stream of another version, or without blocks"));
    }
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk().ok_or_else(|| malformed("the framing ends early"))?;
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let (block, after) = after.split_at_checked(len).ok_or_else(|| malformed("a block ends early"))?;
        let before = out.len();
        snappy_block(block, out, limit)?;
        if out.len() == before {
            return Err(malformed("a block holds nothing"));
        }
        rest = after;
    }
    Ok(())
}

/// A cursor over the parts of a frame.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (part, rest) = self.0.split_at_checked(len).ok_or_else(|| malformed("the frame ends early"))?;
        self.0 = rest;
        Ok(part)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}

fn xxh32(bytes: &[u8]) -> u32 {
    twox_hash::XxHash32::oneshot(0, bytes)
}

fn sums(expected: u32, bytes: &[u8]) -> Result<(), Error> {
    if xxh32(bytes) == expected { Ok(()) } else { Err(malformed("a checksum does not fit")) }
}

const LZ4_MAGIC: u32 = 0x184D_2204;
/// Of the flags: the frame format's version, which is 1; independent blocks; what follows a block, the header, the end mark.
const LZ4_VERSION: u8 = 0b1100_0000;
const LZ4_VERSION_1: u8 = 0b0100_0000;
const LZ4_INDEPENDENT: u8 = 0b0010_0000;
const LZ4_BLOCK_SUM: u8 = 0b0001_0000;
const LZ4_SIZE: u8 = 0b0000_1000;
const LZ4_CONTENT_SUM: u8 = 0b0000_0100;
/// A reserved bit, and the one of dictionaries, of which no client has any.
const LZ4_RESERVED: u8 = 0b0000_0011;
/// A block whose length has this bit is not compressed.
const LZ4_STORED: u32 = 1 << 31;

/// One frame (LZ4 frame format 1.6), as `LZ4F_decompress` and Java's `Lz4BlockInputStream` take it.
fn lz4(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let mut parts = Parts(payload);
    if parts.u32()? != LZ4_MAGIC {
        return Err(malformed("no LZ4 frame"));
    }
    let head = parts.0;
    let (flags, sizes) = (parts.u8()?, parts.u8()?);
    if flags & LZ4_VERSION != LZ4_VERSION_1 || flags & LZ4_RESERVED != 0 || flags & LZ4_INDEPENDENT == 0 {
        return Err(malformed("an LZ4 frame of another version, with linked blocks, or with a dictionary"));
    }
    let block_bytes_max = match sizes {
        0x40 => 64 << 10,
        0x50 => 256 << 10,
        0x60 => 1 << 20,
        0x70 => 4 << 20,
        _ => return Err(malformed("an LZ4 frame with blocks of an unknown size")),
    };
    let content_bytes = if flags & LZ4_SIZE != 0 { Some(parts.u64()?) } else { None };
    let described = &head[..head.len() - parts.0.len()];
    if parts.u8()? != (xxh32(described) >> 8) as u8 {
        return Err(malformed("the header's checksum does not fit"));
    }
    loop {
        let len = parts.u32()?;
        if len == 0 {
            break;
        }
        let block = parts.take((len & !LZ4_STORED) as usize)?;
        if block.is_empty() || block.len() > block_bytes_max {
            return Err(malformed("a block is empty or too long"));
        }
        if flags & LZ4_BLOCK_SUM != 0 {
            sums(parts.u32()?, block)?;
        }
        if len & LZ4_STORED != 0 {
            append(out, block, limit)?;
        } else {
            lz4_block(block, block_bytes_max, out, limit)?;
        }
    }
    if flags & LZ4_CONTENT_SUM != 0 {
        sums(parts.u32()?, out)?;
    }
    if content_bytes.is_some_and(|bytes| bytes != out.len() as u64) {
        return Err(malformed("the content has another size than the header says"));
    }
    ends(payload.len() - parts.0.len(), payload)
}

fn lz4_block(block: &[u8], block_bytes_max: usize, out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let content = lz4_sequences(block).filter(|bytes| *bytes <= block_bytes_max);
    let bytes = content.ok_or_else(|| malformed("a block is not made of sequences"))?;
    if bytes > limit - out.len() {
        return Err(Error::TooLarge(limit));
    }
    let before = out.len();
    out.resize(before + bytes, 0);
    let written = lz4_flex::block::decompress_into(block, &mut out[before..]).map_err(malformed)?;
    if written == bytes { Ok(()) } else { Err(malformed("a block has another size than its sequences")) }
}

/// How many bytes the sequences of a block give. The last is literals only, at least five unless it is the only one: the reference
/// decoder refuses others (LZ4 block format, end of block conditions).
fn lz4_sequences(block: &[u8]) -> Option<usize> {
    const LAST_LITERALS_MIN: usize = 5;
    const MATCH_MIN: usize = 4;
    let (mut at, mut bytes) = (0, 0_usize);
    let longer = |nibble: u8, at: &mut usize| {
        let mut len = usize::from(nibble);
        let mut more = nibble == 15;
        while more {
            let byte = *block.get(*at)?;
            *at += 1;
            len = len.checked_add(usize::from(byte))?;
            more = byte == 255;
        }
        Some(len)
    };
    loop {
        let token = *block.get(at)?;
        at += 1;
        let literals = longer(token >> 4, &mut at)?;
        at = at.checked_add(literals).filter(|at| *at <= block.len())?;
        bytes = bytes.checked_add(literals)?;
        if at == block.len() {
            return (literals == bytes || literals >= LAST_LITERALS_MIN).then_some(bytes);
        }
        let offset = usize::from(u16::from_le_bytes([*block.get(at)?, *block.get(at + 1)?]));
        at += 2;
        if offset == 0 || offset > bytes {
            return None;
        }
        bytes = bytes.checked_add(MATCH_MIN)?.checked_add(longer(token & 15, &mut at)?)?;
    }
}

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The largest window that Java's and Go's readers make room for.
const ZSTD_WINDOW_MAX: u64 = 1 << 27;
/// The most bytes of one block (RFC 8878, section 3.1.1.2.4).
const ZSTD_BLOCK_MAX: u64 = 128 << 10;

/// One frame (RFC 8878), as `ZSTD_decompress` takes it.
fn zstd(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Error> {
    let mut parts = Parts(payload);
    if parts.u32()? != ZSTD_MAGIC {
        return Err(malformed("no zstd frame"));
    }
    let descriptor = parts.u8()?;
    let (single, summed) = (descriptor & 0b10_0000 != 0, descriptor & 0b100 != 0);
    if descriptor & 0b1000 != 0 || descriptor & 0b11 != 0 {
        return Err(malformed("a zstd frame with a reserved bit, or with a dictionary"));
    }
    let window = if single {
        None
    } else {
        let said = u64::from(parts.u8()?);
        let base = 1_u64 << (10 + (said >> 3));
        Some(base + base / 8 * (said & 7))
    };
    let size = match (descriptor >> 6, single) {
        (0, false) => None,
        (0, true) => Some(u64::from(parts.u8()?)),
        (1, _) => Some(u64::from(u16::from_le_bytes([parts.u8()?, parts.u8()?])) + 256),
        (2, _) => Some(u64::from(parts.u32()?)),
        (_, _) => Some(parts.u64()?),
    };
    let window = window.or(size).expect("a frame has a window or a size");
    if window > ZSTD_WINDOW_MAX {
        return Err(malformed("the zstd window is larger than 128 MiB"));
    }
    if size.is_some_and(|size| size > limit as u64) {
        return Err(Error::TooLarge(limit));
    }
    let block_max = window.min(ZSTD_BLOCK_MAX);
    let mut rest = payload;
    let mut frame = FrameDecoder::new();
    frame.set_max_window_size(ZSTD_WINDOW_MAX);
    frame.init(&mut rest).map_err(malformed)?;
    loop {
        // Three bytes: last, type, and length; of what is repeated, how often.
        let head = rest.first_chunk::<3>().ok_or_else(|| malformed("the zstd frame ends early"))?;
        if u64::from(u32::from_le_bytes([head[0], head[1], head[2], 0]) >> 3) > block_max {
            return Err(malformed("a zstd block is larger than its window"));
        }
        let last = frame.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1)).map_err(malformed)?;
        frame.collect_to_writer(&mut *out).map_err(malformed)?;
        if out.len() > limit {
            return Err(Error::TooLarge(limit));
        }
        if last {
            break;
        }
    }
    if size.is_some_and(|size| size != out.len() as u64) {
        return Err(malformed("the content has another size than the header says"));
    }
    if summed && frame.get_checksum_from_data() != Some(twox_hash::XxHash64::oneshot(0, out) as u32) {
        return Err(malformed("the content's checksum does not fit"));
    }
    ends(payload.len() - rest.len(), payload)
}
