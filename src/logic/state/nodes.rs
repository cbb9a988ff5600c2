//! Nodes: registering, and what follows when one is lost or comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Applying, Refusal, Reply, Store, Topic};
use crate::model::{
    CatalogNode, JOB_SYSTEM, NODE_DISCONNECTED, NODE_DOWN, NODE_ELIGIBLE, NODE_INELIGIBLE,
    NODE_READY, Node, NodeEvent, TRIGGER_NODE_UPDATE,
};
use crate::time::Time;

/// Node events kept for people to read.
const EVENTS_KEPT: usize = 10;

impl Store {
    pub(super) fn register_node(
        &mut self,
        mut node: Node,
        catalog: CatalogNode,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let old = self.nodes.get(&node.id).cloned();
        if let Some(old) = &old {
            if old.secret_id != node.secret_id {
                return Err(Refusal::WrongSecret);
            }
            node.create_index = old.create_index;
            node.drain = old.drain;
            node.drain_strategy.clone_from(&old.drain_strategy);
            node.scheduling_eligibility
                .clone_from(&old.scheduling_eligibility);
            node.events.clone_from(&old.events);
        } else {
            node.create_index = now.index;
            NODE_ELIGIBLE.clone_into(&mut node.scheduling_eligibility);
        }
        node.modify_index = now.index;
        node.status_updated_at = now.at.secs();
        NODE_READY.clone_into(&mut node.status);
        let message = match old.as_ref().map(|old| old.status.as_str()) {
            None => Some("Node registered"),
            Some(NODE_DOWN | NODE_DISCONNECTED) => Some("Node re-registered"),
            Some(_) => None,
        };
        if let Some(message) = message {
            note(&mut node, message, now);
        }
        let was_down = old.as_ref().is_some_and(|old| old.away());
        let as_before = old.as_ref().is_some_and(|old| offers_the_same(old, &node));
        if old.as_ref().is_none_or(|old| has_less_room(old, &node)) {
            self.node_room_index.insert(node.id.clone(), now.index);
        }
        let renamed = old.filter(|old| old.name != node.name);
        let (id, name) = (node.id.clone(), node.name.clone());
        self.nodes.insert(id.clone(), node);
        self.touch(Topic::Nodes, now);
        if let Some(old) = renamed {
            self.forget_catalog_node(&old.name, now);
        }
        self.register_catalog_node(catalog, now);
        // What the catalog holds of a node that was down is from before: its instances stay
        // critical until it has said what it offers now.
        if !was_down {
            self.set_serf_health(&name, true, now);
        }
        if !as_before {
            self.know_again(&id, now);
            self.evaluate_node(&id, now);
            self.unblock(now);
        }
        Ok(Reply::Done)
    }

    pub(super) fn set_node_status(
        &mut self,
        node_id: &str,
        status: &str,
        description: &str,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let old = self
            .nodes
            .get(node_id)
            .ok_or_else(|| Refusal::NoSuchNode(node_id.to_owned()))?;
        let waited_for = status == NODE_DOWN && self.is_waited_for(node_id);
        let status = if waited_for {
            NODE_DISCONNECTED
        } else {
            status
        };
        if old.status == status {
            return Ok(Reply::Done);
        }
        let mut node = (**old).clone();
        status.clone_into(&mut node.status);
        description.clone_into(&mut node.status_description);
        node.status_updated_at = now.at.secs();
        node.modify_index = now.index;
        let (name, away) = (node.name.clone(), node.away());
        let message = if away {
            "Node heartbeat missed"
        } else {
            "Node is back"
        };
        note(&mut node, message, now);
        self.nodes.insert(node_id.to_owned(), node);
        self.touch(Topic::Nodes, now);
        self.set_serf_health(&name, status == NODE_READY, now);
        if away {
            self.lose_stopping_allocs(node_id, now);
            self.wait_for_allocs(node_id, now);
        } else {
            self.know_again(node_id, now);
        }
        self.evaluate_node(node_id, now);
        if status == NODE_READY {
            self.unblock(now);
        }
        Ok(Reply::Done)
    }

    pub(super) fn set_node_eligibility(
        &mut self,
        node_id: &str,
        eligible: bool,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let old = self
            .nodes
            .get(node_id)
            .ok_or_else(|| Refusal::NoSuchNode(node_id.to_owned()))?;
        let mut node = (**old).clone();
        let wanted = if eligible {
            NODE_ELIGIBLE
        } else {
            NODE_INELIGIBLE
        };
        wanted.clone_into(&mut node.scheduling_eligibility);
        node.modify_index = now.index;
        note(
            &mut node,
            if eligible {
                "Node marked as eligible for scheduling"
            } else {
                "Node marked as ineligible for scheduling"
            },
            now,
        );
        self.nodes.insert(node_id.to_owned(), node);
        self.touch(Topic::Nodes, now);
        if eligible {
            self.evaluate_node(node_id, now);
            self.unblock(now);
        }
        Ok(Reply::Done)
    }

    /// An evaluation for every job that has something on this node, and for every system job.
    pub(super) fn evaluate_node(&mut self, node_id: &str, now: &mut Applying) {
        let mut job_ids: BTreeSet<String> = self
            .allocs_on_node(node_id)
            .filter(|alloc| !alloc.terminal())
            .map(|alloc| alloc.job_id.clone())
            .collect();
        job_ids.extend(
            self.jobs()
                .filter(|job| job.r#type == JOB_SYSTEM && !job.stop)
                .map(|job| job.id.clone()),
        );
        for job_id in job_ids {
            let Some(job) = self.jobs.get(&job_id).cloned() else {
                continue;
            };
            let mut eval = Self::eval_for(&job, TRIGGER_NODE_UPDATE, now);
            node_id.clone_into(&mut eval.node_id);
            self.put_eval(eval, now);
            self.refresh_job(&job_id, now);
        }
    }
}

fn has_less_room(old: &Node, new: &Node) -> bool {
    let (old, new) = (old.available(), new.available());
    new.cpu < old.cpu || new.memory_mb < old.memory_mb || new.disk_mb < old.disk_mb
}

/// Whether a node offers what it did before: then nothing needs to be looked at again.
fn offers_the_same(old: &Node, new: &Node) -> bool {
    let bare = |node: &Node| {
        let mut node = node.clone();
        node.status_description.clear();
        node.status_updated_at = 0;
        node.events.clear();
        node.modify_index = 0;
        for driver in node.drivers.values_mut() {
            driver.update_time = Time::NEVER;
        }
        node
    };
    bare(old) == bare(new)
}

fn note(node: &mut Node, message: &str, now: &Applying) {
    note_of("Cluster", node, message, now);
}

pub(super) fn note_of(subsystem: &str, node: &mut Node, message: &str, now: &Applying) {
    node.events.push(NodeEvent {
        message: message.to_owned(),
        subsystem: subsystem.to_owned(),
        details: BTreeMap::new(),
        timestamp: now.at,
        create_index: now.index,
    });
    let surplus = node.events.len().saturating_sub(EVENTS_KEPT);
    node.events.drain(..surplus);
}
