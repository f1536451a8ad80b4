//! What a run did, counted: so that a run that tested nothing says so.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of one run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Faults that struck, by kind, and what they touched.
    pub faults: BTreeMap<String, u64>,
    /// Records acknowledged to producers.
    pub acked: u64,
    /// Records read by consumers.
    pub polled: u64,
    /// Elections won, the first of each group not counted.
    pub leader_changes: u64,
    /// Power losses that met data not yet synced.
    pub dirty_crashes: u64,
    /// Second or very late copies of peer messages that reached a running broker.
    pub stray_messages: u64,
    /// Power losses of all brokers at once.
    pub blackouts: u64,
    /// Partitions between brokers.
    pub partitions: u64,
    /// Rare situations met, by name.
    pub marks: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn fault(&mut self, kind: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn mark(&mut self, name: &str) {
        match self.marks.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.marks.insert(name.to_owned(), 1);
            }
        }
    }

    /// Whether a fault changed what a broker, its disk or its connections hold: any but a jump of a wall clock.
    pub fn touched_state(&self) -> bool {
        self.faults.iter().any(|(kind, count)| *count > 0 && kind != "clock_jump")
    }
}
