//! What a run comes to: a verdict, an exit code, and figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tidelog_properties::history::{Op, Outcome};
use tidelog_properties::{History, Violation, judge};

use crate::context::Notes;
use crate::plan::Kind;

/// Fewer acknowledged records than this prove nothing.
pub const ACKNOWLEDGED_MIN: u64 = 100;

/// How a run ended, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Something here was missing, or broke, and nothing is known of the cluster.
    Environment,
    /// A promise was broken.
    Violation,
    /// The cluster did not come back after all faults had ended, or a node ended by itself.
    Liveness,
    /// Too little happened to prove anything.
    Vacuous,
    /// Every promise was kept.
    Pass,
}

impl Verdict {
    /// What the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Environment => 1,
            Self::Violation => 3,
            Self::Liveness => 4,
            Self::Vacuous => 7,
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict.code())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Environment => "environment",
            Self::Violation => "violation",
            Self::Liveness => "liveness",
            Self::Vacuous => "vacuous",
        })
    }
}

/// What was counted in a history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Records that were to be sent.
    pub sent: u64,
    /// Of them, acknowledged.
    pub acknowledged: u64,
    /// Of them, refused for good.
    pub failed: u64,
    /// Of them, with an outcome that nobody knows.
    pub unknown: u64,
    /// Producer processes.
    pub sessions: u64,
    /// Polls that returned.
    pub polls: u64,
    /// Records that they returned.
    pub read: u64,
    /// Answers to ListOffsets.
    pub offsets: u64,
    /// The longest time between two acknowledgements, and when it began, in microseconds.
    pub pause: (u64, u64),
    /// The same of one partition, the worst of them.
    pub partition_pause: (u64, u64),
}

impl Figures {
    /// Counts.
    pub fn of(history: &History) -> Self {
        let mut figures = Self::default();
        let mut sessions = BTreeSet::new();
        let mut acknowledgements: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
        for record in history.records() {
            match (&record.op, &record.completed) {
                (Op::Send(send), completed) => {
                    figures.sent += 1;
                    sessions.insert((send.producer, send.session));
                    match completed {
                        Some((moment, Outcome::Sent { .. })) => {
                            figures.acknowledged += 1;
                            acknowledgements.entry(send.partition).or_default().push(moment.time);
                        }
                        Some((_, Outcome::Failed { .. })) => figures.failed += 1,
                        Some(_) | None => figures.unknown += 1,
                    }
                }
                (Op::Poll(_), Some((_, Outcome::Polled { records, .. }))) => {
                    figures.polls += 1;
                    figures.read += records.len() as u64;
                }
                (Op::Offsets { .. }, Some((_, Outcome::Offsets { .. }))) => figures.offsets += 1,
                _ => {}
            }
        }
        figures.sessions = sessions.len() as u64;
        figures.pause = longest_pause(acknowledgements.values().flatten().copied().collect());
        figures.partition_pause = acknowledgements.into_values().map(longest_pause).max().unwrap_or_default();
        figures
    }
}

/// The longest pause between two of these moments, and when it began.
fn longest_pause(mut times: Vec<u64>) -> (u64, u64) {
    times.sort_unstable();
    let pauses = times.windows(2).map(|pair| (pair[1].saturating_sub(pair[0]), pair[0]));
    pauses.max().unwrap_or_default()
}

/// Everything there is to say about a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was counted.
    pub figures: Figures,
    /// Promises broken.
    pub violations: Vec<Violation>,
    /// What did not come back, a sentence each.
    pub stuck: Vec<String>,
    /// Why nothing is proved.
    pub vacuous: Vec<String>,
    /// For each kind of fault how often it began and how often it struck.
    pub faults: BTreeMap<Kind, (u64, u64)>,
    /// What was noticed beside the history.
    pub notes: Notes,
    /// How long faults were made.
    pub time: Duration,
}

impl Report {
    /// Judges a history. `whole`: whether the final reads came to the end; if not, what they did not see is not held against
    /// anybody.
    pub fn judge(history: &History, whole: bool) -> Self {
        let mut violations = judge(history);
        if !whole {
            violations.retain(|violation| violation.kind != "unseen");
        }
        let figures = Figures::of(history);
        let mut vacuous = Vec::new();
        if figures.acknowledged < ACKNOWLEDGED_MIN {
            vacuous.push(format!(
                "{} records were acknowledged, and {ACKNOWLEDGED_MIN} are the least that proves anything",
                figures.acknowledged
            ));
        }
        Self { figures, violations, vacuous, ..Self::default() }
    }

    /// Adds what was noticed beside the history.
    pub fn noticed(&mut self, notes: Notes) {
        for sentence in &notes.broken_sequences {
            let evidence = vec!["the log of the producer has more of it".to_owned()];
            self.violations.push(Violation { kind: "sequence-broken", sentence: sentence.clone(), evidence });
        }
        self.stuck.extend(notes.fatal.iter().cloned());
        self.notes = notes;
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match (self.violations.is_empty(), self.stuck.is_empty(), self.vacuous.is_empty()) {
            (false, _, _) => Verdict::Violation,
            (true, false, _) => Verdict::Liveness,
            (true, true, false) => Verdict::Vacuous,
            (true, true, true) => Verdict::Pass,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = &self.figures;
        writeln!(
            f,
            "records: {} sent in {} sessions, {} acknowledged, {} failed, {} unknown",
            it.sent, it.sessions, it.acknowledged, it.failed, it.unknown
        )?;
        writeln!(f, "reads: {} records in {} polls, {} answers about offsets", it.read, it.polls, it.offsets)?;
        let seconds = |micros: u64| format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000);
        writeln!(
            f,
            "longest pause of acknowledged writes: {}, from {} on; of one partition: {}, from {} on",
            seconds(it.pause.0),
            seconds(it.pause.1),
            seconds(it.partition_pause.0),
            seconds(it.partition_pause.1)
        )?;
        if !self.faults.is_empty() {
            let mut line = String::new();
            for (kind, (begun, struck)) in &self.faults {
                write!(line, " {} {struck}/{begun}", kind.name())?;
            }
            writeln!(f, "faults that struck, of those that began:{line}")?;
            writeln!(
                f,
                "leader changes seen: {}; consumers told that their position is not there: {}",
                self.notes.leader_changes, self.notes.positions_lost
            )?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        for sentence in &self.stuck {
            writeln!(f, "stuck: {sentence}")?;
        }
        for sentence in &self.vacuous {
            writeln!(f, "vacuous: {sentence}")?;
        }
        write!(f, "verdict: {}", self.verdict())
    }
}
