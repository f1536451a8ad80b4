//! DescribeQuorum: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Who votes in the controller, and how far everybody is (KIP-595, KIP-853)?
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumRequest {
    /// The one topic that is asked about: `__cluster_metadata`.
    pub topics: Vec<DescribeQuorumTopic>,
}

impl Wire for DescribeQuorumRequest {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topics);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topics: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic asked about.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumTopic {
    /// Its name.
    pub topic_name: String,
    /// Its partitions.
    pub partitions: Vec<DescribeQuorumPartition>,
}

impl Wire for DescribeQuorumTopic {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topic_name);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topic_name: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A partition asked about.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumPartition {
    /// Its number.
    pub partition_index: i32,
}

impl Wire for DescribeQuorumPartition {
    fn write(&self, w: &mut Writer) {
        w.put(&self.partition_index);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            partition_index: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The members of the controller.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumResponse {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words. From version 2.
    pub error_message: Option<String>,
    /// The topics.
    pub topics: Vec<DescribeQuorumTopicState>,
    /// Where the members listen. From version 2.
    pub nodes: Vec<DescribeQuorumNode>,
}

impl Wire for DescribeQuorumResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.error_code);
        if v >= 2 {
            w.put(&self.error_message);
        }
        w.put(&self.topics);
        if v >= 2 {
            w.put(&self.nodes);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            error_code: r.get()?,
            error_message: r.get_if(v >= 2, None)?,
            topics: r.get()?,
            nodes: r.get_if(v >= 2, Vec::new())?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumTopicState {
    /// Its name.
    pub topic_name: String,
    /// Its partitions.
    pub partitions: Vec<DescribeQuorumPartitionState>,
}

impl Wire for DescribeQuorumTopicState {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topic_name);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topic_name: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumPartitionState {
    /// Its number.
    pub partition_index: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words. From version 2.
    pub error_message: Option<String>,
    /// The leader, or -1.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// What is committed.
    pub high_watermark: i64,
    /// The voters.
    pub current_voters: Vec<DescribeQuorumReplica>,
    /// Those that only listen.
    pub observers: Vec<DescribeQuorumReplica>,
}

impl Wire for DescribeQuorumPartitionState {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.partition_index);
        w.put(&self.error_code);
        if v >= 2 {
            w.put(&self.error_message);
        }
        w.put(&self.leader_id);
        w.put(&self.leader_epoch);
        w.put(&self.high_watermark);
        w.put(&self.current_voters);
        w.put(&self.observers);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            partition_index: r.get()?,
            error_code: r.get()?,
            error_message: r.get_if(v >= 2, None)?,
            leader_id: r.get()?,
            leader_epoch: r.get()?,
            high_watermark: r.get()?,
            current_voters: r.get()?,
            observers: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeQuorumReplica {
    /// The broker.
    pub replica_id: i32,
    /// The data directory it runs on. From version 2.
    pub replica_directory_id: TopicId,
    /// How far its log reaches, or -1 if not known.
    pub log_end_offset: i64,
    /// When it asked last, or -1 if not known. From version 1.
    pub last_fetch_timestamp: i64,
    /// When it was level with the leader, or -1 if not known. From version 1.
    pub last_caught_up_timestamp: i64,
}

impl Default for DescribeQuorumReplica {
    fn default() -> Self {
        Self {
            replica_id: 0,
            replica_directory_id: TopicId::ZERO,
            log_end_offset: 0,
            last_fetch_timestamp: -1,
            last_caught_up_timestamp: -1,
        }
    }
}

impl Wire for DescribeQuorumReplica {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.replica_id);
        if v >= 2 {
            w.put(&self.replica_directory_id);
        }
        w.put(&self.log_end_offset);
        if v >= 1 {
            w.put(&self.last_fetch_timestamp);
        }
        if v >= 1 {
            w.put(&self.last_caught_up_timestamp);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            replica_id: r.get()?,
            replica_directory_id: r.get_if(v >= 2, TopicId::ZERO)?,
            log_end_offset: r.get()?,
            last_fetch_timestamp: r.get_if(v >= 1, -1)?,
            last_caught_up_timestamp: r.get_if(v >= 1, -1)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Where a member listens.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumNode {
    /// The broker.
    pub node_id: i32,
    /// Its listeners.
    pub listeners: Vec<DescribeQuorumListener>,
}

impl Wire for DescribeQuorumNode {
    fn write(&self, w: &mut Writer) {
        w.put(&self.node_id);
        w.put(&self.listeners);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            node_id: r.get()?,
            listeners: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DescribeQuorumListener {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its port, an unsigned number.
    pub port: i16,
}

impl Wire for DescribeQuorumListener {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.host);
        w.put(&self.port);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            host: r.get()?,
            port: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
