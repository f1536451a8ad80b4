//! Disks that lose power with their nodes: a small file system in memory, mounted by FUSE where each node has its data.
//!
//! | file | story |
//! |---|---|
//! | `files` | what was written, and what of it survives |
//! | `wire` | FUSE as bytes |
//! | `mount` | a mount, and who answers for it |
//!
//! Where nothing can be mounted (no `/dev/fuse`, no right to), losing power is no more than a kill of all nodes at once: the page
//! cache of the machine survives that. [`Disks::real`] tells which of the two it is.

mod files;
mod mount;
mod wire;

use std::io;
use std::path::Path;

use crate::rng::Rng;
use mount::Disk;

/// The disks of all nodes.
#[derive(Debug)]
pub struct Disks {
    disks: Vec<Disk>,
    rng: Rng,
    at_stake: u64,
}

impl Disks {
    /// No disks but those of this machine.
    pub fn none() -> Self {
        Self { disks: Vec::new(), rng: Rng::new(0, "disks"), at_stake: 0 }
    }

    /// An empty disk on each of these directories. Disks that lie answer durable writes before they
    /// are.
    pub fn mount<'a>(directories: impl Iterator<Item = &'a Path>, seed: u64, lies: bool) -> io::Result<Self> {
        let disks = directories.map(|directory| Disk::mount(directory, lies)).collect::<io::Result<_>>()?;
        Ok(Self { disks, rng: Rng::new(seed, "disks"), at_stake: 0 })
    }

    /// Whether something is lost when the power is.
    pub fn real(&self) -> bool {
        !self.disks.is_empty()
    }

    /// How many sectors and names were written and not synced when the power was lost, all times together.
    pub fn at_stake(&self) -> u64 {
        self.at_stake
    }

    /// What is asked of any disk waits.
    pub fn hold(&self) {
        self.disks.iter().for_each(Disk::hold);
    }

    /// What waited fails: whoever asked is to end.
    pub fn off(&self) {
        self.disks.iter().for_each(Disk::off);
    }

    /// What was not synced goes, and the disks are on again.
    pub fn lose_power(&mut self) {
        for disk in &self.disks {
            self.at_stake += disk.lose_power(&mut self.rng);
        }
    }

    /// Unmounts them, and leaves their files where they were mounted.
    pub fn keep(mut self) -> io::Result<()> {
        self.disks.drain(..).try_for_each(Disk::keep)
    }
}
