//! The catalog: nodes, the service instances on them, and their checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub const CHECK_PASSING: &str = "passing";
pub const CHECK_WARNING: &str = "warning";
pub const CHECK_CRITICAL: &str = "critical";

/// The check every node has: whether its agent is alive.
pub const SERF_HEALTH: &str = "serfHealth";

/// A machine in the catalog. One that runs allocations has the same id as its [`super::Node`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogNode {
    pub id: String,
    /// Unique; the key of everything in the catalog.
    pub node: String,
    pub address: String,
    pub datacenter: String,
    /// Where it is for whom, such as `lan` and `wan`; those that are missing follow from `address`.
    pub tagged_addresses: BTreeMap<String, String>,
    pub meta: BTreeMap<String, String>,
    pub create_index: u64,
    pub modify_index: u64,
}

/// One instance of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInstance {
    /// The catalog node it runs on.
    pub node: String,
    /// Unique on that node.
    pub id: String,
    /// The service's name.
    pub service: String,
    pub tags: Vec<String>,
    /// Empty: the node's address.
    pub address: String,
    pub port: u16,
    pub meta: BTreeMap<String, String>,
    /// The allocation behind it; empty if it was registered by hand.
    pub alloc_id: String,
    /// Where it is for whom, such as `lan` and `wan`; empty: what follows from `address`.
    pub tagged_addresses: BTreeMap<String, TaggedAddress>,
    pub weights: Weights,
    /// Others may change its tags in the catalog; kept for who asks.
    pub enable_tag_override: bool,
    pub create_index: u64,
    pub modify_index: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedAddress {
    pub address: String,
    pub port: u16,
}

/// How much of the load an instance takes, next to others of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    pub passing: u16,
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            passing: 1,
            warning: 1,
        }
    }
}

/// The state of one check, of a node or of a service instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub node: String,
    pub check_id: String,
    pub name: String,
    /// `passing`, `warning` or `critical`.
    pub status: String,
    pub notes: String,
    /// What the last run said, at most 4 KiB.
    pub output: String,
    /// Empty for a check of the node itself.
    pub service_id: String,
    pub service_name: String,
    pub service_tags: Vec<String>,
    /// `http`, `tcp`, ... or empty.
    pub r#type: String,
    pub create_index: u64,
    pub modify_index: u64,
}

/// What an agent wants the catalog to hold for its node: whole, or what changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogChange {
    /// The catalog node.
    pub node: String,
    /// Greater than that of all that this node said before; 0: none.
    pub serial: u64,
    /// Drop whatever of this node isn't in `services` and `checks` (anti-entropy).
    pub whole: bool,
    pub services: Vec<ServiceInstance>,
    pub checks: Vec<Check>,
    /// Service ids; their checks go with them.
    pub remove_services: Vec<String>,
    /// Check ids.
    pub remove_checks: Vec<String>,
}

impl CatalogChange {
    pub fn is_empty(&self) -> bool {
        !self.whole
            && self.services.is_empty()
            && self.checks.is_empty()
            && self.remove_services.is_empty()
            && self.remove_checks.is_empty()
    }
}
