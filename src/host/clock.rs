//! The machine's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use logic::time::Time;

pub(crate) struct HostClock {
    started: Instant,
}

impl HostClock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl ports::Clock for HostClock {
    fn now(&self) -> Time {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Time(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
