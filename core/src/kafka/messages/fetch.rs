//! Fetch: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::id::TopicId;
use crate::kafka::messages::{LeaderIdAndEpoch, NodeEndpoint};
use crate::kafka::wire::{Flaw, Reader, Records, Wire, Writer};

/// Where to read records from.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchRequest {
    /// The follower that asks; -1 for a consumer. Up to version 14.
    pub replica_id: i32,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes to wait for.
    pub min_bytes: i32,
    /// How many bytes to answer at most; the first batch comes whole all the same (KIP-74).
    pub max_bytes: i32,
    /// 0 reads up to the high watermark, 1 only what is committed.
    pub isolation_level: i8,
    /// The fetch session (KIP-227). From version 7.
    pub session_id: i32,
    /// The epoch of the fetch session; -1 is none. From version 7.
    pub session_epoch: i32,
    /// What to read.
    pub topics: Vec<FetchTopic>,
    /// What to take out of the fetch session. From version 7.
    pub forgotten_topics_data: Vec<ForgottenTopic>,
    /// The rack of the consumer (KIP-392). From version 11.
    pub rack_id: String,
    /// The cluster the asker believes to talk to. From version 12.
    pub cluster_id: Option<String>,
    /// The follower that asks. From version 15.
    pub replica_state: ReplicaState,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics_data: Vec::new(),
            rack_id: String::new(),
            cluster_id: None,
            replica_state: ReplicaState::default(),
        }
    }
}

impl Wire for FetchRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v <= 14 {
            w.put(&self.replica_id);
        }
        w.put(&self.max_wait_ms);
        w.put(&self.min_bytes);
        w.put(&self.max_bytes);
        w.put(&self.isolation_level);
        if v >= 7 {
            w.put(&self.session_id);
        }
        if v >= 7 {
            w.put(&self.session_epoch);
        }
        w.put(&self.topics);
        if v >= 7 {
            w.put(&self.forgotten_topics_data);
        }
        if v >= 11 {
            w.put(&self.rack_id);
        }
        w.tags(|tags| {
            if v >= 12 && self.cluster_id.is_some() {
                tags.put(0, &self.cluster_id);
            }
            if v >= 15 && self.replica_state != ReplicaState::default() {
                tags.put(1, &self.replica_state);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            replica_id: r.get_if(v <= 14, -1)?,
            max_wait_ms: r.get()?,
            min_bytes: r.get()?,
            max_bytes: r.get()?,
            isolation_level: r.get()?,
            session_id: r.get_if(v >= 7, 0)?,
            session_epoch: r.get_if(v >= 7, -1)?,
            topics: r.get()?,
            forgotten_topics_data: r.get_if(v >= 7, Vec::new())?,
            rack_id: r.get_if(v >= 11, String::new())?,
            cluster_id: None,
            replica_state: ReplicaState::default(),
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 12 => this.cluster_id = r.get()?,
                1 if v >= 15 => this.replica_state = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// A follower that fetches.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaState {
    /// The follower; -1 for a consumer.
    pub replica_id: i32,
    /// The epoch of the follower's broker.
    pub replica_epoch: i64,
}

impl Default for ReplicaState {
    fn default() -> Self {
        Self {
            replica_id: -1,
            replica_epoch: -1,
        }
    }
}

impl Wire for ReplicaState {
    fn write(&self, w: &mut Writer) {
        w.put(&self.replica_id);
        w.put(&self.replica_epoch);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            replica_id: r.get()?,
            replica_epoch: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to read of one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FetchTopic {
    /// The topic's name. Up to version 12.
    pub topic: String,
    /// The topic's id. From version 13.
    pub topic_id: TopicId,
    /// What to read, by partition.
    pub partitions: Vec<FetchPartition>,
}

impl Wire for FetchTopic {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v <= 12 {
            w.put(&self.topic);
        }
        if v >= 13 {
            w.put(&self.topic_id);
        }
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topic: r.get_if(v <= 12, String::new())?,
            topic_id: r.get_if(v >= 13, TopicId::ZERO)?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to read of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch the client knows; -1 skips the check (KIP-320). From version 9.
    pub current_leader_epoch: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// The epoch of the last record the asker has, or -1 (KIP-595). From version 12.
    pub last_fetched_epoch: i32,
    /// The first offset of the follower's log; -1 for a consumer. From version 5.
    pub log_start_offset: i64,
    /// How many bytes to answer at most for this partition.
    pub partition_max_bytes: i32,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
        }
    }
}

impl Wire for FetchPartition {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.partition);
        if v >= 9 {
            w.put(&self.current_leader_epoch);
        }
        w.put(&self.fetch_offset);
        if v >= 12 {
            w.put(&self.last_fetched_epoch);
        }
        if v >= 5 {
            w.put(&self.log_start_offset);
        }
        w.put(&self.partition_max_bytes);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            partition: r.get()?,
            current_leader_epoch: r.get_if(v >= 9, -1)?,
            fetch_offset: r.get()?,
            last_fetched_epoch: r.get_if(v >= 12, -1)?,
            log_start_offset: r.get_if(v >= 5, -1)?,
            partition_max_bytes: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to take out of a fetch session.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ForgottenTopic {
    /// The topic's name. Versions 7 to 12.
    pub topic: String,
    /// The topic's id. From version 13.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<i32>,
}

impl Wire for ForgottenTopic {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if (7..=12).contains(&v) {
            w.put(&self.topic);
        }
        if v >= 13 {
            w.put(&self.topic_id);
        }
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topic: r.get_if((7..=12).contains(&v), String::new())?,
            topic_id: r.get_if(v >= 13, TopicId::ZERO)?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Records.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FetchResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong with the whole request, or 0. From version 7.
    pub error_code: i16,
    /// The fetch session, or 0 if there is none. From version 7.
    pub session_id: i32,
    /// The records, by topic.
    pub responses: Vec<FetchableTopicResponse>,
    /// Where the leaders named in the results listen (KIP-951). From version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Wire for FetchResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.throttle_time_ms);
        if v >= 7 {
            w.put(&self.error_code);
        }
        if v >= 7 {
            w.put(&self.session_id);
        }
        w.put(&self.responses);
        w.tags(|tags| {
            if v >= 16 && !self.node_endpoints.is_empty() {
                tags.put(0, &self.node_endpoints);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            throttle_time_ms: r.get()?,
            error_code: r.get_if(v >= 7, 0)?,
            session_id: r.get_if(v >= 7, 0)?,
            responses: r.get()?,
            node_endpoints: Vec::new(),
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 16 => this.node_endpoints = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// Records of one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FetchableTopicResponse {
    /// The topic's name. Up to version 12.
    pub topic: String,
    /// The topic's id. From version 13.
    pub topic_id: TopicId,
    /// The records, by partition.
    pub partitions: Vec<PartitionData>,
}

impl Wire for FetchableTopicResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v <= 12 {
            w.put(&self.topic);
        }
        if v >= 13 {
            w.put(&self.topic_id);
        }
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            topic: r.get_if(v <= 12, String::new())?,
            topic_id: r.get_if(v >= 13, TopicId::ZERO)?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionData {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The offset after the last record that can be read.
    pub high_watermark: i64,
    /// The offset after the last record that belongs to no open transaction.
    pub last_stable_offset: i64,
    /// The first offset of the log. From version 5.
    pub log_start_offset: i64,
    /// The aborted transactions in the range; null for who reads uncommitted records.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica to read from instead, or -1 (KIP-392). From version 11.
    pub preferred_read_replica: i32,
    /// Whole record batches.
    pub records: Option<Records>,
    /// Where the asker's log parts from this one (KIP-595). From version 12.
    pub diverging_epoch: EpochEndOffset,
    /// Who leads the partition, for a client that asked the wrong broker. From version 12.
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to load instead (KIP-630). From version 12.
    pub snapshot_id: SnapshotId,
}

impl Default for PartitionData {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: 0,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Some(Default::default()),
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
        }
    }
}

impl Wire for PartitionData {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.partition_index);
        w.put(&self.error_code);
        w.put(&self.high_watermark);
        w.put(&self.last_stable_offset);
        if v >= 5 {
            w.put(&self.log_start_offset);
        }
        w.put(&self.aborted_transactions);
        if v >= 11 {
            w.put(&self.preferred_read_replica);
        }
        w.put(&self.records);
        w.tags(|tags| {
            if v >= 12 && self.diverging_epoch != EpochEndOffset::default() {
                tags.put(0, &self.diverging_epoch);
            }
            if v >= 12 && self.current_leader != LeaderIdAndEpoch::default() {
                tags.put(1, &self.current_leader);
            }
            if v >= 12 && self.snapshot_id != SnapshotId::default() {
                tags.put(2, &self.snapshot_id);
            }
        });
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let mut this = Self {
            partition_index: r.get()?,
            error_code: r.get()?,
            high_watermark: r.get()?,
            last_stable_offset: r.get()?,
            log_start_offset: r.get_if(v >= 5, -1)?,
            aborted_transactions: r.get()?,
            preferred_read_replica: r.get_if(v >= 11, -1)?,
            records: r.get()?,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: SnapshotId::default(),
        };
        r.tags(|tag, r| {
            match tag {
                0 if v >= 12 => this.diverging_epoch = r.get()?,
                1 if v >= 12 => this.current_leader = r.get()?,
                2 if v >= 12 => this.snapshot_id = r.get()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(this)
    }
}

/// An aborted transaction whose records a committed read must skip.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first offset.
    pub first_offset: i64,
}

impl Wire for AbortedTransaction {
    fn write(&self, w: &mut Writer) {
        w.put(&self.producer_id);
        w.put(&self.first_offset);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            producer_id: r.get()?,
            first_offset: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// Where a leader epoch ends.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

impl Default for EpochEndOffset {
    fn default() -> Self {
        Self {
            epoch: -1,
            end_offset: -1,
        }
    }
}

impl Wire for EpochEndOffset {
    fn write(&self, w: &mut Writer) {
        w.put(&self.epoch);
        w.put(&self.end_offset);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            epoch: r.get()?,
            end_offset: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotId {
    /// The offset after the last record it covers.
    pub end_offset: i64,
    /// The epoch of that record.
    pub epoch: i32,
}

impl Default for SnapshotId {
    fn default() -> Self {
        Self {
            end_offset: -1,
            epoch: -1,
        }
    }
}

impl Wire for SnapshotId {
    fn write(&self, w: &mut Writer) {
        w.put(&self.end_offset);
        w.put(&self.epoch);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            end_offset: r.get()?,
            epoch: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
