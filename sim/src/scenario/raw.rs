//! Producers that write batches by hand, and partitions that soon forget producers: what our own client never does, and what a broker
//! meets after days only.

use serde::{Deserialize, Serialize};
use tidelog_core::limits::{PRODUCER_EXPIRES_AFTER_MS, PRODUCERS_MAX};
use tidelog_core::rng::Rng;

use super::{SECOND, Scenario};
use crate::streams;

/// So many runs in a thousand are of partitions that soon forget.
const FORGETFUL: u64 = 150;

/// A client that writes batches by hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RawSpec {
    /// The mean time between two of its acts, in microseconds.
    pub pause: u64,
    /// How many sequences it writes at a time, each in one partition under an id of its own.
    pub writers: u32,
    /// So many in a thousand of its requests ask for the leader's acknowledgement only.
    pub leader_acks: u64,
}

/// As many producers as a partition remembers of itself.
pub(super) fn producers_max() -> u32 {
    PRODUCERS_MAX
}

/// As long as a partition remembers a silent producer of itself, in microseconds.
pub(super) fn silence() -> u64 {
    PRODUCER_EXPIRES_AFTER_MS * 1_000
}

impl Scenario {
    /// Whether partitions forget producers within a run: then what is sent again may be appended again.
    pub fn forgets(&self) -> bool {
        self.sizes.producers < producers_max() || self.sizes.producer_silence < silence()
    }

    pub(super) fn draw_raw(&mut self) {
        let mut rng = Rng::stream(self.seed, &[streams::FORGETFUL]);
        if rng.per_mille(FORGETFUL) {
            let kind = rng.below(10);
            if kind < 6 {
                self.sizes.producers = rng.between(3, 6) as u32;
            }
            if kind > 3 {
                self.sizes.producer_silence = rng.between(10, 24) * SECOND;
            }
        }
        let mut rng = Rng::stream(self.seed, &[streams::RAW]);
        if rng.per_mille(if self.forgets() { 700 } else { 280 }) {
            self.raw.push(RawSpec {
                pause: rng.between(SECOND / 5, SECOND / 2),
                writers: rng.between(3, 6) as u32,
                leader_acks: [0, 300, 1_000][rng.below(3) as usize],
            });
        }
    }
}
