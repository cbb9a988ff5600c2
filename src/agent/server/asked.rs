//! What other servers' logs ask of this one's.

use actix::{ActorFutureExt, Handler, Message, MessageResult, ResponseActFuture, WrapFuture};
use logic::election::PreVote;

use super::consensus::Consensus;
use super::raft::network::{RaftRequest, RaftResponse};

/// What another server's log asks of ours.
#[derive(Message)]
#[rtype(result = "RaftResponse")]
pub(super) struct AskRaft(pub(super) Box<RaftRequest>);

impl Handler<AskRaft> for Consensus {
    type Result = ResponseActFuture<Self, RaftResponse>;

    fn handle(&mut self, AskRaft(request): AskRaft, _: &mut Self::Context) -> Self::Result {
        self.hears(&request);
        let raft = self.raft.clone();
        let asking = async move {
            match *request {
                RaftRequest::Append(append) => {
                    RaftResponse::Append(raft.append_entries(append).await)
                }
                RaftRequest::Vote(vote) => RaftResponse::Vote(raft.vote(vote).await),
                RaftRequest::Snapshot(part) => {
                    RaftResponse::Snapshot(raft.install_snapshot(part).await)
                }
            }
        };
        Box::pin(asking.into_actor(self).map(|response, consensus, _| {
            consensus.heard(&response);
            response
        }))
    }
}

/// Another server asks whether this one would vote for it.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct AskPreVote(pub(super) PreVote);

impl Handler<AskPreVote> for Consensus {
    type Result = MessageResult<AskPreVote>;

    fn handle(&mut self, AskPreVote(asked): AskPreVote, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.would_vote(&asked))
    }
}
