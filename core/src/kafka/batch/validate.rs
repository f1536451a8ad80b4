//! From bytes a producer sent to a batch that later code trusts.

use bytes::{Bytes, BytesMut};

use super::header::{Compression, Damage, HEADER_BYTES, Header, LENGTH_AT, MAGIC_AT, NO_PRODUCER, NO_TIMESTAMP};
use super::record::{RawRecord, Records};
use super::stored::Stored;
use crate::id::{Offset, ProducerId};
use crate::kafka::compress::unfold;
use crate::kafka::errors::ErrorCode;
use crate::limits::DECOMPRESSED_BYTES_MAX;
use crate::time::Timestamp;

/// One v2 batch without a place in a log yet.
///
/// - The header was parsed, and its length is the length of the bytes.
/// - `last_offset_delta + 1 == record_count`, which is above zero.
/// - The CRC fits, unless it was never looked at ([`Batch::parse`]).
///
/// Two are equal if their bytes are: the rest follows from those, or was not looked at.
#[derive(Clone, Eq, Debug)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
    /// The smallest timestamp of its records that have one; the largest possible if none has, or nobody looked.
    earliest: i64,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

/// What walking the records of a batch shows of their timestamps.
struct Times {
    /// The smallest of the records that have one.
    earliest: i64,
    latest: i64,
}

/// Checks what a client wants appended to one partition.
///
/// The records of an uncompressed batch are walked, and the largest timestamp is set right if the client left it unset or wrong.
/// So are those of a compressed one, unfolded up to [`DECOMPRESSED_BYTES_MAX`] bytes: a batch that nobody could read, or that lies
/// about its records, would otherwise be found by every consumer. It is kept as it was sent.
///
/// # Errors
/// The code a Kafka broker answers: `InvalidRecord` for no batch at all, `CorruptMessage` for an impossible length or a wrong CRC; `UnsupportedForMessageFormat`
/// for magic 0 and 1; `UnsupportedCompressionType` for an unknown codec; `InvalidTimestamp` if the client claims the
/// broker's timestamp; `InvalidRecord` for everything else, a second batch included.
pub fn validate(records: Option<Bytes>) -> Result<Batch, ErrorCode> {
    let bytes = records.ok_or(ErrorCode::InvalidRecord)?;
    begins(&bytes)?;
    let header = Header::read(&bytes).map_err(|damage| error_of(&damage))?;
    // KIP-98: from Produce 3 on exactly one batch for each partition.
    if header.total_bytes() < bytes.len() {
        return Err(ErrorCode::InvalidRecord);
    }
    let batch = Batch { header, bytes, earliest: i64::MAX };
    batch.check_crc().map_err(|damage| error_of(&damage))?;
    batch.check_client_header()?;
    let times = match header.compression {
        Compression::None => walk(&header, batch.payload()),
        codec @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
            let payload = unfold(codec, batch.payload(), DECOMPRESSED_BYTES_MAX)
                .map_err(|error| error_of(&Damage::Compressed(error)))?;
            walk(&header, &payload)
        }
    };
    let Times { earliest, latest } = times.map_err(|damage| error_of(&damage))?;
    let batch = Batch { earliest, ..batch };
    if latest == header.max_timestamp {
        Ok(batch)
    } else {
        Ok(batch.rebuilt(Header { max_timestamp: latest, ..header }))
    }
}

/// Whether there is a batch of the current format at all. Looks as Kafka's `ByteBufferLogInputStream` does, and in its order: at the
/// length, which is that of something; at the magic; then whether there is so much.
fn begins(bytes: &[u8]) -> Result<(), ErrorCode> {
    /// The least that a batch of any format claims behind its offset and length.
    const BATCH_LENGTH_MIN: i32 = 14;
    let Some(length) = bytes.get(LENGTH_AT..).and_then(|rest| rest.first_chunk()) else {
        return Err(ErrorCode::InvalidRecord);
    };
    let length = i32::from_be_bytes(*length);
    if length < BATCH_LENGTH_MIN {
        return Err(ErrorCode::CorruptMessage);
    }
    let there = bytes.len() - LENGTH_AT - 4 >= length.unsigned_abs() as usize;
    match bytes.get(MAGIC_AT) {
        Some(0 | 1) if there => Err(ErrorCode::UnsupportedForMessageFormat),
        Some(2) if there => Ok(()),
        Some(0..=2) | None => Err(ErrorCode::InvalidRecord),
        Some(_) => Err(ErrorCode::CorruptMessage),
    }
}

fn error_of(damage: &Damage) -> ErrorCode {
    match damage {
        Damage::Short | Damage::Length(_) | Damage::Magic(_) | Damage::Crc { .. } => ErrorCode::CorruptMessage,
        Damage::Codec(_) => ErrorCode::UnsupportedCompressionType,
        Damage::Header(_) | Damage::Record(_) | Damage::Compressed(_) => ErrorCode::InvalidRecord,
    }
}

/// kafka-python reads the attributes of a record as a varint: beyond this, everything behind them would be something else to it.
const ATTRIBUTES_MAX: u8 = 127;

/// Walks every record.
fn walk(header: &Header, payload: &[u8]) -> Result<Times, Damage> {
    let mut times = Times { earliest: i64::MAX, latest: i64::MIN };
    for (expected_delta, record) in (0..).zip(Records::new(payload, header.record_count)) {
        let record = record?;
        if record.attributes > ATTRIBUTES_MAX {
            return Err(Damage::Record("its attributes are not one byte to every client"));
        }
        if record.offset_delta != expected_delta {
            return Err(Damage::Record("offset deltas are not consecutive"));
        }
        let timestamp = header
            .base_timestamp
            .checked_add(record.timestamp_delta)
            .ok_or(Damage::Record("its timestamp is out of range"))?;
        times.latest = times.latest.max(timestamp);
        if timestamp != NO_TIMESTAMP {
            times.earliest = times.earliest.min(timestamp);
        }
    }
    Ok(times)
}

impl Batch {
    /// Reads one batch that was validated before it was proposed. Only the header is looked at: entries of the replicated log
    /// are under checksums of their own.
    ///
    /// # Errors
    /// If the bytes are not exactly one batch, or its counts do not fit.
    pub fn parse(bytes: Bytes) -> Result<Self, Damage> {
        let header = Header::read(&bytes)?;
        if header.total_bytes() != bytes.len() {
            return Err(Damage::Length(header.batch_length));
        }
        let batch = Self { header, bytes, earliest: i64::MAX };
        if batch.counts_fit() { Ok(batch) } else { Err(Damage::Header("the count does not fit the last offset")) }
    }

    fn counts_fit(&self) -> bool {
        self.header.record_count > 0 && self.header.last_offset_delta == self.header.record_count - 1
    }

    fn check_crc(&self) -> Result<(), Damage> {
        super::stored::check_crc(&self.header, &self.bytes)
    }

    fn check_client_header(&self) -> Result<(), ErrorCode> {
        let header = &self.header;
        if header.base_offset != 0 || !self.counts_fit() || header.is_control() || header.has_delete_horizon() {
            return Err(ErrorCode::InvalidRecord);
        }
        if header.is_log_append_time() {
            return Err(ErrorCode::InvalidTimestamp);
        }
        // Idempotent means all three (KIP-98); a transaction is idempotent.
        let idempotent = header.producer_id >= 0 && header.producer_epoch >= 0 && header.base_sequence >= 0;
        let anonymous = header.producer_id == NO_PRODUCER && !header.is_transactional();
        if idempotent || anonymous { Ok(()) } else { Err(ErrorCode::InvalidRecord) }
    }

    /// The same records under another header: the CRC is computed anew and the bytes are copied.
    fn rebuilt(&self, mut header: Header) -> Self {
        header.seal(self.payload());
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        bytes.extend_from_slice(&header.write());
        bytes.extend_from_slice(self.payload());
        Self { header, bytes: bytes.freeze(), earliest: self.earliest }
    }

    /// The batch stamped with the broker's time: what a topic with `message.timestamp.type=LogAppendTime` keeps. Its readers
    /// ignore the records' own timestamps.
    pub fn with_log_append_time(&self, at: Timestamp) -> Self {
        let mut header = self.header;
        header.set_log_append_time(at.0);
        self.rebuilt(header)
    }

    /// The same records at another place in the sequence of their producer: for whoever plays one that leaves some out.
    pub fn with_base_sequence(&self, base_sequence: i32) -> Self {
        self.rebuilt(Header { base_sequence, ..self.header })
    }

    /// Gives the batch its place: the header is rebuilt beside the shared payload. The CRC covers neither field.
    ///
    /// Panics if the offsets leave the range of an `i64` or `base` is negative.
    pub fn assign(&self, base: Offset, leader_epoch: i32) -> Stored {
        let header = Header { base_offset: base.0, leader_epoch, ..self.header };
        Stored::new(&header, self.bytes.slice(HEADER_BYTES..))
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The whole batch, as it goes over the wire.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// How many bytes the whole batch has.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Who sent it, if idempotent.
    pub fn producer_id(&self) -> Option<ProducerId> {
        (self.header.producer_id >= 0).then_some(ProducerId(self.header.producer_id))
    }

    /// In which life of the producer; meaningless without an id.
    pub fn producer_epoch(&self) -> i16 {
        self.header.producer_epoch
    }

    /// The sequence number of the first record; meaningless without an id.
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence
    }

    /// The sequence number of the last record, which follows 2^31-1 with 0; meaningless without an id.
    pub fn last_sequence(&self) -> i32 {
        self.header.base_sequence.wrapping_add(self.header.last_offset_delta) & i32::MAX
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.header.is_transactional()
    }

    /// How many records there are; above zero.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// `record_count - 1`.
    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta
    }

    /// What timestamp deltas are added to.
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(self.header.base_timestamp)
    }

    /// The largest timestamp of a record.
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.header.max_timestamp)
    }

    /// The smallest and the largest timestamp of records as their producer gave them, those without one (-1) left out: the first
    /// is above the second if all are. Of a batch that was [`validate`]d; otherwise nothing is known of the smallest.
    pub fn timestamp_range(&self) -> (Timestamp, Timestamp) {
        (Timestamp(self.earliest), Timestamp(self.header.max_timestamp))
    }

    /// The records with a timestamp before `first` or after `last`, each by its place in the batch: at most `count_max`, and none
    /// at all if a compressed payload unfolds to more than `unfolded_bytes_max`. Costs a walk over the records.
    pub fn records_outside(
        &self,
        first: Timestamp,
        last: Timestamp,
        unfolded_bytes_max: usize,
        count_max: usize,
    ) -> Vec<(i32, Timestamp)> {
        let unfolded = match self.header.compression {
            Compression::None => Vec::new(),
            codec @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
                match unfold(codec, self.payload(), unfolded_bytes_max) {
                    Ok(payload) => payload,
                    Err(_) => return Vec::new(),
                }
            }
        };
        let payload = if self.header.compression == Compression::None { self.payload() } else { &unfolded };
        let timestamp = |record: RawRecord<'_>| self.header.base_timestamp.saturating_add(record.timestamp_delta);
        let outside = |timestamp: &i64| *timestamp != NO_TIMESTAMP && !(first.0..=last.0).contains(timestamp);
        let records = Records::new(payload, self.header.record_count).map_while(Result::ok);
        let judged = (0..).zip(records.map(timestamp)).filter(|(_, timestamp)| outside(timestamp));
        judged.take(count_max).map(|(at, timestamp)| (at, Timestamp(timestamp))).collect()
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        self.header.compression
    }
}
