//! What a job asks of the scheduler and of its nodes: constraints, policies, networks.

use serde::{Deserialize, Serialize};

use super::JOB_BATCH;
use crate::duration::{HOUR, MINUTE, SECOND};
use crate::serial::lenient;

/// Which nodes are allowed: `LTARGET OPERAND RTARGET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Constraint {
    /// Usually an interpolation such as `${attr.kernel.name}`.
    #[serde(rename = "LTarget", deserialize_with = "lenient")]
    pub left: String,
    #[serde(rename = "RTarget", deserialize_with = "lenient")]
    pub right: String,
    /// `=`, `!=`, `<`, `version`, `regexp`, `distinct_hosts`, ...
    #[serde(rename = "Operand", deserialize_with = "lenient")]
    pub operand: String,
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.left.as_str(), self.right.as_str()) {
            ("", _) => write!(f, "{}", self.operand),
            (left, "") => write!(f, "{left} {}", self.operand),
            (left, right) => write!(f, "{left} {} {right}", self.operand),
        }
    }
}

/// What happens on this node when a task ends: all durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// Restarts allowed within one interval.
    #[serde(deserialize_with = "lenient")]
    pub attempts: i64,
    #[serde(deserialize_with = "lenient")]
    pub interval: i64,
    #[serde(deserialize_with = "lenient")]
    pub delay: i64,
    /// What follows when the attempts are used up: `fail` or `delay`.
    #[serde(deserialize_with = "lenient")]
    pub mode: String,
}

impl RestartPolicy {
    pub fn default_for(kind: &str) -> Self {
        let (attempts, interval) = if kind == JOB_BATCH {
            (3, 24 * HOUR)
        } else {
            (2, 30 * MINUTE)
        };
        Self {
            attempts,
            interval,
            delay: 15 * SECOND,
            mode: "fail".to_owned(),
        }
    }
}

/// When and how often a failed allocation is placed anew: all durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReschedulePolicy {
    #[serde(deserialize_with = "lenient")]
    pub attempts: i64,
    #[serde(deserialize_with = "lenient")]
    pub interval: i64,
    #[serde(deserialize_with = "lenient")]
    pub delay: i64,
    /// `constant`, `exponential` or `fibonacci`.
    #[serde(deserialize_with = "lenient")]
    pub delay_function: String,
    #[serde(deserialize_with = "lenient")]
    pub max_delay: i64,
    #[serde(deserialize_with = "lenient")]
    pub unlimited: bool,
}

impl ReschedulePolicy {
    pub fn default_for(kind: &str) -> Self {
        if kind == JOB_BATCH {
            return Self {
                attempts: 1,
                interval: 24 * HOUR,
                delay: 5 * SECOND,
                delay_function: "constant".to_owned(),
                max_delay: 0,
                unlimited: false,
            };
        }
        Self {
            attempts: 0,
            interval: 0,
            delay: 30 * SECOND,
            delay_function: "exponential".to_owned(),
            max_delay: HOUR,
            unlimited: true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EphemeralDisk {
    #[serde(deserialize_with = "lenient")]
    pub sticky: bool,
    #[serde(deserialize_with = "lenient")]
    pub migrate: bool,
    /// Megabytes.
    #[serde(rename = "SizeMB", deserialize_with = "lenient")]
    pub size_mb: i64,
}

impl Default for EphemeralDisk {
    fn default() -> Self {
        Self {
            sticky: false,
            migrate: false,
            size_mb: 300,
        }
    }
}

/// How a changed job replaces its allocations: all durations in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateStrategy {
    #[serde(deserialize_with = "lenient")]
    pub stagger: i64,
    #[serde(deserialize_with = "lenient")]
    pub max_parallel: i64,
    #[serde(deserialize_with = "lenient")]
    pub health_check: String,
    #[serde(deserialize_with = "lenient")]
    pub min_healthy_time: i64,
    #[serde(deserialize_with = "lenient")]
    pub healthy_deadline: i64,
    #[serde(deserialize_with = "lenient")]
    pub progress_deadline: i64,
    #[serde(deserialize_with = "lenient")]
    pub auto_revert: bool,
    #[serde(deserialize_with = "lenient")]
    pub auto_promote: bool,
    #[serde(deserialize_with = "lenient")]
    pub canary: i64,
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self {
            stagger: 30 * SECOND,
            max_parallel: 1,
            health_check: "checks".to_owned(),
            min_healthy_time: 10 * SECOND,
            healthy_deadline: 5 * MINUTE,
            progress_deadline: 10 * MINUTE,
            auto_revert: false,
            auto_promote: false,
            canary: 0,
        }
    }
}

/// How a drained node's allocations move: all durations in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MigrateStrategy {
    #[serde(deserialize_with = "lenient")]
    pub max_parallel: i64,
    #[serde(deserialize_with = "lenient")]
    pub health_check: String,
    #[serde(deserialize_with = "lenient")]
    pub min_healthy_time: i64,
    #[serde(deserialize_with = "lenient")]
    pub healthy_deadline: i64,
}

impl Default for MigrateStrategy {
    fn default() -> Self {
        Self {
            max_parallel: 1,
            health_check: "checks".to_owned(),
            min_healthy_time: 10 * SECOND,
            healthy_deadline: 5 * MINUTE,
        }
    }
}

/// How much of a task's output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    #[serde(deserialize_with = "lenient")]
    pub max_files: i64,
    #[serde(rename = "MaxFileSizeMB", deserialize_with = "lenient")]
    pub max_file_size_mb: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_files: 10,
            max_file_size_mb: 10,
        }
    }
}

/// A network ask (in a job) or what was assigned (in an allocation).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    #[serde(deserialize_with = "lenient")]
    pub mode: String,
    #[serde(deserialize_with = "lenient")]
    pub device: String,
    #[serde(rename = "CIDR", deserialize_with = "lenient")]
    pub cidr: String,
    #[serde(rename = "IP", deserialize_with = "lenient")]
    pub ip: String,
    #[serde(rename = "MBits", deserialize_with = "lenient")]
    pub mbits: i64,
    /// Ports with a number the user chose.
    #[serde(deserialize_with = "lenient")]
    pub reserved_ports: Vec<Port>,
    /// Ports whose number the scheduler chooses, 20000 to 32000.
    #[serde(deserialize_with = "lenient")]
    pub dynamic_ports: Vec<Port>,
}

impl Network {
    /// Reserved and dynamic ports alike.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.reserved_ports.iter().chain(&self.dynamic_ports)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    #[serde(deserialize_with = "lenient")]
    pub label: String,
    /// On the host; 0 until assigned.
    #[serde(deserialize_with = "lenient")]
    pub value: u16,
    /// In the container; 0: the same as on the host.
    #[serde(deserialize_with = "lenient")]
    pub to: u16,
}
