//! `mutants`: the scoreboard. A planted bug that nobody finds is a hole in faults, workload or oracles.
//!
//! One table of all of them: what each is, where it is written down to be caught, and where it was caught now. CI reads it as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tidelog_core::mutants::{CONTROLS, Mutants, REGISTRY};
use tidelog_sim::Outcome;

use super::args::{self, Scoreboard};
use super::{pool, report};

/// Starts of one bug lie so far apart, or as far as each goes.
const APART: u64 = 1_000;

/// How many seeds a change that is no bug must pass.
const CONTROL_SEEDS: u64 = 20;

/// How many, if bugs are only looked for where they are written down.
const CONTROL_SEEDS_COMMITTED: u64 = 15;

/// Where bugs were written down to be caught when this was built.
const TABLE: &str = include_str!("../../planted.tsv");

/// Where a bug is written down to be caught.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    seed: u64,
    oracle: String,
}

/// A bug was looked for from a seed on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Try {
    start: u64,
    caught: Option<Caught>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Caught {
    seed: u64,
    verdict: &'static str,
    oracle: String,
}

/// What is known of a planted bug.
#[derive(Debug)]
struct Bug {
    name: &'static str,
    sentence: &'static str,
    committed: Option<Place>,
    tries: Vec<Try>,
    sim_micros: u64,
    millis: u128,
}

/// A change that is no bug.
#[derive(Debug)]
struct Control {
    name: &'static str,
    seeds: u64,
    false_alarms: u64,
}

pub(crate) fn scoreboard(args: &Scoreboard) -> Result<u8, String> {
    let first = args.seed.number()?;
    for name in &args.names {
        args::planted(name)?;
    }
    let table = match &args.write {
        // Tried first: what takes minutes is not to be lost.
        Some(file) => {
            let text = std::fs::read_to_string(file).unwrap_or_else(|_| TABLE.to_owned());
            let table = read(&text).map_err(|what| format!("{}: {what}", file.display()))?;
            write(file, &table)?;
            table
        }
        None => read(TABLE)?,
    };
    let asked = |name: &str| args.names.is_empty() || args.names.iter().any(|asked| asked == name);
    let names = REGISTRY.iter().filter(|(_, name, _)| asked(name));
    let mut bugs: Vec<Bug> = names
        .map(|(_, name, sentence)| Bug {
            name,
            sentence,
            committed: table.get(*name).cloned(),
            tries: Vec::new(),
            sim_micros: 0,
            millis: 0,
        })
        .collect();
    let mut controls: Vec<Control> = CONTROLS
        .iter()
        .filter(|control| asked(control.name))
        .map(|control| Control { name: control.name, seeds: 0, false_alarms: 0 })
        .collect();
    if args.list {
        match args.json {
            true => println!("{}", all(args, first, &bugs, &controls)),
            false => bugs.iter().for_each(|bug| println!("{:<28} {}", bug.name, bug.sentence)),
        }
        return Ok(0);
    }
    if !args.json {
        println!("{:<28} {:>7} {:>5} {:>8} {:>9}  found by", "mutant", "median", "p95", "sim s", "wall ms");
    }
    if args.committed {
        where_committed(&mut bugs)?;
        if !args.json {
            bugs.iter().for_each(|bug| println!("{}", bug.line()));
        }
    } else {
        for bug in &mut bugs {
            bug.hunt(first, args.starts, args.budget)?;
            if !args.json {
                println!("{}", bug.line());
            }
        }
    }
    let seeds = if args.committed { CONTROL_SEEDS_COMMITTED } else { args.budget.min(CONTROL_SEEDS) };
    for control in &mut controls {
        let mutants = args::planted(control.name)?;
        control.seeds = seeds;
        pool::range(first, seeds, mutants, &AtomicBool::new(false), |outcome| {
            control.false_alarms += u64::from(report::failed(&outcome));
        });
        if !args.json {
            println!("{:<28} no bug: {} false alarms", control.name, control.false_alarms);
        }
    }
    if args.json {
        println!("{}", all(args, first, &bugs, &controls));
    }
    if let Some(file) = &args.write {
        write(file, &rewritten(table, &bugs))?;
    }
    let well = bugs.iter().all(Bug::is_caught) && controls.iter().all(|control| control.false_alarms == 0);
    Ok(if well { 0 } else { tidelog_sim::Verdict::Vacuous.code() })
}

/// Looks for each bug at the one seed at which it is written down to be caught.
fn where_committed(bugs: &mut [Bug]) -> Result<(), String> {
    let known: Vec<(usize, u64, Mutants)> = bugs
        .iter()
        .enumerate()
        .filter_map(|(at, bug)| Some((at, bug.committed.as_ref()?.seed)))
        .map(|(at, seed)| Ok((at, seed, args::planted(bugs[at].name)?)))
        .collect::<Result<_, String>>()?;
    let run = |nth: u64| {
        let (at, seed, mutants) = known[nth as usize];
        let started = Instant::now();
        (at, pool::one(seed, mutants), started.elapsed().as_millis())
    };
    pool::each(known.len() as u64, &AtomicBool::new(false), run, |(at, outcome, millis)| {
        let bug = &mut bugs[at];
        (bug.sim_micros, bug.millis) = (outcome.sim_micros, millis);
        bug.tries = vec![Try { start: outcome.seed, caught: caught(&outcome) }];
    });
    Ok(())
}

fn caught(outcome: &Outcome) -> Option<Caught> {
    let oracle = || report::oracle(outcome).to_owned();
    report::failed(outcome).then(|| Caught { seed: outcome.seed, verdict: outcome.verdict.name(), oracle: oracle() })
}

impl Bug {
    /// Looks for it from several starts on.
    fn hunt(&mut self, first: u64, starts: u64, budget: u64) -> Result<(), String> {
        let mutants = args::planted(self.name)?;
        let started = Instant::now();
        for nth in 0..starts {
            let start = first.wrapping_add(nth.wrapping_mul(APART.max(budget)));
            let stop = AtomicBool::new(false);
            let mut found: Option<Caught> = None;
            pool::range(start, budget, mutants, &stop, |outcome| {
                self.sim_micros += outcome.sim_micros;
                let place = |seed: u64| seed.wrapping_sub(start);
                let earlier = found.as_ref().is_none_or(|before| place(outcome.seed) < place(before.seed));
                if let (Some(here), true) = (caught(&outcome), earlier) {
                    stop.store(true, Ordering::Relaxed);
                    found = Some(here);
                }
            });
            self.tries.push(Try { start, caught: found });
        }
        self.millis = started.elapsed().as_millis();
        Ok(())
    }

    /// After how many seeds it was caught from each start, ascending. A start that missed sorts behind all that found.
    fn needed(&self) -> Vec<Option<u64>> {
        let mut needed: Vec<Option<u64>> = self.tries.iter().map(Try::after).collect();
        needed.sort_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        needed
    }

    fn median(&self) -> Option<u64> {
        let needed = self.needed();
        needed.get(needed.len() / 2).copied().flatten()
    }

    fn p95(&self) -> Option<u64> {
        let needed = self.needed();
        needed.get((needed.len() * 95 / 100).min(needed.len().saturating_sub(1))).copied().flatten()
    }

    fn is_caught(&self) -> bool {
        self.median().is_some()
    }

    /// How often each oracle caught it.
    fn oracles(&self) -> BTreeMap<String, u64> {
        let mut oracles = BTreeMap::new();
        for caught in self.tries.iter().filter_map(|tried| tried.caught.as_ref()) {
            *oracles.entry(format!("{}/{}", caught.verdict, caught.oracle)).or_default() += 1;
        }
        oracles
    }

    fn line(&self) -> String {
        let show = |seeds: Option<u64>| seeds.map_or("-".to_owned(), |seeds| seeds.to_string());
        let oracles: Vec<String> = self.oracles().iter().map(|(oracle, count)| format!("{oracle} {count}")).collect();
        format!(
            "{:<28} {:>7} {:>5} {:>8} {:>9}  {}",
            self.name,
            show(self.median()),
            show(self.p95()),
            self.sim_micros / 1_000_000,
            self.millis,
            oracles.join(", ")
        )
    }

    fn json(&self) -> Value {
        let committed = self.committed.as_ref();
        let first = self.tries.first().and_then(|tried| tried.caught.as_ref());
        json!({
            "name": self.name,
            "sentence": self.sentence,
            "committed_seed": committed.map(|place| place.seed),
            "committed_oracle": committed.map(|place| &place.oracle),
            "caught": self.is_caught(),
            "seed": first.map(|caught| caught.seed),
            "after": self.tries.first().and_then(Try::after),
            "oracle": first.map(|caught| &caught.oracle),
            "verdict": first.map(|caught| caught.verdict),
            "median": self.median(),
            "p95": self.p95(),
            "oracles": self.oracles(),
            "starts": self.tries.iter().map(Try::json).collect::<Vec<_>>(),
            "sim_seconds": self.sim_micros / 1_000_000,
            "elapsed_ms": self.millis,
        })
    }
}

impl Try {
    /// How many seeds it took.
    fn after(&self) -> Option<u64> {
        self.caught.as_ref().map(|caught| caught.seed.wrapping_sub(self.start) + 1)
    }

    fn json(&self) -> Value {
        let caught = self.caught.as_ref();
        json!({
            "start": self.start,
            "seed": caught.map(|caught| caught.seed),
            "after": self.after(),
            "verdict": caught.map(|caught| caught.verdict),
            "oracle": caught.map(|caught| &caught.oracle),
        })
    }
}

/// Everything, for machines.
fn all(args: &Scoreboard, first: u64, bugs: &[Bug], controls: &[Control]) -> Value {
    let missed: Vec<&str> = match args.list {
        true => Vec::new(),
        false => bugs.iter().filter(|bug| !bug.is_caught()).map(|bug| bug.name).collect(),
    };
    let control =
        |control: &Control| json!({"name": control.name, "seeds": control.seeds, "false_alarms": control.false_alarms});
    json!({
        "first_seed": first,
        "bugs": bugs.iter().map(Bug::json).collect::<Vec<_>>(),
        "controls": controls.iter().map(control).collect::<Vec<_>>(),
        "missed": missed,
        "false_alarms": controls.iter().map(|control| control.false_alarms).sum::<u64>(),
    })
}

type Table = BTreeMap<String, Place>;

fn read(text: &str) -> Result<Table, String> {
    let row = |(at, line): (usize, &str)| {
        let words: Vec<&str> = line.split('\t').collect();
        let wrong = || format!("line {}: expected a name, a seed (0x...) and an oracle, with tabs between", at + 1);
        let [name, seed, oracle] = words[..] else { return Err(wrong()) };
        let digits = seed.strip_prefix("0x").ok_or_else(wrong)?;
        let seed = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
        Ok((name.to_owned(), Place { seed, oracle: oracle.to_owned() }))
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

fn write(file: &Path, table: &Table) -> Result<(), String> {
    let rows = table.iter().map(|(name, place)| format!("{name}\t{:#x}\t{}\n", place.seed, place.oracle));
    std::fs::write(file, rows.collect::<String>()).map_err(|error| format!("{}: {error}", file.display()))
}

/// The table with what was found now. Who was not caught, or is none any more, is in it no longer.
fn rewritten(mut table: Table, bugs: &[Bug]) -> Table {
    let known: BTreeSet<&str> = REGISTRY.iter().map(|(_, name, _)| *name).collect();
    table.retain(|name, _| known.contains(name.as_str()));
    for bug in bugs {
        match bug.tries.first().and_then(|tried| tried.caught.as_ref()) {
            Some(Caught { seed, oracle, .. }) => {
                table.insert(bug.name.to_owned(), Place { seed: *seed, oracle: oracle.clone() });
            }
            None => drop(table.remove(bug.name)),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(after: &[Option<u64>]) -> Bug {
        let (_, name, sentence) = REGISTRY[0];
        let caught = |seed| Caught { seed, verdict: "invariant", oracle: "durable-early".to_owned() };
        let tries = after.iter().zip(0..).map(|(after, nth)| {
            let start = 1 + nth * APART;
            Try { start, caught: after.map(|after| caught(start + after - 1)) }
        });
        let tries = tries.collect();
        Bug { name, sentence, committed: None, tries, sim_micros: 3_000_000, millis: 1 }
    }

    #[test]
    fn a_bug_is_told_with_where_it_was_caught_and_the_median_over_starts() {
        let told = bug(&[Some(7), None, Some(2), Some(40), Some(9)]).json();
        assert_eq!(
            (&told["seed"], &told["after"], &told["median"], &told["p95"]),
            (&7.into(), &7.into(), &9.into(), &Value::Null)
        );
        assert_eq!(told["oracles"], json!({"invariant/durable-early": 4}));
        assert_eq!((&told["starts"][1]["seed"], &told["starts"][3]["seed"]), (&Value::Null, &3_040.into()));
        assert!(bug(&[Some(1), Some(2), None]).is_caught() && !bug(&[Some(1), None, None]).is_caught());
        assert_eq!((told["sentence"].as_str(), told["caught"].as_bool()), (Some(REGISTRY[0].2), Some(true)));
    }

    #[test]
    fn the_table_is_rewritten_where_something_was_looked_for() {
        let table = read(
            "ack-before-sync\t0x1f\tdurable-early\nno-bug-any-more\t0x1\tstuck\nvote-before-sync\t0x2\tvote-twice\n",
        );
        let mut table = table.expect("a table");
        assert_eq!(table["ack-before-sync"], Place { seed: 31, oracle: "durable-early".to_owned() });
        let name = bug(&[]).name;
        table.insert(name.to_owned(), Place { seed: 5, oracle: "stuck".to_owned() });
        let found = rewritten(table.clone(), &[bug(&[Some(3)])]);
        assert_eq!((found[name].seed, found.contains_key("no-bug-any-more")), (3, false));
        assert!(found.contains_key("vote-before-sync"));
        assert!(!rewritten(table, &[bug(&[None])]).contains_key(name));
        assert!(read("one\ttwo\n").unwrap_err().starts_with("line 1: "));
        assert!(read(TABLE).expect("the committed table is one").len() > 40);
    }
}
