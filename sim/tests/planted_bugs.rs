//! Planted bugs are found, and the switchboard without one changes nothing. Needs `--features mutants`.
#![cfg(feature = "mutants")]

use tidelog_core::mutants::Mutants;
use tidelog_sim::{Options, Outcome, Plan, SECOND, Scenario, Verdict, World};

fn run(seed: u64, mutants: Mutants) -> Outcome {
    let mut scenario = Scenario::draw(seed);
    scenario.chaos = 12 * SECOND;
    let plan = Plan::draw(&scenario);
    let options = Options { mutants, ..Options::default() };
    let mut world = World::new(scenario, plan, options);
    world.run();
    world.outcome()
}

fn found(name: &str) {
    let mutants = Mutants::named(name).expect("in the registry");
    let caught = (1..=8).map(|seed| run(seed, mutants)).find(|outcome| outcome.verdict != Verdict::Pass);
    let caught = caught.unwrap_or_else(|| panic!("{name} was not found in 8 seeds"));
    assert!(matches!(caught.verdict, Verdict::Invariant | Verdict::History), "{caught:?}");
    assert!(!caught.chain.is_empty() && !caught.findings.is_empty());
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    found("ack-before-sync");
}

#[test]
fn a_vote_before_the_sync_is_found() {
    found("vote-before-sync");
}

#[test]
fn a_needless_truncation_is_found() {
    found("duplicate-append-truncates");
}

#[test]
fn a_forgotten_producer_table_is_found() {
    found("producers-forgotten");
}
