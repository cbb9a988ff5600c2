//! The values of a job and its parts by the names the API gives them.

use std::collections::BTreeMap;

use super::compare::Flat;
use crate::model::{
    CheckRestart, Constraint, DisconnectStrategy, EphemeralDisk, Job, LogConfig, MigrateStrategy,
    Network, Port, ReschedulePolicy, Resources, RestartPolicy, Service, ServiceCheck, Task,
    TaskGroup, UpdateStrategy, Value,
};

fn flat<const N: usize>(values: [(&str, String); N]) -> Flat {
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    values.into_iter().map(named).collect()
}

/// Adds a value that only some jobs have.
fn add<T: ToString + Default + PartialEq>(flat: &mut Flat, name: &str, value: &T) {
    if *value != T::default() {
        flat.insert(name.to_owned(), value.to_string());
    }
}

/// Adds `NAME[KEY]` for each of a map's values.
fn add_map(flat: &mut Flat, name: &str, map: &BTreeMap<String, String>) {
    let named = |(key, value): (&String, &String)| (format!("{name}[{key}]"), value.clone());
    flat.extend(map.iter().map(named));
}

pub(super) fn job(job: &Job) -> Flat {
    let mut flat = flat([
        ("AllAtOnce", job.all_at_once.to_string()),
        ("Dispatched", job.dispatched.to_string()),
        ("Name", job.name.clone()),
        ("Namespace", job.namespace.clone()),
        ("ParentID", job.parent_id.clone()),
        ("Priority", job.priority.to_string()),
        ("Region", job.region.clone()),
        ("Stop", job.stop.to_string()),
        ("Type", job.r#type.clone()),
        ("VaultToken", job.vault_token.clone()),
    ]);
    add_map(&mut flat, "Meta", &job.meta);
    flat
}

pub(super) fn group(group: &TaskGroup) -> Flat {
    let mut flat = flat([("Count", group.count.unwrap_or(1).to_string())]);
    add_map(&mut flat, "Meta", &group.meta);
    add(&mut flat, "ShutdownDelay", &group.shutdown_delay);
    let older = [
        ("MaxClientDisconnect", group.max_client_disconnect),
        (
            "StopAfterClientDisconnect",
            group.stop_after_client_disconnect,
        ),
    ];
    for (name, value) in older {
        add(&mut flat, name, &value.unwrap_or(0));
    }
    flat
}

pub(super) fn task(task: &Task) -> Flat {
    let mut flat = flat([
        ("Driver", task.driver.clone()),
        ("KillSignal", task.kill_signal.clone()),
        ("KillTimeout", task.kill_timeout().to_string()),
        ("Leader", task.leader.to_string()),
        ("ShutdownDelay", task.shutdown_delay.to_string()),
        ("User", task.user.clone()),
    ]);
    add_map(&mut flat, "Env", &task.env);
    add_map(&mut flat, "Meta", &task.meta);
    flat
}

pub(super) fn constraint(constraint: &Constraint) -> Flat {
    flat([
        ("LTarget", constraint.left.clone()),
        ("Operand", constraint.operand.clone()),
        ("RTarget", constraint.right.clone()),
    ])
}

pub(super) fn restart(policy: &RestartPolicy) -> Flat {
    flat([
        ("Attempts", policy.attempts.to_string()),
        ("Delay", policy.delay.to_string()),
        ("Interval", policy.interval.to_string()),
        ("Mode", policy.mode.clone()),
    ])
}

pub(super) fn reschedule(policy: &ReschedulePolicy) -> Flat {
    flat([
        ("Attempts", policy.attempts.to_string()),
        ("Delay", policy.delay.to_string()),
        ("DelayFunction", policy.delay_function.clone()),
        ("Interval", policy.interval.to_string()),
        ("MaxDelay", policy.max_delay.to_string()),
        ("Unlimited", policy.unlimited.to_string()),
    ])
}

pub(super) fn ephemeral_disk(disk: &EphemeralDisk) -> Flat {
    flat([
        ("Migrate", disk.migrate.to_string()),
        ("SizeMB", disk.size_mb.to_string()),
        ("Sticky", disk.sticky.to_string()),
    ])
}

pub(super) fn update(update: &UpdateStrategy) -> Flat {
    let mut flat = flat([
        ("AutoRevert", update.auto_revert.to_string()),
        ("Canary", update.canary.to_string()),
        ("HealthCheck", update.health_check.clone()),
        ("HealthyDeadline", update.healthy_deadline.to_string()),
        ("MaxParallel", update.max_parallel.to_string()),
        ("MinHealthyTime", update.min_healthy_time.to_string()),
        ("ProgressDeadline", update.progress_deadline.to_string()),
    ]);
    add(&mut flat, "AutoPromote", &update.auto_promote);
    flat
}

pub(super) fn migrate(migrate: &MigrateStrategy) -> Flat {
    flat([
        ("HealthCheck", migrate.health_check.clone()),
        ("HealthyDeadline", migrate.healthy_deadline.to_string()),
        ("MaxParallel", migrate.max_parallel.to_string()),
        ("MinHealthyTime", migrate.min_healthy_time.to_string()),
    ])
}

pub(super) fn disconnect(disconnect: &DisconnectStrategy) -> Flat {
    let mut flat = flat([
        ("LostAfter", disconnect.lost_after.to_string()),
        ("Reconcile", disconnect.reconcile.clone()),
        ("Replace", disconnect.replace.unwrap_or(true).to_string()),
    ]);
    let stop_after = disconnect.stop_on_client_after.unwrap_or(0);
    add(&mut flat, "StopOnClientAfter", &stop_after);
    flat
}

pub(super) fn log_config(config: &LogConfig) -> Flat {
    flat([
        ("MaxFileSizeMB", config.max_file_size_mb.to_string()),
        ("MaxFiles", config.max_files.to_string()),
    ])
}

pub(super) fn resources(resources: &Resources) -> Flat {
    flat([
        ("CPU", resources.cpu.to_string()),
        ("DiskMB", resources.disk_mb.to_string()),
        ("IOPS", resources.iops.to_string()),
        ("MemoryMB", resources.memory_mb.to_string()),
    ])
}

pub(super) fn network(network: &Network) -> Flat {
    let mut flat = flat([("MBits", network.mbits.to_string())]);
    add(&mut flat, "Mode", &network.mode);
    flat
}

pub(super) fn static_port(port: &Port) -> Flat {
    let mut flat = dynamic_port(port);
    flat.insert("Value".to_owned(), port.value.to_string());
    flat
}

pub(super) fn dynamic_port(port: &Port) -> Flat {
    let mut flat = flat([("Label", port.label.clone())]);
    add(&mut flat, "To", &port.to);
    flat
}

pub(super) fn service(service: &Service) -> Flat {
    let mut flat = flat([
        ("AddressMode", service.address_mode.clone()),
        ("Name", service.name.clone()),
        ("PortLabel", service.port_label.clone()),
    ]);
    add_map(&mut flat, "Meta", &service.meta);
    flat
}

pub(super) fn check(check: &ServiceCheck) -> Flat {
    let mut flat = flat([
        ("AddressMode", check.address_mode.clone()),
        ("Command", check.command.clone()),
        ("GRPCService", check.grpc_service.clone()),
        ("GRPCUseTLS", check.grpc_use_tls.to_string()),
        ("InitialStatus", check.initial_status.clone()),
        ("Interval", check.interval.to_string()),
        ("Method", check.method.clone()),
        ("Name", check.name.clone()),
        ("Path", check.path.clone()),
        ("PortLabel", check.port_label.clone()),
        ("Protocol", check.protocol.clone()),
        ("TLSSkipVerify", check.tls_skip_verify.to_string()),
        ("Timeout", check.timeout.to_string()),
        ("Type", check.r#type.clone()),
    ]);
    add(&mut flat, "Body", &check.body);
    add(
        &mut flat,
        "FailuresBeforeCritical",
        &check.failures_before_critical,
    );
    add(
        &mut flat,
        "SuccessBeforePassing",
        &check.success_before_passing,
    );
    for (number, argument) in check.args.iter().enumerate() {
        flat.insert(format!("Args[{number}]"), argument.clone());
    }
    flat
}

pub(super) fn header(header: &BTreeMap<String, Vec<String>>) -> Flat {
    let mut flat = Flat::new();
    for (name, values) in header {
        for (number, value) in values.iter().enumerate() {
            flat.insert(format!("{name}[{number}]"), value.clone());
        }
    }
    flat
}

pub(super) fn check_restart(restart: &CheckRestart) -> Flat {
    flat([
        ("Grace", restart.grace.unwrap_or(0).to_string()),
        ("IgnoreWarnings", restart.ignore_warnings.to_string()),
        ("Limit", restart.limit.to_string()),
    ])
}

/// A driver's options. A block in them counts as a list of one, which is how HCL 1 reads it.
pub(super) fn config(config: &BTreeMap<String, Value>) -> Flat {
    let mut flat = Flat::new();
    for (name, value) in config {
        add_value(&mut flat, name, value, "[0]");
    }
    flat
}

/// A part that is kept as it was sent.
pub(super) fn block(value: &Value) -> Flat {
    let mut flat = Flat::new();
    for (name, value) in value.as_map().into_iter().flatten() {
        add_value(&mut flat, name, value, "");
    }
    flat
}

fn add_value(flat: &mut Flat, name: &str, value: &Value, of_map: &str) {
    let text = match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::List(items) => {
            for (number, item) in items.iter().enumerate() {
                add_value(flat, &format!("{name}[{number}]"), item, "");
            }
            return;
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                // What is below a block of a list is a block again.
                add_value(flat, &format!("{name}{of_map}[{key}]"), value, "[0]");
            }
            return;
        }
    };
    flat.insert(name.to_owned(), text);
}
