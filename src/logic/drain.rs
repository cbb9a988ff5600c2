//! Emptying nodes: which allocations have to leave next, and which nodes are empty.
//!
//! Of each group as many leave at a time as its `migrate` block allows to be missing. Batch work
//! may end by itself, and system jobs stay until all else is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::duration::to_std;
use crate::lifecycle::services::task_of;
use crate::model::{
    Allocation, CHECK_CRITICAL, CLIENT_RUNNING, EVAL_PENDING, HEALTH_TASK_STATES, JOB_BATCH,
    JOB_SERVICE, JOB_SYSTEM, Job, MigrateStrategy, Node, TASK_RUNNING, TaskGroup,
};
use crate::state::Store;
use crate::time::Time;

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Allocations that have to leave.
    pub migrate: Vec<String>,
    /// Those that have left but for being stopped: what comes in their place is well.
    pub moved: Vec<String>,
    /// The same of those that a user stops.
    pub stopped: Vec<String>,
    /// Nodes that are empty.
    pub drained: Vec<String>,
}

impl Steps {
    pub fn is_empty(&self) -> bool {
        [&self.migrate, &self.moved, &self.stopped, &self.drained]
            .iter()
            .all(|ids| ids.is_empty())
    }
}

/// Whether there is anything to be looked at.
pub fn is_idle(store: &Store) -> bool {
    store.leaving().next().is_none() && store.nodes().all(|node| !node.drain)
}

/// Looks at all nodes that are being drained, and at all that leaves.
pub fn steps(store: &Store, now: Time) -> Steps {
    let mut steps = Steps::default();
    let mut groups = BTreeSet::new();
    for node in store.nodes() {
        let Some(strategy) = &node.drain_strategy else {
            continue;
        };
        let live: Vec<_> = store
            .allocs_on_node(&node.id)
            .filter(|alloc| !alloc.client_terminal())
            .collect();
        let (of_system, others): (Vec<_>, Vec<_>) = live
            .into_iter()
            .partition(|alloc| kind(alloc) == JOB_SYSTEM);
        if others.is_empty() && (strategy.ignore_system_jobs || of_system.is_empty()) {
            steps.drained.push(node.id.clone());
        } else if others.is_empty() {
            steps.send_away(of_system);
        } else if strategy.forces(now) {
            steps.force(store, others);
        } else {
            let staying = others.into_iter().filter(|alloc| may_leave(alloc));
            groups.extend(staying.map(|alloc| (&alloc.job_id, &alloc.task_group)));
        }
    }
    for (job_id, group) in groups {
        if let Some(job) = store.job(job_id).filter(|job| !job.stop)
            && let Some(group) = job.group(group)
        {
            steps.migrate.extend(next_of(store, job, group, now));
        }
    }
    let over = store.leaving().filter(|alloc| is_over(store, alloc, now));
    for alloc in over.filter(|alloc| !is_looked_at(store, &alloc.job_id)) {
        let ids = if drains(store, alloc) {
            &mut steps.moved
        } else {
            &mut steps.stopped
        };
        ids.push(alloc.id.clone());
    }
    steps
}

/// An evaluation of the job is due.
fn is_looked_at(store: &Store, job_id: &str) -> bool {
    let mut evals = store.evals_of_job(job_id);
    evals.any(|eval| eval.status == EVAL_PENDING && eval.wait_until.is_never())
}

/// Whether an allocation that leaves needn't stay any longer: its successor is well. One that a
/// user stops waits only for so long.
pub(crate) fn is_over(store: &Store, leaving: &Allocation, now: Time) -> bool {
    if kind(leaving) != JOB_SERVICE {
        return false;
    }
    let policy = policy(leaving);
    let after: Vec<_> = store
        .allocs_of_job(&leaving.job_id)
        .filter(|alloc| alloc.name == leaving.name && alloc.create_index > leaving.create_index)
        .filter(|alloc| takes_over(leaving, alloc))
        .collect();
    let well = |alloc: &Allocation| {
        !alloc.terminal()
            && !alloc.migrate
            && is_registered(store, alloc, &policy)
            && health(store, alloc, &policy, now) == Health::Well
    };
    if after.iter().any(|alloc| well(alloc)) {
        return true;
    }
    let first = after.iter().map(|alloc| Time(alloc.create_time)).min();
    let patience = to_std(policy.healthy_deadline);
    !drains(store, leaving) && first.is_some_and(|first| first.plus(patience) <= now)
}

fn drains(store: &Store, alloc: &Allocation) -> bool {
    store.node(&alloc.node_id).is_some_and(|node| node.drain)
}

/// One of another version does so only when its own rollout says so.
fn takes_over(leaving: &Allocation, alloc: &Allocation) -> bool {
    let version = |alloc: &Allocation| alloc.job.as_ref().map(|job| job.job_modify_index);
    version(leaving) == version(alloc) || alloc.deployment_id.is_empty()
}

/// Whether it has been well for long enough.
pub(crate) fn is_well(store: &Store, alloc: &Allocation, now: Time) -> bool {
    health(store, alloc, &policy(alloc), now) == Health::Well
}

/// Whether requests are answered by it, as far as is known.
pub(crate) fn serves(store: &Store, alloc: &Allocation, now: Time) -> bool {
    health(store, alloc, &policy(alloc), now) != Health::Ill
}

fn policy(alloc: &Allocation) -> MigrateStrategy {
    let group = alloc.group();
    group
        .and_then(|group| group.migrate.clone())
        .unwrap_or_default()
}

/// Whether all that offers services of it has some in the catalog.
fn is_registered(store: &Store, alloc: &Allocation, policy: &MigrateStrategy) -> bool {
    let Some(group) = alloc
        .group()
        .filter(|_| policy.health_check != HEALTH_TASK_STATES)
    else {
        return true;
    };
    let tasks = group.tasks.iter().filter(|task| !task.services.is_empty());
    let mut missing: BTreeSet<&str> = tasks.map(|task| task.name.as_str()).collect();
    if !group.services.is_empty() {
        missing.insert("");
    }
    for service in store.services_of(alloc) {
        missing.remove(task_of(alloc, service));
    }
    missing.is_empty()
}

impl Steps {
    fn send_away(&mut self, allocs: Vec<&Arc<Allocation>>) {
        let leaving = allocs.into_iter().filter(|alloc| !alloc.migrate);
        let leaving = leaving.filter(|alloc| !alloc.server_terminal());
        self.migrate.extend(leaving.map(|alloc| alloc.id.clone()));
    }

    /// Those that were sent away before, but have found no room, have to leave as well: one more
    /// evaluation sees to that.
    fn force(&mut self, store: &Store, allocs: Vec<&Arc<Allocation>>) {
        for alloc in allocs.into_iter().filter(|alloc| !alloc.server_terminal()) {
            if !(alloc.migrate && is_looked_at(store, &alloc.job_id)) {
                self.migrate.push(alloc.id.clone());
            }
        }
    }
}

fn kind(alloc: &Allocation) -> &str {
    alloc.job.as_ref().map_or("", |job| job.r#type.as_str())
}

/// Whether it leaves when its group can do without it: batch work has until the deadline.
fn may_leave(alloc: &Allocation) -> bool {
    !alloc.migrate && !alloc.server_terminal() && kind(alloc) != JOB_BATCH
}

/// The allocations of a group that have to leave now.
fn next_of(store: &Store, job: &Job, group: &TaskGroup, now: Time) -> Vec<String> {
    let policy = group.migrate.clone().unwrap_or_default();
    let live: Vec<_> = store
        .allocs_of_job(&job.id)
        .filter(|alloc| alloc.task_group == group.name && !alloc.terminal())
        .collect();
    let health = |alloc: &Allocation| health(store, alloc, &policy, now);
    let staying = live.iter().filter(|alloc| !alloc.migrate);
    let healthy_count = staying
        .filter(|alloc| health(alloc) == Health::Well)
        .count();
    let parallel = usize::try_from(policy.max_parallel).unwrap_or(0).max(1);
    let mut spare = (healthy_count + parallel).saturating_sub(group.desired_count());
    let mut next = Vec::new();
    for alloc in &live {
        if !drains(store, alloc) || !may_leave(alloc) {
            continue;
        }
        match health(alloc) {
            Health::Well if spare > 0 => spare -= 1,
            // It serves nobody: it loses nothing by starting elsewhere.
            Health::Ill => {}
            Health::Well | Health::Settling => continue,
        }
        next.push(alloc.id.clone());
    }
    next
}

/// How an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// It has run for long enough, and its checks pass.
    Well,
    /// The same, but it started only a moment ago.
    Settling,
    /// It doesn't run, or a check fails.
    Ill,
}

fn health(store: &Store, alloc: &Allocation, policy: &MigrateStrategy, now: Time) -> Health {
    let node = store.node(&alloc.node_id).filter(|node| !node.away());
    let Some(node) = node.filter(|_| alloc.client_status == CLIENT_RUNNING) else {
        return Health::Ill;
    };
    let mut tasks = alloc.task_states.values();
    let checked = policy.health_check != HEALTH_TASK_STATES;
    if tasks.any(|task| task.state != TASK_RUNNING) || checked && fails(store, alloc, node) {
        return Health::Ill;
    }
    let min = to_std(policy.min_healthy_time);
    let long_enough = |started: Time| started.plus(min) <= now;
    let mut tasks = alloc.task_states.values();
    if !alloc.task_states.is_empty() && tasks.all(|task| long_enough(task.started_at)) {
        Health::Well
    } else {
        Health::Settling
    }
}

/// Whether a check of a service of this allocation fails.
fn fails(store: &Store, alloc: &Allocation, node: &Node) -> bool {
    let own: BTreeSet<_> = store
        .services_on(&node.name)
        .filter(|service| service.alloc_id == alloc.id)
        .map(|service| &service.id)
        .collect();
    let mut checks = store.checks_on(&node.name);
    checks.any(|check| check.status == CHECK_CRITICAL && own.contains(&check.service_id))
}

#[cfg(test)]
pub(crate) mod tests;
