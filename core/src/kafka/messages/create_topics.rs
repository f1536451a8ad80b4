//! CreateTopics: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Topics to make.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTopicsRequest {
    /// The topics.
    pub topics: Vec<CreatableTopic>,
    /// How long to wait for them, in milliseconds.
    pub timeout_ms: i32,
    /// Whether to check only, and make nothing.
    pub validate_only: bool,
}

impl Default for CreateTopicsRequest {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            timeout_ms: 60000,
            validate_only: false,
        }
    }
}

impl Wire for CreateTopicsRequest {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topics);
        w.put(&self.timeout_ms);
        w.put(&self.validate_only);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topics: r.get()?,
            timeout_ms: r.get()?,
            validate_only: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CreatableTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the default, or if they are assigned.
    pub num_partitions: i32,
    /// How many replicas of each; -1 for the default, or if they are assigned.
    pub replication_factor: i16,
    /// Which brokers to put which partition on; empty lets the broker choose.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// The topic's configuration.
    pub configs: Vec<CreatableTopicConfig>,
}

impl Wire for CreatableTopic {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.num_partitions);
        w.put(&self.replication_factor);
        w.put(&self.assignments);
        w.put(&self.configs);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            num_partitions: r.get()?,
            replication_factor: r.get()?,
            assignments: r.get()?,
            configs: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Which brokers to put a partition on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CreatableReplicaAssignment {
    /// The partition.
    pub partition_index: i32,
    /// The brokers.
    pub broker_ids: Vec<i32>,
}

impl Wire for CreatableReplicaAssignment {
    fn write(&self, w: &mut Writer) {
        w.put(&self.partition_index);
        w.put(&self.broker_ids);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            partition_index: r.get()?,
            broker_ids: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// One setting of a topic to make.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CreatableTopicConfig {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
}

impl Wire for CreatableTopicConfig {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.value);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            value: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the making of topics went.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CreateTopicsResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// The results, by topic.
    pub topics: Vec<CreatableTopicResult>,
}

impl Wire for CreateTopicsResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.throttle_time_ms);
        w.put(&self.topics);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            throttle_time_ms: r.get()?,
            topics: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the making of one topic went.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatableTopicResult {
    /// The topic's name.
    pub name: String,
    /// The id it got. From version 7.
    pub topic_id: TopicId,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The error in words.
    pub error_message: Option<String>,
    /// How many partitions it has. From version 5.
    pub num_partitions: i32,
    /// How many replicas each has. From version 5.
    pub replication_factor: i16,
    /// The configuration it got; null if it may not be told. From version 5.
    pub configs: Option<Vec<CreatableTopicConfigs>>,
    /// Why the configuration is not told, or 0. From version 5.
    pub topic_config_error_code: i16,
}

impl Default for CreatableTopicResult {
    fn default() -> Self {
        Self {
            name: String::new(),
            topic_id: TopicId::ZERO,
            error_code: 0,
            error_message: None,
            num_partitions: -1,
            replication_factor: -1,
            configs: None,
            topic_config_error_code: 0,
        }
    }
}

impl Wire for CreatableTopicResult {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.name);
        if v >= 7 {
            w.put(&self.topic_id);
        }
        w.put(&self.error_code);
        w.put(&self.error_message);
        if v >= 5 {
            w.put(&self.num_partitions);
        }
        if v >= 5 {
            w.put(&self.replication_factor);
        }
        if v >= 5 {
            w.put(&self.configs);
        }
        w.tags(|tags| {
            if v >= 5 && self.topic_config_error_code != 0 {
                tags.put(0, &self.topic_config_error_code);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            name: r.get()?,
            topic_id: r.get_if(v >= 7, TopicId::ZERO)?,
            error_code: r.get()?,
            error_message: r.get()?,
            num_partitions: r.get_if(v >= 5, -1)?,
            replication_factor: r.get_if(v >= 5, -1)?,
            configs: r.get_if(v >= 5, None)?,
            topic_config_error_code: 0,
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 5 => this.topic_config_error_code = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// One setting that a topic got.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatableTopicConfigs {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// Whether it can not be changed.
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 4 the broker's file, 5 the default.
    pub config_source: i8,
    /// Whether the value is a secret.
    pub is_sensitive: bool,
}

impl Default for CreatableTopicConfigs {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: None,
            read_only: false,
            config_source: -1,
            is_sensitive: false,
        }
    }
}

impl Wire for CreatableTopicConfigs {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.value);
        w.put(&self.read_only);
        w.put(&self.config_source);
        w.put(&self.is_sensitive);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            value: r.get()?,
            read_only: r.get()?,
            config_source: r.get()?,
            is_sensitive: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
