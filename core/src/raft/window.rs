//! The part of a group's log that is in memory: everything not yet applied, and of the rest as much as the budget allows.
//!
//! What was let go of is only in files: a member that needs it is offered the last checkpoint.

use std::cell::Cell;
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
    /// What the entries take, as counted against the budget.
    bytes: u64,
    /// What the last durable checkpoint covers, and the configuration there.
    checkpoint: Option<(Index, Term, ConfState)>,
    /// The member that asked for files last.
    wanted_by: Cell<u64>,
    /// For so many ticks more a member is known to need files.
    wanted: Cell<u32>,
}

/// What an entry takes beside its bytes.
const ENTRY_BYTES: u64 = 96;
/// How many ticks after it asked a member is still thought to need files: several heartbeats.
const WANTED_TICKS: u32 = 50;

fn bytes_of(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64 + ENTRY_BYTES
}

impl Window {
    pub(super) fn new(hard: HardState, conf: ConfState, base: (Index, Term), entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(bytes_of).sum();
        let entries = entries.into();
        let window =
            Self { hard, conf, base, entries, bytes, checkpoint: None, wanted_by: Cell::new(0), wanted: Cell::new(0) };
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
        for entry in self.entries.drain(usize::try_from(keep).expect("the log is in memory")..) {
            self.bytes -= bytes_of(&entry);
        }
        self.bytes += entries.iter().map(bytes_of).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Lets go of entries up to `to`.
    pub(super) fn release(&mut self, to: Index) {
        self.release_while(to, |_| true);
    }

    /// Lets go of entries up to `to` until what is left takes at most `keep_bytes`.
    pub(super) fn trim(&mut self, to: Index, keep_bytes: u64) {
        self.release_while(to, |window| window.bytes > keep_bytes);
    }

    fn release_while(&mut self, to: Index, more: impl Fn(&Self) -> bool) {
        while self.base.0 < to && more(self) {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= bytes_of(&entry);
            self.base = (Index(entry.index), Term(entry.term));
        }
    }

    /// What the entries after `index` take.
    pub(super) fn bytes_after(&self, index: Index) -> u64 {
        self.entries_after(index).map(bytes_of).sum()
    }

    /// What the entries take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A change of the configuration was applied.
    pub(super) fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// A checkpoint is durable.
    pub(super) fn set_checkpoint(&mut self, index: Index, term: Term, conf: ConfState) {
        self.checkpoint = Some((index, term, conf));
    }

    /// What the last durable checkpoint covers.
    pub(super) fn checkpoint(&self) -> Option<Index> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.0)
    }

    /// A tick of time.
    pub(super) fn tick(&mut self) {
        self.wanted.set(self.wanted.get().saturating_sub(1));
    }

    /// Whether a member asked for files lately, or came back with them.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.get() > 0
    }

    /// The member that asked, if that was lately.
    pub(super) fn wanted_by(&self) -> Option<u64> {
        self.is_wanted().then(|| self.wanted_by.get())
    }

    /// A member has asked for files, or has them now and needs what follows.
    pub(super) fn want(&self, by: u64) {
        self.wanted.set(WANTED_TICKS);
        self.wanted_by.set(by);
    }

    /// The checkpoint that can be offered to this member: what follows it is in memory, and it knows of the member.
    fn offerable(&self, to: u64) -> Option<&(Index, Term, ConfState)> {
        self.checkpoint.as_ref().filter(|(index, _, conf)| {
            let mut members = conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing);
            *index >= self.base.0 && index.0 > 0 && members.any(|member| *member == to)
        })
    }

    /// Whether a member waits for a checkpoint that can be offered.
    pub(super) fn lacks_checkpoint(&self) -> bool {
        self.is_wanted() && self.offerable(self.wanted_by.get()).is_none()
    }

    /// Everything up to here was copied as files: nothing else is left.
    pub(super) fn restore(&mut self, index: Index, term: Term, conf: ConfState) {
        self.entries.clear();
        self.bytes = 0;
        self.base = (index, term);
        self.checkpoint = Some((index, term, conf.clone()));
        self.conf = conf;
    }

    pub(super) fn check(&self) {
        let mut previous = self.base;
        for entry in &self.entries {
            assert_eq!(entry.index, previous.0.0 + 1, "entries are contiguous");
            assert!(entry.term >= previous.1.0, "terms never go down");
            previous = (Index(entry.index), Term(entry.term));
        }
        assert_eq!(self.bytes, self.entries.iter().map(bytes_of).sum::<u64>(), "bytes are counted");
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

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        self.want(to);
        let Some((index, term, conf)) = self.offerable(to).filter(|checkpoint| checkpoint.0.0 >= request_index) else {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        Ok(snapshot(*index, *term, conf.clone()))
    }
}

/// What the crate calls a snapshot; the data of ours are files, which it never sees.
pub(super) fn snapshot(index: Index, term: Term, conf: ConfState) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = index.0;
    metadata.term = term.0;
    metadata.set_conf_state(conf);
    snapshot
}
