//! InitProducerId: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// A producer that wants an id.
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducerIdRequest {
    /// Its transactional id; null if it is only idempotent.
    pub transactional_id: Option<String>,
    /// How long its transactions may stay open, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// The id it has, or -1 (KIP-360). From version 3.
    pub producer_id: i64,
    /// The epoch it has, or -1. From version 3.
    pub producer_epoch: i16,
}

impl Default for InitProducerIdRequest {
    fn default() -> Self {
        Self {
            transactional_id: None,
            transaction_timeout_ms: 0,
            producer_id: -1,
            producer_epoch: -1,
        }
    }
}

impl Wire for InitProducerIdRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.transactional_id);
        w.put(&self.transaction_timeout_ms);
        if v >= 3 {
            w.put(&self.producer_id);
        }
        if v >= 3 {
            w.put(&self.producer_epoch);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            transactional_id: r.get()?,
            transaction_timeout_ms: r.get()?,
            producer_id: r.get_if(v >= 3, -1)?,
            producer_epoch: r.get_if(v >= 3, -1)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A producer's id.
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducerIdResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

impl Default for InitProducerIdResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            producer_id: -1,
            producer_epoch: 0,
        }
    }
}

impl Wire for InitProducerIdResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.throttle_time_ms);
        w.put(&self.error_code);
        w.put(&self.producer_id);
        w.put(&self.producer_epoch);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            throttle_time_ms: r.get()?,
            error_code: r.get()?,
            producer_id: r.get()?,
            producer_epoch: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
