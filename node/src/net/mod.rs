//! Client connections: accepts them once they can be answered, and joins each to the driver.
//!
//! A connection is two tasks. The reader cuts the stream into frames and decodes them, so that checksums and validation are
//! done before the driver sees a request; the writer encodes answers and sends them in the order in which they were given.
//!
//! - What was read and waits for the driver, and what is being read, takes room from a bounded whole ([`Rooms`]).
//! - A connection whose answers are not taken, or that the broker muted, is not read from ([`Gate`]).
//! - The driver hears `Opened` first, `Closed` last and once, whatever happens, a panic of a task included.

mod acceptor;
mod connection;
mod gate;
mod listener;
mod reader;
mod writer;

pub(crate) use acceptor::Acceptor;
pub(crate) use gate::Link;
pub(crate) use listener::{Listener, Port, Rooms, all_closed, room, take_room};
pub(crate) use writer::Pending;
