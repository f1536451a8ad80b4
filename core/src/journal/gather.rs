//! A gather list: the bytes of one write, in order, with large payloads shared and small pieces merged.
//!
//! Promises that payloads of [`SHARED_BYTES_MIN`] and more are never copied. Does not know what the bytes mean.

use bytes::{BufMut, Bytes, BytesMut};

/// Smaller payloads are copied: a slice of its own costs more than they weigh.
const SHARED_BYTES_MIN: usize = 1024;

/// Bytes gathered for one write.
#[derive(Default)]
pub(super) struct Gather {
    slices: Vec<Bytes>,
    tail: BytesMut,
    len: u64,
}

impl Gather {
    /// How many bytes are gathered.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Copies small bytes to the end.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.len += bytes.len() as u64;
    }

    /// Puts a payload at the end, shared if it is large.
    pub(super) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        if !self.tail.is_empty() {
            self.slices.push(self.tail.split().freeze());
        }
        self.slices.push(bytes.clone());
        self.len += bytes.len() as u64;
    }

    /// Fills with zeros up to `len`.
    pub(super) fn fill_to(&mut self, len: u64) {
        assert!(len >= self.len, "filling backwards");
        self.tail.put_bytes(0, (len - self.len) as usize);
        self.len = len;
    }

    /// The slices, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.slices.push(self.tail.freeze());
        }
        self.slices
    }
}

/// `len` rounded up to a multiple of `unit`.
pub(super) fn round_up(len: u64, unit: u64) -> u64 {
    len.div_ceil(unit) * unit
}
