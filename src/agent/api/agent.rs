//! `/v1/agent/*`, `/v1/status/*`, `/v1/regions` and `/v1/operator/*`: who is who in the cluster.

use axum::extract::State;
use axum::response::Response;
use logic::config::AgentConfig;
use logic::model::NODE_READY;
use logic::state::Topic;
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::Query;
use super::{Api, NOMAD_VERSION};

/// What this agent is and how it is configured.
pub(super) async fn own(State(api): State<Api>, query: Query) -> Response {
    query.json(&json!({
        "config": config(&api),
        "member": if api.server.is_some() { member(&api) } else { json!({}) },
        "stats": stats(&api),
    }))
}

fn config(api: &Api) -> Value {
    let config = &*api.config;
    let bound = |address: Option<std::net::IpAddr>| address.unwrap_or(config.bind_addr).to_string();
    json!({
        "ACL": { "Enabled": false },
        "Addresses": {
            "HTTP": bound(config.addresses.http),
            "RPC": bound(config.addresses.rpc),
            "Serf": bound(config.addresses.serf),
        },
        "AdvertiseAddrs": {
            "HTTP": api.at(config.ports.http),
            "RPC": api.at(config.ports.rpc),
            "Serf": api.at(config.ports.serf),
        },
        "BindAddr": config.bind_addr.to_string(),
        "Client": client_config(config),
        "DataDir": config.data_dir,
        "Datacenter": config.datacenter,
        "DevMode": config.dev_mode,
        "EnableDebug": false,
        "LeaveOnInt": config.leave_on_interrupt,
        "LeaveOnTerm": config.leave_on_terminate,
        "LogLevel": config.log_level.to_uppercase(),
        "NodeName": config.name,
        "Ports": {
            "HTTP": config.ports.http,
            "RPC": config.ports.rpc,
            "Serf": config.ports.serf,
        },
        "Region": config.region,
        "Server": {
            "Enabled": config.server.enabled,
            "BootstrapExpect": config.server.bootstrap_expect,
        },
        "TLSConfig": { "EnableHTTP": false, "EnableRPC": false },
        "Version": {
            "Revision": format!("drover {}", api.identity.version),
            "Version": NOMAD_VERSION,
            "VersionMetadata": "",
            "VersionPrerelease": "",
        },
    })
}

fn client_config(config: &AgentConfig) -> Value {
    let client = &config.client;
    json!({
        "AllocDir": client.alloc_dir,
        "CpuCompute": client.cpu_total_compute,
        "Enabled": client.enabled,
        "MemoryMB": client.memory_total_mb,
        "Meta": client.meta,
        "NetworkInterface": client.network_interface,
        "NodeClass": client.node_class,
        "Options": client.options,
        "Reserved": {
            "CPU": client.reserved.cpu,
            "DiskMB": client.reserved.disk_mb,
            "MemoryMB": client.reserved.memory_mb,
            "ReservedPorts": client.reserved.ports,
        },
        "Servers": client.servers,
        "StateDir": client.state_dir,
    })
}

/// Numbers for `agent-info`; all of them are strings.
fn stats(api: &Api) -> Value {
    let mut stats = json!({});
    if api.config.client.enabled {
        stats["client"] = json!({
            "node_id": api.identity.node_id,
            "known_servers": api.rpc.servers().join(","),
        });
    }
    if let Some(server) = &api.server {
        let store = server.state.now();
        let index = store.index().to_string();
        stats["nomad"] = json!({
            "server": "true",
            "leader": "true",
            "leader_addr": api.at(api.config.ports.rpc),
            "known_regions": "1",
        });
        stats["raft"] = json!({
            "applied_index": index,
            "commit_index": index,
            "last_log_index": index,
            "num_peers": "0",
            "state": "Leader",
        });
        let ready = store
            .nodes()
            .filter(|node| node.status == NODE_READY)
            .count();
        stats["nodes"] = json!({
            "known": store.nodes().count().to_string(),
            "ready": ready.to_string(),
        });
    }
    stats
}

/// This server as a member of the cluster.
fn member(api: &Api) -> Value {
    json!({
        "Name": format!("{}.{}", api.identity.name, api.config.region),
        "Addr": api.identity.address.to_string(),
        "Port": api.config.ports.serf,
        "Status": "alive",
        "Tags": {
            "role": "nomad",
            "region": api.config.region,
            "dc": api.config.datacenter,
            "id": api.identity.node_id,
            "rpc_addr": api.identity.address.to_string(),
            "port": api.config.ports.rpc.to_string(),
            "build": api.identity.version,
            "expect": api.config.server.bootstrap_expect.to_string(),
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

/// The servers: for now there is one, and it is the one that answers.
pub(super) async fn members(State(api): State<Api>, query: Query) -> Response {
    query.json(&json!({
        "ServerName": api.identity.name,
        "ServerRegion": api.config.region,
        "ServerDC": api.config.datacenter,
        "Members": [member(&api)],
    }))
}

/// Whether each half of this agent works; with `?type` only that half.
pub(super) async fn health(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let wanted = query.get("type");
    if let Some(kind) = wanted.filter(|kind| !["client", "server"].contains(kind)) {
        let text = format!("unknown type `{kind}`: it must be `client` or `server`");
        return Err(Failure::bad_request(text));
    }
    let mut answer = json!({});
    for (kind, enabled) in [
        ("client", api.config.client.enabled),
        ("server", api.server.is_some()),
    ] {
        if enabled && wanted.is_none_or(|wanted| wanted == kind) {
            answer[kind] = json!({ "ok": true, "message": "ok" });
        } else if wanted == Some(kind) {
            answer[kind] = json!({ "ok": false, "message": format!("{kind} not enabled") });
        }
    }
    let mut response = query.json(&answer);
    if wanted.is_some_and(|wanted| answer[wanted]["ok"] == false) {
        *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

/// The servers this agent talks to.
pub(super) async fn servers(State(api): State<Api>, query: Query) -> Response {
    query.json(&api.rpc.servers())
}

pub(super) async fn leader(State(api): State<Api>, query: Query) -> Response {
    query.json(&api.at(api.config.ports.rpc))
}

pub(super) async fn peers(State(api): State<Api>, query: Query) -> Response {
    query.json(&[api.at(api.config.ports.rpc)])
}

pub(super) async fn regions(State(api): State<Api>, query: Query) -> Response {
    query.json(&[&api.config.region])
}

pub(super) async fn raft_configuration(
    State(api): State<Api>,
    query: Query,
) -> Result<Response, Failure> {
    let index = api.server()?.state.now().index_of(Topic::Nodes);
    let address = api.at(api.config.ports.rpc);
    Ok(query.json(&json!({
        "Index": index,
        "Servers": [{
            "ID": api.identity.node_id,
            "Node": format!("{}.{}", api.identity.name, api.config.region),
            "Address": address,
            "Leader": true,
            "Voter": true,
            "RaftProtocol": "3",
        }],
    })))
}
