//! The image as bytes: what a checkpoint of the controller's group keeps and what a broker far behind is sent.
//!
//! Promises that what decodes is an image that could have come from a log, that encoding it again gives the same bytes if they are
//! of the newest version, and that a newer one is refused rather than misread. Version 1 did not know of `former_deleted`. Does not check for damage: whoever carries the bytes does.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::command::{self, CommandError, wire::Origin};
use super::image::{
    BrokerInfo, Controller, GROUP_PARTITION_BITS, Image, OriginWindow, PartitionInfo, Tombstone, TopicInfo,
};
use super::{ORIGIN_WINDOW, configs, names};
use crate::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, ReplicaId, TopicId};

/// The version of the format. Raised when an older broker would misread a snapshot.
pub const SNAPSHOT_VERSION: u32 = 2;

/// Why bytes are no snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// Not protobuf, or not of this shape.
    Malformed(String),
    /// Written by a newer broker.
    Version(u32),
    /// Something is missing, outside its range, or contradicts the rest.
    Field(&'static str),
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a controller snapshot: {why}"),
            Self::Version(version) => {
                write!(f, "controller snapshot of version {version}; this broker reads up to {SNAPSHOT_VERSION}")
            }
            Self::Field(field) => write!(f, "controller snapshot with a bad {field}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<CommandError> for SnapshotError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Malformed(why) => Self::Malformed(why),
            CommandError::Version(version) => Self::Version(version),
            CommandError::Field(field) => Self::Field(field),
        }
    }
}

impl Image {
    /// The image as bytes. [`Image::decode`] is the inverse.
    pub fn encode(&self) -> Bytes {
        self.snapshot().encode_to_vec().into()
    }

    /// The planted bug: no topic was ever deleted.
    pub(crate) fn encode_without_tombstones(&self) -> Bytes {
        Snapshot { tombstones: Vec::new(), ..self.snapshot() }.encode_to_vec().into()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: SNAPSHOT_VERSION,
            cluster: Bytes::copy_from_slice(&self.cluster.0),
            applied: self.applied.0,
            digest: self.digest,
            brokers: self.brokers.iter().map(|(node, info)| Broker::from_info(*node, info)).collect(),
            topics: self.topics.values().map(Topic::from_info).collect(),
            tombstones: self.tombstones.iter().map(|(index, stone)| Buried::from_stone(*index, stone)).collect(),
            controllers: self.controllers.iter().map(|(node, member)| Member::from_info(*node, member)).collect(),
            controllers_ever: self.next_controller.0 - 1,
        }
    }

    /// The image in `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, SnapshotError> {
        let snapshot = Snapshot::decode(bytes).map_err(|error| SnapshotError::Malformed(error.to_string()))?;
        if snapshot.version == 0 || snapshot.version > SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(snapshot.version));
        }
        if snapshot.version < 2 && snapshot.topics.iter().any(|topic| topic.former_deleted.is_some()) {
            return Err(SnapshotError::Field("former deletion"));
        }
        let mut image = Self::new(ClusterId(command::uuid(&snapshot.cluster, "cluster id")?));
        image.applied = Index(snapshot.applied);
        image.digest = snapshot.digest;
        let next = snapshot.controllers_ever.checked_add(1).ok_or(SnapshotError::Field("controller"))?;
        image.next_controller = ReplicaId(next);
        for member in snapshot.controllers {
            let (node, member) = member.into_info()?;
            ascending(image.controllers.last_key_value().map(|(last, _)| *last), node, "controller")?;
            let taken = image.controllers.values().any(|other| other.replica == member.replica);
            if taken || member.replica.0 == 0 || member.replica >= image.next_controller {
                return Err(SnapshotError::Field("controller"));
            }
            image.controllers.insert(node, member);
        }
        for broker in snapshot.brokers {
            let (node, info) = broker.into_info()?;
            ascending(image.brokers.last_key_value().map(|(last, _)| *last), node, "broker")?;
            image.brokers.insert(node, info);
        }
        for topic in snapshot.topics {
            let topic = topic.into_info(&image)?;
            ascending(image.topics.last_key_value().map(|(last, _)| *last), topic.id, "topic")?;
            if image.collision(&topic.name).is_some() {
                return Err(SnapshotError::Field("topic name"));
            }
            if topic.partitions.iter().any(|partition| image.partition_of(partition.group).is_some()) {
                return Err(SnapshotError::Field("group"));
            }
            image.insert_topic(topic);
        }
        for buried in snapshot.tombstones {
            let (index, tombstone) = buried.into_stone()?;
            ascending(image.tombstones.last_key_value().map(|(last, _)| *last), index, "tombstone")?;
            let lives = image.topic(tombstone.id).is_some() || image.tombstone(tombstone.id).is_some();
            let used = tombstone.groups.iter().any(|group| image.partition_of(*group).is_some());
            if index > image.applied || lives || used {
                return Err(SnapshotError::Field("tombstone"));
            }
            image.bury(index, tombstone);
        }
        Ok(image)
    }
}

/// The canonical bytes of a broker, for digests.
pub(super) fn encode_broker(node: NodeId, info: &BrokerInfo) -> Vec<u8> {
    Broker::from_info(node, info).encode_to_vec()
}

/// The canonical bytes of a topic, for digests.
pub(super) fn encode_topic(topic: &TopicInfo) -> Vec<u8> {
    Topic::from_info(topic).encode_to_vec()
}

fn ascending<T: Ord>(last: Option<T>, next: T, field: &'static str) -> Result<(), SnapshotError> {
    if last.is_some_and(|last| last >= next) { Err(SnapshotError::Field(field)) } else { Ok(()) }
}

impl Broker {
    fn from_info(node: NodeId, info: &BrokerInfo) -> Self {
        Self {
            node: node.0,
            host: info.host.clone(),
            port: u32::from(info.port),
            rack: info.rack.clone(),
            directory: Bytes::copy_from_slice(&info.directory.0),
            boot: info.boot,
            retired: info.retired.iter().map(|directory| Bytes::copy_from_slice(&directory.0)).collect(),
            sequences: info.window.applied.iter().copied().collect(),
        }
    }

    fn into_info(self) -> Result<(NodeId, BrokerInfo), SnapshotError> {
        let mut window = OriginWindow::default();
        let within = match (self.sequences.first(), self.sequences.last()) {
            (Some(first), Some(last)) => last.checked_sub(*first).is_some_and(|span| span < ORIGIN_WINDOW),
            (None, _) | (_, None) => true,
        };
        if !within || !self.sequences.is_sorted_by(|left, right| left < right) {
            return Err(SnapshotError::Field("sequences"));
        }
        window.applied.extend(self.sequences);
        let directory = |bytes: &Bytes| Ok(DirectoryId(command::uuid(bytes, "directory")?));
        let retired = self.retired.iter().map(directory).collect::<Result<_, SnapshotError>>()?;
        let info = BrokerInfo {
            host: self.host,
            port: u16::try_from(self.port).map_err(|_| SnapshotError::Field("port"))?,
            rack: self.rack,
            directory: directory(&self.directory)?,
            boot: self.boot,
            retired,
            window,
        };
        Ok((command::node_id(self.node)?, info))
    }
}

impl Member {
    fn from_info(node: NodeId, member: &Controller) -> Self {
        Self {
            node: node.0,
            replica: member.replica.0,
            directory: Bytes::copy_from_slice(&member.directory.0),
            voter: member.voter,
            renewed: member.renewed,
        }
    }

    fn into_info(self) -> Result<(NodeId, Controller), SnapshotError> {
        let directory = DirectoryId(command::uuid(&self.directory, "directory")?);
        let (replica, voter, renewed) = (ReplicaId(self.replica), self.voter, self.renewed);
        let member = Controller { replica, directory, voter, renewed };
        Ok((command::node_id(self.node)?, member))
    }
}

impl Topic {
    fn from_info(info: &TopicInfo) -> Self {
        Self {
            id: Bytes::copy_from_slice(&info.id.0),
            name: info.name.clone(),
            configs: info.configs.clone(),
            created_index: info.created_index.0,
            former_deleted: info.former_deleted.map(|index| index.0),
            origin: Some(info.origin.into()),
            partitions: info.partitions.iter().map(Partition::from_info).collect(),
        }
    }

    fn into_info(self, image: &Image) -> Result<TopicInfo, SnapshotError> {
        let id = TopicId(command::uuid(&self.id, "topic id")?);
        let created_index = Index(self.created_index);
        if created_index.0 == 0 || created_index > image.applied || id != image.topic_id(created_index) {
            return Err(SnapshotError::Field("topic id"));
        }
        let former_deleted = self.former_deleted.map(Index);
        if former_deleted.is_some_and(|index| index.0 == 0 || index >= created_index) {
            return Err(SnapshotError::Field("former deletion"));
        }
        names::validate(&self.name).map_err(|_| SnapshotError::Field("topic name"))?;
        if self.configs.iter().any(|(name, value)| configs::validate(name, value).is_err()) {
            return Err(SnapshotError::Field("config"));
        }
        let partitions: Vec<PartitionInfo> =
            self.partitions.into_iter().map(|one| one.into_info(image)).collect::<Result<_, _>>()?;
        if partitions.is_empty() || partitions.len() > crate::limits::TOPIC_PARTITIONS_MAX as usize {
            return Err(SnapshotError::Field("partitions"));
        }
        let groups: std::collections::BTreeSet<GroupId> = partitions.iter().map(|partition| partition.group).collect();
        if groups.len() != partitions.len() {
            return Err(SnapshotError::Field("group"));
        }
        Ok(TopicInfo {
            id,
            name: self.name,
            configs: self.configs,
            created_index,
            former_deleted,
            origin: command::origin(self.origin)?,
            partitions,
        })
    }
}

impl Partition {
    fn from_info(info: &PartitionInfo) -> Self {
        // Nearly always the replicas of today: then nothing is written.
        let founding = if info.founding == info.replicas { &[][..] } else { &info.founding };
        Self {
            group: info.group.0,
            nodes: info.replicas.iter().map(|(node, _)| node.0).collect(),
            replicas: info.replicas.iter().map(|(_, replica)| replica.0).collect(),
            next_replica: info.next_replica.0,
            founding_nodes: founding.iter().map(|(node, _)| node.0).collect(),
            founding_replicas: founding.iter().map(|(_, replica)| replica.0).collect(),
        }
    }

    fn into_info(self, image: &Image) -> Result<PartitionInfo, SnapshotError> {
        let minted = self.group >> GROUP_PARTITION_BITS;
        if minted == 0 || minted > image.applied.0 {
            return Err(SnapshotError::Field("group"));
        }
        let distinct = |numbers: &[u64]| {
            let set: std::collections::BTreeSet<&u64> = numbers.iter().collect();
            set.len() == numbers.len()
        };
        let nodes: Vec<u64> = self.nodes.iter().copied().map(u64::from).collect();
        let sound = !nodes.is_empty()
            && nodes.len() == self.replicas.len()
            && distinct(&nodes)
            && distinct(&self.replicas)
            && self.nodes.iter().all(|node| image.brokers.contains_key(&NodeId(*node)))
            && self.replicas.iter().all(|replica| (1..self.next_replica).contains(replica))
            && self.founding_nodes.len() == self.founding_replicas.len()
            && distinct(&self.founding_replicas)
            && self.founding_replicas.iter().all(|replica| (1..self.next_replica).contains(replica));
        if !sound {
            return Err(SnapshotError::Field("replicas"));
        }
        let pairs = |nodes: Vec<u32>, replicas: Vec<u64>| -> Vec<(NodeId, ReplicaId)> {
            nodes.into_iter().map(NodeId).zip(replicas.into_iter().map(ReplicaId)).collect()
        };
        let replicas = pairs(self.nodes, self.replicas);
        let founding = pairs(self.founding_nodes, self.founding_replicas);
        // Written the one way there is, or not at all.
        if founding == replicas {
            return Err(SnapshotError::Field("replicas"));
        }
        Ok(PartitionInfo {
            group: GroupId(self.group),
            founding: if founding.is_empty() { replicas.clone() } else { founding },
            replicas,
            next_replica: ReplicaId(self.next_replica),
        })
    }
}

impl Buried {
    fn from_stone(index: Index, stone: &Tombstone) -> Self {
        Self {
            index: index.0,
            id: Bytes::copy_from_slice(&stone.id.0),
            name: stone.name.clone(),
            groups: stone.groups.iter().map(|group| group.0).collect(),
            origin: Some(stone.origin.into()),
        }
    }

    fn into_stone(self) -> Result<(Index, Tombstone), SnapshotError> {
        let tombstone = Tombstone {
            id: TopicId(command::uuid(&self.id, "topic id")?),
            name: self.name,
            groups: self.groups.into_iter().map(GroupId).collect(),
            origin: command::origin(self.origin)?,
        };
        Ok((Index(self.index), tombstone))
    }
}

// The messages as they are written. A tag is never given twice.

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "bytes", tag = "2")]
    cluster: Bytes,
    #[prost(uint64, tag = "3")]
    applied: u64,
    #[prost(fixed64, tag = "4")]
    digest: u64,
    #[prost(message, repeated, tag = "5")]
    brokers: Vec<Broker>,
    #[prost(message, repeated, tag = "6")]
    topics: Vec<Topic>,
    #[prost(message, repeated, tag = "7")]
    tombstones: Vec<Buried>,
    #[prost(message, repeated, tag = "8")]
    controllers: Vec<Member>,
    #[prost(uint64, tag = "9")]
    controllers_ever: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(bytes = "bytes", tag = "3")]
    directory: Bytes,
    #[prost(bool, tag = "4")]
    voter: bool,
    #[prost(uint64, tag = "5")]
    renewed: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Broker {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(string, tag = "2")]
    host: String,
    #[prost(uint32, tag = "3")]
    port: u32,
    #[prost(string, optional, tag = "4")]
    rack: Option<String>,
    #[prost(bytes = "bytes", tag = "5")]
    directory: Bytes,
    #[prost(uint64, tag = "6")]
    boot: u64,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    retired: Vec<Bytes>,
    #[prost(uint64, repeated, tag = "8")]
    sequences: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Topic {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    configs: BTreeMap<String, String>,
    #[prost(uint64, tag = "4")]
    created_index: u64,
    #[prost(message, optional, tag = "5")]
    origin: Option<Origin>,
    #[prost(message, repeated, tag = "6")]
    partitions: Vec<Partition>,
    #[prost(uint64, optional, tag = "7")]
    former_deleted: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Partition {
    #[prost(uint64, tag = "1")]
    group: u64,
    #[prost(uint32, repeated, tag = "2")]
    nodes: Vec<u32>,
    #[prost(uint64, repeated, tag = "3")]
    replicas: Vec<u64>,
    #[prost(uint64, tag = "4")]
    next_replica: u64,
    #[prost(uint32, repeated, tag = "5")]
    founding_nodes: Vec<u32>,
    #[prost(uint64, repeated, tag = "6")]
    founding_replicas: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Buried {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(uint64, repeated, tag = "4")]
    groups: Vec<u64>,
    #[prost(message, optional, tag = "5")]
    origin: Option<Origin>,
}
