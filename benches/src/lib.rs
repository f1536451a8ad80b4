//! What the benchmarks share: requests, a blocking client, a node as a process, figures.
//!
//! A benchmark prints, beside its figures, how busy the machine was; what is compared is compared within one run, as a
//! ratio. Nothing here judges a figure.

pub mod client;
pub mod figures;
pub mod house;
pub mod librdkafka;
pub mod node;
pub mod requests;
pub mod sink;
