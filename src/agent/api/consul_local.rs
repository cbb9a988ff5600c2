//! What an agent says of its own node: the services and checks there, whoever registered them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING, Check, ServiceInstance};
use serde_json::{Map, Value, json};

use super::consul_filter::Filter;
use super::errors::Failure;
use super::query::{Query, TEXT};
use super::{Api, consul_json};
use crate::catalog::Local;
use crate::checked_file::checksum;

/// Without the agent's own services.
pub(super) fn offered(local: &Local) -> impl Iterator<Item = &ServiceInstance> {
    let all = local.services.values();
    all.filter(|service| !local.own.contains(&service.id))
}

fn shown(api: &Api, service: &ServiceInstance) -> Value {
    let mut shown = consul_json::agent_service(service, &api.config.datacenter);
    let hash = checksum(shown.to_string().as_bytes());
    shown["ContentHash"] = json!(format!("{hash:016x}"));
    shown
}

pub(super) async fn services(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let filter = Filter::of(&query)?;
    let local = Arc::clone(&api.local.borrow());
    let rows = offered(&local).map(|service| {
        let value = consul_json::agent_service(service, &api.config.datacenter);
        (service.id.clone(), value)
    });
    let rows: Map<String, Value> = filter.keep_pairs(rows)?;
    Ok(query.json(&rows))
}

pub(super) async fn checks(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let filter = Filter::of(&query)?;
    let local = Arc::clone(&api.local.borrow());
    let checks = local.checks.values();
    let rows = checks.map(|check| (check.check_id.clone(), consul_json::check(check)));
    let rows: Map<String, Value> = filter.keep_pairs(rows)?;
    Ok(query.json(&rows))
}

/// One service; with `?hash=` not before it differs from what had that hash.
pub(super) async fn service(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let known = query.get("hash").unwrap_or_default().to_owned();
    let mut local = api.local.clone();
    let find = |local: &Arc<Local>| local.services.get(&id).map(|service| shown(&api, service));
    let mut found = find(&local.borrow_and_update());
    if !known.is_empty() {
        let waiting = async {
            while found
                .as_ref()
                .is_some_and(|found| found["ContentHash"] == known)
            {
                if local.changed().await.is_err() {
                    break;
                }
                found = find(&local.borrow_and_update());
            }
        };
        // What is known by then is the answer.
        tokio::time::timeout(query.consul_wait()?, waiting)
            .await
            .ok();
    }
    let Some(found) = found else {
        return Err(Failure::not_found(format!("unknown service ID: {id}")));
    };
    let mut response = query.json(&found);
    let hash = found["ContentHash"].as_str().unwrap_or_default();
    if let Ok(hash) = HeaderValue::from_str(hash) {
        response.headers_mut().insert("x-consul-contenthash", hash);
    }
    Ok(response)
}

/// The checks of a service and of its node, and the worst of them.
fn health(local: &Local, id: &str) -> (String, Vec<Value>) {
    let concern = |check: &&Check| check.service_id.is_empty() || check.service_id == id;
    let checks: Vec<&Check> = local.checks.values().filter(concern).collect();
    let is_in_maintenance = checks.iter().any(|check| check.r#type == "maintenance");
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    let status = if is_in_maintenance {
        "maintenance"
    } else if has(CHECK_CRITICAL) {
        CHECK_CRITICAL
    } else if has(CHECK_WARNING) {
        CHECK_WARNING
    } else {
        CHECK_PASSING
    };
    let shown = checks.into_iter().map(consul_json::check).collect();
    (status.to_owned(), shown)
}

fn code(status: &str) -> StatusCode {
    match status {
        CHECK_PASSING => StatusCode::OK,
        CHECK_WARNING => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn answer(query: &Query, status: &str, body: &Value) -> Response {
    if query.get("format") == Some("text") {
        let kind = [(header::CONTENT_TYPE, TEXT)];
        return (code(status), kind, status.to_owned()).into_response();
    }
    let mut response = query.json(body);
    *response.status_mut() = code(status);
    response
}

fn one(api: &Api, local: &Local, service: &ServiceInstance) -> (String, Value) {
    let (status, checks) = health(local, &service.id);
    let body = json!({
        "AggregatedStatus": status,
        "Service": consul_json::agent_service(service, &api.config.datacenter),
        "Checks": checks,
    });
    (status, body)
}

pub(super) async fn health_by_id(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let local = Arc::clone(&api.local.borrow());
    let service = local.services.get(&id);
    let unknown = || Failure::not_found(format!("ServiceId {id} not found"));
    let (status, body) = one(&api, &local, service.ok_or_else(unknown)?);
    Ok(answer(&query, &status, &body))
}

/// All of its instances here, and the worst status among them.
pub(super) async fn health_by_name(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let local = Arc::clone(&api.local.borrow());
    let named = local
        .services
        .values()
        .filter(|service| service.service == name);
    let told: Vec<(String, Value)> = named.map(|service| one(&api, &local, service)).collect();
    if told.is_empty() {
        return Err(Failure::not_found(format!("ServiceName {name} Not Found")));
    }
    let rank = |status: &str| match status {
        CHECK_PASSING => 0,
        CHECK_WARNING => 1,
        CHECK_CRITICAL => 2,
        _ => 3,
    };
    let worst = told
        .iter()
        .map(|(status, _)| status.clone())
        .max_by_key(|status| rank(status));
    let bodies = told.into_iter().map(|(_, body)| body).collect();
    Ok(answer(&query, &worst.unwrap_or_default(), &bodies))
}
