//! A thread a core, each with a runtime of its own, so that connections never change threads.

use std::num::NonZeroUsize;

use ports::{Asked, BlockingWork, WorkerTask, Workers};
use tokio::runtime::{Builder, LocalOptions};

pub(crate) struct HostWorkers {
    count: usize,
}

impl HostWorkers {
    pub(crate) fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { count }
    }
}

impl Workers for HostWorkers {
    fn count(&self) -> usize {
        self.count
    }

    fn start_on_each(&self, name: &str, task: WorkerTask) {
        for number in 0..self.count {
            let task = task.clone();
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || run(number, &task));
            if let Err(error) = thread {
                tracing::error!(%error, name, number, "can't start a worker thread");
            }
        }
    }

    fn run_blocking(&self, work: BlockingWork) -> Asked<'_, ()> {
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(work).await {
                tracing::error!(%error, "work on a thread of its own didn't end well");
            }
        })
    }
}

fn run(number: usize, task: &WorkerTask) {
    let mut builder = Builder::new_current_thread();
    match builder.enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(task(number)),
        Err(error) => tracing::error!(%error, number, "can't start a worker's runtime"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn every_worker_runs_the_task_once_and_may_spawn_local_tasks() {
        let workers = HostWorkers::new();
        let (done, finished) = channel();
        workers.start_on_each(
            "test",
            Arc::new(move |number| {
                let done = done.clone();
                Box::pin(async move {
                    let local = std::rc::Rc::new(number);
                    let number = tokio::task::spawn_local(async move { *local });
                    done.send(number.await.expect("the local task ends"))
                        .expect("the test listens");
                })
            }),
        );
        let numbers: BTreeSet<usize> = finished.iter().collect();
        assert_eq!(numbers, (0..workers.count()).collect());
    }
}
