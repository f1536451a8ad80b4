//! Real brokers, real clients, real faults; what the clients saw is judged by [`tidelog_properties::judge`].
//!
//! Three `tidelog` processes, librdkafka in processes of its own, and a proxy on each link between nodes. A seed draws what goes
//! wrong and when; the run itself is as repeatable as real time lets it be, which is: hardly.
//!
//! | file | story |
//! |---|---|
//! | [`plan`] | which faults, when, drawn from a seed |
//! | [`proxy`] | links that can be cut in one direction |
//! | [`record`] | the history, written by many threads on one clock |
//! | [`payload`] | what a record carries, and how a change of it shows |

pub mod payload;
pub mod plan;
pub mod ports;
pub mod proxy;
pub mod record;
pub mod rng;
