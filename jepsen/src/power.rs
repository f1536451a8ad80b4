//! Disks that lose power with their nodes.

/// The disks of all nodes. The page cache of this machine survives, so far: losing power is then no more than a kill of all at once.
#[derive(Debug, Default)]
pub struct Disks;

impl Disks {
    /// From now on nothing is written.
    pub fn cut(&mut self) {}

    /// What was not synced goes.
    pub fn lose(&mut self) {}

    /// The disks are there again.
    pub fn restore(&mut self) {}
}
