//! `/v1/status/*` and `/v1/operator/*` of both APIs: who leads, who votes, how the servers are.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use logic::state::Command;
use serde_json::{Map, Value, json};

use super::Api;
use super::errors::Failure;
use super::query::{self, Query};
use crate::rpc::ApiKind;
use crate::server::{Health, Peer, PeerHealth};

/// What both APIs answer alike, but for names of fields and of servers.
pub(super) fn routes(kind: ApiKind) -> Router<Api> {
    let configuration =
        move |State(api): State<Api>, query: Query| async move { raft(&api, &query, kind) };
    let health =
        move |State(api): State<Api>, query: Query| async move { health(&api, &query, kind).await };
    Router::new()
        .route("/v1/status/leader", get(leader))
        .route("/v1/status/peers", get(peers))
        .route("/v1/operator/raft/configuration", get(configuration))
        .route("/v1/operator/raft/peer", axum::routing::delete(remove_peer))
        .route("/v1/operator/autopilot/health", get(health))
        .route("/v1/operator/autopilot/state", get(autopilot_state))
        .route(
            "/v1/operator/autopilot/configuration",
            get(autopilot_configuration).put(no_autopilot_settings),
        )
}

async fn leader(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let leader = api.server()?.leader();
    Ok(query.json(&leader.map(|leader| leader.address).unwrap_or_default()))
}

async fn peers(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let peers = api.server()?.peers().into_iter();
    let voters = peers.filter(|peer| peer.voter).map(|peer| peer.address);
    Ok(query.json(&voters.collect::<Vec<_>>()))
}

/// A server's name as the API's users know it.
fn name(api: &Api, kind: ApiKind, peer: &Peer) -> String {
    match kind {
        ApiKind::Nomad => format!("{}.{}", peer.name, api.config.region),
        ApiKind::Consul => peer.name.clone(),
    }
}

fn raft(api: &Api, query: &Query, kind: ApiKind) -> Result<Response, Failure> {
    let server = api.server()?;
    let row = |peer: &Peer| {
        let protocol = match kind {
            ApiKind::Nomad => "RaftProtocol",
            ApiKind::Consul => "ProtocolVersion",
        };
        json!({
            "ID": peer.id,
            "Node": name(api, kind, peer),
            "Address": peer.address,
            "Leader": peer.leader,
            "Voter": peer.voter,
            protocol: "3",
        })
    };
    // Consul has none, and says so.
    let index = match kind {
        ApiKind::Nomad => server.state.now().index(),
        ApiKind::Consul => 0,
    };
    Ok(query.json(&json!({
        "Index": index,
        "Servers": server.peers().iter().map(row).collect::<Vec<_>>(),
    })))
}

/// Takes the server with `?id` or `?address` out of the cluster.
async fn remove_peer(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let wanted = match (query.get("id"), query.get("address")) {
        (Some(id), None) => id,
        (None, Some(address)) => address,
        (Some(_), Some(_)) => {
            let text = "give either ?id or ?address of the server to remove, not both";
            return Err(Failure::bad_request(text));
        }
        (None, None) => {
            let text = "missing ?id or ?address: which server to remove";
            return Err(Failure::bad_request(text));
        }
    };
    let server = api.server()?;
    server.remove_peer(wanted).await.map_err(|reason| {
        if server.leader().is_none() {
            Failure::no_leader(&reason)
        } else {
            Failure::bad_request(reason)
        }
    })?;
    Ok(StatusCode::OK.into_response())
}

async fn asked(api: &Api) -> Result<Health, Failure> {
    let health = api.server()?.health().await;
    health.map_err(|reason| Failure::no_leader(&reason))
}

/// One server's health, with what gossip knows of it.
fn server_health(api: &Api, kind: ApiKind, health: &PeerHealth) -> Value {
    let peer = &health.peer;
    let members = api.gossip.members();
    let known = members.borrow().get(&peer.id).cloned();
    let status = known.as_ref().map_or("none", |known| known.status.name());
    let version = known.as_ref().map_or("", |known| &known.member.version);
    let mut row = json!({
        "ID": peer.id,
        "Name": name(api, kind, peer),
        "Address": peer.address,
        "SerfStatus": status,
        "Version": version,
        "Leader": peer.leader,
        "LastTerm": health.last_term,
        "LastIndex": health.last_index,
        "Healthy": health.healthy,
        "Voter": peer.voter,
    });
    // Clients can't read a duration that isn't one.
    if let Some(since) = health.last_contact {
        let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        row["LastContact"] = json!(logic::duration::format(nanos));
    }
    row
}

/// 429 if something is wrong, as load balancers expect that ask here.
async fn health(api: &Api, query: &Query, kind: ApiKind) -> Result<Response, Failure> {
    let health = asked(api).await?;
    let servers = health.servers.iter();
    let mut response = query.json(&json!({
        "Healthy": health.healthy,
        "FailureTolerance": health.failure_tolerance,
        "Servers": servers.map(|server| server_health(api, kind, server)).collect::<Vec<_>>(),
    }));
    if !health.healthy {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    Ok(response)
}

/// The same as newer clients ask for it.
async fn autopilot_state(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let health = asked(&api).await?;
    let servers: Map<_, _> = health
        .servers
        .iter()
        .map(|server| {
            let peer = &server.peer;
            let mut row = server_health(&api, ApiKind::Consul, server);
            row["NodeStatus"] = row["SerfStatus"].take();
            row["Status"] = json!(match (peer.leader, peer.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "non-voter",
            });
            (peer.id.clone(), row)
        })
        .collect();
    let peers = health.servers.iter().map(|server| &server.peer);
    let voters = peers.clone().filter(|peer| peer.voter);
    let leader = peers.clone().find(|peer| peer.leader);
    Ok(query.json(&json!({
        "Healthy": health.healthy,
        "FailureTolerance": health.failure_tolerance,
        "OptimisticFailureTolerance": health.failure_tolerance,
        "Leader": leader.map_or("", |leader| &leader.id),
        "Voters": voters.map(|peer| &peer.id).collect::<Vec<_>>(),
        "Servers": servers,
    })))
}

/// What the servers do of themselves; it can't be changed.
async fn autopilot_configuration(query: Query) -> Response {
    query.json(&json!({
        "CleanupDeadServers": true,
        "LastContactThreshold": "200ms",
        "MaxTrailingLogs": 250,
        "ServerStabilizationTime": "10s",
        "EnableRedundancyZones": false,
        "DisableUpgradeMigration": true,
        "EnableCustomUpgrades": false,
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }))
}

async fn no_autopilot_settings() -> Failure {
    Failure::not_yet("changing what the servers do of themselves")
}

/// `/v1/system/gc`: forgets now what ended, instead of after a while.
pub(super) async fn collect_garbage(
    State(api): State<Api>,
    query: Query,
) -> Result<Response, Failure> {
    let now = api.world.clock.now();
    let command = Command::CollectGarbage {
        evals_before: now,
        jobs_before: now,
        nodes_before: now,
    };
    let (index, _) = api.propose(command).await?;
    Ok(query::written(&query, index, &Value::Null))
}
