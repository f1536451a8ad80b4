//! Batches of an idempotent producer that travel one behind the other, while what stands in their way goes away.

#[path = "support/house.rs"]
mod house;

use house::House;
use house::requests::{batch, produce};
use tidelog_core::effect::Input;
use tidelog_core::id::{ConnId, NodeId};
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::marks;
use tidelog_core::peer::MessageKind;
use tidelog_core::time::Duration;

const NONE: i16 = 0;
const MOMENT: Duration = Duration::from_millis(10);

/// Three brokers, a partition, a producer whose first record is in it, and a broker that does not lead, but will.
fn house() -> (House, NodeId) {
    let mut house = House::new(3);
    house.ready();
    let conn = house.open(NodeId(1), 1);
    assert_eq!(house.create(NodeId(1), conn, ("t", 1, 3), &[]), 0);
    house.pass(Duration::from_secs(1));
    let first = house.leader();
    let conn = house.open(first, 2);
    assert_eq!(send(&mut house, first, conn, 0), NONE);
    let next = house.homes.keys().copied().find(|node| *node != first).expect("there are three");
    (house, next)
}

/// Sends one record with this sequence.
fn send(house: &mut House, node: NodeId, conn: ConnId, sequence: i32) -> i16 {
    house.produce(node, conn, "t", batch(Some((7, 0, sequence)), &["x"], 1)).error_code
}

/// The error codes of what was answered.
fn told(house: &House) -> Vec<i16> {
    let code = |response: &ResponseBody| match response {
        ResponseBody::Produce(response) => response.responses[0].partition_responses[0].error_code,
        other => panic!("{other:?}"),
    };
    house.answers.iter().map(|(.., response)| code(&response.body)).collect()
}

#[test]
fn what_follows_a_batch_that_found_no_leader_is_to_be_sent_again_with_it() {
    let (mut house, node) = house();
    let (conn, other) = (house.open(node, 3), house.open(node, 4));
    let (away, early) = (ErrorCode::NotLeaderOrFollower.code(), ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(send(&mut house, node, conn, 1), away);
    house.until_leads(node);
    // They were on their way already.
    assert_eq!((send(&mut house, node, conn, 2), send(&mut house, node, conn, 3)), (away, away));
    // On a connection where nothing was turned away it is what it seems to be.
    assert_eq!(send(&mut house, node, other, 2), early);
    assert_eq!((send(&mut house, node, conn, 1), send(&mut house, node, conn, 2)), (NONE, NONE));
    // From then on a gap is a gap.
    assert_eq!((send(&mut house, node, conn, 4), send(&mut house, node, conn, 3)), (early, NONE));
}

/// A broker that leads what another should, and is about to ask that one to.
fn about_to_go_home() -> (House, NodeId) {
    let leading = |node| {
        let (mut house, _) = house();
        house.until_leads(node);
        house
    };
    let asked = |house: &House| house.marks.iter().filter(|((_, mark), _)| *mark == marks::PREFERRED_ASKED).count();
    for node in (1..=3).map(NodeId) {
        let mut house = leading(node);
        let before = asked(&house);
        let moments = (0..500).position(|_| {
            house.pass(MOMENT);
            asked(&house) > before
        });
        if let Some(moments) = moments {
            let mut house = leading(node);
            (0..moments).for_each(|_| house.pass(MOMENT));
            return (house, node);
        }
    }
    panic!("whoever leads it should");
}

#[test]
fn who_passes_the_first_over_hears_of_the_gap() {
    let (mut house, node) = house();
    let conn = house.open(node, 3);
    let (away, early) = (ErrorCode::NotLeaderOrFollower.code(), ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!((send(&mut house, node, conn, 1), send(&mut house, node, conn, 2)), (away, away));
    house.until_leads(node);
    assert_eq!(send(&mut house, node, conn, 3), away);
    // The producer has heard of both, and gives the first up.
    assert_eq!((send(&mut house, node, conn, 2), send(&mut house, node, conn, 3)), (early, early));
    assert_eq!((send(&mut house, node, conn, 1), send(&mut house, node, conn, 2)), (NONE, NONE));
}

#[test]
fn more_than_can_be_under_way_is_not_behind_the_first() {
    let (mut house, node) = house();
    let conn = house.open(node, 3);
    let (away, early) = (ErrorCode::NotLeaderOrFollower.code(), ErrorCode::OutOfOrderSequenceNumber.code());
    let told: Vec<_> = (1..=3).map(|sequence| send(&mut house, node, conn, sequence)).collect();
    assert_eq!(told, [away; 3]);
    house.until_leads(node);
    let told: Vec<_> = (4..=8).map(|sequence| send(&mut house, node, conn, sequence)).collect();
    assert_eq!(told, [away, away, early, early, early]);
}

#[test]
fn what_comes_again_and_is_refused_again_is_the_first_again() {
    let (mut house, node) = house();
    let conn = house.open(node, 3);
    let away = ErrorCode::NotLeaderOrFollower.code();
    for sequence in [1, 2, 1] {
        assert_eq!(send(&mut house, node, conn, sequence), away);
    }
    house.until_leads(node);
    assert_eq!(send(&mut house, node, conn, 2), away);
    assert_eq!((send(&mut house, node, conn, 1), send(&mut house, node, conn, 2)), (NONE, NONE));
}

#[test]
fn a_connection_that_is_gone_is_forgotten() {
    let (mut house, _) = house();
    let node = NodeId(1);
    house.until_leads(node);
    for (conn, span) in [(3, Duration::from_secs(6)), (4, Duration::from_secs(1))] {
        let conn = house.open(node, conn);
        house.loses = |_, _, envelope| envelope.messages.iter().any(|said| !said.raft.entries.is_empty());
        house.send(node, conn, 11, &produce("t", batch(Some((7, 0, 1)), &["x"], 1)));
        house.inputs.push_back((node, Input::Closed { conn }));
        // Its time is over, or nobody hears the leader any more: what is checked in the house after every step holds.
        house.pass(span);
        house.loses = |_, _, _| true;
        house.pass(Duration::from_secs(1));
        house.loses = |_, _, _| false;
        house.pass(Duration::from_secs(2));
        house.until_leads(node);
    }
}

#[test]
fn what_follows_a_batch_that_ran_out_of_time_is_to_be_sent_again_with_it() {
    let (mut house, _) = house();
    let (node, late) = (NodeId(1), ErrorCode::RequestTimedOut.code());
    house.until_leads(node);
    let conn = house.open(node, 3);
    house.answers.clear();
    // It comes to be in no other log, and goes from this one when another leads meanwhile.
    house.loses = |_, _, envelope| envelope.messages.iter().any(|said| !said.raft.entries.is_empty());
    house.send(node, conn, 11, &produce("t", batch(Some((7, 0, 1)), &["x"], 1)));
    house.pass(Duration::from_secs(6));
    assert_eq!(told(&house), [late]);
    house.loses = |from, to, _| [from, to].contains(&NodeId(1));
    house.pass(Duration::from_secs(2));
    house.loses = |_, _, _| false;
    house.until_leads(node);
    assert_eq!(send(&mut house, node, conn, 2), late);
    assert_eq!((send(&mut house, node, conn, 1), send(&mut house, node, conn, 2)), (NONE, NONE));
}

#[test]
fn a_batch_before_it_that_was_on_its_way_does_not_make_up_for_it() {
    let (mut house, node) = about_to_go_home();
    let away = ErrorCode::NotLeaderOrFollower.code();
    let conn = house.open(node, 5);
    house.answers.clear();
    house.loses = |_, _, _| true;
    house.send(node, conn, 11, &produce("t", batch(Some((7, 0, 1)), &["x"], 1)));
    house.pass(MOMENT);
    house.send(node, conn, 11, &produce("t", batch(Some((7, 0, 2)), &["x"], 1)));
    assert!(house.answers.is_empty(), "the first is on its way, and the second waits for it");
    // The other never hears that it shall lead, and so this one leads on.
    house.loses = |_, _, envelope| envelope.messages.iter().any(|said| said.raft.kind == MessageKind::TimeoutNow);
    house.pass(Duration::from_secs(1));
    assert_eq!(told(&house), [NONE, away]);
    assert!(house.partition(node).serving);
    assert_eq!(send(&mut house, node, conn, 3), away);
    assert_eq!((send(&mut house, node, conn, 2), send(&mut house, node, conn, 3)), (NONE, NONE));
}
