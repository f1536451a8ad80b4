//! What is printed, and what becomes of a run whose words nobody reads, or which have no room.
//!
//! The standard library's `println!` panics where it can not print. The macros of these names that this module gives to all of
//! `cli` end the process instead, as SIGPIPE ends other programs: quietly, with 141, if nobody reads; with a sentence else.

use std::fmt;
use std::io::{self, Write};
use std::process;

/// What a shell says of a program that was killed by SIGPIPE, as ours would have been.
const UNREAD: i32 = 141;

/// Prints on stdout.
pub(crate) fn print(words: fmt::Arguments<'_>) {
    if let Err(error) = io::stdout().write_fmt(words) {
        lost(&error);
    }
}

/// Prints on stderr. Where nobody can read it, the exit code must do.
pub(crate) fn complain(words: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(words);
}

/// Ends the process: stdout takes no more, for this reason.
pub(crate) fn lost(error: &io::Error) -> ! {
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(UNREAD);
    }
    complain(format_args!("tidelog-sim: could not write to stdout ({error}): repair that and run the command again\n"));
    process::exit(super::USAGE.into());
}

macro_rules! print {
    ($($words:tt)*) => { $crate::cli::out::print(format_args!($($words)*)) };
}

macro_rules! println {
    () => { print!("\n") };
    ($($words:tt)*) => { print!("{}\n", format_args!($($words)*)) };
}

macro_rules! eprint {
    ($($words:tt)*) => { $crate::cli::out::complain(format_args!($($words)*)) };
}

macro_rules! eprintln {
    ($($words:tt)*) => { eprint!("{}\n", format_args!($($words)*)) };
}
