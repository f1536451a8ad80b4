//! What a group's members shall be, the controller says; of two leaders the one that heard it last is right.

#[path = "support/group.rs"]
mod group;

use group::Lone;
use tidelog_core::id::{Index, NodeId, ReplicaId};
use tidelog_core::raft::{Conf, Member};

const OWN: Member = (NodeId(1), ReplicaId(1), true);

#[test]
fn a_leader_that_heard_less_does_not_undo_what_was_done() {
    let mut lone = Lone::new(OWN.1, Conf::of(&[OWN]));
    lone.group.tick();
    lone.settle();
    assert!(lone.group.serving());
    let learner = |replica: u64| (NodeId(2), ReplicaId(replica), false);
    let learns = |lone: &Lone, replica: u64| lone.group.conf().learners == [ReplicaId(replica)];
    lone.group.form(&[OWN, learner(12)], Index(20));
    lone.settle();
    assert!(learns(&lone, 12));
    // Its conf is what a next leader would find, from entries as from a checkpoint.
    assert_eq!(Conf::decode(lone.group.conf().encode()).as_ref(), Ok(lone.group.conf()));
    for asked in [19, 0] {
        lone.group.form(&[OWN, learner(2)], Index(asked));
        lone.settle();
        assert!(learns(&lone, 12), "what was wanted at {asked} is wanted no more");
    }
    for _ in 0..2 {
        lone.group.form(&[OWN, learner(22)], Index(21));
        lone.settle();
    }
    assert!(learns(&lone, 22), "{:?}", lone.group.conf());
}
