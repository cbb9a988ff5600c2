//! Allocations that are to leave, and those that come in their place: the old one of a name stays
//! until the new one is well (ADR 12).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reconcile::{Fate, Handover, Reconciled, fate, surplus};
use crate::drain;
use crate::model::{Allocation, JOB_SERVICE, Job, TaskGroup, stopped};
use crate::state::Store;
use crate::time::Time;

/// Takes those out of `allocs`, the newest of a name first, that leave and have a successor: what
/// stands for their name is that one. Returns the rest, and the indexes at which one still stays.
pub(super) fn settle(
    out: &mut Reconciled,
    store: &Store,
    job: &Job,
    group: &TaskGroup,
    allocs: Vec<Arc<Allocation>>,
    now: Time,
) -> (Vec<Arc<Allocation>>, BTreeSet<usize>) {
    let (mut rest, mut staying) = (Vec::with_capacity(allocs.len()), BTreeSet::new());
    let mut succeeded = BTreeSet::new();
    for alloc in allocs {
        let index = alloc.index().filter(|index| *index < group.desired_count());
        let (Some(index), JOB_SERVICE) = (index, job.r#type.as_str()) else {
            rest.push(alloc);
            continue;
        };
        let fate = fate(store, job, group, &alloc, now);
        if fate != Fate::Migrate || !succeeded.contains(&index) {
            if fate != Fate::Gone {
                succeeded.insert(index);
            }
            rest.push(alloc);
        } else if is_forced_out(store, &alloc, now) || drain::is_over(store, &alloc, now) {
            out.changes.stop += 1;
            out.stops.push((alloc, stopped::MIGRATED));
        } else if staying.insert(index) {
            out.changes.ignore += 1;
        } else {
            surplus(out, &alloc);
        }
    }
    (rest, staying)
}

/// How an allocation gives way to one that comes in its place elsewhere.
pub(super) fn handover(store: &Store, alloc: &Allocation, now: Time) -> Handover {
    let of_service = alloc
        .job
        .as_ref()
        .is_some_and(|job| job.r#type == JOB_SERVICE);
    if is_forced_out(store, alloc, now) {
        Handover::Leave
    } else if of_service && drain::serves(store, alloc, now) {
        Handover::Overlap
    } else {
        Handover::Stop
    }
}

/// Its node is being emptied, and waits no longer.
pub(super) fn is_forced_out(store: &Store, alloc: &Allocation, now: Time) -> bool {
    let node = store.node(&alloc.node_id);
    node.is_some_and(|node| node.forced_out(now))
}

/// A name has at most two holders: where one more stays already, the newer one makes room.
pub(super) fn at_most_two(store: &Store, job: &Job, out: &mut Reconciled) {
    let stops: BTreeSet<&str> = out
        .stops
        .iter()
        .map(|(alloc, _)| alloc.id.as_str())
        .collect();
    for place in &mut out.places {
        let Some(previous) = &place.previous else {
            continue;
        };
        let overlaps = place.handover == Handover::Overlap;
        let mut others = store.allocs_of_job(&job.id).filter(|other| {
            other.name == place.name
                && other.id != previous.id
                && !other.terminal()
                && !stops.contains(other.id.as_str())
        });
        if overlaps && others.next().is_some() {
            place.handover = Handover::Stop;
        }
    }
}
