//! Allocations: what plans make of them, and what nodes report.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Applying, Store, Topic};
use crate::model::{
    AllocReport, AllocStop, Allocation, CLIENT_LOST, CLIENT_PENDING, DESIRED_RUN, DESIRED_STOP,
    Plan, TRIGGER_ALLOC_FAILURE,
};
use crate::schedule::verify::{Verified, verify};

impl Store {
    /// Applies what of a plan still can be: it was made from a snapshot, maybe by a server that
    /// leads no more. Answers what was left out, by node.
    pub(super) fn apply_plan(&mut self, plan: Plan, now: &mut Applying) -> Vec<(String, String)> {
        let Verified { plan, refused } = verify(self, plan);
        let mut touched = BTreeSet::new();
        self.roll_out(plan.deployment, plan.deployment_updates, now);
        for stop in plan.stops {
            if let Some(job_id) = self.apply_stop(stop, now) {
                touched.insert(job_id);
            }
        }
        let shared = plan.job.map(Arc::new);
        for mut alloc in plan.places {
            if alloc.job.is_none() {
                alloc.job.clone_from(&shared);
            }
            touched.insert(alloc.job_id.clone());
            if self.allocs.contains(&alloc.id) {
                self.apply_update(&alloc, now);
            } else {
                self.apply_placement(alloc, now);
            }
        }
        for job_id in touched {
            self.refresh_job(&job_id, now);
        }
        refused.into_iter().collect()
    }

    /// Answers whose allocation it was, if there is such an allocation.
    fn apply_stop(&mut self, stop: AllocStop, now: &mut Applying) -> Option<String> {
        let mut alloc = (**self.allocs.get(&stop.alloc_id)?).clone();
        let job_id = alloc.job_id.clone();
        if let Some(follow_up) = stop.follow_up_eval {
            alloc.follow_up_eval_id = follow_up;
        } else {
            DESIRED_STOP.clone_into(&mut alloc.desired_status);
            alloc.desired_description = stop.description;
            // The plan says which are lost too, but the node may have come back since.
            if !alloc.client_terminal() && !self.is_up(&alloc.node_id) {
                CLIENT_LOST.clone_into(&mut alloc.client_status);
            }
        }
        if alloc.server_terminal() {
            self.forget_replacement(&alloc, now);
        }
        let node_id = alloc.node_id.clone();
        self.put_alloc(alloc, true, now);
        self.give_up_node(&node_id, now);
        Some(job_id)
    }

    /// An allocation that outlives its replacement isn't replaced any more.
    fn forget_replacement(&mut self, replacement: &Allocation, now: &Applying) {
        let previous = self.allocs.get(&replacement.previous_allocation);
        let outlived =
            |old: &&Arc<Allocation>| !old.terminal() && old.next_allocation == replacement.id;
        if let Some(previous) = previous.filter(outlived) {
            let mut previous = (**previous).clone();
            previous.next_allocation.clear();
            self.put_alloc(previous, false, now);
        }
    }

    /// A running allocation takes on another version of its job; the rest of its row stays, as
    /// much may have happened since the plan was made.
    fn apply_update(&mut self, planned: &Allocation, now: &mut Applying) {
        let current = self.allocs.get(&planned.id);
        if let Some(current) = current.filter(|current| !current.server_terminal()) {
            let mut alloc = Allocation {
                job: planned.job.clone(),
                eval_id: planned.eval_id.clone(),
                ..(**current).clone()
            };
            if alloc.deployment_id != planned.deployment_id {
                alloc.deployment_id.clone_from(&planned.deployment_id);
                alloc.deployment_status = None;
            }
            self.put_alloc(alloc, true, now);
        }
    }

    fn apply_placement(&mut self, mut alloc: Allocation, now: &Applying) {
        alloc.create_index = now.index;
        alloc.create_time = now.at.0;
        DESIRED_RUN.clone_into(&mut alloc.desired_status);
        CLIENT_PENDING.clone_into(&mut alloc.client_status);
        if let Some(previous) = self.allocs.get(&alloc.previous_allocation) {
            let mut previous = (**previous).clone();
            previous.next_allocation.clone_from(&alloc.id);
            self.put_alloc(previous, false, now);
        }
        self.put_alloc(alloc, true, now);
    }

    fn is_up(&self, node_id: &str) -> bool {
        self.nodes.get(node_id).is_some_and(|node| !node.away())
    }

    /// A lost node's allocations that were asked to stop can't say any more that they did.
    pub(super) fn lose_stopping_allocs(&mut self, node_id: &str, now: &mut Applying) {
        let stopping: Vec<Allocation> = self
            .allocs_on_node(node_id)
            .filter(|alloc| alloc.server_terminal() && !alloc.client_terminal())
            .map(|alloc| (**alloc).clone())
            .collect();
        for mut alloc in stopping {
            CLIENT_LOST.clone_into(&mut alloc.client_status);
            self.put_alloc(alloc, false, now);
        }
    }

    pub(super) fn report_allocs(
        &mut self,
        node_id: &str,
        reports: Vec<AllocReport>,
        now: &mut Applying,
    ) {
        let mut freed = false;
        let mut ended = BTreeSet::new();
        let mut touched = BTreeSet::new();
        let mut judged = BTreeSet::new();
        for report in reports {
            let Some(old) = self.allocs.get(&report.alloc_id) else {
                continue;
            };
            if old.node_id != node_id {
                continue;
            }
            let was_terminal = old.client_terminal();
            let mut alloc = Allocation {
                client_status: report.client_status,
                client_description: report.client_description,
                task_states: report.task_states,
                ..(**old).clone()
            };
            if old.unknown() && !alloc.client_terminal() {
                // It is known again when its node is.
                old.client_status.clone_into(&mut alloc.client_status);
            }
            // What ended stays so, whatever a late report says; only a lost one may turn up again.
            let late = was_terminal && !alloc.client_terminal() && old.client_status != CLIENT_LOST;
            if late {
                continue;
            }
            if Self::hear_health(&mut alloc, report.health.as_ref(), now) {
                judged.insert(alloc.id.clone());
            }
            if alloc == **old {
                continue;
            }
            freed |= alloc.client_terminal() && !was_terminal;
            touched.insert(alloc.job_id.clone());
            if alloc.client_terminal() && !was_terminal && !alloc.server_terminal() {
                ended.insert(alloc.job_id.clone());
            }
            self.put_alloc(alloc, false, now);
        }
        for job_id in ended {
            let Some(job) = self.jobs.get(&job_id).cloned() else {
                continue;
            };
            let eval = Self::eval_for(&job, TRIGGER_ALLOC_FAILURE, now);
            self.put_eval(eval, now);
        }
        self.follow_health(&judged, now);
        for job_id in touched {
            self.refresh_job(&job_id, now);
        }
        self.give_up_node(node_id, now);
        if freed {
            self.unblock(now);
        }
    }

    /// Stores an allocation's row. `by_server`: its node has to hear of it.
    pub(super) fn put_alloc(&mut self, mut alloc: Allocation, by_server: bool, now: &Applying) {
        alloc.modify_index = now.index;
        alloc.modify_time = now.at.0;
        if by_server {
            alloc.alloc_modify_index = now.index;
            self.node_alloc_index
                .insert(alloc.node_id.clone(), now.index);
        }
        let old = self.allocs.get(&alloc.id).cloned();
        self.account(old.as_deref(), Some(&alloc));
        self.count_in_deployment(old.as_deref(), &alloc, now);
        self.allocs_by_job
            .insert((alloc.job_id.clone(), alloc.id.clone()), ());
        self.allocs_by_node
            .insert((alloc.node_id.clone(), alloc.id.clone()), ());
        self.allocs.insert(alloc.id.clone(), alloc);
        self.touch(Topic::Allocs, now);
    }
}
