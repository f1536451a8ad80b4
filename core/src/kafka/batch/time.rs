//! Looking for records by time (ListOffsets). Long enough for another thread, when batches are compressed.
//!
//! Headers bound what is unfolded: a batch is looked into only if its largest timestamp makes it worth it. A batch that can
//! not be read (brokers store compressed batches as they come) is passed over: no consumer can read it either.

use bytes::Bytes;

use super::header::Damage;
use super::stored::{Check, StoredView, views};
use crate::id::Offset;
use crate::time::Timestamp;

/// Finds the first record at or after a timestamp. In a batch stamped by the broker, that is its first record.
pub fn find_timestamp(batches: Bytes, at_least: Timestamp) -> Option<(Offset, Timestamp)> {
    find_timestamp_from(batches, Offset(0), at_least)
}

/// Like [`find_timestamp`], but passes over records below `from`: a log may start inside a batch.
pub fn find_timestamp_from(batches: Bytes, from: Offset, at_least: Timestamp) -> Option<(Offset, Timestamp)> {
    views(batches, Check::Header)
        .map_while(Result::ok)
        .filter(|batch| batch.max_timestamp() >= at_least && batch.last_offset() >= from)
        .find_map(|batch| first_in(&batch, from, at_least).unwrap_or(None))
}

fn first_in(batch: &StoredView, from: Offset, at_least: Timestamp) -> Result<Option<(Offset, Timestamp)>, Damage> {
    if batch.header().is_log_append_time() {
        return Ok(Some((batch.base_offset().max(from), batch.max_timestamp())));
    }
    let payload = batch.payload()?;
    for record in batch.walk(&payload) {
        let (offset, timestamp) = batch.place(&record?)?;
        if offset >= from && timestamp >= at_least {
            return Ok(Some((offset, timestamp)));
        }
    }
    Ok(None)
}

/// Finds the first of the records with the largest timestamp (KIP-734); none if no record has a timestamp.
pub fn find_max_timestamp(batches: Bytes) -> Option<(Offset, Timestamp)> {
    let mut best: Option<(Offset, Timestamp)> = None;
    for batch in views(batches, Check::Header).map_while(Result::ok) {
        let bar = best.map_or(Timestamp(-1), |(_, timestamp)| timestamp);
        if batch.max_timestamp() > bar {
            best = largest_in(&batch, bar).unwrap_or(None).or(best);
        }
    }
    best
}

/// The first record with the largest timestamp of a batch, if that is above `bar`.
fn largest_in(batch: &StoredView, bar: Timestamp) -> Result<Option<(Offset, Timestamp)>, Damage> {
    if batch.header().is_log_append_time() {
        return Ok(Some((batch.base_offset(), batch.max_timestamp())));
    }
    let payload = batch.payload()?;
    let mut best = (Offset(-1), bar);
    for record in batch.walk(&payload) {
        let place = batch.place(&record?)?;
        if place.1 > best.1 {
            best = place;
        }
    }
    Ok((best.0 >= Offset(0)).then_some(best))
}
