//! Batches of an idempotent producer that travel one behind the other, while leadership comes to the broker that they travel to.

#[path = "support/house.rs"]
mod house;

use house::House;
use house::requests::batch;
use tidelog_core::id::{ConnId, NodeId};
use tidelog_core::kafka::ErrorCode;
use tidelog_core::time::Duration;

const NONE: i16 = 0;

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
