//! `run`: seeds, until one fails, time is over, or somebody presses Ctrl-C.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidelog_sim::{Outcome, Plan, Scenario, Verdict, failure};

use super::args::Run;
use super::report::{self, Summary};
use super::{pool, seed};

pub(crate) fn run(args: &Run) -> Result<u8, String> {
    let mutants = args.plant.mutants()?;
    let first = match args.seed {
        Some(seed) => seed.number()?,
        None => {
            let chosen = seed::random();
            if !args.json && !args.quiet {
                println!("seed {chosen:#x}");
            }
            chosen
        }
    };
    let count = match (args.seeds, args.for_) {
        (Some(count), _) => count,
        (None, Some(_)) => u64::MAX,
        (None, None) => 1,
    };
    if let Some(file) = &args.save {
        // A file that can not be written is known before anything is run for it.
        save(file, first)?;
    }
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::new(AtomicBool::new(false));
    for flag in [&stop, &interrupted] {
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(flag))
            .map_err(|error| error.to_string())?;
    }
    let mut progress = Progress::new(!args.json && !args.quiet, count, args.for_);
    let mut outcomes: Vec<Outcome> = Vec::new();
    pool::range(first, count, mutants, &stop, |outcome| {
        let failed = report::failed(&outcome);
        if failed && args.keep_going && !args.json {
            let (name, oracle, what) = (outcome.verdict.name(), report::oracle(&outcome), report::sentence(&outcome));
            println!("{name:<10} {:#x} {what} [{oracle}]", outcome.seed);
        }
        if failed && !args.keep_going || args.for_.is_some_and(|limit| started.elapsed() >= limit) {
            stop.store(true, Ordering::Relaxed);
        }
        outcomes.push(outcome);
        progress.show(&outcomes, started.elapsed());
    });
    progress.clear();
    outcomes.sort_by_key(|outcome| outcome.seed.wrapping_sub(first));
    if let Some(before) = outcomes.iter_mut().find(|outcome| report::failed(outcome)) {
        let again = pool::one(before.seed, mutants);
        if again.trace_hash != before.trace_hash {
            before.verdict = Verdict::Nondeterminism;
            before.findings.clear();
        }
    }
    let millis = started.elapsed().as_millis();
    let summary = Summary { first, outcomes, millis, plant: args.plant.clone() };
    let shown = summary.shown();
    seed::remember(shown.map_or(first, |outcome| outcome.seed));
    if args.json {
        println!("{}", summary.json());
    } else {
        if let Some(outcome) = shown {
            print!("{}", summary.failure(outcome));
        } else if !args.quiet || interrupted.load(Ordering::Relaxed) {
            print!("{}", summary.text());
        }
        if args.keep_going && shown.is_some() {
            print!("{}", summary.sum_up());
        }
        print!("{}", summary.never_met());
    }
    let code = summary.verdict().code();
    if let (Some(file), Some(outcome)) = (&args.save, shown)
        && let Err(error) = save(file, outcome.seed)
    {
        eprintln!("tidelog-sim: {error}");
        // What was found counts for more than that it could not be kept.
        return Ok(if code == 0 { super::USAGE } else { code });
    }
    Ok(code)
}

/// Writes the scenario and plan of a seed to a file.
fn save(file: &Path, seed: u64) -> Result<(), String> {
    let scenario = Scenario::draw(seed);
    let plan = Plan::draw(&scenario);
    std::fs::write(file, failure::write(&scenario, &plan)).map_err(|error| format!("{}: {error}", file.display()))
}

/// One line that is written over and over, on a terminal only.
struct Progress {
    on: bool,
    total: Option<u64>,
    limit: Option<Duration>,
    last: Duration,
}

impl Progress {
    fn new(wanted: bool, count: u64, limit: Option<Duration>) -> Self {
        Self {
            on: wanted && std::io::stderr().is_terminal(),
            total: limit.is_none().then_some(count),
            limit,
            last: Duration::ZERO,
        }
    }

    fn show(&mut self, outcomes: &[Outcome], elapsed: Duration) {
        if !self.on || elapsed.saturating_sub(self.last) < Duration::from_millis(200) {
            return;
        }
        self.last = elapsed;
        let of = match (self.total, self.limit) {
            (Some(total), _) => format!(" of {total}"),
            (None, Some(limit)) => format!(", {} of {} s", elapsed.as_secs(), limit.as_secs()),
            (None, None) => String::new(),
        };
        eprint!("\r{} seeds{of}   ", outcomes.len());
        // Progress that cannot be shown is not worth a failure.
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.on {
            eprint!("\r{:40}\r", "");
        }
    }
}
