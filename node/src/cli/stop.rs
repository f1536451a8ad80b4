//! How a command ends: what it prints that nobody reads, or that has no room, is told by its exit code.
//!
//! Rust ignores SIGPIPE, so that a write fails where other programs are killed; here is the one place where that becomes an end.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// What a shell says of a program that was killed by SIGPIPE, as ours would have been.
const UNREAD: u8 = 141;

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads what we print: nothing is said, since nobody may read that either.
    Unread,
    /// One sentence: cause and cure.
    Failed(String),
}

impl From<String> for Stop {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

impl From<io::Error> for Stop {
    /// The error of a write to stdout.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(format!("could not write to stdout ({error}): repair that and run the command again")),
        }
    }
}

impl Stop {
    /// Says what is to be said, and tells how the process ends.
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Unread => UNREAD.into(),
            Self::Failed(sentence) => {
                // Where nobody can read it, the exit code must do.
                let _ = writeln!(io::stderr(), "tidelog: {sentence}");
                ExitCode::FAILURE
            }
        }
    }
}
