//! What a node takes from the machine it runs on: sockets, randomness, threads, a disk.
//!
//! Everything that is not here is the same code on a machine and in the simulation of one: built with `--cfg madsim`, the
//! crate has another module of this name (`simulated`), with the same things in it, on simulated machines.

mod compute;
mod reserved;
mod thread;

use std::path::Path;
pub(crate) use std::sync::mpsc::{Receiver, Sender, channel};

pub(crate) use rustix::net::sockopt;
pub(crate) use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
pub(crate) use tokio::net::{TcpListener, TcpStream};

pub(crate) use crate::disk::Disk;
pub(crate) use compute::Compute;
pub(crate) use reserved::{Reserved, close};
pub(crate) use thread::drive;

/// How many bytes are free where this file or directory is, if the system tells.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Bytes nobody can foresee.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the system gives no randomness: {error}"),
        }
    }
    bytes
}
