//! What a disk did since it was started, in numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters. Each is right by itself; two that are read one after the other may be of different moments.
#[derive(Debug, Default)]
pub struct Counts {
    syncs: AtomicU64,
    journal_blocks: AtomicU64,
    journal_bytes: AtomicU64,
}

impl Counts {
    /// How often something was made durable: fsync, fdatasync, syncfs, and writes with `O_DSYNC`. Failures count.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// How many blocks were written to the journal.
    pub fn journal_blocks(&self) -> u64 {
        self.journal_blocks.load(Ordering::Relaxed)
    }

    /// How many bytes these were.
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn journal_block(&self, bytes: u64) {
        self.journal_blocks.fetch_add(1, Ordering::Relaxed);
        self.journal_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
