//! OffsetForLeaderEpoch: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Leader epochs to find the ends of.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochRequest {
    /// The follower that asks; -1 for a consumer, -2 for a debug consumer. From version 3.
    pub replica_id: i32,
    /// What to find, by topic.
    pub topics: Vec<OffsetForLeaderTopic>,
}

impl Default for OffsetForLeaderEpochRequest {
    fn default() -> Self {
        Self {
            replica_id: -2,
            topics: Vec::new(),
        }
    }
}

impl Wire for OffsetForLeaderEpochRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 3 {
            w.put(&self.replica_id);
        }
        w.put(&self.topics);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            replica_id: r.get_if(v >= 3, -2)?,
            topics: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to find in one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OffsetForLeaderTopic {
    /// The topic.
    pub topic: String,
    /// What to find, by partition.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

impl Wire for OffsetForLeaderTopic {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topic);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topic: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to find in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch the client knows; -1 skips the check (KIP-320).
    pub current_leader_epoch: i32,
    /// The epoch to find the end of.
    pub leader_epoch: i32,
}

impl Default for OffsetForLeaderPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            current_leader_epoch: -1,
            leader_epoch: 0,
        }
    }
}

impl Wire for OffsetForLeaderPartition {
    fn write(&self, w: &mut Writer) {
        w.put(&self.partition);
        w.put(&self.current_leader_epoch);
        w.put(&self.leader_epoch);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            partition: r.get()?,
            current_leader_epoch: r.get()?,
            leader_epoch: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The ends of leader epochs.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OffsetForLeaderEpochResponse {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// What was found, by topic.
    pub topics: Vec<OffsetForLeaderTopicResult>,
}

impl Wire for OffsetForLeaderEpochResponse {
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

/// What was found in one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OffsetForLeaderTopicResult {
    /// The topic.
    pub topic: String,
    /// What was found, by partition.
    pub partitions: Vec<OffsetForLeaderPartitionResult>,
}

impl Wire for OffsetForLeaderTopicResult {
    fn write(&self, w: &mut Writer) {
        w.put(&self.topic);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            topic: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What was found in one partition (Kafka's schema calls it EpochEndOffset too).
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderPartitionResult {
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The partition.
    pub partition: i32,
    /// The largest epoch up to the one asked for, or -1.
    pub leader_epoch: i32,
    /// The offset after its last record, or -1.
    pub end_offset: i64,
}

impl Default for OffsetForLeaderPartitionResult {
    fn default() -> Self {
        Self {
            error_code: 0,
            partition: 0,
            leader_epoch: -1,
            end_offset: -1,
        }
    }
}

impl Wire for OffsetForLeaderPartitionResult {
    fn write(&self, w: &mut Writer) {
        w.put(&self.error_code);
        w.put(&self.partition);
        w.put(&self.leader_epoch);
        w.put(&self.end_offset);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            error_code: r.get()?,
            partition: r.get()?,
            leader_epoch: r.get()?,
            end_offset: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
