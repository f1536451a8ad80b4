//! What is printed. Where nobody reads it, or it has no room, the run ends in good order instead of by a panic.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

/// What a shell says of a program that was killed by SIGPIPE, as ours would have been.
pub const UNREAD: u8 = 141;

/// Why stdout takes no more.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints a line on stdout, or remembers that it could not.
pub fn say(line: impl fmt::Display) {
    if LOST.get().is_none()
        && let Err(error) = writeln!(io::stdout(), "{line}")
    {
        LOST.get_or_init(|| error);
    }
}

/// Prints a line on stderr. Where nobody can read it, the exit code must do.
pub fn complain(sentence: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "tidelog-jepsen: {sentence}");
}

/// Why lines could not be printed, if there were such.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}
