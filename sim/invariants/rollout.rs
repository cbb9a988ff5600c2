//! What a rolling update does to what serves.

use std::sync::Arc;

use anyhow::Result;
use logic::model::{Allocation, CLIENT_RUNNING, Job, Node};
use logic::state::Store;

use super::SUCCESSOR_FIRST;

/// What the scheduler says of an allocation that gives way to a newer version.
const UPDATED: &str = "alloc is being updated due to job update";

/// Compares each state with the one before.
#[derive(Default)]
pub(super) struct Rollouts {
    before: Option<Arc<Store>>,
}

impl Rollouts {
    pub(super) fn look(&mut self, now: &Arc<Store>) -> Result<()> {
        if let Some(before) = self.before.replace(Arc::clone(now)) {
            for job in now.jobs().filter(|job| now.deployment_of(job).is_some()) {
                successors_first(&before, now, job)?;
            }
        }
        Ok(())
    }
}

fn successors_first(before: &Store, now: &Store, job: &Job) -> Result<()> {
    for old in before.allocs_of_job(&job.id).filter(|old| serves(old)) {
        let gone = now
            .alloc(&old.id)
            .filter(|alloc| alloc.server_terminal() && alloc.desired_description == UPDATED);
        if gone.is_none() {
            continue;
        }
        let successor = now.allocs_of_job(&job.id).find(|alloc| {
            alloc.name == old.name && alloc.deployment_healthy() && !alloc.server_terminal()
        });
        if successor.is_none()
            && let Some(node) = before.nodes().find(|node| has_room(before, node, old))
        {
            return Err(SUCCESSOR_FIRST.broken(format!(
                "{} ({}) was, and {} has room for another one",
                old.name, old.id, node.name
            )));
        }
    }
    Ok(())
}

fn serves(alloc: &Allocation) -> bool {
    !alloc.terminal()
        && alloc.client_status == CLIENT_RUNNING
        && (alloc.deployment_id.is_empty() || alloc.deployment_healthy())
}

/// Whether one more like it would fit, as far as numbers tell.
fn has_room(store: &Store, node: &Node, like: &Allocation) -> bool {
    let (usage, have, asked) = (store.usage(&node.id), node.available(), &like.resources);
    let constrained = like
        .job
        .as_ref()
        .is_some_and(|job| !job.constraints.is_empty())
        || like
            .group()
            .is_some_and(|group| !group.constraints.is_empty());
    let tasks = like.task_resources.values();
    let networks = tasks
        .flat_map(|task| &task.networks)
        .chain(&like.shared_networks);
    let mut fixed = networks.flat_map(|network| &network.reserved_ports);
    node.ready()
        && !constrained
        && fixed.next().is_none()
        && usage.cpu + asked.cpu <= have.cpu
        && usage.memory_mb + asked.memory_mb <= have.memory_mb
        && usage.disk_mb + asked.disk_mb <= have.disk_mb
}
