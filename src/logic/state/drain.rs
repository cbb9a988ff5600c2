//! Emptying nodes: what operators ask for, and allocations that have to leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::nodes::note_of;
use super::{Applying, Refusal, Reply, Store, Topic};
use crate::duration::to_std;
use crate::model::{Allocation, DrainStrategy, NODE_ELIGIBLE, NODE_INELIGIBLE};

const SUBSYSTEM: &str = "Drain";

impl Store {
    pub(super) fn set_node_drain(
        &mut self,
        node_id: &str,
        drain: Option<DrainStrategy>,
        eligible: bool,
        complete: bool,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let old = self
            .nodes
            .get(node_id)
            .ok_or_else(|| Refusal::NoSuchNode(node_id.to_owned()))?;
        // Somebody has ended the drain, or has begun another one, while it came to its end.
        if complete && !old.drain {
            return Ok(Reply::Done);
        }
        let mut node = (**old).clone();
        let message = match (&drain, complete) {
            (Some(_), _) => "Node drain strategy set",
            (None, true) => "Node drain complete",
            (None, false) => "Node drain strategy unset",
        };
        let begins = drain.is_some();
        node.drain = begins;
        node.drain_strategy = drain.map(|mut drain| {
            // Never is the zero of times.
            drain.force_deadline = match drain.deadline {
                0 => crate::time::Time::NEVER,
                deadline if deadline < 0 => now.at,
                deadline => now.at.plus(to_std(deadline)),
            };
            drain
        });
        let eligible = eligible && !begins;
        let eligibility = if eligible {
            NODE_ELIGIBLE
        } else {
            NODE_INELIGIBLE
        };
        eligibility.clone_into(&mut node.scheduling_eligibility);
        node.modify_index = now.index;
        note_of(SUBSYSTEM, &mut node, message, now);
        self.nodes.insert(node_id.to_owned(), node);
        self.touch(Topic::Nodes, now);
        if !begins && !complete {
            self.let_stay(node_id, now);
        }
        if eligible {
            self.evaluate_node(node_id, now);
            self.unblock(now);
        }
        Ok(Reply::Done)
    }

    /// What is to leave its node, or is to be stopped once another one is well in its place.
    pub fn leaving(&self) -> impl Iterator<Item = &Arc<Allocation>> {
        let ids = self.allocs_leaving.iter().map(|(id, _)| id);
        ids.filter_map(|id| self.allocs.get(id))
    }

    /// What still runs on a node that isn't drained any more needn't leave it, unless another one
    /// has come in its place.
    fn let_stay(&mut self, node_id: &str, now: &Applying) {
        let leaving: Vec<Allocation> = self
            .allocs_on_node(node_id)
            .filter(|alloc| alloc.migrate && !alloc.terminal() && !self.has_successor(alloc))
            .map(|alloc| (**alloc).clone())
            .collect();
        for mut alloc in leaving {
            alloc.migrate = false;
            self.put_alloc(alloc, false, now);
        }
    }

    fn has_successor(&self, leaving: &Allocation) -> bool {
        self.allocs_of_job(&leaving.job_id).any(|alloc| {
            let newer = alloc.create_index > leaving.create_index;
            newer && alloc.name == leaving.name && !alloc.terminal()
        })
    }

    /// Marks allocations that have to leave, and has their jobs looked at. Those that have been
    /// asked to stop are left out; if that leaves none, it is refused.
    pub(super) fn migrate_allocs(
        &mut self,
        alloc_ids: &[String],
        trigger: &str,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let mut job_ids = BTreeSet::new();
        for id in alloc_ids {
            let Some(alloc) = self.allocs.get(id).filter(|alloc| !alloc.terminal()) else {
                continue;
            };
            job_ids.insert(alloc.job_id.clone());
            if !alloc.migrate {
                let alloc = Allocation {
                    migrate: true,
                    ..(**alloc).clone()
                };
                self.put_alloc(alloc, false, now);
            }
        }
        let mut last = None;
        for job_id in job_ids {
            let Some(job) = self.jobs.get(&job_id).cloned() else {
                continue;
            };
            let eval = Self::eval_for(&job, trigger, now);
            last = Some(Reply::Evaluated {
                eval_id: eval.id.clone(),
                job_modify_index: job.job_modify_index,
            });
            self.put_eval(eval, now);
            self.refresh_job(&job_id, now);
        }
        last.ok_or_else(|| Refusal::AllocStopped(alloc_ids.join(", ")))
    }
}
