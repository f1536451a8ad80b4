//! The simulator's command line: finds seeds that break promises, replays them, and measures how well it does.
//!
//! Everything that touches clocks, threads, files and the terminal is here; the simulation itself is the library and pure.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "what is banned from the simulation belongs here"
)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
