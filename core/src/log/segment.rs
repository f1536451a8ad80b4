//! One segment: a file of batches, and the sparse index that finds a place in it by offset or by time.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{FileId, Offset};
use crate::kafka::batch::Stored;
use crate::time::Timestamp;

/// The batches from here up to the next entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// The base offset of the first of them.
    pub(super) offset: Offset,
    /// Where that one lies in the file.
    pub(super) position: u64,
    /// The largest timestamp in any of them.
    pub(super) max_timestamp: Timestamp,
}

/// Where the sparse index is.
#[derive(Clone, Debug)]
pub(super) enum Index {
    /// In memory: the segment is active, or its index file is not written yet.
    Memory(Vec<Entry>),
    /// In a file of its own, read when it is needed.
    File(IndexFile),
}

/// A written index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IndexFile {
    pub(super) file: FileId,
    pub(super) len: u64,
    pub(super) crc: u32,
    pub(super) synced: bool,
}

/// A part of the log in one file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The offset of its first record.
    pub(super) base: Offset,
    /// The offset after its last record.
    pub(super) next: Offset,
    /// Named when the first write needs it.
    pub(super) file: Option<FileId>,
    /// How long the file is at least.
    pub(super) allocated: u64,
    /// How many bytes of batches there are; this many are written; this many are durable.
    pub(super) len: u64,
    pub(super) written: u64,
    pub(super) synced: u64,
    /// CRC-32C of all of them.
    pub(super) crc: u32,
    pub(super) max_timestamp: Timestamp,
    /// Nothing is appended any more.
    pub(super) sealed: bool,
    pub(super) index: Index,
}

impl Segment {
    pub(super) fn new(base: Offset) -> Self {
        Self {
            base,
            next: base,
            file: None,
            allocated: 0,
            len: 0,
            written: 0,
            synced: 0,
            crc: 0,
            max_timestamp: Timestamp(i64::MIN),
            sealed: false,
            index: Index::Memory(Vec::new()),
        }
    }

    pub(super) fn append(&mut self, batch: &Stored, index_interval_bytes: u64) {
        assert!(!self.sealed, "appended to a sealed segment");
        let Index::Memory(entries) = &mut self.index else { panic!("an active segment has its index in memory") };
        let max_timestamp = batch.max_timestamp;
        match entries.last_mut() {
            Some(last) if self.len - last.position < index_interval_bytes => {
                last.max_timestamp = last.max_timestamp.max(max_timestamp);
            }
            Some(_) | None => {
                entries.push(Entry { offset: batch.base_offset, position: self.len, max_timestamp });
            }
        }
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, &batch.head), &batch.body);
        self.len += batch.len();
        self.next = Offset(batch.last_offset.0 + 1);
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    pub(super) fn index_file(&self) -> Option<FileId> {
        match &self.index {
            Index::Memory(_) => None,
            Index::File(index) => Some(index.file),
        }
    }
}

/// The entry whose interval holds `offset`.
pub(super) fn floor(entries: &[Entry], offset: Offset) -> Option<&Entry> {
    entries[..entries.partition_point(|entry| entry.offset <= offset)].last()
}

const INDEX_MAGIC: u32 = 0x544C_4958; // "TLIX"
const INDEX_VERSION: u32 = 1;
const INDEX_HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 24;

/// The bytes of an index file: a magic number, a version, then 24 bytes for each entry, all big-endian.
pub(super) fn encode_index(entries: &[Entry]) -> Bytes {
    let mut out = BytesMut::with_capacity(INDEX_HEAD_BYTES + entries.len() * ENTRY_BYTES);
    out.put_u32(INDEX_MAGIC);
    out.put_u32(INDEX_VERSION);
    for entry in entries {
        out.put_i64(entry.offset.0);
        out.put_u64(entry.position);
        out.put_i64(entry.max_timestamp.0);
    }
    out.freeze()
}

/// Reads an index file that was written as `expected`. Gives what is wrong with it otherwise.
pub(super) fn decode_index(mut bytes: Bytes, expected: &IndexFile) -> Result<Vec<Entry>, &'static str> {
    if bytes.len() as u64 != expected.len || crc32c::crc32c(&bytes) != expected.crc {
        return Err("the index is not what was written");
    }
    if bytes.len() < INDEX_HEAD_BYTES || bytes.get_u32() != INDEX_MAGIC || bytes.get_u32() != INDEX_VERSION {
        return Err("the index has an unknown format");
    }
    if bytes.is_empty() || !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err("the index is not made of entries");
    }
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    while bytes.has_remaining() {
        entries.push(Entry {
            offset: Offset(bytes.get_i64()),
            position: bytes.get_u64(),
            max_timestamp: Timestamp(bytes.get_i64()),
        });
    }
    Ok(entries)
}
