//! Two workers that take turns on the simulated host's only thread, and work that waits for the
//! host's disk.

use ports::{Asked, BlockingWork, Random, WorkerTask, Workers};
use tokio::sync::oneshot;

use crate::world::SimHost;

pub(crate) struct SimWorkers {
    host: SimHost,
    random: Random,
}

impl SimWorkers {
    pub(crate) fn new(host: SimHost, random: Random) -> Self {
        Self { host, random }
    }
}

impl Workers for SimWorkers {
    fn count(&self) -> usize {
        2
    }

    fn start_on_each(&self, _name: &str, task: WorkerTask) {
        for number in 0..self.count() {
            tokio::task::spawn_local(task(number));
        }
    }

    /// The work goes on if nobody waits for it any more, as on a thread. The agent's end may come
    /// before it, or between its being done and anybody's knowing it.
    fn run_blocking(&self, work: BlockingWork) -> Asked<'_, ()> {
        let (host, random) = (self.host.clone(), self.random.clone());
        let (done, waiting) = oneshot::channel();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(host.disk_latency(&random)).await;
            work();
            tokio::time::sleep(host.disk_latency(&random) / 4).await;
            // Nobody may wait for it any more.
            done.send(()).ok();
        });
        Box::pin(async move {
            // The task ends with everything else.
            waiting.await.ok();
        })
    }
}
