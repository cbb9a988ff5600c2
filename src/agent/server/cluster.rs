//! Which servers form the cluster: how it begins, and who joins and leaves later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{
    ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture,
    WrapFuture,
};
use logic::autopilot::{Configured, Heard, Situation, Step, decide};
use logic::membership::MemberStatus;
use logic::state::Command;
use openraft::ChangeMembers;

use super::consensus::{Consensus, ProposeAsLeader};
use super::raft::types::{Raft, ServerNode, number_of};
use crate::rpc::{Request, Response};

/// How often the servers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long another server may take to agree to a cluster's beginning.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
/// How long such an agreement holds.
const AGREED_FOR: Duration = Duration::from_secs(10);
/// How long a change of the servers may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);

/// Entries that a server's log may lack for it to vote.
const LAG_MAX: u64 = 100;
/// A log of this many bytes makes a snapshot due, and how long until the next look.
const SNAPSHOT_BYTES: u64 = 64 << 20;
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(10);

/// What this server remembers of the cluster's making.
#[derive(Default)]
pub(super) struct Cluster {
    next_look: Duration,
    /// The servers this one has agreed to begin a cluster with, and until when.
    agreed: Option<(Vec<ServerNode>, Duration)>,
    beginning: bool,
    changing: bool,
    founding: bool,
    snapshotting: bool,
    /// Each server's status in gossip, and since when.
    since: BTreeMap<String, (MemberStatus, Duration)>,
}

impl Consensus {
    pub(super) fn tend_cluster(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.monotonic();
        if self.cluster.next_look > now || self.reopening {
            return;
        }
        self.cluster.next_look = now + LOOK_EVERY;
        if self.standing.servers.is_empty() && self.log.last().is_none() {
            self.consider_beginning(ctx);
        }
        self.note_statuses(now);
        if self.standing.leads() && !self.cluster.changing && !self.handing_over {
            self.consider_servers(ctx);
        }
        if self.log.bytes() > SNAPSHOT_BYTES && !self.cluster.snapshotting {
            self.snapshot(ctx);
        }
    }

    /// A log that has grown large makes a snapshot due, however few entries it has.
    fn snapshot(&mut self, ctx: &mut Context<Self>) {
        self.cluster.snapshotting = true;
        let raft = self.raft.clone();
        let taking = async move { raft.trigger().snapshot().await };
        ctx.spawn(taking.into_actor(self).map(|_, _, ctx| {
            ctx.run_later(SNAPSHOT_AGAIN, |consensus, _| {
                consensus.cluster.snapshotting = false;
            });
        }));
    }

    /// Remembers since when each server has had its status.
    fn note_statuses(&mut self, now: Duration) {
        let members = self.gossip.members();
        let members = members.borrow();
        let mut since = BTreeMap::new();
        for known in members.servers(&self.config.region) {
            let before = self.cluster.since.get(&known.member.id);
            let same = before.filter(|(status, _)| *status == known.status);
            let at = same.map_or(now, |(_, at)| *at);
            since.insert(known.member.id.clone(), (known.status, at));
        }
        self.cluster.since = since;
    }

    fn situation(&self) -> Situation {
        let now = self.world.clock.monotonic();
        let last = self.standing.last_log.1;
        let configured = self.standing.servers.iter().map(|(number, (node, voter))| {
            let matched = self.standing.matched.get(number).copied().flatten();
            Configured {
                id: node.id.clone(),
                address: node.address.clone(),
                voter: *voter,
                caught_up: matched.is_some_and(|matched| matched + LAG_MAX >= last),
            }
        });
        let members = self.gossip.members();
        let members = members.borrow();
        let heard = members.servers(&self.config.region).map(|known| {
            let at = self.cluster.since.get(&known.member.id);
            Heard {
                member: known.member.clone(),
                status: known.status,
                since: at.map_or(Duration::ZERO, |(_, at)| now.saturating_sub(*at)),
            }
        });
        Situation {
            leader: self.me.id.clone(),
            bootstrap_expect: self.config.server.bootstrap_expect,
            configured: configured.collect(),
            heard: heard.collect(),
        }
    }

    /// Lets servers in that have come, and those out that have gone.
    fn consider_servers(&mut self, ctx: &mut Context<Self>) {
        let Some(step) = decide(&self.situation()) else {
            return;
        };
        let change = match step {
            Step::AddLearner(member) => {
                tracing::info!(server = member.name, "a server joins");
                ChangeServers::Add(ServerNode::from(&member))
            }
            Step::SetAddress(member) => {
                tracing::info!(server = member.name, "a server has moved");
                ChangeServers::Add(ServerNode::from(&member))
            }
            Step::Promote(id) => {
                tracing::info!(id, "a server votes from now on");
                ChangeServers::Promote(number_of(&id))
            }
            Step::Remove { id, reason } => {
                tracing::info!(id, reason, "a server is removed");
                ChangeServers::Remove(number_of(&id))
            }
        };
        self.cluster.changing = true;
        let changing = ctx.address().send(change);
        ctx.spawn(changing.into_actor(self).map(|changed, consensus, _| {
            consensus.cluster.changing = false;
            if let Ok(Err(why)) = changed {
                tracing::warn!(why, "the servers couldn't be changed");
            }
        }));
    }

    /// Begins a cluster once as many servers as expected know each other: the one whose id comes
    /// first asks all others, and begins if none of them belongs to a cluster already.
    fn consider_beginning(&mut self, ctx: &mut Context<Self>) {
        let expected = self.config.server.bootstrap_expect as usize;
        if self.cluster.beginning || expected == 0 {
            return;
        }
        let mut servers: Vec<ServerNode> = {
            let members = self.gossip.members();
            let members = members.borrow();
            members
                .alive_servers(&self.config.region)
                .filter(|member| member.bootstrap_expect as usize == expected)
                .map(ServerNode::from)
                .collect()
        };
        servers.sort_by(|one, other| one.id.cmp(&other.id));
        if servers.len() < expected || servers.first().is_none_or(|first| first.id != self.me.id) {
            return;
        }
        servers.truncate(expected);
        // What it agreed to before binds this server as it binds the others.
        if self.agree(servers.clone()).is_err() {
            return;
        }
        self.cluster.beginning = true;
        let (rpc, raft, me) = (self.rpc.clone(), self.raft.clone(), self.me.id.clone());
        let beginning = async move {
            for server in servers.iter().filter(|server| server.id != me) {
                let request = Request::Begin(servers.clone());
                match rpc.ask_at(&server.address, &request, AGREE_WITHIN).await {
                    Ok(Response::Done) => {}
                    Ok(Response::Refused(why)) => return Err(format!("{}: {why}", server.name)),
                    Ok(other) => return Err(format!("{} answers {other:?}", server.name)),
                    Err(error) => return Err(error.to_string()),
                }
            }
            begin(&raft, servers).await
        };
        ctx.spawn(beginning.into_actor(self).map(|began, consensus, _| {
            consensus.cluster.beginning = false;
            if let Err(why) = began {
                tracing::info!(why, "no cluster yet");
            }
        }));
    }

    fn agree(&mut self, servers: Vec<ServerNode>) -> Result<(), String> {
        let now = self.world.clock.monotonic();
        if self.log.last().is_some() || !self.standing.servers.is_empty() {
            return Err("it belongs to a cluster already".to_owned());
        }
        if !servers.iter().any(|server| server.id == self.me.id) {
            return Err("it isn't one of these servers".to_owned());
        }
        if let Some((agreed, until)) = &self.cluster.agreed
            && *until > now
            && *agreed != servers
        {
            return Err("it is about to begin a cluster with other servers".to_owned());
        }
        self.cluster.agreed = Some((servers, now + AGREED_FOR));
        Ok(())
    }

    /// Makes the first entry of a cluster's state.
    pub(super) fn found(&mut self, ctx: &mut Context<Self>) {
        if self.state.now().seed() != 0 || self.cluster.founding {
            return;
        }
        self.cluster.founding = true;
        let seed = self.world.random.next_u64().max(1);
        let founding = ctx.address().send(ProposeAsLeader(Command::Found { seed }));
        ctx.spawn(founding.into_actor(self).map(|_, consensus, _| {
            // If it failed, the next leader does it.
            consensus.cluster.founding = false;
        }));
    }
}

/// Writes the first entry of the log: who the servers are.
pub(super) async fn begin(raft: &Raft, servers: Vec<ServerNode>) -> Result<(), String> {
    let servers: BTreeMap<u64, ServerNode> = servers
        .into_iter()
        .map(|server| (number_of(&server.id), server))
        .collect();
    raft.initialize(servers)
        .await
        .map_err(|error| error.to_string())
}

/// Another server wants to begin a cluster with this one.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub(super) struct Begin(pub(super) Vec<ServerNode>);

impl Handler<Begin> for Consensus {
    type Result = MessageResult<Begin>;

    fn handle(&mut self, Begin(servers): Begin, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.agree(servers))
    }
}

/// One change of who the servers are; only the leader can make it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub(super) enum ChangeServers {
    /// A server gets the log, and doesn't vote yet. Also sets a server's new address.
    Add(ServerNode),
    Promote(u64),
    Remove(u64),
}

impl Handler<ChangeServers> for Consensus {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, change: ChangeServers, _: &mut Self::Context) -> Self::Result {
        let raft = self.raft.clone();
        let is_voter = |number: &u64| self.standing.is_voter(*number);
        let changes: Vec<ChangeMembers<u64, ServerNode>> = match change {
            ChangeServers::Add(node) => {
                let nodes = BTreeMap::from([(number_of(&node.id), node)]);
                vec![ChangeMembers::SetNodes(nodes)]
            }
            ChangeServers::Promote(number) => {
                vec![ChangeMembers::AddVoterIds(BTreeSet::from([number]))]
            }
            ChangeServers::Remove(number) => {
                let one = BTreeSet::from([number]);
                let voter = is_voter(&number).then(|| ChangeMembers::RemoveVoters(one.clone()));
                voter
                    .into_iter()
                    .chain([ChangeMembers::RemoveNodes(one)])
                    .collect()
            }
        };
        Box::pin(async move {
            let changing = async {
                for change in changes {
                    raft.change_membership(change, true)
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok(())
            };
            tokio::time::timeout(CHANGE_WITHIN, changing)
                .await
                .unwrap_or_else(|_| Err("a majority of the servers doesn't answer".to_owned()))
        })
    }
}
