//! What of the log is durable, what is only in memory, and what waits for the journal.
//!
//! Promises: the crate hears of persistence before a message that waited for it leaves. Does not know when the journal writes,
//! nor how much memory others use.

use raft::eraftpb::{Entry, Message};

use super::Group;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{Index, ReplicaId, Term};
use crate::journal::{self, Ticket};
use crate::mutants::Mutant;
use crate::raft::fence;
use crate::raft::terms::Output;
use crate::rng::mix;

/// Something given to the journal, and what waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) ticket: Ticket,
    pub(super) ready: u64,
    pub(super) hard: Option<(Term, ReplicaId)>,
    pub(super) last: Option<(Index, Term)>,
    pub(super) messages: Vec<Message>,
}

impl Group {
    /// What of its log is durable.
    pub fn persisted(&self) -> Index {
        self.persisted
    }

    /// The entry before the first one in memory.
    pub fn base(&self) -> (Index, Term) {
        self.raw.store().base()
    }

    /// The entries in memory after `after`, as the journal holds them.
    pub fn entries_after(&self, after: Index) -> Vec<journal::Entry> {
        self.raw.store().entries_after(after).map(entry_to_journal).collect()
    }

    /// What its entries in memory take, in bytes of the budget.
    pub fn window_bytes(&self) -> u64 {
        self.raw.store().bytes()
    }

    /// Whether something of it is on its way to the disk.
    pub fn waits_for_disk(&self) -> bool {
        !self.writes.is_empty() || !self.held.is_empty()
    }

    /// The journal has become durable up to here.
    pub fn durable(&mut self, durable: Ticket, events: &mut Effects, output: &mut Output) {
        let mut done = Vec::new();
        while self.writes.front().is_some_and(|write| write.ticket <= durable) {
            done.extend(self.writes.pop_front());
        }
        if self.setup.mutants.planted(Mutant::PersistedIgnoresTerm) {
            let written = done.iter().filter_map(|write| write.last).map(|(index, _)| index).max();
            while self.writes.front().is_some_and(|write| write.last.is_some_and(|(last, _)| Some(last) <= written)) {
                done.extend(self.writes.pop_front());
            }
        }
        self.persisted_by(done, events, output);
        if !self.held.is_empty() && self.hard_ticket.is_none_or(|ticket| ticket <= durable) {
            let held = std::mem::take(&mut self.held);
            self.say(held, output);
        }
    }

    /// The crate hears of persistence before the messages that waited for it leave.
    pub(super) fn persisted_by(&mut self, done: Vec<Write>, events: &mut Effects, output: &mut Output) {
        let Some(newest) = done.last() else { return };
        self.raw.on_persist_ready(newest.ready);
        self.set_timeout();
        for write in done {
            if let Some((term, vote)) = write.hard {
                events.event(Event::HardStatePersisted { group: self.setup.group, term, vote });
            }
            if let Some((index, term)) = write.last
                && self.raw.store().term_at(index) == Some(term)
            {
                self.persisted = self.persisted.max(index);
                events.event(Event::Persisted { group: self.setup.group, index, term });
            }
            self.say(write.messages, output);
        }
    }

    /// Lets go of entries that are applied and that no member needs any more, as far as a leader knows that.
    pub fn release(&mut self) {
        if self.leading() {
            let least = self.raw.raft.prs().iter().map(|(_, progress)| progress.matched).min().unwrap_or(0);
            let to = self.applied.min(Index(least));
            self.raw.mut_store().release(to);
        }
    }

    /// Lets go of applied entries until those in memory take at most `keep_bytes`. A leader whose followers copy files keeps
    /// what follows its checkpoint, or they would never catch up; and of what follows the checkpoints they copy (`lent`) as
    /// much as takes at most `lent_bytes`, or they would have to copy once more. False if only another checkpoint lets go of
    /// more.
    pub fn trim(&mut self, keep_bytes: u64, lent: &[Index], lent_bytes: u64) -> bool {
        let store = self.raw.store();
        let lending = self.leading() && (!lent.is_empty() || store.is_wanted());
        let to = match lending {
            true => self.applied.min(store.checkpoint().unwrap_or_default()),
            false => self.applied,
        };
        // Who has just installed files is fed from memory.
        let back = store.wanted_by().and_then(|id| self.raw.raft.prs().get(id)).map(|progress| Index(progress.matched));
        let affordable = |index: &Index| *index >= store.base().0 && store.bytes_after(*index) <= lent_bytes;
        let needed = lent.iter().copied().chain(back).filter(|index| lending && *index < to && affordable(index)).min();
        self.raw.mut_store().trim(needed.unwrap_or(to), keep_bytes);
        self.window_bytes() <= keep_bytes || to == self.applied || needed.is_some()
    }
}

/// A digest of an entry that costs little: a batch's own header holds the checksum of its payload.
pub(in crate::raft) fn entry_digest(context: &[u8], data: &[u8]) -> u64 {
    let head = &data[..data.len().min(64)];
    let sum = crc32c::crc32c_append(crc32c::crc32c(context), head);
    mix((u64::from(sum) << 32) ^ data.len() as u64)
}

pub(super) fn entry_to_journal(entry: &Entry) -> journal::Entry {
    journal::Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        kind: fence::entry_kind(entry.get_entry_type()),
        context: entry.context.clone(),
        data: entry.data.clone(),
    }
}

pub(super) fn entry_from_journal(entry: journal::Entry) -> Entry {
    let mut raft = Entry::default();
    raft.index = entry.index.0;
    raft.term = entry.term.0;
    raft.context = entry.context;
    raft.data = entry.data;
    raft.set_entry_type(fence::entry_type(entry.kind));
    raft
}
