//! How a server stands: who leads, who belongs to the cluster, how far the log is.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ServerState;

use super::consensus::Leadership;
use super::control::Peer;
use super::raft::types::{LogId, Raft, ServerNode, number_of};
use crate::gossip::Gossip;

/// A leader whose followers have been silent for this long doesn't know whether it still leads.
const QUORUM_WITHIN: Duration = Duration::from_millis(1_500);

/// One server's view of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub number: u64,
    pub term: u64,
    /// Whom this server takes for the leader.
    pub leader: Option<u64>,
    /// As the leader, this server has applied everything from before.
    ready: bool,
    /// When another leader was last heard from, by the monotonic clock.
    pub heard: Duration,
    /// On the leader: a majority has answered it lately.
    quorum: bool,
    /// By number; voters are true.
    pub servers: BTreeMap<u64, (ServerNode, bool)>,
    /// Term and index of the last entry of the log.
    pub last_log: (u64, u64),
    pub applied: Option<u64>,
    /// On the leader: how far each server's log is the same as its own.
    pub matched: BTreeMap<u64, Option<u64>>,
}

impl Standing {
    /// Of a server that doesn't know yet how it stands.
    pub(super) fn unknown(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// `heard` is when another leader was last heard from, `contacts` when each of the others last
    /// answered this server's log.
    pub(super) fn of(
        me: &ServerNode,
        raft: &Raft,
        last: Option<LogId>,
        heard: Duration,
        contacts: &BTreeMap<u64, Duration>,
        now: Duration,
    ) -> Self {
        let number = number_of(&me.id);
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader;
        let is_leader = leader == Some(number) && metrics.state == ServerState::Leader;
        let applied = metrics.last_applied;
        let ready = is_leader
            && applied.is_some_and(|applied| applied.leader_id.term == metrics.current_term);
        let membership = metrics.membership_config.membership();
        let servers = membership
            .nodes()
            .map(|(number, node)| {
                let voter = membership.voter_ids().any(|voter| voter == *number);
                (*number, (node.clone(), voter))
            })
            .collect();
        let lately = |voter: &u64| {
            let at = contacts.get(voter);
            *voter == number || at.is_some_and(|at| now.saturating_sub(*at) < QUORUM_WITHIN)
        };
        let (voters, answering) = (
            membership.voter_ids().count(),
            membership.voter_ids().filter(lately).count(),
        );
        let matched = metrics.replication.as_ref().map(|matched| {
            let index = |(number, log_id): (&u64, &Option<openraft::LogId<u64>>)| {
                (*number, log_id.map(|log_id| log_id.index))
            };
            matched.iter().map(index).collect()
        });
        Self {
            number,
            term: metrics.current_term,
            leader,
            ready,
            heard,
            quorum: is_leader && answering * 2 > voters,
            servers,
            last_log: last.map_or((0, 0), |last| (last.leader_id.term, last.index)),
            applied: applied.map(|applied| applied.index),
            matched: matched.unwrap_or_default(),
        }
    }

    /// Whether this server is the leader and knows everything its predecessors agreed on.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.number) && self.ready
    }

    /// Leads, and a majority has listened lately: nobody else leads in its place.
    pub fn surely_leads(&self) -> bool {
        self.leads() && self.quorum
    }

    /// Once the log has failed, whoever led doesn't any more.
    pub(super) fn without_leader(&self) -> Self {
        Self {
            leader: None,
            ready: false,
            quorum: false,
            ..self.clone()
        }
    }

    pub(super) fn leadership(&self) -> Leadership {
        if self.leads() {
            Leadership::Leads
        } else {
            Leadership::Follows
        }
    }

    /// The same servers, leader and term: what others care about.
    pub(super) fn same_roles(&self, other: &Self) -> bool {
        (self.leader, self.leads(), self.term) == (other.leader, other.leads(), other.term)
            && self.servers == other.servers
    }

    pub fn is_voter(&self, number: u64) -> bool {
        self.servers.get(&number).is_some_and(|(_, voter)| *voter)
    }

    pub fn voters(&self) -> impl Iterator<Item = u64> {
        self.servers
            .iter()
            .filter(|(_, (_, voter))| *voter)
            .map(|(number, _)| *number)
    }

    /// Whether there is a leader that a majority still listens to, as far as is known here.
    pub fn knows_leader(&self, now: Duration) -> bool {
        if self.leader == Some(self.number) {
            self.quorum
        } else {
            self.leader.is_some() && now.saturating_sub(self.heard) < QUORUM_WITHIN
        }
    }

    /// Where the leader is asked; `None` on the leader itself.
    pub(super) fn leader_address(&self, gossip: &Gossip) -> Option<String> {
        let leader = self.leader.filter(|leader| *leader != self.number)?;
        address_of(gossip, leader).or_else(|| {
            self.servers
                .get(&leader)
                .map(|(node, _)| node.address.clone())
        })
    }

    pub fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self
            .servers
            .iter()
            .map(|(number, (node, voter))| Peer {
                id: node.id.clone(),
                name: node.name.clone(),
                address: node.address.clone(),
                leader: self.leader == Some(*number),
                voter: *voter,
            })
            .collect();
        peers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        peers
    }
}

/// Where gossip says that a server is.
pub(super) fn address_of(gossip: &Gossip, number: u64) -> Option<String> {
    let members = gossip.members();
    let members = members.borrow();
    members
        .iter()
        .find(|known| known.member.server && number_of(&known.member.id) == number)
        .map(|known| known.member.rpc_address().to_string())
}
