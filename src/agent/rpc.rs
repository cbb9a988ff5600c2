//! What agents ask of servers, and the client side of asking.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use logic::catalog::Contents;
use logic::election::PreVote;
use logic::model::{AllocReport, Allocation, CatalogChange, CatalogNode, Node};
use ports::{Stream, World};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::server::{
    Applied, Health, Proposal, ProposeError, RaftRequest, RaftResponse, ServerNode,
};
use crate::wire;

/// How long a server may take to answer, beyond the time it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

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
    WatchAllocs {
        proof: NodeProof,
        after: u64,
        wait_ms: u64,
    },
    ReportAllocs {
        proof: NodeProof,
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
    Raft(Box<RaftRequest>),
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
            | Self::Raft(_)
            | Self::Propose(_)
            | Self::PreVote(_)
            | Self::Begin(_)
            | Self::ReadIndex
            | Self::TakeOver
            | Self::RemoveServer(_)
            | Self::Health => Duration::ZERO,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// The server knows no leader; another one may.
    NoLeader(String),
    Raft(Box<RaftResponse>),
    Proposed(Vec<Result<Applied, ProposeError>>),
    PreVote {
        granted: bool,
    },
    /// `None` while nothing was ever written.
    ReadIndex(Option<u64>),
    Health(Health),
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
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// `host:port`; the first is asked first.
    servers: Vec<String>,
    idle: BTreeMap<String, Vec<Box<dyn Stream>>>,
}

impl Rpc {
    pub fn new(world: World, servers: Vec<String>) -> Self {
        Self {
            world,
            shared: Arc::new(Mutex::new(Shared {
                servers,
                idle: BTreeMap::new(),
            })),
        }
    }

    pub fn servers(&self) -> Vec<String> {
        self.lock().servers.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the servers in turn; the one that answers is asked first from then on.
    pub async fn ask(&self, request: Request) -> Result<Response, Error> {
        let servers = self.servers();
        let mut last = "none is configured".to_owned();
        for server in servers {
            match self.ask_one(&server, &request).await {
                Ok(response) => {
                    self.prefer(&server);
                    return Ok(response);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::NoServer(last))
    }

    fn prefer(&self, server: &str) {
        let mut shared = self.lock();
        if let Some(at) = shared.servers.iter().position(|other| other == server) {
            shared.servers.rotate_left(at);
        }
    }

    async fn ask_one(&self, server: &str, request: &Request) -> Result<Response, Error> {
        let failed = |reason: String| Error::Failed {
            server: server.to_owned(),
            reason,
        };
        let idle = self.lock().idle.get_mut(server).and_then(Vec::pop);
        if let Some(stream) = idle
            && let Ok(response) = self.exchange(server, stream, request).await
        {
            return Ok(response);
        }
        // A connection that had been idle may have died unseen: only a fresh one's failure counts.
        let connecting = self.world.network.connect(server.to_owned());
        let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .map_err(|_| failed("connecting timed out".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        self.exchange(server, stream, request)
            .await
            .map_err(|error| failed(error.to_string()))
    }

    async fn exchange(
        &self,
        server: &str,
        mut stream: Box<dyn Stream>,
        request: &Request,
    ) -> Result<Response, wire::Error> {
        let exchange = async {
            wire::write_frame(&mut stream, request).await?;
            wire::read_frame(&mut stream).await
        };
        let within = request.may_wait() + ANSWER_WITHIN;
        let response = tokio::time::timeout(within, exchange)
            .await
            .map_err(|_| wire::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        self.lock()
            .idle
            .entry(server.to_owned())
            .or_default()
            .push(stream);
        Ok(response)
    }
}
