//! Services and checks as a job asks for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::serial::lenient;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    #[serde(deserialize_with = "lenient")]
    pub port_label: String,
    #[serde(deserialize_with = "lenient")]
    pub address_mode: String,
    #[serde(deserialize_with = "lenient")]
    pub tags: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub canary_tags: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub checks: Vec<ServiceCheck>,
    #[serde(deserialize_with = "lenient")]
    pub meta: BTreeMap<String, String>,
}

impl Service {
    pub(super) fn canonicalize(&mut self, default_name: &str) {
        if self.name.is_empty() {
            default_name.clone_into(&mut self.name);
        }
        if self.address_mode.is_empty() {
            "auto".clone_into(&mut self.address_mode);
        }
        for check in &mut self.checks {
            if check.name.is_empty() {
                check.name = format!("service: \"{}\" check", self.name);
            }
        }
    }
}

/// How it is found out whether an instance works: durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceCheck {
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// `http` or `tcp`.
    #[serde(deserialize_with = "lenient")]
    pub r#type: String,
    #[serde(deserialize_with = "lenient")]
    pub command: String,
    #[serde(deserialize_with = "lenient")]
    pub args: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub path: String,
    /// `http` or `https`.
    #[serde(deserialize_with = "lenient")]
    pub protocol: String,
    #[serde(deserialize_with = "lenient")]
    pub port_label: String,
    #[serde(deserialize_with = "lenient")]
    pub address_mode: String,
    #[serde(deserialize_with = "lenient")]
    pub interval: i64,
    #[serde(deserialize_with = "lenient")]
    pub timeout: i64,
    #[serde(deserialize_with = "lenient")]
    pub initial_status: String,
    #[serde(rename = "TLSSkipVerify", deserialize_with = "lenient")]
    pub tls_skip_verify: bool,
    #[serde(deserialize_with = "lenient")]
    pub method: String,
    #[serde(deserialize_with = "lenient")]
    pub header: BTreeMap<String, Vec<String>>,
    #[serde(deserialize_with = "lenient")]
    pub body: String,
    pub check_restart: Option<CheckRestart>,
    #[serde(rename = "GRPCService", deserialize_with = "lenient")]
    pub grpc_service: String,
    #[serde(rename = "GRPCUseTLS", deserialize_with = "lenient")]
    pub grpc_use_tls: bool,
    #[serde(deserialize_with = "lenient")]
    pub success_before_passing: i64,
    #[serde(deserialize_with = "lenient")]
    pub failures_before_critical: i64,
}

/// Restart a task whose check keeps failing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckRestart {
    /// Failures in a row before the task is restarted; 0: never.
    #[serde(deserialize_with = "lenient")]
    pub limit: i64,
    /// Nanoseconds after a start during which failures don't count.
    pub grace: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub ignore_warnings: bool,
}
