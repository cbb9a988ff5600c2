//! Allocations: what plans make of them, and what nodes report.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Applying, Store, Topic};
use crate::model::{
    AllocReport, Allocation, CLIENT_PENDING, DESIRED_RUN, DESIRED_STOP, Plan, TRIGGER_ALLOC_FAILURE,
};

impl Store {
    pub(super) fn apply_plan(&mut self, plan: Plan, now: &mut Applying) {
        let mut touched = BTreeSet::new();
        let shared = plan.job.map(Arc::new);
        for stop in plan.stops {
            let Some(old) = self.allocs.get(&stop.alloc_id) else {
                continue;
            };
            let mut alloc = (**old).clone();
            if let Some(follow_up) = stop.follow_up_eval {
                alloc.follow_up_eval_id = follow_up;
            } else {
                DESIRED_STOP.clone_into(&mut alloc.desired_status);
                alloc.desired_description = stop.description;
            }
            if let Some(status) = stop.client_status {
                alloc.client_status = status;
            }
            touched.insert(alloc.job_id.clone());
            self.put_alloc(alloc, true, now);
        }
        for mut alloc in plan.places {
            if let Some(old) = self.allocs.get(&alloc.id) {
                // The node may have reported since the plan was made; what it says stays.
                alloc.client_status.clone_from(&old.client_status);
                alloc.client_description.clone_from(&old.client_description);
                alloc.task_states.clone_from(&old.task_states);
                alloc.create_index = old.create_index;
                alloc.create_time = old.create_time;
            } else {
                alloc.create_index = now.index;
                alloc.create_time = now.at.0;
                CLIENT_PENDING.clone_into(&mut alloc.client_status);
            }
            DESIRED_RUN.clone_into(&mut alloc.desired_status);
            if alloc.job.is_none() {
                alloc.job.clone_from(&shared);
            }
            if let Some(previous) = self.allocs.get(&alloc.previous_allocation).cloned()
                && previous.next_allocation != alloc.id
            {
                let mut previous = (*previous).clone();
                previous.next_allocation.clone_from(&alloc.id);
                self.put_alloc(previous, false, now);
            }
            touched.insert(alloc.job_id.clone());
            self.put_alloc(alloc, true, now);
        }
        for job_id in touched {
            self.refresh_job(&job_id, now);
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
        for report in reports {
            let Some(old) = self.allocs.get(&report.alloc_id) else {
                continue;
            };
            if old.node_id != node_id {
                continue;
            }
            let mut alloc = (**old).clone();
            let was_terminal = alloc.client_terminal();
            alloc.client_status = report.client_status;
            alloc.client_description = report.client_description;
            alloc.task_states = report.task_states;
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
        for job_id in touched {
            self.refresh_job(&job_id, now);
        }
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
        self.allocs_by_job
            .insert((alloc.job_id.clone(), alloc.id.clone()), ());
        self.allocs_by_node
            .insert((alloc.node_id.clone(), alloc.id.clone()), ());
        self.allocs.insert(alloc.id.clone(), alloc);
        self.touch(Topic::Allocs, now);
    }
}
