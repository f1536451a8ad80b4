//! Record batches, magic 2: what a producer sends, what a segment keeps, what a consumer reads.
//!
//! - [`Batch`] is one batch of a producer, validated by [`validate`]: later code trusts it.
//! - [`Stored`] is a batch with its place in a partition: a rebuilt 61-byte header beside the payload the producer sent.
//! - [`StoredView`] reads stored bytes again, batch by batch ([`views`]) and record by record.
//! - [`Builder`] makes a batch, for clients.
//!
//! Payloads are shared, never copied, unless a header field under the CRC has to change.
//! This module does not know partitions, producers' histories or files, and never compresses.

mod build;
mod header;
mod record;
mod stored;
mod time;
mod validate;

pub use build::Builder;
pub use header::{Compression, Damage, HEADER_BYTES, Header, NO_PRODUCER, NO_SEQUENCE, NO_TIMESTAMP};
pub use record::Record;
pub use stored::{Check, Stored, StoredView, Views, views};
pub use time::{find_max_timestamp, find_timestamp, find_timestamp_from};
pub use validate::{Batch, validate};
