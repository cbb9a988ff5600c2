//! The last look at a plan before it is committed: plans are made from snapshots, and another
//! plan may have taken the room meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Allocation, Plan};
use crate::state::{Store, Usage};

/// What of a plan can be committed, and which nodes' parts can't.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub plan: Plan,
    /// Node id to a sentence: why its placements were left out.
    pub refused: BTreeMap<String, String>,
}

/// Checks every node the plan places something on against the newest state.
pub fn verify(store: &Store, mut plan: Plan) -> Verified {
    let mut refused = BTreeMap::new();
    if let Some(job) = &plan.job {
        let current = store.job(&job.id);
        let outdated = current
            .is_none_or(|current| current.stop || current.job_modify_index != job.job_modify_index);
        if outdated {
            for alloc in plan.places.drain(..) {
                refused.insert(alloc.node_id, "the job was changed meanwhile".to_owned());
            }
            plan.stops.clear();
            return Verified { plan, refused };
        }
    }
    let stopped: BTreeSet<&str> = plan
        .stops
        .iter()
        .map(|stop| stop.alloc_id.as_str())
        .collect();
    let mut by_node: BTreeMap<&str, Vec<&Allocation>> = BTreeMap::new();
    for alloc in &plan.places {
        by_node.entry(&alloc.node_id).or_default().push(alloc);
    }
    for (node_id, allocs) in by_node {
        if let Err(why) = node(store, node_id, &allocs, &stopped) {
            refused.insert(node_id.to_owned(), why);
        }
    }
    let kept_back: BTreeSet<String> = plan
        .places
        .iter()
        .filter(|alloc| refused.contains_key(&alloc.node_id))
        .map(|alloc| alloc.previous_allocation.clone())
        .collect();
    plan.places
        .retain(|alloc| !refused.contains_key(&alloc.node_id));
    // What was to be replaced keeps running until its replacement has a place.
    plan.stops
        .retain(|stop| stop.client_status.is_some() || !kept_back.contains(&stop.alloc_id));
    Verified { plan, refused }
}

fn node(
    store: &Store,
    node_id: &str,
    allocs: &[&Allocation],
    stopped: &BTreeSet<&str>,
) -> Result<(), String> {
    let new: Vec<_> = allocs
        .iter()
        .filter(|alloc| store.alloc(&alloc.id).is_none())
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let node = store.node(node_id).ok_or("the node is gone")?;
    if !node.ready() {
        return Err(format!(
            "the node is {} and {}",
            node.status, node.scheduling_eligibility
        ));
    }
    let mut usage = Usage::default();
    let staying = store
        .allocs_on_node(node_id)
        .filter(|alloc| alloc.occupies());
    for alloc in staying.filter(|alloc| !stopped.contains(alloc.id.as_str())) {
        usage.add(alloc);
    }
    for alloc in &new {
        usage.add(alloc);
    }
    let have = node.available();
    if usage.cpu > have.cpu || usage.memory_mb > have.memory_mb || usage.disk_mb > have.disk_mb {
        return Err("another plan took its room".to_owned());
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
