//! A frame: the smallest thing the journal writes, and the smallest it believes.
//!
//! Layout, little-endian, 8-byte aligned: magic u32, CRC-32C u32, payload length u32, kind u8, flags u8, zero u16, file
//! sequence u64, boot u64, block number u64, group u64, append number u64; then the payload, then zeros to alignment. The
//! CRC covers everything behind it, payload included, and starts from the identity of the directory, so that neither a
//! recycled file's old content nor another directory's file ever validates. Does not know which block or file it is in
//! beyond what its stamp says, nor whether it may be trusted: recovery judges.

use bytes::Bytes;

use super::base::{Base, BaseGroup};
use super::cursor::Cursor;
use super::gather::{Gather, round_up};
use super::{Entry, HardState, Identity, Mark};
use crate::id::{GroupId, Index, ReplicaId, Term};

pub(super) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"tlFR");
/// Bytes before the payload.
pub(super) const FRAME_HEADER_BYTES: u64 = 56;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 8;
/// Bytes that describe one entry, before its context and data.
pub(super) const ENTRY_HEADER_BYTES: u64 = 28;

/// What the CRCs of one directory start from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Salt(pub(super) u32);

impl Salt {
    /// The salt of a directory.
    pub(super) fn of(identity: &Identity) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&identity.cluster.0), &identity.directory.0))
    }
}

/// Where and when a frame or block was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// The file's sequence: never the same for two uses of one file.
    pub(super) sequence: u64,
    /// The incarnation.
    pub(super) boot: u64,
    /// The block's number, over all files.
    pub(super) block: u64,
}

/// What a frame says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Body {
    /// The groups of a block; at both of its ends.
    Directory(Vec<GroupId>),
    /// Opens a file.
    Base(Base),
    /// One group, in the base of a file.
    Group(BaseGroup),
    /// A fresh append.
    Append { truncate_from: Option<Index>, hard: Option<HardState>, entries: Vec<Entry> },
    /// A hard state alone.
    Hard(HardState),
    /// A checkpoint mark.
    Mark(Mark),
    /// A mark of what was copied: nothing else of the group is left.
    Install(Mark),
    /// Entries written again, under their first append number. Never truncates.
    Carry(Vec<Entry>),
    /// The group is gone.
    Forget,
    /// The suspension of unknown groups is over: these are suspended, and no others.
    Absolve(Vec<GroupId>),
}

/// A frame that was read.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Frame {
    pub(super) stamp: Stamp,
    pub(super) group: GroupId,
    /// Ascends by one with each fresh frame of a group; a carried frame has that of its entries.
    pub(super) append: u64,
    pub(super) body: Body,
}

const HAS_TRUNCATION: u8 = 1;
const HAS_HARD: u8 = 2;

/// A frame about to be written: everything but its stamp.
pub(super) struct Draft {
    kind: u8,
    flags: u8,
    pub(super) group: GroupId,
    append: u64,
    meta: Vec<u8>,
    payload: Vec<Bytes>,
}

fn put_hard(meta: &mut Vec<u8>, hard: &HardState) {
    for number in [hard.term.0, hard.vote.0, hard.commit.0] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn get_hard(cursor: &mut Cursor<'_>) -> Option<HardState> {
    Some(HardState { term: Term(cursor.u64()?), vote: ReplicaId(cursor.u64()?), commit: Index(cursor.u64()?) })
}

fn put_groups(meta: &mut Vec<u8>, groups: &[GroupId]) {
    meta.extend(groups.iter().flat_map(|group| group.0.to_le_bytes()));
}

fn get_groups(cursor: &mut Cursor<'_>, len: usize) -> Option<Vec<GroupId>> {
    if !len.is_multiple_of(8) {
        return None;
    }
    (0..len / 8).map(|_| cursor.u64().map(GroupId)).collect()
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a payload of the journal is below 4 GiB")
}

fn put_entries(meta: &mut Vec<u8>, payload: &mut Vec<Bytes>, entries: &[Entry]) {
    meta.extend_from_slice(&length(entries.len()).to_le_bytes());
    for entry in entries {
        meta.extend_from_slice(&entry.index.0.to_le_bytes());
        meta.extend_from_slice(&entry.term.0.to_le_bytes());
        meta.extend_from_slice(&[entry.kind, 0, 0, 0]);
        meta.extend_from_slice(&length(entry.context.len()).to_le_bytes());
        meta.extend_from_slice(&length(entry.data.len()).to_le_bytes());
        payload.extend([&entry.context, &entry.data].into_iter().filter(|bytes| !bytes.is_empty()).cloned());
    }
}

fn get_entries(cursor: &mut Cursor<'_>) -> Option<Vec<Entry>> {
    let count = cursor.count(ENTRY_HEADER_BYTES as usize)?;
    let mut entries = Vec::with_capacity(count);
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, term, kind) = (Index(cursor.u64()?), Term(cursor.u64()?), cursor.u8()?);
        let _reserved = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
        lengths.push((cursor.u32()?, cursor.u32()?));
        entries.push(Entry { index, term, kind, context: Bytes::new(), data: Bytes::new() });
    }
    for (entry, (context, data)) in entries.iter_mut().zip(lengths) {
        entry.context = cursor.bytes(context)?;
        entry.data = cursor.bytes(data)?;
    }
    Some(entries)
}

pub(super) fn put_mark(meta: &mut Vec<u8>, payload: &mut Vec<Bytes>, mark: &Mark) {
    for number in [mark.applied.0, mark.applied_term.0] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
    meta.extend_from_slice(&length(mark.body.len()).to_le_bytes());
    payload.push(mark.body.clone());
}

pub(super) fn get_mark(cursor: &mut Cursor<'_>) -> Option<Mark> {
    let (applied, applied_term) = (Index(cursor.u64()?), Term(cursor.u64()?));
    let len = cursor.u32()?;
    Some(Mark { applied, applied_term, body: cursor.bytes(len)? })
}

impl Draft {
    /// Prepares a frame.
    pub(super) fn new(group: GroupId, append: u64, body: &Body) -> Self {
        let (mut flags, mut meta, mut payload) = (0, Vec::new(), Vec::new());
        let kind = match body {
            Body::Directory(groups) => {
                put_groups(&mut meta, groups);
                1
            }
            Body::Base(base) => {
                base.put(&mut meta);
                2
            }
            Body::Group(group) => {
                group.put(&mut meta, &mut payload);
                3
            }
            Body::Append { truncate_from, hard, entries } => {
                if let Some(index) = truncate_from {
                    flags |= HAS_TRUNCATION;
                    meta.extend_from_slice(&index.0.to_le_bytes());
                }
                if let Some(hard) = hard {
                    flags |= HAS_HARD;
                    put_hard(&mut meta, hard);
                }
                put_entries(&mut meta, &mut payload, entries);
                4
            }
            Body::Hard(hard) => {
                put_hard(&mut meta, hard);
                5
            }
            Body::Mark(mark) => {
                put_mark(&mut meta, &mut payload, mark);
                6
            }
            Body::Install(mark) => {
                put_mark(&mut meta, &mut payload, mark);
                10
            }
            Body::Carry(entries) => {
                put_entries(&mut meta, &mut payload, entries);
                7
            }
            Body::Forget => 8,
            Body::Absolve(groups) => {
                put_groups(&mut meta, groups);
                9
            }
        };
        Self { kind, flags, group, append, meta, payload }
    }

    /// Whether it is about its group: base, directory and absolution are about no single one.
    pub(super) fn names_group(&self) -> bool {
        !matches!(self.kind, 1 | 2 | 9)
    }

    fn payload_bytes(&self) -> usize {
        self.meta.len() + self.payload.iter().map(Bytes::len).sum::<usize>()
    }

    /// How many bytes the frame takes, alignment included.
    pub(super) fn bytes(&self) -> u64 {
        round_up(FRAME_HEADER_BYTES + self.payload_bytes() as u64, FRAME_ALIGN)
    }

    /// Writes the frame to the end of `gather`, which stands at an aligned place.
    pub(super) fn put(&self, gather: &mut Gather, salt: Salt, stamp: Stamp) {
        let end = gather.len() + self.bytes();
        let mut covered = Vec::with_capacity(FRAME_HEADER_BYTES as usize - 8);
        covered.extend_from_slice(&length(self.payload_bytes()).to_le_bytes());
        covered.extend_from_slice(&[self.kind, self.flags, 0, 0]);
        for number in [stamp.sequence, stamp.boot, stamp.block, self.group.0, self.append] {
            covered.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt.0, &covered), &self.meta);
        let crc = self.payload.iter().fold(crc, |crc, bytes| crc32c::crc32c_append(crc, bytes));
        gather.put(&FRAME_MAGIC.to_le_bytes());
        gather.put(&crc.to_le_bytes());
        gather.put(&covered);
        gather.put(&self.meta);
        self.payload.iter().for_each(|bytes| gather.share(bytes));
        gather.fill_to(end);
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads the frame at `at`, if a valid one stands there: gives it and the place behind it.
pub(super) fn parse(bytes: &Bytes, at: usize, salt: Salt) -> Option<(Frame, usize)> {
    let header = bytes.get(at..at.checked_add(FRAME_HEADER_BYTES as usize)?)?;
    if header[..4] != FRAME_MAGIC.to_le_bytes() {
        return None;
    }
    let crc = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
    let len = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
    let start = at + FRAME_HEADER_BYTES as usize;
    let payload_end = start.checked_add(len)?;
    let covered = bytes.get(at + 8..payload_end)?;
    if crc32c::crc32c_append(salt.0, covered) != crc {
        return None;
    }
    let stamp = Stamp { sequence: number(header, 16), boot: number(header, 24), block: number(header, 32) };
    let (group, append) = (GroupId(number(header, 40)), number(header, 48));
    let body = decode(header[12], header[13], &bytes.slice(start..payload_end))?;
    let end = payload_end.checked_next_multiple_of(FRAME_ALIGN as usize)?;
    Some((Frame { stamp, group, append, body }, end))
}

fn decode(kind: u8, flags: u8, payload: &Bytes) -> Option<Body> {
    let cursor = &mut Cursor::new(payload);
    let body = match kind {
        1 => Body::Directory(get_groups(cursor, payload.len())?),
        2 => Body::Base(Base::get(cursor)?),
        3 => Body::Group(BaseGroup::get(cursor)?),
        4 => {
            let truncate_from = if flags & HAS_TRUNCATION == 0 { None } else { Some(Index(cursor.u64()?)) };
            let hard = if flags & HAS_HARD == 0 { None } else { Some(get_hard(cursor)?) };
            Body::Append { truncate_from, hard, entries: get_entries(cursor)? }
        }
        5 => Body::Hard(get_hard(cursor)?),
        6 => Body::Mark(get_mark(cursor)?),
        7 => Body::Carry(get_entries(cursor)?),
        8 => Body::Forget,
        9 => Body::Absolve(get_groups(cursor, payload.len())?),
        10 => Body::Install(get_mark(cursor)?),
        _ => return None,
    };
    cursor.is_at_end().then_some(body)
}
