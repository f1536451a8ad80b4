//! The clocks of the machine, in the core's units.

use std::time::{Duration, Instant, SystemTime};

use tidelog_core::time::{self, Now, Timestamp};

/// The clocks, from the moment this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic time starts here.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks now.
    pub(crate) fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_micros()).expect("half a million years");
        let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
        };
        Now { mono: time::Instant(mono), wall: Timestamp(wall) }
    }

    /// How long it is from now until a moment of the core's.
    pub(crate) fn until(&self, moment: time::Instant) -> Duration {
        Duration::from_micros(moment.since(self.now().mono).as_micros())
    }
}
