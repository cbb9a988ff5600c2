//! Who is in the cluster and how this agent stands in it, as both APIs tell it.

use std::collections::BTreeSet;

use logic::membership::{Known, Member, MemberStatus, Members};
use serde_json::{Value, json};

use super::Api;
use crate::server::Server;

/// Everybody that gossip knows, by name.
pub(super) fn by_name(api: &Api) -> Vec<Known> {
    let members = api.gossip.members();
    let members = members.borrow();
    sorted(&members)
}

fn sorted(members: &Members) -> Vec<Known> {
    let mut known: Vec<_> = members.iter().cloned().collect();
    known.sort_by(|a, b| {
        let key = |known: &Known| (known.member.full_name(), known.member.id.clone());
        key(a).cmp(&key(b))
    });
    known
}

/// This agent, as gossip knows it; it always does.
pub(super) fn me(api: &Api) -> Known {
    let members = api.gossip.members();
    let known = members.borrow().get(&api.identity.node_id).cloned();
    known.unwrap_or_else(|| {
        let (config, identity) = (&api.config, &api.identity);
        let member = Member {
            id: identity.node_id.clone(),
            name: identity.name.clone(),
            region: config.region.clone(),
            datacenter: config.datacenter.clone(),
            address: identity.address,
            serf_port: config.ports.serf,
            rpc_port: config.ports.rpc,
            http_port: config.ports.http,
            server: config.server.enabled,
            bootstrap_expect: config.server.bootstrap_expect,
            version: identity.version.to_owned(),
            generation: 0,
        };
        Known {
            member,
            status: MemberStatus::Alive,
        }
    })
}

/// Where this agent finds servers: those alive in its region, or else those it was told of.
pub(super) fn servers(api: &Api) -> Vec<String> {
    let members = api.gossip.members();
    let alive: BTreeSet<_> = members
        .borrow()
        .alive_servers(&api.config.region)
        .map(|member| member.rpc_address().to_string())
        .collect();
    if alive.is_empty() {
        api.rpc.servers()
    } else {
        alive.into_iter().collect()
    }
}

fn told_by(api: &Api, own: &str, tell: impl Fn(&Member) -> Option<String>) -> Vec<String> {
    let members = api.gossip.members();
    let mut told: BTreeSet<_> = members
        .borrow()
        .iter()
        .filter(|known| known.status != MemberStatus::Left)
        .filter_map(|known| tell(&known.member))
        .collect();
    told.insert(own.to_owned());
    told.into_iter().collect()
}

/// The regions of all servers.
pub(super) fn regions(api: &Api) -> Vec<String> {
    told_by(api, &api.config.region, |member| {
        member.server.then(|| member.region.clone())
    })
}

/// The datacenters of this region's agents.
pub(super) fn datacenters(api: &Api) -> Vec<String> {
    told_by(api, &api.config.datacenter, |member| {
        (member.region == api.config.region).then(|| member.datacenter.clone())
    })
}

/// How many of these agents gossip knows in which state.
pub(super) fn gossip_stats(api: &Api, wanted: impl Fn(&Member) -> bool) -> Value {
    let mut known = by_name(api);
    known.retain(|known| wanted(&known.member));
    let count = |status| {
        let those = known.iter().filter(|known| known.status == status);
        those.count().to_string()
    };
    json!({
        "members": known.len().to_string(),
        "failed": count(MemberStatus::Failed),
        "left": count(MemberStatus::Left),
        "encrypted": (!api.config.encrypt.is_empty()).to_string(),
    })
}

/// How this server stands among the others.
pub(super) fn raft_stats(api: &Api, server: &Server) -> Value {
    let index = server.state.now().index().to_string();
    let peers = server.peers();
    let others = peers
        .iter()
        .filter(|peer| peer.voter && peer.id != api.identity.node_id);
    let state = match server.leader() {
        Some(leader) if leader.id == api.identity.node_id => "Leader",
        Some(_) => "Follower",
        None => "Candidate",
    };
    let contact = i64::try_from(server.last_contact().as_nanos()).unwrap_or(i64::MAX);
    let standing = server.standing.borrow().clone();
    let (last_term, last_index) = standing.last_log;
    let configuration = peers.iter().map(|peer| {
        let suffrage = if peer.voter { "Voter" } else { "Nonvoter" };
        let (id, address) = (&peer.id, &peer.address);
        format!("{{Suffrage:{suffrage} ID:{id} Address:{address}}}")
    });
    let configuration = configuration.collect::<Vec<_>>().join(" ");
    json!({
        "applied_index": index,
        "commit_index": index,
        "last_log_index": last_index.to_string(),
        "last_log_term": last_term.to_string(),
        "latest_configuration": format!("[{configuration}]"),
        "term": standing.term.to_string(),
        "last_contact": logic::duration::format(contact),
        "num_peers": others.count().to_string(),
        "state": state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: &str, name: &str, region: &str) -> (String, Known) {
        let member = Member {
            id: id.to_owned(),
            name: name.to_owned(),
            region: region.to_owned(),
            datacenter: "dc1".to_owned(),
            address: [10, 0, 0, 1].into(),
            serf_port: 4648,
            rpc_port: 4647,
            http_port: 4646,
            server: true,
            bootstrap_expect: 3,
            version: "0.1.0".to_owned(),
            generation: 1,
        };
        let status = MemberStatus::Alive;
        (id.to_owned(), Known { member, status })
    }

    #[test]
    fn members_are_listed_by_name_and_those_of_one_name_by_id() {
        let members = Members(
            [
                known("1", "b", "eu"),
                known("3", "a", "us"),
                known("2", "a", "us"),
                known("4", "a", "eu"),
            ]
            .into(),
        );
        let ids: Vec<_> = sorted(&members)
            .into_iter()
            .map(|known| known.member.id)
            .collect();
        assert_eq!(ids, ["4", "2", "3", "1"]);
    }
}
