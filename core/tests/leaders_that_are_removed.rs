//! A leader elected by the outgoing half of a joint configuration leads no longer than that half counts.

#[path = "support/group.rs"]
mod group;

use bytes::Bytes;
use group::Lone;
use tidelog_core::event::Event;
use tidelog_core::id::{Index, NodeId, ReplicaId, Term};
use tidelog_core::peer::MessageKind;
use tidelog_core::raft::{Conf, Output, Token};

const OWN: ReplicaId = ReplicaId(3);

#[test]
fn a_leader_of_the_outgoing_half_steps_down_when_it_is_left() {
    // Replica 3 is replaced by 4, at the same node.
    let members = [(1, 1), (2, 2), (3, 3), (3, 4)].map(|(node, id)| (NodeId(node), ReplicaId(id), true));
    let mut conf = Conf::of(&members);
    conf.voters = [1, 2, 4].map(ReplicaId).to_vec();
    conf.outgoing = [1, 2, 3].map(ReplicaId).to_vec();
    conf.auto_leave = true;
    let mut lone = Lone::new(OWN, conf);
    lone.campaign(Term(2), &[1, 2]);
    for from in [1, 2] {
        lone.say(from, MessageKind::VoteResponse, Term(2), Index(0)).expect("a member's vote");
    }
    lone.pump();
    assert!(lone.group.leading());
    let held = |lone: &mut Lone, index: u64| {
        for from in [1, 2] {
            lone.say(from, MessageKind::AppendResponse, Term(2), Index(index)).expect("a member's answer");
        }
    };
    lone.write();
    held(&mut lone, 6);
    lone.pump();
    assert!(lone.group.serving() && lone.group.last() == Index(7), "the end of the joint configuration is proposed");
    lone.disk();
    let durable = lone.journal.durable();
    // One more is on its way to the disk when that end is committed.
    lone.group.propose(Token(1), Bytes::from_static(b"head"), Bytes::from_static(b"data"));
    lone.pump();
    lone.group.durable(durable, &mut lone.events, &mut Output::default());
    held(&mut lone, 7);
    lone.pump();
    assert_eq!((lone.group.commit(), lone.group.conf().contains(OWN)), (Index(7), false));
    assert!(!lone.group.leading(), "who is no member does not lead");
    lone.events.clear();
    lone.write();
    lone.pump();
    assert!(lone.events.events.iter().any(|event| matches!(event, Event::Persisted { index: Index(8), .. })));
}
