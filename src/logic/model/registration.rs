//! What somebody registers at an agent: a check, and how it is run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ServiceInstance;

/// A check of the node, or of a service on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisteredCheck {
    pub id: String,
    pub name: String,
    pub notes: String,
    /// Empty for a check of the node.
    pub service_id: String,
    /// What it is at first, and what it was last.
    pub status: String,
    pub output: String,
    pub way: CheckWay,
    /// Nanoseconds.
    pub interval: i64,
    pub timeout: i64,
    /// Nanoseconds after which a service that stays critical isn't registered any more; 0: never.
    pub deregister_after: i64,
    pub successes_needed: u32,
    pub failures_needed: u32,
}

/// How a check comes to its status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckWay {
    /// Somebody says it, at least once in so many nanoseconds.
    Ttl(i64),
    Tcp {
        address: String,
    },
    Http {
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        body: String,
        tls_skip_verify: bool,
        /// The name that the certificate must be for; empty: the URL's host.
        tls_server_name: String,
    },
    /// It is critical as long as it is there.
    #[default]
    Maintenance,
}

impl CheckWay {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Tcp { .. } => "tcp",
            Self::Http { .. } => "http",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Everything that was registered at an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registrations {
    pub services: BTreeMap<String, ServiceInstance>,
    pub checks: BTreeMap<String, RegisteredCheck>,
}
