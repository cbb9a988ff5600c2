//! What the drivers take in a task's `config`.

use super::{Path, Report, did_you_mean, listed, network};
use crate::model::{Task, TaskGroup, Value};

/// What an option must look like.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Text,
    Flag,
    Number,
    Texts,
    Map,
    /// The anchors have it.
    Later,
}

const DOCKER: [(&str, Shape); 59] = [
    ("image", Shape::Text),
    ("command", Shape::Text),
    ("args", Shape::Texts),
    ("entrypoint", Shape::Texts),
    ("port_map", Shape::Map),
    ("ports", Shape::Texts),
    ("logging", Shape::Map),
    ("network_mode", Shape::Text),
    ("labels", Shape::Map),
    ("hostname", Shape::Text),
    ("privileged", Shape::Flag),
    ("volumes", Shape::Texts),
    ("dns_servers", Shape::Texts),
    ("dns_search_domains", Shape::Texts),
    ("extra_hosts", Shape::Texts),
    ("cap_add", Shape::Texts),
    ("cap_drop", Shape::Texts),
    ("ulimit", Shape::Map),
    ("work_dir", Shape::Text),
    ("force_pull", Shape::Flag),
    ("readonly_rootfs", Shape::Flag),
    ("pids_limit", Shape::Number),
    ("shm_size", Shape::Number),
    ("sysctl", Shape::Map),
    ("tty", Shape::Flag),
    ("interactive", Shape::Flag),
    ("auth", Shape::Map),
    ("advertise_ipv6_address", Shape::Later),
    ("auth_soft_fail", Shape::Later),
    ("cgroupns", Shape::Later),
    ("container_exists_attempts", Shape::Later),
    ("cpu_cfs_period", Shape::Later),
    ("cpu_hard_limit", Shape::Later),
    ("cpuset_cpus", Shape::Later),
    ("devices", Shape::Later),
    ("dns_options", Shape::Later),
    ("group_add", Shape::Later),
    ("healthchecks", Shape::Later),
    ("image_pull_timeout", Shape::Later),
    ("init", Shape::Later),
    ("ipc_mode", Shape::Later),
    ("ipv4_address", Shape::Later),
    ("ipv6_address", Shape::Later),
    ("isolation", Shape::Later),
    ("load", Shape::Later),
    ("mac_address", Shape::Later),
    ("memory_hard_limit", Shape::Later),
    ("mount", Shape::Later),
    ("mounts", Shape::Later),
    ("network_aliases", Shape::Later),
    ("oom_score_adj", Shape::Later),
    ("pid_mode", Shape::Later),
    ("runtime", Shape::Later),
    ("security_opt", Shape::Later),
    ("ssl", Shape::Later),
    ("storage_opt", Shape::Later),
    ("userns_mode", Shape::Later),
    ("uts_mode", Shape::Later),
    ("volume_driver", Shape::Later),
];

const RAW_EXEC: [(&str, Shape); 7] = [
    ("command", Shape::Text),
    ("args", Shape::Texts),
    ("cgroup_v1_override", Shape::Later),
    ("cgroup_v2_override", Shape::Later),
    ("oom_score_adj", Shape::Later),
    ("work_dir", Shape::Later),
    ("denied_envvars", Shape::Later),
];

/// Driver `docker`.
pub(super) fn config(report: &mut Report, path: &Path, group: &TaskGroup, task: &Task) {
    options(report, path, "docker", &DOCKER, task);
    required(
        report,
        path,
        task,
        "image",
        "such as image = \"nginx:1.27\"",
    );
    let labels = network::labels(group, Some(task));
    if let Some(Value::Map(ports)) = task.config.get("port_map") {
        for (label, port) in ports {
            let path = path.key("port_map").key(label);
            if !port
                .as_int()
                .is_some_and(|port| (1..=65535).contains(&port))
            {
                let message = format!("port_map `{label}` must be a port from 1 to 65535");
                report.add(path.clone(), message);
            }
            known_label(report, path, "port_map", label, &labels);
        }
    }
    if let Some(Value::List(ports)) = task.config.get("ports") {
        for (index, label) in ports.iter().enumerate() {
            if let Some(label) = label.as_str() {
                let path = path.key("ports").index(index);
                known_label(report, path, "ports", label, &labels);
            }
        }
    }
}

/// Driver `raw_exec`.
pub(super) fn raw_exec(report: &mut Report, path: &Path, task: &Task) {
    options(report, path, "raw_exec", &RAW_EXEC, task);
    required(
        report,
        path,
        task,
        "command",
        "such as command = \"/bin/sleep\"",
    );
}

fn required(report: &mut Report, path: &Path, task: &Task, option: &str, example: &str) {
    let is_missing = match task.config.get(option) {
        None | Some(Value::Null) => true,
        Some(value) => value.as_str() == Some(""),
    };
    if is_missing {
        report.add_with(
            path.key(option),
            format!("task `{}` has no {option} in its config", task.name),
            Some(example.to_owned()),
        );
    }
}

fn known_label(report: &mut Report, path: Path, option: &str, label: &str, labels: &[&str]) {
    if labels.contains(&label) || label.contains("${") {
        return;
    }
    let hint = did_you_mean(label, labels.iter().copied()).unwrap_or_else(|| {
        if labels.is_empty() {
            format!("add `port \"{label}\" {{}}` to `network`")
        } else {
            format!("known are {}", listed(labels))
        }
    });
    report.add_with(
        path,
        format!("{option} names port `{label}`, which the network doesn't have"),
        Some(hint),
    );
}

fn options(report: &mut Report, path: &Path, driver: &str, known: &[(&str, Shape)], task: &Task) {
    for (name, value) in &task.config {
        let path = path.key(name);
        match known.iter().find(|(known, _)| known == name) {
            Some((_, Shape::Later)) => {
                report.add(
                    path,
                    format!("{driver} option `{name}` isn't supported yet"),
                );
            }
            Some((_, shape)) => shaped(report, path, name, value, *shape),
            None => {
                let message = format!("unknown {driver} option `{}`", name.escape_debug());
                let hint = did_you_mean(name, known.iter().map(|(name, _)| *name));
                report.add_with(path, message, hint);
            }
        }
    }
}

fn shaped(report: &mut Report, path: Path, name: &str, value: &Value, shape: Shape) {
    let is_fine = match (shape, value) {
        (_, Value::Null) | (Shape::Later, _) => true,
        (Shape::Text, _) => value.as_str().is_some(),
        (Shape::Flag, _) => {
            value.as_bool().is_some() || matches!(value.as_str(), Some("true" | "false"))
        }
        (Shape::Number, _) => value.as_int().is_some(),
        (Shape::Texts, Value::List(items)) => items.iter().all(|item| item.as_str().is_some()),
        (Shape::Texts, _) => false,
        (Shape::Map, _) => value.as_map().is_some(),
    };
    if !is_fine {
        let expected = match shape {
            Shape::Text => "a string",
            Shape::Flag => "true or false",
            Shape::Number => "a whole number",
            Shape::Texts => "a list of strings",
            Shape::Map | Shape::Later => "a block",
        };
        let message = format!("`{name}` must be {expected}, this is {}", value.kind());
        report.add(path, message);
    }
}
