//! What always holds, whatever happens: checked after every step in tests and in the simulator.

mod cluster;
mod rollout;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use rollout::successors_first;

use crate::address;
use crate::catalog::View;
use crate::model::{Allocation, CLIENT_RUNNING, JOB_SERVICE, JOB_SYSTEM, Job, NODE_READY};
use crate::routes::Table;
use crate::state::{Store, Usage};

/// Something that always holds of `T`.
#[derive(Debug)]
pub struct Invariant<T: ?Sized = Store> {
    pub id: &'static str,
    pub sentence: &'static str,
    /// What is wrong, if something is.
    pub check: fn(&T) -> Result<(), String>,
}

/// An invariant that doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub id: &'static str,
    pub sentence: &'static str,
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} But {}", self.id, self.sentence, self.detail)
    }
}

impl std::error::Error for Broken {}

/// Safety: holds of the state after every entry.
pub const ALL: &[Invariant] = &[
    Invariant {
        id: "one-live-allocation-per-name",
        sentence: "A name such as `web.g[0]` has at most one live allocation whose node was never disconnected (in a system job: on each node); two only of different versions, while a deployment replaces one by the other.",
        check: one_live_allocation_per_name,
    },
    Invariant {
        id: "no-port-twice-on-a-node",
        sentence: "No two live allocations on a node hold the same port.",
        check: no_port_twice_on_a_node,
    },
    Invariant {
        id: "no-node-overcommitted",
        sentence: "The live allocations on a node fit into what it has, unless all of them were placed when it had more.",
        check: no_node_overcommitted,
    },
    Invariant {
        id: "usage-is-the-sum",
        sentence: "A node's usage is the sum of what its allocations hold.",
        check: usage_is_the_sum,
    },
    Invariant {
        id: "indexes-agree",
        sentence: "Every derived table holds what follows from the rows.",
        check: indexes_agree,
    },
    Invariant {
        id: "one-blocked-evaluation-per-job",
        sentence: "At most one evaluation of a job waits for room.",
        check: one_blocked_evaluation_per_job,
    },
    Invariant {
        id: "checks-belong-to-services",
        sentence: "Every check is that of a node in the catalog, or of a service instance on it.",
        check: checks_belong_to_services,
    },
    Invariant {
        id: "silent-nodes-serve-nothing",
        sentence: "A node that isn't heard counts as dead in the catalog.",
        check: cluster::silent_nodes_serve_nothing,
    },
    Invariant {
        id: "unknown-means-disconnected",
        sentence: "A node is disconnected if and only if some of its allocations are unknown.",
        check: cluster::unknown_means_disconnected,
    },
    Invariant {
        id: "lost-is-looked-at",
        sentence: "Whatever is wanted and on a node that isn't heard, an evaluation of its job is under way.",
        check: cluster::lost_is_looked_at,
    },
    Invariant {
        id: "successors-know-their-predecessors",
        sentence: "The allocation that replaced another one names it.",
        check: cluster::successors_know_their_predecessors,
    },
    Invariant {
        id: "deployments-count-what-is-healthy",
        sentence: "A deployment that goes on counts its healthy allocations, and is of its job as it is now, which has no other one.",
        check: rollout::deployments_count,
    },
    Invariant {
        id: "keys-live-or-deleted",
        sentence: "A key is there or remembered as deleted, never both, and never from after the key-value store's last change.",
        check: |store| store.kv_contradiction().map_or(Ok(()), Err),
    },
    Invariant {
        id: "locks-have-living-holders",
        sentence: "Whoever holds a lock is a session that lives, on a node that is there, with checks that don't fail.",
        check: |store| store.lock_contradiction().map_or(Ok(()), Err),
    },
    Invariant {
        id: "serials-are-of-nodes",
        sentence: "What a node said last is remembered as long as there is the node.",
        check: cluster::serials_are_of_nodes,
    },
    Invariant {
        id: "nothing-from-the-future",
        sentence: "No row was changed by an entry after the last one applied.",
        check: cluster::nothing_from_the_future,
    },
];

/// Safety: holds of the states of all servers at any time.
pub const REPLICAS: &[Invariant<[Store]>] = &[Invariant {
    id: "same-index-same-state",
    sentence: "Servers that have applied the same number of entries hold the same state.",
    check: cluster::same_index_same_state,
}];

/// Liveness: holds once nothing has gone wrong for a while.
pub const LIVENESS: &[Invariant] = &[
    Invariant {
        id: "desired-count-held",
        sentence: "Each group of a service job that isn't stopped has as many running allocations on ready nodes as it asks for, and no other live ones (more, while a rollout goes on; anything, after one that failed).",
        check: desired_count_held,
    },
    Invariant {
        id: "nothing-left-of-stopped-jobs",
        sentence: "A job that is stopped or forgotten has no live allocations.",
        check: nothing_left_of_stopped_jobs,
    },
];

/// Safety: holds of every routing table and the view of the catalog that it was made from.
pub const ROUTING: &[Invariant<(View, Table)>] = &[Invariant {
    id: "only-passing-instances-routed",
    sentence: "Requests go only to service instances that have a check and pass all of theirs.",
    check: only_passing_instances_routed,
}];

/// Checks all invariants in a list.
pub fn check_list<T: ?Sized>(list: &[Invariant<T>], of: &T) -> Result<(), Broken> {
    for invariant in list {
        if let Err(detail) = (invariant.check)(of) {
            let Invariant { id, sentence, .. } = *invariant;
            return Err(Broken {
                id,
                sentence,
                detail,
            });
        }
    }
    Ok(())
}

/// Checks what must hold of a state at any time.
pub fn check(store: &Store) -> Result<(), Broken> {
    check_list(ALL, store)
}

/// Checks what must hold of a state in which nothing has gone wrong for a while.
pub fn check_liveness(store: &Store) -> Result<(), Broken> {
    check_list(LIVENESS, store)
}

/// Wanted, and not known to have ended.
fn live(store: &Store) -> impl Iterator<Item = &Allocation> {
    let allocs = store.allocs().map(AsRef::as_ref);
    allocs.filter(|alloc: &&Allocation| !alloc.terminal())
}

fn one_live_allocation_per_name(store: &Store) -> Result<(), String> {
    let mut holders: BTreeMap<(&str, &str), Vec<&Allocation>> = BTreeMap::new();
    for alloc in live(store).filter(|alloc| alloc.alloc_states.is_empty()) {
        let of_system = |job: &std::sync::Arc<Job>| job.r#type == JOB_SYSTEM;
        let is_system = alloc.job.as_ref().is_some_and(of_system);
        let node = if is_system { &alloc.node_id } else { "" };
        holders.entry((&alloc.name, node)).or_default().push(alloc);
    }
    for ((name, _), holders) in holders {
        match holders.as_slice() {
            [] | [_] => {}
            [one, other] if rollout::one_replaces_the_other(one, other) => {}
            [one, other, ..] => {
                return Err(format!("{name} is both {} and {}", one.id, other.id));
            }
        }
    }
    Ok(())
}

fn no_port_twice_on_a_node(store: &Store) -> Result<(), String> {
    let mut holders: BTreeMap<(&str, u16), &str> = BTreeMap::new();
    for alloc in live(store) {
        for (_, port) in alloc.ports() {
            let place = (alloc.node_id.as_str(), port.value);
            if let Some(other) = holders.insert(place, &alloc.id) {
                return Err(format!(
                    "port {} on node {} is held by both {other} and {}",
                    port.value, alloc.node_name, alloc.id
                ));
            }
        }
    }
    Ok(())
}

fn no_node_overcommitted(store: &Store) -> Result<(), String> {
    let mut held: BTreeMap<&str, (Usage, u64)> = BTreeMap::new();
    for alloc in live(store) {
        let (usage, newest) = held.entry(&alloc.node_id).or_default();
        usage.add(alloc);
        *newest = alloc.create_index.max(*newest);
    }
    for (node_id, (usage, newest)) in held {
        if newest < store.node_room_index(node_id) {
            continue;
        }
        // What runs on a node that was forgotten is about to be lost.
        let Some(node) = store.node(node_id) else {
            continue;
        };
        let have = node.available();
        for (what, have, used) in [
            ("MHz", have.cpu, usage.cpu),
            ("MB of memory", have.memory_mb, usage.memory_mb),
            ("MB of disk", have.disk_mb, usage.disk_mb),
        ] {
            if used > have {
                let node = &node.name;
                return Err(format!("{used} of {have} {what} are used on node {node}"));
            }
        }
    }
    Ok(())
}

fn usage_is_the_sum(store: &Store) -> Result<(), String> {
    let mut sums: BTreeMap<&str, Usage> = BTreeMap::new();
    for alloc in store.allocs().filter(|alloc| alloc.occupies()) {
        sums.entry(&alloc.node_id).or_default().add(alloc);
    }
    let nodes = store.nodes().map(|node| node.id.as_str());
    for node_id in nodes.chain(sums.keys().copied()) {
        let (usage, sum) = (store.usage(node_id), sums.get(node_id));
        if usage != sum.cloned().unwrap_or_default() {
            return Err(format!(
                "the usage of node {node_id} is {usage:?}, its allocations hold {sum:?}"
            ));
        }
    }
    Ok(())
}

fn indexes_agree(store: &Store) -> Result<(), String> {
    match store.stale_tables().as_slice() {
        [] => Ok(()),
        stale => Err(format!("{} doesn't", stale.join(", "))),
    }
}

fn one_blocked_evaluation_per_job(store: &Store) -> Result<(), String> {
    let mut waiting: BTreeMap<&str, &str> = BTreeMap::new();
    for eval in store
        .evals()
        .filter(|eval| eval.status == crate::model::EVAL_BLOCKED)
    {
        if let Some(other) = waiting.insert(&eval.job_id, &eval.id) {
            return Err(format!(
                "both {other} and {} of job {} do",
                eval.id, eval.job_id
            ));
        }
    }
    Ok(())
}

fn checks_belong_to_services(store: &Store) -> Result<(), String> {
    let nodes: BTreeSet<&str> = store.catalog_nodes().map(|row| row.node.as_str()).collect();
    let services: BTreeSet<(&str, &str)> = store
        .services()
        .map(|row| (row.node.as_str(), row.id.as_str()))
        .collect();
    for check in store.checks() {
        let (node, service) = (check.node.as_str(), check.service_id.as_str());
        if !nodes.contains(node) {
            return Err(format!(
                "check {} is of node {node}, which isn't there",
                check.check_id
            ));
        }
        if !service.is_empty() && !services.contains(&(node, service)) {
            return Err(format!(
                "check {} on node {node} is of service {service}, which isn't there",
                check.check_id
            ));
        }
    }
    Ok(())
}

fn desired_count_held(store: &Store) -> Result<(), String> {
    let services = store
        .jobs()
        .filter(|job| job.r#type == JOB_SERVICE && !job.stop);
    for job in services {
        for group in &job.task_groups {
            let of_group =
                |alloc: &&Allocation| alloc.job_id == job.id && alloc.task_group == group.name;
            let (mut live_count, mut running) = (0, 0);
            for alloc in live(store).filter(of_group) {
                let node = store.node(&alloc.node_id);
                let on_ready = node.is_some_and(|node| node.status == NODE_READY);
                live_count += 1;
                running += usize::from(on_ready && alloc.client_status == CLIENT_RUNNING);
            }
            let wanted = group.desired_count();
            // While a rollout goes on, two versions of some run.
            let rollout = store.deployment_of(job);
            if rollout.is_some_and(|row| row.failed()) {
                continue;
            }
            let rolls = rollout.is_some_and(|row| row.active());
            let more = if rolls { wanted } else { 0 };
            let counts = wanted..=wanted + more;
            if !counts.contains(&running) || !counts.contains(&live_count) {
                return Err(format!(
                    "{}.{} has {running} running of {live_count} live ones, and wants {wanted}",
                    job.id, group.name
                ));
            }
        }
    }
    Ok(())
}

fn nothing_left_of_stopped_jobs(store: &Store) -> Result<(), String> {
    let wanted = |id: &str| store.job(id).is_some_and(|job| !job.stop);
    match live(store).find(|alloc| !wanted(&alloc.job_id)) {
        None => Ok(()),
        Some(alloc) => Err(format!("{} ({}) is live", alloc.name, alloc.id)),
    }
}

fn only_passing_instances_routed((view, table): &(View, Table)) -> Result<(), String> {
    let passing: BTreeSet<(&str, String)> = view
        .services
        .values()
        .flatten()
        .filter(|instance| instance.passing() && instance.checked())
        .map(|instance| {
            let (host, port) = (instance.address(), instance.service.port);
            let service = instance.service.service.as_str();
            (service, address::join(host, port))
        })
        .collect();
    for route in table.routes() {
        for target in &route.targets {
            let (service, address) = (target.service.as_str(), &target.address);
            if !passing.contains(&(service, address.clone())) {
                return Err(format!(
                    "{}{} leads to {service} at {address}, which doesn't",
                    route.host, route.path
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
