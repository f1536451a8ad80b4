//! Simulated machines, for whole nodes in one deterministic run: in the place of `host`, and of the server.
//!
//! Tasks, time, machines and the network are madsim's: one seed is one run. What madsim does not have is here: sockets that cut
//! what they carry anywhere, fill up and are reset (`socket`), and a disk whose content outlives the process (`disk`). A node is
//! one future ([`run`]), the initial task of a machine of madsim's; killing the machine kills the process.
//!
//! Not simulated: losses of power (the disk forgets nothing that it said was done), and threads: computations are done at once.

mod compute;
mod disk;
mod node;
mod reserved;
mod socket;

use madsim::rand::RngCore;

pub use disk::Platter;
pub use node::run;
pub use socket::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, cut};

pub(crate) use tokio::sync::mpsc::{
    UnboundedReceiver as Receiver, UnboundedSender as Sender, unbounded_channel as channel,
};

pub(crate) use compute::Compute;
pub(crate) use disk::Disk;
pub(crate) use reserved::{Reserved, close};
pub(crate) use socket::sockopt;

/// Bytes that are the seed's to choose.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    madsim::rand::thread_rng().fill_bytes(&mut bytes);
    bytes
}

/// Nobody knows how large a simulated disk is.
pub(crate) fn free_bytes(_: &std::path::Path) -> Option<u64> {
    None
}
