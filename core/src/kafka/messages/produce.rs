//! Produce: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Records, Wire, Writer};

/// Batches of records to append to partitions.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ProduceRequest {
    /// The transactional id of the producer, if it has one.
    pub transactional_id: Option<String>,
    /// Who must have the records before the answer: 0 nobody (and no answer), 1 the leader, -1 all in-sync replicas.
    pub acks: i16,
    /// How long to wait for replicas, in milliseconds.
    pub timeout_ms: i32,
    /// What to append, by topic.
    pub topic_data: Vec<TopicProduceData>,
}

impl Wire for ProduceRequest {
    fn write(&self, w: &mut Writer) {
        w.put(&self.transactional_id);
        w.put(&self.acks);
        w.put(&self.timeout_ms);
        w.put(&self.topic_data);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            transactional_id: r.get()?,
            acks: r.get()?,
            timeout_ms: r.get()?,
            topic_data: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to append to one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TopicProduceData {
    /// The topic.
    pub name: String,
    /// What to append, by partition.
    pub partition_data: Vec<PartitionProduceData>,
}

impl Wire for TopicProduceData {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.partition_data);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            partition_data: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to append to one partition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PartitionProduceData {
    /// The partition.
    pub index: i32,
    /// One record batch.
    pub records: Option<Records>,
}

impl Wire for PartitionProduceData {
    fn write(&self, w: &mut Writer) {
        w.put(&self.index);
        w.put(&self.records);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            index: r.get()?,
            records: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the appends went.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ProduceResponse {
    /// The results, by topic.
    pub responses: Vec<TopicProduceResponse>,
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// Where the leaders named in the results listen (KIP-951). From version 10.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Wire for ProduceResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.responses);
        w.put(&self.throttle_time_ms);
        w.tags(|tags| {
            if v >= 10 && !self.node_endpoints.is_empty() {
                tags.put(0, &self.node_endpoints);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            responses: r.get()?,
            throttle_time_ms: r.get()?,
            node_endpoints: Vec::new(),
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 10 => this.node_endpoints = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// How the appends to one topic went.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TopicProduceResponse {
    /// The topic.
    pub name: String,
    /// The results, by partition.
    pub partition_responses: Vec<PartitionProduceResponse>,
}

impl Wire for TopicProduceResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.partition_responses);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            partition_responses: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// How the append to one partition went.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProduceResponse {
    /// The partition.
    pub index: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The offset of the first record.
    pub base_offset: i64,
    /// The broker's time stamp if the topic uses LogAppendTime, else -1.
    pub log_append_time_ms: i64,
    /// The first offset of the log. From version 5.
    pub log_start_offset: i64,
    /// The records that made the batch be refused (KIP-467). From version 8.
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    /// The error in words. From version 8.
    pub error_message: Option<String>,
    /// Who leads the partition, for a client that asked the wrong broker (KIP-951). From version 10.
    pub current_leader: LeaderIdAndEpoch,
}

impl Default for PartitionProduceResponse {
    fn default() -> Self {
        Self {
            index: 0,
            error_code: 0,
            base_offset: 0,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
        }
    }
}

impl Wire for PartitionProduceResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.index);
        w.put(&self.error_code);
        w.put(&self.base_offset);
        w.put(&self.log_append_time_ms);
        if v >= 5 {
            w.put(&self.log_start_offset);
        }
        if v >= 8 {
            w.put(&self.record_errors);
        }
        if v >= 8 {
            w.put(&self.error_message);
        }
        w.tags(|tags| {
            if v >= 10 && self.current_leader != LeaderIdAndEpoch::default() {
                tags.put(0, &self.current_leader);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            index: r.get()?,
            error_code: r.get()?,
            base_offset: r.get()?,
            log_append_time_ms: r.get()?,
            log_start_offset: r.get_if(v >= 5, -1)?,
            record_errors: r.get_if(v >= 8, Vec::new())?,
            error_message: r.get_if(v >= 8, None)?,
            current_leader: LeaderIdAndEpoch::default(),
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 10 => this.current_leader = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// One record that made a batch be refused.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct BatchIndexAndErrorMessage {
    /// The place of the record in the batch.
    pub batch_index: i32,
    /// Why it was refused.
    pub batch_index_error_message: Option<String>,
}

impl Wire for BatchIndexAndErrorMessage {
    fn write(&self, w: &mut Writer) {
        w.put(&self.batch_index);
        w.put(&self.batch_index_error_message);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            batch_index: r.get()?,
            batch_index_error_message: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Who leads a partition, in Produce and Fetch answers (KIP-951).
#[derive(Clone, Debug, PartialEq)]
pub struct LeaderIdAndEpoch {
    /// The leader, or -1 if unknown.
    pub leader_id: i32,
    /// Its epoch, or -1 if unknown.
    pub leader_epoch: i32,
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self {
            leader_id: -1,
            leader_epoch: -1,
        }
    }
}

impl Wire for LeaderIdAndEpoch {
    fn write(&self, w: &mut Writer) {
        w.put(&self.leader_id);
        w.put(&self.leader_epoch);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            leader_id: r.get()?,
            leader_epoch: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Where a broker listens, in Produce and Fetch answers (KIP-951).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NodeEndpoint {
    /// The broker.
    pub node_id: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<String>,
}

impl Wire for NodeEndpoint {
    fn write(&self, w: &mut Writer) {
        w.put(&self.node_id);
        w.put(&self.host);
        w.put(&self.port);
        w.put(&self.rack);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            node_id: r.get()?,
            host: r.get()?,
            port: r.get()?,
            rack: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
