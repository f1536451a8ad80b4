//! The most recent batches, shared with the entries they came from: a consumer at the end never touches the disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::id::Offset;
use crate::kafka::batch::Stored;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<Stored>,
    bytes: u64,
}

/// What one write gathers.
pub(super) struct Gathered {
    pub(super) slices: Vec<Bytes>,
    pub(super) bytes: u64,
    pub(super) next: Offset,
}

impl Tail {
    pub(super) fn push(&mut self, batch: Stored) {
        self.bytes += batch.len();
        self.batches.push_back(batch);
    }

    pub(super) fn start(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn evict(&mut self, keep_bytes: u64, written: Offset) {
        while self.bytes > keep_bytes && self.start().is_some_and(|start| start < written) {
            let batch = self.batches.pop_front().expect("there is a first one");
            self.bytes -= batch.len();
        }
    }

    /// The batches from the one that holds `from` on.
    pub(super) fn from(&self, from: Offset) -> impl Iterator<Item = &Stored> {
        let at = self.batches.partition_point(|batch| batch.last_offset < from);
        self.batches.range(at..)
    }

    pub(super) fn read(&self, from: Offset, max_bytes: u64, at_least_one: bool) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut left = max_bytes;
        for batch in self.from(from) {
            match left.checked_sub(batch.len()) {
                Some(rest) => left = rest,
                None if at_least_one && slices.is_empty() => left = 0,
                None => break,
            }
            slices.extend([batch.head.clone(), batch.body.clone()]);
        }
        slices
    }

    /// Whole batches from `from` up to `end`: at least one, and no more than `max_bytes` if there are several.
    pub(super) fn gather(&self, from: Offset, end: Offset, max_bytes: u64) -> Gathered {
        let mut gathered = Gathered { slices: Vec::new(), bytes: 0, next: from };
        for batch in self.from(from) {
            let bytes = gathered.bytes + batch.len();
            if batch.base_offset >= end || (gathered.bytes > 0 && bytes > max_bytes) {
                break;
            }
            gathered.slices.extend([batch.head.clone(), batch.body.clone()]);
            gathered.bytes = bytes;
            gathered.next = Offset(batch.last_offset.0 + 1);
        }
        gathered
    }

    /// The first batch that holds an offset from `from` on and a timestamp of at least `at_least`.
    pub(super) fn first_at_least(&self, from: Offset, at_least: Timestamp) -> Option<&Stored> {
        self.from(from).find(|batch| batch.max_timestamp >= at_least)
    }
}
