//! Every bound of the system has a name here.

/// The largest request a client may send, frame length excluded (Kafka: `socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: u32 = 100 * 1024 * 1024;
/// The largest envelope another broker may send.
pub const ENVELOPE_BYTES_MAX: u32 = 128 * 1024 * 1024;
/// How much payload is gathered into one envelope; one larger message makes an envelope of its own.
pub const ENVELOPE_PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest topic name (Kafka: `Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// The most partitions one topic may have.
pub const TOPIC_PARTITIONS_MAX: i32 = 10_000;
/// The most bytes one compressed batch may unfold to.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most records of a refused batch that an answer names one by one.
pub const RECORD_ERRORS_MAX: usize = 1_000;
/// The most bytes that a compressed batch is unfolded to only to name the records for which it is refused.
pub const RECORD_ERRORS_UNFOLDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many batches of a producer are remembered per partition (KIP-98: five may be in flight).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;
/// The most producers remembered per partition; the longest silent one makes room.
pub const PRODUCERS_MAX: u32 = 100_000;
/// How long a producer may be silent in a partition before it is forgotten there (Kafka: `producer.id.expiration.ms`).
pub const PRODUCER_EXPIRES_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;
/// The most bytes one Fetch answer carries, whatever the client allows.
pub const FETCH_RESPONSE_BYTES_MAX: u32 = 55 * 1024 * 1024;
/// The most requests of one connection that may be unanswered before it is muted.
pub const CONNECTION_REQUESTS_MAX: usize = 256;
/// The most bytes of produce requests of one connection that may be unanswered before it is muted.
pub const CONNECTION_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The largest block of the journal; one larger frame makes a block of its own.
pub const JOURNAL_BLOCK_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What the journal of a server takes of the disk when little is written: the file that is written and one to turn to. Under load
/// it grows, and what is above this is given back afterwards, unless it holds what no checkpoint can release yet.
pub const JOURNAL_REST_BYTES: u64 = 128 * 1024 * 1024;
/// The longest a client may let a Fetch wait.
pub const FETCH_WAIT_MS_MAX: i32 = 300_000;
/// The most brokers that may vote in the controller group.
pub const VOTERS_MAX: usize = 32;
/// The most brokers that ask to be admitted, or are told apart in complaints, at a time.
pub const STRANGERS_MAX: usize = 64;
/// The most replicas one group may have, learners and both halves of a joint configuration included: every broker as it is,
/// and as it shall be.
pub const GROUP_MEMBERS_MAX: usize = 2_000;
/// How many leaders are remembered of partitions that the image does not know (yet).
pub const STRANGE_ROUTES_MAX: usize = 10_000;
/// The largest state blob that is copied from another broker: it is held in memory.
pub const COPIED_STATE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How many pieces of a file a follower asks for at once.
pub const COPY_PULLS_MAX: usize = 4;
/// How many pieces one broker reads for its followers at once.
pub const COPY_READS_MAX: usize = 4;
/// How many groups of one broker copy files from their leaders at once.
pub const COPIES_IN_MAX: usize = 8;
/// The largest piece of a file that one message carries.
pub const COPY_PIECE_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// After so many ticks without an answer a piece of a file is asked for again, and an offer made again.
pub const COPY_RETRY_TICKS: u32 = 10;
/// How much one broker reads in a tick to find out whether its segments are what was written.
pub const PATROL_BYTES: u64 = 256 * 1024;
/// So many times what all groups may keep in memory one group takes in that can not apply it; then it waits for files.
pub const LOST_WINDOWS_MAX: u64 = 4;
/// After so many ticks a leader whose files are damaged asks again another to take over.
pub const HAND_OVER_AGAIN_TICKS: u32 = 400;
/// Whoever can not apply campaigns all the same when it heard of no leader for so many longest election times.
pub const LAST_RESORT_ELECTIONS: u32 = 4;
/// A lease on files ends when its follower was silent for so many longest election times.
pub const LEASE_ELECTIONS: u32 = 8;
/// So many times the budget of entries in memory may be taken once more, over all groups, by those that followers will need
/// when they have copied what they copy now.
pub const LENT_WINDOW_BUDGETS: u64 = 2;
/// A partition's first replica is asked to lead when it could have led for so many longest election times (10 seconds, as nodes
/// are set).
pub const PREFER_ELECTIONS: u32 = 10;

/// An idempotent producer has at most five batches of a partition under way (as Kafka's brokers remember five): so many behind the first.
pub const BATCHES_BEHIND_MAX: usize = 4;
/// So many batches in a row of a producer that may begin anywhere are turned away because of one before them.
pub const BEGINNERS_HELD_MAX: usize = 16;
/// How many producers are remembered, over all connections and partitions, of which a batch was turned away.
pub const TURNED_AWAY_MAX: usize = 100_000;
