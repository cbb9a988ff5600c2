//! Consul's `/v1/health/*`: services with the state of their checks.

use axum::extract::{Path, State};
use axum::response::Response;
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING, Check};
use logic::state::Store;
use serde_json::{Value, json};

use super::consul_catalog::{find_node, has_wanted_tags, index, instances, on_wanted_node};
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, consul_json};

pub(super) async fn service(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let passing = query.flag("passing")?;
    query::consul(&api, &query, index, |store| {
        let wanted = instances(store).filter(|(node, service)| {
            service.service.eq_ignore_ascii_case(&name)
                && has_wanted_tags(&query, service)
                && on_wanted_node(&query, node)
        });
        let entries = wanted.filter_map(|(node, service)| {
            let checks: Vec<&Check> = checks_of(store, &node.node, &service.id).collect();
            if passing && checks.iter().any(|check| check.status != CHECK_PASSING) {
                return None;
            }
            Some(json!({
                "Node": consul_json::node(node),
                "Service": consul_json::service(service),
                "Checks": checks.into_iter().map(consul_json::check).collect::<Value>(),
            }))
        });
        Ok(entries.collect())
    })
    .await
}

/// The checks that concern a service instance: its node's first, then its own.
pub(super) fn checks_of<'a>(
    store: &'a Store,
    node: &str,
    service_id: &'a str,
) -> impl Iterator<Item = &'a Check> {
    let of_node = store
        .checks_on(node)
        .filter(|check| check.service_id.is_empty());
    let own = move |check: &&std::sync::Arc<Check>| check.service_id == service_id;
    of_node
        .chain(store.checks_on(node).filter(own))
        .map(|check| &**check)
}

pub(super) async fn state(
    State(api): State<Api>,
    Path(state): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let known = ["any", CHECK_PASSING, CHECK_WARNING, CHECK_CRITICAL];
    if !known.contains(&state.as_str()) {
        let text = format!("unknown state `{state}`: known are {}", known.join(", "));
        return Err(Failure::bad_request(text));
    }
    checks_where(&api, &query, |check| {
        state == "any" || check.status == state
    })
    .await
}

pub(super) async fn node(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        let node = find_node(store, &name);
        let checks = node
            .into_iter()
            .flat_map(|node| store.checks_on(&node.node));
        Ok(checks.map(|check| consul_json::check(check)).collect())
    })
    .await
}

pub(super) async fn checks(
    State(api): State<Api>,
    Path(service): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    checks_where(&api, &query, |check| {
        check.service_name.eq_ignore_ascii_case(&service)
    })
    .await
}

async fn checks_where(
    api: &Api,
    query: &Query,
    wanted: impl Fn(&Check) -> bool,
) -> Result<Response, Failure> {
    let by_node = query.has("node-meta") || query.get("peer").is_some();
    query::consul(api, query, index, |store| {
        let checks = store.checks().filter(|check| {
            let node = || store.catalog_nodes().find(|node| node.node == check.node);
            wanted(check) && (!by_node || node().is_some_and(|node| on_wanted_node(query, node)))
        });
        Ok(checks.map(|check| consul_json::check(check)).collect())
    })
    .await
}
