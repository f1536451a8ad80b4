//! `replay`: one run again, with a closer look.

use std::io::{BufWriter, Write};
use std::path::Path;

use tidelog_sim::{Line, Options, Plan, Scenario, Tally, Verdict, World, failure};

use super::args::Replay;
use super::seed::SeedArg;
use super::{out, pool, report};

/// The scenario and plan of a seed or a file, and what they are called in a command.
fn load(what: &str) -> Result<(Scenario, Plan, Option<String>), String> {
    match what.parse::<SeedArg>() {
        Ok(seed) => {
            let scenario = Scenario::draw(seed.number()?);
            let plan = Plan::draw(&scenario);
            Ok((scenario, plan, None))
        }
        Err(not_a_seed) => {
            let text = std::fs::read_to_string(Path::new(what))
                .map_err(|error| format!("{not_a_seed}, nor a file: {error}"))?;
            let (scenario, plan) = failure::parse(&text).map_err(|error| format!("{what}: {error}"))?;
            Ok((scenario, plan, Some(what.to_owned())))
        }
    }
}

pub(crate) fn replay(args: &Replay) -> Result<u8, String> {
    let (scenario, plan, file) = load(&args.what)?;
    if let Some(node) = args.node.filter(|node| !(1..=scenario.brokers).contains(node)) {
        return Err(format!("there is no broker {node} in this run: {}", scenario.broker_names()));
    }
    let again = match &file {
        Some(file) => report::replay_of_file(file, &args.plant),
        None => report::replay_command(scenario.seed, &args.plant),
    };
    if let Some(file) = &args.save {
        std::fs::write(file, failure::write(&scenario, &plan))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if let Some(file) = &args.history {
        // A file that can not be written is known before anything is run for it.
        std::fs::write(file, "").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let mut options = Options { mutants: args.plant.mutants()?, until: args.until, ..Options::default() };
    if args.trace || args.node.is_some() || args.grep.is_some() {
        let (node, grep) = (args.node, args.grep.clone());
        let mut lines = BufWriter::new(std::io::stdout());
        options.trace = Some(Box::new(move |line: Line| {
            if node.is_some() && line.node != node {
                return;
            }
            let text = line.to_string();
            if grep.as_ref().is_none_or(|wanted| text.contains(wanted.as_str())) {
                writeln!(lines, "{text}").unwrap_or_else(|error| out::lost(&error));
            }
        }));
    }
    let mut world = World::new(scenario, plan, options);
    let outcome = pool::finish(&mut world);
    if args.story {
        world.story().moments().iter().for_each(|moment| println!("{moment}"));
    }
    if args.state {
        world.statuses().iter().for_each(|(node, status)| match status {
            Some(status) => println!("broker {node}: {status:#?}"),
            None => println!("broker {node}: down"),
        });
    }
    let history = args.history.as_ref().map(|file| (file, world.history()));
    let cut_short = world.was_cut_short();
    // Dropping the world flushes the trace before the verdict is printed.
    drop(world);
    let (seed, steps, hash) = (outcome.seed, outcome.steps, outcome.trace_hash);
    let Tally { acked, polled, .. } = outcome.tally;
    let code = match outcome.verdict {
        Verdict::Pass if cut_short => {
            println!(
                "CUT SHORT  seed {seed:#x}  trace {hash:016x}  after {steps} steps, as asked: nothing of it was judged that \
                 is judged at the end of a run ({acked} records acknowledged, {polled} read)"
            );
            Verdict::Vacuous.code()
        }
        Verdict::Pass => {
            println!(
                "PASS  seed {seed:#x}  trace {hash:016x}  {steps} steps, {acked} records acknowledged, {polled} read"
            );
            Verdict::Pass.code()
        }
        verdict => {
            print!("{}", report::failure(&outcome, &again));
            verdict.code()
        }
    };
    if let Some((file, history)) = history
        && let Err(error) = std::fs::write(file, history)
    {
        eprintln!("tidelog-sim: {}: {error}", file.display());
        return Ok(if code == 0 { super::USAGE } else { code });
    }
    Ok(code)
}
