//! Planted bugs are found, and the switchboard without one changes nothing. Needs `--features mutants`.
#![cfg(feature = "mutants")]

use tidelog_core::mutants::Mutants;
use tidelog_sim::{Fault, Options, Outcome, Plan, SECOND, Scenario, Target, Timed, Verdict, World};

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

/// A broker that is wiped after the cluster was formed: it must not be the voter it was.
#[test]
fn a_wiped_broker_with_its_old_identity_is_found() {
    let wiped = |name: Option<&str>| {
        let mut scenario = Scenario::draw(3);
        scenario.chaos = 8 * SECOND;
        (scenario.brokers, scenario.voters, scenario.late) = (3, 3, 0);
        scenario.topics.iter_mut().for_each(|topic| topic.replication = 3);
        let fault = Fault::Wipe { target: Target::Node(2), down: SECOND };
        let plan = Plan { faults: vec![Timed { at: 5 * SECOND, fault }] };
        let mutants = name.map_or_else(Mutants::default, |name| Mutants::named(name).expect("in the registry"));
        let mut world = World::new(scenario, plan, Options { mutants, ..Options::default() });
        world.run();
        world.outcome()
    };
    let honest = wiped(None);
    assert_eq!((honest.verdict, honest.tally.faults.get("wipe")), (Verdict::Pass, Some(&1)), "{:?}", honest.findings);
    let caught = wiped(Some("wiped-keeps-identity"));
    assert_eq!(caught.verdict, Verdict::Invariant, "{:?}", caught.findings);
    assert_eq!(caught.findings[0].property, "identity-reused");
}
