//! How servers' logs talk to each other: over agent-to-agent requests, one connection a peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use ports::Clock;
use serde::{Deserialize, Serialize};

use super::types::{ServerNode, TypeConfig};
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
pub(crate) type Contacts = Rc<RefCell<BTreeMap<u64, Duration>>>;

#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) rpc: Rpc,
    pub(crate) directory: Directory,
    pub(crate) contacts: Contacts,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct Peer {
    network: Network,
    target: u64,
    address: String,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &ServerNode) -> Peer {
        Peer {
            network: self.clone(),
            target,
            address: node.address.clone(),
        }
    }
}

type Failure<E> = RPCError<u64, ServerNode, E>;

impl Peer {
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
                self.network.contacts.borrow_mut().insert(self.target, now);
                Ok(*response)
            }
            Ok(other) => {
                let why = format!("{address} answered {other:?}");
                Err(Unreachable::new(&std::io::Error::other(why)))
            }
            Err(error) => Err(Unreachable::new(&error)),
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

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure<RaftError<u64>>> {
        let request = RaftRequest::Append(request);
        match self.ask(request, option.hard_ttl()).await? {
            RaftResponse::Append(result) => result.map_err(|error| self.remote(error)),
            RaftResponse::Vote(_) | RaftResponse::Snapshot(_) => Err(self.wrong()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure<RaftError<u64>>> {
        match self
            .ask(RaftRequest::Vote(request), option.hard_ttl())
            .await?
        {
            RaftResponse::Vote(result) => result.map_err(|error| self.remote(error)),
            RaftResponse::Append(_) | RaftResponse::Snapshot(_) => Err(self.wrong()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<RaftError<u64, InstallSnapshotError>>> {
        let request = RaftRequest::Snapshot(request);
        match self.ask(request, option.hard_ttl()).await? {
            RaftResponse::Snapshot(result) => result.map_err(|error| self.remote(error)),
            RaftResponse::Append(_) | RaftResponse::Vote(_) => Err(self.wrong()),
        }
    }

    fn backoff(&self) -> Backoff {
        // A peer that is back must hear of it before it thinks that nobody leads.
        Backoff::new(std::iter::repeat(Duration::from_millis(100)))
    }
}
