//! Who waits for answers, however long they take.
//!
//! An impatient client heals everything: it gives up a connection after a second or two, comes again, and finds whatever was never
//! answered to be well. One that waits for minutes, as clients are set in earnest, shows it.

use serde::{Deserialize, Serialize};
use tidelog_core::client::Config;
use tidelog_core::rng::Rng;
use tidelog_core::time::Duration;

use super::SECOND;
use crate::streams;

/// How long an answer may take before a patient client gives up the connection: longer than what is left of any run.
const REQUEST_TIMEOUT: u64 = 90 * SECOND;
/// How long a patient client sends a record again and again.
const DELIVERY_TIMEOUT: u64 = 120 * SECOND;
/// A patient client asks for metadata when it has to, and does not stumble over what became of the cluster meanwhile.
const METADATA_MAX_AGE: u64 = 300 * SECOND;

/// So many deletions in a thousand meet slow disks.
const SLOW_DELETIONS: u64 = 600;

/// The patience of the clients of a run. None of it in scenarios that were saved before it was drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// The bit set of clients that wait: bit 0 is who makes the topics, then come producers, then consumers.
    pub clients: u64,
    /// Whether those who come after the heal wait, too.
    pub after_heal: bool,
    /// So many deletions of topics in a thousand meet slow disks, so that something of the topic is being read then.
    #[serde(default)]
    pub slow_deletions: u64,
    /// The longest a patient consumer lets a fetch wait for records, in microseconds.
    pub poll: u64,
}

impl Patience {
    /// A third of runs has patient clients.
    pub(super) fn draw(seed: u64, clients: u32) -> Self {
        let mut rng = Rng::stream(seed, &[streams::PATIENCE]);
        if !rng.per_mille(340) {
            return Self { slow_deletions: SLOW_DELETIONS, ..Self::default() };
        }
        let waits = (0..=u64::from(clients)).filter(|_| rng.per_mille(650)).fold(0, |all, nth| all | 1 << nth.min(63));
        let slow_deletions = SLOW_DELETIONS;
        Self { clients: waits, after_heal: true, slow_deletions, poll: rng.between(SECOND / 2, 3 * SECOND) }
    }

    /// Whether the nth client waits.
    pub(crate) fn has(&self, nth: usize) -> bool {
        nth < 64 && self.clients & (1 << nth) != 0
    }

    /// Makes a client patient.
    pub(crate) fn lend(&self, config: &mut Config) {
        config.request_timeout = Duration::from_micros(REQUEST_TIMEOUT);
        config.delivery_timeout = Duration::from_micros(DELIVERY_TIMEOUT);
        config.metadata_max_age = Duration::from_micros(METADATA_MAX_AGE);
        config.fetch_max_wait = Duration::from_micros(self.poll);
    }
}
