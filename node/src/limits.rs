//! Every bound of the node around the core has a name here; the core's are in [`tidelog_core::limits`].

use std::time::Duration;

/// The most client connections at a time; fewer if the system allows us fewer files ([`Shares`](crate::shares::Shares)).
pub const CONNECTIONS_MAX: usize = 10_000;
/// The most data files kept open at a time; fewer as above.
pub const FILES_OPEN_MAX: usize = 512;
/// Files and sockets that are none of those with a share of their own: a generous guess.
pub const FILES_OTHER_MAX: usize = 48;
/// With fewer open files than this, a node does not start.
pub const FILES_NEEDED: usize = 256;
/// How many connections may wait to be accepted; the system may allow fewer.
pub const BACKLOG: u32 = 1024;
/// The most bytes of requests that were read and wait for the driver, over all connections; readers wait beyond it.
pub const INBOX_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// The most answers of one connection that wait to be sent; it is not read from beyond it.
pub const RESPONSES_UNSENT_MAX: usize = 16;
/// A connection on which nothing came for so long, and nothing is in flight, is closed (Kafka: `connections.max.idle.ms`).
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(600);
/// A client that takes nothing of its answers for so long is closed.
pub const CONNECTION_STALLED_MAX: Duration = Duration::from_secs(600);
/// A large request of which nothing more comes for so long closes its connection, because it holds room.
pub const FRAME_STALLED_MAX: Duration = Duration::from_secs(30);
/// A silent client is asked whether it is still there after so long.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// The most bytes of large requests, of which only a part has come, over all connections; readers wait beyond it.
pub const FRAMES_BYTES_MAX: u32 = 512 * 1024 * 1024;
/// A request with less than this to come is read without asking for room.
pub const FRAME_BYTES_FREE: usize = 64 * 1024;
/// How much is read from a socket at a time.
pub const READ_BYTES: usize = 64 * 1024;
/// With less space than this, a buffer is not read into.
pub const READ_BYTES_MIN: usize = 4 * 1024;
/// How many bytes of answers are put together for one write.
pub const WRITE_BYTES: usize = 1024 * 1024;
/// Threads that run the core's computations.
pub const COMPUTE_THREADS: usize = 2;
/// How long connections have to take their last answers when the node stops.
pub const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long a health check waits for the driver.
pub const HEALTH_WAIT_MAX: Duration = Duration::from_secs(2);
/// How many bytes of a health check are read.
pub const HEALTH_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How many health checks are answered at a time; fewer if the system allows us few files.
pub const HEALTH_CONNECTIONS_MAX: usize = 64;
/// How many inputs of a command's client wait, and lines of stdin; connections and the reader wait beyond it.
pub const CLIENT_INPUTS_MAX: usize = 64;
/// How long a command waits for a broker's door to open, and how often it tries where nobody listens.
pub const CLIENT_REACH_MAX: Duration = Duration::from_secs(5);
/// See [`CLIENT_REACH_MAX`].
pub const CLIENT_REACH_PAUSE: Duration = Duration::from_millis(50);
/// How long a command waits for a topic to be there with its leaders, and how often it looks.
pub const CLIENT_TOPIC_MAX: Duration = Duration::from_secs(5);
/// See [`CLIENT_TOPIC_MAX`].
pub const CLIENT_TOPIC_PAUSE: Duration = Duration::from_millis(100);
/// How many records of a command wait to be acknowledged.
pub const CLIENT_RECORDS_OPEN_MAX: usize = 20_000;
/// How many bytes of records of a command wait to be acknowledged, give or take one record.
pub const CLIENT_BYTES_OPEN_MAX: usize = 8 * 1024 * 1024;
/// The longest line that is read as a record.
pub const CLIENT_LINE_BYTES_MAX: u64 = 99 * 1024 * 1024;
/// How long a line waits for others, in ms.
pub const CLIENT_LINGER_MS: u64 = 5;
/// How large a command's batches become.
pub const CLIENT_BATCH_BYTES: usize = 256 * 1024;
/// How many records a command takes at once.
pub const CLIENT_POLL_RECORDS: usize = 1_000;
/// How long a command waits for records before it looks again, in ms.
pub const CLIENT_POLL_MS: u64 = 1_000;
/// How long a command waits for brokers to take its last bytes.
pub const CLIENT_FAREWELL_MAX: Duration = Duration::from_secs(5);
/// The most connections that brokers, or who says so, have to this one at a time; fewer if the system allows us few files.
pub const PEER_CONNECTIONS_MAX: usize = 64;
/// How long another broker has to accept, and as long to greet.
pub const PEER_GREETING_MAX: Duration = Duration::from_secs(1);
/// How long to wait after the first failure to reach a broker. The wait doubles with each further one.
pub const PEER_RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to reach a broker. A connection that held for longer begins anew.
pub const PEER_RETRY_MAX: Duration = Duration::from_secs(1);
/// A broker that takes or acknowledges nothing of what was sent for so long is connected to anew.
pub const PEER_STALLED_MAX: Duration = Duration::from_secs(5);
/// The most bytes that wait to be sent to one broker; a single larger envelope may wait alone.
pub const PEER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most envelopes that wait to be sent to one broker.
pub const PEER_QUEUE_ENVELOPES_MAX: usize = 4096;
/// The most bytes of envelopes that were read and wait for the driver, of all brokers; readers wait beyond it.
pub const PEER_INBOX_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// How much memory is taken for a frame on its word alone.
pub const PEER_FRAME_BYTES_AHEAD: usize = 1024 * 1024;
/// How long the last envelopes have to leave when the node stops.
pub const PEER_FAREWELL_MAX: Duration = Duration::from_millis(900);
/// How often a node looks whether a full disk has room for its first files.
pub const ROOM_LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it says that it waits for that.
pub const ROOM_TOLD_EVERY: Duration = Duration::from_secs(10);
