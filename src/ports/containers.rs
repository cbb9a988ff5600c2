//! Drivers: whatever can run a task (Docker, plain processes, a simulated engine).

use std::collections::BTreeMap;

use logic::model::{DriverInfo, LogConfig, Value};
use logic::time::Time;
use thiserror::Error;

use crate::Asked;

/// Names one run of one task: what a container or process is found by, also after a restart of
/// the agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    pub alloc_id: String,
    pub task: String,
}

impl std::fmt::Display for TaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.alloc_id, self.task)
    }
}

/// Everything a driver needs to run a task; interpolation is already done.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    pub key: TaskKey,
    pub driver: String,
    /// The job file's `config` block.
    pub config: BTreeMap<String, Value>,
    pub env: BTreeMap<String, String>,
    /// The user to run as; empty: the driver's default.
    pub user: String,
    /// MHz.
    pub cpu: i64,
    pub memory_mb: i64,
    pub ports: Vec<PortMapping>,
    pub logs: LogConfig,
    /// What the container is labelled with, for people and for finding it again.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the task to end, such as `SIGINT`; empty: the driver's default.
    pub kill_signal: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    pub label: String,
    /// The node's address the port is published on.
    pub host_ip: String,
    pub host_port: u16,
    /// Inside the container; the same as `host_port` unless the job maps it.
    pub container_port: u16,
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    /// The signal that ended it; 0 if none did.
    pub signal: i64,
    pub out_of_memory: bool,
    /// Set if the driver lost sight of it; the rest is then unknown.
    pub lost: Option<String>,
}

impl Exit {
    pub fn successful(&self) -> bool {
        self.code == 0 && self.signal == 0 && self.lost.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// A piece of a task's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// Where `data` begins, in bytes since the task's first output. Later than asked for if the
    /// start has been rotated away.
    pub offset: u64,
    pub data: Vec<u8>,
    /// Where the output ends right now.
    pub end: u64,
}

/// A file or folder of an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    pub is_dir: bool,
    pub size: u64,
    /// As `ls -l` shows it: `drwxr-xr-x`.
    pub mode: String,
    pub modified: Time,
}

/// What is at a path in an allocation's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(FileInfo),
    /// The folder itself, and what is in it by name.
    Folder(FileInfo, Vec<FileInfo>),
}

impl Found {
    pub fn info(&self) -> &FileInfo {
        match self {
            Self::File(info) | Self::Folder(info, _) => info,
        }
    }
}

/// What a task uses right now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskUsage {
    pub cpu_mhz: f64,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// What the task needs doesn't exist: an image, a command. Trying again won't help soon.
    #[error("{0}")]
    Missing(String),
    /// The configuration makes no sense to the driver. Trying again won't help.
    #[error("{0}")]
    Refused(String),
    /// A host port is taken by somebody else.
    #[error("port {port} is already in use on the host")]
    PortInUse { port: u16 },
    /// The driver or its engine can't be reached.
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    TimedOut(String),
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Whether starting the task again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Refused(_) => false,
            Self::PortInUse { .. } | Self::Unreachable(_) | Self::TimedOut(_) | Self::Failed(_) => {
                true
            }
        }
    }
}

pub trait Containers: Send + Sync {
    /// Every driver this build knows, usable here or not, and why.
    fn drivers(&self) -> Asked<'_, BTreeMap<String, DriverInfo>>;

    /// Gets the task ready (image present or pulled, folders made) without starting it.
    /// Returns sentences for the task's events, such as that an image was pulled.
    fn prepare<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<Vec<String>, Error>>;

    /// Starts the task. A leftover of the same key is removed first.
    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), Error>>;

    /// Takes up a task that an earlier run of the agent started; false if it no longer exists.
    /// One that has ended meanwhile still exists: `wait` tells how it ended.
    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, Error>>;

    /// Returns when the task has ended, or at once if it has. An engine that can't be reached is
    /// waited for; a task that never was here is `lost` at once.
    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit>;

    /// Asks the task to end; kills it after `timeout`. Returns when it has ended.
    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        signal: &'a str,
        timeout: std::time::Duration,
    ) -> Asked<'a, Result<(), Error>>;

    /// Removes what is left of an ended task: its container, not its logs. One that still runs is
    /// killed first. Fine if there is nothing.
    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), Error>>;

    /// Removes everything kept for an allocation, logs included; its tasks must have been removed.
    fn forget<'a>(&'a self, alloc_id: &'a str) -> Asked<'a, Result<(), Error>>;

    /// Up to `max` bytes of a task's output from `offset` (counted from the task's first output,
    /// across restarts). `Missing` if the task never ran here.
    fn read_log<'a>(
        &'a self,
        key: &'a TaskKey,
        stream: LogStream,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, Error>>;

    /// What is at a path in an allocation's directory; paths begin there, with or without a slash.
    /// `Missing` if there is nothing, `Refused` for secrets and for what leads elsewhere.
    fn look<'a>(&'a self, alloc_id: &'a str, path: &'a str) -> Asked<'a, Result<Found, Error>>;

    /// Up to `max` bytes of a file in an allocation's directory.
    fn read_file<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, Error>>;

    /// Tasks this agent (or an earlier run of it) started that weren't removed since, ended ones
    /// included; other agents on the same machine have their own.
    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, Error>>;

    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, Error>>;
}
