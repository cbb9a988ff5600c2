//! `/v1/client/stats` and `/v1/client/allocation/:id/stats`: how busy a node and its tasks are.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use logic::model::{Allocation, TASK_RUNNING};
use ports::{MachineUsage, TaskKey, TaskUsage};
use serde_json::{Map, Value, json};

use super::errors::Failure;
use super::query::Query;
use super::{Api, client_fs, node_proxy};

pub(super) async fn node(
    State(api): State<Api>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    match query.get("node_id") {
        Some(id) if id != api.identity.node_id => {
            node_proxy::pass_on(&api, id, &uri, &headers).await
        }
        Some(_) | None => {
            let usage = api.world.machine.usage();
            Ok(query.json(&machine(&usage, api.world.clock.now().0)))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn machine(usage: &MachineUsage, timestamp: i64) -> Value {
    let available = |total: u64, used: u64| total.saturating_sub(used);
    let used = usage.disk_used_bytes as f64 / usage.disk_total_bytes.max(1) as f64 * 100.0;
    let disk = json!({
        "Device": "",
        "Mountpoint": "",
        "Size": usage.disk_total_bytes,
        "Used": usage.disk_used_bytes,
        "Available": available(usage.disk_total_bytes, usage.disk_used_bytes),
        "UsedPercent": used,
        "InodesUsedPercent": 0.0,
    });
    let memory = available(usage.memory_total_bytes, usage.memory_used_bytes);
    json!({
        "AllocDirStats": disk,
        "CPU": [],
        "CPUTicksConsumed": usage.cpu_mhz as f64,
        "DiskStats": [disk],
        "Memory": {
            "Total": usage.memory_total_bytes,
            "Used": usage.memory_used_bytes,
            "Available": memory,
            "Free": memory,
        },
        "Timestamp": timestamp,
        "Uptime": usage.uptime_secs,
    })
}

pub(super) async fn allocation(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(alloc) = node_proxy::allocation(&api, &id).await? else {
        return Err(Failure::no_leader(
            "no server tells what the allocation consists of",
        ));
    };
    if let Some(task) = query.get("task") {
        client_fs::has_task(&alloc, task)?;
    }
    if alloc.node_id != api.identity.node_id {
        return node_proxy::pass_on(&api, &alloc.node_id, &uri, &headers).await;
    }
    let usages = usages(&api, &alloc, query.get("task")).await?;
    Ok(query.json(&tasks(&usages, core_mhz(&api), api.world.clock.now().0)))
}

/// What each running task uses, or only the one.
async fn usages(
    api: &Api,
    alloc: &Allocation,
    only: Option<&str>,
) -> Result<Vec<(String, TaskUsage)>, Failure> {
    let running = alloc
        .task_states
        .iter()
        .filter(|(_, state)| state.state == TASK_RUNNING);
    let mut usages = Vec::new();
    for (task, _) in running.filter(|(task, _)| only.is_none_or(|only| only == *task)) {
        let key = TaskKey {
            alloc_id: alloc.id.clone(),
            task: task.clone(),
        };
        match api.world.containers.usage(&key).await {
            Ok(usage) => usages.push((task.clone(), usage)),
            Err(error) => {
                let text = format!("the usage of {key} can't be told: {error}");
                return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text));
            }
        }
    }
    Ok(usages)
}

/// A core's speed, for percentages.
fn core_mhz(api: &Api) -> Option<f64> {
    let attributes = api.world.machine.fingerprint().attributes;
    attributes
        .get("cpu.frequency")?
        .parse()
        .ok()
        .filter(|mhz| *mhz > 0.0)
}

fn tasks(usages: &[(String, TaskUsage)], core_mhz: Option<f64>, timestamp: i64) -> Value {
    let sum = usages
        .iter()
        .fold(TaskUsage::default(), |sum, (_, usage)| TaskUsage {
            cpu_mhz: sum.cpu_mhz + usage.cpu_mhz,
            memory_bytes: sum.memory_bytes + usage.memory_bytes,
        });
    let each: Map<String, Value> = usages
        .iter()
        .map(|(task, usage)| {
            let value = json!({
                "Pids": null,
                "ResourceUsage": resources(usage, core_mhz),
                "Timestamp": timestamp,
            });
            (task.clone(), value)
        })
        .collect();
    json!({ "ResourceUsage": resources(&sum, core_mhz), "Tasks": each, "Timestamp": timestamp })
}

fn resources(usage: &TaskUsage, core_mhz: Option<f64>) -> Value {
    json!({
        "CpuStats": {
            "Measured": ["Percent"],
            "Percent": core_mhz.map_or(0.0, |mhz| usage.cpu_mhz / mhz * 100.0),
            "SystemMode": 0.0,
            "UserMode": 0.0,
            "ThrottledPeriods": 0,
            "ThrottledTime": 0,
            "TotalTicks": usage.cpu_mhz,
        },
        "MemoryStats": {
            "Measured": ["RSS"],
            "RSS": usage.memory_bytes,
            "Cache": 0,
            "Swap": 0,
            "MaxUsage": 0,
            "KernelUsage": 0,
            "KernelMaxUsage": 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_uses_what_its_tasks_use() {
        let usage = |cpu_mhz, memory_bytes| TaskUsage {
            cpu_mhz,
            memory_bytes,
        };
        let usages = [
            ("a".to_owned(), usage(100.0, 10)),
            ("b".to_owned(), usage(50.0, 5)),
        ];
        let value = tasks(&usages, Some(1_000.0), 1);
        assert_eq!(value["ResourceUsage"]["MemoryStats"]["RSS"], 15);
        assert_eq!(value["ResourceUsage"]["CpuStats"]["TotalTicks"], 150.0);
        assert_eq!(
            value["Tasks"]["b"]["ResourceUsage"]["CpuStats"]["Percent"],
            5.0
        );
    }
}
