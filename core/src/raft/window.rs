//! The part of a group's log that is in memory: everything some member may still need, and everything not yet applied.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::id::{Index, Term};

/// The log in memory, as raft-rs reads it.
///
/// - entries are contiguous, the first right after `base`
/// - terms never go down
#[derive(Debug)]
pub(super) struct Window {
    hard: HardState,
    conf: ConfState,
    /// The entry before the first one: only its index and term are left.
    base: (Index, Term),
    entries: VecDeque<Entry>,
}

impl Window {
    pub(super) fn new(hard: HardState, conf: ConfState, base: (Index, Term), entries: Vec<Entry>) -> Self {
        let window = Self { hard, conf, base, entries: entries.into() };
        window.check();
        window
    }

    pub(super) fn base(&self) -> (Index, Term) {
        self.base
    }

    pub(super) fn last(&self) -> Index {
        Index(self.base.0.0 + self.entries.len() as u64)
    }

    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let position = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(position).ok()?).map(|entry| Term(entry.term))
    }

    /// Entries after `after`, to the end.
    pub(super) fn entries_after(&self, after: Index) -> impl Iterator<Item = &Entry> {
        let skip = after.0.saturating_sub(self.base.0.0);
        self.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// Puts entries at the end; what stood at the first one's index or after it is gone.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0.0 && first.index <= self.last().0 + 1, "entries join the log");
        let keep = first.index - self.base.0.0 - 1;
        self.entries.truncate(usize::try_from(keep).expect("the log is in memory"));
        self.entries.extend(entries.iter().cloned());
    }

    /// Lets go of entries up to `to`.
    pub(super) fn release(&mut self, to: Index) {
        while self.base.0 < to {
            let Some(entry) = self.entries.pop_front() else { return };
            self.base = (Index(entry.index), Term(entry.term));
        }
    }

    pub(super) fn check(&self) {
        let mut previous = self.base;
        for entry in &self.entries {
            assert_eq!(entry.index, previous.0.0 + 1, "entries are contiguous");
            assert!(entry.term >= previous.1.0, "terms never go down");
            previous = (Index(entry.index), Term(entry.term));
        }
    }
}

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.base.0.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let skip = usize::try_from(low - self.base.0.0 - 1).expect("the log is in memory");
        let count = usize::try_from(high.saturating_sub(low)).expect("the log is in memory");
        let mut size = 0u64;
        let mut entries = Vec::new();
        for entry in self.entries.iter().skip(skip).take(count) {
            size += (entry.data.len() + entry.context.len() + 16) as u64;
            if !entries.is_empty() && size > limit {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index < self.base.0.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.term_at(Index(index)).map(|term| term.0).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.0.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last().0)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
