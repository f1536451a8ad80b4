//! The node of tidelog: a thin host around [`tidelog_core`], on tokio and a few threads.
//!
//! It accepts, frames, decodes, steps, writes and syncs. What any of it means is the core's to say: an `if` about the state of
//! the protocol in this crate is a bug.
//!
//! | module | is |
//! |---|---|
//! | `cli` | the commands |
//! | [`options`], [`cluster`], [`error`] | what a node is told, and why it does not start |
//! | `server` | a running node |
//! | [`driver`] | owns the broker |
//! | [`record`] | what a broker was told, written down and run again |
//! | [`data_dir`], [`disk`], `shares` | whose data this is; the files; how many of them there may be |
//! | `shell`: `net`, [`peer`], `admin` | connections with clients, with other brokers; health checks |
//! | `host`, `clock` | sockets, randomness and threads of the machine; time |
//! | [`client`] | the core's client over TCP |
//!
//! Built with `--cfg madsim`, this crate runs on simulated machines: `simulated` takes the place of `host` and `server`, and
//! there are no commands. Everything else is the same code.

pub mod client;
pub mod cluster;
pub mod data_dir;
pub mod disk;
pub mod driver;
pub mod error;
pub mod limits;
pub mod options;
pub mod peer;
pub mod record;

mod admin;
mod clock;
mod net;
#[cfg(not(madsim))]
mod shares;
mod shell;

#[cfg(not(madsim))]
pub mod cli;
#[cfg(not(madsim))]
mod host;
#[cfg(not(madsim))]
mod porch;
#[cfg(not(madsim))]
pub mod server;

#[cfg(madsim)]
pub mod simulated;
#[cfg(madsim)]
use simulated as host;
