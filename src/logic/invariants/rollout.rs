//! What always holds of rollouts.

use std::collections::BTreeMap;

use crate::drain;
use crate::model::{Allocation, CLIENT_RUNNING, JOB_SERVICE, Job, Node, stopped};
use crate::state::Store;
use crate::time::Time;

/// Two holders of a name are of different versions, and at least one is part of a deployment; or
/// one of them leaves.
pub(super) fn one_replaces_the_other(one: &Allocation, other: &Allocation) -> bool {
    if one.migrate || other.migrate {
        return true;
    }
    let version = |alloc: &Allocation| alloc.job.as_ref().map(|job| job.job_modify_index);
    let a_part = !one.deployment_id.is_empty() || !other.deployment_id.is_empty();
    a_part && version(one) != version(other)
}

pub(super) fn deployments_count(store: &Store) -> Result<(), String> {
    let mut active: BTreeMap<&str, &str> = BTreeMap::new();
    for deployment in store.deployments().filter(|row| row.active()) {
        let (id, job_id) = (&deployment.id, &deployment.job_id);
        if let Some(other) = active.insert(job_id, id) {
            return Err(format!("both {other} and {id} of job {job_id} go on"));
        }
        if !store.job(job_id).is_some_and(|job| deployment.is_of(job)) {
            return Err(format!("{id} goes on, and job {job_id} is another"));
        }
        for (group, state) in &deployment.task_groups {
            let members = store.allocs_in(job_id, id);
            let healthy = members
                .filter(|alloc| alloc.task_group == *group)
                .filter(|alloc| alloc.deployment_healthy() && !alloc.terminal())
                .count() as u64;
            if healthy != state.healthy_allocs {
                let counted = state.healthy_allocs;
                return Err(format!(
                    "{id} counts {counted} of {group}, and {healthy} are"
                ));
            }
        }
    }
    Ok(())
}

/// Whether what a step of a rolling update stops had a successor that is healthy, or no room for
/// one beside it.
pub fn successors_first(before: &Store, now: &Store) -> Result<(), String> {
    for job in now.jobs().filter(|job| now.deployment_of(job).is_some()) {
        of_job(before, now, job)?;
    }
    for old in before.leaving().filter(|old| kind(old) == JOB_SERVICE) {
        moves(before, now, old)?;
    }
    Ok(())
}

fn kind(alloc: &Allocation) -> &str {
    alloc.job.as_ref().map_or("", |job| job.r#type.as_str())
}

/// Whether what has just been stopped because it was to leave, and was well, had a successor that
/// ran, or no room for one beside it, or no more time.
fn moves(before: &Store, now: &Store, old: &Allocation) -> Result<(), String> {
    let Some(gone) = now
        .alloc(&old.id)
        .filter(|alloc| alloc.server_terminal() && alloc.desired_description == stopped::MIGRATED)
    else {
        return Ok(());
    };
    let at = Time(gone.modify_time);
    let forced = now
        .node(&old.node_id)
        .is_none_or(|node| node.forced_out(at));
    if forced || !drain::is_well(before, old, at) || drain::is_over(before, old, at) {
        return Ok(());
    }
    let mut of_name = now
        .allocs_of_job(&old.job_id)
        .filter(|alloc| alloc.name == old.name && alloc.id != old.id);
    let runs =
        of_name.any(|alloc| alloc.client_status == CLIENT_RUNNING && !alloc.server_terminal());
    let node = now.nodes().find(|node| has_room(now, node, old));
    match node {
        Some(node) if !runs => Err(format!(
            "{} ({}) was stopped to move, and {} has room for another one",
            old.name, old.id, node.name
        )),
        Some(_) | None => Ok(()),
    }
}

fn of_job(before: &Store, now: &Store, job: &Job) -> Result<(), String> {
    for old in before.allocs_of_job(&job.id).filter(|old| serves(old)) {
        let gone = now.alloc(&old.id).filter(|alloc| {
            alloc.server_terminal() && alloc.desired_description == stopped::UPDATED
        });
        if gone.is_none() {
            continue;
        }
        let mut of_name = now
            .allocs_of_job(&job.id)
            .filter(|alloc| alloc.name == old.name);
        let well = of_name.any(|alloc| alloc.deployment_healthy() && !alloc.server_terminal());
        // What was stopped holds its room until its node has ended it.
        let node = now.nodes().find(|node| has_room(now, node, old));
        if let (false, Some(node)) = (well, node) {
            return Err(format!(
                "{} ({}) was stopped, and {} has room for another one",
                old.name, old.id, node.name
            ));
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
    let constrained = |job: &Job| !job.constraints.is_empty();
    let constrained = like.job.as_deref().is_some_and(constrained)
        || like
            .group()
            .is_some_and(|group| !group.constraints.is_empty());
    let mut fixed = like
        .task_resources
        .values()
        .flat_map(|task| &task.networks)
        .chain(&like.shared_networks)
        .flat_map(|network| &network.reserved_ports);
    node.ready()
        && !constrained
        && fixed.next().is_none()
        && usage.cpu + asked.cpu <= have.cpu
        && usage.memory_mb + asked.memory_mb <= have.memory_mb
        && usage.disk_mb + asked.disk_mb <= have.disk_mb
}
