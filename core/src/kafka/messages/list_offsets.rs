//! ListOffsets: the request, the answer, and what they hold.
//!
//! Generated from `schema.txt` by `cargo run -p tidelog-core --example generate_codec`: change that, not this.

use crate::kafka::wire::{Flaw, Reader, Wire, Writer};

/// Time stamps to find offsets for.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ListOffsetsRequest {
    /// The follower that asks; -1 for a consumer.
    pub replica_id: i32,
    /// 0 sees up to the high watermark, 1 only what is committed. From version 2.
    pub isolation_level: i8,
    /// What to find, by topic.
    pub topics: Vec<ListOffsetsTopic>,
}

impl Wire for ListOffsetsRequest {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.replica_id);
        if v >= 2 {
            w.put(&self.isolation_level);
        }
        w.put(&self.topics);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            replica_id: r.get()?,
            isolation_level: r.get_if(v >= 2, 0)?,
            topics: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to find in one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ListOffsetsTopic {
    /// The topic.
    pub name: String,
    /// What to find, by partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

impl Wire for ListOffsetsTopic {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What to find in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsPartition {
    /// The partition.
    pub partition_index: i32,
    /// The leader epoch the client knows; -1 skips the check (KIP-320). From version 4.
    pub current_leader_epoch: i32,
    /// A time stamp in milliseconds, or -1 latest, -2 earliest, -3 greatest time stamp, -4 and -5 for tiered logs.
    pub timestamp: i64,
}

impl Default for ListOffsetsPartition {
    fn default() -> Self {
        Self {
            partition_index: 0,
            current_leader_epoch: -1,
            timestamp: 0,
        }
    }
}

impl Wire for ListOffsetsPartition {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.partition_index);
        if v >= 4 {
            w.put(&self.current_leader_epoch);
        }
        w.put(&self.timestamp);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            partition_index: r.get()?,
            current_leader_epoch: r.get_if(v >= 4, -1)?,
            timestamp: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// The offsets found.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ListOffsetsResponse {
    /// How long the client is throttled, in milliseconds. From version 2.
    pub throttle_time_ms: i32,
    /// What was found, by topic.
    pub topics: Vec<ListOffsetsTopicResponse>,
}

impl Wire for ListOffsetsResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        if v >= 2 {
            w.put(&self.throttle_time_ms);
        }
        w.put(&self.topics);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            throttle_time_ms: r.get_if(v >= 2, 0)?,
            topics: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What was found in one topic.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ListOffsetsTopicResponse {
    /// The topic.
    pub name: String,
    /// What was found, by partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

impl Wire for ListOffsetsTopicResponse {
    fn write(&self, w: &mut Writer) {
        w.put(&self.name);
        w.put(&self.partitions);
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let this = Self {
            name: r.get()?,
            partitions: r.get()?,
        };
        r.no_tags()?;
        Ok(this)
    }
}

/// What was found in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition_index: i32,
    /// What went wrong, or 0.
    pub error_code: i16,
    /// The time stamp of the record found, or -1.
    pub timestamp: i64,
    /// The offset found, or -1.
    pub offset: i64,
    /// The leader epoch of the record found, or -1. From version 4.
    pub leader_epoch: i32,
}

impl Default for ListOffsetsPartitionResponse {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            timestamp: -1,
            offset: -1,
            leader_epoch: -1,
        }
    }
}

impl Wire for ListOffsetsPartitionResponse {
    fn write(&self, w: &mut Writer) {
        let v = w.version();
        w.put(&self.partition_index);
        w.put(&self.error_code);
        w.put(&self.timestamp);
        w.put(&self.offset);
        if v >= 4 {
            w.put(&self.leader_epoch);
        }
        w.no_tags();
    }

    fn read(r: &mut Reader) -> Result<Self, Flaw> {
        let v = r.version();
        let this = Self {
            partition_index: r.get()?,
            error_code: r.get()?,
            timestamp: r.get()?,
            offset: r.get()?,
            leader_epoch: r.get_if(v >= 4, -1)?,
        };
        r.no_tags()?;
        Ok(this)
    }
}
