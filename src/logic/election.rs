//! Pre-vote: a server that misses its leader asks the others whether they miss it too before it
//! stands for election. So one that was cut off comes back without unseating anybody.
//!
//! `now` is always a monotonic clock's time.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A server as the replicated log numbers it.
pub type ServerId = u64;

/// How long a leader is silent at least before anybody misses it.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// Random timeouts are drawn from [`TIMEOUT_MIN`] up to here.
pub const TIMEOUT_MAX: Duration = Duration::from_millis(1_000);

/// The place of an entry in the replicated log; the greater, the newer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    pub term: u64,
    pub index: u64,
}

/// "Would you vote for me?"
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVote {
    pub from: ServerId,
    /// Comes back with the answer.
    pub round: u64,
    /// The term it would stand in: one more than its own.
    pub term: u64,
    pub last_log: LogId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed: several times per [`TIMEOUT_MIN`]. `timeout_draw` is random, between
    /// [`TIMEOUT_MIN`] and [`TIMEOUT_MAX`].
    Tick {
        timeout_draw: Duration,
    },
    /// The leader of the newest term known sent something.
    LeaderHeard,
    PreVoteAnswer {
        from: ServerId,
        round: u64,
        granted: bool,
    },
    BecameLeader,
    /// This server leads, and a quorum has answered it.
    QuorumHeard,
    /// This server leads no more.
    LostLeadership,
    /// The servers that vote, this one included if it does.
    Voters(BTreeSet<ServerId>),
    /// The leader hands over to this server.
    Transfer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a [`PreVote`] with this round to each of these.
    AskPreVotes { round: u64, of: BTreeSet<ServerId> },
    /// Stand for election.
    Elect,
}

/// One server's view of who leads, and whether it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    me: ServerId,
    voters: BTreeSet<ServerId>,
    leading: bool,
    /// When a leader was last known: heard, or, on the leader itself, backed by a quorum.
    leader_at: Duration,
    /// When this server last did something about it.
    waiting_since: Duration,
    timeout: Duration,
    round: u64,
    /// Who granted the current round; `None`: no round is under way.
    granted: Option<BTreeSet<ServerId>>,
}

impl Election {
    /// A server that was just started: there may be a leader that it hasn't heard yet.
    pub fn new(me: ServerId, now: Duration, timeout_draw: Duration) -> Self {
        Self {
            me,
            voters: BTreeSet::new(),
            leading: false,
            leader_at: now,
            waiting_since: now,
            timeout: bounded(timeout_draw),
            round: 0,
            granted: None,
        }
    }

    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick { timeout_draw } => return self.tick(now, timeout_draw),
            Input::LeaderHeard => {
                self.leading = false;
                self.leader_known(now);
            }
            Input::PreVoteAnswer {
                from,
                round,
                granted,
            } => {
                if let Some(grants) = &mut self.granted
                    && granted
                    && round == self.round
                {
                    grants.insert(from);
                    return self.elect_if_granted();
                }
            }
            Input::BecameLeader => {
                self.leading = true;
                self.leader_known(now);
            }
            Input::QuorumHeard => {
                if self.leading {
                    self.leader_known(now);
                }
            }
            Input::LostLeadership => {
                self.leading = false;
                self.waiting_since = now;
            }
            Input::Voters(voters) => {
                self.voters = voters;
                return self.elect_if_granted();
            }
            Input::Transfer => {
                if self.may_stand() {
                    self.granted = None;
                    self.waiting_since = now;
                    return vec![Effect::Elect];
                }
            }
        }
        Vec::new()
    }

    /// Whether this server would vote for the asker.
    pub fn grants(&self, now: Duration, asker: &PreVote, own_last_log: LogId) -> bool {
        !self.has_leader(now) && asker.term > own_last_log.term && asker.last_log >= own_last_log
    }

    /// Whether a leader was heard (or, leading, a quorum) within [`TIMEOUT_MIN`].
    pub fn has_leader(&self, now: Duration) -> bool {
        now.saturating_sub(self.leader_at) < TIMEOUT_MIN
    }

    fn may_stand(&self) -> bool {
        !self.leading && self.voters.contains(&self.me)
    }

    fn leader_known(&mut self, now: Duration) {
        self.leader_at = now;
        self.waiting_since = now;
        self.granted = None;
    }

    fn tick(&mut self, now: Duration, timeout_draw: Duration) -> Vec<Effect> {
        if !self.may_stand() || now.saturating_sub(self.waiting_since) < self.timeout {
            return Vec::new();
        }
        self.waiting_since = now;
        self.timeout = bounded(timeout_draw);
        self.round += 1;
        self.granted = Some(BTreeSet::from([self.me]));
        let of: BTreeSet<ServerId> = self.others().collect();
        let elected = self.elect_if_granted();
        if elected.is_empty() {
            let round = self.round;
            return vec![Effect::AskPreVotes { round, of }];
        }
        elected
    }

    fn others(&self) -> impl Iterator<Item = ServerId> {
        let voters = self.voters.iter().copied();
        voters.filter(|voter| *voter != self.me)
    }

    fn elect_if_granted(&mut self) -> Vec<Effect> {
        let Some(granted) = &self.granted else {
            return Vec::new();
        };
        if !self.may_stand() || granted.intersection(&self.voters).count() * 2 <= self.voters.len()
        {
            return Vec::new();
        }
        self.granted = None;
        vec![Effect::Elect]
    }
}

fn bounded(timeout: Duration) -> Duration {
    timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
}

#[cfg(test)]
mod tests;
