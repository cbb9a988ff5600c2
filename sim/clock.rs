//! Clocks of simulated machines: simulated time from a fixed start, off by as much as a scenario
//! likes.

use std::time::Duration;

use logic::time::Time;
use ports::Clock;

use crate::world::{SimHost, lock};

/// 2026-01-01T00:00:00Z, when every simulation begins.
pub const EPOCH: Time = Time(1_767_225_600_000_000_000);

#[derive(Debug, Default)]
pub(crate) struct ClockState {
    pub(crate) skew: i64,
    frozen_at: Option<Duration>,
}

impl ClockState {
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen_at = frozen.then(elapsed);
    }
}

/// Simulated time since the simulation began.
fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

pub(crate) struct SimClock {
    host: SimHost,
}

impl SimClock {
    pub(crate) fn new(host: SimHost) -> Self {
        Self { host }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        let state = lock(&self.host.shared().clock);
        let passed = EPOCH.plus(state.frozen_at.unwrap_or_else(elapsed));
        Time(passed.0.saturating_add(state.skew))
    }

    fn monotonic(&self) -> Duration {
        elapsed()
    }
}
