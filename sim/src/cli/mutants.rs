//! `mutants`: the scoreboard. A planted bug that nobody finds is a hole in faults, workload or oracles.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tidelog_core::mutants::{CONTROLS, Mutants, REGISTRY};
use tidelog_sim::{Outcome, Verdict};

use super::args::Scoreboard;
use super::pool;

/// Starts of one mutant lie so far apart.
const APART: u64 = 1_000_000;

/// How many seeds a change that is no bug must pass.
const CONTROL_SEEDS: u64 = 20;

pub(crate) fn scoreboard(args: &Scoreboard) -> Result<u8, String> {
    let first = args.seed.number()?;
    let mut missed = 0;
    println!("{:<28} {:>7} {:>5} {:>8} {:>9}  found by", "mutant", "median", "p95", "sim s", "wall ms");
    for (_, name, _) in REGISTRY {
        if args.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mutants = Mutants::named(name).ok_or("the registry knows its own names")?;
        let started = Instant::now();
        let mut needed: Vec<Option<u64>> = Vec::new();
        let mut simulated = 0;
        let mut oracles: BTreeMap<String, u64> = BTreeMap::new();
        for start in 0..args.starts.max(1) {
            let base = first.wrapping_add(start * APART);
            let stop = AtomicBool::new(false);
            let mut caught: Option<Outcome> = None;
            pool::range(base, args.budget.max(1), mutants, &stop, |outcome| {
                simulated += outcome.sim_micros / 1_000_000;
                let found = !matches!(outcome.verdict, Verdict::Pass | Verdict::Vacuous);
                let earlier = caught.as_ref().is_none_or(|before| outcome.seed < before.seed);
                if found && earlier {
                    stop.store(true, Ordering::Relaxed);
                    caught = Some(outcome);
                }
            });
            if let Some(outcome) = &caught {
                let property = outcome.findings.first().map_or("", |finding| finding.property.as_str());
                *oracles.entry(format!("{}/{property}", outcome.verdict.name())).or_default() += 1;
            }
            needed.push(caught.map(|outcome| outcome.seed.wrapping_sub(base) + 1));
        }
        // A start that missed sorts behind all that found.
        needed.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        let show = |seeds: Option<u64>| seeds.map_or("-".to_owned(), |seeds| seeds.to_string());
        let median = needed[needed.len() / 2];
        let p95 = needed[(needed.len() * 95 / 100).min(needed.len() - 1)];
        missed += u64::from(median.is_none());
        let oracles: Vec<String> = oracles.iter().map(|(oracle, count)| format!("{oracle} {count}")).collect();
        println!(
            "{name:<28} {:>7} {:>5} {simulated:>8} {:>9}  {}",
            show(median),
            show(p95),
            started.elapsed().as_millis(),
            oracles.join(", ")
        );
    }
    for control in CONTROLS.iter().filter(|control| args.only.as_ref().is_none_or(|only| only == control.name)) {
        let mutants = Mutants::named(control.name).ok_or("the registry knows its own names")?;
        let stop = AtomicBool::new(false);
        let mut alarms = 0;
        pool::range(first, args.budget.clamp(1, CONTROL_SEEDS), mutants, &stop, |outcome| {
            alarms += u64::from(!matches!(outcome.verdict, Verdict::Pass | Verdict::Vacuous));
        });
        missed += alarms;
        println!("{:<28} no bug: {alarms} false alarms", control.name);
    }
    Ok(if missed == 0 { 0 } else { Verdict::Vacuous.code() })
}
