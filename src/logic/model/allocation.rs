//! Allocations: a task group placed on a node, and how its tasks fare.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AllocDeploymentStatus, AllocState, HealthReport, Job, Network, Resources, TaskGroup};
use crate::serial::lenient;
use crate::time::Time;

pub const DESIRED_RUN: &str = "run";
pub const DESIRED_STOP: &str = "stop";

/// Why allocations have to stop.
pub mod stopped {
    pub const UPDATED: &str = "alloc is being updated due to job update";
    pub const MIGRATED: &str = "alloc is being migrated";
    pub const NOT_NEEDED: &str = "alloc not needed due to job update";
    pub const NODE_DOWN: &str = "alloc is lost since its node is down";
    pub const SUPERSEDED: &str = "alloc not needed as a newer version of its job replaces it";
    pub const CANARY_OVER: &str = "alloc not needed as its deployment ended before it was promoted";
    pub const ROLLOUT_FAILED: &str = "alloc not needed as its deployment failed";
}

pub const CLIENT_PENDING: &str = "pending";
pub const CLIENT_RUNNING: &str = "running";
pub const CLIENT_COMPLETE: &str = "complete";
pub const CLIENT_FAILED: &str = "failed";
pub const CLIENT_LOST: &str = "lost";
/// Its node isn't heard, but may come back with it.
pub const CLIENT_UNKNOWN: &str = "unknown";

pub const TASK_PENDING: &str = "pending";
pub const TASK_RUNNING: &str = "running";
pub const TASK_DEAD: &str = "dead";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Allocation {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    /// `JOB.GROUP[INDEX]`.
    pub name: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_name: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The job as it was when this allocation was placed or last updated.
    pub job: Option<Arc<Job>>,
    pub task_group: String,
    /// All tasks together.
    pub resources: Resources,
    /// Ports of the group's own networks.
    #[serde(deserialize_with = "lenient")]
    pub shared_networks: Vec<Network>,
    /// By task: what it was given, ports included.
    #[serde(deserialize_with = "lenient")]
    pub task_resources: BTreeMap<String, Resources>,
    #[serde(deserialize_with = "lenient")]
    pub metrics: AllocMetric,
    /// `run` or `stop`: what the servers want.
    pub desired_status: String,
    pub desired_description: String,
    /// `pending`, `running`, `complete`, `failed`, `lost` or `unknown`: what the node says.
    pub client_status: String,
    pub client_description: String,
    #[serde(deserialize_with = "lenient")]
    pub task_states: BTreeMap<String, TaskState>,
    pub previous_allocation: String,
    pub next_allocation: String,
    /// The evaluation that will replace this failed allocation, once its delay is over.
    #[serde(rename = "FollowupEvalID")]
    pub follow_up_eval_id: String,
    pub reschedule_tracker: Option<RescheduleTracker>,
    /// The deployment it is a part of; empty: none.
    #[serde(rename = "DeploymentID")]
    pub deployment_id: String,
    pub deployment_status: Option<AllocDeploymentStatus>,
    /// When it was unknown and known again; empty if it never was.
    #[serde(deserialize_with = "lenient")]
    pub alloc_states: Vec<AllocState>,
    /// It is to leave its node: another one takes its place.
    pub migrate: bool,
    pub create_index: u64,
    pub modify_index: u64,
    /// Changes when the servers change it; what nodes watch.
    pub alloc_modify_index: u64,
    /// Unix nanoseconds.
    pub create_time: i64,
    pub modify_time: i64,
}

impl Allocation {
    pub fn group(&self) -> Option<&TaskGroup> {
        self.job.as_ref()?.group(&self.task_group)
    }

    /// The number in the name's brackets.
    pub fn index(&self) -> Option<usize> {
        self.name
            .rsplit_once('[')?
            .1
            .strip_suffix(']')?
            .parse()
            .ok()
    }

    pub fn job_version(&self) -> u64 {
        self.job.as_ref().map_or(0, |job| job.version)
    }

    /// The node says it has ended, or it can't say any more.
    pub fn client_terminal(&self) -> bool {
        matches!(
            self.client_status.as_str(),
            CLIENT_COMPLETE | CLIENT_FAILED | CLIENT_LOST
        )
    }

    /// The servers don't want it any more.
    pub fn server_terminal(&self) -> bool {
        self.desired_status == DESIRED_STOP
    }

    pub fn terminal(&self) -> bool {
        self.server_terminal() || self.client_terminal()
    }

    /// It may still hold its node's resources and ports.
    pub fn occupies(&self) -> bool {
        !self.client_terminal()
    }

    /// Every host port this allocation was given, with its label and its task ("" for the group).
    pub fn ports(&self) -> impl Iterator<Item = (&str, &super::Port)> {
        let of_group = self
            .shared_networks
            .iter()
            .flat_map(Network::ports)
            .map(|port| ("", port));
        let of_tasks = self.task_resources.iter().flat_map(|(task, resources)| {
            resources
                .networks
                .iter()
                .flat_map(Network::ports)
                .map(move |port| (task.as_str(), port))
        });
        of_group.chain(of_tasks)
    }
}

/// What a node reports of one of its allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocReport {
    pub alloc_id: String,
    pub client_status: String,
    pub client_description: String,
    pub task_states: BTreeMap<String, TaskState>,
    /// Its health in its deployment, once that is known.
    #[serde(default)]
    pub health: Option<HealthReport>,
}

/// How a task fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskState {
    /// `pending`, `running` or `dead`.
    pub state: String,
    pub failed: bool,
    pub restarts: u64,
    pub last_restart: Time,
    pub started_at: Time,
    pub finished_at: Time,
    /// The last ten, oldest first.
    #[serde(deserialize_with = "lenient")]
    pub events: Vec<TaskEvent>,
}

impl TaskState {
    /// Ended without failing.
    pub fn successful(&self) -> bool {
        self.state == TASK_DEAD && !self.failed
    }
}

/// Something that happened to a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskEvent {
    /// `Received`, `Started`, `Terminated`, `Restarting`, `Driver Failure`, ...
    pub r#type: String,
    /// Unix nanoseconds.
    pub time: i64,
    /// A sentence for people.
    pub display_message: String,
    pub exit_code: i64,
    pub signal: i64,
    pub message: String,
    pub driver_error: String,
    pub fails_task: bool,
    pub restart_reason: String,
    /// Nanoseconds until the restart.
    pub start_delay: i64,
    pub kill_timeout: i64,
    #[serde(deserialize_with = "lenient")]
    pub details: BTreeMap<String, String>,
}

/// When an allocation's predecessors were replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RescheduleTracker {
    #[serde(deserialize_with = "lenient")]
    pub events: Vec<RescheduleEvent>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RescheduleEvent {
    /// Unix nanoseconds.
    pub reschedule_time: i64,
    #[serde(rename = "PrevAllocID")]
    pub prev_alloc_id: String,
    #[serde(rename = "PrevNodeID")]
    pub prev_node_id: String,
    /// Nanoseconds waited before this attempt.
    pub delay: i64,
}

/// What the scheduler saw when it chose a node, or found none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocMetric {
    pub nodes_evaluated: u64,
    pub nodes_filtered: u64,
    pub nodes_exhausted: u64,
    /// Ready nodes by datacenter.
    #[serde(deserialize_with = "lenient")]
    pub nodes_available: BTreeMap<String, u64>,
    #[serde(deserialize_with = "lenient")]
    pub class_filtered: BTreeMap<String, u64>,
    /// By constraint: how many nodes it ruled out.
    #[serde(deserialize_with = "lenient")]
    pub constraint_filtered: BTreeMap<String, u64>,
    #[serde(deserialize_with = "lenient")]
    pub class_exhausted: BTreeMap<String, u64>,
    /// By resource: how many nodes have too little of it.
    #[serde(deserialize_with = "lenient")]
    pub dimension_exhausted: BTreeMap<String, u64>,
    /// By `NODE.scorer`.
    #[serde(deserialize_with = "lenient")]
    pub scores: BTreeMap<String, f64>,
    /// Further allocations of the group that failed for the same reasons.
    pub coalesced_failures: u64,
    /// Nanoseconds the choice took.
    pub allocation_time: i64,
    /// By node name: a sentence with numbers on why it was ruled out.
    #[serde(deserialize_with = "lenient")]
    pub reasons: BTreeMap<String, String>,
}
