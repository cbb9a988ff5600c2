//! System jobs: one allocation on every node that may have one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::rank::Search;
use super::reconcile::{History, is_up_to_date};
use super::{Run, disconnect, feasible, follow, rank, update};
use crate::model::{
    AllocMetric, Allocation, GroupChanges, Job, Node, TRIGGER_ROLLING_UPDATE, TaskGroup, stopped,
};

pub(super) fn group(run: &mut Run<'_>, job: &Arc<Job>, group: &TaskGroup) {
    let store = run.store;
    let mut existing = run.wanted(&job.id);
    existing.retain(|alloc| alloc.task_group == group.name);
    // The newest on a node is the one that counts.
    existing.sort_by_key(|alloc| Reverse(alloc.create_index));
    let mut covered = BTreeSet::new();
    let mut steps = Steps::of(run, job, group);
    for alloc in existing {
        if group.desired_count() == 0 || covered.contains(&alloc.node_id) {
            run.stop_counted(alloc, stopped::NOT_NEEDED);
            continue;
        }
        let node = store.node(&alloc.node_id);
        if disconnect::waits(job, alloc, run.now) {
            run.changes(&group.name).ignore += 1;
            covered.insert(alloc.node_id.clone());
            continue;
        }
        let Some(node) = node.filter(|node| !node.away()) else {
            run.stop_counted(alloc, stopped::NODE_DOWN);
            continue;
        };
        if keep_or_replace(run, job, group, alloc, node, &mut steps) {
            covered.insert(node.id.clone());
        }
    }
    if let Some(pause) = steps.pause {
        run.go_on_later(job, pause);
    }
    if group.desired_count() == 0 {
        return;
    }
    let mut anywhere = stays(run.changes(&group.name));
    for node in store
        .nodes()
        .filter(|node| node.ready() && !covered.contains(&node.id))
    {
        if allowed(job, group, node) {
            anywhere = true;
            run.changes(&group.name).place += 1;
            place(run, job, group, node, None);
        }
    }
    if !anywhere {
        // Nodes that it may not run on are no failure, unless there are no others.
        let search = Search::new(&run.room, job, group, &run.eval.id);
        failed(run, group, search.failure());
    }
}

/// Whether some of what there is stays, or gives way to something newer.
fn stays(changes: &GroupChanges) -> bool {
    changes.ignore + changes.in_place_update + changes.destructive_update > 0
}

/// How many allocations may be replaced at once, and how long it is until the next ones.
struct Steps {
    /// `None`: all of them.
    left: Option<i64>,
    stagger: i64,
    /// After it, the others follow.
    pause: Option<i64>,
    /// Another evaluation goes on with it already.
    goes_on: bool,
}

impl Steps {
    fn of(run: &Run<'_>, job: &Job, group: &TaskGroup) -> Self {
        let rolling = group.rolling().filter(|update| update.stagger > 0);
        let mut others = run
            .store
            .evals_of_job(&job.id)
            .filter(|eval| eval.id != run.eval.id && !eval.terminal() && eval.wait_until > run.now);
        let goes_on = others.any(|eval| eval.triggered_by == TRIGGER_ROLLING_UPDATE);
        Self {
            left: rolling.map(|update| if goes_on { 0 } else { update.max_parallel }),
            stagger: rolling.map_or(0, |update| update.stagger),
            pause: None,
            goes_on,
        }
    }

    fn one_more(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => {
                self.pause = (!self.goes_on).then_some(self.stagger);
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

fn allowed(job: &Job, group: &TaskGroup, node: &Node) -> bool {
    feasible::in_datacenter(job, node) && feasible::check(job, group, node).is_ok()
}

/// Does for an existing allocation what is needed; whether its node is dealt with.
fn keep_or_replace(
    run: &mut Run<'_>,
    job: &Arc<Job>,
    group: &TaskGroup,
    alloc: &Arc<Allocation>,
    node: &Arc<Node>,
    steps: &mut Steps,
) -> bool {
    let up_to_date = is_up_to_date(job, alloc);
    if alloc.migrate && !alloc.client_terminal() {
        run.stop_counted(alloc, stopped::MIGRATED);
        // A node that takes nothing new gets no other one.
        return !node.ready();
    }
    if !allowed(job, group, node) {
        run.stop_counted(alloc, "alloc not needed as its node no longer matches");
        // A node that isn't allowed gets no other one either.
        return true;
    }
    if alloc.client_terminal() && !up_to_date {
        run.stop(alloc, stopped::NOT_NEEDED);
        return false;
    }
    // One that ended stays as it is until the job changes: its own restarts are used up.
    // A node that takes nothing new keeps what it has.
    if up_to_date || !node.ready() {
        run.changes(&group.name).ignore += 1;
    } else if update::in_place(run.store, job, group, alloc) {
        run.changes(&group.name).in_place_update += 1;
        run.update_in_place(alloc, job);
    } else if !steps.one_more() {
        run.changes(&group.name).ignore += 1;
    } else {
        run.changes(&group.name).destructive_update += 1;
        place(run, job, group, node, Some(alloc));
    }
    true
}

/// Places one allocation on `node`; only then `previous` stops.
fn place(
    run: &mut Run<'_>,
    job: &Arc<Job>,
    group: &TaskGroup,
    node: &Arc<Node>,
    previous: Option<&Allocation>,
) {
    if let Some(previous) = previous {
        run.room.release(previous);
    }
    match rank::fit_on(&run.room, group, node, run.ids) {
        Ok(chosen) => {
            let name = format!("{}.{}[0]", job.id, group.name);
            let mut alloc = run.allocation(job, group, name, chosen);
            if let Some(previous) = previous {
                follow(&mut alloc, previous, History::Forget, run.now);
                run.stop(previous, stopped::UPDATED);
            }
            run.room.hold(&alloc);
            run.plan.places.push(alloc);
        }
        Err(metric) => {
            if let Some(previous) = previous {
                run.room.keep(previous);
            }
            failed(run, group, *metric);
        }
    }
}

/// Adds up what the nodes without room lack.
fn failed(run: &mut Run<'_>, group: &TaskGroup, metric: AllocMetric) {
    let Some(sum) = run.failed.get_mut(&group.name) else {
        run.failed.insert(group.name.clone(), metric);
        return;
    };
    sum.coalesced_failures += 1;
    sum.nodes_evaluated += metric.nodes_evaluated;
    sum.nodes_exhausted += metric.nodes_exhausted;
    for (datacenter, nodes) in metric.nodes_available {
        *sum.nodes_available.entry(datacenter).or_default() += nodes;
    }
    for (dimension, nodes) in metric.dimension_exhausted {
        *sum.dimension_exhausted.entry(dimension).or_default() += nodes;
    }
    if sum.reasons.len() < rank::REASONS_KEPT {
        sum.reasons.extend(metric.reasons);
    }
}
