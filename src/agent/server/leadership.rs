//! Who leads: elections that are held only when they can be won, reads that are sure of their
//! leader, and a leader that hands over before it goes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use logic::election::{Effect, Input, PreVote};
use openraft::raft::AppendEntriesResponse;
use ports::World;

use super::consensus::{Consensus, Pump};
use super::raft::network::{Contacts, Network, RaftRequest, RaftResponse};
use super::raft::open::{self, Opened};
use super::standing::{Standing, address_of};
use crate::gossip::Gossip;
use crate::planted::{self, Planted};
use crate::published::Subscriber;
use crate::rpc::{Request, Response, Rpc};

/// A follower waits at least this long for its leader, and up to twice as long.
const SILENCE: Duration = Duration::from_millis(500);
/// How long another server may take to say whether it would vote.
const PRE_VOTE_WITHIN: Duration = Duration::from_millis(400);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long followers refuse to vote after they heard from a leader: openraft's lease.
pub(super) const LEASE: Duration = Duration::from_millis(400);
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);
/// Before a log that failed is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

impl Consensus {
    /// Hears of every change of the log's state.
    pub(super) fn follow_metrics(&mut self, ctx: &mut Context<Self>) {
        let generation = self.generation;
        let mut metrics = self.raft.metrics();
        let consensus = ctx.address();
        let following = async move {
            while metrics.changed().await.is_ok() {
                metrics.borrow_and_update();
                // A full mailbox does no harm: the next look comes with the next tick.
                consensus.try_send(MetricsChanged(generation)).ok();
            }
        };
        ctx.spawn(following.into_actor(self));
    }

    fn now(&self) -> Duration {
        self.world.clock.monotonic()
    }

    /// Brings the standing up to date, tells whom it concerns, and sees to elections.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        let failed = self.raft.metrics().borrow().running_state.clone().err();
        if let Some(error) = failed {
            self.reopen(&error.to_string(), ctx);
            self.stands(self.standing.without_leader(), ctx);
            return;
        }
        let now = self.now();
        let contacts = self.network.contacts.all();
        let last = self.log.last();
        let standing = Standing::of(&self.me, &self.raft, last, self.heard, &contacts, now);
        self.stands(standing, ctx);
        let voters = self.standing.voters().collect();
        self.step(Input::Voters(voters), ctx);
        let leads = self.standing.leader == Some(self.standing.number);
        // A leader that has lost its majority may be followed by another.
        if leads && self.standing.knows_leader(now) {
            self.step(Input::Leading { now }, ctx);
        } else if !leads {
            let most = u64::try_from(SILENCE.as_millis()).unwrap_or(u64::MAX);
            let extra = self.world.random.below(most);
            let timeout = SILENCE + Duration::from_millis(extra);
            self.step(Input::Tick { now, timeout }, ctx);
        }
    }

    /// How this server stands from now on.
    fn stands(&mut self, standing: Standing, ctx: &mut Context<Self>) {
        let changed = !standing.same_roles(&self.standing);
        let (led, leads) = (self.standing.leads(), standing.leads());
        if standing != self.standing {
            self.standing = standing;
            self.published.send_replace(Arc::new(self.standing.clone()));
        }
        if changed {
            self.note_change(led, leads, ctx);
            ctx.notify(Pump);
        }
    }

    fn note_change(&mut self, led: bool, leads: bool, ctx: &mut Context<Self>) {
        let name = |number: Option<u64>| {
            let node = number.and_then(|number| self.standing.servers.get(&number));
            node.map_or_else(|| "nobody".to_owned(), |(node, _)| node.name.clone())
        };
        tracing::info!(
            term = self.standing.term,
            leader = name(self.standing.leader),
            servers = self.standing.servers.len(),
            "the servers' cluster"
        );
        if led != leads {
            let leadership = self.standing.leadership();
            for follower in &self.followers {
                follower.do_send(leadership);
            }
            self.handing_over = false;
            if leads {
                self.found(ctx);
            }
        }
    }

    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        for effect in self.election.step(input) {
            match effect {
                Effect::AskPreVotes { round, voters } => self.ask_pre_votes(round, voters, ctx),
                Effect::Elect => self.elect(ctx),
            }
        }
    }

    fn elect(&mut self, ctx: &mut Context<Self>) {
        let raft = self.raft.clone();
        ctx.spawn(
            async move {
                if let Err(error) = raft.trigger().elect().await {
                    tracing::debug!(%error, "no election");
                }
            }
            .into_actor(self),
        );
    }

    fn pre_vote(&self) -> PreVote {
        PreVote {
            term: self.standing.term,
            last_log: self
                .log
                .last()
                .map_or((0, 0), |last| (last.leader_id.term, last.index)),
        }
    }

    fn ask_pre_votes(&mut self, round: u64, voters: Vec<u64>, ctx: &mut Context<Self>) {
        if planted::is(Planted::NoPreVote) {
            self.elect(ctx);
            return;
        }
        let asked = self.pre_vote();
        for voter in voters
            .into_iter()
            .filter(|voter| *voter != self.standing.number)
        {
            let configured = self
                .standing
                .servers
                .get(&voter)
                .map(|(node, _)| node.address.clone());
            let Some(address) = address_of(&self.gossip, voter).or(configured) else {
                continue;
            };
            let (rpc, request) = (self.rpc.clone(), Request::PreVote(asked.clone()));
            let asking = async move { rpc.ask_at(&address, &request, PRE_VOTE_WITHIN).await };
            ctx.spawn(asking.into_actor(self).map(move |answer, consensus, ctx| {
                let granted = matches!(answer, Ok(Response::PreVote { granted: true }));
                let answer = Input::PreVoteAnswer {
                    now: consensus.now(),
                    from: voter,
                    round,
                    granted,
                };
                consensus.step(answer, ctx);
            }));
        }
    }

    pub(super) fn would_vote(&self, asked: &PreVote) -> bool {
        let own = self.pre_vote();
        let leads = self.standing.leader == Some(self.standing.number)
            && self.standing.knows_leader(self.now());
        !leads && self.election.grants(self.now(), asked, own.last_log)
    }

    /// The leader is alive as soon as it sends something, however long that takes to be written,
    /// and whom this server is about to vote for is given time from now on.
    pub(super) fn hears(&mut self, request: &RaftRequest) {
        let append = match request {
            RaftRequest::Append(append) => append,
            RaftRequest::Vote(asked) => {
                let newer = asked.vote.leader_id().term > self.standing.term;
                if newer && asked.last_log_id >= self.log.last() {
                    let now = self.now();
                    let none = self.election.step(Input::Voted { now });
                    debug_assert!(none.is_empty(), "nobody elects who votes");
                }
                return;
            }
            RaftRequest::Snapshot(_) => return,
        };
        let from = append.vote.leader_id();
        if append.vote.committed
            && from.term == self.standing.term
            && self.standing.leader == Some(from.node_id)
            && from.node_id != self.standing.number
        {
            let now = self.now();
            self.heard = now;
            let none = self.election.step(Input::LeaderHeard { now });
            debug_assert!(none.is_empty(), "nobody elects when a leader is heard");
        }
    }

    /// A leader whose entries we take is alive; whom we voted for may become one.
    pub(super) fn heard(&mut self, response: &RaftResponse) {
        if let RaftResponse::Vote(Ok(vote)) = response
            && vote.vote_granted
        {
            let now = self.now();
            let none = self.election.step(Input::Voted { now });
            debug_assert!(none.is_empty(), "nobody elects who has just voted");
        }
        let alive = match response {
            RaftResponse::Append(Ok(
                AppendEntriesResponse::Success
                | AppendEntriesResponse::PartialSuccess(_)
                | AppendEntriesResponse::Conflict,
            )) => true,
            RaftResponse::Snapshot(Ok(response)) => {
                response.vote.leader_id.node_id != self.standing.number
            }
            RaftResponse::Append(_) | RaftResponse::Snapshot(_) | RaftResponse::Vote(_) => false,
        };
        if alive {
            let now = self.now();
            self.heard = now;
            let none = self.election.step(Input::LeaderHeard { now });
            debug_assert!(none.is_empty(), "nobody elects when a leader is heard");
        }
    }

    /// The log failed (a full disk, most likely): what is on disk is good, and is opened anew.
    fn reopen(&mut self, why: &str, ctx: &mut Context<Self>) {
        if !self.reopening {
            self.reopening = true;
            tracing::error!(
                why,
                "the log can't be written: it is opened again every second"
            );
            ctx.run_later(REOPEN_AFTER, Self::try_reopen);
        }
    }

    fn try_reopen(&mut self, ctx: &mut Context<Self>) {
        let failed = Opened {
            log: self.log.clone(),
            machine: self.machine.clone(),
            raft: self.raft.clone(),
        };
        let opening = open::reopen(
            self.world.clone(),
            Arc::clone(&self.config),
            self.standing.number,
            self.network.clone(),
            failed,
        );
        ctx.spawn(
            opening
                .into_actor(self)
                .map(|opened, consensus, ctx| match opened {
                    Ok(opened) => {
                        tracing::info!("the log is open again");
                        consensus.log = opened.log;
                        consensus.machine = opened.machine;
                        consensus.raft = opened.raft;
                        consensus.generation += 1;
                        consensus.reopening = false;
                        consensus.follow_metrics(ctx);
                    }
                    Err((error, _)) => {
                        tracing::debug!(%error, "the log can't be opened yet");
                        ctx.run_later(REOPEN_AFTER, Self::try_reopen);
                    }
                }),
        );
    }
}

/// How this server's log reaches the others.
pub(super) fn network(world: &World, rpc: &Rpc, gossip: &Gossip) -> Network {
    let gossip = gossip.clone();
    Network {
        rpc: rpc.clone(),
        directory: Rc::new(move |number| address_of(&gossip, number)),
        contacts: Contacts::default(),
        clock: Arc::clone(&world.clock),
    }
}

/// The log's state has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct MetricsChanged(u64);

impl Handler<MetricsChanged> for Consensus {
    type Result = ();

    fn handle(&mut self, MetricsChanged(generation): MetricsChanged, ctx: &mut Self::Context) {
        if generation == self.generation {
            self.look(ctx);
        }
    }
}

/// Another server hands leadership over to this one.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakeOver;

impl Handler<TakeOver> for Consensus {
    type Result = ();

    fn handle(&mut self, _: TakeOver, ctx: &mut Self::Context) {
        self.elect(ctx);
    }
}

/// Gives leadership, if this server has it, to another one; answered when that is done, or soon.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct HandOver;

impl Handler<HandOver> for Consensus {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: HandOver, ctx: &mut Self::Context) -> Self::Result {
        let number = self.standing.number;
        let members = self.gossip.members();
        let alive = |voter: u64| {
            let members = members.borrow();
            members
                .alive_servers(&self.config.region)
                .any(|member| super::raft::types::number_of(&member.id) == voter)
        };
        let successor = self
            .standing
            .voters()
            .filter(|voter| *voter != number && alive(*voter))
            .max_by_key(|voter| self.standing.matched.get(voter).copied().flatten());
        let Some(successor) = successor.filter(|_| self.standing.leads()) else {
            return Box::pin(async {});
        };
        let Some(address) = address_of(&self.gossip, successor) else {
            return Box::pin(async {});
        };
        tracing::info!(to = address, "hands leadership over");
        self.handing_over = true;
        let (raft, rpc) = (self.raft.clone(), self.rpc.clone());
        let mut standing: Subscriber<Arc<Standing>> = self.reader.clone();
        // Should nobody take over, everything goes on.
        ctx.run_later(HAND_OVER_WITHIN, |consensus, ctx| {
            consensus.handing_over = false;
            consensus.raft.runtime_config().heartbeat(true);
            ctx.notify(Pump);
        });
        Box::pin(async move {
            raft.runtime_config().heartbeat(false);
            tokio::time::sleep(LEASE + ASK_AGAIN).await;
            rpc.ask_at(&address, &Request::TakeOver, PRE_VOTE_WITHIN)
                .await
                .ok();
            let another = |standing: &Arc<Standing>| {
                standing
                    .leader
                    .is_some_and(|leader| leader != standing.number)
            };
            let handed = standing.wait_for(another);
            tokio::time::timeout(HAND_OVER_WITHIN, handed).await.ok();
        })
    }
}
