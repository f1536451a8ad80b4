//! The metadata image: what the controller's log says of brokers, topics and their partitions.
//!
//! Promises that its indexes agree with its contents, and that ids of topics and groups are never given twice, as they are
//! minted from the log index. How commands change it is told in `apply.rs`. Does not know who leads a partition: leaders
//! announce themselves, and routes are kept elsewhere.
//!
//! **Tombstones.** A deleted topic leaves one, naming its groups, so that brokers remove files because a topic *was
//! deleted*, never because the image lacks it. The oldest go when all together name more than
//! [`TOMBSTONE_GROUPS_MAX`] groups: a broker that was away for longer keeps files nobody needs.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Origin, TopicRef};
use super::configs::TopicConfig;
use super::{ORIGIN_WINDOW, PRODUCER_IDS_PER_BLOCK, TOMBSTONE_GROUPS_MAX, names};
use crate::id::{ClusterId, DirectoryId, GroupId, Index, NodeId, ProducerId, ReplicaId, TopicId};
use crate::kafka::errors::ErrorCode;
use crate::limits::TOPIC_PARTITIONS_MAX;
use crate::rng::mix;

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerInfo {
    /// Where clients reach it: a host name or address.
    pub host: String,
    /// Where clients reach it: the port.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// The data directory it runs on.
    pub directory: DirectoryId,
    /// The boot counter of that directory.
    pub boot: u64,
    /// Directories it ran on before, the latest last: a registration of one of these comes late.
    pub(super) retired: Vec<DirectoryId>,
    /// The newest commands of this boot that were applied.
    pub(super) window: OriginWindow,
}

impl BrokerInfo {
    /// Whether it ran on this directory before, and does so no more.
    pub fn has_retired(&self, directory: DirectoryId) -> bool {
        self.retired.contains(&directory)
    }

    /// Goes over to another directory, whose first life is still to come.
    pub(super) fn retire(&mut self, directory: DirectoryId, retired_max: usize) {
        self.retired.push(std::mem::replace(&mut self.directory, directory));
        let excess = self.retired.len().saturating_sub(retired_max);
        self.retired.drain(..excess);
        self.boot = 0;
        self.window = OriginWindow::default();
    }
}

/// Which commands of one boot of a broker were applied: all up to `newest - ORIGIN_WINDOW` count as such.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct OriginWindow {
    pub(super) applied: BTreeSet<u64>,
}

impl OriginWindow {
    /// Notes that `sequence` is applied; false if it was before, or may have been.
    pub(super) fn admit(&mut self, sequence: u64) -> bool {
        if self.is_below(sequence) || !self.applied.insert(sequence) {
            return false;
        }
        while let Some(oldest) = self.applied.first().copied() {
            if !self.is_below(oldest) {
                break;
            }
            self.applied.remove(&oldest);
        }
        true
    }

    fn is_below(&self, sequence: u64) -> bool {
        self.applied.last().is_some_and(|newest| newest - sequence.min(*newest) >= ORIGIN_WINDOW)
    }
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// Its id, never given to another.
    pub id: TopicId,
    /// Its name, until it is deleted.
    pub name: String,
    /// The configs that do not follow the defaults. Every one was validated.
    pub configs: BTreeMap<String, String>,
    /// The log index of its creation.
    pub created_index: Index,
    /// The log index at which the last topic was deleted that had its name before, if its producers may go on in this one and the
    /// deletion was remembered when this one was created. It never changes: a replica judges batches by it.
    pub former_deleted: Option<Index>,
    /// Who asked for it.
    pub origin: Origin,
    /// Its partitions; the position is the partition's number.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// The configs that take effect.
    pub fn config(&self) -> TopicConfig {
        TopicConfig::from_overrides(&self.configs)
    }

    /// Producers with an id below this may be older than the deletion of the former topic of its name: they go on here wherever they
    /// are in their sequences. Zero, below which no id is, if there was none.
    pub fn heirs_below(&self) -> ProducerId {
        self.former_deleted.map_or(ProducerId(0), first_producer_id)
    }

    /// The planted bug: whoever is older than the topic counts as an heir.
    pub(crate) fn older_below(&self) -> ProducerId {
        first_producer_id(self.created_index)
    }

    /// How many replicas the first partition has; what Kafka answers as the topic's replication factor.
    pub fn replication_factor(&self) -> i16 {
        i16::try_from(self.partitions[0].replicas.len()).expect("no more replicas than brokers")
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("no more partitions than TOPIC_PARTITIONS_MAX")
    }
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionInfo {
    /// The Raft group that holds its log, never given to another.
    pub group: GroupId,
    /// Its replicas as they shall be, the preferred leader first; the group follows by changes of its configuration.
    pub replicas: Vec<(NodeId, ReplicaId)>,
    /// The replicas it began with: the configuration at the beginning of the group's log.
    pub founding: Vec<(NodeId, ReplicaId)>,
    /// The id the next replica will get.
    pub next_replica: ReplicaId,
}

impl PartitionInfo {
    /// Gives the replica of a broker another id, if it has one here.
    pub(super) fn renew(&mut self, node: NodeId) {
        for place in self.replicas.iter_mut().filter(|place| place.0 == node) {
            place.1 = self.next_replica;
            self.next_replica = ReplicaId(self.next_replica.0 + 1);
        }
    }
}

/// A member of the controller's own group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controller {
    /// Its replica of the group.
    pub replica: ReplicaId,
    /// The data directory that replica is bound to.
    pub directory: DirectoryId,
    /// Whether it votes; the others only listen.
    pub voter: bool,
    /// The life of the directory (its boot counter) in which it asked for this replica, as its journal was damaged; zero if
    /// it did not.
    pub renewed: u64,
}

/// What is left of a deleted topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// The topic.
    pub id: TopicId,
    /// The name it had.
    pub name: String,
    /// The groups of its partitions, whose files may be removed.
    pub groups: Vec<GroupId>,
    /// Who asked for the deletion.
    pub origin: Origin,
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The broker is registered.
    BrokerRegistered {
        /// Which one.
        node: NodeId,
        /// Whether this changed what the image says of it.
        changed: bool,
    },
    /// The topic is there.
    TopicCreated {
        /// Its id; the rest is in the image.
        id: TopicId,
        /// Whether it was there already, created by the same command.
        repeated: bool,
    },
    /// The topic is gone.
    TopicDeleted {
        /// The id it had.
        id: TopicId,
        /// The name it had.
        name: String,
        /// The groups that are no more.
        groups: Vec<GroupId>,
        /// Whether it was gone already, deleted by the same command.
        repeated: bool,
    },
    /// The broker is admitted.
    BrokerAdmitted {
        /// Which one.
        node: NodeId,
        /// The data directory it is bound to now.
        directory: DirectoryId,
        /// Whether it was already.
        repeated: bool,
    },
    /// The broker is to be other replicas of partitions.
    ReplicasRenewed {
        /// Which one.
        node: NodeId,
        /// The groups in which it has a new id.
        groups: Vec<GroupId>,
        /// The groups where it keeps its id, for without it there is no majority to make a new one from.
        helpless: Vec<GroupId>,
    },
    /// The broker is to be another replica of the controller.
    ControllerRenewed {
        /// Which one.
        node: NodeId,
        /// Whether it was already, for the same life or a later one.
        repeated: bool,
    },
    /// A block of producer ids belongs to the broker that asked.
    ProducerIds {
        /// The first.
        first: i64,
        /// How many.
        count: u32,
    },
}

/// Why a command did nothing: what to tell the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// The error a real Kafka gives.
    pub error: ErrorCode,
    /// What to show to people.
    pub message: String,
}

impl Rejection {
    /// A rejection.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error, self.message)
    }
}

impl std::error::Error for Rejection {}

/// The metadata of a cluster.
///
/// - A name belongs to one topic; names that differ only in `.` and `_` count as one.
/// - Every topic has a partition, every partition a replica; replicas are on distinct registered brokers, under distinct
///   ids below `next_replica`.
/// - A group belongs to one partition; no group of a tombstone is in use.
/// - Ids come from indexes that were applied.
/// - A topic came to be after the former topic of its name was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    pub(super) cluster: ClusterId,
    pub(super) applied: Index,
    pub(super) digest: u64,
    pub(super) brokers: BTreeMap<NodeId, BrokerInfo>,
    pub(super) topics: BTreeMap<TopicId, TopicInfo>,
    /// By the index of the deletion.
    pub(super) tombstones: BTreeMap<Index, Tombstone>,
    /// The members of the controller's group as they shall be.
    pub(super) controllers: BTreeMap<NodeId, Controller>,
    /// The id its next member will get.
    pub(super) next_controller: ReplicaId,
    // The rest follows from the above.
    names: BTreeMap<String, TopicId>,
    unified: BTreeMap<String, TopicId>,
    groups: BTreeMap<GroupId, (TopicId, i32)>,
    buried: BTreeMap<TopicId, Index>,
    /// The last deletion of a topic of this name.
    buried_names: BTreeMap<String, Index>,
    buried_groups: u64,
}

/// The first producer id of the block that would be given out at `index`: ids given out before are below it.
///
/// # Panics
/// If the log is longer than there are ids.
pub(super) fn first_producer_id(index: Index) -> ProducerId {
    let first = i64::try_from(index.0).ok().and_then(|index| index.checked_mul(i64::from(PRODUCER_IDS_PER_BLOCK)));
    ProducerId(first.expect("log indexes exhausted"))
}

impl Image {
    /// The image of a cluster whose log is empty.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            applied: Index(0),
            digest: 0,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            controllers: BTreeMap::new(),
            next_controller: ReplicaId(1),
            names: BTreeMap::new(),
            unified: BTreeMap::new(),
            groups: BTreeMap::new(),
            buried: BTreeMap::new(),
            buried_names: BTreeMap::new(),
            buried_groups: 0,
        }
    }

    /// The same, with the members the controller's group began with.
    ///
    /// # Panics
    /// If there are any already.
    #[must_use]
    pub fn founded_by(mut self, members: impl IntoIterator<Item = (NodeId, Controller)>) -> Self {
        assert!(self.controllers.is_empty(), "a cluster is founded once");
        self.controllers.extend(members);
        let last = self.controllers.values().map(|member| member.replica.0).max().unwrap_or(0);
        self.next_controller = ReplicaId(last + 1);
        self
    }

    /// The members of the controller's group as they shall be.
    pub fn controllers(&self) -> &BTreeMap<NodeId, Controller> {
        &self.controllers
    }

    /// The cluster it describes.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The last log index that was applied; zero if none was.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// A digest chained over every index applied, what was asked there and what came of it: equal on brokers that applied
    /// the same log.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The registered brokers.
    pub fn brokers(&self) -> &BTreeMap<NodeId, BrokerInfo> {
        &self.brokers
    }

    /// The topics.
    pub fn topics(&self) -> &BTreeMap<TopicId, TopicInfo> {
        &self.topics
    }

    /// The topics, ascending by name.
    pub fn topics_by_name(&self) -> impl Iterator<Item = &TopicInfo> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// The topic with this id.
    pub fn topic(&self, id: TopicId) -> Option<&TopicInfo> {
        self.topics.get(&id)
    }

    /// The topic that has this name now.
    pub fn topic_named(&self, name: &str) -> Option<&TopicInfo> {
        self.names.get(name).map(|id| &self.topics[id])
    }

    /// The topic a client means.
    pub fn find(&self, topic: &TopicRef) -> Option<&TopicInfo> {
        match topic {
            TopicRef::Name(name) => self.topic_named(name),
            TopicRef::Id(id) => self.topic(*id),
        }
    }

    /// The topic whose name can not be told from `name` by Kafka's metrics.
    pub(super) fn collision(&self, name: &str) -> Option<&TopicInfo> {
        self.unified.get(&names::unified(name)).map(|id| &self.topics[id])
    }

    /// The topic and partition a group holds.
    pub fn partition_of(&self, group: GroupId) -> Option<(&TopicInfo, i32, &PartitionInfo)> {
        let (id, partition) = self.groups.get(&group)?;
        let topic = &self.topics[id];
        Some((topic, *partition, &topic.partitions[usize::try_from(*partition).expect("not negative")]))
    }

    /// How many partitions there are, over all topics.
    pub fn partitions(&self) -> usize {
        self.groups.len()
    }

    /// The replicas a broker holds, ascending by group.
    pub fn replicas_on(&self, node: NodeId) -> impl Iterator<Item = (GroupId, ReplicaId)> {
        self.groups.keys().filter_map(move |group| {
            let (_, _, partition) = self.partition_of(*group)?;
            partition.replicas.iter().find(|(holder, _)| *holder == node).map(|(_, replica)| (*group, *replica))
        })
    }

    /// How many partitions all topics have together.
    pub fn partitions_total(&self) -> u64 {
        self.groups.len() as u64
    }

    /// The tombstone of a deleted topic, while it is kept.
    pub fn tombstone(&self, id: TopicId) -> Option<&Tombstone> {
        self.buried.get(&id).map(|index| &self.tombstones[index])
    }

    /// The index at which the last topic of this name was deleted, while its tombstone is kept.
    pub fn last_deletion(&self, name: &str) -> Option<Index> {
        self.buried_names.get(name).copied()
    }

    /// The tombstones kept, by the index of the deletion.
    pub fn tombstones(&self) -> &BTreeMap<Index, Tombstone> {
        &self.tombstones
    }

    /// The id of the topic created at `index`: a UUID of version 8 (RFC 9562) that no other topic of any cluster has, as
    /// far as 64 bits of the cluster's id tell clusters apart. Its text never begins with a dash, as Kafka prefers.
    pub(super) fn topic_id(&self, index: Index) -> TopicId {
        assert!(index.0 < 1 << 62, "log indexes exhausted");
        let cluster = u64::from_be_bytes(std::array::from_fn(|at| self.cluster.0[at]));
        let high = (mix(cluster) & !(1 << 63) & !0xf000) | 0x8000;
        let low = (0b10 << 62) | index.0;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        TopicId(id)
    }

    /// The group of a partition that came to be at `index`. Never the controller's, as indexes begin at one.
    pub(super) fn group_id(index: Index, partition: u32) -> GroupId {
        const { assert!(TOPIC_PARTITIONS_MAX <= 1 << GROUP_PARTITION_BITS) };
        assert!(index.0 >= 1 && index.0 < 1 << (64 - GROUP_PARTITION_BITS), "log indexes exhausted");
        assert!(partition < 1 << GROUP_PARTITION_BITS, "partition numbers exhausted");
        GroupId((index.0 << GROUP_PARTITION_BITS) | u64::from(partition))
    }

    /// The index that a group came to be at.
    pub(super) fn came_to_be(group: GroupId) -> Index {
        Index(group.0 >> GROUP_PARTITION_BITS)
    }

    /// Adds a topic to the contents and the indexes.
    pub(super) fn insert_topic(&mut self, topic: TopicInfo) {
        for (partition, info) in (0..).zip(&topic.partitions) {
            let former = self.groups.insert(info.group, (topic.id, partition));
            assert!(former.is_none(), "group {} is given twice", info.group);
        }
        assert!(self.names.insert(topic.name.clone(), topic.id).is_none(), "a name belongs to one topic");
        assert!(self.unified.insert(names::unified(&topic.name), topic.id).is_none(), "names collide");
        assert!(self.topics.insert(topic.id, topic).is_none(), "a topic id is given twice");
    }

    /// Takes a topic out of the contents and the indexes.
    pub(super) fn remove_topic(&mut self, id: TopicId) -> TopicInfo {
        let topic = self.topics.remove(&id).expect("the caller has found it");
        self.names.remove(&topic.name);
        self.unified.remove(&names::unified(&topic.name));
        for partition in &topic.partitions {
            self.groups.remove(&partition.group);
        }
        topic
    }

    /// Adds a tombstone, and drops the oldest while there are too many.
    pub(super) fn bury(&mut self, index: Index, tombstone: Tombstone) {
        self.buried_groups += tombstone.groups.len() as u64;
        assert!(self.buried.insert(tombstone.id, index).is_none(), "a topic is deleted once");
        self.buried_names.insert(tombstone.name.clone(), index);
        assert!(self.tombstones.insert(index, tombstone).is_none(), "an index is applied once");
        while self.buried_groups > TOMBSTONE_GROUPS_MAX && self.tombstones.len() > 1 {
            let (index, oldest) = self.tombstones.pop_first().expect("there are several");
            self.buried_groups -= oldest.groups.len() as u64;
            self.buried.remove(&oldest.id);
            if self.buried_names.get(&oldest.name) == Some(&index) {
                self.buried_names.remove(&oldest.name);
            }
        }
    }

    /// Asserts what is promised on the type.
    ///
    /// # Panics
    /// If a promise is broken.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.topics.len(), "a name belongs to one topic");
        assert_eq!(self.unified.len(), self.topics.len(), "names that differ only in . and _ count as one");
        let mut partitions = 0;
        for (id, topic) in &self.topics {
            assert_eq!(*id, topic.id);
            assert_eq!(self.names.get(&topic.name), Some(id));
            assert_eq!(self.unified.get(&names::unified(&topic.name)), Some(id));
            assert!(topic.created_index <= self.applied, "ids come from indexes that were applied");
            assert_eq!(*id, self.topic_id(topic.created_index));
            assert!(
                topic.former_deleted.is_none_or(|index| index < topic.created_index),
                "a former topic is gone before"
            );
            assert!(!topic.partitions.is_empty(), "every topic has a partition");
            for (number, partition) in (0..).zip(&topic.partitions) {
                partitions += 1;
                assert_eq!(self.groups.get(&partition.group), Some(&(*id, number)), "a group belongs to one partition");
                assert!(Self::came_to_be(partition.group) <= self.applied);
                assert!(!partition.replicas.is_empty(), "every partition has a replica");
                assert!(!partition.founding.is_empty(), "every group begins with a replica");
                let mut nodes = BTreeSet::new();
                let mut replicas = BTreeSet::new();
                for (node, replica) in &partition.replicas {
                    assert!(self.brokers.contains_key(node), "replicas are on registered brokers");
                    assert!(nodes.insert(node) && replicas.insert(replica), "replicas are distinct");
                    assert!(replica.0 >= 1 && *replica < partition.next_replica, "replica ids are below the next");
                }
            }
        }
        let mut members: Vec<ReplicaId> = self.controllers.values().map(|member| member.replica).collect();
        members.sort_unstable();
        assert!(members.windows(2).all(|pair| pair[0] < pair[1]), "members of the controller are distinct");
        assert!(members.last().is_none_or(|last| *last < self.next_controller), "replica ids are below the next");
        assert_eq!(self.groups.len(), partitions);
        assert_eq!(self.buried.len(), self.tombstones.len());
        for (index, tombstone) in &self.tombstones {
            assert!(*index <= self.applied);
            assert_eq!(self.buried.get(&tombstone.id), Some(index));
            assert!(!self.topics.contains_key(&tombstone.id), "a deleted topic is not there");
            assert!(tombstone.groups.iter().all(|group| !self.groups.contains_key(group)), "its groups are not in use");
        }
        let buried: u64 = self.tombstones.values().map(|tombstone| tombstone.groups.len() as u64).sum();
        assert_eq!(self.buried_groups, buried);
        let last: BTreeMap<&str, Index> =
            self.tombstones.iter().map(|(index, tombstone)| (tombstone.name.as_str(), *index)).collect();
        assert!(last.into_iter().eq(self.buried_names.iter().map(|(name, index)| (name.as_str(), *index))));
    }
}

/// How many of a group id's low bits are the partition's number; the others are the log index it was minted from.
pub(super) const GROUP_PARTITION_BITS: u32 = 20;
