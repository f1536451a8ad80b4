//! What a checkpoint leaves behind: a small manifest for the journal's mark, and the state blob it names.
//!
//! Both are protobuf records with a version; the blob's length and CRC stand in the manifest.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use prost::Message;

use super::epochs::Epochs;
use super::segment::{Entry, Index, IndexFile, Segment};
use crate::id::{FileId, FileKind, Offset};
use crate::time::Timestamp;

const VERSION: u32 = 1;

/// Names a durable state blob: all that is needed to restore a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The state blob.
    pub state: FileId,
    /// Its length in bytes.
    pub state_len: u64,
    /// Its CRC-32C.
    pub state_crc: u32,
    /// The offset the next record gets.
    pub next_offset: Offset,
    /// The first offset served.
    pub log_start: Offset,
}

/// A manifest that can not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError(pub &'static str);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log manifest: {}", self.0)
    }
}

impl std::error::Error for ManifestError {}

#[derive(Clone, PartialEq, Message)]
struct ManifestRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    state: u64,
    #[prost(uint64, tag = "3")]
    state_len: u64,
    #[prost(uint32, tag = "4")]
    state_crc: u32,
    #[prost(int64, tag = "5")]
    next_offset: i64,
    #[prost(int64, tag = "6")]
    log_start: i64,
}

impl Manifest {
    /// The manifest's bytes, for a checkpoint mark.
    pub fn encode(&self) -> Bytes {
        let record = ManifestRecord {
            version: VERSION,
            state: self.state.raw(),
            state_len: self.state_len,
            state_crc: self.state_crc,
            next_offset: self.next_offset.0,
            log_start: self.log_start.0,
        };
        record.encode_to_vec().into()
    }

    /// The inverse of [`Manifest::encode`].
    ///
    /// # Errors
    /// If the bytes are of another version, or no manifest.
    pub fn decode(bytes: Bytes) -> Result<Self, ManifestError> {
        let record = ManifestRecord::decode(bytes).map_err(|_| ManifestError("it can not be decoded"))?;
        if record.version != VERSION {
            return Err(ManifestError("its version is unknown"));
        }
        if record.log_start < 0 || record.log_start > record.next_offset {
            return Err(ManifestError("the log starts behind its end"));
        }
        Ok(Self {
            state: file(record.state, FileKind::State).ok_or(ManifestError("it names no state blob"))?,
            state_len: record.state_len,
            state_crc: record.state_crc,
            next_offset: Offset(record.next_offset),
            log_start: Offset(record.log_start),
        })
    }
}

fn file(raw: u64, kind: FileKind) -> Option<FileId> {
    FileId::from_raw(raw).filter(|file| file.kind() == kind)
}

#[derive(Clone, PartialEq, Message)]
struct StateRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, tag = "2")]
    log_start: i64,
    #[prost(int64, tag = "3")]
    next_offset: i64,
    #[prost(message, repeated, tag = "4")]
    epochs: Vec<EpochRecord>,
    #[prost(message, repeated, tag = "5")]
    segments: Vec<SegmentRecord>,
    /// The sparse index of the last segment, if that is not sealed.
    #[prost(message, repeated, tag = "6")]
    active_index: Vec<EntryRecord>,
    #[prost(bytes = "bytes", tag = "7")]
    extra: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct EpochRecord {
    #[prost(int32, tag = "1")]
    epoch: i32,
    #[prost(int64, tag = "2")]
    start: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SegmentRecord {
    #[prost(int64, tag = "1")]
    base: i64,
    #[prost(int64, tag = "2")]
    next: i64,
    #[prost(uint64, tag = "3")]
    file: u64,
    #[prost(uint64, tag = "4")]
    allocated: u64,
    #[prost(uint64, tag = "5")]
    len: u64,
    #[prost(uint32, tag = "6")]
    crc: u32,
    #[prost(sint64, tag = "7")]
    max_timestamp: i64,
    /// None for the active segment.
    #[prost(message, optional, tag = "8")]
    index: Option<IndexRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct IndexRecord {
    #[prost(uint64, tag = "1")]
    file: u64,
    #[prost(uint64, tag = "2")]
    len: u64,
    #[prost(uint32, tag = "3")]
    crc: u32,
}

#[derive(Clone, PartialEq, Message)]
struct EntryRecord {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(sint64, tag = "3")]
    max_timestamp: i64,
}

/// What a state blob holds. Every segment in it has a file and is durable.
#[derive(Debug)]
pub(super) struct State {
    pub(super) log_start: Offset,
    pub(super) next_offset: Offset,
    pub(super) epochs: Epochs,
    pub(super) segments: VecDeque<Segment>,
    pub(super) extra: Bytes,
}

impl State {
    pub(super) fn encode(&self) -> Bytes {
        let epochs = self.epochs.entries().iter();
        let active_index = match self.segments.back().map(|segment| &segment.index) {
            Some(Index::Memory(entries)) => entries.as_slice(),
            Some(Index::File(_)) | None => &[],
        };
        let record = StateRecord {
            version: VERSION,
            log_start: self.log_start.0,
            next_offset: self.next_offset.0,
            epochs: epochs.map(|(epoch, start)| EpochRecord { epoch: *epoch, start: start.0 }).collect(),
            segments: self.segments.iter().map(segment_record).collect(),
            active_index: active_index
                .iter()
                .map(|entry| EntryRecord {
                    offset: entry.offset.0,
                    position: entry.position,
                    max_timestamp: entry.max_timestamp.0,
                })
                .collect(),
            extra: self.extra.clone(),
        };
        record.encode_to_vec().into()
    }

    /// Gives what is wrong if the bytes are not what the manifest names.
    pub(super) fn decode(bytes: Bytes, manifest: &Manifest) -> Result<Self, &'static str> {
        if bytes.len() as u64 != manifest.state_len || crc32c::crc32c(&bytes) != manifest.state_crc {
            return Err("the state blob is not what the mark names");
        }
        let record = StateRecord::decode(bytes).map_err(|_| "the state blob can not be decoded")?;
        if record.version != VERSION {
            return Err("the state blob has an unknown version");
        }
        if (record.log_start, record.next_offset) != (manifest.log_start.0, manifest.next_offset.0) {
            return Err("the state blob is not of the log the mark names");
        }
        let epochs = record.epochs.iter().map(|entry| (entry.epoch, Offset(entry.start))).collect();
        let mut segments = VecDeque::with_capacity(record.segments.len());
        for segment in &record.segments {
            segments.push_back(segment_of(segment).ok_or("the state blob names a segment that can not be")?);
        }
        if let Some(Segment { index: Index::Memory(entries), .. }) = segments.back_mut() {
            entries.extend(record.active_index.iter().map(|entry| Entry {
                offset: Offset(entry.offset),
                position: entry.position,
                max_timestamp: Timestamp(entry.max_timestamp),
            }));
        }
        let state = Self {
            log_start: manifest.log_start,
            next_offset: manifest.next_offset,
            epochs: Epochs::restored(epochs).ok_or("the leader epochs do not ascend")?,
            segments,
            extra: record.extra,
        };
        if state.is_contiguous() { Ok(state) } else { Err("the segments do not follow each other") }
    }

    fn is_contiguous(&self) -> bool {
        let last = self.segments.len().saturating_sub(1);
        let ends = self.segments.iter().map(|segment| segment.next);
        let bases = self.segments.iter().map(|segment| segment.base).skip(1).chain([self.next_offset]);
        let only_last_active = self.segments.iter().take(last).all(|segment| segment.sealed);
        let first = self.segments.front().map_or(self.next_offset, |segment| segment.base);
        ends.zip(bases).all(|(end, base)| end == base) && only_last_active && first <= self.log_start
    }
}

fn segment_record(segment: &Segment) -> SegmentRecord {
    let file = segment.file.expect("a durable segment has a file");
    SegmentRecord {
        base: segment.base.0,
        next: segment.next.0,
        file: file.raw(),
        allocated: segment.allocated,
        len: segment.len,
        crc: segment.crc,
        max_timestamp: segment.max_timestamp.0,
        index: match &segment.index {
            Index::Memory(_) => None,
            Index::File(index) => Some(IndexRecord { file: index.file.raw(), len: index.len, crc: index.crc }),
        },
    }
}

fn segment_of(record: &SegmentRecord) -> Option<Segment> {
    let index = match &record.index {
        None => Index::Memory(Vec::new()),
        Some(index) => Index::File(IndexFile {
            file: file(index.file, FileKind::SegmentIndex)?,
            len: index.len,
            crc: index.crc,
            synced: true,
        }),
    };
    if record.base < 0 || record.base >= record.next || record.len == 0 || record.len > record.allocated {
        return None;
    }
    Some(Segment {
        base: Offset(record.base),
        next: Offset(record.next),
        file: Some(file(record.file, FileKind::Segment)?),
        allocated: record.allocated,
        len: record.len,
        written: record.len,
        synced: record.len,
        crc: record.crc,
        max_timestamp: Timestamp(record.max_timestamp),
        sealed: record.index.is_some(),
        index,
    })
}
