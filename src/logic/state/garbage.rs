//! Forgetting what ended long ago, so that the state stays as large as the cluster is.

use super::{Applying, Store, Topic};
use crate::model::{JOB_DEAD, NODE_DOWN};
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
            self.account(Some(&alloc), None);
            self.allocs.remove(&alloc.id);
            self.allocs_by_job
                .remove(&(alloc.job_id.clone(), alloc.id.clone()));
            self.allocs_by_node
                .remove(&(alloc.node_id.clone(), alloc.id.clone()));
            self.node_alloc_index
                .insert(alloc.node_id.clone(), now.index);
            self.touch(Topic::Allocs, now);
        }
    }

    fn collect_evals(&mut self, before: Time, now: &mut Applying) {
        let old: Vec<_> = self
            .evals()
            .filter(|eval| eval.terminal() && eval.modify_time < before.0)
            .filter(|eval| {
                !self
                    .allocs_of_job(&eval.job_id)
                    .any(|alloc| alloc.eval_id == eval.id)
            })
            .map(|eval| (eval.job_id.clone(), eval.id.clone()))
            .collect();
        for (job_id, id) in old {
            self.evals.remove(&id);
            self.evals_by_job.remove(&(job_id, id));
            self.touch(Topic::Evals, now);
        }
    }

    fn collect_jobs(&mut self, before: Time, now: &mut Applying) {
        let dead: Vec<String> = self
            .jobs()
            .filter(|job| job.status == JOB_DEAD && job.submit_time < before.0)
            .filter(|job| self.allocs_of_job(&job.id).next().is_none())
            .filter(|job| self.evals_of_job(&job.id).next().is_none())
            .map(|job| job.id.clone())
            .collect();
        for id in dead {
            self.forget_job(&id);
            self.touch(Topic::Jobs, now);
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
            self.forget_catalog_node(&name, now);
            self.touch(Topic::Nodes, now);
        }
    }
}
