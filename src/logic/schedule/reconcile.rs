//! What should change in a group of a service or batch job: which allocations stop, which are
//! updated where they are, and which have to be placed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reschedule::{self, Verdict};
use super::{disconnect, moving, update};
use crate::model::{
    Allocation, CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, Evaluation, GroupChanges, JOB_BATCH,
    Job, Node, TaskGroup, stopped,
};
use crate::state::Store;
use crate::time::Time;

/// An allocation to place.
pub(super) struct Place {
    pub(super) name: String,
    /// The one it takes over from.
    pub(super) previous: Option<Arc<Allocation>>,
    pub(super) handover: Handover,
    /// Why that one stops.
    pub(super) reason: &'static str,
    pub(super) history: History,
    /// The version it is of, if that isn't the newest one.
    pub(super) job: Option<Arc<Job>>,
    pub(super) canary: bool,
}

/// What becomes of the allocation that another one takes over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// Nothing: it isn't touched.
    Leave,
    /// It stops as soon as the other one has a place.
    Stop,
    /// It stays until the other one is healthy, if there is room for both; else it stops.
    Overlap,
}

impl Place {
    /// A first holder of a name.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            previous: None,
            handover: Handover::Leave,
            reason: "",
            history: History::Forget,
            job: None,
            canary: false,
        }
    }

    pub(super) fn successor(
        previous: &Arc<Allocation>,
        handover: Handover,
        reason: &'static str,
        history: History,
    ) -> Self {
        Self {
            previous: Some(Arc::clone(previous)),
            handover,
            reason,
            history,
            canary: previous.canary(),
            ..Self::new(previous.name.clone())
        }
    }
}

/// What a new allocation knows of its predecessors' failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// Nothing: it is something else than they were.
    Forget,
    /// What its predecessor knew.
    Keep,
    /// That, and that its predecessor failed.
    Add,
}

/// What should change in one group.
#[derive(Default)]
pub(super) struct Reconciled {
    /// Allocations that stop without a replacement having a place, and why.
    pub(super) stops: Vec<(Arc<Allocation>, &'static str)>,
    pub(super) in_place: Vec<Arc<Allocation>>,
    pub(super) places: Vec<Place>,
    /// Failed allocations that are to be replaced at a later time.
    pub(super) later: Vec<(Arc<Allocation>, Time)>,
    pub(super) changes: GroupChanges,
}

/// What one existing allocation calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It counts, and stays as it is.
    Keep,
    /// It counts for nothing any more and needs nothing.
    Gone,
    Lost,
    /// It was unknown for as long as it may be.
    Expired,
    Migrate,
    Failed,
    /// It ended, and something else is wanted in its place now.
    Ended,
    UpdateInPlace,
    Replace,
}

pub(super) fn group(
    store: &Store,
    job: &Arc<Job>,
    group: &TaskGroup,
    eval: &Evaluation,
    now: Time,
) -> Reconciled {
    let mut out = Reconciled::default();
    let count = group.desired_count();
    let mut taken = BTreeSet::new();
    let mut allocs: Vec<_> = store
        .allocs_of_job(&job.id)
        .filter(|alloc| alloc.task_group == group.name)
        .cloned()
        .collect();
    // The newest holder of a name keeps it.
    allocs.sort_by_key(|alloc| (alloc.index(), std::cmp::Reverse(alloc.create_index)));
    let (allocs, _) = moving::settle(&mut out, store, job, group, allocs, now);
    let (allocs, waiting) = disconnect::settle(&mut out, store, job, group, allocs, now);
    taken.extend(waiting);
    for alloc in &allocs {
        let fate = fate(store, job, group, alloc, now);
        let index = alloc.index().unwrap_or(usize::MAX);
        let holds_a_slot = !matches!(fate, Fate::Gone);
        if holds_a_slot && (index >= count || !taken.insert(index)) {
            surplus(&mut out, alloc);
            continue;
        }
        act(&mut out, store, group, alloc, fate, eval, now);
    }
    for index in (0..count).filter(|index| !taken.contains(index)) {
        out.changes.place += 1;
        let name = format!("{}.{}[{index}]", job.id, group.name);
        out.places.push(Place::new(name));
    }
    moving::at_most_two(store, job, &mut out);
    out.in_order()
}

impl Reconciled {
    /// Replacements bring their predecessors' room with them, so they come first.
    pub(super) fn in_order(mut self) -> Self {
        self.places
            .sort_by_key(|place| place.handover == Handover::Leave);
        self
    }
}

pub(super) fn fate(
    store: &Store,
    job: &Job,
    group: &TaskGroup,
    alloc: &Allocation,
    now: Time,
) -> Fate {
    if alloc.server_terminal() {
        return Fate::Gone;
    }
    let up_to_date = is_up_to_date(job, alloc);
    match alloc.client_status.as_str() {
        CLIENT_LOST => return Fate::Lost,
        CLIENT_FAILED if !alloc.next_allocation.is_empty() => return Fate::Gone,
        // Whoever registers a changed job doesn't want to wait for the old one's delay.
        CLIENT_FAILED if !up_to_date && asks_for_other(job, group, alloc) => return Fate::Ended,
        CLIENT_FAILED => return Fate::Failed,
        // Finished work is done again only for a new version.
        CLIENT_COMPLETE if job.r#type == JOB_BATCH && up_to_date => return Fate::Keep,
        CLIENT_COMPLETE => return Fate::Ended,
        _ => {}
    }
    match store.node(&alloc.node_id) {
        _ if alloc.expired(now) => Fate::Expired,
        None => Fate::Lost,
        Some(node) if node.away() && still_stopping(node, alloc, now) => Fate::Keep,
        Some(node) if node.away() => Fate::Lost,
        Some(_) if alloc.migrate => Fate::Migrate,
        Some(_) if up_to_date => Fate::Keep,
        Some(_) if update::in_place(store, job, group, alloc) => Fate::UpdateInPlace,
        Some(_) => Fate::Replace,
    }
}

/// Whether a silent node may not have stopped an allocation yet that it stops by itself.
fn still_stopping(node: &Node, alloc: &Allocation, now: Time) -> bool {
    let since = Time::from_secs(node.status_updated_at);
    let after = alloc.group().and_then(TaskGroup::stop_on_client_after);
    after.is_some_and(|after| now.0 < since.0.saturating_add(after))
}

/// Whether an allocation was placed for (or has been updated to) the job as it is now.
pub(super) fn is_up_to_date(job: &Job, alloc: &Allocation) -> bool {
    let placed = alloc.job.as_ref();
    placed.is_some_and(|placed| placed.job_modify_index == job.job_modify_index)
}

/// Whether the job, which was registered since, wants something else of this group than the
/// allocation ran.
fn asks_for_other(job: &Job, group: &TaskGroup, alloc: &Allocation) -> bool {
    job.r#type == JOB_BATCH || update::tasks_changed(alloc, group)
}

pub(super) fn surplus(out: &mut Reconciled, alloc: &Arc<Allocation>) {
    if !alloc.client_terminal() {
        out.changes.stop += 1;
    }
    let reason = if alloc.unknown() {
        "alloc is lost since its node is disconnected"
    } else {
        stopped::NOT_NEEDED
    };
    out.stops.push((Arc::clone(alloc), reason));
}

pub(super) fn act(
    out: &mut Reconciled,
    store: &Store,
    group: &TaskGroup,
    alloc: &Arc<Allocation>,
    fate: Fate,
    eval: &Evaluation,
    now: Time,
) {
    let replace = |out: &mut Reconciled, handover, reason, history| {
        let place = Place::successor(alloc, handover, reason, history);
        out.places.push(place);
    };
    match fate {
        Fate::Gone => {}
        Fate::Keep => out.changes.ignore += 1,
        Fate::UpdateInPlace => {
            out.changes.in_place_update += 1;
            out.in_place.push(Arc::clone(alloc));
        }
        Fate::Replace => {
            out.changes.destructive_update += 1;
            replace(out, Handover::Stop, stopped::UPDATED, History::Forget);
        }
        Fate::Migrate => {
            out.changes.migrate += 1;
            let handover = moving::handover(store, alloc, now);
            if handover == Handover::Leave {
                // Its time is over: it leaves whether there is room elsewhere or not.
                out.stops.push((Arc::clone(alloc), stopped::MIGRATED));
            }
            replace(out, handover, stopped::MIGRATED, History::Keep);
        }
        Fate::Lost => {
            out.changes.place += 1;
            // Its node may be back before there is a place for another one.
            let reason = stopped::NODE_DOWN;
            replace(out, Handover::Stop, reason, History::Keep);
        }
        Fate::Expired => {
            out.changes.place += 1;
            let reason = "alloc is lost since its node was disconnected for too long";
            out.stops.push((Arc::clone(alloc), reason));
            replace(out, Handover::Leave, reason, History::Keep);
        }
        Fate::Ended => {
            out.changes.place += 1;
            replace(out, Handover::Stop, "alloc has ended", History::Forget);
        }
        Fate::Failed => match verdict(store, group, alloc, eval, now) {
            Verdict::Never => out.changes.ignore += 1,
            Verdict::At(at) => {
                out.changes.ignore += 1;
                if !waits_for_follow_up(store, alloc) {
                    out.later.push((Arc::clone(alloc), at));
                }
            }
            Verdict::Now => {
                out.changes.place += 1;
                let reason = "alloc was rescheduled because it failed";
                replace(out, Handover::Stop, reason, History::Add);
            }
        },
    }
}

fn verdict(
    store: &Store,
    group: &TaskGroup,
    alloc: &Allocation,
    eval: &Evaluation,
    now: Time,
) -> Verdict {
    let policy = group.reschedule_policy.as_ref();
    let verdict = reschedule::decide(alloc, policy, now);
    let follow_up = store.eval(&alloc.follow_up_eval_id);
    let its_time_has_come =
        alloc.follow_up_eval_id == eval.id || follow_up.is_some_and(|eval| eval.terminal());
    match verdict {
        Verdict::At(_) if its_time_has_come => Verdict::Now,
        Verdict::At(at) => match follow_up {
            Some(eval) => Verdict::At(eval.wait_until),
            None => Verdict::At(at),
        },
        Verdict::Now | Verdict::Never => verdict,
    }
}

fn waits_for_follow_up(store: &Store, alloc: &Allocation) -> bool {
    store
        .eval(&alloc.follow_up_eval_id)
        .is_some_and(|eval| !eval.terminal())
}
