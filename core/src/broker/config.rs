//! What a broker is told before its first step: lasting identity, sizes, and what is new at every start.

use crate::controller::configs::TopicConfig;
use crate::id::{DirectoryId, NodeId};
use crate::limits::{PRODUCER_EXPIRES_AFTER_MS, PRODUCERS_MAX};
use crate::mutants::Mutants;
use crate::partition::producers::Bounds;
use crate::time::Duration;

/// Lasting identity and settings of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// This broker.
    pub node: NodeId,
    /// This broker's formatted disk.
    pub directory: DirectoryId,
    /// The brokers that form the cluster, as all of them are told: this one among them or not. None is a single node.
    pub voters: Vec<NodeId>,
    /// The host clients are told to connect to.
    pub host: String,
    /// The port clients are told to connect to.
    pub port: u16,
    /// The rack of the broker, if it has one.
    pub rack: Option<String>,
    /// Whether Metadata requests of producers create topics that are not there (Kafka: `auto.create.topics.enable`).
    pub auto_create: bool,
    /// Sizes and times.
    pub settings: Settings,
    /// Planted bugs; none in a normal build.
    pub mutants: Mutants,
}

/// What is new at every start of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boot {
    /// How often this directory was started, this time included; from 1. Durably counted by the host before the first step.
    pub counter: u64,
    /// A seed no other incarnation of any broker has.
    pub seed: u64,
}

/// Sizes and times of a broker, in one place; [`Settings::node`] for servers, the simulator draws its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The time between two ticks of a Raft group.
    pub tick: Duration,
    /// The fewest ticks without a leader before a replica campaigns.
    pub election_ticks_min: u32,
    /// One more than the most ticks without a leader before a replica campaigns.
    pub election_ticks_max: u32,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: u32,
    /// The size of a journal file in bytes, once much is written.
    pub journal_file_bytes: u64,
    /// The size of the first journal file of a life; each that is filled makes the next twice as large.
    pub journal_file_bytes_first: u64,
    /// What the files of the journal may take when little is written; what is above it is given back then.
    pub journal_rest_bytes: u64,
    /// How often the journal looks whether little is written: less than a first file holds.
    pub journal_look_every: Duration,
    /// The most bytes gathered into one block of the journal; one larger frame makes a block of its own.
    pub journal_block_bytes: u64,
    /// How many journal files are used before groups are asked to release the oldest.
    pub journal_files_target: u32,
    /// How many journal files there may be at most; beyond it produces are refused. Meant for what no checkpoint releases: a
    /// full disk, a member that is away.
    pub journal_files_max: u32,
    /// The alignment of journal blocks: the disk's sector size in bytes.
    pub sector_bytes: u32,
    /// The distance of two entries in the sparse index of a segment, in bytes.
    pub index_interval_bytes: u64,
    /// A segment is sealed before it grows beyond this, even if its topic allows more (`segment.bytes`).
    pub segment_bytes_max: u64,
    /// How many bytes a segment file is first allocated; then it doubles.
    pub segment_allocate_bytes_first: u64,
    /// By how many bytes a segment file is allocated at a time, at most.
    pub segment_allocate_bytes: u64,
    /// How many unwritten bytes of a segment start a write.
    pub segment_write_bytes: u64,
    /// How many bytes, over all segments, may be applied and not yet written before connections that produce are muted; they
    /// are heard again at half of it.
    pub unwritten_bytes_max: u64,
    /// With how many journal files in use connections that produce are muted while a checkpoint is under way, which will
    /// release some; they are heard again at one less.
    pub journal_files_busy: u32,
    /// How many bytes of recent batches all partitions together keep in memory.
    pub tail_bytes: u64,
    /// How many bytes of entries all groups together keep in memory for followers; who needs older ones copies files.
    pub window_bytes: u64,
    /// How many bytes of entries one message to a follower carries, or one entry if that has more.
    pub append_bytes: u64,
    /// How many bytes of a file a follower asks for at a time.
    pub copy_piece_bytes: u32,
    /// How many bytes of entries a group applies before it checkpoints.
    pub checkpoint_bytes: u64,
    /// How long a journal is idle before it is sealed.
    pub seal_after: Duration,
    /// How often a leader tells the other brokers that it leads, and a broker without a cluster that it waits.
    pub gossip_every: Duration,
    /// How long a request to the controller, or a read barrier, may take before it is given up.
    pub request_timeout: Duration,
    /// The most producers remembered per partition; the longest silent one makes room. Decides what is appended: the same on every
    /// broker of a cluster, for ever.
    pub producers_max: u32,
    /// How long a producer may be silent in a partition before it is forgotten there (Kafka: `producer.id.expiration.ms`). As above.
    pub producer_expires_after: Duration,
}

impl Settings {
    /// What partitions remember of producers.
    pub(super) fn producers(&self) -> Bounds {
        Bounds { producers: self.producers_max as usize, silence_ms: self.producer_expires_after.0 / 1_000 }
    }

    /// How long the segments of a topic of this configuration grow.
    pub(super) fn segment_bytes(&self, topic: &TopicConfig) -> u64 {
        u64::try_from(topic.segment_bytes).unwrap_or(u64::MAX).min(self.segment_bytes_max)
    }

    /// What a server uses.
    pub fn node() -> Self {
        Self {
            tick: Duration::from_millis(50),
            election_ticks_min: 10,
            election_ticks_max: 20,
            heartbeat_ticks: 2,
            journal_file_bytes: 64 * 1024 * 1024,
            journal_file_bytes_first: 4 * 1024 * 1024,
            journal_rest_bytes: crate::limits::JOURNAL_REST_BYTES,
            journal_look_every: Duration::from_secs(10),
            journal_block_bytes: crate::limits::JOURNAL_BLOCK_BYTES_MAX,
            journal_files_target: 6,
            journal_files_max: 32,
            sector_bytes: 4096,
            index_interval_bytes: 64 * 1024,
            segment_bytes_max: u64::MAX,
            segment_allocate_bytes_first: 16 * 1024,
            segment_allocate_bytes: 64 * 1024 * 1024,
            unwritten_bytes_max: 128 * 1024 * 1024,
            journal_files_busy: 12,
            segment_write_bytes: 256 * 1024,
            tail_bytes: 64 * 1024 * 1024,
            window_bytes: 64 * 1024 * 1024,
            append_bytes: 1024 * 1024,
            copy_piece_bytes: 1024 * 1024,
            checkpoint_bytes: 128 * 1024 * 1024,
            seal_after: Duration::from_secs(1),
            gossip_every: Duration::from_millis(500),
            request_timeout: Duration::from_secs(5),
            producers_max: PRODUCERS_MAX,
            producer_expires_after: Duration::from_millis(PRODUCER_EXPIRES_AFTER_MS),
        }
    }

    /// What a simulation uses unless it draws its own: everything small, so that every boundary is met often.
    pub fn simulation() -> Self {
        Self {
            tick: Duration::from_millis(20),
            election_ticks_min: 8,
            election_ticks_max: 16,
            heartbeat_ticks: 3,
            journal_file_bytes: 128 * 1024,
            journal_file_bytes_first: 32 * 1024,
            journal_rest_bytes: 256 * 1024,
            journal_look_every: Duration::from_millis(500),
            journal_block_bytes: crate::limits::JOURNAL_BLOCK_BYTES_MAX,
            journal_files_target: 3,
            journal_files_max: 64,
            sector_bytes: 512,
            index_interval_bytes: 1024,
            segment_bytes_max: u64::MAX,
            segment_allocate_bytes_first: 1024,
            segment_allocate_bytes: 16 * 1024,
            unwritten_bytes_max: 8 * 1024,
            journal_files_busy: 8,
            segment_write_bytes: 2 * 1024,
            tail_bytes: 64 * 1024,
            window_bytes: 32 * 1024,
            append_bytes: 1024 * 1024,
            copy_piece_bytes: 4 * 1024,
            checkpoint_bytes: 64 * 1024,
            seal_after: Duration::from_millis(300),
            gossip_every: Duration::from_millis(200),
            request_timeout: Duration::from_secs(2),
            producers_max: PRODUCERS_MAX,
            producer_expires_after: Duration::from_millis(PRODUCER_EXPIRES_AFTER_MS),
        }
    }
}
