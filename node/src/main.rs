//! The `tidelog` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tidelog::cli::run(tidelog::cli::Cli::parse())
}
