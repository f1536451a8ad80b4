//! Trials: a broker whose disk was damaged, and that has healed, is started again, some times over.
//!
//! What was mended only in memory is found damaged again then; and whoever asks for new ids at each start never got rid of what
//! it asks them for. Once it has healed, nothing of its disk is excused any more.

use tidelog_core::rng::Rng;

use super::{Happening, Phase, World};
use crate::scenario::SECOND;
use crate::streams;

/// How often it is looked whether a damaged broker has healed, in microseconds.
const LOOK_EVERY: u64 = SECOND;

impl World {
    /// The disk of a broker was damaged: it is tried in time.
    pub(super) fn plan_trials(&mut self, place: u32) {
        if self.scenario.trials > 0 {
            self.queue.push(self.now + LOOK_EVERY, Happening::Trial { place, left: self.scenario.trials });
        }
    }

    /// Starts the broker again, if it has healed; looks again later, if it has not.
    pub(super) fn trial(&mut self, place: u32, left: u64) {
        let host = &mut self.hosts[place as usize];
        // With another disk, or none, there is nothing to try.
        if self.phase != Phase::Chaos || host.wiped > 0 || host.lost || left == 0 {
            return;
        }
        let healed = host.process.as_ref().is_some_and(|process| {
            process.broker.status().ready
                && !process.broker.ails()
                && process
                    .broker
                    .audit(|file| host.disk.content(file))
                    .groups
                    .iter()
                    .all(|group| group.damage.is_none())
        });
        if !healed {
            return self.queue.push(self.now + LOOK_EVERY, Happening::Trial { place, left });
        }
        let mut rng = Rng::stream(self.scenario.seed, &[streams::TRIAL, host.life]);
        if !host.healed {
            // What it says of the damage in files that it writes from now on counts, too.
            host.healed = true;
            let after = rng.between(10_000, 4 * SECOND);
            return self.queue.push(self.now + after, Happening::Trial { place, left });
        }
        let (power, down) = (rng.per_mille(500), rng.between(10_000, SECOND));
        self.tally.fault("trial");
        self.tell(Some(place), format!("fault: broker {}, which has healed, is started again", place + 1));
        let life = self.end_process(place, power);
        self.queue.push(self.now + down, Happening::Restart { place, life });
        self.queue.push(self.now + down + LOOK_EVERY, Happening::Trial { place, left: left - 1 });
    }
}
