//! Consul's `/v1/agent/*`: this agent, what is registered on its node, and the cluster's members.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use logic::membership::{Known, Member, MemberStatus};
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::Query;
use super::{Api, CONSUL_VERSION, cluster};

/// Serf's number for a member's state.
fn status(status: MemberStatus) -> u8 {
    match status {
        MemberStatus::Alive => 1,
        MemberStatus::Left => 3,
        MemberStatus::Failed => 4,
    }
}

pub(super) fn member(known: &Known) -> Value {
    let member = &known.member;
    let mut tags = json!({
        "acls": "0",
        "build": format!("{CONSUL_VERSION}:drover{}", member.version),
        "dc": member.datacenter,
        "id": member.id,
        "role": if member.server { "consul" } else { "node" },
        "segment": "",
        "vsn": "2",
        "vsn_max": "3",
        "vsn_min": "2",
    });
    if member.server {
        tags["port"] = json!(member.rpc_port.to_string());
        tags["expect"] = json!(member.bootstrap_expect.to_string());
        tags["raft_vsn"] = json!("3");
        tags["wan_join_port"] = json!(member.serf_port.to_string());
        tags["ft_fs"] = json!("1");
    }
    json!({
        "Name": member.name,
        "Addr": member.address.to_string(),
        "Port": member.serf_port,
        "Tags": tags,
        "Status": status(known.status),
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}

/// The agents of the datacenter; with `?wan` the servers of all, under their full names.
pub(super) async fn members(State(api): State<Api>, query: Query) -> Response {
    let known = cluster::by_name(&api);
    query.json(&if query.has("wan") {
        servers_everywhere(known)
    } else {
        agents_of(&api.config.datacenter, &known)
    })
}

fn agents_of(datacenter: &str, known: &[Known]) -> Vec<Value> {
    let here = |known: &&Known| known.member.datacenter == datacenter;
    known.iter().filter(here).map(member).collect()
}

fn servers_everywhere(known: Vec<Known>) -> Vec<Value> {
    let servers = known.into_iter().filter(|known| known.member.server);
    servers
        .map(|mut known| {
            let Member {
                name, datacenter, ..
            } = &known.member;
            known.member.name = format!("{name}.{datacenter}");
            member(&known)
        })
        .collect()
}

pub(super) async fn join(
    State(api): State<Api>,
    Path(address): Path<String>,
) -> Result<Response, Failure> {
    let joined = api.gossip.join(vec![address]).await;
    // Consul's clients expect nothing else for what they can't join.
    joined.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(StatusCode::OK.into_response())
}

/// Makes a failed member one that has left.
pub(super) async fn force_leave(
    State(api): State<Api>,
    Path(node): Path<String>,
) -> Result<Response, Failure> {
    let left = api.gossip.force_leave(&node).await;
    left.map_err(Failure::bad_request)?;
    Ok(StatusCode::OK.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, datacenter: &str, server: bool, status: MemberStatus) -> Known {
        let member = Member {
            id: format!("id of {name}"),
            name: name.to_owned(),
            region: "global".to_owned(),
            datacenter: datacenter.to_owned(),
            address: [10, 0, 0, 1].into(),
            serf_port: 8301,
            rpc_port: 8300,
            http_port: 0,
            server,
            bootstrap_expect: 3,
            version: "0.1.0".to_owned(),
            generation: 1,
        };
        Known { member, status }
    }

    /// Name, role and status of each.
    fn shown(members: &[Value]) -> Vec<(&str, &str, u64)> {
        let cells = members.iter().map(|member| {
            (
                member["Name"].as_str().unwrap_or_default(),
                member["Tags"]["role"].as_str().unwrap_or_default(),
                member["Status"].as_u64().unwrap_or_default(),
            )
        });
        cells.collect()
    }

    #[test]
    fn members_are_the_datacenters_agents_or_all_servers() {
        let all = vec![
            known("a", "dc1", true, MemberStatus::Alive),
            known("b", "dc1", false, MemberStatus::Failed),
            known("c", "dc2", true, MemberStatus::Left),
        ];
        assert_eq!(
            shown(&agents_of("dc1", &all)),
            [("a", "consul", 1), ("b", "node", 4)]
        );
        assert_eq!(
            shown(&servers_everywhere(all)),
            [("a.dc1", "consul", 1), ("c.dc2", "consul", 3)]
        );
    }
}
