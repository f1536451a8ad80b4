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
/// What is damaged, and which messages are kept back, of a run: `[HARM]`.
pub(crate) const HARM: u64 = 45;
/// Copies of messages that are kept for bad moments: `[HOARD]`.
pub(crate) const HOARD: u64 = 46;
/// When a damaged disk is tried again: `[TRIAL]`.
pub(crate) const TRIAL: u64 = 47;
/// Which clients wait for answers, however long they take: `[PATIENCE]`.
pub(crate) const PATIENCE: u64 = 30;
/// What happens after the heal: `[ENDING]`.
pub(crate) const ENDING: u64 = 31;
/// Which runs are of one broker: `[ALONE]`.
pub(crate) const ALONE: u64 = 32;
/// The clients of the acts after the heal: `[ACTORS, act]`.
pub(crate) const ACTORS: u64 = 33;
/// Disks that are slow while a topic is deleted: `[SLOW_DELETION]`.
pub(crate) const SLOW_DELETION: u64 = 34;
/// How often disks are full when brokers start.
pub(crate) const FULL_STARTS: u64 = 23;
/// When, and for how long: `[FULL_START_PLAN]`.
pub(crate) const FULL_START_PLAN: u64 = 24;
/// Power losses while a formation file is written: `[WORD]`.
pub(crate) const WORD: u64 = 16;
/// Which runs have clients that write batches by hand: `[RAW]`; and what those do: `[RAW, client]`.
pub(crate) const RAW: u64 = 20;
/// Which runs have partitions that soon forget producers: `[FORGETFUL]`.
pub(crate) const FORGETFUL: u64 = 21;
/// Which producers leave out sequences: `[SKIPS]`; and where: `[SKIPS, client]`.
pub(crate) const SKIPS: u64 = 26;
/// Which topics are made late: `[LATE]`.
pub(crate) const LATE: u64 = 27;
/// Which topics bound the times of their records: `[TIMES]`; and records of times that can not be: `[TIMES, producer]`.
pub(crate) const TIMES: u64 = 28;
