//! What a new job version means for a running allocation: nothing, a note, or a replacement.

use super::feasible;
use crate::model::{Allocation, Job, Network, Task, TaskGroup};
use crate::state::Store;

/// Whether a running allocation can take on the new version of its group without a restart.
pub(super) fn in_place(store: &Store, job: &Job, group: &TaskGroup, alloc: &Allocation) -> bool {
    let still_allowed = store.node(&alloc.node_id).is_some_and(|node| {
        feasible::in_datacenter(job, node) && feasible::check(job, group, node).is_ok()
    });
    still_allowed && !tasks_changed(alloc, group) && job_meta(alloc) == Some(&job.meta)
}

fn job_meta(alloc: &Allocation) -> Option<&std::collections::BTreeMap<String, String>> {
    alloc.job.as_ref().map(|job| &job.meta)
}

/// Whether the group differs in something that a running task can't take on.
pub(super) fn tasks_changed(alloc: &Allocation, new: &TaskGroup) -> bool {
    let Some(old) = alloc.group() else {
        return true;
    };
    old.tasks.len() != new.tasks.len()
        || old.ephemeral_disk != new.ephemeral_disk
        || old.meta != new.meta
        || asks(&old.networks) != asks(&new.networks)
        || new
            .tasks
            .iter()
            .any(|task| old.task(&task.name).is_none_or(|old| changed(old, task)))
}

/// The same of one task.
pub(crate) fn changed(old: &Task, new: &Task) -> bool {
    old.driver != new.driver
        || old.user != new.user
        || old.config != new.config
        || old.env != new.env
        || old.meta != new.meta
        || old.leader != new.leader
        || old.artifacts != new.artifacts
        || old.templates != new.templates
        || old.vault != new.vault
        || old.resources.cpu != new.resources.cpu
        || old.resources.memory_mb != new.resources.memory_mb
        || asks(&old.resources.networks) != asks(&new.resources.networks)
}

/// What of a network ask matters to a running task.
fn asks(networks: &[Network]) -> Vec<Network> {
    let asks = networks.iter().map(|network| Network {
        mode: network.mode.clone(),
        mbits: network.mbits,
        reserved_ports: network.reserved_ports.clone(),
        dynamic_ports: network.dynamic_ports.clone(),
        ..Network::default()
    });
    asks.collect()
}
