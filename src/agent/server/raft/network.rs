//! How servers' logs talk to each other: over agent-to-agent requests, one connection a peer.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use ports::Clock;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::log_store::are_taken_back;
use super::types::{LogId, ServerNode, TypeConfig, Vote};
use crate::rpc::{Request, Response, Rpc};

/// What a server's log asks of another's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RaftRequest {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<TypeConfig>),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum RaftResponse {
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
}

/// Where a server is reached now, by its number; its configured address may be an old one.
pub(crate) type Directory = Rc<dyn Fn(u64) -> Option<String>>;

/// When each server last answered, by the monotonic clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contacts(Arc<Mutex<BTreeMap<u64, Duration>>>);

impl Contacts {
    fn note(&self, server: u64, at: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(server, at);
    }

    pub(crate) fn all(&self) -> BTreeMap<u64, Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) rpc: Rpc,
    pub(crate) directory: Directory,
    pub(crate) contacts: Contacts,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How long entries may take to reach a server and to be written there.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(60);
/// How often a server hears from its leader while large entries are on their way.
const BEACON_EVERY: Duration = Duration::from_millis(150);

/// Another server, as our log reaches it.
pub(crate) struct Peer {
    line: Line,
    under_way: Option<Exchange>,
}

#[derive(Clone)]
struct Line {
    network: Network,
    target: u64,
    address: String,
}

/// Entries on their way. openraft gives up after one heartbeat and asks for the same again; large
/// entries on a slow network would begin their way anew for ever.
struct Exchange {
    vote: Vote,
    prev: Option<LogId>,
    last: Option<LogId>,
    answer: JoinHandle<Result<RaftResponse, Unreachable>>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &ServerNode) -> Peer {
        let line = Line {
            network: self.clone(),
            target,
            address: node.address.clone(),
        };
        Peer {
            line,
            under_way: None,
        }
    }
}

type Failure<E> = RPCError<u64, ServerNode, E>;

impl Line {
    async fn ask(
        &self,
        request: RaftRequest,
        within: Duration,
    ) -> Result<RaftResponse, Unreachable> {
        let known = (self.network.directory)(self.target);
        let address = known.unwrap_or_else(|| self.address.clone());
        let request = Request::Raft {
            to: self.target,
            request: Box::new(request),
        };
        match self.network.rpc.ask_at(&address, &request, within).await {
            Ok(Response::Raft(response)) => {
                let now = self.network.clock.monotonic();
                self.network.contacts.note(self.target, now);
                Ok(*response)
            }
            Ok(other) => {
                let why = format!("{address} answered {other:?}");
                Err(Unreachable::new(&std::io::Error::other(why)))
            }
            Err(error) => Err(Unreachable::new(&error)),
        }
    }

    /// Sends entries, however long it takes, and lets the server hear from us meanwhile.
    async fn send(
        self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<RaftResponse, Unreachable> {
        let beacon = AppendEntriesRequest {
            vote: request.vote,
            prev_log_id: request.prev_log_id,
            leader_commit: None,
            entries: Vec::new(),
        };
        let asking = self.ask(RaftRequest::Append(request), EXCHANGE_WITHIN);
        tokio::pin!(asking);
        loop {
            let pause = tokio::time::sleep(BEACON_EVERY);
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                () = pause => {}
            }
            let beacon = RaftRequest::Append(beacon.clone());
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                _ = self.ask(beacon, BEACON_EVERY) => {}
            }
        }
    }

    fn wrong<E: std::error::Error>(&self) -> Failure<E> {
        let why = format!("{} answered something else", self.target);
        RPCError::Unreachable(Unreachable::new(&std::io::Error::other(why)))
    }

    fn remote<E: std::error::Error>(&self, error: E) -> Failure<E> {
        RPCError::RemoteError(RemoteError::new(self.target, error))
    }
}

impl Peer {
    /// Sends entries, or waits on for those that are on their way already.
    async fn exchange(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<RaftResponse, Unreachable> {
        let (vote, prev) = (request.vote, request.prev_log_id);
        let last = request.entries.last().map(|entry| entry.log_id);
        let same = |sent: &Exchange| (sent.vote, sent.prev) == (vote, prev) && sent.last <= last;
        let sent = match self.under_way.take().filter(same) {
            Some(sent) => sent,
            None => Exchange {
                vote,
                prev,
                last,
                answer: actix_rt::spawn(self.line.clone().send(request)),
            },
        };
        let sent = self.under_way.insert(sent);
        let stopped = |error| Err(Unreachable::new(&error));
        let answer = (&mut sent.answer).await.unwrap_or_else(stopped);
        let arrived = sent.last;
        self.under_way = None;
        Ok(match answer? {
            RaftResponse::Append(Ok(AppendEntriesResponse::Success)) if arrived < last => {
                RaftResponse::Append(Ok(AppendEntriesResponse::PartialSuccess(arrived)))
            }
            answer => answer,
        })
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure<RaftError<u64>>> {
        if are_taken_back(&request.entries) {
            let why = std::io::Error::other("this server leads no more");
            return Err(RPCError::Unreachable(Unreachable::new(&why)));
        }
        let answer = if request.entries.is_empty() {
            let heartbeat = RaftRequest::Append(request);
            self.line.ask(heartbeat, option.hard_ttl()).await?
        } else {
            self.exchange(request).await?
        };
        match answer {
            RaftResponse::Append(result) => result.map_err(|error| self.line.remote(error)),
            RaftResponse::Vote(_) | RaftResponse::Snapshot(_) => Err(self.line.wrong()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure<RaftError<u64>>> {
        let request = RaftRequest::Vote(request);
        match self.line.ask(request, option.hard_ttl()).await? {
            RaftResponse::Vote(result) => result.map_err(|error| self.line.remote(error)),
            RaftResponse::Append(_) | RaftResponse::Snapshot(_) => Err(self.line.wrong()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<RaftError<u64, InstallSnapshotError>>> {
        let request = RaftRequest::Snapshot(request);
        match self.line.ask(request, option.hard_ttl()).await? {
            RaftResponse::Snapshot(result) => result.map_err(|error| self.line.remote(error)),
            RaftResponse::Append(_) | RaftResponse::Vote(_) => Err(self.line.wrong()),
        }
    }

    fn backoff(&self) -> Backoff {
        // A peer that is back must hear of it before it thinks that nobody leads.
        Backoff::new(std::iter::repeat(Duration::from_millis(100)))
    }
}
