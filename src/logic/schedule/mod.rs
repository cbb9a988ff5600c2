//! The scheduler: from a snapshot and an evaluation to a plan that carries its reasons.
//!
//! Four pure stages: [`reconcile`] says what should change, [`feasible`] where it may go,
//! [`rank`] where it goes best, and [`ports`] which ports it gets there. The plan is optimistic:
//! [`verify`] checks it once more against the newest state before it is committed.

mod disconnect;
mod distinct;
pub mod dry_run;
pub mod feasible;
mod moving;
mod ports;
mod rank;
mod reconcile;
pub mod reschedule;
mod rolling;
mod rollout;
mod room;
mod system;
mod update;
pub mod verify;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::Ids;
use crate::model::{
    AllocDeploymentStatus, AllocMetric, AllocStop, Allocation, CLIENT_LOST, CLIENT_PENDING,
    DESIRED_RUN, EVAL_BLOCKED, EVAL_COMPLETE, EVAL_PENDING, Evaluation, GroupChanges, JOB_SERVICE,
    JOB_SYSTEM, Job, Plan, TRIGGER_ALLOC_FAILURE, TRIGGER_QUEUED_ALLOCS, TRIGGER_ROLLING_UPDATE,
    TaskGroup, stopped,
};
use crate::state::Store;
use crate::time::Time;
use rank::Search;
use reconcile::{Handover, History, Place, Reconciled};
use rollout::Rollout;
use room::Room;
pub(crate) use update::changed;

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
        room: Room::new(store),
        rollout: Rollout::of(store, job.as_deref()),
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
    room: Room<'a>,
    rollout: Rollout<'a>,
    plan: Plan,
    follow_ups: Vec<Evaluation>,
    failed: BTreeMap<String, AllocMetric>,
}

impl<'a> Run<'a> {
    fn stop_everything(&mut self) {
        for alloc in self.wanted(&self.eval.job_id) {
            self.stop_counted(alloc, "alloc not needed as job is stopped");
        }
    }

    fn stop_removed_groups(&mut self, job: &Job) {
        for alloc in self.wanted(&job.id) {
            if job.group(&alloc.task_group).is_none() {
                self.stop_counted(alloc, stopped::NOT_NEEDED);
            }
        }
    }

    /// The job's allocations that nobody has asked to stop, ended ones too.
    fn wanted(&self, job_id: &str) -> Vec<&'a Arc<Allocation>> {
        let allocs = self.store.allocs_of_job(job_id);
        allocs.filter(|alloc| !alloc.server_terminal()).collect()
    }

    fn stop_counted(&mut self, alloc: &Allocation, reason: &str) {
        if !alloc.client_terminal() {
            self.changes(&alloc.task_group).stop += 1;
        }
        self.stop(alloc, reason);
    }

    fn group(&mut self, job: &Arc<Job>, group: &TaskGroup) {
        let Reconciled {
            stops,
            in_place,
            places,
            later,
            changes,
        } = self.reconcile(job, group);
        *self.changes(&group.name) = changes;
        for (alloc, reason) in stops {
            self.stop(&alloc, reason);
        }
        for alloc in in_place {
            self.update_in_place(&alloc, job);
        }
        for (alloc, at) in later {
            self.replace_later(&alloc, at, job);
        }
        let mut search = None;
        for place in places {
            match &place.job {
                None => self.place(job, group, &mut search, &place),
                Some(older) => {
                    if let Some(group) = older.group(&group.name) {
                        self.place(older, group, &mut None, &place);
                    }
                }
            }
        }
    }

    fn reconcile(&mut self, job: &Arc<Job>, group: &TaskGroup) -> Reconciled {
        let rolling = group.rolling().filter(|_| job.r#type == JOB_SERVICE);
        let Some(update) = rolling else {
            return reconcile::group(self.store, job, group, self.eval, self.now);
        };
        let rolled = rolling::group(rolling::Look {
            store: self.store,
            job,
            group,
            update,
            current: self.rollout.current(),
            eval: self.eval,
            now: self.now,
        });
        self.rollout.note(&rolled, job, group, self.now, self.ids);
        rolled.reconciled
    }

    fn changes(&mut self, group: &str) -> &mut GroupChanges {
        self.plan.annotations.entry(group.to_owned()).or_default()
    }

    fn stop(&mut self, alloc: &Allocation, reason: &str) {
        self.room.release(alloc);
        let node = self.store.node(&alloc.node_id);
        let lost = !alloc.client_terminal() && node.is_none_or(|node| node.away());
        self.plan.stops.push(AllocStop {
            alloc_id: alloc.id.clone(),
            node_id: alloc.node_id.clone(),
            description: reason.to_owned(),
            client_status: lost.then(|| CLIENT_LOST.to_owned()),
            follow_up_eval: None,
        });
    }

    fn update_in_place(&mut self, alloc: &Allocation, job: &Arc<Job>) {
        let mut alloc = alloc.clone();
        alloc.job = Some(Arc::clone(job));
        alloc.eval_id.clone_from(&self.eval.id);
        if let Some(deployment) = self.rollout.member(&alloc.task_group) {
            alloc.deployment_id = deployment;
        }
        self.plan.places.push(alloc);
    }

    /// Notes on a failed allocation which evaluation will replace it, and makes that evaluation.
    fn replace_later(&mut self, alloc: &Allocation, at: Time, job: &Job) {
        let same_time = self.follow_ups.iter().find(|eval| eval.wait_until == at);
        let id = if let Some(eval) = same_time {
            eval.id.clone()
        } else {
            let eval = Evaluation {
                triggered_by: TRIGGER_ALLOC_FAILURE.to_owned(),
                status_description: "created for delayed rescheduling".to_owned(),
                wait_until: at,
                ..self.next_eval(job, EVAL_PENDING)
            };
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

    /// The rest of a system job's allocations is replaced after a pause.
    fn go_on_later(&mut self, job: &Job, pause: i64) {
        let at = Time(self.now.0.saturating_add(pause));
        if self.follow_ups.iter().any(|eval| eval.wait_until == at) {
            return;
        }
        let next = Evaluation {
            triggered_by: TRIGGER_ROLLING_UPDATE.to_owned(),
            wait_until: at,
            ..self.next_eval(job, EVAL_PENDING)
        };
        self.follow_ups.push(next);
    }

    fn place<'g>(
        &mut self,
        job: &Arc<Job>,
        group: &'g TaskGroup,
        search: &mut Option<Search<'g>>,
        place: &Place,
    ) where
        'a: 'g,
    {
        let previous = place.previous.as_deref();
        let leaving = previous.filter(|_| place.handover != Handover::Leave);
        if let Some(metric) = self.failed.get_mut(&group.name)
            && leaving.is_none_or(|leaving| brings_no_room(self.store, leaving))
        {
            // It won't fit for this one either: the same node set was just searched.
            metric.coalesced_failures += 1;
            return;
        }
        let search =
            search.get_or_insert_with(|| Search::new(&self.room, job, group, &self.eval.id));
        if place.handover == Handover::Overlap
            && !self.failed.contains_key(&group.name)
            && self.place_beside(job, group, search, place)
        {
            return;
        }
        if let Some(leaving) = leaving {
            self.room.release(leaving);
            search.left(&self.room, leaving);
        }
        let avoid = avoided_nodes(place);
        match search.choose(&self.room, &avoid, self.ids) {
            Ok(chosen) => {
                self.take(job, group, search, place, chosen);
                if let Some(leaving) = leaving {
                    self.stop(leaving, place.reason);
                }
            }
            Err(metric) => {
                if let Some(leaving) = leaving {
                    self.room.keep(leaving);
                    search.joined(&self.room, leaving);
                }
                self.couldnt_place(group, *metric);
            }
        }
    }

    /// Places an allocation while the one it takes over from stays; `false` if there is no room
    /// for both.
    fn place_beside<'g>(
        &mut self,
        job: &Arc<Job>,
        group: &'g TaskGroup,
        search: &mut Search<'g>,
        place: &Place,
    ) -> bool
    where
        'a: 'g,
    {
        let Some(previous) = place.previous.as_deref() else {
            return false;
        };
        // It goes where its predecessor is, if it can: that one will be gone.
        search.crowds(&self.room, previous, false);
        let avoid = avoided_nodes(place);
        if let Ok(chosen) = search.choose(&self.room, &avoid, self.ids) {
            self.take(job, group, search, place, chosen);
            return true;
        }
        search.crowds(&self.room, previous, true);
        false
    }

    /// The plan places an allocation on the node that was chosen.
    fn take<'g>(
        &mut self,
        job: &Arc<Job>,
        group: &'g TaskGroup,
        search: &mut Search<'g>,
        place: &Place,
        chosen: rank::Chosen,
    ) where
        'a: 'g,
    {
        let mut alloc = self.allocation(job, group, place.name.clone(), chosen);
        if let Some(previous) = place.previous.as_deref() {
            follow(&mut alloc, previous, place.history, self.now);
        }
        if place.job.is_none()
            && let Some(deployment) = self.rollout.member(&group.name)
        {
            alloc.deployment_id = deployment;
            alloc.deployment_status = place.canary.then(|| AllocDeploymentStatus {
                canary: true,
                ..AllocDeploymentStatus::default()
            });
        }
        self.room.hold(&alloc);
        search.joined(&self.room, &alloc);
        self.plan.places.push(alloc);
    }

    fn couldnt_place(&mut self, group: &TaskGroup, metric: AllocMetric) {
        if let Some(failed) = self.failed.get_mut(&group.name) {
            failed.coalesced_failures += 1;
        } else {
            self.failed.insert(group.name.clone(), metric);
        }
    }

    fn allocation(
        &mut self,
        job: &Arc<Job>,
        group: &TaskGroup,
        name: String,
        chosen: rank::Chosen,
    ) -> Allocation {
        Allocation {
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
            desired_status: DESIRED_RUN.to_owned(),
            client_status: CLIENT_PENDING.to_owned(),
            ..Allocation::default()
        }
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
        let rollout = std::mem::take(&mut self.rollout);
        let deployment_id = rollout.id();
        (self.plan.deployment, self.plan.deployment_updates) = rollout.planned();
        let job = self.store.job(&self.eval.job_id);
        let groups = job.iter().flat_map(|job| &job.task_groups);
        let mut queued: BTreeMap<String, i64> =
            groups.map(|group| (group.name.clone(), 0)).collect();
        for (group, metric) in &self.failed {
            let waiting = i64::try_from(metric.coalesced_failures + 1).unwrap_or(i64::MAX);
            queued.insert(group.clone(), waiting);
        }
        self.finish_with(queued, deployment_id)
    }

    fn finish_with(
        mut self,
        queued: BTreeMap<String, i64>,
        deployment_id: Option<String>,
    ) -> Decision {
        let deployment_id = deployment_id.unwrap_or_else(|| self.eval.deployment_id.clone());
        let blocked = match self.job.clone() {
            Some(job) if !self.failed.is_empty() => Some(Evaluation {
                triggered_by: TRIGGER_QUEUED_ALLOCS.to_owned(),
                status_description: "created to place remaining allocations".to_owned(),
                failed_tg_allocs: self.failed.clone(),
                queued_allocations: queued.clone(),
                deployment_id: deployment_id.clone(),
                ..self.next_eval(&job, EVAL_BLOCKED)
            }),
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
            deployment_id,
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

/// Whether an allocation's end makes no room anywhere, as its node isn't there.
fn brings_no_room(store: &Store, leaving: &Allocation) -> bool {
    let node = store.node(&leaving.node_id);
    leaving.client_terminal() || node.is_none_or(|node| node.away())
}

/// Nodes a replacement had better not go to: those its predecessors failed on.
fn avoided_nodes(place: &Place) -> Vec<String> {
    let Some(previous) = place.previous.as_deref() else {
        return Vec::new();
    };
    let earlier = previous
        .reschedule_tracker
        .iter()
        .flat_map(|tracker| &tracker.events)
        .map(|event| event.prev_node_id.clone());
    match place.history {
        History::Forget => Vec::new(),
        History::Keep => earlier.collect(),
        History::Add => earlier.chain([previous.node_id.clone()]).collect(),
    }
}

/// Makes `alloc` the successor of `previous`.
fn follow(alloc: &mut Allocation, previous: &Allocation, history: History, now: Time) {
    alloc.previous_allocation.clone_from(&previous.id);
    alloc.reschedule_tracker = match history {
        History::Forget => None,
        History::Keep => previous.reschedule_tracker.clone(),
        History::Add => Some(reschedule::tracked(previous, now)),
    };
}

#[cfg(test)]
pub(crate) mod tests;
