//! `/v1/agent/self`: what this agent is, how it is configured, and numbers about it.

use axum::extract::State;
use axum::response::Response;
use logic::config::AgentConfig;
use logic::model::NODE_READY;
use serde_json::{Value, json};

use super::query::Query;
use super::{Api, NOMAD_VERSION, agent, cluster};

/// What this agent is and how it is configured.
pub(super) async fn own(State(api): State<Api>, query: Query) -> Response {
    let member = if api.server.is_some() {
        agent::member(&cluster::me(&api))
    } else {
        json!({})
    };
    query.json(&json!({
        "config": config(&api),
        "member": member,
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
            "RetryJoin": config.join,
            "StartJoin": config.start_join,
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
    let mut stats = json!({ "serf": cluster::gossip_stats(api, |_| true) });
    if api.config.client.enabled {
        stats["client"] = json!({
            "node_id": api.identity.node_id,
            "known_servers": cluster::servers(api).join(","),
        });
    }
    if let Some(server) = &api.server {
        let leader = server.leader();
        let leads = leader
            .as_ref()
            .is_some_and(|leader| leader.id == api.identity.node_id);
        stats["nomad"] = json!({
            "server": "true",
            "bootstrap": (api.config.server.bootstrap_expect == 1).to_string(),
            "leader": leads.to_string(),
            "leader_addr": leader.map(|leader| leader.address).unwrap_or_default(),
            "known_regions": cluster::regions(api).len().to_string(),
        });
        stats["raft"] = cluster::raft_stats(api, server);
        let store = server.state.now();
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
