//! The command line: what was typed becomes what is meant, and what comes back is printed.
//!
//! One file for each group of commands. Each command is a struct of flags with a `run`.

mod agent;
mod agent_info;
mod alloc;
mod alloc_fs;
mod alloc_logs;
mod alloc_stop;
mod api;
mod catalog;
mod child;
mod connection;
mod deployment;
mod deployment_change;
mod eval;
mod event;
mod example_backend;
mod exit;
mod fabio;
mod format;
mod go_flags;
mod help;
mod http;
mod job;
mod job_file;
mod job_history;
mod job_plan;
mod job_run;
mod job_status;
mod job_why;
mod keygen;
mod kv;
mod lock;
mod log_monitor;
mod lookup;
mod membership;
mod monitor;
mod node;
mod node_config;
mod node_drain;
mod node_eligibility;
mod operator;
mod placement;
mod programs;
mod quickstart;
mod server;
mod services;
mod snapshot;
mod status;
mod system;
mod template;
mod terminal;
mod ui;
mod version;
mod watch;

#[cfg(test)]
mod golden;

use std::time::{SystemTime, UNIX_EPOCH};

use logic::time::Time;

pub(crate) use programs::run;

/// The wall clock: how long ago things happened is told by it.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Time(i64::try_from(nanos).unwrap_or(i64::MAX))
}
