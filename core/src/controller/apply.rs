//! How commands change the image: each is judged by what the log said before it, and by nothing else.
//!
//! Promises that a command that was proposed twice is applied once: a broker numbers its commands, and of each boot the
//! last [`ORIGIN_WINDOW`](super::ORIGIN_WINDOW) numbers are remembered. Errors and their texts are those of Kafka's KRaft
//! controller, in the order in which it looks for them.

use super::command::{
    AdmitBroker, AllocateProducerIds, Command, CreateTopic, DeleteTopic, Origin, RegisterBroker, RenewController,
    RenewReplicas, TopicRef,
};
use super::digest::Digest;
use super::image::{
    Applied, BrokerInfo, Controller, Image, OriginWindow, PartitionInfo, Rejection, Tombstone, TopicInfo,
    first_producer_id,
};
use super::{
    BROKER_NAME_BYTES_MAX, BROKERS_MAX, PARTITIONS_TOTAL_MAX, PRODUCER_IDS_PER_BLOCK, configs, names, placement,
    snapshot,
};
use crate::id::{DirectoryId, Index, NodeId, ReplicaId};
use crate::kafka::errors::ErrorCode;
use crate::limits::TOPIC_PARTITIONS_MAX;

/// How many former directories of a broker are remembered.
const RETIRED_DIRECTORIES_MAX: usize = 16;

/// What a topic would look like: what CreateTopics answers before it is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicShape {
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas of each (of the first, if an explicit assignment differs).
    pub replication_factor: i16,
}

/// Where the replicas of a valid topic go.
enum Layout {
    /// Wherever we place them.
    Automatic { partitions: u32, replication_factor: usize },
    /// Where the client says.
    Manual(Vec<Vec<NodeId>>),
}

impl Image {
    /// Applies the command at `index`. The image is at `index` afterwards, whether or not the command was rejected.
    ///
    /// # Panics
    /// If `index` was applied already: entries come in the order of the log, each once.
    pub fn apply(&mut self, index: Index, command: Command) -> Result<Applied, Rejection> {
        let digest = self.advance(index).bytes(&command.encode());
        let result = match command {
            Command::RegisterBroker(register) => self.register(register),
            Command::CreateTopic(create) => self.create(index, create),
            Command::DeleteTopic(delete) => self.delete(index, delete),
            Command::AllocateProducerIds(allocate) => self.allocate(index, &allocate),
            Command::AdmitBroker(admit) => self.admit_broker(&admit),
            Command::RenewReplicas(renew) => self.renew_replicas(&renew),
            Command::RenewController(renew) => self.renew_controller(&renew),
        };
        self.digest = self.digest_of(digest, &result).value();
        result
    }

    /// Passes over the entry at `index`, which holds no command: a leader's first, or a change of configuration.
    ///
    /// # Panics
    /// If `index` was applied already.
    pub fn pass(&mut self, index: Index) {
        self.digest = self.advance(index).value();
    }

    fn advance(&mut self, index: Index) -> Digest {
        assert!(index > self.applied, "index {index} comes after {}", self.applied);
        self.applied = index;
        Digest::chained(self.digest).u64(index.0)
    }

    /// Adds what came of a command, with the record it touched.
    fn digest_of(&self, digest: Digest, result: &Result<Applied, Rejection>) -> Digest {
        match result {
            Err(rejection) => {
                digest.u64(1).bytes(&rejection.error.code().to_le_bytes()).bytes(rejection.message.as_bytes())
            }
            Ok(Applied::BrokerRegistered { node, changed }) => {
                let broker = snapshot::encode_broker(*node, &self.brokers[node]);
                digest.u64(2).u64(u64::from(*changed)).bytes(&broker)
            }
            Ok(Applied::TopicCreated { id, repeated }) => {
                digest.u64(3).u64(u64::from(*repeated)).bytes(&snapshot::encode_topic(&self.topics[id]))
            }
            Ok(Applied::TopicDeleted { id, name, groups, repeated }) => {
                let digest = digest.u64(4).u64(u64::from(*repeated)).bytes(&id.0).bytes(name.as_bytes());
                groups.iter().fold(digest.u64(groups.len() as u64), |digest, group| digest.u64(group.0))
            }
            Ok(Applied::ProducerIds { first, count }) => {
                digest.u64(5).bytes(&first.to_le_bytes()).u64(u64::from(*count))
            }
            Ok(Applied::BrokerAdmitted { node, directory, repeated }) => {
                digest.u64(6).u64(u64::from(node.0)).bytes(&directory.0).u64(u64::from(*repeated))
            }
            Ok(Applied::ReplicasRenewed { node, groups, helpless }) => {
                let digest = digest.u64(7).u64(u64::from(node.0)).u64(groups.len() as u64);
                groups.iter().chain(helpless).fold(digest, |digest, group| digest.u64(group.0))
            }
            Ok(Applied::ControllerRenewed { node, repeated }) => {
                let replica = self.controllers.get(node).map_or(0, |member| member.replica.0);
                digest.u64(8).u64(u64::from(node.0)).u64(replica).u64(u64::from(*repeated))
            }
        }
    }

    fn register(&mut self, register: RegisterBroker) -> Result<Applied, Rejection> {
        let RegisterBroker { node, host, port, rack, directory, boot } = register;
        let invalid = |message: &str| Err(Rejection::new(ErrorCode::InvalidRegistration, message));
        if host.is_empty() || host.len() > BROKER_NAME_BYTES_MAX || port == 0 {
            return invalid("A broker needs a host and a port that clients can reach.");
        }
        if rack.as_ref().is_some_and(|rack| rack.is_empty() || rack.len() > BROKER_NAME_BYTES_MAX) {
            return invalid("The name of a rack is neither empty nor very long.");
        }
        if directory == DirectoryId::ZERO {
            return invalid("A broker runs on a formatted directory.");
        }
        let duplicate = |message: String| Err(Rejection::new(ErrorCode::DuplicateBrokerRegistration, message));
        if let Some((other, _)) = self.brokers.iter().find(|(id, info)| **id != node && info.directory == directory) {
            return duplicate(format!("Broker {other} is registered with directory {directory}: was a disk copied?"));
        }
        let (retired, window) = match self.brokers.get(&node) {
            None if self.brokers.len() >= BROKERS_MAX => return invalid("There are too many brokers."),
            // It may have been admitted on another directory before it ever registered.
            None if self.controllers.get(&node).is_some_and(|member| member.directory != directory) => {
                let bound = self.controllers[&node].directory;
                return duplicate(format!(
                    "Broker {node} is a member of the controller on directory {bound}, and may not come back with {directory}."
                ));
            }
            None => (Vec::new(), OriginWindow::default()),
            Some(former) if former.directory == directory && former.boot == boot => {
                (former.retired.clone(), former.window.clone())
            }
            Some(former) if former.directory == directory && former.boot < boot => {
                (former.retired.clone(), OriginWindow::default())
            }
            Some(former) if former.directory == directory || former.retired.contains(&directory) => {
                let message = format!("Broker {node} has started again since boot {boot} of directory {directory}.");
                return Err(Rejection::new(ErrorCode::StaleBrokerEpoch, message));
            }
            // Replicas are bound to the directory: on another one they would have forgotten votes and acknowledged data.
            Some(former) if self.replicas_on(node).next().is_some() => {
                return duplicate(format!(
                    "Broker {node} holds replicas on directory {}, and may not come back with {directory}.",
                    former.directory
                ));
            }
            // A member of the controller is bound to its directory in the same way.
            Some(former) if self.controllers.get(&node).is_some_and(|member| member.directory != directory) => {
                return duplicate(format!(
                    "Broker {node} is a member of the controller on directory {}, and may not come back with {directory}.",
                    former.directory
                ));
            }
            Some(former) => {
                let mut former = former.clone();
                former.retire(directory, RETIRED_DIRECTORIES_MAX);
                (former.retired, OriginWindow::default())
            }
        };
        let info = BrokerInfo { host, port, rack, directory, boot, retired, window };
        let changed = self.brokers.get(&node) != Some(&info);
        self.brokers.insert(node, info);
        Ok(Applied::BrokerRegistered { node, changed })
    }

    /// Binds a broker to another directory, under new replica ids everywhere.
    fn admit_broker(&mut self, admit: &AdmitBroker) -> Result<Applied, Rejection> {
        let AdmitBroker { origin, node, directory } = *admit;
        let admitted = |repeated| Ok(Applied::BrokerAdmitted { node, directory, repeated });
        let bound = self.controllers.get(&node).map(|member| member.directory);
        let registered = self.brokers.get(&node).map(|broker| broker.directory);
        if bound == Some(directory) && registered.is_none_or(|registered| registered == directory) {
            return admitted(true);
        }
        self.admit(origin)?;
        let refuse = |message: String| Err(Rejection::new(ErrorCode::DuplicateVoter, message));
        if directory == DirectoryId::ZERO {
            return Err(Rejection::new(ErrorCode::InvalidRequest, "A broker runs on a formatted directory."));
        }
        let holder = self.brokers.iter().find(|(id, broker)| **id != node && broker.directory == directory);
        let member = self.controllers.iter().find(|(id, member)| **id != node && member.directory == directory);
        if let Some(other) = holder.map(|(id, _)| id).or(member.map(|(id, _)| id)) {
            return refuse(format!("Broker {other} runs on directory {directory}: was a disk copied?"));
        }
        if self.brokers.get(&node).is_some_and(|broker| broker.retired.contains(&directory)) {
            return refuse(format!("Directory {directory} of broker {node} was replaced before: wipe it first."));
        }
        let known = self.brokers.contains_key(&node) || self.controllers.contains_key(&node);
        // Members that never registered count as well: the controller's own group has room for so many.
        if !known && self.brokers.len().max(self.controllers.len()) >= BROKERS_MAX {
            return Err(Rejection::new(ErrorCode::InvalidRequest, "There are too many brokers."));
        }
        let replica = self.next_controller;
        self.next_controller = ReplicaId(replica.0 + 1);
        // Who voted before votes again; a newcomer listens.
        let voter = self.controllers.get(&node).is_some_and(|member| member.voter);
        self.controllers.insert(node, Controller { replica, directory, voter, renewed: 0 });
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.retire(directory, RETIRED_DIRECTORIES_MAX);
        }
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.renew(node);
        }
        admitted(false)
    }

    /// Gives a broker new replica ids in some groups, wherever the others are a majority and can make it again what it was.
    fn renew_replicas(&mut self, renew: &RenewReplicas) -> Result<Applied, Rejection> {
        let RenewReplicas { origin, directory, lost, known } = renew;
        let node = origin.node;
        self.admit(*origin)?;
        if self.brokers[&node].directory != *directory {
            let message = format!("Broker {node} does not run on directory {directory}.");
            return Err(Rejection::new(ErrorCode::StaleBrokerEpoch, message));
        }
        let (mut groups, mut helpless) = (Vec::new(), Vec::new());
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            let holds = partition.replicas.iter().any(|(holder, _)| *holder == node);
            if !holds || !lost.covers(partition.group) || Self::came_to_be(partition.group) > *known {
                continue;
            }
            if partition.replicas.len() > 2 {
                partition.renew(node);
                groups.push(partition.group);
            } else {
                helpless.push(partition.group);
            }
        }
        Ok(Applied::ReplicasRenewed { node, groups, helpless })
    }

    /// Gives a member of the controller a new replica id, one for each of its lives that asks.
    fn renew_controller(&mut self, renew: &RenewController) -> Result<Applied, Rejection> {
        let RenewController { node, directory, boot } = *renew;
        let replica = self.next_controller;
        let Some(member) = self.controllers.get_mut(&node).filter(|member| member.directory == directory) else {
            let message = format!("Broker {node} is no member of the controller on directory {directory}.");
            return Err(Rejection::new(ErrorCode::VoterNotFound, message));
        };
        // Who is registered was a member before: its word comes late.
        let registered =
            self.brokers.get(&node).filter(|broker| broker.directory == directory).map(|broker| broker.boot);
        let repeated = boot <= member.renewed.max(registered.unwrap_or(0));
        if !repeated {
            (member.replica, member.renewed) = (replica, boot);
            self.next_controller = ReplicaId(replica.0 + 1);
        }
        Ok(Applied::ControllerRenewed { node, repeated })
    }

    /// Whether a command is new. It counts as applied from here on.
    fn admit(&mut self, origin: Origin) -> Result<(), Rejection> {
        let Some(broker) = self.brokers.get_mut(&origin.node).filter(|broker| broker.boot == origin.boot) else {
            let message = format!("Boot {} of broker {} is not registered.", origin.boot, origin.node);
            return Err(Rejection::new(ErrorCode::BrokerIdNotRegistered, message));
        };
        if broker.window.admit(origin.sequence) {
            return Ok(());
        }
        // Its first answer was given when it was applied first. Whoever still waits does not know the outcome.
        Err(Rejection::new(ErrorCode::RequestTimedOut, "The command was received before; its outcome is not known."))
    }

    fn create(&mut self, index: Index, create: CreateTopic) -> Result<Applied, Rejection> {
        if let Some(topic) = self.topic_named(&create.name)
            && topic.origin == create.origin
        {
            return Ok(Applied::TopicCreated { id: topic.id, repeated: true });
        }
        self.admit(create.origin)?;
        let layout = match self.layout(&create)? {
            Layout::Automatic { partitions, replication_factor } => {
                let brokers: Vec<NodeId> = self.brokers.keys().copied().collect();
                placement::place(&brokers, partitions, replication_factor, index.0)
            }
            Layout::Manual(layout) => layout,
        };
        let partitions = (0..)
            .zip(layout)
            .map(|(partition, nodes)| {
                let next_replica = ReplicaId(nodes.len() as u64 + 1);
                let replicas: Vec<_> = nodes.into_iter().zip((1..).map(ReplicaId)).collect();
                PartitionInfo {
                    group: Self::group_id(index, partition),
                    founding: replicas.clone(),
                    replicas,
                    next_replica,
                }
            })
            .collect();
        let id = self.topic_id(index);
        let former_deleted = self.last_deletion(&create.name).filter(|_| create.heirs);
        self.insert_topic(TopicInfo {
            id,
            name: create.name,
            configs: create.configs,
            created_index: index,
            former_deleted,
            origin: create.origin,
            partitions,
        });
        Ok(Applied::TopicCreated { id, repeated: false })
    }

    /// Whether the topic could be created now. Does not look at who asks.
    pub fn validate_create(&self, create: &CreateTopic) -> Result<TopicShape, Rejection> {
        let (partitions, replication_factor) = match self.layout(create)? {
            Layout::Automatic { partitions, replication_factor } => (partitions as usize, replication_factor),
            Layout::Manual(layout) => (layout.len(), layout[0].len()),
        };
        Ok(TopicShape {
            partitions: i32::try_from(partitions).expect("at most TOPIC_PARTITIONS_MAX"),
            replication_factor: i16::try_from(replication_factor).expect("at most BROKERS_MAX"),
        })
    }

    fn layout(&self, create: &CreateTopic) -> Result<Layout, Rejection> {
        names::validate(&create.name)
            .map_err(|error| Rejection::new(ErrorCode::InvalidTopicException, error.to_string()))?;
        if let Some(other) = self.collision(&create.name) {
            let name = &create.name;
            return Err(if other.name == *name {
                Rejection::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."))
            } else {
                let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
                Rejection::new(ErrorCode::InvalidTopicException, message)
            });
        }
        for (name, value) in &create.configs {
            configs::validate(name, value)
                .map_err(|error| Rejection::new(ErrorCode::InvalidConfig, error.to_string()))?;
        }
        let layout = if create.assignment.is_empty() { self.automatic(create)? } else { self.manual(create)? };
        let partitions = match &layout {
            Layout::Automatic { partitions, .. } => u64::from(*partitions),
            Layout::Manual(layout) => layout.len() as u64,
        };
        if partitions > TOPIC_PARTITIONS_MAX as u64 {
            return Err(Rejection::new(ErrorCode::PolicyViolation, EXCESSIVE));
        }
        if self.partitions_total() + partitions > PARTITIONS_TOTAL_MAX {
            let message = format!(
                "The cluster holds {} partitions; with {partitions} more it would hold more than {PARTITIONS_TOTAL_MAX}.",
                self.partitions_total()
            );
            return Err(Rejection::new(ErrorCode::PolicyViolation, message));
        }
        Ok(layout)
    }

    fn automatic(&self, create: &CreateTopic) -> Result<Layout, Rejection> {
        if create.replication_factor < -1 || create.replication_factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Rejection::new(ErrorCode::InvalidReplicationFactor, message));
        }
        if create.partitions < -1 || create.partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Rejection::new(ErrorCode::InvalidPartitions, message));
        }
        let partitions = if create.partitions == -1 { create.defaults.partitions.max(1) } else { create.partitions };
        let brokers = self.brokers.len();
        let replication_factor = if create.replication_factor == -1 {
            usize::try_from(create.defaults.replication_factor).unwrap_or(1).min(brokers).max(1)
        } else {
            usize::try_from(create.replication_factor).expect("positive")
        };
        if replication_factor > brokers {
            let message = format!(
                "Unable to replicate the partition {replication_factor} time(s): The target replication factor of \
                 {replication_factor} cannot be reached because only {brokers} broker(s) are registered."
            );
            return Err(Rejection::new(ErrorCode::InvalidReplicationFactor, message));
        }
        Ok(Layout::Automatic { partitions: u32::try_from(partitions).expect("positive"), replication_factor })
    }

    fn manual(&self, create: &CreateTopic) -> Result<Layout, Rejection> {
        let request = |what: &str| {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Err(Rejection::new(ErrorCode::InvalidRequest, message))
        };
        if create.replication_factor != -1 {
            return request("replication factor");
        }
        if create.partitions != -1 {
            return request("numPartitions");
        }
        let invalid = |message: String| Err(Rejection::new(ErrorCode::InvalidReplicaAssignment, message));
        if create.assignment.len() > TOPIC_PARTITIONS_MAX as usize {
            return Err(Rejection::new(ErrorCode::PolicyViolation, EXCESSIVE));
        }
        let mut layout = std::collections::BTreeMap::new();
        let mut factor = None;
        for assigned in &create.assignment {
            if layout.contains_key(&assigned.partition) {
                let partition = assigned.partition;
                return invalid(format!("Found multiple manual partition assignments for partition {partition}"));
            }
            if assigned.brokers.is_empty() {
                return invalid("The manual partition assignment includes an empty replica list.".to_owned());
            }
            let mut sorted = assigned.brokers.clone();
            sorted.sort_unstable();
            for (at, broker) in sorted.iter().enumerate() {
                let node = u32::try_from(*broker).ok().map(NodeId);
                if at > 0 && sorted[at - 1] == *broker {
                    let message = "The manual partition assignment includes the broker";
                    return invalid(format!("{message} {broker} more than once."));
                }
                if node.is_none_or(|node| !self.brokers.contains_key(&node)) {
                    let message = "The manual partition assignment includes broker";
                    return invalid(format!("{message} {broker}, but no such broker is registered."));
                }
            }
            let replicas = assigned.brokers.len();
            let first = *factor.get_or_insert(replicas);
            if replicas != first {
                return invalid(format!(
                    "The manual partition assignment includes a partition with {replicas} replica(s), but this is not \
                     consistent with previous partitions, which have {first} replica(s)."
                ));
            }
            let nodes = assigned.brokers.iter().map(|broker| NodeId(broker.unsigned_abs())).collect();
            layout.insert(assigned.partition, nodes);
        }
        if !layout.keys().copied().eq(0..layout.len() as i32) {
            return invalid("partitions should be a consecutive 0-based integer sequence".to_owned());
        }
        Ok(Layout::Manual(layout.into_values().collect()))
    }

    fn delete(&mut self, index: Index, delete: DeleteTopic) -> Result<Applied, Rejection> {
        if let Err(rejection) = self.admit(delete.origin) {
            let tombstone = self.tombstones.values().rev().find(|tombstone| tombstone.origin == delete.origin);
            return tombstone.map_or(Err(rejection), |tombstone| Ok(Applied::deleted(tombstone, true)));
        }
        let Some(topic) = self.find(&delete.topic) else {
            return Err(match delete.topic {
                TopicRef::Name(_) => unknown_topic_name(),
                TopicRef::Id(_) => unknown_topic_id(),
            });
        };
        let topic = self.remove_topic(topic.id);
        let tombstone = Tombstone {
            id: topic.id,
            name: topic.name,
            groups: topic.partitions.iter().map(|partition| partition.group).collect(),
            origin: delete.origin,
        };
        let applied = Applied::deleted(&tombstone, false);
        self.bury(index, tombstone);
        Ok(applied)
    }

    fn allocate(&mut self, index: Index, allocate: &AllocateProducerIds) -> Result<Applied, Rejection> {
        self.admit(allocate.origin)?;
        Ok(Applied::ProducerIds { first: first_producer_id(index).0, count: PRODUCER_IDS_PER_BLOCK })
    }
}

impl Applied {
    fn deleted(tombstone: &Tombstone, repeated: bool) -> Self {
        Self::TopicDeleted {
            id: tombstone.id,
            name: tombstone.name.clone(),
            groups: tombstone.groups.clone(),
            repeated,
        }
    }
}

/// What Kafka says of a topic name nobody knows.
pub(super) fn unknown_topic_name() -> Rejection {
    Rejection::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
}

/// What Kafka says of a topic id nobody knows.
pub(super) fn unknown_topic_id() -> Rejection {
    Rejection::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")
}

/// What Kafka says of more partitions than a request may create.
pub(super) const EXCESSIVE: &str = "Excessively large number of partitions per request.";
