//! Registering brokers: the newest life of a directory wins, and a lost directory does not come back as another.

mod controller_support;

use std::collections::BTreeSet;

use controller_support::*;
use tidelog_core::controller::command::{
    AdmitBroker, Command, Lost, Origin, RegisterBroker, RenewController, RenewReplicas,
};
use tidelog_core::controller::image::{Applied, Controller, Image, Rejection};
use tidelog_core::id::{DirectoryId, GroupId, Index, NodeId, ReplicaId};
use tidelog_core::kafka::ErrorCode;

fn apply(cluster: &mut Cluster, register: RegisterBroker) -> Result<bool, Rejection> {
    let node = register.node;
    match cluster.apply(Command::RegisterBroker(register))? {
        Applied::BrokerRegistered { node: registered, changed } if registered == node => Ok(changed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_may_register_again_and_move() {
    let mut cluster = Cluster::new(1);
    assert_eq!(apply(&mut cluster, register(1)), Ok(false));
    let moved = RegisterBroker { host: "elsewhere".to_owned(), port: 1, rack: None, boot: 2, ..register(1) };
    assert_eq!(apply(&mut cluster, moved), Ok(true));
    let info = &cluster.image.brokers()[&NodeId(1)];
    assert_eq!((info.host.as_str(), info.port, info.rack.as_deref(), info.boot), ("elsewhere", 1, None, 2));
    assert_rejected(apply(&mut cluster, register(1)), ErrorCode::StaleBrokerEpoch, "started again since boot 1");
}

#[test]
fn a_broker_without_replicas_may_change_its_directory_for_good() {
    let mut cluster = Cluster::new(1);
    let fresh = RegisterBroker { directory: DirectoryId([99; 16]), ..register(1) };
    assert_eq!(apply(&mut cluster, fresh), Ok(true));
    let late = RegisterBroker { boot: 50, ..register(1) };
    assert_rejected(apply(&mut cluster, late), ErrorCode::StaleBrokerEpoch, "started again");
}

#[test]
fn a_broker_with_replicas_may_not_come_back_empty() {
    let mut cluster = Cluster::new(1);
    cluster.create("a", 1, 1).unwrap();
    let fresh = RegisterBroker { directory: DirectoryId([99; 16]), boot: 9, ..register(1) };
    assert_rejected(apply(&mut cluster, fresh.clone()), ErrorCode::DuplicateBrokerRegistration, "holds replicas");
    cluster.delete(name("a")).unwrap();
    assert_eq!(apply(&mut cluster, fresh), Ok(true));
}

#[test]
fn a_copied_disk_is_noticed() {
    let mut cluster = Cluster::new(2);
    let copy = RegisterBroker { directory: DirectoryId([2; 16]), ..register(3) };
    assert_rejected(apply(&mut cluster, copy), ErrorCode::DuplicateBrokerRegistration, "was a disk copied?");
}

#[test]
fn nonsense_is_refused() {
    let mut cluster = Cluster::new(0);
    let long = "x".repeat(256);
    let nonsense = [
        RegisterBroker { host: String::new(), ..register(1) },
        RegisterBroker { host: long.clone(), ..register(1) },
        RegisterBroker { port: 0, ..register(1) },
        RegisterBroker { rack: Some(String::new()), ..register(1) },
        RegisterBroker { rack: Some(long), ..register(1) },
        RegisterBroker { directory: DirectoryId::ZERO, ..register(1) },
    ];
    for register in nonsense {
        assert_rejected(apply(&mut cluster, register), ErrorCode::InvalidRegistration, "");
    }
    assert!(cluster.image.brokers().is_empty());
}

const EMPTY: DirectoryId = DirectoryId([99; 16]);

/// Three brokers that founded the controller, with a topic on all of them.
fn founded() -> Cluster {
    let member = |node: u8| {
        let directory = DirectoryId([node; 16]);
        (NodeId(node.into()), Controller { replica: ReplicaId(node.into()), directory, voter: true, renewed: 0 })
    };
    let mut cluster = Cluster::new(0);
    cluster.image = Image::new(CLUSTER).founded_by((1..=3).map(member));
    for node in 1..=3 {
        cluster.apply(Command::RegisterBroker(register(node))).unwrap();
    }
    cluster.create("a", 2, 3).unwrap();
    cluster
}

fn admit(cluster: &mut Cluster, node: u32, directory: DirectoryId) -> Result<bool, Rejection> {
    let origin = cluster.origin();
    let node = NodeId(node);
    match cluster.apply(Command::AdmitBroker(AdmitBroker { origin, node, directory }))? {
        Applied::BrokerAdmitted { repeated, .. } => Ok(repeated),
        other => panic!("{other:?}"),
    }
}

/// The replica ids of a broker: of the controller, and of the partitions.
fn replica_ids(cluster: &Cluster, node: u32) -> Vec<ReplicaId> {
    let member = cluster.image.controllers().get(&NodeId(node)).map(|member| member.replica);
    member.into_iter().chain(cluster.image.replicas_on(NodeId(node)).map(|(_, replica)| replica)).collect()
}

#[test]
fn a_wiped_broker_comes_back_under_new_replica_ids_only() {
    let mut cluster = founded();
    let before = replica_ids(&cluster, 3);
    let fresh = RegisterBroker { directory: EMPTY, boot: 9, ..register(3) };
    assert_rejected(apply(&mut cluster, fresh.clone()), ErrorCode::DuplicateBrokerRegistration, "holds replicas");
    assert_eq!(admit(&mut cluster, 3, EMPTY), Ok(false));
    let after = replica_ids(&cluster, 3);
    assert_eq!((before.len(), after.len()), (3, 3));
    assert!(after.iter().all(|replica| !before.contains(replica)), "{before:?} {after:?}");
    assert!(cluster.image.controllers()[&NodeId(3)].voter);
    let partition = &cluster.image.topic_named("a").unwrap().partitions[0];
    assert!(
        partition.founding.iter().all(|(_, replica)| replica.0 <= 3),
        "the beginning of the group stays what it was"
    );
    // The old disk has nothing to say any more; the new one registers.
    assert_rejected(apply(&mut cluster, register(3)), ErrorCode::StaleBrokerEpoch, "started again");
    assert_eq!(apply(&mut cluster, fresh), Ok(true));
    assert_eq!(admit(&mut cluster, 3, EMPTY), Ok(true), "admitted once");
    assert_eq!(replica_ids(&cluster, 3), after);
    assert_eq!(Image::decode(cluster.image.encode()), Ok(cluster.image.clone()));
}

#[test]
fn a_newcomer_listens_and_a_replaced_disk_stays_out() {
    let mut cluster = founded();
    assert_eq!(admit(&mut cluster, 4, EMPTY), Ok(false));
    assert!(!cluster.image.controllers()[&NodeId(4)].voter);
    assert_rejected(admit(&mut cluster, 3, EMPTY), ErrorCode::DuplicateVoter, "was a disk copied?");
    assert_eq!(admit(&mut cluster, 3, DirectoryId([77; 16])), Ok(false));
    assert_rejected(admit(&mut cluster, 3, DirectoryId([3; 16])), ErrorCode::DuplicateVoter, "replaced before");
    assert_rejected(admit(&mut cluster, 2, DirectoryId::ZERO), ErrorCode::InvalidRequest, "formatted");
}

#[test]
fn a_founder_replaced_before_it_registered_stays_out() {
    let mut cluster = founded();
    let member = |node: u8| {
        let directory = DirectoryId([node; 16]);
        (NodeId(node.into()), Controller { replica: ReplicaId(node.into()), directory, voter: true, renewed: 0 })
    };
    cluster.image = Image::new(CLUSTER).founded_by((1..=3).map(member));
    cluster.apply(Command::RegisterBroker(register(1))).unwrap();
    assert_eq!(admit(&mut cluster, 3, EMPTY), Ok(false));
    let admitted = replica_ids(&cluster, 3);
    assert_rejected(apply(&mut cluster, register(3)), ErrorCode::DuplicateBrokerRegistration, "is a member");
    let fresh = RegisterBroker { directory: EMPTY, ..register(3) };
    assert_eq!(apply(&mut cluster, fresh), Ok(true));
    assert_eq!(
        (admit(&mut cluster, 3, EMPTY), replica_ids(&cluster, 3)),
        (Ok(true), admitted),
        "under one id for ever"
    );
}

fn renew(cluster: &mut Cluster, node: u32, lost: Lost, known: Index) -> Result<(usize, usize), Rejection> {
    let origin = Origin { node: NodeId(node), ..cluster.origin() };
    let directory = DirectoryId([node as u8; 16]);
    match cluster.apply(Command::RenewReplicas(RenewReplicas { origin, directory, lost, known }))? {
        Applied::ReplicasRenewed { groups, helpless, .. } => Ok((groups.len(), helpless.len())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_journal_costs_the_replica_ids_of_the_groups_it_names() {
    let mut cluster = founded();
    cluster.create("two", 1, 2).unwrap();
    let known = cluster.image.applied();
    cluster.create("later", 1, 3).unwrap();
    let before = replica_ids(&cluster, 1);
    let groups: Vec<GroupId> = cluster.image.replicas_on(NodeId(1)).map(|(group, _)| group).collect();
    let first = BTreeSet::from([groups[0], GroupId(12_345)]);
    assert_eq!(renew(&mut cluster, 1, Lost::Only(first.clone()), known), Ok((1, 0)));
    let after = replica_ids(&cluster, 1);
    assert_eq!((after[0], &after[2..]), (before[0], &before[2..]), "no other group");
    assert!(after[1] > ReplicaId(3), "{after:?}");
    // What is named is whole; one of two can not be made again; what came later was never lost.
    let alone = cluster.image.topic_named("two").unwrap().partitions[0].replicas.iter().any(|one| one.0 == NodeId(1));
    assert_eq!(renew(&mut cluster, 1, Lost::AllBut(first), known), Ok((1, usize::from(alone))));
    let last = replica_ids(&cluster, 1);
    assert_eq!((last[1], last.last()), (after[1], after.last()));
    assert!(last[2] > after[2]);
    // Another directory has other memories.
    let origin = cluster.origin();
    let command = RenewReplicas { origin, directory: EMPTY, lost: Lost::AllBut(BTreeSet::new()), known };
    assert_rejected(cluster.apply(Command::RenewReplicas(command)), ErrorCode::StaleBrokerEpoch, "does not run on");
    assert_eq!(replica_ids(&cluster, 1), last);
    assert_eq!(Image::decode(cluster.image.encode()), Ok(cluster.image.clone()));
}

#[test]
fn each_life_with_a_damaged_journal_is_one_new_replica_of_the_controller() {
    let mut cluster = founded();
    let renew = |cluster: &mut Cluster, directory: DirectoryId, boot: u64| {
        let result = cluster.apply(Command::RenewController(RenewController { node: NodeId(3), directory, boot }));
        result.map(|_| cluster.image.controllers()[&NodeId(3)].replica)
    };
    let own = DirectoryId([3; 16]);
    // The first life is registered: it was a member, and its word comes late.
    assert_eq!(renew(&mut cluster, own, 1), Ok(ReplicaId(3)));
    assert_eq!(renew(&mut cluster, own, 5), Ok(ReplicaId(4)));
    assert_eq!((renew(&mut cluster, own, 5), renew(&mut cluster, own, 2)), (Ok(ReplicaId(4)), Ok(ReplicaId(4))));
    assert_eq!(renew(&mut cluster, own, 6), Ok(ReplicaId(5)));
    assert_rejected(renew(&mut cluster, EMPTY, 7), ErrorCode::VoterNotFound, "no member");
    assert_eq!(Image::decode(cluster.image.encode()), Ok(cluster.image.clone()));
    assert!(cluster.image.controllers()[&NodeId(3)].voter);
}
