//! `tidelog replay`: runs what `tidelog node --record` wrote through a bare broker.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::stop::Stop;
use crate::record::{ReplayError, replay};

/// What is run again.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A file that `tidelog node --record` wrote
    pub file: PathBuf,
}

/// Runs the recording, and says how far it was the same.
pub(super) fn run(args: &ReplayArgs) -> Result<(), Stop> {
    let name = args.file.display();
    let file = File::open(&args.file)
        .map_err(|error| format!("{name} can not be read ({error}): name a file that `tidelog node --record` wrote"))?;
    match replay(BufReader::new(file)) {
        Ok(replayed) => {
            let end = if replayed.cut { ", where the recording is cut off" } else { "" };
            let mut out = io::stdout().lock();
            writeln!(out, "{} steps, every effect the same{end}", replayed.steps)?;
            Ok(out.flush()?)
        }
        Err(error @ ReplayError::Format) => Err(Stop::Failed(format!(
            "{name}: {error}: name a file that `tidelog node --record` of this version wrote"
        ))),
        Err(error @ ReplayError::Differs { .. }) => Err(Stop::Failed(format!(
            "{name}: {error}\nreplay it with the version that recorded it; if it still differs, please report it"
        ))),
        Err(error @ (ReplayError::Io(_) | ReplayError::Malformed { .. })) => {
            Err(Stop::Failed(format!("{name}: {error}: copy the file again from where it was recorded")))
        }
    }
}
