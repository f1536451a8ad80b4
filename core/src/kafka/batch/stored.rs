//! Batches that have a place in a partition: made at apply, read from segments and from Fetch answers.

use bytes::Bytes;

use super::header::{CRC_FROM, Compression, Damage, HEADER_BYTES, Header};
use super::record::{RawRecord, Record, Records};
use crate::id::{Offset, ProducerId};
use crate::kafka::compress;
use crate::limits::DECOMPRESSED_BYTES_MAX;
use crate::time::Timestamp;

pub(super) fn check_crc(header: &Header, batch: &[u8]) -> Result<(), Damage> {
    let actual = crc32c::crc32c(&batch[CRC_FROM..]);
    if actual == header.crc { Ok(()) } else { Err(Damage::Crc { stated: header.crc, actual }) }
}

/// A batch with its place, ready to be written and served: the header that was rebuilt, and the payload as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The 61 bytes of the header.
    pub head: Bytes,
    /// The payload, shared with the request or the entry it came from.
    pub body: Bytes,
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The term whose leader proposed it.
    pub leader_epoch: i32,
    /// What timestamp deltas are added to.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of a record.
    pub max_timestamp: Timestamp,
}

impl Stored {
    pub(super) fn new(header: &Header, body: Bytes) -> Self {
        assert!(header.base_offset >= 0, "a batch was placed below offset 0");
        assert!(header.base_offset.checked_add(header.last_offset_delta.into()).is_some(), "offsets are exhausted");
        Self {
            head: Bytes::copy_from_slice(&header.write()),
            body,
            base_offset: Offset(header.base_offset),
            last_offset: Offset(header.last_offset()),
            leader_epoch: header.leader_epoch,
            base_timestamp: Timestamp(header.base_timestamp),
            max_timestamp: Timestamp(header.max_timestamp),
        }
    }

    /// How many bytes the whole batch has.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }
}

/// Whether [`views`] computes checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Headers only.
    Header,
    /// The CRC of each batch too.
    Crc,
}

/// Reads batches that stand one after the other. A batch that is cut off at the end is damage ([`Damage::Short`]).
pub fn views(batches: Bytes, check: Check) -> Views {
    Views { rest: batches, check }
}

/// The iterator of [`views`]; ends after the first damage.
#[derive(Clone, Debug)]
pub struct Views {
    rest: Bytes,
    check: Check,
}

impl Views {
    fn take(&mut self) -> Result<StoredView, Damage> {
        let header = Header::read(&self.rest)?;
        if header.total_bytes() > self.rest.len() {
            return Err(Damage::Short);
        }
        let bytes = self.rest.split_to(header.total_bytes());
        match self.check {
            Check::Header => {}
            Check::Crc => check_crc(&header, &bytes)?,
        }
        Ok(StoredView { header, bytes })
    }
}

impl Iterator for Views {
    type Item = Result<StoredView, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let view = self.take();
        if view.is_err() {
            self.rest.clear();
        }
        Some(view)
    }
}

/// One batch read back from stored bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredView {
    header: Header,
    bytes: Bytes,
}

impl StoredView {
    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The offset of the first record (of the first one ever, if compaction took it).
    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset)
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.header.last_offset())
    }

    /// The term whose leader proposed it.
    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    /// The largest timestamp of a record.
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.header.max_timestamp)
    }

    /// Who sent it, if idempotent.
    pub fn producer_id(&self) -> Option<ProducerId> {
        (self.header.producer_id >= 0).then_some(ProducerId(self.header.producer_id))
    }

    /// The same batch as it was when its place was given, cut in two.
    pub fn to_stored(&self) -> Stored {
        Stored::new(&self.header, self.bytes.slice(HEADER_BYTES..))
    }

    /// The records' bytes, unfolded.
    pub(super) fn payload(&self) -> Result<Bytes, Damage> {
        let body = self.bytes.slice(HEADER_BYTES..);
        match self.header.compression {
            Compression::None => Ok(body),
            codec @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
                compress::decompress(codec, &body, DECOMPRESSED_BYTES_MAX).map(Bytes::from).map_err(Damage::Compressed)
            }
        }
    }

    pub(super) fn walk<'a>(&self, payload: &'a [u8]) -> Records<'a> {
        Records::new(payload, self.header.record_count)
    }

    /// The place and time of one of its records.
    pub(super) fn place(&self, record: &RawRecord<'_>) -> Result<(Offset, Timestamp), Damage> {
        let offset = self.header.base_offset.checked_add(record.offset_delta.into());
        let offset = offset.ok_or(Damage::Record("its offset is out of range"))?;
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            let timestamp = self.header.base_timestamp.checked_add(record.timestamp_delta);
            timestamp.ok_or(Damage::Record("its timestamp is out of range"))?
        };
        Ok((Offset(offset), Timestamp(timestamp)))
    }

    /// All records, unfolding the payload if it is compressed (to at most [`DECOMPRESSED_BYTES_MAX`] bytes).
    ///
    /// # Errors
    /// If the payload does not unfold or a record can not be read. Brokers do not look into compressed batches, so the fault
    /// may be the producer's.
    pub fn records(&self) -> Result<Vec<Record>, Damage> {
        let payload = self.payload()?;
        let mut records = Vec::new();
        for raw in self.walk(&payload) {
            let raw = raw?;
            let (offset, timestamp) = self.place(&raw)?;
            records.push(Record {
                offset,
                timestamp,
                key: raw.key.map(|key| payload.slice_ref(key)),
                value: raw.value.map(|value| payload.slice_ref(value)),
                headers: raw.headers(&payload),
            });
        }
        Ok(records)
    }
}
