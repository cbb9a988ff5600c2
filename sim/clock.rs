//! Clocks of simulated machines: simulated time from a fixed start, off by as much as a scenario
//! likes.

use std::cell::Cell;
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

thread_local! {
    static BETWEEN_STEPS: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Simulated time since the simulation began.
pub fn elapsed() -> Duration {
    let between = BETWEEN_STEPS.with(Cell::get);
    between.unwrap_or_else(|| turmoil::sim_elapsed().unwrap_or_default())
}

/// Does `what` between two steps, at `at`. No machine's runtime runs then, so that the simulated
/// network would tell no time, or (what ends with a machine) that of the wall.
pub fn between_steps<T>(at: Duration, what: impl FnOnce() -> T) -> T {
    let before = BETWEEN_STEPS.with(|between| between.replace(Some(at)));
    let done = what();
    BETWEEN_STEPS.with(|between| between.set(before));
    done
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use logic::time::Time;
    use ports::Clock as _;

    use super::{EPOCH, SimClock, between_steps};
    use crate::trace::Trace;
    use crate::world::SimHost;

    #[test]
    fn a_clock_stopped_between_steps_stands_at_that_time() {
        let host = SimHost::new("n1", 5);
        let clock = SimClock::new(host.clone());
        between_steps(Duration::from_secs(7), || host.freeze_clock(true));
        assert_eq!(clock.now(), Time(EPOCH.0 + 7_000_000_000));
    }

    /// What a machine says while it ends is noted at the time of its end, not at the wall's.
    #[test]
    fn the_end_of_a_machine_has_a_simulated_time() {
        struct Last(Trace);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.note("the end");
            }
        }
        let trace = Trace::default();
        let mut sim = turmoil::Builder::new().build();
        let ending = trace.clone();
        sim.host("n1", move || {
            let last = Last(ending.clone());
            async move {
                let _last = last;
                std::future::pending().await
            }
        });
        sim.step().expect("the host goes on");
        std::thread::park_timeout(Duration::from_millis(5));
        let at = sim.elapsed();
        between_steps(at, || sim.crash("n1"));
        assert_eq!(
            trace.lines(),
            [format!("{:>9.3} the end", at.as_secs_f64())]
        );
    }
}
