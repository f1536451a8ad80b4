//! One replica of one group, as its events tell: what stands in its log, and what of it would survive a power loss.
//!
//! - A log is what is durable, and over it what was appended since; a replica writes in the order in which it appends, so a
//!   crash leaves the durable log and some prefix of the appends after it.
//! - Where several prefixes explain what was recovered, the slots on which they differ are open until an event settles them.
//! - What was read at recovery is durable once the broker has started: before, a second crash may take it away again.
//!
//! Every event costs constant time, amortised over the entries it moves; a recovery costs what was in flight at the crash.

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::id::{Index, NodeId, ReplicaId, Term};

/// The term of an entry; none while two are possible.
pub(super) type Slot = Option<Term>;

/// One replica. See the [module](self).
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) node: NodeId,
    /// The entries on the disk; the first has index 1.
    durable: Vec<Slot>,
    /// How many of them stand in memory too; after them stands `tail`.
    fork: usize,
    tail: Vec<Slot>,
    /// Appends not yet known to be durable.
    pending: VecDeque<(Index, Term)>,
    /// The hard state on the disk.
    pub(super) hard: (Term, ReplicaId),
    /// The hard state as recovered, until the broker has started.
    recovered: Option<(Term, ReplicaId)>,
    /// Durable votes, by term.
    pub(super) votes: BTreeMap<Term, ReplicaId>,
    /// Between its recovery and the next crash.
    pub(super) alive: bool,
    pub(super) started: bool,
    pub(super) applied: Index,
    pub(super) applied_ever: Index,
    pub(super) checkpointed: Index,
    pub(super) config: Option<Index>,
    pub(super) leads: Option<Term>,
    /// A snapshot of this entry whose mark is on its way to the disk.
    pub(super) installing: Option<(Index, Term)>,
}

impl Replica {
    /// A replica that was never heard of, and has not come up.
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            durable: Vec::new(),
            fork: 0,
            tail: Vec::new(),
            pending: VecDeque::new(),
            hard: (Term(0), ReplicaId(0)),
            recovered: None,
            votes: BTreeMap::new(),
            alive: false,
            started: false,
            applied: Index(0),
            applied_ever: Index(0),
            checkpointed: Index(0),
            config: None,
            leads: None,
            installing: None,
        }
    }

    /// The end of the log in memory.
    pub(super) fn last(&self) -> Index {
        Index((self.fork + self.tail.len()) as u64)
    }

    /// The end of the log on the disk.
    pub(super) fn durable_last(&self) -> Index {
        Index(self.durable.len() as u64)
    }

    /// What stands at `index` in memory; index zero has term zero.
    pub(super) fn slot(&self, index: Index) -> Option<Slot> {
        let Some(at) = place(index) else {
            return Some(Some(Term(0)));
        };
        if at < self.fork { self.durable.get(at).copied() } else { self.tail.get(at - self.fork).copied() }
    }

    /// Whether the entry is on the disk, as far as can be told: an open slot is believed.
    pub(super) fn holds(&self, index: Index, term: Term) -> bool {
        let slot = place(index).and_then(|at| self.durable.get(at));
        slot.is_some_and(|slot| slot.is_none_or(|there| there == term))
    }

    /// Closes an open slot.
    pub(super) fn settle_slot(&mut self, index: Index, term: Term) {
        let Some(at) = place(index) else { return };
        let log = if at < self.fork { self.durable.get_mut(at) } else { self.tail.get_mut(at - self.fork) };
        if let Some(slot @ None) = log {
            *slot = Some(term);
        }
    }

    /// Puts an entry at the end; what stood there or after is gone. `index` is at most one past the end.
    pub(super) fn append(&mut self, index: Index, term: Term) {
        self.overlay(index, Some(term));
        self.pending.push_back((index, term));
    }

    fn overlay(&mut self, index: Index, slot: Slot) {
        let at = place(index).expect("entries have indexes from 1");
        if at < self.fork {
            self.fork = at;
            self.tail.clear();
        }
        self.tail.truncate(at - self.fork);
        assert!(self.fork + self.tail.len() == at, "an append leaves no gap");
        self.tail.push(slot);
    }

    /// Everything up to this entry is durable. False if no such entry was ever on its way. Adds its work to `work`.
    pub(super) fn persist(&mut self, index: Index, term: Term, work: &mut u64) -> bool {
        let Some(at) = place(index) else { return term == Term(0) };
        if at < self.fork {
            self.settle_slot(index, term);
            return self.durable.get(at) == Some(&Some(term));
        }
        let Some(found) = self.pending.iter().position(|&entry| entry == (index, term)) else {
            *work += self.pending.len() as u64;
            return false;
        };
        for (index, term) in self.pending.drain(..=found) {
            *work += 1;
            let at = place(index).expect("entries have indexes from 1");
            self.durable.truncate(at);
            assert!(self.durable.len() == at, "appends follow each other");
            self.durable.push(Some(term));
        }
        if self.pending.is_empty() {
            self.tail.clear();
            self.fork = self.durable.len();
        }
        true
    }

    /// The log is these entries and no others, durable, applied and checkpointed.
    pub(super) fn install(&mut self, terms: &[Term]) {
        self.durable = terms.iter().copied().map(Some).collect();
        self.fork = self.durable.len();
        self.tail.clear();
        self.pending.clear();
        self.applied = self.durable_last();
        self.applied_ever = self.applied_ever.max(self.applied);
        self.checkpointed = self.applied;
        self.config = None;
    }

    /// The broker is gone: only the disk remains.
    pub(super) fn crash(&mut self) {
        self.tail.clear();
        self.fork = self.durable.len();
        (self.alive, self.started, self.leads, self.config) = (false, false, None, None);
        self.recovered = None;
    }

    /// The replica came back with a log that ends at `last`. False if no crash can have left that: then the log is taken as
    /// told, so that one loss is reported once.
    pub(super) fn recover(&mut self, last: Index, work: &mut u64) -> bool {
        *work += self.pending.len() as u64 + 1;
        self.alive = true;
        let ends = std::iter::once(self.durable_last()).chain(self.pending.iter().map(|&(index, _)| index));
        let mut fits = ends.enumerate().filter(|&(_, end)| end == last).map(|(count, _)| count);
        let Some(fewest) = fits.next() else {
            let len = usize::try_from(last.0)
                .unwrap_or(usize::MAX)
                .min(self.durable.len().saturating_add(self.pending.len()));
            self.durable.resize(len, None);
            self.fork = len;
            self.pending.clear();
            return false;
        };
        let most = fits.last().unwrap_or(fewest);
        self.pending.truncate(most);
        let written = std::mem::take(&mut self.pending);
        let open_from = written.range(fewest..).map(|&(index, _)| index).min();
        for &(index, term) in &written {
            self.overlay(index, Some(term));
        }
        self.pending = written;
        if let Some(at) = open_from.and_then(place) {
            for slot in &mut self.tail[at - self.fork..] {
                *slot = None;
            }
        }
        true
    }

    /// Remembers a hard state read from the disk.
    pub(super) fn recover_hard(&mut self, term: Term, vote: ReplicaId) {
        self.recovered = Some((term, vote));
    }

    /// The hard state the replica stands by.
    pub(super) fn hard_now(&self) -> (Term, ReplicaId) {
        self.recovered.map_or(self.hard, |recovered| recovered.max(self.hard))
    }

    /// The broker takes part: what it recovered is what it stands by.
    pub(super) fn start(&mut self, work: &mut u64) {
        self.started = true;
        *work += self.pending.len() as u64 + self.tail.len() as u64;
        self.durable.truncate(self.fork);
        self.durable.append(&mut self.tail);
        self.fork = self.durable.len();
        self.pending.clear();
        if let Some((term, vote)) = self.recovered.take() {
            self.persist_hard(term, vote);
        }
    }

    /// A hard state is durable.
    pub(super) fn persist_hard(&mut self, term: Term, vote: ReplicaId) {
        self.hard = (term, vote);
        self.recovered = None;
        if vote != ReplicaId(0) {
            self.votes.insert(term, vote);
        }
    }
}

fn place(index: Index) -> Option<usize> {
    usize::try_from(index.0.checked_sub(1)?).ok()
}
