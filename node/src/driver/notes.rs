//! What the log of a node tells of what its broker did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidelog_core::event::Event;
use tidelog_core::time::{Duration, Instant};
use tracing::{debug, info, trace, warn};

use crate::error::no_room;
use crate::host::free_bytes;

/// How long after it was told the same note is told again.
const NOTE_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How many notes are remembered.
const NOTES_MAX: usize = 64;

/// What operators were told lately: the same is not told again at once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Where the data is, if that is a directory.
    pub(super) directory: Option<PathBuf>,
    /// When each was told, and how often it came since.
    told: BTreeMap<String, (Instant, u64)>,
}

impl Notes {
    /// How often a note came since it was told, this time included, if it is to be told now.
    fn due(&mut self, now: Instant, note: &str) -> Option<u64> {
        if self.told.len() >= NOTES_MAX {
            self.told.clear();
        }
        match self.told.get_mut(note) {
            Some((at, count)) => {
                *count += 1;
                if now.since(*at) < NOTE_AGAIN_AFTER {
                    return None;
                }
                *at = now;
                Some(std::mem::take(count))
            }
            None => {
                self.told.insert(note.to_owned(), (now, 0));
                Some(1)
            }
        }
    }
}

/// Logs what an operator may want to read; the rest is for those who look closely.
pub(super) fn log(event: Event, now: Instant, notes: &mut Notes) {
    match event {
        Event::Note(note) => match notes.due(now, &note) {
            Some(1) => warn!("{note}"),
            Some(times) => warn!(times, "{note}"),
            None => debug!("{note}"),
        },
        Event::NoRoom { needed, starting } => {
            let directory = notes.directory.as_deref();
            warn!("{}", no_room(directory, needed, directory.and_then(free_bytes), starting));
        }
        Event::Progress(what) => info!("{what}"),
        Event::Chartered { cluster, replica, .. } if replica.0 > 0 => info!(%cluster, "member"),
        Event::Chartered { cluster, .. } => info!(%cluster, "observer: to be admitted"),
        Event::Started => info!("recovered, taking part"),
        Event::Elected { .. }
        | Event::Serving { .. }
        | Event::Deposed { .. }
        | Event::Configured { .. }
        | Event::Recovered { .. }
        | Event::Checkpointed { .. }
        | Event::Installing { .. }
        | Event::Installed { .. }
        | Event::Healed { .. } => debug!(?event),
        Event::Appended { .. }
        | Event::Persisted { .. }
        | Event::HardStatePersisted { .. }
        | Event::Applied { .. }
        | Event::Judged { .. }
        | Event::Sometimes(_) => trace!(?event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_told_once_in_a_while_with_a_count() {
        let mut notes = Notes::default();
        let at = |secs| Instant::default() + Duration::from_secs(secs);
        assert_eq!(notes.due(at(1), "full"), Some(1));
        assert_eq!(notes.due(at(2), "full"), None);
        assert_eq!(notes.due(at(2), "foreign"), Some(1));
        assert_eq!(notes.due(at(3), "full"), None);
        assert_eq!(notes.due(at(11), "full"), Some(3));
        assert_eq!(notes.due(at(12), "full"), None);
        for number in 0..NOTES_MAX as u64 * 3 {
            notes.due(at(12), &number.to_string());
            assert!(notes.told.len() <= NOTES_MAX);
        }
    }
}
