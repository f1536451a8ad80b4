//! What must always hold of a distributed log: histories, and the checkers that judge them.
//!
//! - [`history`]: what clients asked and were told, as data; written and read as JSON lines.
//! - [`client`]: judges a history. Knows Kafka's promises, and nothing of brokers.
//! - [`whitebox`]: judges the events of brokers as they happen. Knows Raft's promises, and nothing of clients.
//! - [`responses`]: judges that requests are answered once and in line.
//! - [`sequences`]: judges what idempotent producers are told of batches that travel one behind the other.
//! - [`producers`]: judges what partitions make of the batches of idempotent producers, and what those are told.
//! - [`gaps`]: judges what stands in partitions by the sequences of its producers.
//! - [`timestamps`]: judges what stands in topics that bound the times of their records.
//! - [`violation`]: what all of them return.
//!
//! Three judges use the same code: property tests, the simulator, and tests of real clusters. A checker never drops what it
//! cannot explain: the inexplicable is a violation too. Not here yet: transactions, consumer groups, compaction, connect.

pub mod client;
pub mod fields;
pub mod gaps;
pub mod history;
pub mod producers;
pub mod responses;
pub mod sequences;
pub mod timestamps;
pub mod violation;
pub mod whitebox;

pub use client::judge;
pub use gaps::Gaps;
pub use history::History;
pub use producers::Producers;
pub use responses::Responses;
pub use sequences::Sequences;
pub use timestamps::Timestamps;
pub use violation::Violation;
pub use whitebox::Whitebox;
