//! The node of tidelog: a thin host around [`tidelog_core`], on tokio and a few threads.
//!
//! It accepts, frames, decodes, steps, writes and syncs. What any of it means is the core's to say: an `if` about the state of
//! the protocol in this crate is a bug.
//!
//! | module | is |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`options`], [`cluster`], [`error`] | what a node is told, and why it does not start |
//! | [`server`] | a running node |
//! | [`driver`] | the one thread that owns the broker |
//! | [`record`] | what a broker was told, written down and run again |
//! | [`data_dir`], [`disk`] | whose data this is; the files |
//! | `net`, [`peer`], `admin` | connections with clients, with other brokers; health checks |
//! | `compute`, `clock` | threads for pure functions; time |

pub mod cli;
pub mod cluster;
pub mod data_dir;
pub mod disk;
pub mod driver;
pub mod error;
pub mod limits;
pub mod options;
pub mod peer;
pub mod record;
pub mod server;

mod admin;
mod clock;
mod compute;
mod net;
