//! Nodes that hear no server: allocations whose group doesn't want to run unseen are stopped.

use std::time::Duration;

use actix::{AsyncContext, Context};
use logic::model;

use super::Client;
use crate::client::allocation::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Client {
    pub(super) fn mind_silence(&mut self, ctx: &mut Context<Self>) {
        self.heard = self.world.clock.monotonic();
        ctx.run_interval(LOOK_EVERY, |client, _| client.stop_unseen());
    }

    fn stop_unseen(&self) {
        let silent = self.world.clock.monotonic().saturating_sub(self.heard);
        for running in self.running.values().filter(|running| !running.ended) {
            let impatient = patience(&running.alloc).is_some_and(|patience| silent > patience);
            if let (true, Some(addr)) = (impatient, &running.addr) {
                addr.do_send(Stop {
                    reason: "no server was heard from for too long".to_owned(),
                });
            }
        }
    }
}

/// For how long the allocation may run without any server; `None`: on and on.
fn patience(alloc: &model::Allocation) -> Option<Duration> {
    let nanos = alloc.group()?.stop_on_client_after()?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logic::model::{Allocation, Job, TaskGroup};

    use super::*;

    #[test]
    fn only_groups_that_say_so_stop_on_a_silent_node() {
        let alloc = |after: Option<i64>| {
            let group = TaskGroup {
                name: "web".to_owned(),
                stop_after_client_disconnect: after,
                ..TaskGroup::default()
            };
            let job = Job {
                task_groups: vec![group],
                ..Job::default()
            };
            Allocation {
                task_group: "web".to_owned(),
                job: Some(Arc::new(job)),
                ..Allocation::default()
            }
        };
        assert_eq!(patience(&alloc(None)), None);
        let minute = 60_000_000_000;
        assert_eq!(
            patience(&alloc(Some(minute))),
            Some(Duration::from_secs(60))
        );
    }
}
