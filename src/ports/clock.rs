//! Wall-clock time. Timers are tokio's, which the simulator drives.

use logic::time::Time;

pub trait Clock: Send + Sync {
    /// Now, as the calendar has it. May jump; never used to measure how long something took.
    fn now(&self) -> Time;

    /// Time since some fixed point of this process, which never goes backward.
    fn monotonic(&self) -> std::time::Duration;
}
