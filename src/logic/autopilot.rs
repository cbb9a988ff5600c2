//! Which servers vote: what the leader does about servers that join, leave, fail and come back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::membership::{Member, MemberStatus};

/// How long a voter is silent before it counts as replaced.
const FAILED_VOTER_AFTER: Duration = Duration::from_secs(10);
/// How long a learner that failed may take to come back.
const FAILED_LEARNER_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// A server as the configuration of the replicated log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node's id, a UUID.
    pub id: String,
    pub name: String,
    /// `host:port` of agent-to-agent requests.
    pub address: String,
    pub voter: bool,
    /// Whether it has (almost) all of the log. Of no interest for voters.
    pub caught_up: bool,
}

/// A server as gossip has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub member: Member,
    pub status: MemberStatus,
    /// How long it has had this status.
    pub lasted: Duration,
}

/// All that the leader knows of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The leader's own id.
    pub me: String,
    /// How long it has led.
    pub led_for: Duration,
    pub region: String,
    pub bootstrap_expect: u32,
    pub peers: Vec<Peer>,
    /// By id.
    pub members: BTreeMap<String, Seen>,
    /// Whether a change of the voters isn't committed yet.
    pub changing: bool,
}

/// Why a server is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Left,
    /// It failed, and there are enough voters without it.
    Replaced,
    /// It failed before it was a voter, and didn't come back.
    Abandoned,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "it left",
            Self::Replaced => "it failed and was replaced",
            Self::Abandoned => "it failed before it was a voter",
        })
    }
}

/// What the leader changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    AddLearner {
        id: String,
        name: String,
        address: String,
    },
    Promote {
        id: String,
    },
    SetAddress {
        id: String,
        address: String,
    },
    Remove {
        id: String,
        reason: Reason,
    },
}

/// What to do now, in this order. At most one of the steps changes the voters.
pub fn decide(situation: &Situation) -> Vec<Step> {
    let mut steps: Vec<Step> = new_addresses(situation).collect();
    steps.extend(newcomers(situation));
    steps.extend(gone_learners(situation));
    if !situation.changing {
        steps.extend(promotion(situation).or_else(|| removal(situation)));
    }
    steps
}

impl Situation {
    fn seen(&self, id: &str) -> Option<&Seen> {
        self.members
            .get(id)
            .filter(|seen| seen.member.server && seen.member.region == self.region)
    }

    fn alive(&self, id: &str) -> Option<&Member> {
        self.seen(id)
            .filter(|seen| seen.status == MemberStatus::Alive)
            .map(|seen| &seen.member)
    }

    fn is_alive(&self, id: &str) -> bool {
        id == self.me || self.alive(id).is_some()
    }

    fn left(&self, id: &str) -> bool {
        self.seen(id)
            .is_some_and(|seen| seen.status == MemberStatus::Left)
    }

    /// How long a server has been silent, if it has: one that gossip knows nothing of has been so
    /// at least since this server leads.
    fn silent_for(&self, id: &str) -> Option<Duration> {
        match self.seen(id) {
            None => Some(self.led_for),
            Some(seen) => (seen.status == MemberStatus::Failed).then_some(seen.lasted),
        }
    }

    fn voters(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.voter)
    }

    /// How many voters there are without one, and how many of them are alive.
    fn voters_without(&self, id: &str) -> (usize, usize) {
        let others = || self.voters().filter(|peer| peer.id != id);
        let alive = others().filter(|peer| self.is_alive(&peer.id));
        (others().count(), alive.count())
    }
}

/// Servers that came back with another address.
fn new_addresses(situation: &Situation) -> impl Iterator<Item = Step> {
    situation.peers.iter().filter_map(|peer| {
        let address = situation.alive(&peer.id)?.rpc_address().to_string();
        (address != peer.address).then(|| Step::SetAddress {
            id: peer.id.clone(),
            address,
        })
    })
}

fn newcomers(situation: &Situation) -> impl Iterator<Item = Step> {
    situation.members.keys().filter_map(|id| {
        let member = situation.alive(id)?;
        let known = situation.peers.iter().any(|peer| peer.id == *id);
        (!known).then(|| Step::AddLearner {
            id: id.clone(),
            name: member.full_name(),
            address: member.rpc_address().to_string(),
        })
    })
}

fn gone_learners(situation: &Situation) -> impl Iterator<Item = Step> {
    let learners = situation.peers.iter().filter(|peer| !peer.voter);
    learners.filter_map(|peer| {
        let silent = situation.silent_for(&peer.id);
        let reason = if situation.left(&peer.id) {
            Reason::Left
        } else if silent.is_some_and(|silent| silent >= FAILED_LEARNER_AFTER) {
            Reason::Abandoned
        } else {
            return None;
        };
        Some(Step::Remove {
            id: peer.id.clone(),
            reason,
        })
    })
}

fn promotion(situation: &Situation) -> Option<Step> {
    let mut learners = situation.peers.iter().filter(|peer| !peer.voter);
    let ready = learners.find(|peer| peer.caught_up && situation.is_alive(&peer.id))?;
    Some(Step::Promote {
        id: ready.id.clone(),
    })
}

/// The voter to take out, those that left first.
fn removal(situation: &Situation) -> Option<Step> {
    let others = || situation.voters().filter(|peer| peer.id != situation.me);
    let left = others()
        .filter(|peer| situation.left(&peer.id))
        .map(|peer| (peer, Reason::Left));
    let replaced = others()
        .filter(|peer| {
            let silent = situation.silent_for(&peer.id);
            let (_, alive) = situation.voters_without(&peer.id);
            silent.is_some_and(|silent| silent >= FAILED_VOTER_AFTER)
                && alive >= situation.bootstrap_expect as usize
        })
        .map(|peer| (peer, Reason::Replaced));
    let (peer, reason) = left.chain(replaced).find(|(peer, _)| {
        let (count, alive) = situation.voters_without(&peer.id);
        alive * 2 > count
    })?;
    Some(Step::Remove {
        id: peer.id.clone(),
        reason,
    })
}

#[cfg(test)]
mod tests;
