//! The records inside a batch: varint-coded, deltas against the batch header.
//!
//! Everything is bounded by the bytes left: a count or a length that promises more than there is, is damage.

use bytes::Bytes;

use super::header::Damage;
use crate::id::Offset;
use crate::time::Timestamp;

/// One record, as a consumer sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// In ms; the batch's if the broker stamped it.
    pub timestamp: Timestamp,
    /// What compaction and partitioners look at.
    pub key: Option<Bytes>,
    /// The data; none is a tombstone in compacted topics.
    pub value: Option<Bytes>,
    /// In the order the producer gave them; names may repeat. Bytes that are not UTF-8 are replaced in names.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// One record as it lies in the payload. Reading it has walked all of it, its headers included.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    /// None are defined.
    pub(super) attributes: u8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

impl RawRecord<'_> {
    /// The headers, sharing `payload`, of which this record is a part.
    pub(super) fn headers(&self, payload: &Bytes) -> Vec<(String, Option<Bytes>)> {
        let mut reader = Reader(self.headers);
        let mut headers = Vec::new();
        for _ in 0..self.header_count {
            let (name, value) = reader.header().expect("walked when the record was read");
            headers.push((String::from_utf8_lossy(name).into_owned(), value.map(|value| payload.slice_ref(value))));
        }
        headers
    }
}

/// Walks the records of an uncompressed payload. Ends after `count` records or at the first damage; bytes that are left over
/// are damage too.
pub(super) struct Records<'a> {
    reader: Reader<'a>,
    left: i32,
    failed: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(payload: &'a [u8], count: i32) -> Self {
        Self { reader: Reader(payload), left: count, failed: false }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.left <= 0 {
            if self.reader.0.is_empty() {
                return None;
            }
            self.failed = true;
            return Some(Err(Damage::Record("bytes are left after the last one")));
        }
        self.left -= 1;
        let record = self.reader.record();
        self.failed = record.is_err();
        Some(record)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Damage::Record("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.0.split_first().ok_or(Damage::Record("it ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn varlong(&mut self) -> Result<i64, Damage> {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Damage::Record("a varint is too long"));
            }
            raw |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(Damage::Record("a varint is too long"))
    }

    fn varint(&mut self) -> Result<i32, Damage> {
        i32::try_from(self.varlong()?).map_err(|_| Damage::Record("a varint is too large"))
    }

    /// A length, or none if it is -1.
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, Damage> {
        match self.varint()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| Damage::Record("a length is negative"))?;
                self.take(len).map(Some)
            }
        }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), Damage> {
        let name = self.nullable()?.ok_or(Damage::Record("a header has no name"))?;
        Ok((name, self.nullable()?))
    }

    fn record(&mut self) -> Result<RawRecord<'a>, Damage> {
        let len = usize::try_from(self.varint()?).map_err(|_| Damage::Record("its length is negative"))?;
        let mut inner = Reader(self.take(len)?);
        let attributes = inner.byte()?;
        let timestamp_delta = inner.varlong()?;
        let offset_delta = inner.varint()?;
        let key = inner.nullable()?;
        let value = inner.nullable()?;
        let header_count = inner.varint()?;
        let headers = inner.0;
        // A header takes two bytes at least.
        if usize::try_from(header_count).map_or(true, |count| count > headers.len() / 2) {
            return Err(Damage::Record("it can not have that many headers"));
        }
        for _ in 0..header_count {
            inner.header()?;
        }
        if !inner.0.is_empty() {
            return Err(Damage::Record("it is longer than its fields"));
        }
        Ok(RawRecord { attributes, timestamp_delta, offset_delta, key, value, header_count, headers })
    }
}

/// Appends a zigzag varint (the coding of 32-bit and 64-bit numbers is the same).
pub(super) fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut raw = ((number << 1) ^ (number >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}
