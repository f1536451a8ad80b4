//! What a run says in the end.

use crate::oracle::Finding;
use crate::story::Moment;
use crate::tally::Tally;

/// The verdict on a run. Its exit code is [`Verdict::code`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Everything held.
    Pass,
    /// Something that must always hold inside the cluster did not.
    Invariant,
    /// Clients saw what they must not see.
    History,
    /// After everything was healed, something never came to its end.
    Liveness,
    /// The program panicked.
    Panic,
    /// The same seed ran differently a second time.
    Nondeterminism,
    /// Too little happened to say anything.
    Vacuous,
}

impl Verdict {
    /// The exit code of the simulator.
    pub const fn code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Invariant => 2,
            Verdict::History => 3,
            Verdict::Liveness => 4,
            Verdict::Panic => 5,
            Verdict::Nondeterminism => 6,
            Verdict::Vacuous => 7,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Invariant => "invariant",
            Verdict::History => "history",
            Verdict::Liveness => "liveness",
            Verdict::Panic => "panic",
            Verdict::Nondeterminism => "nondeterminism",
            Verdict::Vacuous => "vacuous",
        }
    }
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The chained hash of everything that happened.
    pub trace_hash: u64,
    /// Virtual microseconds.
    pub sim_micros: u64,
    /// Steps brokers took.
    pub steps: u64,
    /// Counts.
    pub tally: Tally,
    /// What is wrong, the gravest first.
    pub findings: Vec<Finding>,
    /// The moments that led to it, oldest first.
    pub chain: Vec<Moment>,
}
