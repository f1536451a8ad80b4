//! Metadata: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Topics to describe, with the brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataRequest {
    /// The topics; null is all. Version 0 says all by an empty list: it is read as null.
    pub topics: Option<Vec<MetadataRequestTopic>>,
    /// Whether to make topics that are not there, if the broker does that. From version 4.
    pub allow_auto_topic_creation: bool,
    /// Whether to tell what the client may do to the cluster. Versions 8 to 10.
    pub include_cluster_authorized_operations: bool,
    /// Whether to tell what the client may do to the topics. From version 8.
    pub include_topic_authorized_operations: bool,
}

impl Default for MetadataRequest {
    fn default() -> Self {
        Self {
            topics: None,
            allow_auto_topic_creation: true,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        }
    }
}

impl Wire for MetadataRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put_nullable(v >= 1, &self.topics);
        if v >= 4 {
            w.put(&self.allow_auto_topic_creation);
        }
        if (8..=10).contains(&v) {
            w.put(&self.include_cluster_authorized_operations);
        }
        if v >= 8 {
            w.put(&self.include_topic_authorized_operations);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topics: r.get_nullable(v >= 1)?,
            allow_auto_topic_creation: r.get_if(v >= 4, true)?,
            include_cluster_authorized_operations: r.get_if((8..=10).contains(&v), false)?,
            include_topic_authorized_operations: r.get_if(v >= 8, false)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic to describe.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetadataRequestTopic {
    /// Its id, or zero to go by the name. From version 10.
    pub topic_id: TopicId,
    /// Its name, or null to go by the id.
    pub name: Option<String>,
}

impl Wire for MetadataRequestTopic {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 10 {
            w.put(&self.topic_id);
        }
        w.put_nullable(v >= 10, &self.name);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topic_id: r.get_if(v >= 10, TopicId::ZERO)?,
            name: r.get_nullable(v >= 10)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The brokers, and the topics asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataResponse {
    /// How long the client is throttled, in milliseconds. From version 3.
    pub throttle_time_ms: i32,
    /// The brokers.
    pub brokers: Vec<MetadataResponseBroker>,
    /// The cluster. From version 2.
    pub cluster_id: Option<String>,
    /// The controller, one of the brokers, or -1. From version 1.
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic>,
    /// What the client may do to the cluster, as bits; the least number if not asked. Versions 8 to 10.
    pub cluster_authorized_operations: i32,
    /// What went wrong with the whole request, or 0. From version 13.
    pub error_code: i16,
}

impl Default for MetadataResponse {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            brokers: Vec::new(),
            cluster_id: None,
            controller_id: -1,
            topics: Vec::new(),
            cluster_authorized_operations: i32::MIN,
            error_code: 0,
        }
    }
}

impl Wire for MetadataResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 3 {
            w.put(&self.throttle_time_ms);
        }
        w.put(&self.brokers);
        if v >= 2 {
            w.put(&self.cluster_id);
        }
        if v >= 1 {
            w.put(&self.controller_id);
        }
        w.put(&self.topics);
        if (8..=10).contains(&v) {
            w.put(&self.cluster_authorized_operations);
        }
        if v >= 13 {
            w.put(&self.error_code);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            throttle_time_ms: r.get_if(v >= 3, 0)?,
            brokers: r.get()?,
            cluster_id: r.get_if(v >= 2, None)?,
            controller_id: r.get_if(v >= 1, -1)?,
            topics: r.get()?,
            cluster_authorized_operations: r.get_if((8..=10).contains(&v), i32::MIN)?,
            error_code: r.get_if(v >= 13, 0)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetadataResponseBroker {
    /// Its id.
    pub node_id: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack. From version 1.
    pub rack: Option<String>,
}

impl Wire for MetadataResponseBroker {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.node_id);
        w.put(&self.host);
        w.put(&self.port);
        if v >= 1 {
            w.put(&self.rack);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            node_id: r.get()?,
            host: r.get()?,
            port: r.get()?,
            rack: r.get_if(v >= 1, None)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataResponseTopic {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// Its name.
    pub name: Option<String>,
    /// Its id. From version 10.
    pub topic_id: TopicId,
    /// Whether it belongs to the broker itself. From version 1.
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do to the topic, as bits; the least number if not asked. From version 8.
    pub topic_authorized_operations: i32,
}

impl Default for MetadataResponseTopic {
    fn default() -> Self {
        Self {
            error_code: 0,
            name: None,
            topic_id: TopicId::ZERO,
            is_internal: false,
            partitions: Vec::new(),
            topic_authorized_operations: i32::MIN,
        }
    }
}

impl Wire for MetadataResponseTopic {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.error_code);
        w.put_nullable(v >= 12, &self.name);
        if v >= 10 {
            w.put(&self.topic_id);
        }
        if v >= 1 {
            w.put(&self.is_internal);
        }
        w.put(&self.partitions);
        if v >= 8 {
            w.put(&self.topic_authorized_operations);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            error_code: r.get()?,
            name: r.get_nullable(v >= 12)?,
            topic_id: r.get_if(v >= 10, TopicId::ZERO)?,
            is_internal: r.get_if(v >= 1, false)?,
            partitions: r.get()?,
            topic_authorized_operations: r.get_if(v >= 8, i32::MIN)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataResponsePartition {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// Its number.
    pub partition_index: i32,
    /// The broker that leads it, or -1.
    pub leader_id: i32,
    /// The epoch of that leader. From version 7.
    pub leader_epoch: i32,
    /// The brokers that hold it.
    pub replica_nodes: Vec<i32>,
    /// Those of them that are in sync.
    pub isr_nodes: Vec<i32>,
    /// Those of them that are down. From version 5.
    pub offline_replicas: Vec<i32>,
}

impl Default for MetadataResponsePartition {
    fn default() -> Self {
        Self {
            error_code: 0,
            partition_index: 0,
            leader_id: 0,
            leader_epoch: -1,
            replica_nodes: Vec::new(),
            isr_nodes: Vec::new(),
            offline_replicas: Vec::new(),
        }
    }
}

impl Wire for MetadataResponsePartition {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.error_code);
        w.put(&self.partition_index);
        w.put(&self.leader_id);
        if v >= 7 {
            w.put(&self.leader_epoch);
        }
        w.put(&self.replica_nodes);
        w.put(&self.isr_nodes);
        if v >= 5 {
            w.put(&self.offline_replicas);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            error_code: r.get()?,
            partition_index: r.get()?,
            leader_id: r.get()?,
            leader_epoch: r.get_if(v >= 7, -1)?,
            replica_nodes: r.get()?,
            isr_nodes: r.get()?,
            offline_replicas: r.get_if(v >= 5, Vec::new())?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
