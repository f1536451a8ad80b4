//! Who is in a group: the configuration that travels with a checkpoint, for entries that told of it may be gone.
//!
//! In the words of joint consensus (Ongaro's dissertation, 4.3), as raft-rs has them. Promises that what was decoded can be
//! given to the crate. Does not know when a configuration changes, or why.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::ConfState;

use crate::effect::Effects;
use crate::event::Event;
use crate::id::{GroupId, Index, NodeId, ReplicaId};
use crate::limits::GROUP_MEMBERS_MAX;

/// The configuration of a group.
///
/// - every replica named anywhere has exactly one place in `nodes`
/// - voters and learners share nobody; who learns next votes in the outgoing half
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conf {
    /// Where each replica is, ascending by replica.
    pub nodes: Vec<(NodeId, ReplicaId)>,
    /// Who votes; in a joint configuration the incoming half.
    pub voters: Vec<ReplicaId>,
    /// Who only learns.
    pub learners: Vec<ReplicaId>,
    /// The outgoing half of a joint configuration; empty otherwise.
    pub outgoing: Vec<ReplicaId>,
    /// Voters of the outgoing half that will learn when it is left.
    pub learners_next: Vec<ReplicaId>,
    /// Whether a joint configuration is left as soon as it is committed.
    pub auto_leave: bool,
    /// How far into the controller's log those had read who asked for what led here; zero if nobody was asked.
    pub asked: Index,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, repeated, tag = "2")]
    nodes: Vec<u32>,
    #[prost(uint64, repeated, tag = "3")]
    replicas: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "7")]
    learners_next: Vec<u64>,
    #[prost(bool, tag = "8")]
    auto_leave: bool,
    #[prost(uint64, tag = "9")]
    asked: u64,
}

const VERSION: u32 = 1;

fn raw(ids: &[ReplicaId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

fn ids(raw: Vec<u64>) -> Vec<ReplicaId> {
    raw.into_iter().map(ReplicaId).collect()
}

fn sorted(raw: &[u64]) -> Vec<ReplicaId> {
    let set: BTreeSet<ReplicaId> = raw.iter().copied().map(ReplicaId).collect();
    set.into_iter().collect()
}

impl Conf {
    /// The configuration of these members: where each is, which replica it has, whether it votes.
    pub fn of(members: &[(NodeId, ReplicaId, bool)]) -> Self {
        let mut nodes: Vec<_> = members.iter().map(|(node, replica, _)| (*node, *replica)).collect();
        nodes.sort_unstable_by_key(|(_, replica)| *replica);
        let those = |votes: bool| members.iter().filter(move |member| member.2 == votes).map(|member| member.1);
        Self { nodes, voters: those(true).collect(), learners: those(false).collect(), ..Self::default() }
    }

    /// Whether nobody but this replica votes.
    pub fn is_alone(&self, replica: ReplicaId) -> bool {
        self.voters.iter().chain(&self.outgoing).all(|voter| *voter == replica)
    }

    /// The configuration's bytes. [`Conf::decode`] is its inverse.
    pub fn encode(&self) -> Bytes {
        let wire = Wire {
            version: VERSION,
            nodes: self.nodes.iter().map(|(node, _)| node.0).collect(),
            replicas: self.nodes.iter().map(|(_, replica)| replica.0).collect(),
            voters: raw(&self.voters),
            learners: raw(&self.learners),
            outgoing: raw(&self.outgoing),
            learners_next: raw(&self.learners_next),
            auto_leave: self.auto_leave,
            asked: self.asked.0,
        };
        wire.encode_to_vec().into()
    }

    /// The configuration in these bytes.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: Bytes) -> Result<Self, &'static str> {
        let wire = Wire::decode(bytes).map_err(|_| "the configuration can not be decoded")?;
        if wire.version != VERSION {
            return Err("the configuration has an unknown version");
        }
        if wire.nodes.len() != wire.replicas.len() {
            return Err("every replica has a place");
        }
        let conf = Self {
            nodes: wire.nodes.into_iter().map(NodeId).zip(wire.replicas.into_iter().map(ReplicaId)).collect(),
            voters: ids(wire.voters),
            learners: ids(wire.learners),
            outgoing: ids(wire.outgoing),
            learners_next: ids(wire.learners_next),
            auto_leave: wire.auto_leave,
            asked: Index(wire.asked),
        };
        conf.judge().map(|()| conf)
    }

    fn judge(&self) -> Result<(), &'static str> {
        let ascends = self.nodes.is_sorted_by(|a, b| a.1 < b.1) && self.nodes.iter().all(|(_, id)| id.0 != 0);
        if !ascends || self.nodes.len() > GROUP_MEMBERS_MAX {
            return Err("the places of a configuration ascend by replica and are not too many");
        }
        let distinct = |ids: &[ReplicaId]| {
            let set: BTreeSet<ReplicaId> = ids.iter().copied().collect();
            (set.len() == ids.len()).then_some(set).ok_or("a configuration names nobody twice")
        };
        let (voters, learners) = (distinct(&self.voters)?, distinct(&self.learners)?);
        let (outgoing, next) = (distinct(&self.outgoing)?, distinct(&self.learners_next)?);
        if voters.is_empty() {
            return Err("a configuration has voters");
        }
        if !learners.is_disjoint(&voters) || !learners.is_disjoint(&outgoing) {
            return Err("nobody votes and learns");
        }
        if !next.is_subset(&outgoing) || !next.is_disjoint(&voters) {
            return Err("who learns next votes in the outgoing half only");
        }
        if self.auto_leave && outgoing.is_empty() {
            return Err("only a joint configuration is left");
        }
        let named: BTreeSet<ReplicaId> = voters.union(&learners).chain(&outgoing).copied().collect();
        if !named.iter().copied().eq(self.nodes.iter().map(|(_, replica)| *replica)) {
            return Err("every replica has a place, and no other");
        }
        Ok(())
    }

    /// Tells those who watch that the group goes by this configuration, from the entry at `index` on.
    pub(super) fn tell(&self, group: GroupId, index: Index, events: &mut Effects) {
        let voters = self.nodes.iter().filter(|(_, replica)| self.voters.contains(replica)).copied().collect();
        events.event(Event::Configured { group, index, voters, outgoing: self.outgoing.clone() });
    }

    /// Whether the replica is in the group.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.nodes.iter().any(|(_, id)| *id == replica)
    }

    /// The configuration that the crate says it is now; `places` tells where replicas are.
    pub(super) fn from_raft(state: &ConfState, asked: Index, places: impl Fn(ReplicaId) -> Option<NodeId>) -> Self {
        let mut conf = Self {
            nodes: Vec::new(),
            voters: sorted(&state.voters),
            learners: sorted(&state.learners),
            outgoing: sorted(&state.voters_outgoing),
            learners_next: sorted(&state.learners_next),
            auto_leave: state.auto_leave,
            asked,
        };
        let named: BTreeSet<ReplicaId> =
            conf.voters.iter().chain(&conf.learners).chain(&conf.outgoing).copied().collect();
        conf.nodes = named.into_iter().map(|id| (places(id).unwrap_or(NodeId(0)), id)).collect();
        conf
    }

    pub(super) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: raw(&self.voters),
            learners: raw(&self.learners),
            voters_outgoing: raw(&self.outgoing),
            learners_next: raw(&self.learners_next),
            auto_leave: self.auto_leave,
            ..ConfState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> Conf {
        Conf::of(&[(NodeId(2), ReplicaId(9), true), (NodeId(1), ReplicaId(4), true), (NodeId(3), ReplicaId(7), false)])
    }

    #[test]
    fn what_is_encoded_is_decoded_and_cuts_are_no_configuration() {
        let bytes = conf().encode();
        assert_eq!(Conf::decode(bytes.clone()), Ok(conf()));
        for cut in 0..bytes.len() {
            assert_ne!(Conf::decode(bytes.slice(..cut)), Ok(conf()), "cut at {cut}");
        }
    }

    #[test]
    fn what_the_crate_would_choke_on_is_refused() {
        let spoil = |spoil: fn(&mut Conf)| {
            let mut conf = conf();
            spoil(&mut conf);
            assert!(Conf::decode(conf.encode()).is_err(), "{conf:?}");
        };
        spoil(|conf| conf.voters.clear());
        spoil(|conf| conf.voters.push(ReplicaId(9)));
        spoil(|conf| conf.learners.push(ReplicaId(4)));
        spoil(|conf| conf.learners.push(ReplicaId(5)));
        spoil(|conf| conf.learners_next.push(ReplicaId(4)));
        spoil(|conf| conf.auto_leave = true);
        spoil(|conf| conf.nodes.reverse());
        let mut joint = conf();
        joint.voters = vec![ReplicaId(9)];
        joint.outgoing = vec![ReplicaId(4), ReplicaId(9)];
        joint.learners_next = vec![ReplicaId(4)];
        joint.auto_leave = true;
        joint.asked = Index(77);
        assert_eq!(Conf::decode(joint.encode()), Ok(joint));
    }
}
