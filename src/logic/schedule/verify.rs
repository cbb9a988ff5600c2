//! The last look at a plan, while it is applied: plans are made from snapshots, and another plan
//! may have taken the room meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Allocation, JOB_SYSTEM, Job, Plan, TaskGroup};
use crate::state::Store;

/// What of a plan can be committed, and which nodes' parts can't.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub plan: Plan,
    /// Node id to a sentence: why its part was left out. Not empty: the scheduler looks again.
    pub refused: BTreeMap<String, String>,
}

/// Checks a plan against the newest state.
pub fn verify(store: &Store, mut plan: Plan) -> Verified {
    if let Some(why) = outdated(store, &plan) {
        let stops = plan.stops.drain(..).map(|stop| stop.node_id);
        let places = plan.places.drain(..).map(|alloc| alloc.node_id);
        let refused = stops.chain(places).map(|node| (node, why.to_owned()));
        let refused = refused.collect();
        plan.deployment = None;
        plan.deployment_updates.clear();
        return Verified { plan, refused };
    }
    let mut refused = BTreeMap::new();
    // What is left out keeps running and takes room itself: look until nothing more is left out.
    loop {
        let more = refusals(store, &plan);
        if more.is_empty() {
            return Verified { plan, refused };
        }
        leave_out(&mut plan, &more);
        refused.extend(more);
    }
}

fn outdated(store: &Store, plan: &Plan) -> Option<&'static str> {
    let wanted = |id: &str| store.job(id).filter(|job| !job.stop);
    if let Some(job) = &plan.job {
        let current = wanted(&job.id).map(|current| current.job_modify_index);
        if current != Some(job.job_modify_index) {
            return Some("the job was changed meanwhile");
        }
        return outdated_rollout(store, job, plan);
    }
    let mut stopped = plan
        .stops
        .iter()
        .filter_map(|stop| store.alloc(&stop.alloc_id));
    let stops_wanted = stopped.any(|alloc| wanted(&alloc.job_id).is_some());
    stops_wanted.then_some("the job was registered again meanwhile")
}

/// What a plan places is part of a rollout that goes on, and that nobody else has begun.
fn outdated_rollout(store: &Store, job: &Job, plan: &Plan) -> Option<&'static str> {
    let begun = plan.deployment.as_ref().map(|planned| planned.id.as_str());
    let is_new = begun.is_some_and(|id| store.deployment(id).is_none());
    if is_new && store.deployment_of(job).is_some() {
        return Some("another plan began the job's rollout");
    }
    let new = plan
        .places
        .iter()
        .filter(|alloc| store.alloc(&alloc.id).is_none());
    let mut of_rollouts = new
        .map(|alloc| alloc.deployment_id.as_str())
        .filter(|id| !(id.is_empty() || is_new && begun == Some(id)));
    let goes_on = |id: &str| store.deployment(id).is_some_and(|row| row.active());
    let ended = of_rollouts.any(|id| !goes_on(id));
    ended.then_some("the job's rollout has ended meanwhile")
}

fn leave_out(plan: &mut Plan, refused: &BTreeMap<String, String>) {
    let (left_out, places): (Vec<_>, Vec<_>) = plan
        .places
        .drain(..)
        .partition(|alloc| refused.contains_key(&alloc.node_id));
    plan.places = places;
    let kept_back: BTreeSet<String> = left_out
        .into_iter()
        .map(|alloc| alloc.previous_allocation)
        .collect();
    // What was to be replaced keeps running until its replacement has a place.
    plan.stops
        .retain(|stop| !kept_back.contains(&stop.alloc_id));
}

fn refusals(store: &Store, plan: &Plan) -> BTreeMap<String, String> {
    let stops = plan
        .stops
        .iter()
        .filter(|stop| stop.follow_up_eval.is_none());
    let stopped: BTreeSet<&str> = stops.map(|stop| stop.alloc_id.as_str()).collect();
    let holders = holders(store, plan, &stopped);
    let mut leaving: BTreeMap<&str, Vec<&Allocation>> = BTreeMap::new();
    for alloc in stopped.iter().filter_map(|id| store.alloc(id)) {
        leaving.entry(&alloc.node_id).or_default().push(alloc);
    }
    let mut by_node: BTreeMap<&str, Vec<&Allocation>> = BTreeMap::new();
    for alloc in &plan.places {
        if store.alloc(&alloc.id).is_none() {
            by_node.entry(&alloc.node_id).or_default().push(alloc);
        }
    }
    let mut refused = BTreeMap::new();
    for (node_id, new) in by_node {
        let twice = new.iter().find(|alloc| !may_join(alloc, &holders));
        let checked = match twice {
            Some(alloc) => Err(format!("{} was placed by another plan", alloc.name)),
            None => node(store, node_id, &new, leaving.get(node_id)),
        };
        if let Err(why) = checked {
            refused.insert(node_id.to_owned(), why);
        }
    }
    refused
}

/// What at most one live allocation may have: a name; for system jobs, a name on a node.
fn slot(alloc: &Allocation) -> (&str, &str) {
    let is_system = alloc
        .job
        .as_ref()
        .is_some_and(|job| job.r#type == JOB_SYSTEM);
    let node = if is_system { &alloc.node_id } else { "" };
    (&alloc.name, node)
}

type Holders<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Allocation>>;

/// Who holds the names of the plan's job and goes on doing so.
fn holders<'a>(store: &'a Store, plan: &'a Plan, stopped: &BTreeSet<&str>) -> Holders<'a> {
    let of_job = plan.job.iter().flat_map(|job| store.allocs_of_job(&job.id));
    let staying = of_job
        .filter(|alloc| !alloc.terminal() && !stopped.contains(alloc.id.as_str()))
        .filter(|alloc| {
            !alloc.unknown() || !alloc.group().is_some_and(TaskGroup::replaces_unknown)
        });
    let mut holders = Holders::new();
    for alloc in staying {
        holders.entry(slot(alloc)).or_default().push(alloc);
    }
    holders
}

/// Whether an allocation may be placed with this name: nobody else holds it, or one that leaves, or
/// one of another version that it takes over from in a deployment, or that it is a canary beside.
fn may_join(alloc: &Allocation, holders: &Holders<'_>) -> bool {
    let Some(others) = holders.get(&slot(alloc)) else {
        return true;
    };
    let version = |alloc: &Allocation| alloc.job.as_ref().map(|job| job.job_modify_index);
    let rolls = |other: &Allocation| {
        let a_part = !alloc.deployment_id.is_empty() || !other.deployment_id.is_empty();
        a_part && version(other) != version(alloc)
    };
    others.len() == 1 && others.iter().all(|other| rolls(other) || other.migrate)
}

fn node(
    store: &Store,
    node_id: &str,
    new: &[&Allocation],
    leaving: Option<&Vec<&Allocation>>,
) -> Result<(), String> {
    let node = store.node(node_id).ok_or("the node is gone")?;
    if !node.ready() {
        return Err(format!(
            "the node is {} and {}",
            node.status, node.scheduling_eligibility
        ));
    }
    let mut usage = store.usage(node_id);
    let leaving = leaving.into_iter().flatten();
    for alloc in leaving.filter(|alloc| alloc.occupies()) {
        usage.take(alloc);
    }
    for alloc in new {
        usage.add(alloc);
    }
    let have = node.available();
    if usage.cpu > have.cpu || usage.memory_mb > have.memory_mb || usage.disk_mb > have.disk_mb {
        return Err("its room was taken meanwhile".to_owned());
    }
    let mut ports = new
        .iter()
        .flat_map(|alloc| alloc.ports())
        .map(|(_, port)| port.value);
    let clash = ports.find(|port| {
        usage.ports.get(port).copied().unwrap_or(0) > 1 || node.used_ports.contains(port)
    });
    clash.map_or(Ok(()), |port| {
        Err(format!("port {port} was taken meanwhile"))
    })
}
