//! Nomad's `/v1/agent/*`: the members of the cluster, and who joins and leaves it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use logic::membership::Known;
use serde_json::{Value, json};

use super::errors::{Failure, NO_LEADER};
use super::query::Query;
use super::{Api, cluster};

/// A server as serf's clients know it.
pub(super) fn member(Known { member, status }: &Known) -> Value {
    json!({
        "Name": member.full_name(),
        "Addr": member.address.to_string(),
        "Port": member.serf_port,
        "Status": status.name(),
        "Tags": {
            "role": "nomad",
            "region": member.region,
            "dc": member.datacenter,
            "id": member.id,
            "rpc_addr": member.address.to_string(),
            "port": member.rpc_port.to_string(),
            "build": member.version,
            "expect": member.bootstrap_expect.to_string(),
            "vsn": "1",
            "mvn": "1",
            "raft_vsn": "3",
        },
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}

/// The servers, of all regions.
pub(super) async fn members(State(api): State<Api>, query: Query) -> Response {
    let known = cluster::by_name(&api);
    let servers = known.iter().filter(|known| known.member.server);
    query.json(&json!({
        "ServerName": api.identity.name,
        "ServerRegion": api.config.region,
        "ServerDC": api.config.datacenter,
        "Members": servers.map(member).collect::<Vec<_>>(),
    }))
}

/// Joins the agents at `?address`; may be repeated.
pub(super) async fn join(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let addresses: Vec<_> = query.all("address").map(str::to_owned).collect();
    if addresses.is_empty() {
        return Err(Failure::bad_request("missing ?address: whom to join"));
    }
    let (joined, error) = match api.gossip.join(addresses).await {
        Ok(joined) => (joined, String::new()),
        Err(error) => (0, error),
    };
    Ok(query.json(&json!({ "num_joined": joined, "error": error })))
}

/// Makes the failed member `?node` one that has left.
pub(super) async fn force_leave(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let node = query.get("node");
    let node = node.ok_or_else(|| Failure::bad_request("missing ?node: who must leave"))?;
    let left = api.gossip.force_leave(node).await;
    left.map_err(Failure::bad_request)?;
    Ok(StatusCode::OK.into_response())
}

/// Whether each half of this agent works; with `?type` only that half.
pub(super) async fn health(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let wanted = query.get("type");
    if let Some(kind) = wanted.filter(|kind| !["client", "server"].contains(kind)) {
        let text = format!("unknown type `{kind}`: it must be `client` or `server`");
        return Err(Failure::bad_request(text));
    }
    let mut answer = json!({});
    let leaderless = api
        .server
        .as_ref()
        .is_some_and(|server| server.leader().is_none());
    for (kind, enabled) in [
        ("client", api.config.client.enabled),
        ("server", api.server.is_some()),
    ] {
        if enabled && wanted.is_none_or(|wanted| wanted == kind) {
            let ok = kind != "server" || !leaderless;
            let message = if ok { "ok" } else { NO_LEADER };
            answer[kind] = json!({ "ok": ok, "message": message });
        } else if wanted == Some(kind) {
            answer[kind] = json!({ "ok": false, "message": format!("{kind} not enabled") });
        }
    }
    let mut response = query.json(&answer);
    if ["client", "server"]
        .iter()
        .any(|kind| answer[*kind]["ok"] == false)
    {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

/// The servers this agent talks to.
pub(super) async fn servers(State(api): State<Api>, query: Query) -> Response {
    query.json(&cluster::servers(&api))
}

pub(super) async fn regions(State(api): State<Api>, query: Query) -> Response {
    query.json(&cluster::regions(&api))
}
