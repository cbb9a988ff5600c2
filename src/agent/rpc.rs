//! What agents ask of servers, and the client side of asking.

mod pool;
mod serials;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use logic::catalog::Contents;
use logic::election::PreVote;
use logic::model::{AllocReport, Allocation, CatalogChange, CatalogNode, Node};
use ports::{Stream, World};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use self::pool::Pool;
pub(crate) use self::serials::Serials;
use crate::seal::Seal;
use crate::server::{
    Applied, Health, Proposal, ProposeError, RaftRequest, RaftResponse, ServerNode,
};
use crate::wire;

/// How long a server may take to answer, beyond the time it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A heartbeat goes to the next server sooner: several must fit into a lease.
const BEAT_WITHIN: Duration = Duration::from_secs(1);
/// A change needs a majority of the servers.
const CHANGE_WITHIN: Duration = Duration::from_secs(12);
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// Proves that a message comes from the node it speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProof {
    pub node_id: String,
    pub secret: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    RegisterNode {
        node: Box<Node>,
        catalog: CatalogNode,
    },
    Heartbeat {
        proof: NodeProof,
    },
    /// The node's allocations, once they differ from those at `after`; waits up to `wait_ms`.
    /// Answered only from a state at `min_index` or later.
    WatchAllocs {
        proof: NodeProof,
        after: u64,
        min_index: u64,
        wait_ms: u64,
    },
    ReportAllocs {
        proof: NodeProof,
        serial: u64,
        reports: Vec<AllocReport>,
    },
    /// The whole catalog, once it differs from that at `after`; waits up to `wait_ms`.
    WatchCatalog {
        after: u64,
        wait_ms: u64,
    },
    RegisterCatalogNode {
        node: CatalogNode,
    },
    ChangeCatalog {
        change: CatalogChange,
    },
    /// An HTTP API request that only a server can answer.
    Http(HttpRequest),
    // Between servers.
    /// What one server's log asks of another's.
    Raft {
        /// The number of the server that is meant: another may have come to its address.
        to: u64,
        request: Box<RaftRequest>,
    },
    /// Changes somebody asked another server for.
    Propose(Vec<Proposal>),
    /// Would it vote for the asker?
    PreVote(PreVote),
    /// Begins a cluster of these servers.
    Begin(Vec<ServerNode>),
    /// How far a state must be to hold everything that was acknowledged.
    ReadIndex,
    /// The leader is about to go; the one asked is to lead.
    TakeOver,
    /// Takes the server of this id or address out of the cluster.
    RemoveServer(String),
    /// How the servers are.
    Health,
    /// Lengthens a session's lease; only the leader can.
    RenewSession(String),
}

impl Request {
    fn may_wait(&self) -> Duration {
        match self {
            Self::WatchAllocs { wait_ms, .. } | Self::WatchCatalog { wait_ms, .. } => {
                Duration::from_millis(*wait_ms)
            }
            // Blocking queries wait up to ten minutes and a sixteenth of it.
            Self::Http(_) => Duration::from_secs(640),
            Self::RegisterNode { .. }
            | Self::Heartbeat { .. }
            | Self::ReportAllocs { .. }
            | Self::RegisterCatalogNode { .. }
            | Self::ChangeCatalog { .. }
            | Self::Raft { .. }
            | Self::Propose(_)
            | Self::PreVote(_)
            | Self::Begin(_)
            | Self::ReadIndex
            | Self::TakeOver
            | Self::RemoveServer(_)
            | Self::RenewSession(_)
            | Self::Health => Duration::ZERO,
        }
    }

    /// How long the answer may take.
    fn answer_within(&self) -> Duration {
        match self {
            Self::Heartbeat { .. } => BEAT_WITHIN,
            Self::RegisterNode { .. }
            | Self::WatchAllocs { .. }
            | Self::ReportAllocs { .. }
            | Self::WatchCatalog { .. }
            | Self::RegisterCatalogNode { .. }
            | Self::ChangeCatalog { .. }
            | Self::Http(_)
            | Self::Raft { .. }
            | Self::PreVote(_)
            | Self::Begin(_)
            | Self::ReadIndex
            | Self::TakeOver
            | Self::RenewSession(_)
            | Self::Health => ANSWER_WITHIN + self.may_wait(),
            Self::Propose(_) | Self::RemoveServer(_) => CHANGE_WITHIN,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    Done,
    /// The lease is renewed; the next heartbeat is due well before `ttl_ms` is over.
    Lease {
        ttl_ms: u64,
    },
    Allocs {
        index: u64,
        allocs: Vec<Arc<Allocation>>,
    },
    Catalog(Contents),
    Http(HttpResponse),
    /// The server doesn't know the node, or counts it as down: it must register again.
    Unregistered,
    Refused(String),
    /// The node is registered as of this index.
    Registered {
        index: u64,
    },
    /// What was said comes after something later, of this serial: it changed nothing.
    Superseded {
        serial: u64,
    },
    /// This server can't answer now (it knows no leader, or its state is too old); another may.
    NoLeader(String),
    Raft(Box<RaftResponse>),
    Proposed(Vec<Result<Applied, ProposeError>>),
    PreVote {
        granted: bool,
    },
    /// `None` while nothing was ever written.
    ReadIndex(Option<u64>),
    Health(Health),
    /// Whether there is such a session.
    Renewed(bool),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The API it belongs to.
    pub api: ApiKind,
    pub method: String,
    /// Path and query.
    pub path: String,
    pub body: Vec<u8>,
}

/// Which of the two HTTP APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiKind {
    /// Jobs and nodes, port 4646.
    #[default]
    Nomad,
    /// Catalog, port 8500.
    Consul,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("no server can be reached: {0}")]
    NoServer(String),
    #[error("server {server}: {reason}")]
    Failed { server: String, reason: String },
}

/// Asks servers, one after the other until one answers. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Rpc {
    world: World,
    seal: Seal,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// What the configuration names.
    configured: Vec<String>,
    /// `host:port`; the first is asked first.
    servers: Vec<String>,
    idle: Pool<Box<dyn Stream>>,
    /// Told when a server fails to answer: whoever waits for a change there should ask elsewhere.
    failing: BTreeMap<String, Arc<Notify>>,
}

/// Why a server gave no answer.
enum Silence {
    /// The connection broke: it may have died unseen while it was idle.
    Broken(String),
    /// There was no answer in time, or no connection.
    Dead(String),
}

impl Rpc {
    /// In the clear.
    pub fn new(world: World, servers: Vec<String>) -> Self {
        Self::sealed(world, Seal::None, servers)
    }

    /// With the cluster's key.
    pub fn sealed(world: World, seal: Seal, servers: Vec<String>) -> Self {
        Self {
            world,
            seal,
            shared: Arc::new(Mutex::new(Shared {
                configured: servers.clone(),
                servers,
                idle: Pool::new(),
                failing: BTreeMap::new(),
            })),
        }
    }

    pub fn servers(&self) -> Vec<String> {
        self.lock().servers.clone()
    }

    /// Replaces the servers that are known; if there are none, those of the configuration are
    /// asked. The one that is asked first stays so.
    pub fn set_servers(&self, servers: Vec<String>) {
        let mut shared = self.lock();
        let mut servers = if servers.is_empty() {
            shared.configured.clone()
        } else {
            servers
        };
        let first = shared.servers.first();
        if let Some(at) = servers.iter().position(|server| Some(server) == first) {
            servers.swap(0, at);
        }
        shared.idle.keep_only(&servers);
        shared.failing.retain(|server, failing| {
            let stays = servers.contains(server);
            if !stays {
                failing.notify_waiters();
            }
            stays
        });
        shared.servers = servers;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the servers in turn; the one that answers is asked first from then on.
    pub async fn ask(&self, request: Request) -> Result<Response, Error> {
        let mut last = "none is configured".to_owned();
        for server in self.servers() {
            match self.ask_one(&server, &request).await {
                Ok(Response::NoLeader(reason)) => last = format!("server {server}: {reason}"),
                Ok(response) => {
                    self.prefer(&server);
                    return Ok(response);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::NoServer(last))
    }

    /// Asks this server and no other.
    pub async fn ask_at(
        &self,
        server: &str,
        request: &Request,
        within: Duration,
    ) -> Result<Response, Error> {
        let asking = self.ask_one(server, request);
        tokio::time::timeout(within, asking)
            .await
            .unwrap_or_else(|_| {
                // It may just be slow, but if one connection died unseen, so did the others.
                self.lock().idle.close(server);
                Err(Error::Failed {
                    server: server.to_owned(),
                    reason: format!("no answer within {} ms", within.as_millis()),
                })
            })
    }

    fn prefer(&self, server: &str) {
        let mut shared = self.lock();
        if let Some(at) = shared.servers.iter().position(|other| other == server) {
            shared.servers.rotate_left(at);
        }
    }

    async fn ask_one(&self, server: &str, request: &Request) -> Result<Response, Error> {
        let failed = |reason: String| {
            self.give_up_on(server);
            Error::Failed {
                server: server.to_owned(),
                reason,
            }
        };
        let now = self.world.clock.monotonic();
        let idle = self.lock().idle.take(server, now);
        if let Some(stream) = idle {
            match self.exchange(server, stream, request).await {
                Ok(response) => return Ok(response),
                // A server keeps connections for longer than they are idle here: it has begun anew,
                // and whoever waits for its answer waits in vain. A fresh connection may do.
                Err(Silence::Broken(_)) => self.give_up_on(server),
                Err(Silence::Dead(reason)) => return Err(failed(reason)),
            }
        }
        let connecting = self.world.network.connect(server.to_owned());
        let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .map_err(|_| failed("connecting timed out".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        match self.exchange(server, stream, request).await {
            Ok(response) => Ok(response),
            Err(Silence::Broken(reason) | Silence::Dead(reason)) => Err(failed(reason)),
        }
    }

    /// Nothing more is sent on connections to a server that doesn't answer, and nobody goes on
    /// waiting for it.
    pub fn give_up_on(&self, server: &str) {
        let mut shared = self.lock();
        shared.idle.close(server);
        if let Some(failing) = shared.failing.get(server) {
            failing.notify_waiters();
        }
    }

    fn failing(&self, server: &str) -> Arc<Notify> {
        Arc::clone(self.lock().failing.entry(server.to_owned()).or_default())
    }

    async fn exchange(
        &self,
        server: &str,
        mut stream: Box<dyn Stream>,
        request: &Request,
    ) -> Result<Response, Silence> {
        let failing = self.failing(server);
        let exchange = async {
            wire::write_sealed(&mut stream, &self.seal, &self.world.random, request).await?;
            wire::read_sealed(&mut stream, &self.seal).await
        };
        let within = request.answer_within();
        let response: Result<Response, wire::Error> = tokio::select! {
            biased;
            response = tokio::time::timeout(within, exchange) => response.map_err(|_| {
                Silence::Dead(format!("no answer within {} ms", within.as_millis()))
            })?,
            () = failing.notified(), if !request.may_wait().is_zero() => {
                return Err(Silence::Dead("it stopped answering other requests".to_owned()));
            }
        };
        let response = response.map_err(|error| Silence::Broken(error.to_string()))?;
        let now = self.world.clock.monotonic();
        self.lock().idle.give_back(server, stream, now);
        Ok(response)
    }
}
