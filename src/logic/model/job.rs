//! Jobs, task groups and tasks: what a user asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Resources, Service, Value};
use crate::duration::{HOUR, MINUTE, SECOND};
use crate::serial::lenient;

/// `type = "service"`: runs until stopped, restarted and moved when it fails.
pub const JOB_SERVICE: &str = "service";
/// `type = "batch"`: runs until it exits with 0.
pub const JOB_BATCH: &str = "batch";
/// `type = "system"`: one allocation on every matching node.
pub const JOB_SYSTEM: &str = "system";

pub const JOB_PENDING: &str = "pending";
pub const JOB_RUNNING: &str = "running";
pub const JOB_DEAD: &str = "dead";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Job {
    #[serde(rename = "ID", deserialize_with = "lenient")]
    pub id: String,
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    #[serde(deserialize_with = "lenient")]
    pub region: String,
    #[serde(deserialize_with = "lenient")]
    pub namespace: String,
    #[serde(rename = "ParentID", deserialize_with = "lenient")]
    pub parent_id: String,
    #[serde(deserialize_with = "lenient")]
    pub r#type: String,
    /// 1 (lowest) to 100; 0 in a request means the default, 50.
    #[serde(deserialize_with = "lenient")]
    pub priority: i64,
    #[serde(deserialize_with = "lenient")]
    pub all_at_once: bool,
    #[serde(deserialize_with = "lenient")]
    pub datacenters: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub constraints: Vec<Constraint>,
    #[serde(deserialize_with = "lenient")]
    pub task_groups: Vec<TaskGroup>,
    pub update: Option<UpdateStrategy>,
    pub periodic: Option<Value>,
    pub parameterized_job: Option<Value>,
    pub payload: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub meta: BTreeMap<String, String>,
    #[serde(deserialize_with = "lenient")]
    pub vault_token: String,
    #[serde(deserialize_with = "lenient")]
    pub dispatched: bool,
    /// Set by `job stop`: the job is kept, none of it should run.
    #[serde(deserialize_with = "lenient")]
    pub stop: bool,
    #[serde(deserialize_with = "lenient")]
    pub stable: bool,
    /// `pending`, `running` or `dead`.
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    #[serde(deserialize_with = "lenient")]
    pub status_description: String,
    /// Counts up by one with each registration that changed something.
    #[serde(deserialize_with = "lenient")]
    pub version: u64,
    /// Unix nanoseconds.
    #[serde(deserialize_with = "lenient")]
    pub submit_time: i64,
    #[serde(deserialize_with = "lenient")]
    pub create_index: u64,
    #[serde(deserialize_with = "lenient")]
    pub modify_index: u64,
    /// Changes only when a user changes the job, not when its status changes.
    #[serde(deserialize_with = "lenient")]
    pub job_modify_index: u64,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            region: String::new(),
            namespace: String::new(),
            parent_id: String::new(),
            r#type: JOB_SERVICE.to_owned(),
            priority: 50,
            all_at_once: false,
            datacenters: Vec::new(),
            constraints: Vec::new(),
            task_groups: Vec::new(),
            update: None,
            periodic: None,
            parameterized_job: None,
            payload: None,
            meta: BTreeMap::new(),
            vault_token: String::new(),
            dispatched: false,
            stop: false,
            stable: false,
            status: String::new(),
            status_description: String::new(),
            version: 0,
            submit_time: 0,
            create_index: 0,
            modify_index: 0,
            job_modify_index: 0,
        }
    }
}

impl Job {
    pub fn group(&self, name: &str) -> Option<&TaskGroup> {
        self.task_groups.iter().find(|group| group.name == name)
    }

    /// Fills in what the user left out, as the anchors do: region, namespace, name, datacenters,
    /// priority, each group's restart and reschedule policy, each service's name, and so on.
    pub fn canonicalize(&mut self) {
        set_if_empty(&mut self.region, "global");
        set_if_empty(&mut self.namespace, "default");
        set_if_empty(&mut self.r#type, JOB_SERVICE);
        if self.name.is_empty() {
            self.name.clone_from(&self.id);
        }
        if self.priority == 0 {
            self.priority = 50;
        }
        if self.datacenters.is_empty() {
            self.datacenters = vec!["*".to_owned()];
        }
        let (id, kind, update) = (self.id.clone(), self.r#type.clone(), self.update.clone());
        for group in &mut self.task_groups {
            group.canonicalize(&id, &kind, update.as_ref());
        }
    }
}

fn set_if_empty(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

/// Tasks that are placed together, `count` times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskGroup {
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// How many allocations of this group should run; absent in a request means 1.
    pub count: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub constraints: Vec<Constraint>,
    pub restart_policy: Option<RestartPolicy>,
    pub reschedule_policy: Option<ReschedulePolicy>,
    #[serde(deserialize_with = "lenient")]
    pub ephemeral_disk: EphemeralDisk,
    pub update: Option<UpdateStrategy>,
    pub migrate: Option<MigrateStrategy>,
    #[serde(deserialize_with = "lenient")]
    pub networks: Vec<Network>,
    #[serde(deserialize_with = "lenient")]
    pub services: Vec<Service>,
    #[serde(deserialize_with = "lenient")]
    pub tasks: Vec<Task>,
    #[serde(deserialize_with = "lenient")]
    pub meta: BTreeMap<String, String>,
    /// Nanoseconds between leaving the catalog and being stopped.
    #[serde(deserialize_with = "lenient")]
    pub shutdown_delay: i64,
}

impl TaskGroup {
    pub fn desired_count(&self) -> usize {
        usize::try_from(self.count.unwrap_or(1)).unwrap_or(0)
    }

    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.name == name)
    }

    /// CPU, memory and disk of all tasks together.
    pub fn resources(&self) -> Resources {
        let mut sum = Resources {
            disk_mb: self.ephemeral_disk.size_mb,
            ..Resources::default()
        };
        for task in &self.tasks {
            sum.cpu += task.resources.cpu;
            sum.memory_mb += task.resources.memory_mb;
            sum.iops += task.resources.iops;
        }
        sum
    }

    fn canonicalize(&mut self, job: &str, kind: &str, update: Option<&UpdateStrategy>) {
        self.count.get_or_insert(1);
        self.restart_policy
            .get_or_insert_with(|| RestartPolicy::default_for(kind));
        if kind != JOB_SYSTEM {
            self.reschedule_policy
                .get_or_insert_with(|| ReschedulePolicy::default_for(kind));
        }
        if self.update.is_none() {
            self.update = update.cloned();
        }
        if kind == JOB_SERVICE {
            self.migrate.get_or_insert_with(MigrateStrategy::default);
        }
        let prefix = format!("{job}-{}", self.name);
        for service in &mut self.services {
            service.canonicalize(&prefix);
        }
        for task in &mut self.tasks {
            let prefix = format!("{prefix}-{}", task.name);
            for service in &mut task.services {
                service.canonicalize(&prefix);
            }
            task.canonicalize();
        }
    }
}

/// One program to run, by one driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    #[serde(deserialize_with = "lenient")]
    pub driver: String,
    #[serde(deserialize_with = "lenient")]
    pub user: String,
    /// Whatever the driver wants to know; see the driver.
    #[serde(deserialize_with = "lenient")]
    pub config: BTreeMap<String, Value>,
    #[serde(deserialize_with = "lenient")]
    pub env: BTreeMap<String, String>,
    #[serde(deserialize_with = "lenient")]
    pub services: Vec<Service>,
    #[serde(deserialize_with = "lenient")]
    pub constraints: Vec<Constraint>,
    #[serde(deserialize_with = "lenient")]
    pub resources: Resources,
    pub restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "lenient")]
    pub meta: BTreeMap<String, String>,
    /// Nanoseconds from the kill signal to SIGKILL.
    pub kill_timeout: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub kill_signal: String,
    #[serde(deserialize_with = "lenient")]
    pub log_config: LogConfig,
    /// When the leader ends, the other tasks of the group are stopped.
    #[serde(deserialize_with = "lenient")]
    pub leader: bool,
    /// Nanoseconds between leaving the catalog and the kill signal.
    #[serde(deserialize_with = "lenient")]
    pub shutdown_delay: i64,
    #[serde(deserialize_with = "lenient")]
    pub artifacts: Vec<Value>,
    #[serde(deserialize_with = "lenient")]
    pub templates: Vec<Value>,
    pub vault: Option<Value>,
    pub dispatch_payload: Option<Value>,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            name: String::new(),
            driver: String::new(),
            user: String::new(),
            config: BTreeMap::new(),
            env: BTreeMap::new(),
            services: Vec::new(),
            constraints: Vec::new(),
            resources: Resources::for_task(),
            restart_policy: None,
            meta: BTreeMap::new(),
            kill_timeout: None,
            kill_signal: String::new(),
            log_config: LogConfig::default(),
            leader: false,
            shutdown_delay: 0,
            artifacts: Vec::new(),
            templates: Vec::new(),
            vault: None,
            dispatch_payload: None,
        }
    }
}

/// Driver options that are maps, and that HCL 1 (and so older API clients) write as a list of
/// blocks.
const MAP_OPTIONS: [&str; 6] = ["port_map", "labels", "logging", "auth", "ulimit", "sysctl"];

impl Task {
    fn canonicalize(&mut self) {
        let default = Resources::for_task();
        for (given, default) in [
            (&mut self.resources.cpu, default.cpu),
            (&mut self.resources.memory_mb, default.memory_mb),
        ] {
            if *given == 0 {
                *given = default;
            }
        }
        for name in MAP_OPTIONS {
            if let Some(option) = self.config.get_mut(name) {
                option.merge_maps();
            }
        }
    }

    /// Nanoseconds from the kill signal to SIGKILL: 5 s unless the job says otherwise.
    pub fn kill_timeout(&self) -> i64 {
        self.kill_timeout.unwrap_or(5 * SECOND)
    }
}

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
