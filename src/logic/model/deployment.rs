//! Deployments: how far a job version has been rolled out, and what keeps it from going on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Allocation, Job, JobId, TaskGroup, UpdateStrategy};
use crate::serial::lenient;
use crate::time::Time;

pub const DEPLOYMENT_RUNNING: &str = "running";
pub const DEPLOYMENT_PAUSED: &str = "paused";
pub const DEPLOYMENT_FAILED: &str = "failed";
pub const DEPLOYMENT_SUCCESSFUL: &str = "successful";
pub const DEPLOYMENT_CANCELLED: &str = "cancelled";

/// What clients of the API look for: the anchor's own texts.
pub mod described {
    pub const RUNNING: &str = "Deployment is running";
    pub const NEEDS_PROMOTION: &str = "Deployment is running but requires manual promotion";
    pub const PROMOTES_ITSELF: &str = "Deployment is running pending automatic promotion";
    pub const PAUSED: &str = "Deployment is paused";
    pub const SUCCESSFUL: &str = "Deployment completed successfully";
    pub const STOPPED_JOB: &str = "Cancelled because job is stopped";
    pub const NEWER_JOB: &str = "Cancelled due to newer version of job";
    pub const UNHEALTHY: &str = "Failed due to unhealthy allocations";
    pub const NO_PROGRESS: &str = "Failed due to progress deadline";
    pub const BY_USER: &str = "Deployment marked as failed";
}

/// `health_check` of an update: a user says which allocations are healthy.
pub const HEALTH_MANUAL: &str = "manual";
/// The same: running is enough.
pub const HEALTH_TASK_STATES: &str = "task_states";

/// The rollout of one version of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deployment {
    #[serde(rename = "ID")]
    pub id: String,
    pub namespace: String,
    #[serde(rename = "JobID")]
    pub job_id: JobId,
    pub job_version: u64,
    pub job_modify_index: u64,
    /// The job's `JobModifyIndex`.
    pub job_spec_modify_index: u64,
    pub job_create_index: u64,
    #[serde(deserialize_with = "lenient")]
    pub task_groups: BTreeMap<String, DeploymentState>,
    /// `running`, `paused`, `failed`, `successful` or `cancelled`.
    pub status: String,
    pub status_description: String,
    pub create_index: u64,
    pub modify_index: u64,
    /// Unix nanoseconds.
    pub create_time: i64,
    pub modify_time: i64,
}

impl Deployment {
    /// Not begun to roll out yet.
    pub fn of(job: &Job, id: String) -> Self {
        Self {
            id,
            namespace: job.namespace.clone(),
            job_id: job.id.clone(),
            job_version: job.version,
            job_modify_index: job.modify_index,
            job_spec_modify_index: job.job_modify_index,
            job_create_index: job.create_index,
            status: DEPLOYMENT_RUNNING.to_owned(),
            ..Self::default()
        }
    }

    /// It may still go on.
    pub fn active(&self) -> bool {
        matches!(self.status.as_str(), DEPLOYMENT_RUNNING | DEPLOYMENT_PAUSED)
    }

    pub fn running(&self) -> bool {
        self.status == DEPLOYMENT_RUNNING
    }

    pub fn failed(&self) -> bool {
        self.status == DEPLOYMENT_FAILED
    }

    /// Of this very version of the job.
    pub fn is_of(&self, job: &Job) -> bool {
        self.job_id == job.id
            && self.job_create_index == job.create_index
            && self.job_version == job.version
    }

    /// Canaries of some group wait for somebody to promote them.
    pub fn requires_promotion(&self) -> bool {
        self.task_groups.values().any(DeploymentState::on_trial)
    }

    /// When it has to have made progress, if it has to make any.
    pub fn progress_due(&self) -> Option<Time> {
        let waits = |state: &&DeploymentState| state.lacks_health() && state.progress_deadline > 0;
        let states = self.task_groups.values().filter(waits);
        let due = states.map(|state| state.require_progress_by).min();
        due.filter(|due| self.running() && !due.is_never())
    }

    /// The groups whose progress was due by then.
    pub fn overdue_groups(&self, by: Time) -> BTreeSet<String> {
        let groups = self.task_groups.iter();
        groups
            .filter(|(_, state)| state.lacks_health() && state.progress_deadline > 0)
            .filter(|(_, state)| state.require_progress_by <= by)
            .map(|(group, _)| group.clone())
            .collect()
    }

    /// What there is to say while it runs.
    pub fn running_description(&self) -> &'static str {
        if !self.requires_promotion() {
            described::RUNNING
        } else if self.promotes_itself() {
            described::PROMOTES_ITSELF
        } else {
            described::NEEDS_PROMOTION
        }
    }

    /// Every group with canaries is promoted as soon as they are healthy.
    pub fn promotes_itself(&self) -> bool {
        let mut on_trial = self.task_groups.values().filter(|state| state.on_trial());
        self.requires_promotion() && on_trial.all(|state| state.auto_promote)
    }
}

/// The same of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeploymentState {
    pub auto_revert: bool,
    pub auto_promote: bool,
    pub promoted: bool,
    /// `null` if there are none.
    pub placed_canaries: Option<Vec<String>>,
    pub desired_canaries: u64,
    pub desired_total: u64,
    pub placed_allocs: u64,
    pub healthy_allocs: u64,
    pub unhealthy_allocs: u64,
    /// Nanoseconds within which one more has to be healthy; 0: the first unhealthy one fails it.
    pub progress_deadline: i64,
    pub require_progress_by: Time,
}

impl DeploymentState {
    pub fn of(group: &TaskGroup, update: &UpdateStrategy, now: Time) -> Self {
        Self {
            auto_revert: update.auto_revert,
            auto_promote: update.auto_promote,
            desired_total: group.desired_count() as u64,
            progress_deadline: update.progress_deadline,
            require_progress_by: progress_by(update.progress_deadline, now),
            ..Self::default()
        }
    }

    /// Its canaries aren't promoted yet.
    pub fn on_trial(&self) -> bool {
        self.desired_canaries > 0 && !self.promoted
    }

    /// Something has to become healthy for it to go on.
    pub fn lacks_health(&self) -> bool {
        if self.on_trial() {
            self.healthy_allocs < self.desired_canaries
        } else {
            self.healthy_allocs < self.desired_total
        }
    }

    /// There was progress: the next one is due later.
    pub fn progressed(&mut self, now: Time) {
        self.require_progress_by = progress_by(self.progress_deadline, now);
    }
}

fn progress_by(deadline: i64, now: Time) -> Time {
    if deadline > 0 {
        Time(now.0.saturating_add(deadline))
    } else {
        Time::NEVER
    }
}

/// What is known of an allocation's health in its deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocDeploymentStatus {
    /// Nothing while it isn't known.
    pub healthy: Option<bool>,
    pub timestamp: Time,
    pub canary: bool,
    pub modify_index: u64,
}

/// What a node says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    pub deployment_id: String,
    pub healthy: bool,
    pub at: Time,
}

/// What is asked of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentChange {
    Pause,
    Resume,
    Fail,
    /// Promotes the canaries of these groups; of all, if none is named.
    Promote {
        groups: Vec<String>,
    },
    /// A user says how allocations are.
    SetHealth {
        healthy: Vec<String>,
        unhealthy: Vec<String>,
    },
    /// The time for its next progress is over, and it was due at this time.
    Overdue {
        required_by: Time,
    },
}

/// The end of a deployment, as the scheduler sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentUpdate {
    pub deployment_id: String,
    pub status: String,
    pub description: String,
}

impl UpdateStrategy {
    /// Changes replace allocations a few at a time; otherwise all at once.
    pub fn rolls(&self) -> bool {
        self.max_parallel > 0
    }
}

impl TaskGroup {
    /// How the group rolls from version to version, if it does.
    pub fn rolling(&self) -> Option<&UpdateStrategy> {
        self.update.as_ref().filter(|update| update.rolls())
    }
}

impl Allocation {
    /// Known to be healthy in its deployment.
    pub fn deployment_healthy(&self) -> bool {
        self.health() == Some(true)
    }

    /// Known to be unhealthy in its deployment.
    pub fn deployment_unhealthy(&self) -> bool {
        self.health() == Some(false)
    }

    fn health(&self) -> Option<bool> {
        self.deployment_status.as_ref()?.healthy
    }

    pub fn canary(&self) -> bool {
        let status = self.deployment_status.as_ref();
        status.is_some_and(|status| status.canary)
    }
}
