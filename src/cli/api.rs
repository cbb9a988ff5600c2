//! What the APIs answer where the model has no type for it: stubs in lists, summaries, usage.

use std::collections::BTreeMap;

use logic::model::{Network, TaskState};
use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct JobStub {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) priority: i64,
    pub(super) status: String,
    pub(super) stop: bool,
    pub(super) submit_time: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct JobSummary {
    /// By task group.
    pub(super) summary: BTreeMap<String, GroupSummary>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct GroupSummary {
    pub(super) queued: i64,
    pub(super) starting: i64,
    pub(super) running: i64,
    pub(super) failed: i64,
    pub(super) complete: i64,
    pub(super) lost: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AllocStub {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(rename = "EvalID")]
    pub(super) eval_id: String,
    #[serde(rename = "NodeID")]
    pub(super) node_id: String,
    #[serde(rename = "JobID")]
    pub(super) job_id: String,
    pub(super) job_version: u64,
    pub(super) task_group: String,
    pub(super) desired_status: String,
    pub(super) client_status: String,
    pub(super) client_description: String,
    pub(super) task_states: BTreeMap<String, TaskState>,
    pub(super) deployment_status: Option<AllocHealth>,
    #[serde(rename = "FollowupEvalID")]
    pub(super) follow_up_eval_id: String,
    pub(super) create_index: u64,
    /// Unix nanoseconds.
    pub(super) create_time: i64,
    pub(super) modify_time: i64,
}

/// What an update has found out about an allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AllocHealth {
    /// Not known yet: none.
    pub(super) healthy: Option<bool>,
    pub(super) canary: bool,
}

/// Newest first; those made together by id.
pub(super) fn newest_first(allocs: &mut [AllocStub]) {
    allocs.sort_by(|a, b| (b.create_index, &a.id).cmp(&(a.create_index, &b.id)));
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeStub {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) address: String,
    pub(super) datacenter: String,
    pub(super) name: String,
    pub(super) node_class: String,
    pub(super) version: String,
    pub(super) drain: bool,
    pub(super) scheduling_eligibility: String,
    pub(super) status: String,
}

/// What a write that leads to an evaluation is answered with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Evaluated {
    #[serde(rename = "EvalID")]
    pub(super) eval_id: String,
    pub(super) warnings: String,
}

/// The part of an allocation that the model keeps elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct SharedResources {
    pub(super) networks: Vec<Network>,
    #[serde(rename = "DiskMB")]
    pub(super) disk_mb: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AllocUsage {
    pub(super) resource_usage: Usage,
    pub(super) tasks: BTreeMap<String, TaskUsage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaskUsage {
    pub(super) resource_usage: Usage,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Usage {
    pub(super) memory_stats: MemoryStats,
    pub(super) cpu_stats: CpuStats,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MemoryStats {
    #[serde(rename = "RSS")]
    pub(super) rss: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CpuStats {
    pub(super) total_ticks: f64,
}

/// How busy a node is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeUsage {
    #[serde(rename = "AllocDirStats")]
    pub(super) disk: DiskStats,
    #[serde(rename = "CPUTicksConsumed")]
    pub(super) cpu_ticks: f64,
    #[serde(rename = "Memory")]
    pub(super) memory: NodeMemory,
    #[serde(rename = "Uptime")]
    pub(super) uptime: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DiskStats {
    pub(super) size: u64,
    pub(super) used: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NodeMemory {
    pub(super) total: u64,
    pub(super) used: u64,
}

/// A whole number of MHz, as the anchors cut it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "for people; casts of floats saturate"
)]
pub(super) fn whole(mhz: f64) -> u64 {
    mhz as u64
}

/// The servers, as a server sees them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ServerMembers {
    pub(super) members: Vec<ServerMember>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ServerMember {
    pub(super) name: String,
    pub(super) addr: String,
    pub(super) port: u16,
    pub(super) status: String,
    pub(super) protocol_cur: u8,
    pub(super) tags: BTreeMap<String, String>,
}

/// A member of the catalog's cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CatalogMember {
    pub(super) name: String,
    pub(super) addr: String,
    pub(super) port: u16,
    /// Serf's number for it.
    pub(super) status: u8,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CatalogNode {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) datacenter: String,
    pub(super) tagged_addresses: BTreeMap<String, String>,
    pub(super) meta: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ServicesOfNode {
    pub(super) services: BTreeMap<String, ServiceOfNode>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ServiceOfNode {
    pub(super) service: String,
    pub(super) tags: Vec<String>,
}

/// A key and its value, which is in base64.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct KvPair {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) flags: u64,
    pub(super) session: String,
    pub(super) lock_index: u64,
    pub(super) create_index: u64,
    pub(super) modify_index: u64,
}

/// The servers that the replicated log knows. Consul calls the protocol something else.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RaftConfiguration {
    pub(super) servers: Vec<RaftServer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RaftServer {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) leader: bool,
    pub(super) voter: bool,
    #[serde(alias = "ProtocolVersion")]
    pub(super) raft_protocol: String,
}

/// How the servers are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Health {
    pub(super) healthy: bool,
    pub(super) failure_tolerance: usize,
    pub(super) servers: Vec<ServerHealth>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ServerHealth {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) serf_status: String,
    pub(super) version: String,
    pub(super) leader: bool,
    pub(super) voter: bool,
    pub(super) healthy: bool,
    /// Empty: never.
    pub(super) last_contact: String,
    pub(super) last_term: u64,
    pub(super) last_index: u64,
}

/// What came of joining.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Joined {
    pub(super) num_joined: usize,
    pub(super) error: String,
}
