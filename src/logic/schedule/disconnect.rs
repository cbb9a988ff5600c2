//! Allocations on nodes that aren't heard for a while, and what becomes of them and their
//! replacements when such a node is back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::reconcile::{Handover, History, Place, Reconciled, is_up_to_date};
use crate::model::{
    Allocation, CLIENT_RUNNING, Job, KEEP_ORIGINAL, KEEP_REPLACEMENT, LONGEST_RUNNING, TaskGroup,
};
use crate::state::Store;
use crate::time::Time;

const REPLACEMENT_STAYS: &str = "alloc not needed as its replacement stays";
const ORIGINAL_IS_BACK: &str = "alloc not needed as the one it replaced is back";

/// Decides about each name that an unknown allocation, or one that was so, holds: `allocs`, the
/// newest of a name first, without those that are dealt with; and which indexes those hold.
pub(super) fn settle(
    out: &mut Reconciled,
    store: &Store,
    job: &Job,
    group: &TaskGroup,
    allocs: Vec<Arc<Allocation>>,
    now: Time,
) -> (Vec<Arc<Allocation>>, BTreeSet<usize>) {
    let (mut rest, mut taken) = (Vec::new(), BTreeSet::new());
    let mut by_index: BTreeMap<usize, Vec<Arc<Allocation>>> = BTreeMap::new();
    for alloc in allocs {
        match alloc.index() {
            Some(index) if index < group.desired_count() && !alloc.server_terminal() => {
                by_index.entry(index).or_default().push(alloc);
            }
            Some(_) | None => rest.push(alloc),
        }
    }
    for (index, holders) in by_index {
        let (waiting, mut others): (Vec<_>, Vec<_>) = holders
            .into_iter()
            .partition(|alloc| waits(job, alloc, now));
        out.changes.ignore += waiting.len() as u64;
        if others.len() > 1
            && let Some(winner) = winner(store, job, group, &others)
        {
            stop_losers(out, &others, &winner);
            others = vec![winner];
        }
        if let Some(original) = waiting.first().filter(|_| others.is_empty()) {
            taken.insert(index);
            if group.replaces_unknown() {
                replace(out, original);
            }
        }
        rest.extend(others);
    }
    (rest, taken)
}

/// Whether an allocation is unknown and may be so for a while yet.
pub(super) fn waits(job: &Job, alloc: &Allocation, now: Time) -> bool {
    alloc.unknown() && !alloc.server_terminal() && is_up_to_date(job, alloc) && !alloc.expired(now)
}

fn replace(out: &mut Reconciled, original: &Arc<Allocation>) {
    out.changes.place += 1;
    let reason = "alloc is unknown since its node is disconnected";
    out.places.push(Place::successor(
        original,
        Handover::Leave,
        reason,
        History::Keep,
    ));
}

/// Which of several holders of a name stays; `None` if none of them is back from a silent node.
fn winner(
    store: &Store,
    job: &Job,
    group: &TaskGroup,
    holders: &[Arc<Allocation>],
) -> Option<Arc<Allocation>> {
    let fit = |alloc: &&Arc<Allocation>| {
        let node = store.node(&alloc.node_id);
        !alloc.client_terminal()
            && is_up_to_date(job, alloc)
            && node.is_some_and(|node| !node.away())
    };
    let fit: Vec<&Arc<Allocation>> = holders.iter().filter(fit).collect();
    if !fit.iter().any(|alloc| alloc.returned()) {
        return None;
    }
    let oldest = |alloc: &&&Arc<Allocation>| alloc.create_index;
    // One that doesn't run yet may never do so.
    let running: Vec<&Arc<Allocation>> = fit
        .iter()
        .copied()
        .filter(|alloc| alloc.client_status == CLIENT_RUNNING)
        .collect();
    let good = if running.is_empty() { &fit } else { &running };
    let winner = match group.reconcile_strategy() {
        KEEP_ORIGINAL => fit.iter().min_by_key(oldest),
        KEEP_REPLACEMENT => fit.iter().max_by_key(oldest),
        LONGEST_RUNNING => good
            .iter()
            .min_by_key(|alloc| (started_at(alloc), alloc.create_index)),
        // Its validation leaves only one more: the best score, and of equal ones the oldest.
        _ => good.iter().max_by(|one, other| {
            let scores = score(one).total_cmp(&score(other));
            scores.then(Reverse(one.create_index).cmp(&Reverse(other.create_index)))
        }),
    };
    winner.map(|alloc| Arc::clone(alloc))
}

/// How well it fitted its node when it was placed there.
fn score(alloc: &Allocation) -> f64 {
    let scores = alloc.metrics.scores.iter();
    scores
        .filter(|(key, _)| key.starts_with(&alloc.node_id))
        .map(|(_, score)| score)
        .sum()
}

fn started_at(alloc: &Allocation) -> i64 {
    let tasks = alloc.task_states.values();
    let started = tasks
        .map(|task| task.started_at)
        .filter(|at| !at.is_never());
    started.min().map_or(alloc.create_time, |at| at.0)
}

fn stop_losers(out: &mut Reconciled, holders: &[Arc<Allocation>], winner: &Allocation) {
    for loser in holders.iter().filter(|alloc| alloc.id != winner.id) {
        if !loser.client_terminal() {
            out.changes.stop += 1;
        }
        let reason = if loser.create_index < winner.create_index {
            REPLACEMENT_STAYS
        } else {
            ORIGINAL_IS_BACK
        };
        out.stops.push((Arc::clone(loser), reason));
    }
}
