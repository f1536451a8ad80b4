//! A seeded, fault-injecting simulator of a whole tidelog cluster and its clients.
//!
//! [`Scenario::draw`] and [`Plan::draw`] unfold a seed into data; [`World`] runs it on one thread in virtual time, with the
//! very core the node runs, and gives an [`Outcome`]. It reads no clock, file, variable or thread: `main.rs` does that.

mod board;
mod clock;
mod digest;
pub mod disk;
pub mod failure;
mod host;
mod lives;
mod net;
mod oracle;
mod plan;
mod program;
mod queue;
mod record;
mod scenario;
mod skips;
mod space;
mod story;
mod streams;
mod table;
mod tally;
mod trace;
mod verdict;
mod wire;
mod words;
mod workload;
mod world;
mod writes;

pub use digest::Digest;
pub use net::Weather;
pub use oracle::Finding;
pub use plan::{Fault, Plan, Target, Timed, Way};
pub use scenario::{Act, ConsumerSpec, Patience, ProducerSpec, Rates, RawSpec, SECOND, Scenario, Sizes, TopicSpec};
pub use story::{Moment, Story};
pub use tally::Tally;
pub use trace::{Line, Sink};
pub use verdict::{Outcome, Verdict};
pub use world::{Options, World};
