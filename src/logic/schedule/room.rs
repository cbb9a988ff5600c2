//! The nodes' room as the plan uses it up: what is held now, less what the plan stops, plus what
//! it places.

use std::collections::{BTreeMap, BTreeSet};

use super::ports::{self, Assigned};
use crate::id::Ids;
use crate::model::{Allocation, Node, Resources, TaskGroup};
use crate::state::{Store, Usage};

static NOTHING: Usage = Usage {
    cpu: 0,
    memory_mb: 0,
    disk_mb: 0,
    ports: BTreeMap::new(),
};

pub(super) struct Room<'a> {
    store: &'a Store,
    /// Nodes whose usage the plan changes.
    usage: BTreeMap<String, Usage>,
    /// Ports given up by allocations that the plan stops, by node.
    releasing: BTreeMap<String, BTreeSet<u16>>,
    /// Live allocations that the plan stops.
    stopped: BTreeSet<String>,
    /// Nodes of the allocations that the plan places.
    placed: Vec<String>,
}

/// What a node has too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// What it is counted under.
    pub(super) dimension: String,
    /// A sentence with numbers.
    pub(super) detail: String,
}

impl<'a> Room<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            usage: BTreeMap::new(),
            releasing: BTreeMap::new(),
            stopped: BTreeSet::new(),
            placed: Vec::new(),
        }
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// What is held on a node.
    pub(super) fn held<'n>(&'n self, node: &'n Node) -> Held<'n> {
        let changed = self.usage.get(&node.id);
        let usage = changed.or_else(|| self.store.usage_on(&node.id));
        Held {
            node,
            usage: usage.unwrap_or(&NOTHING),
            releasing: self.releasing.get(&node.id),
        }
    }

    fn usage_mut(&mut self, node_id: &str) -> &mut Usage {
        let store = self.store;
        self.usage
            .entry(node_id.to_owned())
            .or_insert_with(|| store.usage(node_id))
    }

    /// Accounts for an allocation that the plan stops. Its ports stay taken for dynamic choices.
    pub(super) fn release(&mut self, alloc: &Allocation) {
        if alloc.terminal() || !self.stopped.insert(alloc.id.clone()) {
            return;
        }
        self.usage_mut(&alloc.node_id).change(&alloc.resources, -1);
        let ports = alloc.ports().map(|(_, port)| port.value);
        self.releasing
            .entry(alloc.node_id.clone())
            .or_default()
            .extend(ports);
    }

    /// Takes back a [`Room::release`]: the allocation goes on running after all.
    pub(super) fn keep(&mut self, alloc: &Allocation) {
        if !self.stopped.remove(&alloc.id) {
            return;
        }
        self.usage_mut(&alloc.node_id).change(&alloc.resources, 1);
        if let Some(releasing) = self.releasing.get_mut(&alloc.node_id) {
            for (_, port) in alloc.ports() {
                releasing.remove(&port.value);
            }
        }
    }

    /// Accounts for an allocation that the plan places.
    pub(super) fn hold(&mut self, alloc: &Allocation) {
        self.usage_mut(&alloc.node_id).add(alloc);
        self.placed.push(alloc.node_id.clone());
    }

    /// The job's allocations (of one group, if given) that will still be there.
    pub(super) fn staying(
        &self,
        job_id: &str,
        group: Option<&str>,
    ) -> impl Iterator<Item = &Allocation> {
        self.store
            .allocs_of_job(job_id)
            .map(AsRef::as_ref)
            .filter(move |alloc| group.is_none_or(|group| alloc.task_group == group))
            .filter(|alloc| !alloc.terminal() && !self.stopped.contains(&alloc.id))
    }

    /// The nodes of what the plan places so far.
    pub(super) fn placed_on(&self) -> &[String] {
        &self.placed
    }
}

/// What is held on one node.
pub(super) struct Held<'n> {
    pub(super) node: &'n Node,
    pub(super) usage: &'n Usage,
    /// Ports that stopping allocations give up.
    releasing: Option<&'n BTreeSet<u16>>,
}

impl Held<'_> {
    /// What keeps one more allocation from fitting, if anything. Free dynamic ports aren't looked
    /// for.
    pub(super) fn lack(&self, group: &TaskGroup, asked: &Resources) -> Option<Lack> {
        self.lack_of_resources(asked)
            .or_else(|| ports::reserved(group, self.node, self.usage, self.releasing).err())
    }

    fn lack_of_resources(&self, asked: &Resources) -> Option<Lack> {
        let (have, used) = (self.node.available(), self.usage);
        [
            ("cpu", "MHz", have.cpu, used.cpu, asked.cpu),
            (
                "memory",
                "MB",
                have.memory_mb,
                used.memory_mb,
                asked.memory_mb,
            ),
            ("disk", "MB", have.disk_mb, used.disk_mb, asked.disk_mb),
        ]
        .into_iter()
        .find(|(_, _, have, used, asked)| used + asked > *have)
        .map(|(dimension, unit, have, used, asked)| Lack {
            dimension: dimension.to_owned(),
            detail: format!(
                "needs {asked} {unit} of {dimension}, {} of {have} {unit} are free",
                (have - used).max(0)
            ),
        })
    }

    /// The ports one more allocation gets.
    pub(super) fn assign(&self, group: &TaskGroup, ids: &mut Ids) -> Result<Assigned, Lack> {
        ports::assign(group, self.node, self.usage, self.releasing, ids)
    }
}
