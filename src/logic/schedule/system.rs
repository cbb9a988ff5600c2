//! System jobs: one allocation on every node that may have one.

use std::sync::Arc;

use super::{Run, feasible, update};
use crate::model::{Allocation, Job, NODE_DOWN, Node, TaskGroup};

pub(super) fn group(run: &mut Run<'_>, job: &Arc<Job>, group: &TaskGroup) {
    let store = run.store;
    if group.desired_count() == 0 {
        for alloc in existing(run, job, group)
            .into_iter()
            .filter(|alloc| !alloc.terminal())
        {
            run.changes(&group.name).stop += 1;
            run.stop(&alloc, "alloc not needed due to job update");
        }
        return;
    }
    let mut covered = std::collections::BTreeSet::new();
    for alloc in existing(run, job, group) {
        if alloc.server_terminal() {
            continue;
        }
        let node = store.node(&alloc.node_id);
        let Some(node) = node.filter(|node| node.status != NODE_DOWN) else {
            run.changes(&group.name).stop += 1;
            run.stop(&alloc, "alloc is lost since its node is down");
            if let Some(stop) = run.plan.stops.last_mut() {
                stop.client_status = Some(crate::model::CLIENT_LOST.to_owned());
            }
            continue;
        };
        keep_or_replace(run, job, group, &alloc, node, &mut covered);
    }
    for node in store
        .nodes()
        .filter(|node| node.ready() && !covered.contains(&node.id))
    {
        if feasible::in_datacenter(job, node) && feasible::check(job, group, node).is_ok() {
            run.changes(&group.name).place += 1;
            place(run, job, group, node, None);
        }
    }
}

fn existing(run: &Run<'_>, job: &Job, group: &TaskGroup) -> Vec<Arc<Allocation>> {
    run.store
        .allocs_of_job(&job.id)
        .filter(|alloc| alloc.task_group == group.name)
        .cloned()
        .collect()
}

fn keep_or_replace(
    run: &mut Run<'_>,
    job: &Arc<Job>,
    group: &TaskGroup,
    alloc: &Arc<Allocation>,
    node: &Arc<Node>,
    covered: &mut std::collections::BTreeSet<String>,
) {
    let allowed = feasible::in_datacenter(job, node) && feasible::check(job, group, node).is_ok();
    let same = alloc
        .job
        .as_ref()
        .is_some_and(|placed| placed.job_modify_index == job.job_modify_index);
    if alloc.client_terminal() {
        // A failed one stays as it is until the job changes: its own restarts are used up.
        if same && allowed {
            covered.insert(node.id.clone());
            run.changes(&group.name).ignore += 1;
        }
    } else if !allowed || node.drain {
        run.changes(&group.name).stop += 1;
        run.stop(alloc, "alloc not needed as its node no longer matches");
        covered.insert(node.id.clone());
    } else if same {
        covered.insert(node.id.clone());
        run.changes(&group.name).ignore += 1;
    } else if update::in_place(run.store, job, group, alloc) {
        covered.insert(node.id.clone());
        run.changes(&group.name).in_place_update += 1;
        run.update_in_place(alloc, job);
    } else {
        covered.insert(node.id.clone());
        run.changes(&group.name).destructive_update += 1;
        run.stop(alloc, "alloc is being updated due to job update");
        place(run, job, group, node, Some(alloc));
    }
}

fn place(
    run: &mut Run<'_>,
    job: &Arc<Job>,
    group: &TaskGroup,
    node: &Arc<Node>,
    previous: Option<&Allocation>,
) {
    match run.placing.fit_on(job, group, node, run.ids) {
        Ok(chosen) => {
            let name = format!("{}.{}[0]", job.id, group.name);
            let alloc = run.allocation(job, group, name, chosen, previous);
            run.placing.hold(&alloc);
            run.plan.places.push(alloc);
        }
        Err(metric) => {
            if let Some(failed) = run.failed.get_mut(&group.name) {
                failed.coalesced_failures += 1;
                failed.nodes_exhausted += 1;
                failed.reasons.extend(metric.reasons);
            } else {
                run.failed.insert(group.name.clone(), *metric);
            }
        }
    }
}
