//! `/v1/allocation/:id/services` and `/v1/allocation/:id/checks`: what of an allocation is in the
//! catalog. It is there whatever provider its job names.

use axum::extract::{Path, State};
use axum::response::Response;
use logic::lifecycle::services;
use logic::model::{Allocation, CHECK_PASSING, Check, ServiceInstance};
use logic::state::{Store, Topic};
use serde_json::{Map, Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, allocations};

pub(super) async fn list(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let (alloc, own) = own(store, &id)?;
        let datacenter = &store.node(&alloc.node_id).map(|node| &node.datacenter);
        let row = |service: &ServiceInstance| {
            json!({
                "ID": service.id,
                "ServiceName": service.service,
                "Namespace": alloc.namespace,
                "NodeID": alloc.node_id,
                "Datacenter": datacenter,
                "JobID": alloc.job_id,
                "AllocID": alloc.id,
                "Tags": service.tags,
                "Address": service.address,
                "Port": service.port,
                "CreateIndex": service.create_index,
                "ModifyIndex": service.modify_index,
            })
        };
        Ok(own.into_iter().map(row).collect())
    })
    .await
}

/// When a check was run last isn't known: only what changes is in the catalog.
pub(super) async fn checks(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let (alloc, own) = own(store, &id)?;
        let mut shown = Map::new();
        for check in store.checks_on(&alloc.node_name) {
            if let Some(service) = own.iter().find(|service| service.id == check.service_id) {
                shown.insert(check.check_id.clone(), row(alloc, service, check));
            }
        }
        Ok(Value::Object(shown))
    })
    .await
}

fn index(store: &Store) -> u64 {
    store.index_of(Topic::Catalog)
}

/// An allocation and its service instances.
fn own<'s>(
    store: &'s Store,
    id: &str,
) -> Result<(&'s Allocation, Vec<&'s ServiceInstance>), Failure> {
    let Some(alloc) = store.alloc(id) else {
        return Err(allocations::missing("alloc", id));
    };
    let own = store.services_of(alloc).map(AsRef::as_ref).collect();
    Ok((alloc, own))
}

fn row(alloc: &Allocation, service: &ServiceInstance, check: &Check) -> Value {
    let status = match check.status.as_str() {
        CHECK_PASSING => "success",
        _ if check.output.is_empty() => "pending",
        _ => "failure",
    };
    json!({
        "ID": check.check_id,
        "Check": check.name,
        "Group": alloc.name,
        "Mode": "healthiness",
        "Output": check.output,
        "Service": service.service,
        "Task": services::task_of(alloc, service),
        "Status": status,
        "StatusCode": status_code(&check.output),
    })
}

/// What an HTTP check was answered with; 0 where there is no such thing.
fn status_code(output: &str) -> u16 {
    let status = output
        .strip_prefix("HTTP ")
        .and_then(|said| said.split_once(": "));
    let code = status.and_then(|(_, said)| said.split(' ').next());
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}
