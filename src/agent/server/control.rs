//! What operators ask of a server about the servers: who they are, how they are, their snapshots.

use std::time::Duration;

use logic::membership::MemberStatus;
use logic::state::{Command, Measure};
use serde::{Deserialize, Serialize};

use super::beside::beside;
use super::cluster::ChangeServers;
use super::consensus::Propose;
use super::leadership::HandOver;
use super::raft::types::number_of;
use super::reads::Linearize;
use super::{Server, portion, snapshot_file};
use crate::rpc::{Request, Response};
use crate::wire;

/// How long the leader may take to answer for all servers.
const ASK_WITHIN: Duration = Duration::from_secs(12);
/// A server whose log is further behind than this isn't healthy: Consul's own figure.
const LAG_MAX: u64 = 250;

/// A server as the replicated log knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub healthy: bool,
    /// Voters that may fail before there is no quorum.
    pub failure_tolerance: usize,
    pub servers: Vec<PeerHealth>,
}

impl Server {
    /// The servers of the cluster, by name; from this server's own copy.
    pub fn peers(&self) -> Vec<Peer> {
        self.standing.borrow().peers()
    }

    /// The server that leads, if this one knows of any that is still listened to.
    pub fn leader(&self) -> Option<Peer> {
        let standing = self.standing.borrow();
        if !standing.knows_leader(self.world.clock.monotonic()) {
            return None;
        }
        standing.peers().into_iter().find(|peer| peer.leader)
    }

    /// When this server last heard from the leader; zero on the leader itself.
    pub fn last_contact(&self) -> Duration {
        let standing = self.standing.borrow();
        if standing.leads() {
            return Duration::ZERO;
        }
        self.world.clock.monotonic().saturating_sub(standing.heard)
    }

    /// Takes a server, given by id or address, out of the cluster.
    pub async fn remove_peer(&self, id_or_address: &str) -> Result<(), String> {
        let peer = self
            .peers()
            .into_iter()
            .find(|peer| peer.id == id_or_address || peer.address == id_or_address)
            .ok_or_else(|| format!("no server has the id or address {id_or_address}"))?;
        if let Some(leader) = self.elsewhere() {
            let request = Request::RemoveServer(peer.id);
            return match self.rpc.ask_at(&leader, &request, ASK_WITHIN).await {
                Ok(Response::Done) => Ok(()),
                Ok(Response::Refused(why) | Response::NoLeader(why)) => Err(why),
                Ok(other) => Err(format!("the leader answers {other:?}")),
                Err(error) => Err(error.to_string()),
            };
        }
        let removing = self
            .consensus
            .send(ChangeServers::Remove(number_of(&peer.id)));
        removing.await.map_err(|error| error.to_string())?
    }

    pub async fn health(&self) -> Result<Health, String> {
        if let Some(leader) = self.elsewhere() {
            return match self.rpc.ask_at(&leader, &Request::Health, ASK_WITHIN).await {
                Ok(Response::Health(health)) => Ok(health),
                Ok(Response::NoLeader(why)) => Err(why),
                Ok(other) => Err(format!("the leader answers {other:?}")),
                Err(error) => Err(error.to_string()),
            };
        }
        if self.leader().is_none() {
            return Err("no server leads a majority".to_owned());
        }
        Ok(self.assess())
    }

    /// On the leader: how each server is, by gossip and by its log.
    fn assess(&self) -> Health {
        let (now, contacts) = (self.world.clock.monotonic(), self.contacts.all());
        let standing = self.standing.borrow();
        let members = self.gossip.members();
        let members = members.borrow();
        let servers: Vec<PeerHealth> = standing
            .peers()
            .into_iter()
            .map(|peer| {
                let known = members.get(&peer.id);
                let alive =
                    peer.leader || known.is_some_and(|known| known.status == MemberStatus::Alive);
                let matched = standing
                    .matched
                    .get(&number_of(&peer.id))
                    .copied()
                    .flatten();
                let last_index = if peer.leader {
                    standing.last_log.1
                } else {
                    matched.unwrap_or(0)
                };
                let healthy = alive && last_index + LAG_MAX >= standing.last_log.1;
                PeerHealth {
                    alive,
                    last_contact: if peer.leader {
                        Some(Duration::ZERO)
                    } else {
                        let at = contacts.get(&number_of(&peer.id));
                        at.map(|at| now.saturating_sub(*at))
                    },
                    last_term: standing.term,
                    last_index,
                    healthy,
                    peer,
                }
            })
            .collect();
        let voters = servers.iter().filter(|server| server.peer.voter).count();
        let up = servers
            .iter()
            .filter(|server| server.peer.voter && server.healthy)
            .count();
        Health {
            healthy: servers.iter().all(|server| server.healthy),
            failure_tolerance: up.saturating_sub(voters / 2 + 1),
            servers,
        }
    }

    /// Where the leader is, if that isn't this server.
    pub(super) fn elsewhere(&self) -> Option<String> {
        self.standing.borrow().leader_address(&self.gossip)
    }

    /// Waits until this server's state holds everything that was acknowledged before the call.
    pub async fn linearize(&self) -> Result<(), String> {
        let reading = self.consensus.send(Linearize).await;
        reading.map_err(|error| error.to_string())?
    }

    /// Lets another server lead, if this one does.
    pub async fn hand_over(&self) {
        self.consensus.send(HandOver).await.ok();
    }

    /// The whole state as a file that `restore_snapshot` takes.
    pub async fn save_snapshot(&self) -> Result<Vec<u8>, String> {
        self.linearize().await?;
        let (term, state) = (self.standing.borrow().term, self.state.now());
        let writing = beside(&self.world, move || snapshot_file::write(term, &state));
        writing.await.map_err(|error| error.to_string())?
    }

    /// Replaces the whole state, on all servers.
    pub async fn restore_snapshot(&self, bytes: Vec<u8>) -> Result<(), String> {
        let reading = beside(&self.world, move || {
            let dump = snapshot_file::read(&bytes)?.dump;
            Ok::<_, String>(dump.in_parts::<Encoded>(portion::BYTES_MAX))
        });
        let mut parts = reading.await.map_err(|error| error.to_string())??;
        let last = parts.pop().unwrap_or_default();
        let (id, staged) = (self.world.random.uuid(), parts.len());
        for part in parts {
            let (id, part) = (id.clone(), Box::new(part));
            self.propose(Command::StageRestore { id, part }).await?;
        }
        let dump = Box::new(last);
        self.propose(Command::Restore { id, staged, dump }).await
    }

    async fn propose(&self, command: Command) -> Result<(), String> {
        let proposed = self.consensus.send(Propose(command)).await;
        let proposed = proposed.map_err(|error| error.to_string())?;
        proposed.map(|_| ()).map_err(|error| error.to_string())
    }
}

struct Encoded;

impl Measure for Encoded {
    fn bytes<T: Serialize>(row: &T) -> usize {
        wire::encoded_size(row)
    }
}
