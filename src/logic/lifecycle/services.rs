//! What a running task puts into the catalog: service instances, and the checks to run for them.

use crate::address::{self, host_of};
use crate::duration::{SECOND, to_std};
use crate::lifecycle::environment::{interpolate, port};
use crate::model::{
    Allocation, CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING, Check, CheckRestart, Node, Service,
    ServiceCheck, ServiceInstance, Task,
};
use crate::routes::Tls;

/// A check to run, and the catalog row it keeps up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    pub row: Check,
    pub probe: Probe,
    pub interval: std::time::Duration,
    pub timeout: std::time::Duration,
    /// Successes in a row before the check passes.
    pub successes_needed: u32,
    /// Failures in a row before it is critical.
    pub failures_needed: u32,
    pub restart: Option<CheckRestart>,
}

/// How a check is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Tcp {
        address: String,
    },
    Http {
        address: String,
        path: String,
        method: String,
        headers: Vec<(String, String)>,
        body: String,
        /// Set for https.
        tls: Option<Tls>,
    },
}

/// What one service of a task puts into the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub instance: ServiceInstance,
    pub checks: Vec<CheckPlan>,
}

/// Everything `task` offers while it runs; `task` is `None` for the group's own services.
pub fn offers(
    alloc: &Allocation,
    task: Option<&Task>,
    node: &Node,
    env: &std::collections::BTreeMap<String, String>,
) -> Vec<Offer> {
    let services = match task {
        Some(task) => task.services.as_slice(),
        None => alloc
            .group()
            .map_or(&[][..], |group| group.services.as_slice()),
    };
    services
        .iter()
        .map(|service| offer(alloc, task, service, node, env))
        .collect()
}

fn offer(
    alloc: &Allocation,
    task: Option<&Task>,
    service: &Service,
    node: &Node,
    env: &std::collections::BTreeMap<String, String>,
) -> Offer {
    let task_name = task.map_or("group", |task| task.name.as_str());
    let text = |text: &str| interpolate(text, env, node);
    let name = text(&service.name);
    let tags: Vec<String> = service.tags.iter().map(|tag| text(tag)).collect();
    let id = format!(
        "{}{name}-{}",
        ids_begin(&alloc.id, task_name),
        service.port_label
    );
    let at = |label: &str| {
        port(alloc, task_name, label)
            .map(|(ip, port, _)| (ip, port))
            .or_else(|| Some((node.address.clone(), label.parse().ok()?)))
    };
    let (address, port) = at(&service.port_label).unwrap_or_else(|| (node.address.clone(), 0));
    let checks = service
        .checks
        .iter()
        .map(|check| {
            let label = if check.port_label.is_empty() {
                &service.port_label
            } else {
                &check.port_label
            };
            let (ip, port) = at(label).unwrap_or_else(|| (address.clone(), port));
            plan(
                check,
                &id,
                &name,
                &tags,
                &address::join(&ip, port),
                &node.name,
            )
        })
        .collect();
    let instance = ServiceInstance {
        node: node.name.clone(),
        id,
        service: name,
        tags,
        address,
        port,
        meta: service
            .meta
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        alloc_id: alloc.id.clone(),
        ..ServiceInstance::default()
    };
    Offer { instance, checks }
}

/// How the ids of a task's services begin.
fn ids_begin(alloc_id: &str, task: &str) -> String {
    format!("_nomad-task-{alloc_id}-{task}-")
}

/// The name of the task that offers a service; empty: its group does.
pub fn task_of<'a>(alloc: &'a Allocation, service: &ServiceInstance) -> &'a str {
    let mut tasks = alloc.group().into_iter().flat_map(|group| &group.tasks);
    let offers = |task: &&Task| {
        let rest = service.id.strip_prefix(&ids_begin(&alloc.id, &task.name));
        rest.is_some_and(|rest| rest.starts_with(&service.service))
    };
    tasks.find(offers).map_or("", |task| task.name.as_str())
}

fn plan(
    check: &ServiceCheck,
    service_id: &str,
    service: &str,
    tags: &[String],
    address: &str,
    node: &str,
) -> CheckPlan {
    let status = match check.initial_status.as_str() {
        CHECK_PASSING => CHECK_PASSING,
        CHECK_WARNING => CHECK_WARNING,
        _ => CHECK_CRITICAL,
    };
    let probe = if check.r#type == "tcp" {
        Probe::Tcp {
            address: address.to_owned(),
        }
    } else {
        Probe::Http {
            address: address.to_owned(),
            path: if check.path.is_empty() {
                "/".to_owned()
            } else {
                check.path.clone()
            },
            method: if check.method.is_empty() {
                "GET".to_owned()
            } else {
                check.method.clone()
            },
            headers: check
                .header
                .iter()
                .flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone())))
                .collect(),
            body: check.body.clone(),
            tls: (check.protocol == "https").then(|| Tls {
                name: host_of(address).to_owned(),
                verified: !check.tls_skip_verify,
            }),
        }
    };
    let count = |number: i64| u32::try_from(number).unwrap_or(1).max(1);
    CheckPlan {
        row: Check {
            node: node.to_owned(),
            check_id: check_id(service_id, check),
            name: check.name.clone(),
            status: status.to_owned(),
            service_id: service_id.to_owned(),
            service_name: service.to_owned(),
            service_tags: tags.to_vec(),
            r#type: check.r#type.clone(),
            ..Check::default()
        },
        probe,
        interval: to_std(check.interval.max(SECOND)),
        timeout: to_std(if check.timeout > 0 {
            check.timeout
        } else {
            10 * SECOND
        }),
        successes_needed: count(check.success_before_passing),
        failures_needed: count(check.failures_before_critical),
        restart: check
            .check_restart
            .clone()
            .filter(|restart| restart.limit > 0),
    }
}

/// Stable across restarts of agent and task, different for different checks.
fn check_id(service_id: &str, check: &ServiceCheck) -> String {
    let what = format!(
        "{service_id}\n{}\n{}\n{}\n{}",
        check.name, check.r#type, check.path, check.port_label
    );
    let hash = |seed: u64| {
        what.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    format!(
        "_nomad-check-{:016x}{:016x}",
        hash(0xcbf2_9ce4_8422_2325),
        hash(0x8422_2325_cbf2_9ce4)
    )
}
