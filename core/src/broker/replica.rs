//! One replica: a Raft group, the state machine it drives, and the checkpoints that let the journal go.
//!
//! The same for the controller and for partitions. Does not know requests: outcomes go to whoever holds the token.

use super::copying::Copying;
use super::healing::Healing;
use super::machine::{Machine, Outcome};
use super::mark::MarkBody;
use crate::controller::configs::TopicConfig;
use crate::effect::Effects;
use crate::event::Event;
use crate::id::Term;
use crate::id::{GroupId, Index};
use crate::journal::{self, Journal, Mark, Ticket};
use crate::log::Manifest;
use crate::marks;
use crate::mutants::{Mutant, Mutants};
use crate::raft::{Committed, Conf, Group, Output, Recovered, Setup, Token, is_change};

/// What came back from the disk of a group that nobody claimed yet: its topic may still be unknown to this broker.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) hard: journal::HardState,
    pub(super) base: (Index, Term),
    pub(super) entries: Vec<journal::Entry>,
    pub(super) machine: Machine,
    /// Its configuration at `base`, if a mark says it.
    pub(super) conf: Option<Conf>,
    /// Its state is still being read.
    pub(super) restoring: bool,
    /// Why its state can not be read.
    pub(super) lost: Option<String>,
    /// Its entries are on their way into the journal again.
    pub(super) carrying: Option<Ticket>,
}

/// How far a checkpoint is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checkpoint {
    Idle,
    /// Data and state are being written and synced.
    Writing {
        applied: (Index, Term),
    },
    /// The mark is on its way through the journal.
    Marking {
        ticket: Ticket,
        applied: (Index, Term),
    },
}

/// One replica of a group on this broker.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) raft: Group,
    pub(super) machine: Machine,
    pub(super) config: TopicConfig,
    checkpoint: Checkpoint,
    /// Entries that are on their way into the journal again.
    carrying: Option<Ticket>,
    /// What the last durable mark covers.
    pub(super) marked: Index,
    pub(super) marked_term: Term,
    /// The configuration there.
    pub(super) marked_conf: Conf,
    /// The configuration at the checkpoint under way.
    conf: Conf,
    applied_bytes: u64,
    mutants: Mutants,
    /// Files on their way to followers, or from a leader.
    pub(super) copying: Copying,
    /// What it lacks of its own files.
    pub(super) healing: Healing,
}

impl Replica {
    /// Brings a replica to life: what is committed and not yet applied is applied before Raft begins.
    pub(super) fn start(setup: Setup, parked: Parked, config: TopicConfig, out: &mut Effects) -> Self {
        let Parked { hard, base, entries, mut machine, conf, restoring, lost, carrying } = parked;
        assert!(!restoring, "a replica starts when its state is read");
        let mutants = setup.mutants;
        let (marked, marked_term) = (machine.applied, machine.applied_term);
        let marked_conf = conf.clone().unwrap_or_else(|| Conf::of(&setup.members));
        let mut recovered = Recovered { hard, applied: machine.applied, base, entries, conf };
        recovered.tell(&setup, out);
        // Nothing can be applied to what was lost.
        let commit = if lost.is_some() { marked } else { recovered.commit() };
        for entry in recovered.entries.iter().filter(|entry| entry.index > marked && entry.index <= commit) {
            machine.apply(&committed(entry), &config);
            out.event(Event::Sometimes(marks::REAPPLIED));
            tell_applied(setup.group, &mut machine, out);
        }
        recovered.applied = machine.applied;
        let mut raft = Group::new(setup, recovered);
        raft.bar(lost.is_some());
        let held = raft.window_bytes();
        raft.tell(out);
        Self {
            raft,
            machine,
            config,
            checkpoint: Checkpoint::Idle,
            carrying,
            marked,
            marked_term,
            conf: marked_conf.clone(),
            marked_conf,
            applied_bytes: 0,
            mutants,
            copying: Copying::default(),
            healing: Healing::of(lost, held),
        }
    }

    /// Applies what is committed, and says what came of it.
    pub(super) fn apply(&mut self, entries: Vec<Committed>, out: &mut Effects) -> Vec<(Option<Token>, Index, Outcome)> {
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            // Only the bug planted below comes to an entry twice.
            if entry.index <= self.machine.applied && self.mutants.planted(Mutant::ApplyPastCommit) {
                continue;
            }
            self.applied_bytes += (entry.data.len() + entry.context.len()) as u64;
            let outcome = self.machine.apply(&entry, &self.config);
            if let Some(mark) = outcome.mark() {
                out.event(Event::Sometimes(mark));
            }
            tell_applied(self.raft.id(), &mut self.machine, out);
            outcomes.push((entry.token, entry.index, outcome));
        }
        outcomes
    }

    /// Tells Raft how far the state machine is, and lets go of entries nobody needs.
    pub(super) fn applied(&mut self, out: &mut Effects, output: &mut Output) {
        let was_serving = self.raft.serving();
        self.raft.applied(self.machine.applied.min(self.raft.commit()), out, output);
        self.raft.release();
        if !was_serving && self.raft.serving() {
            self.machine.lead();
        }
    }

    /// Whether enough was applied since the last mark to be worth another.
    pub(super) fn wants_checkpoint(&self, bytes: u64) -> bool {
        let bytes = if self.mutants.planted(Mutant::CheckpointsAllTheTime) { 1 } else { bytes };
        self.checkpoint == Checkpoint::Idle && self.applied_bytes >= bytes
    }

    /// Whether what was handed out is not all applied, because files are waited for: the configuration is ahead of the rest.
    fn stands(&self) -> bool {
        self.healing.is_lost() || self.healing.waits()
    }

    /// Begins a checkpoint of what is applied now, unless one is under way.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.checkpoint != Checkpoint::Idle || self.copying.is_installing() || self.stands() {
            return;
        }
        self.checkpoint = Checkpoint::Writing { applied: (self.machine.applied, self.machine.applied_term) };
        self.applied_bytes = 0;
        self.conf = self.raft.conf().clone();
        let state = self.machine.state();
        self.machine.log.checkpoint(state);
    }

    /// The journal wants its oldest files back: a checkpoint if that frees anything, else the entries are to be carried. Gives
    /// whether that is so.
    pub(super) fn relieve(&mut self, journal: &Journal) -> bool {
        if self.checkpoint != Checkpoint::Idle || self.copying.is_installing() {
            return false;
        }
        // Only what a mark lets go of frees a file: where the group stands still, its entries move instead, once.
        if self.machine.applied > self.marked && !self.stands() {
            self.begin_checkpoint();
            return false;
        }
        // What was let go of in memory and is in no checkpoint, since files are waited for, can not be moved: nor is the rest.
        let whole = self.raft.base().0 <= self.marked;
        whole && self.carrying.is_none_or(|ticket| ticket <= journal.durable())
    }

    /// What would be carried.
    pub(super) fn carried_bytes(&self) -> u64 {
        self.raft.entries_after(self.marked).iter().map(|entry| (entry.context.len() + entry.data.len()) as u64).sum()
    }

    /// Moves the entries of a group that stands still to the end of the journal.
    pub(super) fn carry(&mut self, journal: &mut Journal, out: &mut Effects) {
        out.event(Event::Sometimes(marks::ENTRIES_CARRIED));
        self.carrying = Some(journal.carry(self.raft.id(), self.raft.entries_after(self.marked)));
    }

    /// Data and state of the checkpoint are durable: the mark follows.
    pub(super) fn checkpoint_ready(&mut self, manifest: &Manifest, journal: &mut Journal) {
        let Checkpoint::Writing { applied } = self.checkpoint else {
            panic!("a checkpoint is ready that was not begun")
        };
        if self.copying.is_installing() {
            // What it names is about to be replaced.
            return;
        }
        let body = MarkBody { manifest: manifest.clone(), conf: self.conf.clone() };
        let ticket =
            journal.mark(self.raft.id(), Mark { applied: applied.0, applied_term: applied.1, body: body.encode() });
        self.checkpoint = Checkpoint::Marking { ticket, applied };
    }

    /// Whether a checkpoint is under way, up to its mark.
    pub(super) fn is_checkpointing(&self) -> bool {
        self.checkpoint != Checkpoint::Idle
    }

    /// Whether a mark waits for the journal.
    pub(super) fn marking(&self) -> bool {
        matches!(self.checkpoint, Checkpoint::Marking { .. })
    }

    /// The journal is durable up to here: a mark may have become so, and its predecessor goes.
    pub(super) fn mark_durable(&mut self, durable: Ticket, out: &mut Effects) {
        if let Checkpoint::Marking { ticket, applied } = self.checkpoint
            && ticket <= durable
        {
            self.checkpoint = Checkpoint::Idle;
            (self.marked, self.marked_term) = applied;
            self.machine.log.checkpoint_marked();
            self.marked_conf = self.conf.clone();
            self.raft.checkpointed(applied.0, applied.1, &self.marked_conf);
            out.event(Event::Checkpointed { group: self.raft.id(), applied: applied.0 });
        }
    }

    /// The files that were copied are what the replica is now: its last checkpoint is what they cover.
    pub(super) fn begin_anew(&mut self, conf: Conf) {
        self.marked_conf = conf;
        (self.marked, self.marked_term) = (self.machine.applied, self.machine.applied_term);
        self.checkpoint = Checkpoint::Idle;
        self.carrying = None;
        self.applied_bytes = 0;
    }

    pub(super) fn check(&self) {
        self.raft.check();
        assert_eq!(self.raft.applied_index(), self.machine.applied, "Raft knows what is applied");
        assert!(self.marked <= self.machine.applied, "a checkpoint covers what is applied");
    }
}

/// An entry was applied: says so, and what came of its batch.
fn tell_applied(group: GroupId, machine: &mut Machine, out: &mut Effects) {
    if let Some(judged) = machine.judged.take() {
        out.event(Event::Judged { group, index: machine.applied, judged });
    }
    out.event(applied_event(group, machine));
}

pub(super) fn applied_event(group: GroupId, machine: &Machine) -> Event {
    Event::Applied {
        group,
        index: machine.applied,
        term: machine.applied_term,
        digest: machine.digest,
        next_offset: machine.log.next_offset(),
        log_start: machine.log.log_start(),
    }
}

fn committed(entry: &journal::Entry) -> Committed {
    Committed {
        index: entry.index,
        term: entry.term,
        context: entry.context.clone(),
        data: entry.data.clone(),
        change: is_change(entry.kind),
        token: None,
    }
}

impl Replica {
    /// The planted bug: what a leader has appended and not committed, to be applied.
    pub(super) fn appended(&self) -> Vec<Committed> {
        match self.mutants.planted(Mutant::ApplyPastCommit) && self.raft.serving() {
            true => self.raft.entries_after(self.machine.applied).iter().map(committed).collect(),
            false => Vec::new(),
        }
    }

    /// The planted bug: what is appended and not committed, as if it were.
    pub(super) fn uncommitted(&self) -> Vec<bytes::Bytes> {
        let mut next = self.machine.log.next_offset();
        let mut slices = Vec::new();
        for entry in self.raft.entries_after(self.machine.applied) {
            if let Ok(batch) = crate::kafka::batch::Batch::parse(entry.data) {
                let stored = batch.assign(next, i32::try_from(entry.term.0).unwrap_or(0));
                next = crate::id::Offset(stored.last_offset.0 + 1);
                slices.extend([stored.head, stored.body]);
            }
        }
        slices
    }
}
