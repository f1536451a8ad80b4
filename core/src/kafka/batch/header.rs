//! The 61 bytes before the records of a batch.
//!
//! Base offset, length, leader epoch, magic and the CRC itself stand outside the CRC: a broker changes the first and the third
//! without touching the rest. Everything from the attributes on is under it (CRC-32C).

use std::fmt;

use crate::kafka::compress;

/// How long a batch header is.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length: what the length field does not count.
pub(super) const LENGTH_EXCLUDES: usize = 12;
/// Where the CRC begins to cover.
pub(super) const CRC_FROM: usize = 21;
/// Where a batch says how many bytes follow this field.
pub(super) const LENGTH_AT: usize = 8;
/// Where the magic byte is, in every format of message there ever was.
pub(super) const MAGIC_AT: usize = 16;
/// The producer id of a batch without one.
pub const NO_PRODUCER: i64 = -1;
/// The base sequence of a batch without one.
pub const NO_SEQUENCE: i32 = -1;
/// The timestamp of a record without one.
pub const NO_TIMESTAMP: i64 = -1;

const COMPRESSION_BITS: u16 = 0b111;
const LOG_APPEND_TIME_BIT: u16 = 1 << 3;
const TRANSACTIONAL_BIT: u16 = 1 << 4;
const CONTROL_BIT: u16 = 1 << 5;
const DELETE_HORIZON_BIT: u16 = 1 << 6;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// One raw block, or blocks in the framing of Xerial's library, which the Java client writes.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878. Only for Produce from 7 and Fetch from 10 (KIP-110).
    Zstd,
}

impl Compression {
    fn from_attributes(attributes: u16) -> Result<Self, Damage> {
        match attributes & COMPRESSION_BITS {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(Damage::Codec(other)),
        }
    }
}

/// What is wrong with the bytes of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// They end before the batch does.
    Short,
    /// The length field can not be true.
    Length(i32),
    /// Not a v2 batch.
    Magic(i8),
    /// The CRC-32C is another.
    Crc {
        /// What the header says.
        stated: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// No codec has this number.
    Codec(u16),
    /// A count, an offset or a delta of the header can not be true.
    Header(&'static str),
    /// A record can not be read.
    Record(&'static str),
    /// The payload does not unfold.
    Compressed(compress::Error),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the bytes end inside a batch"),
            Self::Length(length) => write!(f, "a batch can not be {length} bytes long"),
            Self::Magic(magic) => write!(f, "magic {magic} is not a v2 batch"),
            Self::Crc { stated, actual } => write!(f, "the CRC is {actual:08x}, the header says {stated:08x}"),
            Self::Codec(codec) => write!(f, "no compression has the number {codec}"),
            Self::Header(what) => write!(f, "batch header: {what}"),
            Self::Record(what) => write!(f, "record: {what}"),
            Self::Compressed(error) => write!(f, "payload: {error}"),
        }
    }
}

impl std::error::Error for Damage {}

/// The header of a v2 batch, its fields as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The offset of the first record; 0 from a producer.
    pub base_offset: i64,
    /// How many bytes follow the length field: 49 and the payload.
    pub batch_length: i32,
    /// The term whose leader proposed the batch; -1 from a producer.
    pub leader_epoch: i32,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control, delete horizon.
    pub attributes: u16,
    /// The offset of the last record, less the base offset.
    pub last_offset_delta: i32,
    /// What timestamp deltas are added to, in ms.
    pub base_timestamp: i64,
    /// The largest timestamp of a record, in ms.
    pub max_timestamp: i64,
    /// Who sent it, if idempotent; else -1.
    pub producer_id: i64,
    /// In which life.
    pub producer_epoch: i16,
    /// The sequence number of the first record, if idempotent; else -1.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
    /// Decoded from the attributes.
    pub compression: Compression,
}

impl Header {
    /// Reads the header at the start of `bytes`. Promises: magic 2, a known codec, a length that holds at least the header,
    /// a count and a last offset that are not negative and do not overflow. Does not look at the records, nor at the CRC.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        // The magic is looked at first: older formats have another header after it.
        let magic = *bytes.get(MAGIC_AT).ok_or(Damage::Short)?;
        if magic != 2 {
            return Err(Damage::Magic(i8::from_be_bytes([magic])));
        }
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        let attributes = u16::from_be_bytes(field(head, 21));
        let header = Self {
            base_offset: i64::from_be_bytes(field(head, 0)),
            batch_length: i32::from_be_bytes(field(head, 8)),
            leader_epoch: i32::from_be_bytes(field(head, 12)),
            crc: u32::from_be_bytes(field(head, 17)),
            attributes,
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            record_count: i32::from_be_bytes(field(head, 57)),
            compression: Compression::from_attributes(attributes)?,
        };
        if header.batch_length < (HEADER_BYTES - LENGTH_EXCLUDES) as i32 {
            return Err(Damage::Length(header.batch_length));
        }
        if header.base_offset < 0 {
            return Err(Damage::Header("the base offset is negative"));
        }
        if header.last_offset_delta < 0 || header.base_offset.checked_add(header.last_offset_delta.into()).is_none() {
            return Err(Damage::Header("the last offset is not at or after the base offset"));
        }
        if header.record_count < 0 {
            return Err(Damage::Header("the count is negative"));
        }
        Ok(header)
    }

    /// The header's bytes. Magic is 2.
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        head[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        head[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        head[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        head[MAGIC_AT] = 2;
        head[17..21].copy_from_slice(&self.crc.to_be_bytes());
        head[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        head[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        head[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        head[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        head[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        head[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        head
    }

    /// Sets the CRC to what the other fields and `payload` give.
    pub(super) fn seal(&mut self, payload: &[u8]) {
        self.crc = crc32c::crc32c_append(crc32c::crc32c(&self.write()[CRC_FROM..]), payload);
    }

    /// Says that records' timestamps are the batch's largest, which is the broker's (Kafka: `LogAppendTime`).
    pub(super) fn set_log_append_time(&mut self, at: i64) {
        self.attributes |= LOG_APPEND_TIME_BIT;
        self.max_timestamp = at;
    }

    pub(super) fn set_transactional(&mut self) {
        self.attributes |= TRANSACTIONAL_BIT;
    }

    /// The whole batch's length in bytes.
    pub fn total_bytes(&self) -> usize {
        self.batch_length as usize + LENGTH_EXCLUDES
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Whether records' timestamps are the batch's largest.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether it is a transaction's marker, not data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is a cleaner's delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }
}

fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *head[at..].first_chunk().expect("fields lie within the header")
}
