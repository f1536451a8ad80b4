//! What may be written into the controller's log, and its bytes.
//!
//! Promises that decoding never panics, that what decodes is well formed (numbers in range, ids of the right length), and
//! that a newer version is refused rather than misread. Does not judge whether a command makes sense: that is
//! [`Image::apply`](super::image::Image::apply)'s.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::id::{DirectoryId, GroupId, Index, NodeId, TopicId};

/// The newest version of the format. Raised when an older broker would misread a command: each is written in the first version
/// that says what it says, so that what was asked under an older one means the same for ever, byte for byte.
pub const COMMAND_VERSION: u32 = 2;

/// Who asked for a command, so that one that was sent twice is applied once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The broker that proposed it.
    pub node: NodeId,
    /// The boot counter of that broker's life.
    pub boot: u64,
    /// Ascending within that life, never given twice, and on another disk of the broker from another beginning.
    pub sequence: u64,
}

/// One entry of the controller's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A broker says who and where it is; at every start, and when that changes.
    RegisterBroker(RegisterBroker),
    /// A topic shall be.
    CreateTopic(CreateTopic),
    /// A topic shall be no more.
    DeleteTopic(DeleteTopic),
    /// A broker wants ids to give to producers.
    AllocateProducerIds(AllocateProducerIds),
    /// A broker shall be what it was, or become one, on a disk that was empty.
    AdmitBroker(AdmitBroker),
    /// A broker's journal was damaged: it shall be other replicas of partitions.
    RenewReplicas(RenewReplicas),
    /// A broker's journal was damaged: it shall be another replica of the controller.
    RenewController(RenewController),
}

/// A broker says who and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterBroker {
    /// Its id.
    pub node: NodeId,
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
}

/// A topic shall be. Counts and names are as the client sent them: applying judges them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopic {
    /// Who asked.
    pub origin: Origin,
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the default.
    pub partitions: i32,
    /// How many replicas of each; -1 for the default.
    pub replication_factor: i16,
    /// Which brokers hold which partition, if the client says so; then both counts are -1. Empty: placed by us.
    pub assignment: Vec<Assigned>,
    /// The configs that differ from the defaults, or are to stay when those change.
    pub configs: BTreeMap<String, String>,
    /// What -1 means; part of the command, so that every broker reads the same.
    pub defaults: Defaults,
    /// Whether producers of the former topic of this name may go on in this one, wherever they are in their sequences. What was
    /// asked for before version 2 does not say so.
    pub heirs: bool,
}

/// One partition of an explicit assignment, as the client sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assigned {
    /// The partition.
    pub partition: i32,
    /// The brokers, the preferred leader first.
    pub brokers: Vec<i32>,
}

/// What -1 means in a [`CreateTopic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Defaults {
    /// The number of partitions (Kafka: `num.partitions`).
    pub partitions: i32,
    /// The number of replicas (Kafka: `default.replication.factor`); fewer if there are fewer brokers.
    pub replication_factor: i16,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { partitions: 1, replication_factor: 3 }
    }
}

/// A topic shall be no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteTopic {
    /// Who asked.
    pub origin: Origin,
    /// Which one.
    pub topic: TopicRef,
}

/// A topic, as a client names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TopicRef {
    /// Whichever has this name now.
    Name(String),
    /// This one.
    Id(TopicId),
}

/// A broker wants ids to give to producers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocateProducerIds {
    /// Who asked.
    pub origin: Origin,
}

/// A broker shall be what it was, or become one, on a disk that was empty: it gets new replica ids wherever it had some, for it
/// has forgotten what it promised under the old ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdmitBroker {
    /// Who asked.
    pub origin: Origin,
    /// The broker to be admitted.
    pub node: NodeId,
    /// The data directory it runs on.
    pub directory: DirectoryId,
}

/// A broker that lives on has forgotten, with a part of its journal, what it promised in some groups: it gets new replica ids
/// there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewReplicas {
    /// The broker, which asks for itself.
    pub origin: Origin,
    /// The data directory it runs on.
    pub directory: DirectoryId,
    /// Where it has forgotten.
    pub lost: Lost,
    /// How much of the controller's log it knew in this life: of a group that came to be later there was nothing to forget.
    pub known: Index,
}

/// Of which groups a broker has forgotten what it promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Of these.
    Only(BTreeSet<GroupId>),
    /// Of all that it holds but these.
    AllBut(BTreeSet<GroupId>),
}

impl Lost {
    /// Whether this group is one of them.
    pub fn covers(&self, group: GroupId) -> bool {
        match self {
            Self::Only(groups) => groups.contains(&group),
            Self::AllBut(groups) => !groups.contains(&group),
        }
    }
}

/// The same in the controller's own group. Whoever hears of it may ask: each life of a directory gets one new id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewController {
    /// The broker.
    pub node: NodeId,
    /// The data directory it runs on.
    pub directory: DirectoryId,
    /// Its boot counter: the life in which it asked.
    pub boot: u64,
}

/// Why bytes are no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Not protobuf, or not of this shape.
    Malformed(String),
    /// Written by a newer broker.
    Version(u32),
    /// A field is missing or outside its range.
    Field(&'static str),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a controller command: {why}"),
            Self::Version(version) => {
                write!(f, "controller command of version {version}; this broker reads up to {COMMAND_VERSION}")
            }
            Self::Field(field) => write!(f, "controller command with a bad {field}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl Command {
    /// Who asked; what says where things stand needs none.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::RegisterBroker(_) | Self::RenewController(_) => None,
            Self::CreateTopic(create) => Some(create.origin),
            Self::DeleteTopic(delete) => Some(delete.origin),
            Self::AllocateProducerIds(allocate) => Some(allocate.origin),
            Self::AdmitBroker(admit) => Some(admit.origin),
            Self::RenewReplicas(renew) => Some(renew.origin),
        }
    }

    /// The first version of the format that says all of it.
    fn version(&self) -> u32 {
        match self {
            Self::CreateTopic(create) if create.heirs => 2,
            Self::CreateTopic(_)
            | Self::RegisterBroker(_)
            | Self::DeleteTopic(_)
            | Self::AllocateProducerIds(_)
            | Self::AdmitBroker(_)
            | Self::RenewReplicas(_)
            | Self::RenewController(_) => 1,
        }
    }

    /// The bytes of the command. [`Command::decode`] is the inverse.
    pub fn encode(&self) -> Bytes {
        let kind = match self {
            Self::RegisterBroker(register) => wire::Kind::RegisterBroker(wire::Register {
                node: register.node.0,
                host: register.host.clone(),
                port: u32::from(register.port),
                rack: register.rack.clone(),
                directory: Bytes::copy_from_slice(&register.directory.0),
                boot: register.boot,
            }),
            Self::CreateTopic(create) => wire::Kind::CreateTopic(wire::Create {
                origin: Some(create.origin.into()),
                name: create.name.clone(),
                partitions: create.partitions,
                replication_factor: i32::from(create.replication_factor),
                assignment: create
                    .assignment
                    .iter()
                    .map(|one| wire::Assigned { partition: one.partition, brokers: one.brokers.clone() })
                    .collect(),
                configs: create.configs.clone(),
                default_partitions: create.defaults.partitions,
                default_replication_factor: i32::from(create.defaults.replication_factor),
                heirs: create.heirs,
            }),
            Self::DeleteTopic(delete) => {
                let (name, id) = match &delete.topic {
                    TopicRef::Name(name) => (Some(name.clone()), None),
                    TopicRef::Id(id) => (None, Some(Bytes::copy_from_slice(&id.0))),
                };
                wire::Kind::DeleteTopic(wire::Delete { origin: Some(delete.origin.into()), name, id })
            }
            Self::AllocateProducerIds(allocate) => {
                wire::Kind::AllocateProducerIds(wire::Allocate { origin: Some(allocate.origin.into()) })
            }
            Self::AdmitBroker(admit) => wire::Kind::AdmitBroker(wire::Admit {
                origin: Some(admit.origin.into()),
                node: admit.node.0,
                directory: Bytes::copy_from_slice(&admit.directory.0),
            }),
            Self::RenewReplicas(renew) => {
                let (groups, all_but) = match &renew.lost {
                    Lost::Only(groups) => (groups, false),
                    Lost::AllBut(groups) => (groups, true),
                };
                wire::Kind::RenewReplicas(wire::Renew {
                    origin: Some(renew.origin.into()),
                    directory: Bytes::copy_from_slice(&renew.directory.0),
                    groups: groups.iter().map(|group| group.0).collect(),
                    all_but,
                    known: renew.known.0,
                })
            }
            Self::RenewController(renew) => wire::Kind::RenewController(wire::RenewController {
                node: renew.node.0,
                directory: Bytes::copy_from_slice(&renew.directory.0),
                boot: renew.boot,
            }),
        };
        wire::Command { version: self.version(), kind: Some(kind) }.encode_to_vec().into()
    }

    /// The command in `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self, CommandError> {
        let command = wire::Command::decode(bytes).map_err(|error| CommandError::Malformed(error.to_string()))?;
        let version = command.version;
        if version == 0 || version > COMMAND_VERSION {
            return Err(CommandError::Version(version));
        }
        let command = Self::of(command.kind.ok_or(CommandError::Field("kind"))?)?;
        // Written the one way there is.
        if command.version() == version { Ok(command) } else { Err(CommandError::Field("version")) }
    }

    fn of(kind: wire::Kind) -> Result<Self, CommandError> {
        Ok(match kind {
            wire::Kind::RegisterBroker(register) => Self::RegisterBroker(RegisterBroker {
                node: node_id(register.node)?,
                host: register.host,
                port: u16::try_from(register.port).map_err(|_| CommandError::Field("port"))?,
                rack: register.rack,
                directory: DirectoryId(uuid(&register.directory, "directory")?),
                boot: register.boot,
            }),
            wire::Kind::CreateTopic(create) => Self::CreateTopic(CreateTopic {
                origin: origin(create.origin)?,
                name: create.name,
                partitions: create.partitions,
                replication_factor: short(create.replication_factor, "replication factor")?,
                assignment: create
                    .assignment
                    .into_iter()
                    .map(|one| Assigned { partition: one.partition, brokers: one.brokers })
                    .collect(),
                configs: create.configs,
                defaults: Defaults {
                    partitions: create.default_partitions,
                    replication_factor: short(create.default_replication_factor, "default replication factor")?,
                },
                heirs: create.heirs,
            }),
            wire::Kind::DeleteTopic(delete) => Self::DeleteTopic(DeleteTopic {
                origin: origin(delete.origin)?,
                topic: match (delete.name, delete.id) {
                    (Some(name), None) => TopicRef::Name(name),
                    (None, Some(id)) => TopicRef::Id(TopicId(uuid(&id, "topic id")?)),
                    (Some(_), Some(_)) | (None, None) => return Err(CommandError::Field("topic")),
                },
            }),
            wire::Kind::AllocateProducerIds(allocate) => {
                Self::AllocateProducerIds(AllocateProducerIds { origin: origin(allocate.origin)? })
            }
            wire::Kind::AdmitBroker(admit) => Self::AdmitBroker(AdmitBroker {
                origin: origin(admit.origin)?,
                node: node_id(admit.node)?,
                directory: DirectoryId(uuid(&admit.directory, "directory")?),
            }),
            wire::Kind::RenewReplicas(renew) => {
                let groups = renew.groups.into_iter().map(GroupId).collect();
                Self::RenewReplicas(RenewReplicas {
                    origin: origin(renew.origin)?,
                    directory: DirectoryId(uuid(&renew.directory, "directory")?),
                    lost: if renew.all_but { Lost::AllBut(groups) } else { Lost::Only(groups) },
                    known: Index(renew.known),
                })
            }
            wire::Kind::RenewController(renew) => Self::RenewController(RenewController {
                node: node_id(renew.node)?,
                directory: DirectoryId(uuid(&renew.directory, "directory")?),
                boot: renew.boot,
            }),
        })
    }
}

pub(super) fn node_id(raw: u32) -> Result<NodeId, CommandError> {
    if raw == 0 || i32::try_from(raw).is_err() {
        return Err(CommandError::Field("node id"));
    }
    Ok(NodeId(raw))
}

pub(super) fn uuid(bytes: &[u8], field: &'static str) -> Result<[u8; 16], CommandError> {
    bytes.try_into().map_err(|_| CommandError::Field(field))
}

pub(super) fn origin(origin: Option<wire::Origin>) -> Result<Origin, CommandError> {
    let origin = origin.ok_or(CommandError::Field("origin"))?;
    Ok(Origin { node: node_id(origin.node)?, boot: origin.boot, sequence: origin.sequence })
}

fn short(number: i32, field: &'static str) -> Result<i16, CommandError> {
    i16::try_from(number).map_err(|_| CommandError::Field(field))
}

impl From<Origin> for wire::Origin {
    fn from(origin: Origin) -> Self {
        Self { node: origin.node.0, boot: origin.boot, sequence: origin.sequence }
    }
}

/// The messages as they are written. A tag is never given twice.
pub(super) mod wire {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Command {
        #[prost(uint32, tag = "1")]
        pub(in crate::controller) version: u32,
        #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8")]
        pub(in crate::controller) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in crate::controller) enum Kind {
        #[prost(message, tag = "2")]
        RegisterBroker(Register),
        #[prost(message, tag = "3")]
        CreateTopic(Create),
        #[prost(message, tag = "4")]
        DeleteTopic(Delete),
        #[prost(message, tag = "5")]
        AllocateProducerIds(Allocate),
        #[prost(message, tag = "6")]
        AdmitBroker(Admit),
        #[prost(message, tag = "7")]
        RenewReplicas(Renew),
        #[prost(message, tag = "8")]
        RenewController(RenewController),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Origin {
        #[prost(uint32, tag = "1")]
        pub(in crate::controller) node: u32,
        #[prost(uint64, tag = "2")]
        pub(in crate::controller) boot: u64,
        #[prost(uint64, tag = "3")]
        pub(in crate::controller) sequence: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Register {
        #[prost(uint32, tag = "1")]
        pub(in crate::controller) node: u32,
        #[prost(string, tag = "2")]
        pub(in crate::controller) host: String,
        #[prost(uint32, tag = "3")]
        pub(in crate::controller) port: u32,
        #[prost(string, optional, tag = "4")]
        pub(in crate::controller) rack: Option<String>,
        #[prost(bytes = "bytes", tag = "5")]
        pub(in crate::controller) directory: Bytes,
        #[prost(uint64, tag = "6")]
        pub(in crate::controller) boot: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Create {
        #[prost(message, optional, tag = "1")]
        pub(in crate::controller) origin: Option<Origin>,
        #[prost(string, tag = "2")]
        pub(in crate::controller) name: String,
        #[prost(sint32, tag = "3")]
        pub(in crate::controller) partitions: i32,
        #[prost(sint32, tag = "4")]
        pub(in crate::controller) replication_factor: i32,
        #[prost(message, repeated, tag = "5")]
        pub(in crate::controller) assignment: Vec<Assigned>,
        #[prost(btree_map = "string, string", tag = "6")]
        pub(in crate::controller) configs: BTreeMap<String, String>,
        #[prost(sint32, tag = "7")]
        pub(in crate::controller) default_partitions: i32,
        #[prost(sint32, tag = "8")]
        pub(in crate::controller) default_replication_factor: i32,
        #[prost(bool, tag = "9")]
        pub(in crate::controller) heirs: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Assigned {
        #[prost(sint32, tag = "1")]
        pub(in crate::controller) partition: i32,
        #[prost(sint32, repeated, tag = "2")]
        pub(in crate::controller) brokers: Vec<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Delete {
        #[prost(message, optional, tag = "1")]
        pub(in crate::controller) origin: Option<Origin>,
        #[prost(string, optional, tag = "2")]
        pub(in crate::controller) name: Option<String>,
        #[prost(bytes = "bytes", optional, tag = "3")]
        pub(in crate::controller) id: Option<Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Admit {
        #[prost(message, optional, tag = "1")]
        pub(in crate::controller) origin: Option<Origin>,
        #[prost(uint32, tag = "2")]
        pub(in crate::controller) node: u32,
        #[prost(bytes = "bytes", tag = "3")]
        pub(in crate::controller) directory: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Renew {
        #[prost(message, optional, tag = "1")]
        pub(in crate::controller) origin: Option<Origin>,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in crate::controller) directory: Bytes,
        #[prost(uint64, repeated, tag = "3")]
        pub(in crate::controller) groups: Vec<u64>,
        /// The groups are those that are whole.
        #[prost(bool, tag = "4")]
        pub(in crate::controller) all_but: bool,
        #[prost(uint64, tag = "5")]
        pub(in crate::controller) known: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct RenewController {
        #[prost(uint32, tag = "1")]
        pub(in crate::controller) node: u32,
        #[prost(bytes = "bytes", tag = "2")]
        pub(in crate::controller) directory: Bytes,
        #[prost(uint64, tag = "3")]
        pub(in crate::controller) boot: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::controller) struct Allocate {
        #[prost(message, optional, tag = "1")]
        pub(in crate::controller) origin: Option<Origin>,
    }
}
