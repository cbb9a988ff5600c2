//! The replicated state: what the cluster knows, and how log entries change it.
//!
//! [`Store::apply`] is the only way to change it, and is a pure function of the store and the
//! entry: all servers that applied the same entries hold the same store. A clone is a snapshot
//! and costs nothing.

mod allocs;
mod catalog;
mod command;
mod delays;
mod deployments;
mod disconnect;
mod drain;
mod dump;
mod evals;
mod events;
mod external;
mod garbage;
mod jobs;
mod kv;
mod nodes;
mod proposals;
mod rollout;
mod said;
mod sessions;
mod staged;
mod txn;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use command::{Command, Entry, Outcome, Refusal, Reply, Rollout};
pub use dump::{Dump, KvDump};
pub use jobs::{GroupSummary, JobSummary};
pub use proposals::Proposed;
pub use staged::{Measure, StagedDump};
pub use usage::Usage;

use crate::id::Ids;
use crate::model::{
    AllocId, Allocation, CatalogNode, Check, Deployment, EvalId, Evaluation, Job, JobId, Node,
    NodeId, ServiceInstance, Session, UserEvent,
};
use crate::table::Table;
use crate::time::Time;

/// The kinds of rows: readers can wait until one of a kind changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    Jobs,
    Nodes,
    Allocs,
    Evals,
    Catalog,
    Kv,
    Sessions,
    Events,
    Deployments,
}

impl Topic {
    const ALL: [Self; 9] = [
        Self::Jobs,
        Self::Nodes,
        Self::Allocs,
        Self::Evals,
        Self::Catalog,
        Self::Kv,
        Self::Sessions,
        Self::Events,
        Self::Deployments,
    ];
}

/// The state of a region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    /// The last entry applied.
    index: u64,
    /// What derived ids come from; differs from cluster to cluster.
    seed: u64,
    indexes: BTreeMap<Topic, u64>,
    /// When room for allocations was last freed.
    capacity_index: u64,
    jobs: Table<JobId, Job>,
    versions: Table<(JobId, u64), Job>,
    nodes: Table<NodeId, Node>,
    /// When a node last had less room than before: what runs there from before may not fit.
    node_room_index: Table<NodeId, u64>,
    allocs: Table<AllocId, Allocation>,
    allocs_by_job: Table<(JobId, AllocId), ()>,
    allocs_by_node: Table<(NodeId, AllocId), ()>,
    /// Those that are to leave their nodes and haven't been stopped yet.
    allocs_leaving: Table<AllocId, ()>,
    /// When a node's allocations were last changed by the servers.
    node_alloc_index: Table<NodeId, u64>,
    usage: Table<NodeId, Usage>,
    evals: Table<EvalId, Evaluation>,
    evals_by_job: Table<(JobId, EvalId), ()>,
    evals_blocked: Table<EvalId, ()>,
    deployments: Table<String, Deployment>,
    deployments_by_job: Table<(JobId, String), ()>,
    catalog_nodes: Table<String, CatalogNode>,
    services: Table<(String, String), ServiceInstance>,
    checks: Table<(String, String), Check>,
    kv: kv::Kv,
    /// By the entries that fired them.
    events: Table<u64, UserEvent>,
    sessions: Table<String, Session>,
    sessions_by_node: Table<(String, String), ()>,
    staged: staged::Staged,
    /// The serial of what a catalog node said last.
    catalog_said: Table<String, u64>,
    /// The serial of a node's last reports.
    allocs_said: Table<NodeId, u64>,
    proposals: Table<String, Proposed>,
    proposals_by_index: Table<u64, String>,
}

/// What an entry's handlers share while it is applied.
struct Applying {
    index: u64,
    at: Time,
    ids: Ids,
    pending: Vec<Evaluation>,
}

impl Store {
    /// Applies one entry. Entries and proposals that were applied already change nothing.
    pub fn apply(&mut self, entry: Entry) -> Outcome {
        let is_new = entry.index > self.index;
        self.index = self.index.max(entry.index);
        if let Some(first) = self.outcome_of(&entry.proposal) {
            return first;
        }
        let mut applying = Applying {
            index: entry.index,
            at: entry.at,
            ids: Ids::at(self.seed, entry.index),
            pending: Vec::new(),
        };
        let reply = if is_new {
            let reply = self.dispatch(entry.command, &mut applying);
            self.remember(Arc::new(Proposed {
                id: entry.proposal,
                index: entry.index,
                at: entry.at,
                reply: reply.clone(),
            }));
            reply
        } else {
            Ok(Reply::Done)
        };
        Outcome {
            index: entry.index,
            reply,
            pending: applying.pending,
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each command")]
    fn dispatch(&mut self, command: Command, now: &mut Applying) -> Result<Reply, Refusal> {
        match command {
            Command::Found { seed } => {
                if self.seed == 0 {
                    self.seed = seed;
                }
                Ok(Reply::Done)
            }
            Command::RegisterJob { job, check_index } => self.register_job(*job, check_index, now),
            Command::DeregisterJob { job_id, purge } => self.deregister_job(&job_id, purge, now),
            Command::EvaluateJob { job_id } => self.evaluate_job(&job_id, now),
            Command::RegisterNode { node, catalog } => self.register_node(*node, catalog, now),
            Command::SetNodeStatus {
                node_id,
                status,
                description,
            } => self.set_node_status(&node_id, &status, &description, now),
            Command::SetNodeEligibility { node_id, eligible } => {
                self.set_node_eligibility(&node_id, eligible, now)
            }
            Command::SetNodeDrain {
                node_id,
                drain,
                eligible,
                complete,
            } => self.set_node_drain(&node_id, drain, eligible, complete, now),
            Command::MigrateAllocs { alloc_ids, trigger } => {
                self.migrate_allocs(&alloc_ids, &trigger, now)
            }
            Command::ReportAllocs {
                node_id,
                serial,
                reports,
            } => Ok(self.hear_reports(&node_id, serial, reports, now)),
            Command::UpdateEvals { evals } => {
                self.update_evals(evals, now);
                Ok(Reply::Done)
            }
            Command::ApplyPlan { plan } => {
                let refused = self.apply_plan(*plan, now);
                Ok(Reply::Planned { refused })
            }
            Command::ChangeCatalog { change } => Ok(self.hear_offers(change, now)),
            Command::RegisterCatalogNode { node } => {
                self.register_catalog_node(node, now);
                Ok(Reply::Done)
            }
            Command::Kv { change } => Ok(Reply::Kv {
                happened: self.change_kv(change, now)?,
            }),
            Command::Txn { ops } => Ok(Reply::Txn(self.change_by_steps(&ops, now))),
            Command::RegisterExternal { external } => self.register_external(*external, now),
            Command::WithdrawExternal { gone } => self.withdraw_external(&gone, now),
            Command::ForgetLeftNode { node } => {
                self.forget_left_node(&node, now);
                Ok(Reply::Done)
            }
            Command::FireEvent { event } => Ok(self.fire_event(event, now)),
            Command::CreateSession { session } => self.create_session(session, now),
            Command::DestroySession { id } => {
                self.destroy_session(&id, now);
                Ok(Reply::Done)
            }
            Command::ExpireSession { id } => {
                self.end_session(&id, now);
                Ok(Reply::Done)
            }
            Command::CollectGarbage {
                evals_before,
                jobs_before,
                nodes_before,
            } => {
                self.collect_garbage(evals_before, jobs_before, nodes_before, now);
                self.collect_staged(evals_before);
                self.kv.collect_delays(now.at);
                Ok(Reply::Done)
            }
            Command::SetReachable { node, reachable } => {
                self.set_reachable(&node, reachable, now);
                Ok(Reply::Done)
            }
            Command::StageRestore { id, part } => {
                self.stage(id, *part, now);
                Ok(Reply::Done)
            }
            Command::Restore { id, staged, dump } => self.restore_staged(&id, staged, *dump, now),
            Command::Rollout(asked) => self.roll(asked, now),
        }
    }

    /// The last entry applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// When a row of this kind last changed; at least 1, so that clients can tell it from "unset".
    pub fn index_of(&self, topic: Topic) -> u64 {
        self.indexes.get(&topic).copied().unwrap_or(0).max(1)
    }

    fn touch(&mut self, topic: Topic, now: &Applying) {
        self.indexes.insert(topic, now.index);
    }

    pub fn job(&self, id: &str) -> Option<&Arc<Job>> {
        self.jobs.get(id)
    }

    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// Every version of a job that is kept, newest first.
    pub fn job_versions(&self, id: &str) -> Vec<&Arc<Job>> {
        let (from, to) = ((id.to_owned(), 0), (id.to_owned(), u64::MAX));
        let mut versions: Vec<_> = self.versions.range(from..=to).map(|(_, job)| job).collect();
        versions.reverse();
        versions
    }

    pub fn node(&self, id: &str) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// When a node joined or last had less room than before.
    pub fn node_room_index(&self, node_id: &str) -> u64 {
        self.node_room_index.get(node_id).map_or(0, |index| **index)
    }

    pub fn alloc(&self, id: &str) -> Option<&Arc<Allocation>> {
        self.allocs.get(id)
    }

    pub fn allocs(&self) -> impl Iterator<Item = &Arc<Allocation>> {
        self.allocs.values()
    }

    pub fn allocs_of_job(&self, job_id: &str) -> impl Iterator<Item = &Arc<Allocation>> {
        of(&self.allocs_by_job, job_id).filter_map(|id| self.allocs.get(id))
    }

    pub fn allocs_on_node(&self, node_id: &str) -> impl Iterator<Item = &Arc<Allocation>> {
        of(&self.allocs_by_node, node_id).filter_map(|id| self.allocs.get(id))
    }

    /// When the servers last changed what should run on a node.
    pub fn node_alloc_index(&self, node_id: &str) -> u64 {
        self.node_alloc_index
            .get(node_id)
            .map_or(0, |index| **index)
    }

    /// What a node's allocations hold of its resources and ports.
    pub fn usage(&self, node_id: &str) -> Usage {
        self.usage_on(node_id).cloned().unwrap_or_default()
    }

    /// The same without a copy; `None` if they hold nothing.
    pub fn usage_on(&self, node_id: &str) -> Option<&Usage> {
        self.usage.get(node_id).map(AsRef::as_ref)
    }

    pub fn eval(&self, id: &str) -> Option<&Arc<Evaluation>> {
        self.evals.get(id)
    }

    pub fn evals(&self) -> impl Iterator<Item = &Arc<Evaluation>> {
        self.evals.values()
    }

    pub fn evals_of_job(&self, job_id: &str) -> impl Iterator<Item = &Arc<Evaluation>> {
        of(&self.evals_by_job, job_id).filter_map(|id| self.evals.get(id))
    }
}

/// The second halves of an index's keys whose first half is `first`.
fn of<'a>(index: &'a Table<(String, String), ()>, first: &str) -> impl Iterator<Item = &'a String> {
    let owned = first.to_owned();
    index
        .range((owned.clone(), String::new())..)
        .take_while(move |((key, _), _)| *key == owned)
        .map(|((_, id), _)| id)
}

#[cfg(test)]
mod tests;
