//! Registering brokers: the newest life of a directory wins, and a lost directory does not come back as another.

mod controller_support;

use controller_support::*;
use tidelog_core::controller::command::{Command, RegisterBroker};
use tidelog_core::controller::image::{Applied, Rejection};
use tidelog_core::id::{DirectoryId, NodeId};
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
