//! What is written into the catalog directly, about machines that run no agent.

use serde::{Deserialize, Serialize};

use super::{CatalogNode, Check, ServiceInstance};

/// A node, a service on it, and checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    pub node: CatalogNode,
    /// The node stays as it is if it is there.
    pub keep_node: bool,
    pub service: Option<ServiceInstance>,
    pub checks: Vec<Check>,
}

/// What is to be taken out: a check, a service with its checks, or the whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub node: String,
    /// Empty: not a service.
    pub service_id: String,
    /// Empty: not a check.
    pub check_id: String,
}
