//! Nodes that aren't heard, as far as something on them is waited for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Applying, Store, Topic};
use crate::model::{
    Allocation, CLIENT_UNKNOWN, NODE_DISCONNECTED, NODE_DOWN, TRIGGER_DISCONNECT_TIMEOUT, TaskGroup,
};
use crate::time::Time;

impl Store {
    /// Whether a node may be silent for a while without its allocations being lost.
    pub(super) fn is_waited_for(&self, node_id: &str) -> bool {
        let mut allocs = self.allocs_on_node(node_id);
        allocs.any(|alloc| {
            let waits = alloc.group().is_some_and(|group| group.lost_after() > 0);
            !alloc.terminal() && waits
        })
    }

    /// A node went silent: what may be so becomes unknown, and is looked at again when it may be
    /// no longer; so is what the node itself will have stopped by a certain time.
    pub(super) fn wait_for_allocs(&mut self, node_id: &str, now: &mut Applying) {
        let waiting: Vec<Allocation> = self
            .allocs_on_node(node_id)
            .filter(|alloc| !alloc.terminal())
            .map(|alloc| (**alloc).clone())
            .collect();
        let mut deadlines: BTreeMap<String, BTreeSet<Time>> = BTreeMap::new();
        for mut alloc in waiting {
            let lost_after = alloc.group().map_or(0, TaskGroup::lost_after);
            let stopped_after = alloc.group().and_then(TaskGroup::stop_on_client_after);
            let deadline = if lost_after > 0 {
                Some(lost_after)
            } else {
                stopped_after
            };
            if let Some(deadline) = deadline {
                let at = Time(now.at.0.saturating_add(deadline));
                let of_job = deadlines.entry(alloc.job_id.clone()).or_default();
                of_job.insert(at);
            }
            if lost_after > 0 && !alloc.unknown() {
                alloc.note_status(CLIENT_UNKNOWN, now.at);
                self.put_alloc(alloc, false, now);
            }
        }
        for (job_id, times) in deadlines {
            let Some(job) = self.jobs.get(&job_id).cloned() else {
                continue;
            };
            for at in times {
                let mut eval = Self::eval_for(&job, TRIGGER_DISCONNECT_TIMEOUT, now);
                node_id.clone_into(&mut eval.node_id);
                eval.wait_until = at;
                self.put_eval(eval, now);
            }
        }
    }

    /// A node is back: what was unknown is what it was before, until the node says otherwise.
    pub(super) fn know_again(&mut self, node_id: &str, now: &Applying) {
        let unknown: Vec<Allocation> = self
            .allocs_on_node(node_id)
            .filter(|alloc| alloc.unknown())
            .map(|alloc| (**alloc).clone())
            .collect();
        for mut alloc in unknown {
            let status = alloc.last_heard_status();
            alloc.note_status(status, now.at);
            self.put_alloc(alloc, false, now);
        }
    }

    /// A disconnected node on which nothing is waited for any more is down.
    pub(super) fn give_up_node(&mut self, node_id: &str, now: &Applying) {
        let node = self.nodes.get(node_id);
        let Some(node) = node.filter(|node| node.status == NODE_DISCONNECTED) else {
            return;
        };
        if self.allocs_on_node(node_id).any(|alloc| alloc.unknown()) {
            return;
        }
        let mut node = (**node).clone();
        NODE_DOWN.clone_into(&mut node.status);
        node.modify_index = now.index;
        self.nodes.insert(node_id.to_owned(), node);
        self.touch(Topic::Nodes, now);
    }
}
