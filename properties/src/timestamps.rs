//! Judges what stands in topics that bound the times of their records: each record was once offered to a broker whose clock
//! allowed it, in a batch of which the same holds.
//!
//! Feed it every batch that reaches a broker for such a topic, with the clock of that broker, and then everything that consumers
//! read there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tidelog_core::id::NodeId;

use crate::violation::{Verdict, Violation};

/// The timestamp of a record without one: it is never too old.
const NONE: i64 = -1;

/// The checker. See the [module](self).
#[derive(Debug, Default)]
pub struct Timestamps {
    /// Values that a broker was allowed to take.
    allowed: BTreeSet<u64>,
    /// The last offer of a value that no broker was allowed to take.
    refused: BTreeMap<u64, String>,
    verdict: Verdict,
}

impl Timestamps {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of these values and timestamps reaches `node`, which may take timestamps of this range now.
    pub fn offered(&mut self, node: NodeId, records: &[(u64, i64)], range: &RangeInclusive<i64>) {
        let outside = records.iter().find(|(_, timestamp)| *timestamp != NONE && !range.contains(timestamp));
        for (value, timestamp) in records {
            match outside {
                None => drop(self.allowed.insert(*value)),
                Some((other, misdated)) => {
                    let offer = format!(
                        "value {value} with timestamp {timestamp} reached broker {node} in a batch with value {other}, of {misdated}, \
                         when that might take what lies within [{}, {}]",
                        range.start(),
                        range.end()
                    );
                    self.refused.insert(*value, offer);
                }
            }
        }
    }

    /// A consumer has read this value in `topic`, whose bounds never change.
    pub fn read(&mut self, topic: &str, value: u64) {
        if self.allowed.contains(&value) {
            return;
        }
        let Some(offer) = self.refused.get(&value) else { return };
        self.verdict.add("misdated", topic.to_owned(), || {
            let sentence = format!(
                "Value {value} stands in {topic}, although its batch had a record older or younger than the topic allows by the clock \
                 of every broker that it ever reached."
            );
            (sentence, vec![offer.clone()])
        });
    }

    /// The promises broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.verdict.clone().into_violations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_clock_allowed_must_not_be_read() {
        let mut times = Timestamps::new();
        times.offered(NodeId(1), &[(1, 10), (2, 30)], &(0..=20));
        times.offered(NodeId(1), &[(3, 20), (4, -1)], &(5..=20));
        times.read("t", 3);
        times.read("t", 4);
        times.read("t", 9);
        assert_eq!(times.violations(), []);
        times.read("t", 1);
        assert_eq!(times.violations().len(), 1, "it was in a batch with one that is too young");
        assert_eq!(times.violations()[0].kind, "misdated");
    }

    #[test]
    fn another_clock_may_allow_it() {
        let mut times = Timestamps::new();
        times.offered(NodeId(1), &[(1, 10)], &(20..=30));
        times.offered(NodeId(2), &[(1, 10)], &(10..=30));
        times.read("t", 1);
        assert_eq!(times.violations(), []);
    }
}
