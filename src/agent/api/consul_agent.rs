//! Consul's `/v1/agent/*`: this agent, what is registered on its node, and the cluster's members.

use axum::extract::State;
use axum::response::Response;
use logic::catalog::Instance;
use logic::model::{CHECK_PASSING, CatalogNode, SERF_HEALTH};
use logic::state::{Store, Topic};
use serde_json::{Map, Value, json};

use super::errors::Failure;
use super::query::Query;
use super::{Api, CONSUL_VERSION, consul_json};

/// Serf's numbers for a member's state, as clients know them.
const MEMBER_ALIVE: u8 = 1;
const MEMBER_FAILED: u8 = 4;

/// Clients look for the gossip port here; the catalog's own is the same for all nodes.
fn member(api: &Api, name: &str, id: &str, address: &str, server: bool, alive: bool) -> Value {
    let mut tags = json!({
        "acls": "0",
        "build": format!("{CONSUL_VERSION}:drover{}", api.identity.version),
        "dc": api.config.datacenter,
        "id": id,
        "role": if server { "consul" } else { "node" },
        "segment": "",
        "vsn": "2",
        "vsn_max": "3",
        "vsn_min": "2",
    });
    if server {
        tags["port"] = json!(api.config.ports.rpc.to_string());
        tags["expect"] = json!(api.config.server.bootstrap_expect.to_string());
        tags["raft_vsn"] = json!("3");
    }
    json!({
        "Name": name,
        "Addr": address,
        "Port": api.config.ports.serf,
        "Tags": tags,
        "Status": if alive { MEMBER_ALIVE } else { MEMBER_FAILED },
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}

pub(super) async fn own(State(api): State<Api>, query: Query) -> Response {
    let (me, config) = (&api.identity, &api.config);
    let server = api.server.is_some();
    let address = me.address.to_string();
    let mut stats = json!({
        "build": { "prerelease": "", "revision": "", "version": CONSUL_VERSION },
        "consul": { "acl": "disabled", "server": server.to_string() },
    });
    if let Some(server) = &api.server {
        let index = server.state.now().index().to_string();
        stats["consul"]["leader"] = json!("true");
        stats["consul"]["leader_addr"] = json!(api.at(config.ports.rpc));
        stats["raft"] = json!({
            "applied_index": index,
            "commit_index": index,
            "last_log_index": index,
            "num_peers": "0",
            "state": "Leader",
        });
    }
    query.json(&json!({
        "Config": {
            "Datacenter": config.datacenter,
            "NodeID": me.node_id,
            "NodeName": me.name,
            "Revision": format!("drover {}", me.version),
            "Server": server,
            "Version": CONSUL_VERSION,
        },
        "DebugConfig": {
            "ACLsEnabled": false,
            "AdvertiseAddrLAN": address,
            "AdvertiseAddrWAN": address,
            "BindAddr": config.bind_addr.to_string(),
            "BootstrapExpect": config.server.bootstrap_expect,
            "DNSDomain": format!("{}.", config.catalog.domain),
            "DNSPort": config.catalog.dns_port,
            "DataDir": config.data_dir,
            "Datacenter": config.datacenter,
            "DevMode": config.dev_mode,
            "HTTPPort": config.catalog.http_port,
            "LeaveOnTerm": config.leave_on_terminate,
            "NodeID": me.node_id,
            "NodeName": me.name,
            "PrimaryDatacenter": config.datacenter,
            "SerfPortLAN": config.ports.serf,
            "ServerMode": server,
            "ServerPort": config.ports.rpc,
            // Clients that hold locks read the smallest TTL they may ask for.
            "SessionTTLMin": "10s",
            "Version": CONSUL_VERSION,
        },
        "Member": member(&api, &me.name, &me.node_id, &address, server, true),
        "Meta": { "consul-network-segment": "" },
        "Stats": stats,
    }))
}

/// All nodes of the catalog. The answering server is the one server there is.
pub(super) async fn members(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let store = api.server()?.state.now();
    let members: Value = store
        .catalog_nodes()
        .map(|node| {
            let server = node.node == api.identity.name;
            member(
                &api,
                &node.node,
                &node.id,
                &node.address,
                server,
                alive(&store, node),
            )
        })
        .collect();
    Ok(query.json(&members))
}

fn alive(store: &Store, node: &CatalogNode) -> bool {
    let health = store
        .checks_on(&node.node)
        .find(|check| check.check_id == SERF_HEALTH);
    health.is_none_or(|check| check.status == CHECK_PASSING)
}

/// What is registered on this agent's node, from its own replica of the catalog.
fn registered(api: &Api) -> Vec<Instance> {
    let view = api.view.borrow().clone();
    let all = view.services.values().flatten();
    all.filter(|instance| instance.node.node == api.identity.name)
        .cloned()
        .collect()
}

pub(super) async fn services(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    not_filtered(&query)?;
    let services: Map<String, Value> = registered(&api)
        .iter()
        .map(|Instance { service, .. }| {
            let value = consul_json::agent_service(service, &api.config.datacenter);
            (service.id.clone(), value)
        })
        .collect();
    Ok(query.json(&services))
}

pub(super) async fn checks(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    not_filtered(&query)?;
    let registered = registered(&api);
    let checks: Map<String, Value> = registered
        .iter()
        .flat_map(|instance| &instance.checks)
        .filter(|check| !check.service_id.is_empty())
        .map(|check| (check.check_id.clone(), consul_json::check(check)))
        .collect();
    Ok(query.json(&checks))
}

fn not_filtered(query: &Query) -> Result<(), Failure> {
    if query.has("filter") {
        Err(Failure::bad_request("`filter` isn't supported yet"))
    } else {
        Ok(())
    }
}

pub(super) async fn raft_configuration(
    State(api): State<Api>,
    query: Query,
) -> Result<Response, Failure> {
    let index = api.server()?.state.now().index_of(Topic::Nodes);
    Ok(query.json(&json!({
        "Index": index,
        "Servers": [{
            "ID": api.identity.node_id,
            "Node": api.identity.name,
            "Address": api.at(api.config.ports.rpc),
            "Leader": true,
            "ProtocolVersion": "3",
            "Voter": true,
        }],
    })))
}
