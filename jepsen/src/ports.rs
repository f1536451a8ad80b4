//! Ports that are free now, and that no outgoing connection is given.
//!
//! A client that tries again and again while its node is down could otherwise be given the node's own port and talk to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below what Linux gives to outgoing connections (32768 and above).
const FIRST: u16 = 15_000;
const END: u16 = 32_000;
const TRIES: u32 = 10_000;

/// A listener on such a port of the loopback.
pub fn listen() -> io::Result<TcpListener> {
    for _ in 0..TRIES {
        let mut bytes = [0; 2];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let port = FIRST + u16::from_ne_bytes(bytes) % (END - FIRST);
        if filled == bytes.len()
            && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        {
            return Ok(listener);
        }
    }
    Err(io::Error::other("no port between 15000 and 32000 is free"))
}

/// So many different addresses that were free a moment ago.
pub fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> = (0..count).map(|_| listen()).collect::<io::Result<_>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
