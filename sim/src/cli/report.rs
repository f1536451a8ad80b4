//! What is printed.

use serde_json::{Value, json};
use tidelog_sim::{Outcome, Verdict};

use super::args::Plant;

/// The command that shows a run again.
pub(crate) fn replay_command(seed: u64, plant: &Plant) -> String {
    let features = if plant.words().is_empty() { "" } else { " --features mutants" };
    format!("cargo run --release{features} --bin tidelog-sim -- replay {seed:#x}{}", plant.words())
}

fn seconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000_000, micros / 1_000 % 1_000)
}

/// A run that failed: what, where, why, and how to see it again.
pub(crate) fn failure(outcome: &Outcome, replay: &str) -> String {
    let mut text = format!(
        "{}  seed {:#x}  at {} s of simulated time, step {}\n",
        outcome.verdict.name().to_uppercase(),
        outcome.seed,
        seconds(outcome.sim_micros),
        outcome.steps
    );
    match (outcome.findings.first(), outcome.verdict) {
        (Some(finding), _) => {
            text += &format!("{} [{}]\n", finding.sentence, finding.property);
            finding.evidence.iter().take(3).for_each(|line| text += &format!("  {line}\n"));
        }
        (None, Verdict::Vacuous) => {
            text += &format!("only {} records were acknowledged, or no fault touched anything\n", outcome.tally.acked);
        }
        (None, Verdict::Nondeterminism) => text += "the same seed took another course the second time\n",
        (None, _) => {}
    }
    outcome.chain.iter().for_each(|moment| text += &format!("  {moment}\n"));
    text + &format!("replay: {replay}\n")
}

/// From so many seeds on, a rare situation that was never met is a blind spot worth a line.
const MARKS_EXPECTED_AFTER_SEEDS: usize = 100;

/// A run or a campaign that passed, or what became of it so far.
pub(crate) struct Summary {
    pub(crate) first: u64,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) failed: Option<Outcome>,
    pub(crate) millis: u128,
    pub(crate) replay: Option<String>,
}

impl Summary {
    /// The verdict on all of it.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.failed {
            Some(failed) => failed.verdict,
            None if self.outcomes.iter().any(|outcome| outcome.verdict == Verdict::Vacuous) => Verdict::Vacuous,
            None => Verdict::Pass,
        }
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.outcomes.iter().map(of).sum()
    }

    fn faults(&self) -> std::collections::BTreeMap<&str, u64> {
        let mut faults = std::collections::BTreeMap::new();
        for (kind, count) in self.outcomes.iter().flat_map(|outcome| &outcome.tally.faults) {
            *faults.entry(kind.as_str()).or_default() += count;
        }
        faults
    }

    /// How often each registered rare situation was met; zero for those that were not.
    fn marks(&self) -> std::collections::BTreeMap<&str, u64> {
        let mut marks: std::collections::BTreeMap<&str, u64> =
            tidelog_core::marks::ALL.iter().map(|name| (*name, 0)).collect();
        for (name, count) in self.outcomes.iter().flat_map(|outcome| &outcome.tally.marks) {
            *marks.entry(name).or_default() += count;
        }
        marks
    }

    /// One hash for all runs: of a single one, its own.
    fn hash(&self) -> u64 {
        match self.outcomes.as_slice() {
            [only] => only.trace_hash,
            all => {
                let mut digest = tidelog_sim::Digest::default();
                all.iter().for_each(|outcome| digest.word(outcome.trace_hash));
                digest.value()
            }
        }
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let shown = self.failed.as_ref();
        let violations: Vec<Value> =
            shown.map(|outcome| outcome.findings.iter().map(|finding| json!(finding)).collect()).unwrap_or_default();
        json!({
            "seed": shown.map_or(self.first, |outcome| outcome.seed),
            "first_seed": self.first,
            "seeds": self.outcomes.len(),
            "verdict": self.verdict().name(),
            "trace_hash": format!("{:016x}", self.hash()),
            "sim_seconds": self.sum(|outcome| outcome.sim_micros) / 1_000_000,
            "steps": self.sum(|outcome| outcome.steps),
            "acked": self.sum(|outcome| outcome.tally.acked),
            "polled": self.sum(|outcome| outcome.tally.polled),
            "leader_changes": self.sum(|outcome| outcome.tally.leader_changes),
            "dirty_crashes": self.sum(|outcome| outcome.tally.dirty_crashes),
            "faults": self.faults(),
            "marks": self.marks(),
            "violations": violations,
            "chain": shown.map(|outcome| outcome.chain.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "vacuous": self.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Vacuous).count(),
            "elapsed_ms": self.millis,
            "replay": self.replay,
        })
    }

    /// For people, if nothing failed.
    pub(crate) fn text(&self) -> String {
        let faults: Vec<String> = self.faults().iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let missed: Vec<&str> =
            self.marks().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
        // One seed can not be asked to meet everything.
        let missed = if missed.is_empty() || self.outcomes.len() < MARKS_EXPECTED_AFTER_SEEDS {
            String::new()
        } else {
            format!("never met: {}\n", missed.join(", "))
        };
        format!(
            "{}  {} seeds from {:#x}, trace {:016x}\n{} s simulated in {}.{} s, {} steps, {} records acknowledged, {} read, \
             {} leader changes, {} dirty power losses\nfaults: {}\n{missed}",
            self.verdict().name().to_uppercase(),
            self.outcomes.len(),
            self.first,
            self.hash(),
            self.sum(|outcome| outcome.sim_micros) / 1_000_000,
            self.millis / 1_000,
            self.millis / 100 % 10,
            self.sum(|outcome| outcome.steps),
            self.sum(|outcome| outcome.tally.acked),
            self.sum(|outcome| outcome.tally.polled),
            self.sum(|outcome| outcome.tally.leader_changes),
            self.sum(|outcome| outcome.tally.dirty_crashes),
            faults.join(", ")
        )
    }
}
