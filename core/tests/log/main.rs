//! The log of one partition, on a disk in memory.

mod formats_stay_readable;
mod refuses_damage;
mod support;
mod survives_crashes;
mod takes_copies;
