//! The agents of a cluster, as one of them knows them from gossip.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What an agent says of itself to all others. Small: it travels in datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's id, a UUID.
    pub id: String,
    pub name: String,
    pub region: String,
    pub datacenter: String,
    pub address: IpAddr,
    /// Ports of gossip, of agent-to-agent requests and of the HTTP API.
    pub serf_port: u16,
    pub rpc_port: u16,
    pub http_port: u16,
    pub server: bool,
    /// Servers only: how many of them the cluster starts with.
    pub bootstrap_expect: u32,
    pub version: String,
    /// Greater after every start of the agent.
    pub generation: u64,
}

impl Member {
    pub fn rpc_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.rpc_port)
    }

    pub fn serf_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.serf_port)
    }

    /// The name of a server as the whole world knows it: `NAME.REGION`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.name, self.region)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStatus {
    Alive,
    /// Silent without having said goodbye.
    Failed,
    /// Said goodbye, or was made to leave.
    Left,
}

impl MemberStatus {
    /// As the anchors print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub member: Member,
    pub status: MemberStatus,
}

/// Everybody one agent has heard of, itself included, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<String, Known>);

impl Members {
    pub fn get(&self, id: &str) -> Option<&Known> {
        self.0.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.0.values()
    }

    /// The servers of a region, whatever their status.
    pub fn servers<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a Known> {
        self.iter()
            .filter(move |known| known.member.server && known.member.region == region)
    }

    pub fn alive_servers<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a Member> {
        self.servers(region)
            .filter(|known| known.status == MemberStatus::Alive)
            .map(|known| &known.member)
    }
}
