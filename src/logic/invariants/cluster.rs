//! What always holds of a cluster's nodes that come and go, and of its servers.

use std::collections::BTreeSet;

use super::live;
use crate::model::{CHECK_PASSING, NODE_DISCONNECTED, SERF_HEALTH};
use crate::state::Store;

pub(super) fn silent_nodes_serve_nothing(store: &Store) -> Result<(), String> {
    for node in store.nodes().filter(|node| node.away()) {
        let mut checks = store.checks_on(&node.name);
        let alive =
            checks.any(|check| check.check_id == SERF_HEALTH && check.status == CHECK_PASSING);
        if alive {
            return Err(format!("node {} is {} and doesn't", node.name, node.status));
        }
    }
    Ok(())
}

pub(super) fn unknown_means_disconnected(store: &Store) -> Result<(), String> {
    let unknown = store.allocs().filter(|alloc| alloc.unknown());
    let waited_for: BTreeSet<&str> = unknown.map(|alloc| alloc.node_id.as_str()).collect();
    for node in store.nodes() {
        let (has_unknown, status) = (waited_for.contains(node.id.as_str()), node.status.as_str());
        if has_unknown != (status == NODE_DISCONNECTED) {
            let has = if has_unknown { "has some" } else { "has none" };
            return Err(format!("node {} is {status} and {has}", node.name));
        }
    }
    Ok(())
}

pub(super) fn lost_is_looked_at(store: &Store) -> Result<(), String> {
    let under_way: BTreeSet<&str> = store
        .evals()
        .filter(|eval| !eval.terminal())
        .map(|eval| eval.job_id.as_str())
        .collect();
    let silent: BTreeSet<&str> = store
        .nodes()
        .filter(|node| node.away())
        .map(|node| node.id.as_str())
        .collect();
    let mut forgotten = live(store).filter(|alloc| {
        silent.contains(alloc.node_id.as_str()) && !under_way.contains(alloc.job_id.as_str())
    });
    forgotten.next().map_or(Ok(()), |alloc| {
        let (name, node) = (&alloc.name, &alloc.node_name);
        Err(format!("none is for {name} ({}) on {node}", alloc.id))
    })
}

pub(super) fn successors_know_their_predecessors(store: &Store) -> Result<(), String> {
    for alloc in store.allocs() {
        let next = store.alloc(&alloc.next_allocation);
        if let Some(next) = next.filter(|next| next.previous_allocation != alloc.id) {
            return Err(format!(
                "{} replaced {} and names {:?}",
                next.id, alloc.id, next.previous_allocation
            ));
        }
    }
    Ok(())
}

pub(super) fn serials_are_of_nodes(store: &Store) -> Result<(), String> {
    match store.serials_of_nobody().next() {
        Some(node) => Err(format!("one is of {node}, which isn't there")),
        None => Ok(()),
    }
}

pub(super) fn nothing_from_the_future(store: &Store) -> Result<(), String> {
    let rows = || {
        let nodes = store.nodes().map(|row| (&row.id, row.modify_index));
        let jobs = store.jobs().map(|row| (&row.id, row.modify_index));
        let allocs = store.allocs().map(|row| (&row.id, row.modify_index));
        let evals = store.evals().map(|row| (&row.id, row.modify_index));
        let keys = store.kv_under("").map(|row| (&row.key, row.modify_index));
        nodes.chain(jobs).chain(allocs).chain(evals).chain(keys)
    };
    let mut later = rows().filter(|(_, index)| *index > store.index());
    later.next().map_or(Ok(()), |(id, index)| {
        Err(format!("{id} was, by {index} after {}", store.index()))
    })
}

pub(super) fn same_index_same_state(stores: &[Store]) -> Result<(), String> {
    for (number, one) in stores.iter().enumerate() {
        let mut others = stores[..number].iter();
        if others.any(|other| other.index() == one.index() && other != one) {
            return Err(format!("two servers at {} don't", one.index()));
        }
    }
    Ok(())
}
