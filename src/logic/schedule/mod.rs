//! The scheduler: from a snapshot and an evaluation to a plan that carries its reasons.
//!
//! Four pure stages: [`reconcile`] says what should change, [`feasible`] where it may go,
//! [`rank`] where it goes best, and [`ports`] which ports it gets there. The plan is optimistic:
//! [`verify`] checks it once more against the newest state before it is committed.

pub mod feasible;
mod ports;
mod rank;
mod reconcile;
pub mod reschedule;
mod system;
mod update;
pub mod verify;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::Ids;
use crate::model::{
    AllocMetric, AllocStop, Allocation, EVAL_BLOCKED, EVAL_COMPLETE, EVAL_PENDING, Evaluation,
    GroupChanges, JOB_SYSTEM, Job, Plan, RescheduleEvent, RescheduleTracker, TRIGGER_ALLOC_FAILURE,
    TRIGGER_QUEUED_ALLOCS, TaskGroup,
};
use crate::state::Store;
use crate::time::Time;
use rank::Placing;
use reconcile::{Place, Reconciled};

/// What the scheduler makes of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub plan: Plan,
    /// Evaluations for later (a failed allocation's delay): to be stored before the plan.
    pub follow_ups: Vec<Evaluation>,
    /// The evaluation itself, done.
    pub done: Evaluation,
    /// What waits for room, if something couldn't be placed.
    pub blocked: Option<Evaluation>,
}

/// Looks at a job as `store` has it. New allocations' ids come from `ids`.
pub fn schedule(store: &Store, eval: &Evaluation, now: Time, ids: &mut Ids) -> Decision {
    let job = store.job(&eval.job_id).filter(|job| !job.stop).cloned();
    let mut run = Run {
        store,
        eval,
        now,
        ids,
        job: job.clone(),
        placing: Placing::new(store),
        plan: Plan {
            eval_id: eval.id.clone(),
            priority: eval.priority,
            snapshot_index: store.index(),
            job: job.as_deref().cloned(),
            ..Plan::default()
        },
        follow_ups: Vec::new(),
        failed: BTreeMap::new(),
    };
    match &job {
        None => run.stop_everything(),
        Some(job) => {
            run.stop_removed_groups(job);
            for group in &job.task_groups {
                if job.r#type == JOB_SYSTEM {
                    system::group(&mut run, job, group);
                } else {
                    run.group(job, group);
                }
            }
        }
    }
    run.finish()
}

/// One pass over one job.
struct Run<'a> {
    store: &'a Store,
    eval: &'a Evaluation,
    now: Time,
    ids: &'a mut Ids,
    /// `None`: stopped or gone.
    job: Option<Arc<Job>>,
    placing: Placing<'a>,
    plan: Plan,
    follow_ups: Vec<Evaluation>,
    failed: BTreeMap<String, AllocMetric>,
}

impl Run<'_> {
    fn stop_everything(&mut self) {
        let store = self.store;
        for alloc in store
            .allocs_of_job(&self.eval.job_id)
            .filter(|alloc| !alloc.terminal())
        {
            self.changes(&alloc.task_group).stop += 1;
            self.stop(alloc, "alloc not needed as job is stopped");
        }
    }

    fn stop_removed_groups(&mut self, job: &Job) {
        let store = self.store;
        for alloc in store.allocs_of_job(&job.id) {
            if !alloc.terminal() && job.group(&alloc.task_group).is_none() {
                self.changes(&alloc.task_group).stop += 1;
                self.stop(alloc, "alloc not needed due to job update");
            }
        }
    }

    fn group(&mut self, job: &Arc<Job>, group: &TaskGroup) {
        let reconciled = reconcile::group(self.store, job, group, self.eval, self.now);
        let Reconciled {
            stops,
            in_place,
            places,
            later,
            changes,
        } = reconciled;
        *self.changes(&group.name) = changes;
        for (alloc, reason, lost) in stops {
            self.stop(&alloc, reason);
            if lost && let Some(stop) = self.plan.stops.last_mut() {
                stop.client_status = Some(crate::model::CLIENT_LOST.to_owned());
            }
        }
        for alloc in in_place {
            self.update_in_place(&alloc, job);
        }
        for (alloc, at) in later {
            self.replace_later(&alloc, at, job);
        }
        for place in places {
            self.place(job, group, place);
        }
    }

    fn changes(&mut self, group: &str) -> &mut GroupChanges {
        self.plan.annotations.entry(group.to_owned()).or_default()
    }

    fn stop(&mut self, alloc: &Allocation, reason: &str) {
        self.placing.release(alloc);
        self.plan.stops.push(AllocStop {
            alloc_id: alloc.id.clone(),
            node_id: alloc.node_id.clone(),
            description: reason.to_owned(),
            client_status: None,
            follow_up_eval: None,
        });
    }

    fn update_in_place(&mut self, alloc: &Allocation, job: &Arc<Job>) {
        let mut alloc = alloc.clone();
        alloc.job = Some(Arc::clone(job));
        alloc.eval_id.clone_from(&self.eval.id);
        self.plan.places.push(alloc);
    }

    /// Notes on a failed allocation which evaluation will replace it, and makes that evaluation.
    fn replace_later(&mut self, alloc: &Allocation, at: Time, job: &Job) {
        let same_time = self.follow_ups.iter().find(|eval| eval.wait_until == at);
        let id = if let Some(eval) = same_time {
            eval.id.clone()
        } else {
            let mut eval = self.next_eval(job, EVAL_PENDING);
            TRIGGER_ALLOC_FAILURE.clone_into(&mut eval.triggered_by);
            eval.wait_until = at;
            let id = eval.id.clone();
            self.follow_ups.push(eval);
            id
        };
        self.plan.stops.push(AllocStop {
            alloc_id: alloc.id.clone(),
            node_id: alloc.node_id.clone(),
            description: String::new(),
            client_status: None,
            follow_up_eval: Some(id),
        });
    }

    fn place(&mut self, job: &Arc<Job>, group: &TaskGroup, place: Place) {
        if let Some(metric) = self.failed.get_mut(&group.name) {
            // It won't fit for this one either: the same node set was just searched.
            metric.coalesced_failures += 1;
            return;
        }
        let avoid = place
            .previous
            .as_ref()
            .map(|previous| avoided_nodes(previous))
            .unwrap_or_default();
        match self
            .placing
            .choose(job, group, &self.eval.id, &avoid, self.ids)
        {
            Ok(chosen) => {
                let previous = place.previous.as_deref();
                let alloc = self.allocation(job, group, place.name, chosen, previous);
                self.placing.hold(&alloc);
                if let Some(previous) = previous.filter(|_| place.stop_previous) {
                    self.stop(previous, place.reason);
                }
                self.plan.places.push(alloc);
            }
            Err(metric) => {
                self.failed.insert(group.name.clone(), *metric);
            }
        }
    }

    fn allocation(
        &mut self,
        job: &Arc<Job>,
        group: &TaskGroup,
        name: String,
        chosen: rank::Chosen,
        previous: Option<&Allocation>,
    ) -> Allocation {
        let mut alloc = Allocation {
            id: self.ids.next_uuid(),
            namespace: job.namespace.clone(),
            eval_id: self.eval.id.clone(),
            name,
            node_id: chosen.node.id.clone(),
            node_name: chosen.node.name.clone(),
            job_id: job.id.clone(),
            job: Some(Arc::clone(job)),
            task_group: group.name.clone(),
            resources: group.resources(),
            shared_networks: chosen.networks.shared,
            task_resources: chosen.networks.tasks,
            metrics: chosen.metric,
            desired_status: crate::model::DESIRED_RUN.to_owned(),
            client_status: crate::model::CLIENT_PENDING.to_owned(),
            ..Allocation::default()
        };
        if let Some(previous) = previous {
            alloc.previous_allocation.clone_from(&previous.id);
            if previous.client_terminal() {
                alloc.reschedule_tracker = Some(tracked(previous, self.now));
            }
        }
        alloc
    }

    fn next_eval(&mut self, job: &Job, status: &str) -> Evaluation {
        Evaluation {
            id: self.ids.next_uuid(),
            namespace: job.namespace.clone(),
            priority: self.eval.priority,
            r#type: job.r#type.clone(),
            job_id: job.id.clone(),
            job_modify_index: job.job_modify_index,
            status: status.to_owned(),
            previous_eval: self.eval.id.clone(),
            snapshot_index: self.store.index(),
            ..Evaluation::default()
        }
    }

    fn finish(mut self) -> Decision {
        let queued: BTreeMap<String, i64> = self
            .failed
            .iter()
            .map(|(group, metric)| {
                let waiting = metric.coalesced_failures + 1;
                (group.clone(), i64::try_from(waiting).unwrap_or(i64::MAX))
            })
            .collect();
        let blocked = match self.job.clone() {
            Some(job) if !self.failed.is_empty() => {
                let mut blocked = self.next_eval(&job, EVAL_BLOCKED);
                TRIGGER_QUEUED_ALLOCS.clone_into(&mut blocked.triggered_by);
                blocked.status_description = "created to place remaining allocations".to_owned();
                blocked.failed_tg_allocs.clone_from(&self.failed);
                blocked.queued_allocations.clone_from(&queued);
                Some(blocked)
            }
            Some(_) | None => None,
        };
        let done = Evaluation {
            status: EVAL_COMPLETE.to_owned(),
            status_description: String::new(),
            failed_tg_allocs: self.failed,
            queued_allocations: queued,
            snapshot_index: self.store.index(),
            blocked_eval: blocked
                .as_ref()
                .map(|eval| eval.id.clone())
                .unwrap_or_default(),
            ..self.eval.clone()
        };
        Decision {
            plan: self.plan,
            follow_ups: self.follow_ups,
            done,
            blocked,
        }
    }
}

/// Nodes a replacement had better not go to: those its predecessors failed on.
fn avoided_nodes(previous: &Allocation) -> Vec<String> {
    let earlier = previous
        .reschedule_tracker
        .iter()
        .flat_map(|tracker| &tracker.events);
    let mut nodes: Vec<String> = earlier.map(|event| event.prev_node_id.clone()).collect();
    if previous.client_terminal() {
        nodes.push(previous.node_id.clone());
    }
    nodes
}

/// The predecessor's history with the predecessor itself added.
fn tracked(previous: &Allocation, now: Time) -> RescheduleTracker {
    let mut tracker = previous.reschedule_tracker.clone().unwrap_or_default();
    tracker.events.push(RescheduleEvent {
        reschedule_time: now.0,
        prev_alloc_id: previous.id.clone(),
        prev_node_id: previous.node_id.clone(),
        delay: reschedule::next_delay(previous, now),
    });
    let surplus = tracker.events.len().saturating_sub(reschedule::EVENTS_KEPT);
    tracker.events.drain(..surplus);
    tracker
}

#[cfg(test)]
mod tests;
