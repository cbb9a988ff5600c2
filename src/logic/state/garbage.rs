//! Forgetting what ended long ago, so that the state stays as large as the cluster is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Applying, Store, Topic};
use crate::model::{Allocation, Evaluation, JOB_BATCH, JOB_DEAD, NODE_DOWN};
use crate::time::Time;

impl Store {
    pub(super) fn collect_garbage(
        &mut self,
        evals_before: Time,
        jobs_before: Time,
        nodes_before: Time,
        now: &mut Applying,
    ) {
        self.collect_allocs(evals_before, now);
        self.collect_evals(evals_before, now);
        self.collect_jobs(jobs_before, now);
        self.collect_deployments(evals_before, now);
        self.collect_nodes(nodes_before, now);
    }

    /// Ended allocations, unless they are the newest word on a slot that is still wanted.
    fn collect_allocs(&mut self, before: Time, now: &mut Applying) {
        let old: Vec<_> = self
            .allocs()
            .filter(|alloc| alloc.client_terminal() && alloc.modify_time < before.0)
            .filter(|alloc| {
                alloc.server_terminal()
                    || !alloc.next_allocation.is_empty()
                    || self.jobs.get(&alloc.job_id).is_none_or(|job| job.stop)
            })
            .cloned()
            .collect();
        for alloc in old {
            self.forget_alloc(&alloc, now);
        }
    }

    fn forget_alloc(&mut self, alloc: &Allocation, now: &mut Applying) {
        self.account(Some(alloc), None);
        self.allocs.remove(&alloc.id);
        self.allocs_by_job
            .remove(&(alloc.job_id.clone(), alloc.id.clone()));
        self.allocs_by_node
            .remove(&(alloc.node_id.clone(), alloc.id.clone()));
        if self.nodes.contains(&alloc.node_id) {
            self.node_alloc_index
                .insert(alloc.node_id.clone(), now.index);
        }
        self.touch(Topic::Allocs, now);
    }

    /// Ended evaluations that no allocation refers to.
    fn collect_evals(&mut self, before: Time, now: &mut Applying) {
        let referred: BTreeSet<&str> = self
            .allocs()
            .flat_map(|alloc| [alloc.eval_id.as_str(), alloc.follow_up_eval_id.as_str()])
            .collect();
        let old: Vec<_> = self
            .evals()
            .filter(|eval| eval.terminal() && eval.modify_time < before.0)
            .filter(|eval| !referred.contains(eval.id.as_str()))
            .cloned()
            .collect();
        for eval in old {
            self.forget_eval(&eval, now);
        }
    }

    fn forget_eval(&mut self, eval: &Evaluation, now: &mut Applying) {
        self.evals.remove(&eval.id);
        self.evals_by_job
            .remove(&(eval.job_id.clone(), eval.id.clone()));
        self.touch(Topic::Evals, now);
    }

    /// Jobs that were stopped, and batch jobs that have done their work; with all that is left of
    /// them.
    fn collect_jobs(&mut self, before: Time, now: &mut Applying) {
        let dead: Vec<String> = self
            .jobs()
            .filter(|job| job.stop || job.r#type == JOB_BATCH)
            .filter(|job| job.status == JOB_DEAD && job.submit_time < before.0)
            .filter(|job| {
                let ended = |alloc: &Arc<Allocation>| {
                    alloc.client_terminal() && alloc.modify_time < before.0
                };
                self.allocs_of_job(&job.id).all(ended)
            })
            .filter(|job| {
                let ended = |eval: &Arc<Evaluation>| eval.terminal() && eval.modify_time < before.0;
                self.evals_of_job(&job.id).all(ended)
            })
            .map(|job| job.id.clone())
            .collect();
        for id in dead {
            let allocs: Vec<_> = self.allocs_of_job(&id).cloned().collect();
            for alloc in allocs {
                self.forget_alloc(&alloc, now);
            }
            let evals: Vec<_> = self.evals_of_job(&id).cloned().collect();
            for eval in evals {
                self.forget_eval(&eval, now);
            }
            self.forget_job(&id);
            self.forget_deployments_of(&id, now);
            self.touch(Topic::Jobs, now);
        }
    }

    /// Deployments that have ended, unless something of theirs runs, or they are of a job as it is
    /// now: a rollout that failed isn't begun anew.
    fn collect_deployments(&mut self, before: Time, now: &mut Applying) {
        let live: BTreeSet<&str> = self
            .allocs()
            .filter(|alloc| !alloc.terminal())
            .map(|alloc| alloc.deployment_id.as_str())
            .collect();
        let old: Vec<String> = self
            .deployments()
            .filter(|row| !row.active() && row.modify_time < before.0)
            .filter(|row| !live.contains(row.id.as_str()))
            .filter(|row| self.jobs.get(&row.job_id).is_none_or(|job| !row.is_of(job)))
            .map(|row| row.id.clone())
            .collect();
        for id in old {
            self.forget_deployment(&id, now);
        }
    }

    fn collect_nodes(&mut self, before: Time, now: &mut Applying) {
        let gone: Vec<_> = self
            .nodes()
            .filter(|node| node.status == NODE_DOWN && node.status_updated_at < before.secs())
            .filter(|node| self.allocs_on_node(&node.id).next().is_none())
            .map(|node| (node.id.clone(), node.name.clone()))
            .collect();
        for (id, name) in gone {
            self.nodes.remove(&id);
            self.usage.remove(&id);
            self.node_alloc_index.remove(&id);
            self.node_room_index.remove(&id);
            self.allocs_said.remove(&id);
            self.forget_catalog_node(&name, now);
            self.touch(Topic::Nodes, now);
        }
    }
}
