//! What operators ask of a server about the servers: who they are, how they are, their snapshots.

use std::time::Duration;

use super::Server;

/// A server as the replicated log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node's id, a UUID.
    pub id: String,
    pub name: String,
    /// `host:port` of agent-to-agent requests.
    pub address: String,
    pub leader: bool,
    pub voter: bool,
}

/// How one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHealth {
    pub peer: Peer,
    pub alive: bool,
    /// The leader heard from it that long ago; unknown if never.
    pub last_contact: Option<Duration>,
    pub last_term: u64,
    pub last_index: u64,
    pub healthy: bool,
}

/// How the servers are, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub healthy: bool,
    /// Voters that may fail before there is no quorum.
    pub failure_tolerance: usize,
    pub servers: Vec<PeerHealth>,
}

impl Server {
    /// The servers of the cluster, by name; from this server's own copy.
    pub fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    /// The server that leads, if this one knows of any.
    pub fn leader(&self) -> Option<Peer> {
        self.peers().into_iter().find(|peer| peer.leader)
    }

    /// When this server last heard from the leader; zero on the leader itself.
    pub fn last_contact(&self) -> Duration {
        Duration::ZERO
    }

    /// Takes a server, given by id or address, out of the cluster.
    pub async fn remove_peer(&self, id_or_address: &str) -> Result<(), String> {
        Err(format!("no server has the id or address {id_or_address}"))
    }

    pub async fn health(&self) -> Result<Health, String> {
        Ok(Health::default())
    }

    /// Waits until this server's state holds everything that was acknowledged before the call.
    pub async fn linearize(&self) -> Result<(), String> {
        Ok(())
    }

    /// The whole state as a file that `restore_snapshot` takes.
    pub async fn save_snapshot(&self) -> Result<Vec<u8>, String> {
        Err("no snapshots yet".to_owned())
    }

    /// Replaces the whole state, on all servers.
    pub async fn restore_snapshot(&self, _bytes: Vec<u8>) -> Result<(), String> {
        Err("no snapshots yet".to_owned())
    }
}
