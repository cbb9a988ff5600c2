//! What is left of Consul's API for clients that ask around: leaving, the host, metrics,
//! coordinates, and the list of its web page.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, put};
use logic::membership::{Known, MemberStatus};
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::consul_catalog::{index as index_of_catalog, instances};
use super::consul_health::checks_of;
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, CONSUL_VERSION, cluster, consul_monitor};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/agent/leave", put(leave))
        .route("/v1/agent/reload", put(reload))
        .route("/v1/agent/monitor", get(consul_monitor::follow))
        .route("/v1/agent/host", get(host))
        .route("/v1/agent/metrics", get(metrics))
        .route("/v1/agent/version", get(version))
        .route("/v1/agent/token/{*kind}", put(no_access_control))
        .route("/v1/acl/{*rest}", any(no_access_control))
}

/// What clients take for "nobody needs a token here".
async fn no_access_control() -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled")
}

/// The instances of a service that take part in a service mesh: there is none.
pub(super) async fn no_mesh(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::consul(&api, &query, index_of_catalog, |_| Ok(json!([]))).await
}

/// The agent says goodbye and ends, once this is answered.
async fn leave(State(api): State<Api>) -> Response {
    api.leaving.notify_one();
    StatusCode::OK.into_response()
}

/// Answered once the configuration was read again and is in effect.
async fn reload(State(api): State<Api>) -> Result<Response, Failure> {
    let (told, outcome) = oneshot::channel();
    if !api.owner.reloads.tell(told) {
        return Err(Failure::not_yet("reading the configuration again here"));
    }
    let reloaded = outcome.await;
    let reloaded = reloaded.unwrap_or_else(|_| Err("the agent is stopping".to_owned()));
    // Consul's clients expect nothing else for a file that has a mistake.
    reloaded.map_err(|why| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why))?;
    Ok(StatusCode::OK.into_response())
}

async fn version(State(api): State<Api>, query: Query) -> Response {
    query.json(&json!({
        "HumanVersion": format!("{CONSUL_VERSION}+drover{}", api.identity.version),
        "SHA": "",
        "BuildDate": "1970-01-01T00:00:00Z",
        "FIPS": "",
    }))
}

async fn host(State(api): State<Api>, query: Query) -> Response {
    let (facts, usage) = (api.world.machine.fingerprint(), api.world.machine.usage());
    let attribute = |name: &str| facts.attributes.get(name).cloned().unwrap_or_default();
    let (total, used) = (usage.memory_total_bytes, usage.memory_used_bytes);
    let free = total.saturating_sub(used);
    query.json(&json!({
        "Memory": { "total": total, "available": free, "used": used, "free": free },
        "CPU": [],
        "Host": {
            "hostname": facts.hostname,
            "uptime": usage.uptime_secs,
            "os": attribute("kernel.name"),
            "platform": attribute("os.name"),
            "platformVersion": attribute("os.version"),
            "kernelVersion": attribute("kernel.version"),
        },
        "Disk": { "total": usage.disk_total_bytes, "used": usage.disk_used_bytes },
        "CollectionTime": api.world.clock.now().0,
        "Errors": null,
    }))
}

/// What the agent knows of itself in numbers.
fn gauges(api: &Api) -> BTreeMap<&'static str, u64> {
    let view = api.view.borrow().clone();
    let local = api.local.borrow().clone();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let members = api.gossip.members();
    let members = members.borrow();
    let alive = members
        .iter()
        .filter(|known| known.status == MemberStatus::Alive);
    let critical = local
        .checks
        .values()
        .filter(|check| check.status == CHECK_CRITICAL);
    let mut gauges = BTreeMap::from([
        ("consul.state.nodes", count(view.nodes.len())),
        ("consul.state.services", count(view.services.len())),
        (
            "consul.state.service_instances",
            count(view.services.values().map(Vec::len).sum()),
        ),
        ("consul.agent.services", count(local.services.len())),
        ("consul.agent.checks", count(local.checks.len())),
        ("consul.agent.checks_critical", count(critical.count())),
        ("consul.serf.members_alive", count(alive.count())),
    ]);
    if let Some(server) = &api.server {
        let state = server.state.now();
        gauges.insert("consul.raft.applied_index", state.index());
        gauges.insert("consul.state.kv_entries", count(state.kv_under("").count()));
        gauges.insert("consul.state.sessions", count(state.sessions().count()));
        let leads = server
            .leader()
            .is_some_and(|leader| leader.id == api.identity.node_id);
        gauges.insert("consul.server.isLeader", u64::from(leads));
    }
    gauges
}

async fn metrics(State(api): State<Api>, query: Query) -> Response {
    let gauges = gauges(&api);
    if query.get("format") == Some("prometheus") {
        let lines = gauges.into_iter().map(|(name, value)| {
            let name = name.replace('.', "_");
            format!("# TYPE {name} gauge\n{name} {value}\n")
        });
        let text: String = lines.collect();
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        return ([(header::CONTENT_TYPE, kind)], text).into_response();
    }
    let gauge = |(name, value)| json!({ "Name": name, "Value": value, "Labels": {} });
    query.json(&json!({
        "Timestamp": api.world.clock.now().rfc3339_seconds(),
        "Gauges": gauges.into_iter().map(gauge).collect::<Vec<_>>(),
        "Points": [],
        "Counters": [],
        "Samples": [],
    }))
}

/// A place among the others that says how little is known of it: round trips aren't measured.
pub(super) fn nowhere(name: &str) -> Value {
    let unknown = json!({ "Vec": vec![0; 8], "Error": 1.5, "Adjustment": 0, "Height": 0.000_01 });
    json!({ "Node": name, "Segment": "", "Coord": unknown })
}

fn alive(api: &Api) -> impl Iterator<Item = Known> + use<> {
    let all = cluster::by_name(api).into_iter();
    all.filter(|known| known.status == MemberStatus::Alive)
}

pub(super) async fn coordinates(State(api): State<Api>, query: Query) -> Response {
    let servers = alive(&api).filter(|known| known.member.server);
    let mut places: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for Known { member, .. } in servers {
        let name = format!("{}.{}", member.name, member.datacenter);
        places
            .entry(member.datacenter)
            .or_default()
            .push(nowhere(&name));
    }
    let told = places.into_iter().map(|(datacenter, places)| {
        json!({ "Datacenter": datacenter, "AreaID": "wan", "Coordinates": places })
    });
    query.json(&told.collect::<Vec<_>>())
}

fn places(api: &Api) -> Vec<(String, Value)> {
    let here = alive(api).filter(|known| known.member.datacenter == api.config.datacenter);
    here.map(|known| (known.member.name.clone(), nowhere(&known.member.name)))
        .collect()
}

pub(super) async fn node_coordinates(
    State(api): State<Api>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index_of_catalog, |_| {
        Ok(places(&api).into_iter().map(|(_, place)| place).collect())
    })
    .await
}

pub(super) async fn node_coordinate(
    State(api): State<Api>,
    Path(node): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index_of_catalog, |_| {
        let place = places(&api).into_iter().find(|(name, _)| *name == node);
        let place = place.ok_or_else(|| Failure::not_found(""))?;
        Ok(json!([place.1]))
    })
    .await
}

/// One row of the services of Consul's web page.
#[derive(Default)]
struct Row<'a> {
    tags: BTreeSet<&'a str>,
    nodes: BTreeSet<&'a str>,
    instances: u64,
    statuses: BTreeMap<&'a str, u64>,
}

pub(super) async fn ui_services(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::consul(&api, &query, index_of_catalog, |store| {
        let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
        for (node, service) in instances(store) {
            let row = rows.entry(&service.service).or_default();
            row.tags.extend(service.tags.iter().map(String::as_str));
            row.nodes.insert(&node.node);
            row.instances += 1;
            for check in checks_of(store, &node.node, &service.id) {
                *row.statuses.entry(&check.status).or_default() += 1;
            }
        }
        let shown = rows.into_iter().map(|(name, row)| {
            let count = |status| row.statuses.get(status).copied().unwrap_or(0);
            json!({
                "Name": name,
                "Tags": (!row.tags.is_empty()).then_some(&row.tags),
                "Nodes": row.nodes,
                "InstanceCount": row.instances,
                "ChecksPassing": count(CHECK_PASSING),
                "ChecksWarning": count(CHECK_WARNING),
                "ChecksCritical": count(CHECK_CRITICAL),
                "ExternalSources": null,
                "GatewayConfig": {},
            })
        });
        Ok(shown.collect())
    })
    .await
}
