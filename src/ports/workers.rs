//! Where the edge's connections are served: a thread a core in the real world, the host's own
//! thread in the simulator.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Asked;

/// What each worker runs; it is given the worker's number. It may spawn local tasks.
pub type WorkerTask = Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// Work that blocks its thread.
pub type BlockingWork = Box<dyn FnOnce() + Send>;

pub trait Workers: Send + Sync {
    /// How many workers there are; at least one.
    fn count(&self) -> usize;

    /// Starts `task` once on every worker. Returns at once.
    fn start_on_each(&self, name: &str, task: WorkerTask);

    /// Runs what blocks, such as a write that waits for the disk, beside everything else; returns
    /// when it is done.
    fn run_blocking(&self, work: BlockingWork) -> Asked<'_, ()>;
}
