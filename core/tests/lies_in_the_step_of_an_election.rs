//! A replica that has just been elected refuses what can not be said to a leader, in the very step of its election.

#[path = "support/group.rs"]
mod group;

use group::Lone;
use tidelog_core::id::{Index, NodeId, ReplicaId, Term};
use tidelog_core::peer::MessageKind;
use tidelog_core::raft::{Conf, Refused};

#[test]
fn lies_to_a_leader_that_does_not_know_it_yet_are_refused() {
    let members = [1, 2, 3].map(|id| (NodeId(id), ReplicaId(id.into()), true));
    let mut lone = Lone::new(ReplicaId(3), Conf::of(&members));
    lone.campaign(Term(2), &[1, 2]);
    lone.say(1, MessageKind::VoteResponse, Term(2), Index(0)).expect("a member's vote");
    assert!(!lone.group.leading(), "nothing was pumped since");
    let far = Index(1_000);
    assert_eq!(lone.say(2, MessageKind::AppendResponse, Term(2), far), Err(Refused::BeyondLog));
    assert_eq!(lone.say(2, MessageKind::Heartbeat, Term(2), Index(0)), Err(Refused::BeyondLog));
    assert_eq!(lone.say(2, MessageKind::Append, Term(2), Index(0)), Err(Refused::Malformed));
    assert_eq!(lone.say(2, MessageKind::TimeoutNow, Term(2), Index(0)), Err(Refused::Malformed));
    lone.settle();
    assert!(lone.group.leading());
}
