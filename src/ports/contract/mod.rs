//! What every implementation of the ports promises, as checks that run against the real world and
//! the simulated one alike. Each returns the first promise that is broken.

mod containers;
mod disk;
mod network;

use std::future::Future;
use std::time::Duration;

pub use containers::{Probe, containers};
pub use disk::disk;
pub use network::network;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| format!("{what}: nothing happened for {} s", PATIENCE.as_secs()))
}

/// As `soon`, for what should also succeed.
async fn done<T, E: std::fmt::Display>(
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    soon(what, future)
        .await?
        .map_err(|error| format!("{what}: {error}"))
}

fn ensure(holds: bool, promise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(promise()) }
}
