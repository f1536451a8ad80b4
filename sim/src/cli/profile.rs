//! `profile`: what a typical run does, and whether that is enough.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tidelog_core::mutants::Mutants;
use tidelog_sim::{Outcome, Scenario, Verdict};

use super::args::Profile;
use super::pool;

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

pub(crate) fn profile(args: &Profile) -> Result<u8, String> {
    let first = args.seed.number()?;
    let started = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    pool::range(first, args.seeds, Mutants::default(), &AtomicBool::new(false), |outcome| outcomes.push(outcome));
    let millis = started.elapsed().as_millis() as u64;
    let scenarios: Vec<Scenario> = outcomes.iter().map(|outcome| Scenario::draw(outcome.seed)).collect();
    let all = outcomes.len() as u64;
    let of_runs = |value: &dyn Fn(&Outcome) -> u64| median(outcomes.iter().map(value).collect());
    let of_worlds = |value: &dyn Fn(&Scenario) -> u64| median(scenarios.iter().map(value).collect());
    let share =
        |met: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| met(outcome)).count() as u64 * 100 / all;
    let mut enough = true;
    let mut row = |what: &str, value: u64, unit: &str, least: Option<u64>| {
        let verdict = match least {
            Some(least) if value < least => {
                enough = false;
                format!("  (at least {least}: MISSED)")
            }
            Some(least) => format!("  (at least {least})"),
            None => String::new(),
        };
        println!("{what:<44} {value:>8} {unit}{verdict}");
    };
    println!("medians over {all} seeds from {first:#x}");
    row("brokers", of_worlds(&|world| u64::from(world.brokers)), "", Some(3));
    row("clients", of_worlds(&|world| u64::from(world.clients())), "", Some(3));
    row("partitions", of_worlds(&|world| u64::from(world.partitions())), "", Some(2));
    row("simulated time under faults", of_worlds(&|world| world.chaos / 1_000_000), "s", Some(60));
    row("simulated time", of_runs(&|run| run.sim_micros / 1_000_000), "s", Some(60));
    row("steps", of_runs(&|run| run.steps), "", None);
    row("acknowledged records", of_runs(&|run| run.tally.acked), "", Some(2_000));
    row("records read", of_runs(&|run| run.tally.polled), "", None);
    row("leader changes", of_runs(&|run| run.tally.leader_changes), "", Some(3));
    row("power losses with unsynced data", of_runs(&|run| run.tally.dirty_crashes), "", Some(2));
    row("seeds with a power loss of all brokers", share(&|run| run.tally.blackouts > 0), "%", Some(30));
    row("seeds with a partition", share(&|run| run.tally.partitions > 0), "%", Some(60));
    row("seeds with a doubled or late message", share(&|run| run.tally.stray_messages > 0), "%", Some(60));
    row("seeds that passed", share(&|run| run.verdict == Verdict::Pass), "%", None);
    row("seeds that tested too little", share(&|run| run.verdict == Verdict::Vacuous), "%", None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    row("time per seed and thread", millis * threads / all, "ms", None);
    Ok(if enough { 0 } else { Verdict::Vacuous.code() })
}
