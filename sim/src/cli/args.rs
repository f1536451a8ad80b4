//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidelog_core::mutants::Mutants;

#[cfg(feature = "mutants")]
use super::near;
use super::seed::SeedArg;

/// Simulates a tidelog cluster under faults, from a seed.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 pass, 1 usage or environment, 2 invariant, 3 client history, \
4 liveness, 5 panic or assert, 6 nondeterminism, 7 vacuous."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run seeds until one fails.
    Run(Run),
    /// Run one seed or saved file again, and look closer.
    Replay(Replay),
    /// What a typical run does: medians over many seeds.
    Profile(Profile),
    /// How many seeds it takes to find each planted bug (builds with `--features mutants`).
    Mutants(Scoreboard),
}

/// Which bug to plant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Plant {
    /// Plant this bug in every broker (builds with `--features mutants`).
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<String>,
}

impl Plant {
    /// The switchboard with the bug planted, if one is asked for.
    pub(crate) fn mutants(&self) -> Result<Mutants, String> {
        self.mutant.as_deref().map_or_else(|| Ok(Mutants::default()), planted)
    }

    /// The words of a replay command.
    pub(crate) fn words(&self) -> String {
        self.mutant.as_ref().map_or_else(String::new, |name| format!(" --mutant {name}"))
    }
}

/// The switchboard with the bug of this name planted.
#[cfg(feature = "mutants")]
pub(crate) fn planted(name: &str) -> Result<Mutants, String> {
    use tidelog_core::mutants::{CONTROLS, REGISTRY};
    let known = || REGISTRY.iter().map(|(_, name, _)| *name).chain(CONTROLS.iter().map(|control| control.name));
    Mutants::named(name).ok_or_else(|| {
        format!(
            "no planted bug is called `{name}`; the nearest are {}; `tidelog-sim mutants --list` names all",
            near::nearest(name, known(), 4).join(", ")
        )
    })
}

/// The switchboard of a build that has none.
#[cfg(not(feature = "mutants"))]
pub(crate) fn planted(name: &str) -> Result<Mutants, String> {
    Err(without_bugs(&format!("this build can not plant `{name}`"), &format!("run --mutant {name}")))
}

/// What is missing, and how to build what has it.
#[cfg(not(feature = "mutants"))]
pub(crate) fn without_bugs(what: &str, command: &str) -> String {
    format!(
        "{what}; one with the feature `mutants` has them: \
         cargo run --release -p tidelog-sim --features mutants -- {command}"
    )
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// The first seed: decimal, hex (0x...), or `last`. Without it a random one, which is printed.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<SeedArg>,
    /// How many seeds.
    #[arg(long, value_name = "N", conflicts_with = "for_", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// Go on for so long: 45s, 10m, 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) for_: Option<Duration>,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing but what fails.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Do not stop at the first failure: each is listed in a line, and they are summed up at the end.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Write scenario and plan of the failing run (or of the first) to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) plant: Plant,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Replay {
    /// A seed (decimal, hex, `last`) or a file made with `run --save`.
    pub(crate) what: String,
    /// Print everything that happens.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Stop after this many steps.
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Option<u64>,
    /// Print only what happens on this broker (implies --trace).
    #[arg(long, value_name = "N")]
    pub(crate) node: Option<u32>,
    /// Print only lines with this text (implies --trace).
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// Print the state of every broker at the end.
    #[arg(long)]
    pub(crate) state: bool,
    /// Print the whole story: faults, elections, restarts.
    #[arg(long)]
    pub(crate) story: bool,
    /// Write scenario and plan to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Write what the clients did and saw to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) plant: Plant,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Profile {
    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1")]
    pub(crate) seed: SeedArg,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
}

/// Arguments of the scoreboard.
#[cfg_attr(not(feature = "mutants"), allow(dead_code, reason = "there is nothing to look for in this build"))]
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Scoreboard {
    /// Only these planted bugs.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1")]
    pub(crate) seed: SeedArg,
    /// How many starts per bug, a thousand seeds apart; the medians are over them.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) starts: u64,
    /// How many seeds per start before a bug counts as missed.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget: u64,
    /// Run each only at the seed at which it is written down to be caught; changes that are no bugs at 15 seeds.
    #[arg(long, conflicts_with_all = ["starts", "budget", "write"])]
    pub(crate) committed: bool,
    /// Run nothing: what there is, and where it is written down to be caught.
    #[arg(long, conflicts_with_all = ["committed", "write"])]
    pub(crate) list: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write down in this table (sim/planted.tsv) at which seed from the first start each was caught, and by what.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a time; try 45s, 10m or 2h"))?;
    let seconds = match unit {
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3_600),
        _ => return Err(format!("`{unit}` is no unit of time; try 45s, 10m or 2h")),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert!(duration("soon").is_err() && duration("3x").is_err() && duration("99999999999999999999h").is_err());
    }
}
