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
//! | [`cluster`] | the nodes as processes |
//! | [`nemesis`], [`scout`] | faults as they begin and end, and whom they are aimed at |
//! | [`power`] | disks that lose power, mounted by FUSE |
//! | [`context`], [`options`], [`out`], [`ports`], [`rng`] | what they share |
//! | [`python`], [`java`] | clients as processes |
//! | [`load`], [`read`], [`probe`] | what clients do, and what is made of what they are told |
//! | [`run`] | one run from the first process to the verdict |
//! | [`verdict`] | what it comes to |

pub mod cluster;
pub mod context;
pub mod java;
pub mod load;
pub mod nemesis;
pub mod options;
pub mod out;
pub mod payload;
pub mod plan;
pub mod ports;
pub mod power;
pub mod probe;
pub mod proxy;
pub mod python;
pub mod read;
pub mod record;
pub mod rng;
pub mod run;
pub mod scout;
pub mod verdict;
