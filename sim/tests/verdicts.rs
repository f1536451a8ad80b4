//! What runs say: good clusters pass, those without faults or work are vacuous, each fault leaves its mark.

use tidelog_sim::{Fault, Options, Outcome, Plan, SECOND, Scenario, Target, Timed, Verdict, World};

fn short(seed: u64) -> Scenario {
    let mut scenario = Scenario::draw(seed);
    scenario.chaos = 10 * SECOND;
    scenario
}

fn run(scenario: Scenario, faults: &[(u64, Fault)]) -> Outcome {
    let faults = faults.iter().map(|(second, fault)| Timed { at: second * SECOND, fault: fault.clone() });
    let plan = Plan { faults: faults.collect() };
    let mut world = World::new(scenario, plan, Options::default());
    world.run();
    world.outcome()
}

#[test]
fn a_cluster_in_trouble_passes() {
    let leader = Target::Leader(1);
    let down = SECOND;
    let faults = [
        (3, Fault::Power { target: leader, down }),
        (5, Fault::Kill { target: leader, down }),
        (7, Fault::Blackout { down, spread: SECOND }),
    ];
    let outcome = run(short(11), &faults);
    assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.findings);
    assert_eq!(outcome.tally.blackouts, 1);
    assert!(outcome.tally.acked > 100 && outcome.tally.polled > 100 && outcome.tally.dirty_crashes > 0);
}

#[test]
fn without_a_fault_a_run_is_vacuous() {
    let mut scenario = short(12);
    scenario.weather = tidelog_sim::Weather::default();
    (scenario.held, scenario.ending) = (0, Vec::new());
    let outcome = run(scenario, &[]);
    assert_eq!((outcome.verdict, outcome.findings.len()), (Verdict::Vacuous, 0));
    assert!(outcome.tally.acked > 100, "it worked, but nothing was tested");
}

#[test]
fn without_work_a_run_is_vacuous() {
    let mut scenario = short(13);
    scenario.producers.clear();
    let kill = Fault::Kill { target: Target::Node(1), down: SECOND };
    assert_eq!(run(scenario, &[(4, kill)]).verdict, Verdict::Vacuous);
}

#[test]
fn a_disk_error_ends_a_broker_and_its_machine_comes_back() {
    let error = Fault::DiskError { target: Target::Leader(1), down: SECOND };
    let outcome = run(short(14), &[(4, error)]);
    assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.findings);
    assert_eq!(outcome.tally.faults.get("disk_error"), Some(&1));
}
