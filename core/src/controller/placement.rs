//! Which brokers get the replicas of a new topic.
//!
//! Promises that preferred leaders and replicas are spread evenly over the brokers, and that the followers of one broker's
//! partitions are not all on the same other broker. Does not know racks, disks, or what else the brokers hold.

use crate::id::NodeId;
use crate::rng::mix;

/// The brokers of each partition, the preferred leader first.
///
/// `seed` says where the round begins, so that many small topics do not all begin at the same broker.
///
/// # Panics
/// If there are fewer brokers than replicas, or no replicas: the caller has validated both.
pub fn place(brokers: &[NodeId], partitions: u32, replication_factor: usize, seed: u64) -> Vec<Vec<NodeId>> {
    assert!(replication_factor >= 1, "a partition has a replica");
    assert!(replication_factor <= brokers.len(), "a broker holds at most one replica of a partition");
    let count = brokers.len() as u64;
    let start = mix(seed) % count;
    (0..u64::from(partitions))
        .map(|partition| {
            let leader = (start + partition) % count;
            // After each round over the brokers the followers move one further away from their leader.
            let round = partition / count;
            (0..replication_factor as u64)
                .map(|replica| {
                    let away = if replica == 0 { 0 } else { 1 + (round + replica - 1) % (count - 1) };
                    brokers[((leader + away) % count) as usize]
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn nodes(count: u32) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_and_spread(count in 1u32..12, partitions in 1u32..200, factor in 1usize..6, seed: u64) {
            let factor = factor.min(count as usize);
            let placed = place(&nodes(count), partitions, factor, seed);
            prop_assert_eq!(placed.len(), partitions as usize);
            let mut leads: BTreeMap<NodeId, u32> = BTreeMap::new();
            let mut holds: BTreeMap<NodeId, u32> = BTreeMap::new();
            for replicas in &placed {
                prop_assert_eq!(replicas.len(), factor);
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor);
                *leads.entry(replicas[0]).or_default() += 1;
                for node in replicas {
                    *holds.entry(*node).or_default() += 1;
                }
            }
            let at_most = |held: &BTreeMap<NodeId, u32>, most: u32| held.values().all(|n| *n <= most);
            prop_assert!(at_most(&leads, partitions.div_ceil(count)));
            // Within one round over the brokers every position is a permutation: only the last round may be uneven.
            prop_assert!(at_most(&holds, (partitions.div_ceil(count)) * factor as u32));
        }
    }

    #[test]
    fn followers_of_one_leader_differ_between_rounds() {
        let placed = place(&nodes(4), 12, 2, 7);
        let leader = placed[0][0];
        let followers: BTreeSet<NodeId> = placed.iter().filter(|r| r[0] == leader).map(|r| r[1]).collect();
        assert_eq!(followers.len(), 3);
    }

    #[test]
    fn topics_of_one_partition_begin_at_different_brokers() {
        let leaders: BTreeSet<NodeId> = (1..40).map(|index| place(&nodes(3), 1, 1, index)[0][0]).collect();
        assert_eq!(leaders.len(), 3);
    }
}
