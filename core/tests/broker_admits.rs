//! A broker whose disk was wiped is taken in again by a word of the operator, and only if it asked.

#[path = "support/house.rs"]
mod house;

use house::{Disk, House};
use tidelog_core::formation::Membership;
use tidelog_core::id::{ConnId, DirectoryId, NodeId, TopicId};
use tidelog_core::kafka::messages::{
    AddRaftVoterRequest, DescribeQuorumPartition, DescribeQuorumPartitionState, DescribeQuorumReplica,
    DescribeQuorumRequest, DescribeQuorumTopic, InitProducerIdRequest,
};
use tidelog_core::kafka::{ErrorCode, ResponseBody};
use tidelog_core::time::Duration;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const MADE_UP: DirectoryId = DirectoryId([77; 16]);

fn controller(house: &House) -> NodeId {
    let leads = |node: &NodeId| {
        house.homes[node].broker.status().groups.iter().any(|group| group.group.0 == 0 && group.serving)
    };
    NODES.into_iter().filter(|node| house.homes.contains_key(node)).find(leads).expect("there is a controller")
}

/// Asks a broker to take in another; what it answers, once it does.
fn admit(house: &mut House, at: NodeId, conn: ConnId, node: NodeId, directory: DirectoryId) -> ErrorCode {
    let request = AddRaftVoterRequest {
        timeout_ms: 5_000,
        voter_id: node.0.cast_signed(),
        voter_directory_id: TopicId(directory.0),
        ..AddRaftVoterRequest::default()
    };
    let ResponseBody::AddRaftVoter(response) = house.ask(at, conn, 0, request) else { panic!("another answer") };
    ErrorCode::from_code(response.error_code).expect("a known code")
}

/// A broker, and the disk it has.
type Seat = (i32, DirectoryId);

/// Who has a vote in the controller's group, and who asks for one, as a broker says.
fn quorum(house: &mut House, at: NodeId, conn: ConnId) -> (Vec<Seat>, Vec<Seat>) {
    let partition = partition(house, at, conn);
    let named = |states: &[DescribeQuorumReplica]| {
        states.iter().map(|state| (state.replica_id, DirectoryId(state.replica_directory_id.0))).collect()
    };
    (named(&partition.current_voters), named(&partition.observers))
}

fn partition(house: &mut House, at: NodeId, conn: ConnId) -> DescribeQuorumPartitionState {
    let partitions = vec![DescribeQuorumPartition { partition_index: 0 }];
    let topics = vec![DescribeQuorumTopic { topic_name: "__cluster_metadata".into(), partitions }];
    let request = DescribeQuorumRequest { topics };
    let ResponseBody::DescribeQuorum(response) = house.ask(at, conn, 2, request) else { panic!("another answer") };
    response.topics[0].partitions[0].clone()
}

/// Three brokers, of which the third, which does not lead, came back with an empty disk.
fn with_one_wiped() -> (House, NodeId, DirectoryId) {
    let mut house = House::new(3);
    house.ready();
    let controller = controller(&house);
    let wiped = NODES.into_iter().rfind(|node| *node != controller).expect("there are three");
    house.homes.remove(&wiped);
    let directory = DirectoryId([100 + wiped.0 as u8; 16]);
    house.directories.insert(wiped, directory);
    house.start(wiped, Disk::default(), 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    (house, wiped, directory)
}

#[test]
fn nobody_is_admitted_who_has_not_asked() {
    let (mut house, wiped, _) = with_one_wiped();
    let controller = controller(&house);
    let conn = house.open(controller, 1);
    let before = quorum(&mut house, controller, conn);
    // A directory nobody has: of the broker that waits, and of one that is well.
    for node in NODES {
        assert_eq!(admit(&mut house, controller, conn, node, MADE_UP), ErrorCode::InvalidRequest);
    }
    // Others do not know who asked the controller; whoever asks them is sent there.
    let other = NODES.into_iter().find(|node| *node != controller && *node != wiped).expect("there are three");
    let elsewhere = house.open(other, 2);
    assert_eq!(admit(&mut house, other, elsewhere, controller, MADE_UP), ErrorCode::NotController);
    house.pass(Duration::from_secs(2));
    assert_eq!(quorum(&mut house, controller, conn), before);
    assert_eq!(house.homes[&wiped].broker.status().membership, Membership::Observer);
}

#[test]
fn a_wiped_broker_that_was_admitted_counts() {
    let (mut house, wiped, directory) = with_one_wiped();
    let first = controller(&house);
    let conn = house.open(first, 1);
    assert!(!house.homes[&wiped].broker.status().ready);
    let (voters, observers) = quorum(&mut house, first, conn);
    let asks = (wiped.0.cast_signed(), directory);
    assert!(!voters.contains(&asks) && observers.contains(&asks), "{voters:?} {observers:?}");

    assert_eq!(admit(&mut house, first, conn, wiped, directory), ErrorCode::None);
    house.pass(Duration::from_secs(5));
    assert!(house.homes[&wiped].broker.status().ready);
    let (voters, observers) = quorum(&mut house, first, conn);
    assert!(voters.contains(&asks) && voters.len() == 3 && observers.is_empty(), "{voters:?} {observers:?}");
    // Twice is once.
    assert_eq!(admit(&mut house, first, conn, wiped, directory), ErrorCode::None);

    // One of the others dies: the two that are left decide, so the newcomer's vote is one.
    house.homes.remove(&first);
    house.pass(Duration::from_secs(5));
    let second = controller(&house);
    let conn = house.open(second, 1);
    assert_eq!(admit(&mut house, second, conn, wiped, directory), ErrorCode::None);
}

#[test]
fn who_was_admitted_and_only_listens_does_not_seem_to_ask() {
    let mut house = House::empty(4);
    let newcomer = NodeId(4);
    for node in NODES.into_iter().chain([newcomer]) {
        house.lists.insert(node, NODES.to_vec());
    }
    NODES.into_iter().for_each(|node| house.start(node, Disk::default(), 1));
    house.settle();
    house.ready();
    house.start(newcomer, Disk::default(), 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    let first = controller(&house);
    let conn = house.open(first, 1);
    assert_eq!(admit(&mut house, first, conn, newcomer, DirectoryId([4; 16])), ErrorCode::None);
    house.ready();
    for node in NODES {
        let conn = house.open(node, 2);
        let partition = partition(&mut house, node, conn);
        let seat = partition.observers.iter().find(|seat| seat.replica_id == 4).expect("it listens");
        assert!(seat.log_end_offset >= 0, "asked at broker {node}: {seat:?}");
    }
}

/// The id of a new producer.
fn producer_id(house: &mut House, node: NodeId) -> i64 {
    let conn = house.open(node, 500 + house.homes[&node].next_request);
    let request = InitProducerIdRequest { transaction_timeout_ms: 1_000, ..InitProducerIdRequest::default() };
    let ResponseBody::InitProducerId(response) = house.ask(node, conn, 2, request) else { panic!("another answer") };
    assert_eq!(response.error_code, 0);
    response.producer_id
}

/// It hears the whole history, one message at a time, and in it what its predecessor of the same boot number was given.
#[test]
fn what_a_predecessor_was_given_is_not_given_again() {
    let mut house = House::empty(3);
    house.settings.append_bytes = 1;
    house.settings.window_bytes = 64 << 20;
    house.settings.checkpoint_bytes = 128 << 20;
    NODES.into_iter().for_each(|node| house.start(node, Disk::default(), 1));
    house.settle();
    house.ready();
    let mut given: Vec<i64> = NODES.into_iter().map(|node| producer_id(&mut house, node)).collect();
    // The others begin a life without it: they keep all that they have, for it.
    let wiped = NodeId(3);
    house.homes.remove(&wiped);
    let [one, two] = [NodeId(1), NodeId(2)].map(|node| house.homes.remove(&node).expect("it lives"));
    for (node, home) in [(NodeId(1), one), (NodeId(2), two)] {
        house.start(node, home.disk, 2);
    }
    house.settle();
    house.pass(Duration::from_secs(2));
    let directory = DirectoryId([103; 16]);
    house.directories.insert(wiped, directory);
    house.start(wiped, Disk::default(), 1);
    house.settle();
    house.pass(Duration::from_secs(2));
    house.spoils = |envelope| {
        let mut laden = 0;
        envelope.messages.retain(|message| {
            laden += usize::from(!message.raft.entries.is_empty());
            message.raft.entries.is_empty() || laden == 1
        });
    };
    let first = controller(&house);
    let conn = house.open(first, 1);
    let request = AddRaftVoterRequest {
        timeout_ms: 5_000,
        voter_id: wiped.0.cast_signed(),
        voter_directory_id: TopicId(directory.0),
        ..AddRaftVoterRequest::default()
    };
    house.send(first, conn, 0, &request.into());
    // It is asked as soon as it listens at all.
    while house.homes[&wiped].broker.status().groups.is_empty() {
        house.pass(Duration::from_millis(1));
    }
    let conn = house.open(wiped, 7);
    let request = InitProducerIdRequest { transaction_timeout_ms: 1_000, ..InitProducerIdRequest::default() };
    house.answers.clear();
    let mut asked = Vec::new();
    for _ in 0..2_000 {
        if asked.len() < 50 {
            asked.push(house.send(wiped, conn, 2, &request.clone().into()));
        }
        house.pass(Duration::from_millis(5));
    }
    for (.., response) in &house.answers {
        if let ResponseBody::InitProducerId(response) = &response.body
            && response.error_code == 0
        {
            given.push(response.producer_id);
        }
    }
    let many = given.len();
    assert!(many > 3, "{:?}", house.answers);
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), many, "an id is given once");
}
