//! `Requests`: takes connections from other agents and answers what they ask.

mod conversation;

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};
use axum::Router;
use logic::model::{AllocReport, Node};
use logic::state::{Command, Reply, Store, Topic};
use ports::{Listener, Random};

use self::conversation::{Answers, Envelope, LIMITS, accept};
use super::Server;
use super::asked::{AskPreVote, AskRaft};
use super::cluster::Begin;
use super::consensus::{Consensus, Propose, ProposeError, ProposeFor};
use super::heartbeats::Heartbeat;
use super::leadership::TakeOver;
use super::reads::{AskReadIndex, ReadIndex};
use crate::api;
use crate::rpc::{ApiKind, HttpRequest, HttpResponse, NodeProof, Request, Response};
use crate::seal::Seal;

/// How long a node waits for this server to learn what another told it already.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long the leader may take over a heartbeat that is passed on.
const RELAY_WITHIN: Duration = Duration::from_millis(800);
/// No request waits longer than this for a change.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a request that waits for news asks whether there is a leader.
const LEADER_LOOK: Duration = Duration::from_secs(1);

/// The two HTTP APIs, for requests that other agents pass on.
#[derive(Clone)]
pub struct Routers {
    pub nomad: Router,
    pub consul: Router,
}

pub struct Requests {
    listener: Option<Box<dyn Listener>>,
    envelope: Envelope,
    answering: Answering,
}

#[derive(Clone)]
struct Answering {
    server: Server,
    routers: Routers,
    datacenter: String,
}

impl Requests {
    pub fn new(
        listener: Box<dyn Listener>,
        server: Server,
        routers: Routers,
        datacenter: String,
        seal: Seal,
        random: Random,
    ) -> Self {
        Self {
            listener: Some(listener),
            envelope: Envelope { seal, random },
            answering: Answering {
                server,
                routers,
                datacenter,
            },
        }
    }
}

impl Actor for Requests {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(listener) = self.listener.take() {
            let taking = accept(
                listener,
                LIMITS,
                self.envelope.clone(),
                self.answering.clone(),
            );
            ctx.spawn(taking.into_actor(self));
        }
    }
}

impl Answers for Answering {
    async fn answer(&self, request: Request) -> Response {
        self.respond(request).await
    }
}

impl Answering {
    async fn respond(&self, request: Request) -> Response {
        match request {
            Request::RegisterNode { node, catalog } => {
                self.register_node(Command::RegisterNode { node, catalog })
                    .await
            }
            Request::Heartbeat { proof } => self.heartbeat(proof).await,
            Request::WatchAllocs {
                proof,
                after,
                min_index,
                wait_ms,
            } => {
                self.watch_allocs(proof, after, min_index, wait(wait_ms))
                    .await
            }
            Request::ReportAllocs {
                proof,
                serial,
                reports,
            } => self.report(proof, serial, reports).await,
            Request::WatchCatalog { after, wait_ms } => {
                self.watch_catalog(after, wait(wait_ms)).await
            }
            Request::RegisterCatalogNode { node } => {
                self.propose(Command::RegisterCatalogNode { node }).await
            }
            Request::ChangeCatalog { change } => {
                self.propose(Command::ChangeCatalog { change }).await
            }
            Request::Http(request) => self.http(request).await,
            Request::Raft { to, .. } if to != self.server.standing.borrow().number => {
                Response::Refused("another server is meant".to_owned())
            }
            Request::Raft { request, .. } => match self.ask(AskRaft(request)).await {
                Some(response) => Response::Raft(Box::new(response)),
                None => stopping(),
            },
            Request::Propose(proposals) => match self.ask(ProposeFor(proposals)).await {
                Some(answers) => Response::Proposed(answers),
                None => stopping(),
            },
            Request::PreVote(asked) => Response::PreVote {
                granted: self.ask(AskPreVote(asked)).await.unwrap_or(false),
            },
            Request::Begin(servers) => done(self.ask(Begin(servers)).await),
            Request::ReadIndex => match self.ask(AskReadIndex).await {
                Some(Some(ReadIndex(index))) => Response::ReadIndex(index),
                Some(None) => not_leading(),
                None => stopping(),
            },
            Request::TakeOver => self
                .ask(TakeOver)
                .await
                .map_or_else(stopping, |()| Response::Done),
            Request::RemoveServer(id) if self.leads() => {
                done(Some(self.server.remove_peer(&id).await))
            }
            Request::Health if self.leads() => self.health().await,
            Request::RenewSession(id) if self.leads() => self.renew(id).await,
            Request::RemoveServer(_) | Request::Health | Request::RenewSession(_) => not_leading(),
        }
    }

    async fn watch_catalog(&self, after: u64, wait: Duration) -> Response {
        let changed = |store: &Store| store.index_of(Topic::Catalog) > after;
        let waiting = self.server.state.once(wait, changed);
        match self.while_led(waiting).await {
            Some(store) => Response::Catalog(store.catalog(&self.datacenter)),
            None => leaderless(),
        }
    }

    async fn renew(&self, session: String) -> Response {
        match self.server.renew_session(session).await {
            Ok(there) => Response::Renewed(there),
            Err(why) => Response::NoLeader(why),
        }
    }

    /// Asks the consensus actor; `None` if it has stopped.
    async fn ask<M>(&self, message: M) -> Option<M::Result>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Consensus: Handler<M>,
    {
        self.server.consensus.send(message).await.ok()
    }

    fn leads(&self) -> bool {
        self.server.standing.borrow().leads()
    }

    async fn health(&self) -> Response {
        match self.server.health().await {
            Ok(health) => Response::Health(health),
            Err(why) => Response::NoLeader(why),
        }
    }

    async fn register_node(&self, command: Command) -> Response {
        match self.server.consensus.send(Propose(command)).await {
            Ok(Ok(applied)) => Response::Registered {
                index: applied.index,
            },
            Ok(Err(ProposeError::Refused(refusal))) => Response::Refused(refusal.to_string()),
            Ok(Err(error)) => Response::NoLeader(error.to_string()),
            Err(_) => stopping(),
        }
    }

    async fn propose(&self, command: Command) -> Response {
        match self.server.consensus.send(Propose(command)).await {
            Ok(Ok(applied)) => match applied.reply {
                Reply::Superseded { serial } => Response::Superseded { serial },
                Reply::Done
                | Reply::Evaluated { .. }
                | Reply::Planned { .. }
                | Reply::Kv { .. }
                | Reply::Txn(_)
                | Reply::Session { .. }
                | Reply::Fired { .. }
                | Reply::DeploymentChanged { .. } => Response::Done,
            },
            Ok(Err(ProposeError::Refused(refusal))) => Response::Refused(refusal.to_string()),
            Ok(Err(error)) => Response::NoLeader(error.to_string()),
            Err(_) => stopping(),
        }
    }

    /// The node of a proof, if it is known and the proof is right.
    fn proven(&self, proof: &NodeProof) -> Result<std::sync::Arc<Node>, Response> {
        match self.server.state.now().node(&proof.node_id) {
            None => Err(Response::Unregistered),
            Some(node) if node.secret_id != proof.secret => Err(Response::Refused(
                "node secret ID does not match".to_owned(),
            )),
            Some(node) => Ok(node.clone()),
        }
    }

    /// Leases are the leader's; a node may send its heartbeats to any server.
    async fn heartbeat(&self, proof: NodeProof) -> Response {
        if !self.server.standing.borrow().surely_leads() {
            let Some(leader) = self.server.elsewhere() else {
                return not_leading();
            };
            let request = Request::Heartbeat { proof };
            let relayed = self
                .server
                .rpc
                .ask_at(&leader, &request, RELAY_WITHIN)
                .await;
            return relayed.unwrap_or_else(|error| Response::NoLeader(error.to_string()));
        }
        if let Err(response) = self.proven(&proof) {
            return response;
        }
        match self
            .server
            .heartbeats
            .send(Heartbeat {
                node_id: proof.node_id,
            })
            .await
        {
            Ok(Some(ttl)) => Response::Lease {
                ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            },
            Ok(None) => Response::Unregistered,
            Err(_) => stopping(),
        }
    }

    async fn watch_allocs(
        &self,
        proof: NodeProof,
        after: u64,
        min_index: u64,
        within: Duration,
    ) -> Response {
        let recent = |store: &logic::state::Store| store.index() >= min_index;
        let state = &self.server.state;
        if !recent(&*state.once(CATCH_UP_WITHIN, recent).await) {
            return Response::NoLeader("its state is older than what the node knows".to_owned());
        }
        if let Err(response) = self.proven(&proof) {
            return response;
        }
        let id = &proof.node_id;
        let changed = |store: &logic::state::Store| store.node_alloc_index(id) > after;
        let waiting = self.server.state.once(within, changed);
        let Some(store) = self.while_led(waiting).await else {
            return leaderless();
        };
        Response::Allocs {
            index: store.node_alloc_index(id),
            allocs: store.allocs_on_node(id).cloned().collect(),
        }
    }

    /// Waits for news only while there is a leader from whom they would come: an agent that waits
    /// at a server that is cut off would miss what the others decide.
    async fn while_led<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return Some(done),
                () = tokio::time::sleep(LEADER_LOOK) => {}
            }
            let now = self.server.world.clock.monotonic();
            if !self.server.standing.borrow().knows_leader(now) {
                return None;
            }
        }
    }

    async fn report(&self, proof: NodeProof, serial: u64, reports: Vec<AllocReport>) -> Response {
        if let Err(response) = self.proven(&proof) {
            return response;
        }
        self.propose(Command::ReportAllocs {
            node_id: proof.node_id,
            serial,
            reports,
        })
        .await
    }

    async fn http(&self, request: HttpRequest) -> Response {
        let router = match request.api {
            ApiKind::Nomad => self.routers.nomad.clone(),
            ApiKind::Consul => self.routers.consul.clone(),
        };
        let response = api::forward::answer(router, request).await;
        Response::Http(response.unwrap_or_else(|error| HttpResponse {
            status: 400,
            headers: Vec::new(),
            body: error.into_bytes(),
        }))
    }
}

fn stopping() -> Response {
    Response::NoLeader("the server is stopping".to_owned())
}

fn leaderless() -> Response {
    Response::NoLeader("this server hears from no leader".to_owned())
}

fn not_leading() -> Response {
    Response::NoLeader("this server doesn't lead".to_owned())
}

fn done(result: Option<Result<(), String>>) -> Response {
    match result {
        Some(Ok(())) => Response::Done,
        Some(Err(why)) => Response::Refused(why),
        None => stopping(),
    }
}

fn wait(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms).min(WAIT_MAX)
}
