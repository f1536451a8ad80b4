//! The messages of the protocol, one type per request and answer whatever the version.
//!
//! Writing drops fields that the version lacks; reading gives them Kafka's defaults.
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

mod add_raft_voter;
mod api_versions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_quorum;
mod fetch;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;

pub use add_raft_voter::*;
pub use api_versions::*;
pub use create_topics::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_quorum::*;
pub use fetch::*;
pub use init_producer_id::*;
pub use list_offsets::*;
pub use metadata::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
