//! A broken promise: its name, one sentence for a user of Kafka, and the events that prove it.

use std::collections::BTreeMap;
use std::fmt;

/// A promise was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The name of the promise, as the scoreboards list it (`lost-write`).
    pub kind: &'static str,
    /// What happened, in one sentence.
    pub sentence: String,
    /// The events that prove it, oldest first; about six lines at most.
    pub evidence: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.sentence)?;
        self.evidence.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// The kinds in `violations`, sorted, each once.
pub fn kinds(violations: &[Violation]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = violations.iter().map(|violation| violation.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Gathers violations, keeps the first of each kind and place whole, and counts the others: a broken log breaks a promise
/// ten thousand times, and nobody reads ten thousand proofs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    found: Vec<(Violation, u64)>,
    places: BTreeMap<(&'static str, String), usize>,
}

impl Verdict {
    /// Adds a violation of `kind` at `place`. `proof` is asked only for the first.
    pub(crate) fn add(&mut self, kind: &'static str, place: String, proof: impl FnOnce() -> (String, Vec<String>)) {
        if let Some(&at) = self.places.get(&(kind, place.clone())) {
            self.found[at].1 += 1;
            return;
        }
        let (sentence, evidence) = proof();
        self.places.insert((kind, place), self.found.len());
        self.found.push((Violation { kind, sentence, evidence }, 0));
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The violations, in the order found.
    pub(crate) fn into_violations(self) -> Vec<Violation> {
        let finish = |(mut violation, more): (Violation, u64)| {
            if more > 0 {
                violation.evidence.push(format!("and {more} more like this in the same place"));
            }
            violation
        };
        self.found.into_iter().map(finish).collect()
    }
}
