//! Nodes: machines that run allocations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Network;
use crate::serial::lenient;
use crate::time::Time;

pub const NODE_READY: &str = "ready";
pub const NODE_DOWN: &str = "down";
/// Not heard, but something on it may be waited for.
pub const NODE_DISCONNECTED: &str = "disconnected";

pub const NODE_ELIGIBLE: &str = "eligible";
pub const NODE_INELIGIBLE: &str = "ineligible";

/// An amount of CPU (MHz), memory and disk (MB); also the asked-for networks of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// MHz.
    #[serde(rename = "CPU", deserialize_with = "lenient")]
    pub cpu: i64,
    #[serde(rename = "MemoryMB", deserialize_with = "lenient")]
    pub memory_mb: i64,
    #[serde(rename = "DiskMB", deserialize_with = "lenient")]
    pub disk_mb: i64,
    #[serde(rename = "IOPS", deserialize_with = "lenient")]
    pub iops: i64,
    #[serde(rename = "Networks", deserialize_with = "lenient")]
    pub networks: Vec<Network>,
}

impl Resources {
    /// What a task gets that doesn't say: 100 MHz and 300 MB.
    pub fn for_task() -> Self {
        Self {
            cpu: 100,
            memory_mb: 300,
            ..Self::default()
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory_mb += other.memory_mb;
        self.disk_mb += other.disk_mb;
        self.iops += other.iops;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    #[serde(rename = "ID")]
    pub id: String,
    /// Known only to the node and the servers: proves that a message is this node's.
    #[serde(rename = "SecretID")]
    pub secret_id: String,
    pub datacenter: String,
    pub name: String,
    /// Where the node's own HTTP API listens, `host:port`.
    #[serde(rename = "HTTPAddr")]
    pub http_addr: String,
    /// The address its tasks are reached at.
    pub address: String,
    pub attributes: BTreeMap<String, String>,
    pub meta: BTreeMap<String, String>,
    pub node_class: String,
    pub resources: Resources,
    pub reserved: Resources,
    pub drivers: BTreeMap<String, DriverInfo>,
    pub drain: bool,
    /// How it is being emptied, if it is.
    pub drain_strategy: Option<DrainStrategy>,
    /// `eligible` or `ineligible` for new allocations.
    pub scheduling_eligibility: String,
    /// `initializing`, `ready`, `down` or `disconnected`.
    pub status: String,
    pub status_description: String,
    /// Unix seconds.
    pub status_updated_at: i64,
    pub events: Vec<NodeEvent>,
    /// Ports that something other than our tasks listens on there.
    pub used_ports: BTreeSet<u16>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// How a node is emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DrainStrategy {
    /// Nanoseconds after which whatever is left has to leave; 0: it may take as long as it takes;
    /// negative: everything leaves at once.
    pub deadline: i64,
    /// System jobs stay.
    pub ignore_system_jobs: bool,
    /// When that deadline is.
    pub force_deadline: Time,
}

impl DrainStrategy {
    /// Whether what is left has to leave now, wherever it may go.
    pub fn forces(&self, now: Time) -> bool {
        !self.force_deadline.is_never() && self.force_deadline <= now
    }
}

impl Node {
    /// Whether what is left here has to leave now, wherever it may go.
    pub fn forced_out(&self, now: Time) -> bool {
        let strategy = self.drain_strategy.as_ref();
        strategy.is_some_and(|strategy| strategy.forces(now))
    }

    /// Whether new allocations may be placed here.
    pub fn ready(&self) -> bool {
        self.status == NODE_READY && self.scheduling_eligibility == NODE_ELIGIBLE && !self.drain
    }

    /// Whether it isn't heard.
    pub fn away(&self) -> bool {
        matches!(self.status.as_str(), NODE_DOWN | NODE_DISCONNECTED)
    }

    /// What is left for tasks when the reserved part is taken off.
    pub fn available(&self) -> Resources {
        Resources {
            cpu: self.resources.cpu - self.reserved.cpu,
            memory_mb: self.resources.memory_mb - self.reserved.memory_mb,
            disk_mb: self.resources.disk_mb - self.reserved.disk_mb,
            iops: self.resources.iops - self.reserved.iops,
            networks: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverInfo {
    pub attributes: BTreeMap<String, String>,
    pub detected: bool,
    pub healthy: bool,
    /// Why the driver can or can't be used here.
    pub health_description: String,
    pub update_time: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeEvent {
    pub message: String,
    pub subsystem: String,
    pub details: BTreeMap<String, String>,
    /// When it happened.
    pub timestamp: Time,
    pub create_index: u64,
}
