//! What openraft agrees on: batches of proposals, between servers.

use std::fmt;
use std::io::Cursor;

use logic::membership::Member;
use logic::state::{Command, Refusal, Reply};
use logic::time::Time;
use serde::{Deserialize, Serialize};

use super::runtime::SeededRuntime;

/// A change somebody asks for. Its id stays the same when it is proposed again, so that it happens
/// once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub id: String,
    pub command: Command,
}

/// Proposals that share one write of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's clock.
    pub at: Time,
    pub proposals: Vec<Proposal>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} proposals", self.proposals.len())
    }
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The state's index when it was applied.
    pub index: u64,
    pub reply: Reply,
}

/// What became of the proposals of a batch, in their order.
pub(crate) type Answers = Vec<Result<Applied, Refusal>>;

/// A server of the cluster as its log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerNode {
    /// The node's id, a UUID.
    pub id: String,
    pub name: String,
    /// `host:port` of agent-to-agent requests.
    pub address: String,
}

impl From<&Member> for ServerNode {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id.clone(),
            name: member.name.clone(),
            address: member.rpc_address().to_string(),
        }
    }
}

impl fmt::Display for ServerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Batch,
        R = Answers,
        NodeId = u64,
        Node = ServerNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = SeededRuntime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type LogEntry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type Membership = openraft::StoredMembership<u64, ServerNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, ServerNode>;

/// A server's number in the log's terms: the first eight bytes of its id.
pub(crate) fn number_of(id: &str) -> u64 {
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}
