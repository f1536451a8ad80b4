//! The names of the random streams. A draw added to one never moves another; a number here is never reused.

/// Sizes, rates and workload of a run.
pub(crate) const SCENARIO: u64 = 1;
/// The timed faults of a run.
pub(crate) const PLAN: u64 = 2;
/// Peer links: `[LINK, from, to]`.
pub(crate) const LINK: u64 = 3;
/// Client connections: `[WIRE, client]`.
pub(crate) const WIRE: u64 = 4;
/// How long disk operations take: `[DISK, node]`.
pub(crate) const DISK: u64 = 5;
/// What is left of a disk after a crash: `[CRASH, node]`.
pub(crate) const CRASH: u64 = 6;
/// How long a step takes: `[PROCESS, node]`.
pub(crate) const PROCESS: u64 = 7;
/// Offsets and drifts of clocks: `[CLOCK, node, incarnation]`.
pub(crate) const CLOCK: u64 = 8;
/// The seed a broker boots with: `[BOOT, node, incarnation]`.
pub(crate) const BOOT: u64 = 9;
/// What clients do: `[WORKLOAD, client]`.
pub(crate) const WORKLOAD: u64 = 10;
/// Choices a fault makes when it strikes: `[NEMESIS]`.
pub(crate) const NEMESIS: u64 = 11;
/// Directory ids: `[IDENTITY, node, disk]`.
pub(crate) const IDENTITY: u64 = 12;
/// When machines are switched on: `[START]`.
pub(crate) const START: u64 = 14;
/// When the end of a process is noticed by the others: `[LOST]`.
pub(crate) const LOST: u64 = 15;
/// Power losses in the worst moments: `[AMBUSH]`.
pub(crate) const AMBUSH: u64 = 13;
/// How often disks are full when brokers start.
pub(crate) const FULL_STARTS: u64 = 23;
/// When, and for how long: `[FULL_START_PLAN]`.
pub(crate) const FULL_START_PLAN: u64 = 24;
/// Power losses while a formation file is written: `[WORD]`.
pub(crate) const WORD: u64 = 16;
