//! One broker alone, as the first command of the README starts it: nothing that others say hides what it forgets by itself.

use tidelog_core::rng::Rng;

use super::Scenario;
use crate::streams;

/// So many runs in a thousand are of one broker.
const ALONE: u64 = 50;

impl Scenario {
    /// Makes some runs those of one broker. What could not but lose what was acknowledged, or has no meaning, is left out.
    pub(super) fn draw_alone(&mut self) {
        let mut rng = Rng::stream(self.seed, &[streams::ALONE]);
        if !rng.per_mille(ALONE) {
            return;
        }
        self.brokers = 1;
        // Told of no list, or of a list of itself.
        self.voters = rng.below(2) as u32;
        (self.spread, self.late) = (self.spread.min(50_000), 0);
        for topic in &mut self.topics {
            (topic.replication, topic.min_insync) = (1, 1);
        }
        let rates = &mut self.rates;
        (rates.wipe, rates.rot) = (0, 0);
        (rates.partition, rates.storm, rates.clog) = (0, 0, 0);
        // A blackout is what a power loss is; both rates add up.
        rates.power += std::mem::take(&mut rates.blackout);
    }
}
