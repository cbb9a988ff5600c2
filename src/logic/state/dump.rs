//! The whole state as one value: what snapshots are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kv::Kv;
use super::staged::{Staged, StagedDump};
use super::{Applying, Proposed, Store, Topic};
use crate::model::{
    Allocation, CatalogNode, Check, Deployment, EVAL_BLOCKED, Evaluation, Job, KvPair, Node,
    ServiceInstance, Session, UserEvent,
};
use crate::table::Table;
use crate::time::Time;

/// All rows; whatever can be derived from them isn't written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    pub index: u64,
    pub seed: u64,
    pub indexes: BTreeMap<Topic, u64>,
    pub capacity_index: u64,
    pub jobs: Vec<Arc<Job>>,
    pub versions: Vec<Arc<Job>>,
    pub nodes: Vec<Arc<Node>>,
    pub node_room_index: Vec<(String, u64)>,
    pub allocs: Vec<Arc<Allocation>>,
    pub node_alloc_index: Vec<(String, u64)>,
    pub evals: Vec<Arc<Evaluation>>,
    pub deployments: Vec<Arc<Deployment>>,
    pub catalog_nodes: Vec<Arc<CatalogNode>>,
    pub services: Vec<Arc<ServiceInstance>>,
    pub checks: Vec<Arc<Check>>,
    pub kv: KvDump,
    pub staged: StagedDump,
    /// Oldest first.
    pub proposals: Vec<Arc<Proposed>>,
    pub catalog_said: Vec<(String, u64)>,
    pub allocs_said: Vec<(String, u64)>,
    pub sessions: Vec<Arc<Session>>,
    pub events: Vec<Arc<UserEvent>>,
}

/// The key-value store's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KvDump {
    pub rows: Vec<Arc<KvPair>>,
    /// Keys that were deleted, and when.
    pub tombstones: Vec<(String, u64)>,
    pub forgotten_index: u64,
    pub restored_index: u64,
    /// Keys that nobody may lock until then.
    pub delays: Vec<(String, Time)>,
}

fn numbers(table: &Table<String, u64>) -> Vec<(String, u64)> {
    let rows = table.iter();
    rows.map(|(node, number)| (node.clone(), **number))
        .collect()
}

impl Store {
    pub fn dump(&self) -> Dump {
        Dump {
            index: self.index,
            seed: self.seed,
            indexes: self.indexes.clone(),
            capacity_index: self.capacity_index,
            jobs: self.jobs.values().cloned().collect(),
            versions: self.versions.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            node_room_index: numbers(&self.node_room_index),
            allocs: self.allocs.values().cloned().collect(),
            node_alloc_index: numbers(&self.node_alloc_index),
            evals: self.evals.values().cloned().collect(),
            deployments: self.deployments.values().cloned().collect(),
            catalog_nodes: self.catalog_nodes.values().cloned().collect(),
            services: self.services.values().cloned().collect(),
            checks: self.checks.values().cloned().collect(),
            kv: self.kv.dump(),
            staged: self.staged.dump(),
            proposals: self.proposed().cloned().collect(),
            catalog_said: numbers(&self.catalog_said),
            allocs_said: numbers(&self.allocs_said),
            sessions: self.sessions.values().cloned().collect(),
            events: self.events.values().cloned().collect(),
        }
    }

    pub fn restore(dump: Dump) -> Self {
        let mut store = Self {
            index: dump.index,
            seed: dump.seed,
            indexes: dump.indexes,
            capacity_index: dump.capacity_index,
            kv: Kv::restore(dump.kv),
            staged: Staged::restore(dump.staged),
            ..Self::default()
        };
        for job in dump.versions {
            store
                .versions
                .insert_shared((job.id.clone(), job.version), job);
        }
        for job in dump.jobs {
            store.jobs.insert_shared(job.id.clone(), job);
        }
        for node in dump.nodes {
            store.nodes.insert_shared(node.id.clone(), node);
        }
        for alloc in dump.allocs {
            store.account(None, Some(&alloc));
            store
                .allocs_by_job
                .insert((alloc.job_id.clone(), alloc.id.clone()), ());
            store
                .allocs_by_node
                .insert((alloc.node_id.clone(), alloc.id.clone()), ());
            store.allocs.insert_shared(alloc.id.clone(), alloc);
        }
        store.node_room_index = dump.node_room_index.into_iter().collect();
        store.node_alloc_index = dump.node_alloc_index.into_iter().collect();
        store.catalog_said = dump.catalog_said.into_iter().collect();
        store.allocs_said = dump.allocs_said.into_iter().collect();
        store.restore_sessions(dump.sessions, dump.events);
        for eval in dump.evals {
            store
                .evals_by_job
                .insert((eval.job_id.clone(), eval.id.clone()), ());
            if eval.status == EVAL_BLOCKED {
                store.evals_blocked.insert(eval.id.clone(), ());
            }
            store.evals.insert_shared(eval.id.clone(), eval);
        }
        for row in dump.deployments {
            store
                .deployments_by_job
                .insert((row.job_id.clone(), row.id.clone()), ());
            store.deployments.insert_shared(row.id.clone(), row);
        }
        for node in dump.catalog_nodes {
            store.catalog_nodes.insert_shared(node.node.clone(), node);
        }
        for service in dump.services {
            store
                .services
                .insert_shared((service.node.clone(), service.id.clone()), service);
        }
        for check in dump.checks {
            store
                .checks
                .insert_shared((check.node.clone(), check.check_id.clone()), check);
        }
        for proposed in dump.proposals {
            store.remember(proposed);
        }
        store
    }

    /// Everything becomes as it was in `dump`, but for the indexes: they go on, so that whoever
    /// waits for a change sees this one.
    pub(super) fn take_over(&mut self, dump: Dump, now: &Applying) {
        let proposals = (self.proposals.clone(), self.proposals_by_index.clone());
        let nodes: Vec<String> = dump.nodes.iter().map(|node| node.id.clone()).collect();
        *self = Self::restore(dump);
        // What comes from a longer history has to stay in the past.
        let index = now.index.max(self.index);
        self.index = index;
        (self.proposals, self.proposals_by_index) = proposals;
        self.capacity_index = index;
        for topic in Topic::ALL {
            self.indexes.insert(topic, index);
        }
        for node in nodes {
            self.node_alloc_index.insert(node, index);
        }
        self.kv.replaced(index);
        self.staged = Staged::default();
    }

    /// Names the tables derived from others that don't hold what they would after a restore.
    pub(crate) fn stale_tables(&self) -> Vec<&'static str> {
        let fresh = Self::restore(self.dump());
        let agreements = [
            ("allocs_by_job", self.allocs_by_job == fresh.allocs_by_job),
            (
                "allocs_by_node",
                self.allocs_by_node == fresh.allocs_by_node,
            ),
            (
                "allocs_leaving",
                self.allocs_leaving == fresh.allocs_leaving,
            ),
            ("usage", self.usage == fresh.usage),
            ("kv", self.kv == fresh.kv),
            (
                "sessions_by_node",
                self.sessions_by_node == fresh.sessions_by_node,
            ),
            (
                "proposals_by_index",
                self.proposals_by_index == fresh.proposals_by_index,
            ),
            ("evals_by_job", self.evals_by_job == fresh.evals_by_job),
            ("evals_blocked", self.evals_blocked == fresh.evals_blocked),
            (
                "deployments_by_job",
                self.deployments_by_job == fresh.deployments_by_job,
            ),
        ];
        let stale = agreements.into_iter().filter(|(_, agrees)| !agrees);
        stale.map(|(table, _)| table).collect()
    }
}
