//! The pure broker core of tidelog: everything a broker decides, and nothing it does.
//!
//! One door: [`Broker::step`](broker::Broker::step) takes the time and an [`Input`](effect::Input) and gives
//! [`Effects`](effect::Effects). The core never names tokio, a file, a socket, a clock or a thread; hosts do.

pub mod broker;
pub mod client;
pub mod compute;
pub mod controller;
pub mod effect;
pub mod event;
pub mod formation;
pub mod id;
pub mod journal;
pub mod kafka;
pub mod limits;
pub mod log;
pub mod marks;
pub mod mutants;
pub mod partition;
pub mod peer;
pub mod raft;
pub mod rng;
pub mod time;
