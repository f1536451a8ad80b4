//! What the journal knows of its groups: which entries are live, where they stand, hard state and mark.
//!
//! The writer changes the table as it seals a frame, and recovery as it reads one: the same functions, so that both always
//! agree. Promises that runs of a group are contiguous and lie above its mark. Does not know blocks or disks.

use std::collections::{BTreeMap, VecDeque};

use super::base::BaseGroup;
use super::{HardState, Mark};
use crate::id::{GroupId, Index};

/// Neighbouring live entries that came with one append and stand in one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) first: Index,
    pub(super) last: Index,
    /// The append number they came with.
    pub(super) append: u64,
    /// The sequence of the file where they stand.
    pub(super) sequence: u64,
}

/// One group.
///
/// - Runs are contiguous and ascending.
/// - All of them lie above what the mark covers.
#[derive(Clone, Default, Debug)]
pub(super) struct Group {
    pub(super) hard: HardState,
    pub(super) mark: Option<Mark>,
    /// The number of its last fresh frame.
    pub(super) append: u64,
    /// Damage hit it: what is known may be less than what was acknowledged.
    pub(super) suspended: bool,
    runs: VecDeque<Run>,
}

/// All groups, and how many runs each file holds.
#[derive(Clone, Default, Debug)]
pub(super) struct Table {
    groups: BTreeMap<GroupId, Group>,
    /// The highest append number ever given.
    pub(super) high: u64,
    /// Groups that are not here are suspended.
    pub(super) all_suspended: bool,
    runs_in: BTreeMap<u64, u64>,
}

/// Why a frame does not follow from what came before it.
pub(super) type Misfit = &'static str;

fn count(runs_in: &mut BTreeMap<u64, u64>, sequence: u64) {
    *runs_in.entry(sequence).or_default() += 1;
}

fn uncount(runs_in: &mut BTreeMap<u64, u64>, sequence: u64) {
    let left = runs_in.get_mut(&sequence).expect("a run was counted");
    *left -= 1;
    if *left == 0 {
        runs_in.remove(&sequence);
    }
}

impl Group {
    /// Its live entries, ascending.
    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// The index behind which its entries begin.
    fn covered(&self) -> Index {
        self.mark.as_ref().map_or(Index(0), |mark| mark.applied)
    }

    /// The last index it holds, in entries or mark.
    fn last(&self) -> Index {
        self.runs.back().map_or(self.covered(), |run| run.last)
    }

    /// The run that holds `index`.
    pub(super) fn run_of(&self, index: Index) -> Option<Run> {
        let at = self.runs.partition_point(|run| run.last < index);
        self.runs.get(at).filter(|run| run.first <= index).copied()
    }

    /// What a base says of it.
    pub(super) fn base(&self) -> BaseGroup {
        BaseGroup {
            hard: self.hard,
            mark: self.mark.clone(),
            suspended: self.suspended,
            runs: self.runs.iter().copied().collect(),
        }
    }
}

impl Table {
    /// All groups, ascending.
    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    /// One group.
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// The files that hold live entries, ascending.
    pub(super) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.runs_in.keys().copied()
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> u64 {
        self.runs_in.values().sum()
    }

    /// Whether some group needs entries of this file.
    pub(super) fn needs(&self, sequence: u64) -> bool {
        self.runs_in.contains_key(&sequence)
    }

    /// The number of the group's next fresh frame.
    pub(super) fn next_append(&self, id: GroupId) -> u64 {
        self.groups.get(&id).map_or(self.high, |group| group.append) + 1
    }

    /// Admits a fresh frame: its number follows the group's last one.
    fn fresh(&mut self, id: GroupId, append: u64) -> Result<&mut Group, Misfit> {
        match self.groups.get(&id) {
            // A number may be skipped where a group begins: numbers of groups lost to damage are not seen again.
            None if append <= self.high => return Err("append number of a new group was used before"),
            Some(group) if group.append.checked_add(1) != Some(append) => return Err("append number out of order"),
            None | Some(_) => {}
        }
        self.high = self.high.max(append);
        let group = self.groups.entry(id).or_default();
        group.append = append;
        Ok(group)
    }

    /// A fresh append of the entries `range` (first and last), standing in file `sequence`.
    pub(super) fn append(
        &mut self,
        id: GroupId,
        append: u64,
        truncate_from: Option<Index>,
        hard: Option<HardState>,
        range: Option<(Index, Index)>,
        sequence: u64,
    ) -> Result<(), Misfit> {
        self.fresh(id, append)?;
        if let Some(from) = truncate_from {
            self.truncate(id, from);
        }
        let group = self.groups.get_mut(&id).expect("made by fresh");
        if let Some(hard) = hard {
            group.hard = hard;
        }
        if let Some((first, last)) = range {
            if group.last().0.checked_add(1) != Some(first.0) {
                return Err("entries do not follow the last index");
            }
            group.runs.push_back(Run { first, last, append, sequence });
            count(&mut self.runs_in, sequence);
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, id: GroupId, from: Index) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        while let Some(run) = group.runs.back_mut() {
            if run.last < from {
                break;
            }
            if run.first < from {
                run.last = Index(from.0 - 1);
                break;
            }
            uncount(&mut self.runs_in, run.sequence);
            group.runs.pop_back();
        }
    }

    /// A new hard state.
    pub(super) fn hard(&mut self, id: GroupId, append: u64, hard: HardState) -> Result<(), Misfit> {
        self.fresh(id, append)?.hard = hard;
        Ok(())
    }

    /// A new mark: lets go of the entries it covers.
    pub(super) fn mark(&mut self, id: GroupId, append: u64, mark: Mark) -> Result<(), Misfit> {
        self.fresh(id, append)?;
        let group = self.groups.get_mut(&id).expect("made by fresh");
        if mark.applied < group.covered() {
            return Err("a mark covers less than its predecessor");
        }
        let covered = mark.applied;
        group.mark = Some(mark);
        while let Some(run) = group.runs.front_mut() {
            if run.first > covered {
                break;
            }
            if run.last > covered {
                run.first = covered.next();
                break;
            }
            uncount(&mut self.runs_in, run.sequence);
            group.runs.pop_front();
        }
        Ok(())
    }

    /// A mark that no entry of the group outlives.
    pub(super) fn install(&mut self, id: GroupId, append: u64, mark: Mark) -> Result<(), Misfit> {
        let covered = mark.applied;
        self.mark(id, append, mark)?;
        self.truncate(id, covered.next());
        Ok(())
    }

    /// Entries written again: those that are still live with this append number now stand in file `sequence`.
    pub(super) fn carry(&mut self, id: GroupId, append: u64, first: Index, last: Index, sequence: u64) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut runs = VecDeque::with_capacity(group.runs.len() + 2);
        for run in group.runs.drain(..) {
            let (from, to) = (run.first.max(first), run.last.min(last));
            if run.append != append || from > to {
                runs.push_back(run);
                continue;
            }
            uncount(&mut self.runs_in, run.sequence);
            let before = (run.first < from).then(|| Run { last: Index(from.0 - 1), ..run });
            let after = (to < run.last).then(|| Run { first: to.next(), ..run });
            for part in [before, Some(Run { first: from, last: to, append, sequence }), after].into_iter().flatten() {
                count(&mut self.runs_in, part.sequence);
                runs.push_back(part);
            }
        }
        group.runs = runs;
    }

    /// Removes everything about a group, its suspension included.
    pub(super) fn forget(&mut self, id: GroupId, append: u64) {
        self.high = self.high.max(append);
        if let Some(group) = self.groups.remove(&id) {
            group.runs.iter().for_each(|run| uncount(&mut self.runs_in, run.sequence));
        }
    }

    /// Notes that damage hit a group, known or not. What is left of its entries nobody needs.
    pub(super) fn suspend(&mut self, id: GroupId) {
        let group = self.groups.entry(id).or_default();
        group.suspended = true;
        group.runs.drain(..).for_each(|run| uncount(&mut self.runs_in, run.sequence));
    }

    /// Notes that damage hit all groups, known or not.
    pub(super) fn suspend_all(&mut self) {
        self.all_suspended = true;
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        groups.into_iter().for_each(|group| self.suspend(group));
    }

    /// Takes a group from a base.
    pub(super) fn restore(&mut self, id: GroupId, append: u64, base: BaseGroup) -> Result<(), Misfit> {
        let mut last = base.mark.as_ref().map_or(Index(0), |mark| mark.applied);
        for run in &base.runs {
            if last.0.checked_add(1) != Some(run.first.0) || run.last < run.first {
                return Err("runs of a base are not contiguous above the mark");
            }
            last = run.last;
        }
        if self.groups.contains_key(&id) {
            return Err("a base names a group twice");
        }
        base.runs.iter().for_each(|run| count(&mut self.runs_in, run.sequence));
        self.high = self.high.max(append);
        let BaseGroup { hard, mark, suspended, runs } = base;
        self.groups.insert(id, Group { hard, mark, append, suspended, runs: runs.into() });
        Ok(())
    }

    /// Asserts the invariants of the type.
    pub(super) fn check(&self) {
        let mut runs_in = BTreeMap::new();
        for (id, group) in &self.groups {
            assert!(group.append <= self.high, "group {id}: append number above the highest");
            let mut last = group.covered();
            for run in &group.runs {
                count(&mut runs_in, run.sequence);
                let follows = run.first == last.next() && !group.suspended;
                assert!(follows && run.first <= run.last, "group {id}: runs are contiguous above the mark");
                last = run.last;
            }
        }
        assert_eq!(runs_in, self.runs_in, "runs are counted per file");
    }
}
