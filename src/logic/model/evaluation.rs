//! Evaluations: "look at this job again", and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AllocMetric, Allocation, Deployment, DeploymentUpdate, EvalId, Job, NodeId};
use crate::serial::lenient;
use crate::time::Time;

pub const EVAL_PENDING: &str = "pending";
pub const EVAL_BLOCKED: &str = "blocked";
pub const EVAL_COMPLETE: &str = "complete";
pub const EVAL_FAILED: &str = "failed";
pub const EVAL_CANCELLED: &str = "canceled";

pub const TRIGGER_JOB_REGISTER: &str = "job-register";
pub const TRIGGER_JOB_DEREGISTER: &str = "job-deregister";
pub const TRIGGER_NODE_UPDATE: &str = "node-update";
pub const TRIGGER_ALLOC_FAILURE: &str = "alloc-failure";
pub const TRIGGER_RETRY_FAILED: &str = "failed-follow-up";
pub const TRIGGER_DISCONNECT_TIMEOUT: &str = "max-disconnect-timeout";
pub const TRIGGER_DEPLOYMENT_WATCHER: &str = "deployment-watcher";
pub const TRIGGER_ROLLING_UPDATE: &str = "rolling-update";
pub const TRIGGER_NODE_DRAIN: &str = "node-drain";
pub const TRIGGER_ALLOC_STOP: &str = "alloc-stop";
pub const TRIGGER_QUEUED_ALLOCS: &str = "queued-allocs";

/// One pass of the scheduler over one job: why, and with what result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Evaluation {
    #[serde(rename = "ID")]
    pub id: EvalId,
    pub namespace: String,
    pub priority: i64,
    pub r#type: String,
    pub triggered_by: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_modify_index: u64,
    #[serde(rename = "NodeID")]
    pub node_id: NodeId,
    /// The deployment it is a step of; empty: none.
    #[serde(rename = "DeploymentID")]
    pub deployment_id: String,
    /// `pending`, `blocked`, `complete`, `failed` or `canceled`.
    pub status: String,
    pub status_description: String,
    /// Not before this instant.
    pub wait_until: Time,
    pub next_eval: EvalId,
    pub previous_eval: EvalId,
    /// The evaluation that waits for room for what this one couldn't place.
    pub blocked_eval: EvalId,
    /// By task group: why its allocations couldn't be placed.
    #[serde(rename = "FailedTGAllocs", deserialize_with = "lenient")]
    pub failed_tg_allocs: BTreeMap<String, AllocMetric>,
    /// By task group: how many allocations wait for room.
    #[serde(deserialize_with = "lenient")]
    pub queued_allocations: BTreeMap<String, i64>,
    /// The state the scheduler looked at.
    pub snapshot_index: u64,
    pub create_index: u64,
    pub modify_index: u64,
    /// Unix nanoseconds.
    pub create_time: i64,
    pub modify_time: i64,
}

impl Evaluation {
    pub fn terminal(&self) -> bool {
        matches!(
            self.status.as_str(),
            EVAL_COMPLETE | EVAL_FAILED | EVAL_CANCELLED
        )
    }
}

/// What the scheduler wants changed, with its reasons. Checked once more before it's committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub eval_id: EvalId,
    pub priority: i64,
    /// The state the plan was made from.
    pub snapshot_index: u64,
    /// The job as the scheduler saw it.
    pub job: Option<Job>,
    pub stops: Vec<AllocStop>,
    /// New allocations, and existing ones whose job version changes in place.
    pub places: Vec<Allocation>,
    /// What the scheduler says about each group, by group name; for people.
    pub annotations: BTreeMap<String, GroupChanges>,
    /// A deployment that begins with this plan, or goes on with more groups.
    pub deployment: Option<Deployment>,
    /// Deployments that come to an end.
    pub deployment_updates: Vec<DeploymentUpdate>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
            && self.places.is_empty()
            && self.deployment.is_none()
            && self.deployment_updates.is_empty()
    }
}

/// "This allocation should stop", and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocStop {
    pub alloc_id: String,
    pub node_id: NodeId,
    pub description: String,
    /// Set when the allocation's end is known without its node saying so: `lost`.
    pub client_status: Option<String>,
    /// The evaluation that will replace a failed allocation later.
    pub follow_up_eval: Option<EvalId>,
}

/// How many allocations of a group a plan touches, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GroupChanges {
    pub ignore: u64,
    pub place: u64,
    pub migrate: u64,
    pub stop: u64,
    pub in_place_update: u64,
    pub destructive_update: u64,
    pub canary: u64,
}
