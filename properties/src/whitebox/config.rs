//! The voters of a group over time, and what a quorum of them is.

use std::collections::BTreeSet;
use std::fmt;

use tidelog_core::id::{Index, NodeId, ReplicaId};

/// One configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Config {
    /// The voters; in a joint configuration a second half that must agree as well.
    halves: [BTreeSet<ReplicaId>; 2],
    /// Up to here the configuration before may have committed: its quorum held it when a leader took up this one.
    pub(super) old_reach: Option<Index>,
}

impl Config {
    pub(super) fn new(voters: &[(NodeId, ReplicaId)], outgoing: &[ReplicaId]) -> Self {
        let voters = voters.iter().map(|&(_, replica)| replica).collect();
        Self { halves: [voters, outgoing.iter().copied().collect()], old_reach: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.halves[0].is_empty()
    }

    pub(super) fn same_voters(&self, other: &Self) -> bool {
        self.halves == other.halves
    }

    fn halves(&self) -> impl Iterator<Item = &BTreeSet<ReplicaId>> {
        self.halves.iter().filter(|half| !half.is_empty())
    }

    /// Whether a majority of each half says yes.
    pub(super) fn quorum(&self, yes: impl Fn(ReplicaId) -> bool) -> bool {
        self.halves().all(|half| half.iter().filter(|&&replica| yes(replica)).count() * 2 > half.len())
    }

    /// The highest index that a majority of each half reaches.
    pub(super) fn reach(&self, last: impl Fn(ReplicaId) -> Index) -> Index {
        let of_half = |half: &BTreeSet<ReplicaId>| {
            let mut ends: Vec<_> = half.iter().map(|&replica| last(replica)).collect();
            ends.sort_unstable();
            ends[(ends.len() - 1) / 2]
        };
        self.halves().map(of_half).min().unwrap_or_default()
    }

    /// Whether every quorum of the one shares a replica with every quorum of the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.halves().any(|mine| other.halves().any(|theirs| majorities_meet(mine, theirs)))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = |half: &BTreeSet<ReplicaId>| half.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "{}", half(&self.halves[0]))?;
        if self.halves[1].is_empty() { Ok(()) } else { write!(f, " and of {}", half(&self.halves[1])) }
    }
}

/// Two majorities that avoid each other take from outside the other's set first; what is missing comes from the common part.
fn majorities_meet(a: &BTreeSet<ReplicaId>, b: &BTreeSet<ReplicaId>) -> bool {
    let common = a.intersection(b).count();
    let from_common = |set: &BTreeSet<ReplicaId>| (set.len() / 2 + 1).saturating_sub(set.len() - common);
    from_common(a) + from_common(b) > common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(voters: &[u64], outgoing: &[u64]) -> Config {
        let voters: Vec<_> = voters.iter().map(|&v| (NodeId(v as u32), ReplicaId(v))).collect();
        let outgoing: Vec<_> = outgoing.iter().map(|&v| ReplicaId(v)).collect();
        Config::new(&voters, &outgoing)
    }

    #[test]
    fn one_voter_more_overlaps_and_two_do_not() {
        assert!(config(&[1, 2, 3], &[]).overlaps(&config(&[1, 2, 3, 4], &[])));
        assert!(!config(&[1, 2, 3], &[]).overlaps(&config(&[1, 2, 3, 4, 5], &[])));
        assert!(!config(&[1], &[]).overlaps(&config(&[1, 2, 3], &[])));
        assert!(config(&[1], &[]).overlaps(&config(&[1, 2], &[])));
        assert!(!config(&[1, 2, 3], &[]).overlaps(&config(&[4, 5, 6], &[])));
    }

    #[test]
    fn a_joint_configuration_overlaps_both_its_neighbours() {
        let joint = config(&[4, 5, 6], &[1, 2, 3]);
        assert!(joint.overlaps(&config(&[1, 2, 3], &[])) && joint.overlaps(&config(&[4, 5, 6], &[])));
        assert!(!joint.overlaps(&config(&[7, 8, 9], &[])));
    }

    #[test]
    fn a_joint_quorum_needs_both_halves() {
        let joint = config(&[1, 2, 3], &[3, 4, 5]);
        assert!(!joint.quorum(|r| r.0 <= 3));
        assert!(joint.quorum(|r| r.0 >= 2 && r.0 <= 4));
        assert_eq!(joint.reach(|r| Index(r.0)), Index(2));
        assert_eq!(config(&[1, 2, 3, 4], &[]).reach(|r| Index(r.0)), Index(2));
    }
}
