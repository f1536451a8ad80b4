//! What is printed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidelog_sim::{Outcome, Verdict};

use super::args::Plant;

/// The command that shows the run of a seed again.
pub(crate) fn replay_command(seed: u64, plant: &Plant) -> String {
    replay_of(&format!("{seed:#x}"), plant)
}

/// The command that shows the run of a file again.
pub(crate) fn replay_of_file(file: &str, plant: &Plant) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=:,@%/".contains(c);
    match file.chars().all(plain) {
        true => replay_of(file, plant),
        false => replay_of(&format!("'{}'", file.replace('\'', r"'\''")), plant),
    }
}

fn replay_of(what: &str, plant: &Plant) -> String {
    let features = if plant.words().is_empty() { "" } else { " --features mutants" };
    format!("cargo run --release -p tidelog-sim{features} -- replay {what}{}", plant.words())
}

/// Whether something is wrong with a run.
pub(crate) fn failed(outcome: &Outcome) -> bool {
    !matches!(outcome.verdict, Verdict::Pass | Verdict::Vacuous)
}

/// What found that a run failed.
pub(crate) fn oracle(outcome: &Outcome) -> &str {
    outcome.findings.first().map_or(outcome.verdict.name(), |finding| finding.property.as_str())
}

/// What is wrong with it, in a sentence.
pub(crate) fn sentence(outcome: &Outcome) -> &str {
    match (outcome.findings.first(), outcome.verdict) {
        (Some(finding), _) => &finding.sentence,
        (None, Verdict::Nondeterminism) => "the same seed took another course the second time",
        (None, _) => "",
    }
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
        (None, _) => text += &format!("{}\n", sentence(outcome)),
    }
    outcome.chain.iter().for_each(|moment| text += &format!("  {moment}\n"));
    text + &format!("replay: {replay}\n")
}

/// From so many seeds on, a rare situation that was never met is a blind spot worth a line.
const MARKS_EXPECTED_AFTER_SEEDS: usize = 100;

/// A campaign: what became of each of its seeds.
pub(crate) struct Summary {
    pub(crate) first: u64,
    /// One for each seed that was run, in their order.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) millis: u128,
    pub(crate) plant: Plant,
}

impl Summary {
    /// The first that failed.
    pub(crate) fn failed(&self) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| failed(outcome))
    }

    /// The one that is shown: the first that failed, or else the first that proved nothing.
    pub(crate) fn shown(&self) -> Option<&Outcome> {
        self.failed().or_else(|| self.outcomes.iter().find(|outcome| outcome.verdict == Verdict::Vacuous))
    }

    fn replay(&self, outcome: Option<&Outcome>) -> String {
        replay_command(outcome.map_or(self.first, |outcome| outcome.seed), &self.plant)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }

    /// How many seeds passed, and how many proved nothing, before this one.
    fn before(&self, outcome: &Outcome) -> (usize, usize) {
        let before = self.outcomes.iter().take_while(|other| other.seed != outcome.seed);
        let (passed, rest): (Vec<&Outcome>, Vec<&Outcome>) = before.partition(|other| other.verdict == Verdict::Pass);
        (passed.len(), rest.into_iter().filter(|other| other.verdict == Verdict::Vacuous).count())
    }

    /// The verdict on all of it.
    pub(crate) fn verdict(&self) -> Verdict {
        self.shown().map_or(Verdict::Pass, |outcome| outcome.verdict)
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.outcomes.iter().map(of).sum()
    }

    fn faults(&self) -> BTreeMap<&str, u64> {
        let mut faults = BTreeMap::new();
        for (kind, count) in self.outcomes.iter().flat_map(|outcome| &outcome.tally.faults) {
            *faults.entry(kind.as_str()).or_default() += count;
        }
        faults
    }

    /// How often each registered rare situation was met; zero for those that were not.
    fn marks(&self) -> BTreeMap<&str, u64> {
        let mut marks: BTreeMap<&str, u64> = tidelog_core::marks::ALL.iter().map(|name| (*name, 0)).collect();
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
        let shown = self.failed();
        let failures: Vec<Value> =
            self.outcomes.iter().filter(|outcome| failed(outcome)).map(|outcome| self.told(outcome)).collect();
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
            "passed": self.count(Verdict::Pass),
            "passed_before": shown.map(|outcome| self.before(outcome).0),
            "failed": failures.len(),
            "failures": failures,
            "violations": violations,
            "chain": shown.map(|outcome| outcome.chain.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "vacuous": self.count(Verdict::Vacuous),
            "elapsed_ms": self.millis,
            "replay": self.replay(self.shown()),
        })
    }

    /// One failure, for machines.
    fn told(&self, outcome: &Outcome) -> Value {
        json!({
            "seed": outcome.seed,
            "verdict": outcome.verdict.name(),
            "oracle": oracle(outcome),
            "sentence": sentence(outcome),
            "replay": self.replay(Some(outcome)),
        })
    }

    /// The run that is shown, for people.
    pub(crate) fn failure(&self, shown: &Outcome) -> String {
        let text = failure(shown, &self.replay(Some(shown)));
        let (passed, vacuous) = self.before(shown);
        match (passed + vacuous, vacuous) {
            (0, _) => text,
            (_, 0) => format!("{text}before it {passed} seeds from {:#x} passed\n", self.first),
            (_, _) => {
                format!("{text}before it {passed} seeds from {:#x} passed, and {vacuous} proved nothing\n", self.first)
            }
        }
    }

    /// What became of all seeds, for people: how many failed for each reason, and where to see the first of each.
    pub(crate) fn sum_up(&self) -> String {
        let mut reasons: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|outcome| failed(outcome)) {
            reasons.entry((outcome.verdict.name(), oracle(outcome))).or_default().push(outcome.seed);
        }
        let failed: usize = reasons.values().map(Vec::len).sum();
        let mut text = format!(
            "{} seeds from {:#x}: {} passed, {failed} failed, {} proved nothing; {} records acknowledged\n",
            self.outcomes.len(),
            self.first,
            self.count(Verdict::Pass),
            self.count(Verdict::Vacuous),
            self.sum(|outcome| outcome.tally.acked),
        );
        for ((verdict, oracle), seeds) in reasons {
            text += &format!("{:>6}  {verdict}/{oracle}, first at seed {:#x}\n", seeds.len(), seeds[0]);
        }
        text
    }

    /// Rare situations that were never met, although there were seeds enough; a line, or nothing.
    pub(crate) fn never_met(&self) -> String {
        let missed: Vec<&str> =
            self.marks().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
        // One seed can not be asked to meet everything.
        if missed.is_empty() || self.outcomes.len() < MARKS_EXPECTED_AFTER_SEEDS {
            return String::new();
        }
        format!("never met: {}\n", missed.join(", "))
    }

    /// For people, if nothing failed.
    pub(crate) fn text(&self) -> String {
        let faults: Vec<String> = self.faults().iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!(
            "{}  {} seeds from {:#x}, trace {:016x}\n{} s simulated in {}.{} s, {} steps, {} records acknowledged, {} read, \
             {} leader changes, {} dirty power losses\nfaults: {}\n",
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

#[cfg(test)]
mod tests {
    use tidelog_sim::{Finding, Tally};

    use super::*;

    fn outcome(seed: u64, verdict: Verdict) -> Outcome {
        let finding = |property: &str| Finding {
            property: property.to_owned(),
            sentence: format!("what {property} says"),
            evidence: Vec::new(),
            about: Vec::new(),
            around: None,
        };
        let findings = match verdict {
            Verdict::Invariant => vec![finding("durable-early")],
            Verdict::Liveness => vec![finding("stuck")],
            _ => Vec::new(),
        };
        let tally = Tally { acked: 10, ..Tally::default() };
        Outcome { seed, verdict, trace_hash: seed, sim_micros: 1, steps: 1, tally, findings, chain: Vec::new() }
    }

    fn summary(verdicts: &[Verdict]) -> Summary {
        let outcomes = (7..).zip(verdicts).map(|(seed, verdict)| outcome(seed, *verdict)).collect();
        Summary { first: 7, outcomes, millis: 1, plant: Plant::default() }
    }

    #[test]
    fn a_failure_says_how_many_seeds_passed_before_it() {
        let passed = summary(&[Verdict::Pass, Verdict::Pass, Verdict::Vacuous, Verdict::Liveness, Verdict::Pass]);
        let shown = passed.shown().expect("one failed");
        assert_eq!(shown.seed, 10);
        let text = passed.failure(shown);
        assert!(text.ends_with("before it 2 seeds from 0x7 passed, and 1 proved nothing\n"), "{text}");
        assert_eq!(passed.json()["passed_before"], 2);
        let first = summary(&[Verdict::Liveness, Verdict::Pass]);
        assert!(!first.failure(first.shown().expect("one failed")).contains("before it"));
    }

    #[test]
    fn a_campaign_is_summed_up_by_oracle() {
        use Verdict::{Invariant, Liveness, Nondeterminism, Pass, Vacuous};
        let all = summary(&[Pass, Invariant, Vacuous, Liveness, Invariant, Nondeterminism]);
        assert_eq!(
            all.sum_up(),
            "6 seeds from 0x7: 1 passed, 4 failed, 1 proved nothing; 60 records acknowledged\n     \
             2  invariant/durable-early, first at seed 0x8\n     1  liveness/stuck, first at seed 0xa\n     \
             1  nondeterminism/nondeterminism, first at seed 0xc\n"
        );
        let told = all.json();
        let failures: Vec<&str> =
            told["failures"].as_array().into_iter().flatten().filter_map(|it| it["oracle"].as_str()).collect();
        assert_eq!(failures, ["durable-early", "stuck", "durable-early", "nondeterminism"]);
        assert_eq!((&told["passed"], &told["failed"], &told["vacuous"]), (&1.into(), &4.into(), &1.into()));
    }

    #[test]
    fn what_was_never_met_is_told_once_there_were_seeds_enough() {
        let many = summary(&[Verdict::Pass; MARKS_EXPECTED_AFTER_SEEDS]);
        assert!(many.never_met().starts_with("never met: "), "{}", many.never_met());
        assert_eq!(summary(&[Verdict::Pass]).never_met(), "");
    }

    #[test]
    fn a_command_can_be_pasted() {
        let plant = Plant { mutant: Some("lost-vote".to_owned()) };
        assert_eq!(replay_command(31, &Plant::default()), "cargo run --release -p tidelog-sim -- replay 0x1f");
        assert_eq!(
            replay_of_file("my run's", &plant),
            r"cargo run --release -p tidelog-sim --features mutants -- replay 'my run'\''s' --mutant lost-vote"
        );
        assert_eq!(
            replay_of_file("runs/a-1.txt", &Plant::default()),
            "cargo run --release -p tidelog-sim -- replay runs/a-1.txt"
        );
    }
}
