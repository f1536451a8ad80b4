//! Making batches: what a client does before it sends.

use bytes::Bytes;

use super::header::{Compression, HEADER_BYTES, Header, LENGTH_EXCLUDES, NO_PRODUCER, NO_SEQUENCE, NO_TIMESTAMP};
use super::record::put_varint;
use crate::id::ProducerId;
use crate::time::Timestamp;

/// Gathers records into one uncompressed v2 batch.
#[derive(Clone, Debug)]
pub struct Builder {
    header: Header,
    records: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty batch without a producer id.
    pub fn new() -> Self {
        Self {
            header: Header {
                base_offset: 0,
                batch_length: 0,
                leader_epoch: -1,
                crc: 0,
                attributes: 0,
                last_offset_delta: 0,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER,
                producer_epoch: -1,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
                compression: Compression::None,
            },
            records: Vec::new(),
        }
    }

    /// Makes the batch an idempotent producer's (KIP-98); `base_sequence` is the number of its first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id.0;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.set_transactional();
        self
    }

    /// Adds a record. Negative timestamps mean none.
    ///
    /// Panics if a part, or the number of records, does not fit an `i32`.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Bytes>)],
    ) {
        let timestamp = timestamp.0.max(NO_TIMESTAMP);
        if self.header.record_count == 0 {
            self.header.base_timestamp = timestamp;
        }
        // Cut where the whole range of an i64 lies between two records.
        let delta = timestamp.saturating_sub(self.header.base_timestamp);
        self.header.max_timestamp = self.header.max_timestamp.max(self.header.base_timestamp + delta);
        let mut record = vec![0];
        put_varint(&mut record, delta);
        put_varint(&mut record, self.header.record_count.into());
        put_nullable(&mut record, key);
        put_nullable(&mut record, value);
        put_varint(&mut record, length(headers.len()));
        for (name, value) in headers {
            put_nullable(&mut record, Some(name.as_bytes()));
            put_nullable(&mut record, value.as_deref());
        }
        put_varint(&mut self.records, length(record.len()));
        self.records.extend_from_slice(&record);
        self.header.record_count = self.header.record_count.checked_add(1).expect("too many records");
    }

    /// How many records there are.
    pub fn count(&self) -> i32 {
        self.header.record_count
    }

    /// How many bytes [`Builder::build`] will give.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch. Panics without a record: Kafka knows no empty batch from a producer.
    pub fn build(mut self) -> Bytes {
        assert!(self.header.record_count > 0, "a batch has at least one record");
        self.header.last_offset_delta = self.header.record_count - 1;
        self.header.batch_length =
            i32::try_from(self.bytes() - LENGTH_EXCLUDES).expect("a batch is shorter than two GiB");
        self.header.seal(&self.records);
        let mut bytes = Vec::with_capacity(self.bytes());
        bytes.extend_from_slice(&self.header.write());
        bytes.extend_from_slice(&self.records);
        bytes.into()
    }
}

fn length(len: usize) -> i64 {
    i32::try_from(len).expect("a part of a record is shorter than two GiB").into()
}

fn put_nullable(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => put_varint(out, -1),
        Some(part) => {
            put_varint(out, length(part.len()));
            out.extend_from_slice(part);
        }
    }
}
