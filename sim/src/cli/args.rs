//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidelog_core::mutants::Mutants;

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
    /// How many seeds it takes to find each planted bug.
    #[cfg(feature = "mutants")]
    Mutants(Scoreboard),
}

/// Which bug to plant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Plant {
    /// Plant this bug in every broker.
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<String>,
}

impl Plant {
    /// The switchboard with the bug planted, if one is asked for.
    pub(crate) fn mutants(&self) -> Result<Mutants, String> {
        #[cfg(feature = "mutants")]
        if let Some(name) = &self.mutant {
            return Mutants::named(name).ok_or_else(|| {
                let known: Vec<&str> = tidelog_core::mutants::REGISTRY.iter().map(|(_, name, _)| *name).collect();
                format!("no mutant is called `{name}`; there are {}", known.join(", "))
            });
        }
        Ok(Mutants::default())
    }

    /// The words of a replay command.
    pub(crate) fn words(&self) -> String {
        #[cfg(feature = "mutants")]
        if let Some(name) = &self.mutant {
            return format!(" --mutant {name}");
        }
        String::new()
    }
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// The first seed: decimal, hex (0x...), or `last`. Without it a random one, which is printed.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<SeedArg>,
    /// How many seeds.
    #[arg(long, value_name = "N", conflicts_with = "for_")]
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
    /// Do not stop at the first failure; list each in a line.
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
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) seeds: u64,
}

/// Arguments of the scoreboard.
#[cfg(feature = "mutants")]
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Scoreboard {
    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1")]
    pub(crate) seed: SeedArg,
    /// How many starts per mutant; the medians are over them.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) starts: u64,
    /// How many seeds per start before a mutant counts as missed.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) budget: u64,
    /// Only this mutant.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Option<String>,
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
