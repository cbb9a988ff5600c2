//! Tasks: driver, resources, logs.

use super::{Path, Report, constraints, did_you_mean, docker, named, restart, service};
use crate::model::{Task, TaskGroup};

/// The drivers there are.
pub(super) const DRIVERS: [&str; 2] = ["docker", "raw_exec"];
/// Drivers the anchors have.
const DRIVERS_LATER: [&str; 10] = [
    "exec",
    "java",
    "qemu",
    "mock_driver",
    "rkt",
    "lxc",
    "podman",
    "exec2",
    "nomad-driver-podman",
    "containerd-driver",
];

pub(super) fn task(report: &mut Report, path: &Path, group: &TaskGroup, task: &Task) {
    named(report, path, "task", &task.name);
    constraints(report, path, &task.constraints);
    resources(report, &path.field("Resources"), task);
    if let Some(policy) = &task.restart_policy {
        restart(report, &path.field("RestartPolicy"), policy);
    }
    let logs = path.field("LogConfig");
    report.at_least(
        logs.field("MaxFiles"),
        "max_files",
        task.log_config.max_files,
        1,
    );
    let size = task.log_config.max_file_size_mb;
    report.at_least(logs.field("MaxFileSizeMB"), "max_file_size", size, 1);
    report.at_least(
        path.field("KillTimeout"),
        "kill_timeout",
        task.kill_timeout(),
        0,
    );
    report.at_least(
        path.field("ShutdownDelay"),
        "shutdown_delay",
        task.shutdown_delay,
        0,
    );
    for (field, is_set) in [
        ("Artifacts", !task.artifacts.is_empty()),
        ("Templates", !task.templates.is_empty()),
        ("Vault", task.vault.is_some()),
        ("DispatchPayload", task.dispatch_payload.is_some()),
    ] {
        if is_set {
            report.add(path.field(field), format!("`{field}` isn't supported yet"));
        }
    }
    service::task(report, path, group, task);
    driver(report, path, group, task);
}

fn driver(report: &mut Report, path: &Path, group: &TaskGroup, task: &Task) {
    let driver = path.field("Driver");
    match task.driver.as_str() {
        "docker" => docker::config(report, &path.field("Config"), group, task),
        "raw_exec" => docker::raw_exec(report, &path.field("Config"), task),
        "" => report.add_with(
            driver,
            format!("task `{}` has no driver", task.name),
            Some("such as driver = \"docker\"".to_owned()),
        ),
        name if DRIVERS_LATER.contains(&name) => {
            report.add(driver, format!("driver `{name}` isn't supported yet"));
        }
        name => {
            let hint = did_you_mean(name, DRIVERS)
                .unwrap_or_else(|| "known are `docker` and `raw_exec`".to_owned());
            report.add_with(driver, format!("unknown driver `{name}`"), Some(hint));
        }
    }
}

fn resources(report: &mut Report, path: &Path, task: &Task) {
    let resources = &task.resources;
    report.at_least(path.field("CPU"), "cpu (MHz)", resources.cpu, 1);
    report.at_least(
        path.field("MemoryMB"),
        "memory (MB)",
        resources.memory_mb,
        10,
    );
    report.at_least(path.field("DiskMB"), "disk (MB)", resources.disk_mb, 0);
    report.at_least(path.field("IOPS"), "iops", resources.iops, 0);
}
