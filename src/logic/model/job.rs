//! Jobs, task groups and tasks: what a user asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Constraint, DisconnectStrategy, EphemeralDisk, LogConfig, MigrateStrategy, Network,
    ReschedulePolicy, Resources, RestartPolicy, Service, UpdateStrategy, Value,
};
use crate::duration::SECOND;
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
    pub disconnect: Option<DisconnectStrategy>,
    /// Nanoseconds; the older way to say `disconnect.lost_after`.
    pub max_client_disconnect: Option<i64>,
    /// Nanoseconds; the older way to say `disconnect.stop_on_client_after`.
    pub stop_after_client_disconnect: Option<i64>,
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
