//! A block: what one durable write makes safe.
//!
//! Layout: header (magic u32, CRC-32C u32, frame count u32, zero u32, file sequence u64, boot u64, block number u64, length
//! u64), the directory of its groups, its frames, zeros, and the directory again, so that a block ends at a sector's end.
//! A file begins with one sector of its own: magic, format version, CRC-32C, and whose file it is. Promises to read any
//! bytes without panic, and to find what is valid among damage. Does not judge what damage means: recovery does.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::frame::{self, Body, Draft, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, Salt, Stamp};
use super::gather::{Gather, round_up};
use super::{FORMAT_VERSION, Identity};
use crate::id::{FileId, GroupId};

const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"tlBK");
const BLOCK_HEADER_BYTES: u64 = 48;
const FILE_MAGIC: &[u8; 8] = b"tidelogJ";
/// Bytes of a file header; the rest of its sector is zero.
pub(super) const FILE_HEADER_BYTES: u64 = 512;

/// What the first sector of a file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FileHeader {
    pub(super) cluster: [u8; 16],
    pub(super) directory: [u8; 16],
    pub(super) file: u64,
    pub(super) sequence: u64,
    pub(super) boot: u64,
    pub(super) first_block: u64,
    pub(super) sector_bytes: u32,
    /// How long the file was made; zero in files of older builds, which did not say.
    pub(super) len: u64,
}

/// What stands in the place of a file header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HeaderFound {
    /// Nothing valid: zeros, a torn write, or damage.
    None,
    /// A valid header of another version.
    Version(u32),
    /// A valid header.
    Header(FileHeader),
}

impl FileHeader {
    pub(super) fn new(identity: &Identity, (file, len): (FileId, u64), stamp: Stamp, sector_bytes: u32) -> Self {
        Self {
            cluster: identity.cluster.0,
            directory: identity.directory.0,
            file: file.raw(),
            sequence: stamp.sequence,
            boot: stamp.boot,
            first_block: stamp.block,
            sector_bytes,
            len,
        }
    }

    /// Writes the header and fills its sector. Every version keeps magic, version and CRC where they are.
    pub(super) fn put(&self, gather: &mut Gather) {
        let mut covered = Vec::with_capacity(FILE_HEADER_BYTES as usize);
        covered.extend_from_slice(&self.cluster);
        covered.extend_from_slice(&self.directory);
        for number in [self.file, self.sequence, self.boot, self.first_block] {
            covered.extend_from_slice(&number.to_le_bytes());
        }
        covered.extend_from_slice(&self.sector_bytes.to_le_bytes());
        covered.extend_from_slice(&[0; 4]);
        covered.extend_from_slice(&self.len.to_le_bytes());
        covered.resize(FILE_HEADER_BYTES as usize - 16, 0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&FORMAT_VERSION.to_le_bytes()), &covered);
        gather.put(FILE_MAGIC);
        gather.put(&FORMAT_VERSION.to_le_bytes());
        gather.put(&crc.to_le_bytes());
        gather.put(&covered);
        gather.fill_to(u64::from(self.sector_bytes));
    }

    pub(super) fn parse(bytes: &Bytes) -> HeaderFound {
        let Some(bytes) = bytes.get(..FILE_HEADER_BYTES as usize) else {
            return HeaderFound::None;
        };
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sixteen = |at: usize| bytes[at..at + 16].try_into().expect("sixteen bytes");
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[8..12]), &bytes[16..]);
        if &bytes[..8] != FILE_MAGIC || crc != four(12) {
            return HeaderFound::None;
        }
        if four(8) != FORMAT_VERSION {
            return HeaderFound::Version(four(8));
        }
        HeaderFound::Header(Self {
            cluster: sixteen(16),
            directory: sixteen(32),
            file: eight(48),
            sequence: eight(56),
            boot: eight(64),
            first_block: eight(72),
            sector_bytes: four(80),
            len: eight(88),
        })
    }
}

fn directory_of(drafts: &[Draft]) -> Draft {
    let named: BTreeSet<GroupId> = drafts.iter().filter(|draft| draft.names_group()).map(|draft| draft.group).collect();
    Draft::new(GroupId(0), 0, &Body::Directory(named.into_iter().collect()))
}

/// A block ready to be written: all but its stamp.
pub(super) struct BlockDraft {
    directory: Draft,
    frames: Vec<Draft>,
    bytes: u64,
}

impl BlockDraft {
    /// Prepares a block of these frames.
    pub(super) fn new(frames: Vec<Draft>, sector_bytes: u32) -> Self {
        let directory = directory_of(&frames);
        let bytes = block_bytes(directory.bytes(), frames.iter().map(Draft::bytes).sum(), sector_bytes);
        Self { directory, frames, bytes }
    }

    /// How many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the block to the end of `gather`, which stands at a sector's start.
    pub(super) fn put(&self, gather: &mut Gather, salt: Salt, stamp: Stamp) {
        let end = gather.len() + self.bytes;
        let frames = u32::try_from(self.frames.len()).expect("frames of a block fit a u32");
        let mut covered = Vec::with_capacity(BLOCK_HEADER_BYTES as usize);
        covered.extend_from_slice(&frames.to_le_bytes());
        covered.extend_from_slice(&[0; 4]);
        for number in [stamp.sequence, stamp.boot, stamp.block, self.bytes] {
            covered.extend_from_slice(&number.to_le_bytes());
        }
        gather.put(&BLOCK_MAGIC.to_le_bytes());
        gather.put(&crc32c::crc32c_append(salt.0, &covered).to_le_bytes());
        gather.put(&covered);
        self.directory.put(gather, salt, stamp);
        self.frames.iter().for_each(|draft| draft.put(gather, salt, stamp));
        gather.fill_to(end - self.directory.bytes());
        self.directory.put(gather, salt, stamp);
    }
}

/// The length of a block with a directory and frames of these lengths.
fn block_bytes(directory: u64, frames: u64, sector_bytes: u32) -> u64 {
    round_up(BLOCK_HEADER_BYTES + 2 * directory + frames, u64::from(sector_bytes))
}

/// A bound of the length of a block with frames of `frames` bytes that name up to `groups` groups.
pub(super) fn block_bytes_bound(frames: u64, groups: u64, sector_bytes: u32) -> u64 {
    block_bytes(FRAME_HEADER_BYTES + 8 * groups, frames, sector_bytes)
}

struct BlockHeader {
    stamp: Stamp,
    frames: u32,
    bytes: u64,
}

fn parse_header(bytes: &Bytes, at: usize, salt: Salt) -> Option<BlockHeader> {
    let header = bytes.get(at..at.checked_add(BLOCK_HEADER_BYTES as usize)?)?;
    let four = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let eight = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if four(0) != BLOCK_MAGIC || four(4) != crc32c::crc32c_append(salt.0, &header[8..]) {
        return None;
    }
    let stamp = Stamp { sequence: eight(16), boot: eight(24), block: eight(32) };
    Some(BlockHeader { stamp, frames: four(8), bytes: eight(40) })
}

/// How long the block at `at` claims to be, if its header is good; else the length of a header.
pub(super) fn claimed_bytes(bytes: &Bytes, at: usize, salt: Salt, stamp: Stamp) -> u64 {
    let header = parse_header(bytes, at, salt).filter(|header| header.stamp == stamp);
    header.map_or(BLOCK_HEADER_BYTES, |header| header.bytes)
}

/// What was read in the place of a block.
pub(super) struct BlockRead {
    /// The frames before the first bad one; the directory is not among them.
    pub(super) frames: Vec<Frame>,
    /// The byte behind the last good frame; the start of the block if not even its directory is good.
    pub(super) good_end: usize,
    /// The byte behind the block, if all of it is good.
    pub(super) end: Option<usize>,
}

/// Reads the block that should stand at `at`: of this file sequence and boot, with this number.
pub(super) fn read(bytes: &Bytes, at: usize, salt: Salt, stamp: Stamp) -> BlockRead {
    let mut block = BlockRead { frames: Vec::new(), good_end: at, end: None };
    let Some(header) = parse_header(bytes, at, salt).filter(|header| header.stamp == stamp) else {
        return block;
    };
    let good = |at: usize| frame::parse(bytes, at, salt).filter(|(frame, _)| frame.stamp == stamp);
    let start = at + BLOCK_HEADER_BYTES as usize;
    let Some((front, mut place)) = good(start) else {
        return block;
    };
    if !matches!(front.body, Body::Directory(_)) {
        return block;
    }
    let directory_bytes = place - start;
    block.good_end = place;
    for _ in 0..header.frames {
        let Some((frame, end)) = good(place) else { return block };
        block.frames.push(frame);
        place = end;
        block.good_end = end;
    }
    let end = usize::try_from(header.bytes).ok().and_then(|len| at.checked_add(len));
    let Some((end, back)) = end.and_then(|end| Some((end, end.checked_sub(directory_bytes)?))) else {
        return block;
    };
    if back >= place && good(back).is_some_and(|(frame, _)| frame == front) {
        block.end = Some(end);
    }
    block
}

/// Something valid that was found among damage.
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) stamp: Stamp,
    /// It is a block header.
    pub(super) header: bool,
    /// It is a directory, of these groups.
    pub(super) directory: Option<Vec<GroupId>>,
    /// The append number of a frame.
    pub(super) append: u64,
}

/// Finds every valid header and frame from `from` on, of one file sequence or of any.
pub(super) fn scan(bytes: &Bytes, from: usize, salt: Salt, sequence: Option<u64>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = from.next_multiple_of(FRAME_ALIGN as usize);
    let wanted = |stamp: &Stamp| sequence.is_none_or(|sequence| stamp.sequence == sequence);
    while let Some(magic) = bytes.get(at..at + 4) {
        let magic = u32::from_le_bytes(magic.try_into().expect("four bytes"));
        let mut next = at + FRAME_ALIGN as usize;
        if magic == BLOCK_MAGIC {
            if let Some(header) = parse_header(bytes, at, salt) {
                next = at + BLOCK_HEADER_BYTES as usize;
                if wanted(&header.stamp) {
                    found.push(Found { at, stamp: header.stamp, header: true, directory: None, append: 0 });
                }
            }
        } else if magic == FRAME_MAGIC
            && let Some((frame, end)) = frame::parse(bytes, at, salt)
        {
            // What a valid frame carries is a payload, whatever it looks like.
            next = end;
            if wanted(&frame.stamp) {
                let Frame { stamp, append, body, .. } = frame;
                let directory = if let Body::Directory(groups) = body { Some(groups) } else { None };
                found.push(Found { at, stamp, header: false, directory, append });
            }
        }
        at = next;
    }
    found
}
