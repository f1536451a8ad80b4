//! A host's clocks: the monotonic one starts anywhere, drifts and may leap ahead; the wall clock is off, drifts on its own and
//! may jump either way.

use tidelog_core::rng::Rng;
use tidelog_core::time::{Instant, Now, Timestamp};

const MILLION: i64 = 1_000_000;
/// The wall time at virtual time zero, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_750_000_000_000;

/// Both clocks of one incarnation of a process.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    born: u64,
    start: u64,
    drift_ppm: i64,
    wall_drift_ppm: i64,
    wall_offset_ms: i64,
}

/// How fast a clock runs: most are good, some are a few parts per thousand off, and some virtual machines are worse.
fn drift(rng: &mut Rng) -> i64 {
    let most = [200, 200, 200, 5_000, 5_000, 30_000][rng.below(6) as usize];
    rng.below(2 * most + 1) as i64 - most as i64
}

impl Clock {
    /// Clocks of a process born at the virtual time `born`.
    pub(crate) fn draw(born: u64, wall_offset_ms: i64, rng: &mut Rng) -> Self {
        let start = rng.below(1 << 40);
        Self { born, start, drift_ppm: drift(rng), wall_drift_ppm: drift(rng), wall_offset_ms }
    }

    /// What the clocks show at the virtual time `now`.
    pub(crate) fn read(&self, now: u64) -> Now {
        let elapsed = now.saturating_sub(self.born) as i64;
        let mono = self.start + (elapsed + elapsed * self.drift_ppm / MILLION) as u64;
        let wall = elapsed / 1_000 * self.wall_drift_ppm / MILLION + self.wall_offset_ms;
        Now { mono: Instant(mono), wall: Timestamp(EPOCH_MS + (now / 1_000) as i64 + wall) }
    }

    /// The first virtual time at which the monotonic clock shows `mono`.
    pub(crate) fn when(&self, mono: Instant) -> u64 {
        let wanted = mono.0.saturating_sub(self.start).min(1 << 42) as i64;
        // Roundings of a clock that runs slow put the guess a little late.
        let mut elapsed = (wanted * MILLION / (MILLION + self.drift_ppm) - 2).max(0) as u64;
        while self.read(self.born + elapsed).mono < mono && elapsed < 1 << 43 {
            elapsed += 1;
        }
        self.born + elapsed
    }

    /// The monotonic clock leaps ahead.
    pub(crate) fn leap(&mut self, millis: u64) {
        self.start = self.start.saturating_add(millis.saturating_mul(1_000));
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&mut self, millis: i64) {
        self.wall_offset_ms = self.wall_offset_ms.saturating_add(millis);
    }
}

/// A timer that keeps only the next moment asked for, without flooding the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm {
    wanted: Option<u64>,
    scheduled: Option<u64>,
}

impl Alarm {
    /// Replaces the moment asked for. Gives the moment to put into the queue, if there must be one.
    pub(crate) fn set(&mut self, at: u64) -> Option<u64> {
        self.wanted = Some(at);
        match self.scheduled {
            Some(already) if already <= at => None,
            _ => {
                self.scheduled = Some(at);
                Some(at)
            }
        }
    }

    /// A moment put into the queue has come. Gives whether to ring, and the moment to put into the queue if it is too early.
    pub(crate) fn due(&mut self, at: u64) -> (bool, Option<u64>) {
        if self.scheduled != Some(at) {
            return (false, None);
        }
        self.scheduled = None;
        match self.wanted {
            Some(wanted) if wanted <= at => {
                self.wanted = None;
                (true, None)
            }
            Some(wanted) => {
                self.scheduled = Some(wanted);
                (false, Some(wanted))
            }
            None => (false, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_and_its_inverse_agree() {
        for seed in 0..50 {
            let mut rng = Rng::stream(seed, &[1]);
            let clock = Clock::draw(1_000, 0, &mut rng);
            let base = clock.read(1_000).mono;
            for ahead in [0, 1, 777, 20_000, 5_000_000, 90_000_000] {
                let mono = Instant(base.0 + ahead);
                let at = clock.when(mono);
                assert!(clock.read(at).mono >= mono);
                assert!(at == 1_000 || clock.read(at - 1).mono < mono);
            }
        }
    }

    #[test]
    fn an_alarm_rings_once_at_the_last_moment_asked_for() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.set(10), Some(10));
        assert_eq!(alarm.set(20), None);
        assert_eq!(alarm.due(10), (false, Some(20)));
        assert_eq!(alarm.set(15), Some(15));
        assert_eq!(alarm.due(15), (true, None));
        assert_eq!(alarm.due(20), (false, None));
    }
}
