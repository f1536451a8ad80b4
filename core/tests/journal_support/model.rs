//! What the journal promises, as a model beside it: the states each group passed through, and which are durable.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidelog_core::id::{GroupId, Index};
use tidelog_core::journal::{Done, Entry, HardState, Mark, Recovered, RecoveredGroup, Ticket};
use tidelog_core::rng::Rng;

use super::{Disk, Host, entries, hard, mark, settings};

pub const GROUPS: u64 = 4;

/// Something to do; numbers are taken relative to what the group holds.
#[derive(Clone, Debug)]
pub enum Op {
    Append {
        group: u64,
        count: u64,
        len: usize,
        back: u64,
        hard: bool,
    },
    Hard {
        group: u64,
        lazily: bool,
    },
    Mark {
        group: u64,
        kept: u64,
        ahead: u64,
    },
    Install {
        group: u64,
        kept: u64,
        ahead: u64,
    },
    Carry {
        group: u64,
        skip: u64,
        count: u64,
    },
    Forget {
        group: u64,
    },
    /// Everything relief names is checkpointed or carried.
    Relieve {
        carry: bool,
    },
    Collect,
    Finish,
    Settle,
    Seal,
    /// The process dies; the page cache stays.
    Kill {
        steps: u8,
    },
    /// Power is lost, and again during recovery after so many steps, as often as the list says.
    PowerLoss {
        seed: u64,
        keep_per_mille: u64,
        steps: Vec<u8>,
    },
}

pub fn op() -> impl Strategy<Value = Op> {
    let group = 0..GROUPS;
    prop_oneof![
        10 => (group.clone(), 0u64..6, prop_oneof![3 => 0usize..60, 2 => 0usize..1500], 0u64..4, any::<bool>())
            .prop_map(|(group, count, len, back, hard)| Op::Append { group, count, len, back, hard }),
        3 => (group.clone(), any::<bool>()).prop_map(|(group, lazily)| Op::Hard { group, lazily }),
        3 => (group.clone(), 0u64..6, prop_oneof![9 => Just(0u64), 1 => 1u64..5])
            .prop_map(|(group, kept, ahead)| Op::Mark { group, kept, ahead }),
        2 => (group.clone(), 0u64..6, 0u64..5)
            .prop_map(|(group, kept, ahead)| Op::Install { group, kept, ahead }),
        2 => (group.clone(), 0u64..6, 1u64..6).prop_map(|(group, skip, count)| Op::Carry { group, skip, count }),
        1 => group.prop_map(|group| Op::Forget { group }),
        3 => any::<bool>().prop_map(|carry| Op::Relieve { carry }),
        6 => Just(Op::Collect),
        6 => Just(Op::Finish),
        3 => Just(Op::Settle),
        1 => Just(Op::Seal),
        1 => (0u8..12).prop_map(|steps| Op::Kill { steps }),
        2 => (any::<u64>(), prop_oneof![Just(0u64), Just(1000), 100u64..900], prop::collection::vec(0u8..25, 0..4))
            .prop_map(|(seed, keep_per_mille, steps)| Op::PowerLoss { seed, keep_per_mille, steps }),
    ]
}

/// One group as the model sees it.
pub type Group = RecoveredGroup;

fn covered(group: &Group) -> u64 {
    group.mark.as_ref().map_or(0, |mark| mark.applied.0)
}

fn last(group: &Group) -> u64 {
    group.entries.last().map_or(covered(group), |entry| entry.index.0)
}

/// The states of a group since the last recovery, with the ticket that made each.
type History = Vec<(Ticket, Option<Group>)>;

pub struct World {
    pub host: Host,
    histories: BTreeMap<GroupId, History>,
    term: u64,
}

impl World {
    pub fn new() -> Self {
        let mut host = Host::start(Disk::default(), 1, super::Settings { file_bytes: 8192, ..settings() });
        host.recover();
        Self { host, histories: BTreeMap::new(), term: 1 }
    }

    pub fn now(&self, group: GroupId) -> Option<&Group> {
        self.histories.get(&group)?.last()?.1.as_ref()
    }

    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        (0..GROUPS).filter_map(|group| Some((GroupId(group), self.now(GroupId(group))?)))
    }

    fn push(&mut self, group: GroupId, ticket: Ticket, state: Option<Group>) {
        self.histories.entry(group).or_insert_with(|| vec![(Ticket(0), None)]).push((ticket, state));
    }

    fn change(&mut self, group: GroupId, ticket: Ticket, change: impl FnOnce(&mut Group)) {
        let mut state = self.now(group).cloned().unwrap_or_default();
        change(&mut state);
        self.push(group, ticket, Some(state));
    }

    fn mark(&mut self, group: GroupId, mark: Mark) {
        let ticket = self.host.journal.mark(group, mark.clone());
        self.change(group, ticket, |state| {
            state.entries.retain(|entry| entry.index > mark.applied);
            state.mark = Some(mark);
        });
    }

    /// What was copied from elsewhere takes the place of everything.
    fn install(&mut self, group: GroupId, mark: Mark) {
        let ticket = self.host.journal.install(group, mark.clone());
        self.change(group, ticket, |state| {
            state.entries.clear();
            state.mark = Some(mark);
        });
    }

    pub fn append(&mut self, group: GroupId, count: u64, len: usize, back: u64, with_hard: bool) {
        let state = self.now(group).cloned().unwrap_or_default();
        self.term += u64::from(back > 0);
        let from = last(&state).saturating_sub(back).max(covered(&state)) + 1;
        let added = entries(from..=from + count - 1, self.term, len);
        let added: Vec<Entry> = if count == 0 { Vec::new() } else { added };
        let truncate = (back > 0).then_some(Index(from));
        let hard: Option<HardState> = with_hard.then(|| hard(self.term, self.term % 5, from - 1));
        let ticket = self.host.journal.append(group, added.clone(), truncate, hard);
        self.change(group, ticket, |state| {
            if truncate.is_some() {
                state.entries.retain(|entry| entry.index.0 < from);
            }
            state.entries.extend(added);
            state.hard = hard.unwrap_or(state.hard);
        });
    }

    pub fn carry(&mut self, group: GroupId, entries: Vec<Entry>) {
        self.host.journal.carry(group, entries);
    }

    /// Everything relief names is checkpointed or carried.
    pub fn relieve(&mut self, carry: bool) {
        for group in self.host.journal.relief() {
            let Some(state) = self.now(group).cloned() else {
                continue;
            };
            if carry {
                self.carry(group, state.entries);
            } else {
                self.mark(group, mark(last(&state), self.term));
            }
        }
    }

    pub fn run(&mut self, op: &Op) {
        match op {
            Op::Append { group, count, len, back, hard } => {
                self.append(GroupId(*group), *count, *len, *back, *hard);
            }
            Op::Hard { group, lazily } => {
                let group = GroupId(*group);
                let old = self.now(group).map_or(HardState::default(), |state| state.hard);
                self.term += u64::from(!lazily);
                let commit = Index(old.commit.0 + 1);
                let new =
                    if *lazily { HardState { commit, ..old } } else { hard(self.term, self.term % 3, old.commit.0) };
                let ticket = self.host.journal.hard_state(group, new, *lazily);
                self.change(group, ticket, |state| state.hard = new);
            }
            Op::Mark { group, kept, ahead } => {
                let group = GroupId(*group);
                let state = self.now(group).cloned().unwrap_or_default();
                let to = if *ahead > 0 { last(&state) + ahead } else { last(&state).saturating_sub(*kept) };
                self.mark(group, mark(to.max(covered(&state)), self.term));
            }
            Op::Install { group, kept, ahead } => {
                let group = GroupId(*group);
                let state = self.now(group).cloned().unwrap_or_default();
                let to = if *ahead > 0 { last(&state) + ahead } else { last(&state).saturating_sub(*kept) };
                self.install(group, mark(to.max(covered(&state)), self.term));
            }
            Op::Carry { group, skip, count } => {
                let group = GroupId(*group);
                let Some(state) = self.now(group).cloned() else { return };
                let some = state.entries.into_iter().skip(*skip as usize).take(*count as usize);
                self.carry(group, some.collect());
            }
            Op::Forget { group } => {
                let ticket = self.host.journal.forget(GroupId(*group));
                self.push(GroupId(*group), ticket, None);
            }
            Op::Relieve { carry } => self.relieve(*carry),
            Op::Collect => self.host.collect(),
            Op::Finish => {
                self.host.finish_one();
            }
            Op::Settle => self.host.settle(),
            Op::Seal => self.host.journal.seal(),
            Op::Kill { steps } => {
                self.crash(|host| host.killed());
                for _ in 0..*steps {
                    self.host.collect();
                    self.host.finish_one();
                }
                if *steps > 0 {
                    self.crash(|host| host.killed());
                }
                self.recover();
            }
            Op::PowerLoss { seed, keep_per_mille, steps } => {
                let mut rng = Rng::stream(*seed, &[]);
                let mut keep = move || rng.per_mille(*keep_per_mille);
                self.crash(|host| host.power_lost(&mut keep));
                for steps in steps {
                    for _ in 0..*steps {
                        self.host.collect();
                        self.host.finish_one();
                    }
                    self.host.collect();
                    self.crash(|host| host.power_lost(&mut keep));
                }
                self.recover();
            }
        }
    }

    pub fn crash(&mut self, restart: impl FnOnce(Host) -> Host) {
        self.note_durable();
        let dummy = Host::start(Disk::default(), 1, settings());
        let old = std::mem::replace(&mut self.host, dummy);
        self.host = restart(old);
    }

    /// Drops the states that can not come back. What was recovered is durable from the start.
    fn note_durable(&mut self) {
        let durable = self.host.journal.durable();
        for history in self.histories.values_mut() {
            let first = history.iter().rposition(|(ticket, _)| *ticket <= durable).unwrap_or(0);
            history.drain(..first);
            // Recovery may be crashed again, by a journal that knows nothing of these tickets.
            history.iter_mut().for_each(|(ticket, _)| ticket.0 = if ticket.0 <= durable.0 { 0 } else { ticket.0 });
        }
    }

    /// Recovers, and demands of undamaged groups what was promised. Damage is for the caller to judge.
    pub fn recover_damaged(&mut self) -> Recovered {
        let recovered = self.host.recover();
        for (group, history) in &self.histories {
            let suspended = recovered.suspended.contains(group)
                || (recovered.all_suspended && !recovered.groups.contains_key(group));
            if suspended {
                continue;
            }
            let found = recovered.groups.get(group).cloned();
            let allowed: Vec<_> = history.iter().map(|(_, state)| state.clone()).collect();
            assert!(allowed.contains(&found), "group {group}: {found:#?} is none of {allowed:#?}");
        }
        let known: BTreeSet<_> = self.histories.keys().copied().collect();
        assert!(recovered.groups.keys().all(|group| known.contains(group)), "a group was invented");
        self.histories = (0..GROUPS)
            .map(GroupId)
            .map(|group| (group, vec![(Ticket(0), recovered.groups.get(&group).cloned())]))
            .collect();
        recovered
    }

    pub fn recover(&mut self) -> Recovered {
        let recovered = self.recover_damaged();
        assert!(recovered.suspended.is_empty() && !recovered.all_suspended, "a crash is no corruption: {recovered:#?}");
        assert!(!self.host.events.iter().any(|event| matches!(event, Done::Corrupt(_))), "a crash is no corruption");
        recovered
    }
}
