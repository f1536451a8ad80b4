//! Back pressure: connections that produce are muted while the disk is behind, and heard again when it has caught up.
//!
//! Promises that what is applied and not written is bounded, give or take what was already read from connections, and that
//! nobody is muted for want of space: a full disk does not pass by waiting, so there produces are refused with an error.
//! Does not know how segments are written; followers are not held back, they have nobody to mute.

use std::collections::BTreeMap;

use super::replica::Replica;
use super::{Broker, Phase};
use crate::effect::Effects;
use crate::event::Event;
use crate::id::{ConnId, GroupId};
use crate::marks;
use crate::mutants::Mutant;
use crate::time::Duration;

/// A disk that was not seen to be full for so long, while it was tried again and again, has room.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// What one group has not brought to its segments.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Load {
    unwritten_bytes: u64,
    full: bool,
    checkpointing: bool,
}

/// The loads of all groups, added up.
#[derive(Default, Debug)]
pub(super) struct Pressure {
    /// Of those groups that have any.
    loads: BTreeMap<GroupId, Load>,
    unwritten_bytes: u64,
    full: u64,
    checkpointing: u64,
    /// Whether connections that produce are to be muted.
    holding: bool,
}

impl Pressure {
    /// Takes note of a group as it is now; `None` is gone.
    pub(super) fn note(&mut self, group: GroupId, replica: Option<&Replica>) {
        let now = replica.map_or(Load::default(), |replica| Load {
            unwritten_bytes: replica.machine.log.unwritten_bytes(),
            full: replica.machine.log.is_full(),
            checkpointing: replica.is_checkpointing(),
        });
        let before = if now == Load::default() { self.loads.remove(&group) } else { self.loads.insert(group, now) };
        let before = before.unwrap_or_default();
        self.unwritten_bytes = self.unwritten_bytes - before.unwritten_bytes + now.unwritten_bytes;
        self.full = self.full - u64::from(before.full) + u64::from(now.full);
        self.checkpointing = self.checkpointing - u64::from(before.checkpointing) + u64::from(now.checkpointing);
    }

    /// Whether connections that produce are to be muted.
    pub(super) fn holding(&self) -> bool {
        self.holding
    }

    pub(super) fn check(&self) {
        let unwritten: u64 = self.loads.values().map(|load| load.unwritten_bytes).sum();
        assert_eq!(unwritten, self.unwritten_bytes, "the loads of groups add up");
    }
}

impl Broker {
    /// Looks whether the disk is behind, and lets those go on who were muted for it when it no longer is.
    pub(super) fn weigh(&mut self, out: &mut Effects) {
        let (settings, pressure) = (&self.config.settings, &self.pressure);
        let journal = self.journal.as_ref().expect("a running broker has a journal");
        let unwritten_max =
            if pressure.holding { settings.unwritten_bytes_max / 2 } else { settings.unwritten_bytes_max };
        let unwritten = pressure.unwritten_bytes > unwritten_max;
        // Without a checkpoint under way nothing would release files, however long one waited.
        let files_busy = u64::from(settings.journal_files_busy).saturating_sub(pressure.holding.into());
        let unmarked = pressure.checkpointing > 0 && journal.files_needed() >= files_busy;
        let full = pressure.full > 0 || self.journal_full || journal.is_full();
        let holding = (unwritten || unmarked) && !full;
        let refused = journal.refused();
        if full {
            self.no_room(refused, out);
        } else if self.disk_full.is_some_and(|seen| seen + ROOM_AFTER <= self.now.mono) {
            self.disk_full = None;
            out.event(Event::Progress("there is room on the disk again".into()));
        }
        if self.pressure.holding && !holding && !self.config.mutants.planted(Mutant::HeldForEver) {
            self.sessions.release_held(out);
        }
        self.pressure.holding = holding;
    }

    /// The disk is full, and was asked for so many bytes: operators are told once, and again only after there was room.
    pub(super) fn no_room(&mut self, needed: u64, out: &mut Effects) {
        if needed > 0 {
            self.room_needed = needed;
        }
        if self.disk_full.replace(self.now.mono).is_none() {
            let starting = !matches!(self.phase, Phase::Running);
            out.event(Event::NoRoom { needed: self.room_needed, starting });
        }
    }

    /// A connection produces: it is not read from for a while if the disk is behind. What it asked is served.
    pub(super) fn hold_back(&mut self, conn: ConnId, out: &mut Effects) {
        if self.pressure.holding && self.sessions.hold(conn, out) {
            out.event(Event::Sometimes(marks::PRODUCER_HELD_BACK));
        }
    }
}
