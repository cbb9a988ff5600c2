//! Where the edge gets its routes from when it is a program of its own: a Consul, or a text.
//!
//! Whatever is away, the last that was known stays.

mod answers;
mod following;
mod registering;
mod texts;

pub(super) use following::follow;
pub(super) use registering::Registrar;
pub(super) use texts::{follow_files, read_files};

use std::time::Duration;

/// The longest pause before something that failed is asked for again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long to wait after a failure: longer each time.
struct Patience {
    first: Duration,
    failures: u32,
}

impl Patience {
    fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// Waits; tells the first time, and then no more until it went well.
    async fn after(&mut self, what: &str, address: &str, why: &str) {
        if self.failures == 0 {
            tracing::warn!(address, why, "{what} can't be asked: the last known stays");
        } else {
            tracing::debug!(address, why, "{what} still can't be asked");
        }
        let pause = self.first.saturating_mul(1 << self.failures.min(8));
        self.failures += 1;
        tokio::time::sleep(pause.min(PAUSE_MAX)).await;
    }

    fn went_well(&mut self, what: &str, address: &str) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(address, "{what} can be asked again");
        }
    }
}
