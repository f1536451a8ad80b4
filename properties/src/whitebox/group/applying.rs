//! What is committed, as applying shows it: durable on a quorum, and the same everywhere.

use tidelog_core::id::{Index, ReplicaId, Term};

use super::{Applied, Broken, Group, place};
use crate::whitebox::replica::Replica;

impl Group {
    /// A snapshot's mark is durable: all the replica has is what was committed up to `index`, and that is durable and applied.
    pub(super) fn installed(
        &mut self,
        id: ReplicaId,
        index: Index,
        state: Applied,
        broken: &mut Vec<Broken>,
        work: &mut u64,
    ) {
        let terms = self.committed_to(index);
        *work += terms.len() as u64;
        let replica = self.replica(id);
        if replica.installing.take() != Some((index, state.term)) {
            broken.push((
                "unexplained",
                format!("it installed a snapshot of entry {index} out of the blue."),
                Vec::new(),
            ));
        }
        let before = replica.applied;
        match self.applied.get(place(index)) {
            None => {
                let sentence = format!("it installed a snapshot of entry {index}, which nobody has applied.");
                broken.push(("divergence", sentence, Vec::new()));
                return;
            }
            Some(first) => agree(index, first, &state, broken),
        }
        if index < before {
            let sentence = format!("it installed a snapshot of entry {index} over a state of {before}.");
            broken.push(("snapshot-regress", sentence, Vec::new()));
        }
        self.replica(id).install(&terms);
    }

    /// Copied files took the place of damaged ones: they cover all that was applied, and the log is what it was.
    pub(super) fn healed(&mut self, id: ReplicaId, index: Index, state: &Applied, broken: &mut Vec<Broken>) {
        match self.applied.get(place(index)) {
            None => {
                let sentence = format!("it healed by files of entry {index}, which nobody has applied.");
                broken.push(("divergence", sentence, Vec::new()));
                return;
            }
            Some(first) => agree(index, first, state, broken),
        }
        let replica = self.replica(id);
        if index < replica.applied {
            let sentence = format!("it healed by files of entry {index}, and had applied {}.", replica.applied);
            broken.push(("snapshot-regress", sentence, Vec::new()));
        }
        replica.applied = index;
        replica.applied_ever = replica.applied_ever.max(index);
        replica.checkpointed = replica.checkpointed.max(index);
    }

    /// The terms of what is committed, up to `index`.
    pub(super) fn committed_to(&self, index: Index) -> Vec<Term> {
        self.applied.iter().take(place(index.next())).map(|applied| applied.term).collect()
    }

    pub(super) fn applied(&mut self, id: ReplicaId, index: Index, applied: Applied, broken: &mut Vec<Broken>) {
        let term = applied.term;
        let replica = self.replica(id);
        if index != replica.applied.next() {
            let sentence = format!("it applied entry {index} after entry {}.", replica.applied);
            broken.push(("applied-out-of-order", sentence, Vec::new()));
        }
        match replica.slot(index) {
            Some(Some(there)) if there == term => {}
            Some(None) => replica.settle_slot(index, term),
            other => {
                let sentence = match other.flatten() {
                    Some(there) => {
                        format!("it applied entry {index} of term {term}, and its log has one of term {there} there.")
                    }
                    None => format!("it applied entry {index}, and its log ends before."),
                };
                broken.push(("applied-other-entry", sentence, Vec::new()));
            }
        }
        replica.applied = index;
        replica.applied_ever = replica.applied_ever.max(index);
        match self.applied.get(place(index)) {
            Some(first) => agree(index, first, &applied, broken),
            None if place(index) == self.applied.len() => self.applied_first(index, applied, broken),
            None => {
                broken.push(("unexplained", format!("it applied entry {index} long before anybody else."), Vec::new()))
            }
        }
    }

    fn applied_first(&mut self, index: Index, applied: Applied, broken: &mut Vec<Broken>) {
        let term = applied.term;
        if let Some(before) = self.applied.last()
            && (applied.next_offset < before.next_offset || applied.log_start < before.log_start || term < before.term)
        {
            let sentence = format!(
                "entry {index} took (term, next offset, log start) from ({}, {}, {}) to ({term}, {}, {}).",
                before.term, before.next_offset, before.log_start, applied.next_offset, applied.log_start
            );
            broken.push(("offset-went-back", sentence, Vec::new()));
        }
        if applied.log_start > applied.next_offset {
            let sentence = format!("the log starts at {} and ends at {}.", applied.log_start, applied.next_offset);
            broken.push(("offset-went-back", sentence, Vec::new()));
        }
        self.applied.push(applied);
        let holds = |id| self.replicas.get(&id).is_some_and(|replica| replica.holds(index, term));
        let mut configs = self.configs.range(..index).rev().map(|(_, config)| config);
        let Some(config) = configs.next() else {
            broken.push(("unexplained", format!("entry {index} was decided by voters that nobody knows."), Vec::new()));
            return;
        };
        // A leader that had not yet applied the latest change decided by the configuration before it.
        let old = configs.next().filter(|_| config.old_reach.is_none_or(|reach| index <= reach));
        if !config.quorum(holds) && !old.is_some_and(|old| old.quorum(holds)) {
            let state = |(id, replica): (&ReplicaId, &Replica)| format!("replica {id} to {}", replica.durable_last());
            let durable: Vec<_> = self.replicas.iter().map(state).collect();
            let sentence = format!("entry {index} of term {term} was applied before a quorum had it on disk.");
            broken.push((
                "commit-without-quorum",
                sentence,
                vec![format!("durable: {}; a majority is needed of {config}", durable.join(", "))],
            ));
        }
    }
}

/// Two replicas at one index are in one state.
fn agree(index: Index, first: &Applied, applied: &Applied, broken: &mut Vec<Broken>) {
    let state = |a: &Applied| (a.term, a.digest, a.next_offset, a.log_start);
    if state(first) == state(applied) {
        return;
    }
    let proof =
        vec![first.at.says(format_args!("(term, digest, next offset, log start) of {index} is {:?}", state(first)))];
    let what = if first.term != applied.term {
        "another entry"
    } else if first.next_offset != applied.next_offset || first.log_start != applied.log_start {
        "other offsets"
    } else {
        "another state"
    };
    broken.push(("divergence", format!("it has {what} at entry {index} than broker {}.", first.at.node), proof));
}
