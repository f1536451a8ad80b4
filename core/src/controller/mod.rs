//! The controller: the metadata of the cluster as a state machine folded from the log of group 0.
//!
//! - [`command`]: what may be written into that log, and its bytes.
//! - [`image`]: what the log folds into: brokers, topics, partitions and their replicas, ids.
//! - [`snapshot`]: the image as bytes.
//! - [`names`], [`configs`], [`placement`]: the rules that a command is judged by.
//! - [`answers`], [`describe`], [`topics`]: Kafka's requests about metadata, answered from an image.
//!
//! Promises that the same log gives the same image, the same answers and the same digest on every broker. Does not know
//! Raft, time, connections, or which broker it runs on.

pub mod answers;
mod apply;
pub mod command;
pub mod configs;
pub mod describe;
mod digest;
pub mod image;
pub mod names;
pub mod placement;
pub mod snapshot;
pub mod topics;

pub use apply::TopicShape;

/// The most partitions of all topics together.
pub const PARTITIONS_TOTAL_MAX: u64 = 200_000;
/// The most brokers that may be registered.
pub const BROKERS_MAX: usize = 1_000;
/// The longest host or rack name a broker may register.
pub const BROKER_NAME_BYTES_MAX: usize = 255;
/// The longest value of a topic config.
pub const CONFIG_VALUE_BYTES_MAX: usize = 1_024;
/// How many sequences behind its newest a broker's command may arrive and still be told from one that was applied.
pub const ORIGIN_WINDOW: u64 = 1_024;
/// How many groups all tombstones together may name; past it the oldest tombstones go (the newest always stays).
pub const TOMBSTONE_GROUPS_MAX: u64 = 200_000;
/// The largest command a client's request may become, in bytes.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many producer ids one [`command::Command::AllocateProducerIds`] gives out.
pub const PRODUCER_IDS_PER_BLOCK: u32 = 1_000;
