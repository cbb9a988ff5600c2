//! Two workers that take turns on the simulated host's only thread.

use ports::{Asked, BlockingWork, WorkerTask, Workers};

pub(crate) struct SimWorkers;

impl Workers for SimWorkers {
    fn count(&self) -> usize {
        2
    }

    fn start_on_each(&self, _name: &str, task: WorkerTask) {
        for number in 0..self.count() {
            tokio::task::spawn_local(task(number));
        }
    }

    fn run_blocking(&self, work: BlockingWork) -> Asked<'_, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}
