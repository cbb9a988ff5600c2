//! Consul's `/v1/catalog/*`: nodes, and the services on them.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use logic::model::{CatalogNode, ServiceInstance};
use logic::state::{Store, Topic};
use serde_json::{Value, json};

use super::consul_filter::Filter;
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, cluster, consul_json};

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Catalog)
}

pub(super) async fn datacenters(State(api): State<Api>, query: Query) -> Response {
    query.json(&cluster::datacenters(&api))
}

pub(super) async fn nodes(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        let nodes = store
            .catalog_nodes()
            .filter(|node| on_wanted_node(&query, node));
        Ok(nodes.map(|node| consul_json::node(node)).collect())
    })
    .await
}

/// Every service's name, with the tags that any of its instances has.
pub(super) async fn services(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let filter = Filter::of(&query)?;
    query::consul_response(&api, &query, index, |store| {
        let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, service) in instances(store).filter(|(node, _)| on_wanted_node(&query, node)) {
            match filter.wants_of(|| consul_json::catalog_service(node, service)) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => return failure.into_response(),
            }
            let tags = services.entry(&service.service).or_default();
            for tag in &service.tags {
                if !tags.contains(&tag.as_str()) {
                    tags.push(tag);
                }
            }
        }
        query.json(&services)
    })
    .await
}

pub(super) async fn service(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        let wanted = instances(store).filter(|(node, service)| {
            service.service.eq_ignore_ascii_case(&name)
                && has_wanted_tags(&query, service)
                && on_wanted_node(&query, node)
        });
        Ok(wanted
            .map(|(node, service)| consul_json::catalog_service(node, service))
            .collect())
    })
    .await
}

/// A node and its services; `null` if there is no such node. A filter is on the services.
pub(super) async fn node(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let filter = Filter::of(&query)?;
    query::consul(&api, &query, index, |store| {
        let Some(node) = find_node(store, &name) else {
            return Ok(Value::Null);
        };
        let services = store.services_on(&node.node);
        let services = services.map(|row| (row.id.clone(), consul_json::service(row)));
        let services = filter.keep_pairs(services)?;
        Ok(json!({ "Node": consul_json::node(node), "Services": services }))
    })
    .await
}

/// The same with the services as a list.
pub(super) async fn node_services(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let filter = Filter::of(&query)?;
    query::consul(&api, &query, index, |store| {
        let Some(node) = find_node(store, &name) else {
            return Ok(json!({ "Node": null, "Services": null }));
        };
        let services = store.services_on(&node.node);
        let services = filter.keep(services.map(|row| consul_json::service(row)).collect())?;
        Ok(json!({ "Node": consul_json::node(node), "Services": services }))
    })
    .await
}

/// A node by its name or its id.
pub(super) fn find_node<'a>(store: &'a Store, name: &str) -> Option<&'a CatalogNode> {
    let mut nodes = store.catalog_nodes().map(|node| &**node);
    nodes.find(|node| node.node.eq_ignore_ascii_case(name) || node.id == name)
}

/// Every service instance with its node.
pub(super) fn instances(store: &Store) -> impl Iterator<Item = (&CatalogNode, &ServiceInstance)> {
    store.catalog_nodes().flat_map(|node| {
        store
            .services_on(&node.node)
            .map(move |service| (&**node, &**service))
    })
}

/// Whether an instance has every tag that the query names.
pub(super) fn has_wanted_tags(query: &Query, service: &ServiceInstance) -> bool {
    query
        .all("tag")
        .all(|tag| service.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)))
}

/// Whether a node is of this cluster, not of a peer of it, and has every `node-meta=KEY:VALUE` that
/// the query names.
pub(super) fn on_wanted_node(query: &Query, node: &CatalogNode) -> bool {
    query.get("peer").is_none()
        && query.all("node-meta").all(|wanted| {
            let (key, value) = wanted.split_once(':').unwrap_or((wanted, ""));
            node.meta.get(key).is_some_and(|own| own == value)
        })
}
