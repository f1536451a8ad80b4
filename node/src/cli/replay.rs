//! `tidelog replay`: runs what `tidelog node --record` wrote through a bare broker.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;

use crate::record::{ReplayError, replay};

/// What is run again.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A file that `tidelog node --record` wrote
    pub file: PathBuf,
}

/// Runs the recording, and says how far it was the same.
pub(super) fn run(args: &ReplayArgs) -> Result<(), String> {
    let name = args.file.display();
    let file = File::open(&args.file)
        .map_err(|error| format!("{name} can not be read ({error}): name a file that `tidelog node --record` wrote"))?;
    match replay(BufReader::new(file)) {
        Ok(replayed) => {
            let end = if replayed.cut { ", where the recording is cut off" } else { "" };
            println!("{} steps, every effect the same{end}", replayed.steps);
            Ok(())
        }
        Err(error @ ReplayError::Format) => {
            Err(format!("{name}: {error}: name a file that `tidelog node --record` of this version wrote"))
        }
        Err(error @ ReplayError::Differs { .. }) => Err(format!(
            "{name}: {error}\nreplay it with the version that recorded it; if it still differs, please report it"
        )),
        Err(error @ (ReplayError::Io(_) | ReplayError::Malformed { .. })) => {
            Err(format!("{name}: {error}: copy the file again from where it was recorded"))
        }
    }
}
