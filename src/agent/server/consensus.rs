//! `Consensus`: the only way to change the state. Takes proposals, gathers those that arrive
//! together into one entry of the log, and sees each through to its answer: on this server if it
//! leads, through the leader if not, again if leadership moves meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture,
    WrapFuture,
};
use logic::config::AgentConfig;
use logic::election::Election;
use logic::state::{Command, Refusal};
use ports::World;
use thiserror::Error;
use tokio::sync::oneshot;

use super::portion;
use super::raft::log_store::LogStore;
use super::raft::machine::Machine;
use super::raft::network::Network;
pub use super::raft::types::{Applied, Proposal};
use super::raft::types::{Batch, Raft, ServerNode, number_of};
use super::reads::{ReadIndex, Round};
use super::standing::Standing;
use crate::gossip::Gossip;
use crate::planted::{self, Planted};
use crate::published::{Publisher, Subscriber};
use crate::rpc::{Request, Response, Rpc};
use crate::state::State;
use crate::wire;

/// How long a change may wait for a leader, and for the leader's answer.
const PROPOSE_WITHIN: Duration = Duration::from_secs(10);
/// How long the leader tries for a server that passed a proposal on, which then asks again.
const FORWARDED_WITHIN: Duration = Duration::from_secs(4);
/// Entries of the log that are under way at once, and proposals in one.
const IN_FLIGHT_MAX: usize = 2;
const BATCH_MAX: usize = 128;
/// A larger one has no place in a message between servers.
const PROPOSAL_BYTES_MAX: usize = wire::FRAME_BYTES_MAX - (1 << 20);
/// How often leadership, deadlines and the log's size are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Before what couldn't be written is written again: a log that failed would fail at once.
const WRITE_AGAIN: Duration = Duration::from_millis(50);
/// Before what couldn't be passed on is passed on again.
const FORWARD_AGAIN: Duration = Duration::from_millis(50);

/// Asks for a change of the state, through whichever server leads. Answered when it is durable on
/// a majority of the servers and applied here or on the leader.
#[derive(Debug, Message)]
#[rtype(result = "Result<Applied, ProposeError>")]
pub struct Propose(pub Command);

/// Asks for a change that only makes sense while this server leads.
#[derive(Debug, Message)]
#[rtype(result = "Result<Applied, ProposeError>")]
pub(super) struct ProposeAsLeader(pub(super) Command);

/// Proposals that another server passes on.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Result<Applied, ProposeError>>")]
pub(super) struct ProposeFor(pub(super) Vec<Proposal>);

#[derive(Clone, Debug, PartialEq, Eq, Error, serde::Serialize, serde::Deserialize)]
pub enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Whether it happened isn't known; most likely it didn't.
    #[error("no cluster leader: {0}")]
    NoLeader(String),
    /// The log can't be written, or the server is stopping: whether it happened isn't known.
    #[error("the server could not write its log: {0}")]
    Log(String),
    #[error("a change of {0} bytes is too large: at most {PROPOSAL_BYTES_MAX} can be made at once")]
    TooLarge(usize),
}

pub struct Consensus {
    pub(super) world: World,
    pub(super) config: Arc<AgentConfig>,
    pub(super) me: ServerNode,
    pub(super) rpc: Rpc,
    pub(super) gossip: Gossip,
    pub(super) state: State,
    pub(super) log: LogStore,
    pub(super) machine: Machine,
    pub(super) raft: Raft,
    pub(super) network: Network,
    /// Counts the times the log was opened.
    pub(super) generation: u64,
    pub(super) standing: Standing,
    pub(super) published: Publisher<Arc<Standing>>,
    pub(super) followers: Vec<Recipient<Leadership>>,
    pub(super) election: Election,
    pub(super) cluster: super::cluster::Cluster,
    /// When another leader was last heard from, by the monotonic clock.
    pub(super) heard: Duration,
    /// The log failed and is being opened again.
    pub(super) reopening: bool,
    /// Reads what `published` says.
    pub(super) reader: Subscriber<Arc<Standing>>,
    /// No new entries while leadership is handed over.
    pub(super) handing_over: bool,
    pub(super) reads: Round<Result<(), String>>,
    pub(super) indexes: Round<Option<ReadIndex>>,
    waiting: BTreeMap<u64, Waiting>,
    proposed: u64,
    in_flight: usize,
    forwarding: bool,
}

/// Whether this server leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub(super) enum Leadership {
    Leads,
    Follows,
}

struct Waiting {
    proposal: Proposal,
    bytes: usize,
    reply_to: oneshot::Sender<Result<Applied, ProposeError>>,
    deadline: Duration,
    /// Not to be passed on to another server.
    here_only: bool,
    under_way: bool,
}

/// What a consensus actor is made of.
pub(super) struct Parts {
    pub(super) world: World,
    pub(super) config: Arc<AgentConfig>,
    pub(super) me: ServerNode,
    pub(super) rpc: Rpc,
    pub(super) gossip: Gossip,
    pub(super) state: State,
    pub(super) log: LogStore,
    pub(super) machine: Machine,
    pub(super) raft: Raft,
    pub(super) network: Network,
    pub(super) published: Publisher<Arc<Standing>>,
    pub(super) reader: Subscriber<Arc<Standing>>,
}

impl Consensus {
    pub(super) fn new(parts: Parts) -> Self {
        let number = number_of(&parts.me.id);
        let now = parts.world.clock.monotonic();
        Self {
            // What it is from the start is a change as well: others have to hear of it.
            standing: Standing::unknown(number),
            election: Election::new(number, now),
            world: parts.world,
            config: parts.config,
            me: parts.me,
            rpc: parts.rpc,
            gossip: parts.gossip,
            state: parts.state,
            log: parts.log,
            machine: parts.machine,
            raft: parts.raft,
            network: parts.network,
            generation: 0,
            published: parts.published,
            followers: Vec::new(),
            cluster: super::cluster::Cluster::default(),
            heard: now,
            reopening: false,
            reader: parts.reader,
            handing_over: false,
            reads: Round::default(),
            indexes: Round::default(),
            waiting: BTreeMap::new(),
            proposed: 0,
            in_flight: 0,
            forwarding: false,
        }
    }

    fn wait_for(
        &mut self,
        proposal: Proposal,
        within: Duration,
        here_only: bool,
    ) -> oneshot::Receiver<Result<Applied, ProposeError>> {
        let (reply_to, reply) = oneshot::channel();
        let bytes = wire::encoded_size(&proposal);
        if bytes > PROPOSAL_BYTES_MAX {
            // Whoever asked may have gone.
            reply_to.send(Err(ProposeError::TooLarge(bytes))).ok();
            return reply;
        }
        self.proposed += 1;
        let waiting = Waiting {
            proposal,
            bytes,
            reply_to,
            deadline: self.world.clock.monotonic() + within,
            here_only,
            under_way: false,
        };
        self.waiting.insert(self.proposed, waiting);
        reply
    }

    fn proposal(&self, command: Command) -> Proposal {
        Proposal {
            id: self.world.random.uuid(),
            command,
        }
    }

    /// Sends what waits on its way, if there is one.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.standing.leads() {
            while self.in_flight < IN_FLIGHT_MAX && !self.handing_over {
                let numbers = self.ready(|_| true);
                if numbers.is_empty() {
                    return;
                }
                self.write(numbers, ctx);
            }
            return;
        }
        let why = || ProposeError::NoLeader("this server doesn't lead".to_owned());
        let stranded: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.here_only && !waiting.under_way)
            .map(|(number, _)| *number)
            .collect();
        for number in stranded {
            self.answer(number, Err(why()));
        }
        if let Some(address) = self.standing.leader_address(&self.gossip)
            && !self.forwarding
        {
            let numbers = self.ready(|waiting| !waiting.here_only);
            if !numbers.is_empty() {
                self.pass_on(numbers, address, ctx);
            }
        }
    }

    /// The next proposals that aren't under way, which they are from now on.
    fn ready(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let waiting = self.waiting.iter_mut();
        let mut ready: Vec<_> = waiting
            .filter(|(_, waiting)| !waiting.under_way && wanted(waiting))
            .take(BATCH_MAX)
            .collect();
        let together = portion::of(ready.iter().map(|(_, waiting)| waiting.bytes));
        ready.truncate(together);
        for (_, waiting) in &mut ready {
            waiting.under_way = true;
        }
        ready.into_iter().map(|(number, _)| *number).collect()
    }

    fn proposals(&self, numbers: &[u64]) -> Vec<Proposal> {
        let of = |number| self.waiting.get(number).map(|waiting| &waiting.proposal);
        numbers.iter().filter_map(of).cloned().collect()
    }

    /// Writes proposals into the log.
    fn write(&mut self, numbers: Vec<u64>, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        let batch = Batch {
            at: self.world.clock.now(),
            proposals: self.proposals(&numbers),
        };
        let raft = self.raft.clone();
        let writing = async move { raft.client_write(batch).await };
        ctx.spawn(
            writing
                .into_actor(self)
                .map(move |written, consensus, ctx| {
                    consensus.in_flight -= 1;
                    match written {
                        Ok(written) => {
                            for (number, answer) in numbers.into_iter().zip(written.data) {
                                consensus.answer(number, answer.map_err(ProposeError::from));
                            }
                        }
                        // Whatever it was: the same proposals are made again, and happen once.
                        Err(error) => {
                            tracing::debug!(%error, "proposals have to be made again");
                            consensus.not_under_way(&numbers);
                            ctx.notify_later(Pump, WRITE_AGAIN);
                            return;
                        }
                    }
                    ctx.notify(Pump);
                }),
        );
    }

    /// Asks the leader to write proposals into the log.
    fn pass_on(&mut self, numbers: Vec<u64>, address: String, ctx: &mut Context<Self>) {
        self.forwarding = true;
        let mut proposals = self.proposals(&numbers);
        if planted::is(Planted::DoubleApplyAfterForwarding) {
            for proposal in &mut proposals {
                proposal.id = self.world.random.uuid();
            }
        }
        let rpc = self.rpc.clone();
        let within = FORWARDED_WITHIN + Duration::from_secs(1);
        let (leader, mut standing) = (self.standing.leader, self.reader.clone());
        let asking = async move {
            let request = Request::Propose(proposals);
            // One that leads no more, or has no power, would keep them all waiting.
            tokio::select! {
                biased;
                answer = rpc.ask_at(&address, &request, within) => answer.ok(),
                _ = standing.wait_for(|standing| standing.leader != leader) => None,
            }
        };
        ctx.spawn(asking.into_actor(self).map(move |answer, consensus, ctx| {
            consensus.forwarding = false;
            if let Some(Response::Proposed(answers)) = answer {
                for (number, answer) in numbers.iter().zip(answers) {
                    if matches!(answer, Ok(_) | Err(ProposeError::Refused(_))) {
                        consensus.answer(*number, answer);
                    }
                }
            }
            consensus.not_under_way(&numbers);
            let left = numbers
                .iter()
                .any(|number| consensus.waiting.contains_key(number));
            if left {
                ctx.notify_later(Pump, FORWARD_AGAIN);
            } else {
                ctx.notify(Pump);
            }
        }));
    }

    fn not_under_way(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(waiting) = self.waiting.get_mut(number) {
                waiting.under_way = false;
            }
        }
    }

    fn answer(&mut self, number: u64, answer: Result<Applied, ProposeError>) {
        if let Some(waiting) = self.waiting.remove(&number) {
            // Whoever asked may have gone.
            waiting.reply_to.send(answer).ok();
        }
    }

    fn give_up_overdue(&mut self, now: Duration) {
        let overdue: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.deadline <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in overdue {
            let why = "no answer from a majority of the servers in time".to_owned();
            self.answer(number, Err(ProposeError::NoLeader(why)));
        }
    }
}

impl Actor for Consensus {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4_096);
        self.follow_metrics(ctx);
        ctx.run_interval(TICK, |consensus, ctx| {
            let now = consensus.world.clock.monotonic();
            consensus.give_up_overdue(now);
            consensus.look(ctx);
            consensus.tend_cluster(ctx);
        });
    }
}

fn stopping<T>(_: T) -> ProposeError {
    ProposeError::Log("it is stopping".to_owned())
}

impl Handler<Propose> for Consensus {
    type Result = ResponseFuture<Result<Applied, ProposeError>>;

    fn handle(&mut self, Propose(command): Propose, ctx: &mut Self::Context) -> Self::Result {
        let proposal = self.proposal(command);
        let reply = self.wait_for(proposal, PROPOSE_WITHIN, false);
        // Behind the proposals that are in the mailbox already: they share the write.
        ctx.notify(Pump);
        Box::pin(async move { reply.await.map_err(stopping)? })
    }
}

impl Handler<ProposeAsLeader> for Consensus {
    type Result = ResponseFuture<Result<Applied, ProposeError>>;

    fn handle(&mut self, ask: ProposeAsLeader, ctx: &mut Self::Context) -> Self::Result {
        let proposal = self.proposal(ask.0);
        let reply = self.wait_for(proposal, PROPOSE_WITHIN, true);
        ctx.notify(Pump);
        Box::pin(async move { reply.await.map_err(stopping)? })
    }
}

impl Handler<ProposeFor> for Consensus {
    type Result = ResponseFuture<Vec<Result<Applied, ProposeError>>>;

    fn handle(
        &mut self,
        ProposeFor(proposals): ProposeFor,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let replies: Vec<_> = proposals
            .into_iter()
            .map(|proposal| self.wait_for(proposal, FORWARDED_WITHIN, true))
            .collect();
        ctx.notify(Pump);
        Box::pin(async move {
            let mut answers = Vec::with_capacity(replies.len());
            for reply in replies {
                answers.push(reply.await.map_err(stopping).and_then(|answer| answer));
            }
            answers
        })
    }
}

/// There may be something to send on its way.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Pump;

impl Handler<Pump> for Consensus {
    type Result = ();

    fn handle(&mut self, _: Pump, ctx: &mut Self::Context) {
        self.pump(ctx);
    }
}

/// Who wants to hear whether this server leads.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Follow(pub(super) Vec<Recipient<Leadership>>);

impl Handler<Follow> for Consensus {
    type Result = ();

    fn handle(&mut self, Follow(followers): Follow, _: &mut Self::Context) {
        let now = self.standing.leadership();
        for follower in &followers {
            follower.do_send(now);
        }
        self.followers = followers;
    }
}
