//! Planted bugs, by name: each a line or two that shipped in a real system, re-injected to measure the simulator.
//!
//! Without the `mutants` feature nothing of it is compiled: [`Mutants::planted`] is constantly false and no name is in the
//! binary. With it, at most one mutant is selected at run time; none selected changes nothing.

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Entries count as persisted when their write is issued, not when it is done.
    AckBeforeSync,
    /// Votes are answered before the hard state that holds them is durable.
    VoteBeforeSync,
    /// A late or doubled append cuts entries already held.
    DuplicateAppendTruncates,
    /// A consumer sees appended batches that are not committed.
    FetchPastWatermark,
    /// A new leader starts with an empty producer table.
    ProducersForgotten,
    /// Only the last batch of a producer is remembered; five are in flight.
    SmallDedupWindow,
    /// A wiped broker takes a charter that lists its number for its own, whatever disk it lists.
    WipedKeepsIdentity,
}

/// The switchboard: which mutant is planted in this broker, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    selected: Option<Mutant>,
}

impl Mutants {
    /// Whether this bug is planted here. Constantly false in a normal build.
    #[inline]
    pub fn planted(self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        {
            self.selected == Some(mutant)
        }
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }
}

#[cfg(feature = "mutants")]
mod registry {
    use super::{Mutant, Mutants};

    /// Every mutant with its name, where such a bug was first seen, and what it does in a sentence.
    pub const REGISTRY: &[(Mutant, &str, &str)] = &[
        (Mutant::AckBeforeSync, "ack-before-sync", "entries count as persisted before their write is done"),
        (Mutant::VoteBeforeSync, "vote-before-sync", "a vote is answered before it is durable"),
        (Mutant::DuplicateAppendTruncates, "duplicate-append-truncates", "a late append cuts entries already held"),
        (Mutant::FetchPastWatermark, "fetch-past-watermark", "a consumer sees appended, uncommitted batches"),
        (Mutant::ProducersForgotten, "producers-forgotten", "a new leader starts with an empty producer table"),
        (Mutant::SmallDedupWindow, "small-dedup-window", "only the last batch of a producer is remembered"),
        (Mutant::WipedKeepsIdentity, "wiped-keeps-identity", "a wiped broker rejoins as the voter it was"),
    ];

    impl Mutants {
        /// The switchboard with the mutant of this name planted, if there is one.
        pub fn named(name: &str) -> Option<Self> {
            let (mutant, ..) = REGISTRY.iter().find(|(_, known, _)| *known == name)?;
            Some(Self { selected: Some(*mutant) })
        }
    }
}

#[cfg(feature = "mutants")]
pub use registry::REGISTRY;
