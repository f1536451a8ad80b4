//! `replay`: one run again, with a closer look.

use std::io::{BufWriter, Write};
use std::path::Path;

use tidelog_sim::{Line, Options, Plan, Scenario, Verdict, World, failure};

use super::args::Replay;
use super::seed::SeedArg;
use super::{out, pool, report};

/// The scenario and plan of a seed or a file.
fn load(what: &str) -> Result<(Scenario, Plan), String> {
    match what.parse::<SeedArg>() {
        Ok(seed) => {
            let scenario = Scenario::draw(seed.number()?);
            let plan = Plan::draw(&scenario);
            Ok((scenario, plan))
        }
        Err(not_a_seed) => {
            let text = std::fs::read_to_string(Path::new(what))
                .map_err(|error| format!("{not_a_seed}, nor a file: {error}"))?;
            failure::parse(&text).map_err(|error| format!("{what}: {error}"))
        }
    }
}

pub(crate) fn replay(args: &Replay) -> Result<u8, String> {
    let (scenario, plan) = load(&args.what)?;
    if let Some(file) = &args.save {
        std::fs::write(file, failure::write(&scenario, &plan))
            .map_err(|error| format!("{}: {error}", file.display()))?;
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
    if let Some(file) = &args.history {
        std::fs::write(file, world.history()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    // Dropping the world flushes the trace before the verdict is printed.
    drop(world);
    match outcome.verdict {
        Verdict::Pass => println!(
            "PASS  seed {:#x}  trace {:016x}  {} steps, {} records acknowledged, {} read",
            outcome.seed, outcome.trace_hash, outcome.steps, outcome.tally.acked, outcome.tally.polled
        ),
        _ => {
            print!("{}", report::failure(&outcome, &format!("tidelog-sim replay {}{}", args.what, args.plant.words())))
        }
    }
    Ok(outcome.verdict.code())
}
