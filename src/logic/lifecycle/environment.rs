//! A task's environment variables, and `${...}` in its configuration.

use std::collections::BTreeMap;

use crate::model::{Allocation, Node, Port, Task, Value};
use crate::schedule::feasible::resolve;

/// The variables a task finds in its environment: those every task gets, then its own.
pub fn variables(alloc: &Allocation, task: &Task, node: &Node) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        env.insert(key.to_owned(), value.to_owned());
    };
    let resources = alloc
        .task_resources
        .get(&task.name)
        .unwrap_or(&task.resources);
    put("NOMAD_ALLOC_ID", &alloc.id);
    put("NOMAD_SHORT_ALLOC_ID", crate::id::short(&alloc.id));
    put("NOMAD_ALLOC_NAME", &alloc.name);
    put("NOMAD_ALLOC_INDEX", &alloc.index().unwrap_or(0).to_string());
    put("NOMAD_TASK_NAME", &task.name);
    put("NOMAD_GROUP_NAME", &alloc.task_group);
    put("NOMAD_JOB_ID", &alloc.job_id);
    put("NOMAD_NAMESPACE", &alloc.namespace);
    put("NOMAD_DC", &node.datacenter);
    put("NOMAD_CPU_LIMIT", &resources.cpu.to_string());
    put("NOMAD_MEMORY_LIMIT", &resources.memory_mb.to_string());
    if let Some(job) = &alloc.job {
        put("NOMAD_JOB_NAME", &job.name);
        put("NOMAD_REGION", &job.region);
        let group_meta = alloc.group().map(|group| &group.meta);
        for (key, value) in job
            .meta
            .iter()
            .chain(group_meta.into_iter().flatten())
            .chain(&task.meta)
        {
            put(&format!("NOMAD_META_{key}"), value);
            put(&format!("NOMAD_META_{}", key.to_uppercase()), value);
        }
    }
    for (owner, assigned) in alloc.ports() {
        let foreign = !owner.is_empty() && owner != task.name;
        env.extend(of_port(
            alloc,
            task,
            node,
            assigned,
            foreign.then_some(owner),
        ));
    }
    let own: Vec<_> = task
        .env
        .iter()
        .map(|(k, v)| (k.clone(), interpolate(v, &env, node)))
        .collect();
    env.extend(own);
    env
}

/// The variables that tell of one port: its own, or that of another task of the group.
fn of_port(
    alloc: &Allocation,
    task: &Task,
    node: &Node,
    assigned: &Port,
    other_task: Option<&str>,
) -> Vec<(String, String)> {
    let (label, value) = (&assigned.label, assigned.value);
    let ip = port(alloc, other_task.unwrap_or(&task.name), label)
        .map_or_else(|| node.address.clone(), |(ip, _, _)| ip);
    let address = format!("{ip}:{value}");
    if let Some(other) = other_task {
        return vec![
            (format!("NOMAD_ADDR_{other}_{label}"), address),
            (format!("NOMAD_IP_{other}_{label}"), ip),
            (format!("NOMAD_PORT_{other}_{label}"), value.to_string()),
        ];
    }
    let inside = container_port(alloc, task, label).unwrap_or(value);
    vec![
        (format!("NOMAD_PORT_{label}"), inside.to_string()),
        (format!("NOMAD_IP_{label}"), ip.clone()),
        (format!("NOMAD_ADDR_{label}"), address.clone()),
        (format!("NOMAD_HOST_PORT_{label}"), value.to_string()),
        (format!("NOMAD_HOST_IP_{label}"), ip),
        (format!("NOMAD_HOST_ADDR_{label}"), address),
    ]
}

/// The address and host port of a task's (or its group's) port, and its number in the container
/// if the network says so.
pub fn port(alloc: &Allocation, task: &str, label: &str) -> Option<(String, u16, u16)> {
    let of_task = alloc
        .task_resources
        .get(task)
        .into_iter()
        .flat_map(|given| &given.networks);
    of_task.chain(&alloc.shared_networks).find_map(|network| {
        let port = network.ports().find(|port| port.label == label)?;
        Some((network.ip.clone(), port.value, port.to))
    })
}

/// The port number inside the container: by the network's `to`, docker's `port_map`, or the same.
pub fn container_port(alloc: &Allocation, task: &Task, label: &str) -> Option<u16> {
    let (_, value, to) = port(alloc, &task.name, label)?;
    let mapped = task.config.get("port_map").and_then(|map| match map {
        Value::Map(entries) => entries.get(label)?.as_int(),
        Value::List(maps) => maps
            .iter()
            .find_map(|map| map.as_map()?.get(label)?.as_int()),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) => None,
    });
    match (mapped.and_then(|port| u16::try_from(port).ok()), to) {
        (Some(mapped), _) => Some(mapped),
        (None, 0) => Some(value),
        (None, to) => Some(to),
    }
}

/// Replaces every `${...}` that is known; what isn't stays as it is.
pub fn interpolate(text: &str, env: &BTreeMap<String, String>, node: &Node) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = from.find('}') else {
            out.push_str(from);
            return out;
        };
        let (whole, after) = from.split_at(end + 1);
        let name = &whole[2..end];
        let quoted = name
            .strip_prefix("env[\"")
            .and_then(|name| name.strip_suffix("\"]"));
        let known = env
            .get(quoted.unwrap_or(name))
            .cloned()
            .or_else(|| resolve(whole, node));
        out.push_str(known.as_deref().unwrap_or(whole));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The same for everything in a configuration value.
pub fn interpolate_value(value: &Value, env: &BTreeMap<String, String>, node: &Node) -> Value {
    match value {
        Value::String(text) => Value::String(interpolate(text, env, node)),
        Value::List(items) => Value::List(
            items
                .iter()
                .map(|item| interpolate_value(item, env, node))
                .collect(),
        ),
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    (
                        interpolate(key, env, node),
                        interpolate_value(value, env, node),
                    )
                })
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Job, Network, Resources};

    fn alloc() -> Allocation {
        let network = Network {
            ip: "10.0.0.7".into(),
            dynamic_ports: vec![Port {
                label: "http".into(),
                value: 23_456,
                to: 0,
            }],
            ..Network::default()
        };
        let given = Resources {
            cpu: 100,
            memory_mb: 300,
            networks: vec![network],
            ..Resources::default()
        };
        Allocation {
            id: "0e0dd4b7-a1c4-68df-e1fa-0a7d56bafc45".into(),
            name: "web.web[1]".into(),
            job_id: "web".into(),
            job: Some(Arc::new(Job {
                id: "web".into(),
                name: "web".into(),
                ..Job::default()
            })),
            task_group: "web".into(),
            task_resources: [("web".to_owned(), given)].into(),
            ..Allocation::default()
        }
    }

    fn task() -> Task {
        let map = Value::Map([("http".to_owned(), Value::Int(8081))].into());
        Task {
            name: "web".into(),
            config: [("port_map".to_owned(), map)].into(),
            env: [(
                "WHERE".to_owned(),
                "${node.unique.name}:${NOMAD_PORT_http} ${unknown}".to_owned(),
            )]
            .into(),
            ..Task::default()
        }
    }

    #[test]
    fn a_task_knows_its_ports_inside_and_outside() {
        let node = Node {
            name: "n1".into(),
            ..Node::default()
        };
        let env = variables(&alloc(), &task(), &node);
        for (key, value) in [
            ("NOMAD_PORT_http", "8081"),
            ("NOMAD_HOST_PORT_http", "23456"),
            ("NOMAD_ADDR_http", "10.0.0.7:23456"),
            ("NOMAD_ALLOC_INDEX", "1"),
            ("NOMAD_SHORT_ALLOC_ID", "0e0dd4b7"),
            ("WHERE", "n1:8081 ${unknown}"),
        ] {
            assert_eq!(env.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn interpolation_leaves_what_it_does_not_know() {
        let node = Node::default();
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, result) in [
            ("${A}-${env[\"A\"]}", "1-1"),
            ("${B}", "${B}"),
            ("$A ${", "$A ${"),
            ("${A", "${A"),
        ] {
            assert_eq!(interpolate(text, &env, &node), result);
        }
    }
}
