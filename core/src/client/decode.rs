//! From the bytes of a fetched partition to records for the caller.
//!
//! Promises that offsets ascend from the one that was asked for, and that gaps are passed over. Does not know where it came from.

use std::collections::VecDeque;

use bytes::Bytes;

use super::api::Consumed;
use super::producer::Place;
use crate::id::{Offset, TopicId};
use crate::kafka::batch::{Check, Damage, views};

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) records: VecDeque<Consumed>,
    /// The offset to fetch next.
    pub(super) next: i64,
}

/// Reads the records from `from` on. A batch may begin earlier: its first records are passed over. Stops early when `room`
/// bytes are used up; what was left is fetched again. Damage counts only if nothing stands before it: next time it will be first.
pub(super) fn decode(
    place: &Place,
    topic_id: TopicId,
    from: i64,
    bytes: Bytes,
    room: &mut usize,
) -> Result<Fetched, Damage> {
    let mut fetched = Fetched { records: VecDeque::new(), next: from };
    for view in views(bytes, Check::Crc) {
        if *room == 0 && !fetched.records.is_empty() {
            break;
        }
        let records = view.and_then(|view| match view.last_offset().0.checked_add(1) {
            None => Err(Damage::Record("its offset is the last there is")),
            // A marker of a transaction has an offset, but nothing for the caller.
            Some(end) if view.header().is_control() || end <= fetched.next => Ok((end, Vec::new())),
            Some(end) => view.records().map(|records| (end, records)),
        });
        let (end, records) = match records {
            Ok(records) => records,
            Err(_) if fetched.next > from => break,
            Err(damage) => return Err(damage),
        };
        for record in records {
            if record.offset.0 < fetched.next {
                continue;
            }
            if record.offset.0 >= end {
                return Err(Damage::Record("its offset is beyond its batch"));
            }
            let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
            *room = room.saturating_sub(64 + part(&record.key) + part(&record.value));
            fetched.next = record.offset.0 + 1;
            fetched.records.push_back(Consumed {
                topic: place.0.clone(),
                topic_id,
                partition: place.1,
                offset: Offset(record.offset.0),
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
        }
        fetched.next = fetched.next.max(end);
    }
    Ok(fetched)
}
