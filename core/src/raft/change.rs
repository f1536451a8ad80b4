//! Changes of a group's configuration: what the next one is on the way to the members it shall have, and its bytes.
//!
//! In the steps of joint consensus (Ongaro's dissertation, 4.2.2 and 4.3): who is new learns first; those that have caught up
//! are promoted by a joint change, and each takes the place of the replica its node had before. Who learns still holds up
//! nobody but itself. Promises that no step leaves fewer voters than there are or shall be, whichever is less. Does not know
//! why the members shall be others.

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::conf::Conf;
use crate::id::{Index, NodeId, ReplicaId};
use crate::limits::GROUP_MEMBERS_MAX;

/// Where a replica is, its id, and whether it votes.
pub type Member = (NodeId, ReplicaId, bool);

/// One change; none of anything leaves a joint configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Who votes from now on.
    pub promoted: Vec<ReplicaId>,
    /// Who learns from now on.
    pub learning: Vec<ReplicaId>,
    /// Who leaves.
    pub removed: Vec<ReplicaId>,
    /// Where those named are who were not in the group before.
    pub nodes: Vec<(NodeId, ReplicaId)>,
    /// How far into the controller's log the leader had read when it wanted this.
    pub asked: Index,
}

/// As raft-rs writes it (its `eraftpb.proto`), for the crate reads it too.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<WireSingle>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSingle {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    replica: u64,
}

/// What the context of a change says: places of replicas, and how old the wish is.
#[derive(Clone, PartialEq, prost::Message)]
struct WireContext {
    #[prost(uint32, repeated, tag = "1")]
    nodes: Vec<u32>,
    #[prost(uint64, repeated, tag = "2")]
    replicas: Vec<u64>,
    #[prost(uint64, tag = "3")]
    asked: u64,
}

const PROMOTE: i32 = 0;
const REMOVE: i32 = 1;
const LEARN: i32 = 2;

impl Change {
    /// The next change on the way from `conf` to `target`, for a leader; none if there is nothing to do, or somebody to wait
    /// for. `asked` is how far the leader has read the controller's log, which says what the target is.
    pub fn towards(
        conf: &Conf,
        (target, asked): (&[Member], Index),
        own: ReplicaId,
        caught_up: impl Fn(ReplicaId) -> bool,
    ) -> Option<Self> {
        if !conf.outgoing.is_empty() {
            return Some(Self::default());
        }
        // Whoever led before knew better: what this one wants would undo it.
        if asked < conf.asked {
            return None;
        }
        // A group keeps its leader until it has handed over, and is never left without voters.
        if target.iter().all(|member| !member.2) || !target.iter().any(|member| member.1 == own && member.2) {
            return None;
        }
        let shall = |replica: &ReplicaId| target.iter().find(|member| member.1 == *replica);
        // Who learns for nothing goes first, or admissions that come to nothing would add up.
        let idle: Vec<_> = conf.learners.iter().copied().filter(|id| shall(id).is_none()).collect();
        if !idle.is_empty() {
            return Some(Self { removed: idle, asked, ..Self::default() });
        }
        if let Some(new) = target.iter().find(|member| !conf.contains(member.1)) {
            return Some(Self { learning: vec![new.1], nodes: vec![(new.0, new.1)], asked, ..Self::default() });
        }
        let awaited: Vec<_> = conf.learners.iter().copied().filter(|id| shall(id).is_some_and(|to| to.2)).collect();
        let promoted: Vec<_> = awaited.iter().copied().filter(|id| caught_up(*id)).collect();
        // Who is replaced goes with the promotion of its node's next voter; who is not, once nobody is waited for any more.
        let complete = promoted.len() == awaited.len();
        let replaced = |id: &ReplicaId| {
            let place = conf.nodes.iter().find(|(_, replica)| replica == id).map(|(node, _)| *node);
            let next = target.iter().find(|member| Some(member.0) == place && member.2);
            next.is_some_and(|next| conf.voters.contains(&next.1) || promoted.contains(&next.1))
        };
        let removed =
            (conf.voters.iter().copied()).filter(|id| shall(id).is_none() && (complete || replaced(id))).collect();
        let learning = conf.voters.iter().copied().filter(|id| complete && shall(id).is_some_and(|to| !to.2)).collect();
        let change = Self { promoted, learning, removed, nodes: Vec::new(), asked };
        (change != Self { asked, ..Self::default() }).then_some(change)
    }

    /// Whether the configuration is what it shall be.
    pub fn is_there(conf: &Conf, target: &[Member]) -> bool {
        conf.outgoing.is_empty()
            && conf.nodes.len() == target.len()
            && target.iter().all(|(_, id, votes)| if *votes { &conf.voters } else { &conf.learners }.contains(id))
    }

    /// The change's bytes, as the data of an entry.
    pub fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let of = |kind: i32, replicas: &[ReplicaId]| -> Vec<WireSingle> {
            replicas.iter().map(|replica| WireSingle { kind, replica: replica.0 }).collect()
        };
        let context = WireContext {
            nodes: self.nodes.iter().map(|(node, _)| node.0).collect(),
            replicas: self.nodes.iter().map(|(_, replica)| replica.0).collect(),
            asked: self.asked.0,
        };
        let changes = [of(PROMOTE, &self.promoted), of(LEARN, &self.learning), of(REMOVE, &self.removed)].concat();
        Wire { transition: 0, changes, context: context.encode_to_vec().into() }.encode_to_vec().into()
    }

    /// The change in these bytes.
    ///
    /// # Errors
    /// If they are none that a leader of ours writes.
    pub fn decode(bytes: Bytes) -> Result<Self, &'static str> {
        let Wire { transition, changes, context } = Wire::decode(bytes).map_err(|_| "it can not be decoded")?;
        let context = WireContext::decode(context).map_err(|_| "its context can not be decoded")?;
        let WireContext { nodes, replicas, asked } = context;
        if transition != 0 || changes.len() > 2 * GROUP_MEMBERS_MAX || nodes.len() > GROUP_MEMBERS_MAX {
            return Err("it is not of our making");
        }
        if nodes.len() != replicas.len() || changes.iter().any(|change| change.replica == 0) {
            return Err("a replica has an id and a place");
        }
        let mut change = Self {
            nodes: nodes.into_iter().map(NodeId).zip(replicas.into_iter().map(ReplicaId)).collect(),
            asked: Index(asked),
            ..Self::default()
        };
        for WireSingle { kind, replica } in changes {
            match kind {
                PROMOTE => &mut change.promoted,
                LEARN => &mut change.learning,
                REMOVE => &mut change.removed,
                _ => return Err("it is of an unknown kind"),
            }
            .push(ReplicaId(replica));
        }
        Ok(change)
    }

    /// The change as the crate takes it.
    pub(super) fn to_raft(&self) -> ConfChangeV2 {
        let single = |kind: ConfChangeType| {
            move |replica: &ReplicaId| {
                let mut single = ConfChangeSingle::default();
                single.set_change_type(kind);
                single.node_id = replica.0;
                single
            }
        };
        let promoted = self.promoted.iter().map(single(ConfChangeType::AddNode));
        let learning = self.learning.iter().map(single(ConfChangeType::AddLearnerNode));
        let removed = self.removed.iter().map(single(ConfChangeType::RemoveNode));
        let mut raft = ConfChangeV2::default();
        raft.set_transition(ConfChangeTransition::Auto);
        raft.changes = promoted.chain(learning).chain(removed).collect::<Vec<_>>().into();
        raft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Index = Index(70);

    fn member(node: u32, replica: u64, votes: bool) -> Member {
        (NodeId(node), ReplicaId(replica), votes)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let change = Change {
            promoted: vec![ReplicaId(4)],
            learning: vec![ReplicaId(5)],
            removed: vec![ReplicaId(3)],
            nodes: vec![(NodeId(3), ReplicaId(4))],
            asked: NOW,
        };
        assert_eq!(Change::decode(change.encode()), Ok(change));
        assert_eq!(Change::decode(Bytes::new()), Ok(Change::default()));
        assert!(Change::decode(Bytes::from_static(b"\x08\x07")).is_err(), "another transition");
    }

    #[test]
    fn a_replaced_member_learns_then_votes_then_the_old_one_is_gone() {
        let before = Conf::of(&[member(1, 1, true), member(2, 2, true), member(3, 3, true)]);
        let target = [member(1, 1, true), member(2, 2, true), member(3, 4, true)];
        let learn = Change::towards(&before, (&target, NOW), ReplicaId(1), |_| true).expect("a step");
        assert_eq!((learn.learning, learn.nodes), (vec![ReplicaId(4)], vec![(NodeId(3), ReplicaId(4))]));
        let members = [member(1, 1, true), member(2, 2, true), member(3, 3, true), member(3, 4, false)];
        let learning = Conf::of(&members);
        assert_eq!(Change::towards(&learning, (&target, NOW), ReplicaId(1), |_| false), None, "it has not caught up");
        let joint = Change::towards(&learning, (&target, NOW), ReplicaId(1), |_| true).expect("a step");
        assert_eq!((joint.promoted, joint.removed), (vec![ReplicaId(4)], vec![ReplicaId(3)]));
        let there = Conf::of(&target);
        assert!(Change::is_there(&there, &target) && !Change::is_there(&learning, &target));
        assert_eq!(Change::towards(&there, (&target, NOW), ReplicaId(1), |_| true), None);
    }

    /// What a change makes of a configuration that is not joint, once the joint one is left.
    fn after(conf: &Conf, change: &Change) -> Conf {
        let places = |id: &ReplicaId| conf.nodes.iter().chain(&change.nodes).find(|(_, known)| known == id);
        let all = conf.nodes.iter().chain(&change.nodes).map(|(_, id)| *id).filter(|id| !change.removed.contains(id));
        let votes = |id: &ReplicaId| {
            !change.learning.contains(id) && (conf.voters.contains(id) || change.promoted.contains(id))
        };
        let members: Vec<Member> = all.map(|id| (places(&id).expect("a place").0, id, votes(&id))).collect();
        Conf { asked: conf.asked.max(change.asked), ..Conf::of(&members) }
    }

    #[test]
    fn a_dead_newcomer_holds_up_nobody() {
        let old = |node: u32| member(node, node.into(), true);
        for replaced in 0..16u32 {
            for dead in 0..16u32 {
                let is = |set: u32, node: u32| set & (1 << (node - 2)) != 0;
                let new =
                    |node: u32| if is(replaced, node) { member(node, u64::from(node) + 10, true) } else { old(node) };
                let target: Vec<Member> = [old(1)].into_iter().chain((2..=5).map(new)).collect();
                let alive = |id: ReplicaId| !is(dead, (id.0 % 10) as u32);
                let mut conf = Conf::of(&(1..=5).map(old).collect::<Vec<_>>());
                let mut steps = 0;
                while let Some(change) = Change::towards(&conf, (&target, NOW), ReplicaId(1), alive) {
                    conf = after(&conf, &change);
                    assert_eq!(conf.voters.len(), 5, "as many as there were, and shall be");
                    steps += 1;
                    assert!(steps <= 10, "it comes to an end");
                }
                for node in 2..=5 {
                    let there = if is(dead, node) { old(node) } else { new(node) };
                    assert!(conf.voters.contains(&there.1), "{replaced:b} replaced, {dead:b} dead: {conf:?}");
                }
            }
        }
    }

    #[test]
    fn who_is_not_replaced_stays_until_all_who_shall_vote_do() {
        let members: Vec<Member> = (1..=3).map(|node| member(node, node.into(), true)).collect();
        let learners = [member(4, 4, false), member(5, 5, false)];
        let before = Conf::of(&[members, learners.to_vec()].concat());
        let target = [member(1, 1, true), member(4, 4, true), member(5, 5, true)];
        let one = Change::towards(&before, (&target, NOW), ReplicaId(1), |id| id == ReplicaId(4)).expect("a step");
        assert_eq!(one, Change { promoted: vec![ReplicaId(4)], asked: NOW, ..Change::default() });
        let four = after(&before, &one);
        assert_eq!(Change::towards(&four, (&target, NOW), ReplicaId(1), |_| false), None, "it is waited for the fifth");
        let rest = Change::towards(&four, (&target, NOW), ReplicaId(1), |_| true).expect("a step");
        assert_eq!((rest.promoted, rest.removed), (vec![ReplicaId(5)], vec![ReplicaId(2), ReplicaId(3)]));
    }

    #[test]
    fn admissions_that_came_to_nothing_do_not_add_up() {
        let before = Conf::of(&[member(1, 1, true), member(2, 2, true), member(3, 3, true), member(3, 4, false)]);
        let target = [member(1, 1, true), member(2, 2, true), member(3, 5, true)];
        let gone = Change::towards(&before, (&target, NOW), ReplicaId(1), |_| false).expect("a step");
        assert_eq!(gone, Change { removed: vec![ReplicaId(4)], asked: NOW, ..Change::default() });
    }

    #[test]
    fn an_older_wish_does_not_undo_a_newer_one() {
        let old = [member(1, 1, true), member(2, 2, true), member(3, 3, true)];
        let new = [member(1, 1, true), member(2, 2, true), member(3, 4, true)];
        let mut conf = Conf::of(&old);
        let step = |conf: &Conf, target, asked| Change::towards(conf, (target, asked), ReplicaId(1), |_| true);
        while let Some(change) = step(&conf, &new, NOW) {
            conf = after(&conf, &change);
        }
        assert!(Change::is_there(&conf, &new));
        assert_eq!(step(&conf, &old, Index(NOW.0 - 1)), None);
        assert!(step(&conf, &old, NOW).is_some(), "who reads as far may want something else");
    }

    #[test]
    fn a_leader_does_not_remove_itself() {
        let before = Conf::of(&[member(1, 1, true), member(2, 2, true)]);
        assert_eq!(Change::towards(&before, (&[member(2, 2, true)], NOW), ReplicaId(1), |_| true), None);
    }

    #[test]
    fn a_joint_configuration_is_left_first() {
        let mut joint = Conf::of(&[member(1, 1, true), member(2, 2, true)]);
        joint.outgoing = vec![ReplicaId(1)];
        joint.asked = NOW;
        assert_eq!(
            Change::towards(&joint, (&[member(1, 1, true)], Index(0)), ReplicaId(1), |_| true),
            Some(Change::default())
        );
    }
}
