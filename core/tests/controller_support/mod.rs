//! What the controller's tests share: a cluster of three brokers, and commands of the first.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;

use tidelog_core::controller::command::{
    AllocateProducerIds, Assigned, Command, CreateTopic, Defaults, DeleteTopic, Origin, RegisterBroker, TopicRef,
};
use tidelog_core::controller::image::{Applied, Image, Rejection};
use tidelog_core::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, TopicId};
use tidelog_core::kafka::ErrorCode;

pub const CLUSTER: ClusterId = ClusterId([7; 16]);

pub fn register(node: u32) -> RegisterBroker {
    RegisterBroker {
        node: NodeId(node),
        host: format!("broker-{node}.example"),
        port: 9092,
        rack: node.is_multiple_of(2).then(|| "rack-a".to_owned()),
        directory: DirectoryId([u8::try_from(node).unwrap(); 16]),
        boot: 1,
    }
}

pub fn origin(sequence: u64) -> Origin {
    Origin { node: NodeId(1), boot: 1, sequence }
}

/// An image, and the next index and sequence.
pub struct Cluster {
    pub image: Image,
    pub index: u64,
    pub sequence: u64,
    /// What CreateTopic says of producers of the former topic.
    pub heirs: bool,
}

impl Cluster {
    pub fn new(brokers: u32) -> Self {
        let mut cluster = Self { image: Image::new(CLUSTER), index: 0, sequence: 0, heirs: true };
        for node in 1..=brokers {
            cluster.apply(Command::RegisterBroker(register(node))).expect("registered");
        }
        cluster
    }

    pub fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        self.index += 1;
        let result = self.image.apply(Index(self.index), command);
        assert_eq!(self.image.applied(), Index(self.index));
        self.image.check();
        result
    }

    pub fn origin(&mut self) -> Origin {
        self.sequence += 1;
        origin(self.sequence)
    }

    pub fn topic(&mut self, name: &str, partitions: i32, replication_factor: i16) -> CreateTopic {
        CreateTopic {
            origin: self.origin(),
            name: name.to_owned(),
            partitions,
            replication_factor,
            assignment: Vec::new(),
            configs: BTreeMap::new(),
            defaults: Defaults::default(),
            heirs: self.heirs,
        }
    }

    pub fn create(&mut self, name: &str, partitions: i32, replication_factor: i16) -> Result<TopicId, Rejection> {
        let create = self.topic(name, partitions, replication_factor);
        self.apply_create(create)
    }

    pub fn apply_create(&mut self, create: CreateTopic) -> Result<TopicId, Rejection> {
        let judged = self.image.validate_create(&create);
        let result = self.apply(Command::CreateTopic(create));
        assert_eq!(judged.as_ref().err(), result.as_ref().err(), "validate_only says what applying does");
        match result? {
            Applied::TopicCreated { id, repeated: false } => {
                let topic = self.image.topic(id).expect("created");
                let shape = judged.expect("as above");
                assert_eq!(shape.partitions, topic.partition_count());
                assert_eq!(shape.replication_factor, topic.replication_factor());
                Ok(id)
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, topic: TopicRef) -> Result<(TopicId, Vec<GroupId>), Rejection> {
        let origin = self.origin();
        match self.apply(Command::DeleteTopic(DeleteTopic { origin, topic }))? {
            Applied::TopicDeleted { id, groups, repeated: false, .. } => Ok((id, groups)),
            other => panic!("{other:?}"),
        }
    }

    pub fn allocate(&mut self) -> Result<Applied, Rejection> {
        let origin = self.origin();
        self.apply(Command::AllocateProducerIds(AllocateProducerIds { origin }))
    }

    pub fn groups(&self, id: TopicId) -> Vec<GroupId> {
        self.image.topic(id).expect("there").partitions.iter().map(|partition| partition.group).collect()
    }
}

pub fn assigned(partitions: &[(i32, &[i32])]) -> Vec<Assigned> {
    partitions
        .iter()
        .map(|(partition, brokers)| Assigned { partition: *partition, brokers: brokers.to_vec() })
        .collect()
}

pub fn name(name: &str) -> TopicRef {
    TopicRef::Name(name.to_owned())
}

/// Asserts that a command was rejected with this error, and a text that says so.
pub fn assert_rejected<T: std::fmt::Debug>(result: Result<T, Rejection>, error: ErrorCode, says: &str) {
    let rejection = result.expect_err("rejected");
    assert_eq!(rejection.error, error, "{}", rejection.message);
    assert!(rejection.message.contains(says), "{}", rejection.message);
}
