//! Arguments, and what each command does with them.

#[macro_use]
mod out;

mod args;
mod campaign;
#[cfg(feature = "mutants")]
mod mutants;
#[cfg(feature = "mutants")]
mod near;
mod pool;
mod profile;
mod replay;
mod report;
mod seed;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Args, Command};

/// The exit code of wrong usage and of a broken environment.
pub(crate) const USAGE: u8 = 1;

pub(crate) fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if let (Err(error), true) = (error.print().and_then(|()| std::io::stdout().flush()), asked) {
                out::lost(&error);
            }
            return ExitCode::from(if asked { 0 } else { USAGE });
        }
    };
    pool::quiet_panics();
    let result = match args.command {
        Command::Run(run) => campaign::run(&run),
        Command::Replay(replay) => replay::replay(&replay),
        Command::Profile(profile) => profile::profile(&profile),
        #[cfg(feature = "mutants")]
        Command::Mutants(scoreboard) => mutants::scoreboard(&scoreboard),
        #[cfg(not(feature = "mutants"))]
        Command::Mutants(_) => Err(args::without_bugs("there are no planted bugs in this build", "mutants")),
    };
    if let Err(error) = std::io::stdout().flush() {
        out::lost(&error);
    }
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tidelog-sim: {error}");
            ExitCode::from(USAGE)
        }
    }
}
