//! Which disk is who: charters held against each other, and replica ids against the disks that use them.

use std::collections::BTreeMap;

use tidelog_core::id::{ClusterId, DirectoryId, GroupId, NodeId, ReplicaId};

use super::group::At;
use crate::violation::Verdict;

/// The charter a member's disk holds.
#[derive(Clone, Debug)]
struct Held {
    cluster: ClusterId,
    directories: Vec<DirectoryId>,
    at: At,
}

/// The disks of the cluster, and who they say they are.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// The cluster and disk of each broker, as it said last.
    known: BTreeMap<NodeId, (ClusterId, DirectoryId)>,
    /// The charters on disks that exist.
    held: BTreeMap<NodeId, Held>,
    /// Which disk was the first to be this replica.
    users: BTreeMap<(ClusterId, GroupId, ReplicaId), (DirectoryId, At)>,
}

impl Identities {
    /// The cluster a broker is of; zero if it never said.
    pub(super) fn cluster(&self, node: NodeId) -> ClusterId {
        self.known.get(&node).map_or(ClusterId::ZERO, |(cluster, _)| *cluster)
    }

    /// A broker says of which cluster its disk is; `replica` zero observes.
    pub(super) fn chartered(
        &mut self,
        at: At,
        (cluster, directory): (ClusterId, DirectoryId),
        replica: ReplicaId,
        members: &[(NodeId, DirectoryId, ReplicaId)],
        verdict: &mut Verdict,
    ) {
        self.known.insert(at.node, (cluster, directory));
        if replica == ReplicaId(0) {
            self.held.remove(&at.node);
            return;
        }
        let directories: Vec<_> = members.iter().map(|(_, directory, _)| *directory).collect();
        for (other, held) in &self.held {
            let shared = directories.iter().find(|directory| held.directories.contains(directory));
            if let Some(shared) = shared.filter(|_| *other != at.node && held.cluster != cluster) {
                verdict.add("charters-overlap", String::new(), || {
                    let sentence = format!(
                        "Brokers {other} and {} are members of two clusters, and both count on disk {shared}.",
                        at.node
                    );
                    let proof = [held.at.says(held.cluster), at.says(cluster)];
                    (sentence, proof.into())
                });
            }
        }
        self.held.insert(at.node, Held { cluster, directories, at });
        // Whoever the charter names for this replica is its first user, even if it never says a word.
        for (node, directory, replica) in members {
            let at = At { node: *node, ..at };
            self.users.entry((cluster, GroupId::CONTROLLER, *replica)).or_insert((*directory, at));
        }
        self.uses(at, GroupId::CONTROLLER, replica, verdict);
    }

    /// A broker takes part as this replica.
    pub(super) fn uses(&mut self, at: At, group: GroupId, replica: ReplicaId, verdict: &mut Verdict) {
        let Some(&(cluster, directory)) = self.known.get(&at.node) else { return };
        let (first, when) = *self.users.entry((cluster, group, replica)).or_insert((directory, at));
        if first != directory {
            verdict.add("identity-reused", format!("{group:?}"), || {
                let sentence = format!(
                    "Group {group}, broker {}: it takes part as replica {replica}, which is another disk.",
                    at.node
                );
                (sentence, vec![when.says(format_args!("disk {first}")), at.says(format_args!("disk {directory}"))])
            });
        }
    }

    /// The disk of a broker is gone.
    pub(super) fn wiped(&mut self, node: NodeId) {
        self.held.remove(&node);
        self.known.remove(&node);
    }
}
