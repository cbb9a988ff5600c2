//! Reads that are sure of their leader: a majority has to confirm that nobody else leads. Those
//! that come while one round is asked share the next one.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, MessageResponse, ResponseFuture,
    WrapFuture,
};
use tokio::sync::oneshot;

use super::consensus::Consensus;
use super::raft::types::Raft;
use super::standing::Standing;
use crate::planted::{self, Planted};
use crate::published::Subscriber;
use crate::rpc::{Request, Response, Rpc};

/// How long a read waits until it is known to see everything.
const LINEARIZE_WITHIN: Duration = Duration::from_secs(5);
/// How long the leader may take before it is asked once more.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Who waits for the next round, while one may be asked.
pub(super) struct Round<T> {
    waiting: Vec<oneshot::Sender<T>>,
    under_way: bool,
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            under_way: false,
        }
    }
}

impl<T: Clone> Round<T> {
    fn join(&mut self) -> oneshot::Receiver<T> {
        let (sender, answer) = oneshot::channel();
        self.waiting.push(sender);
        answer
    }

    /// Those whom the round that begins now is for, unless there are none or one is under way.
    fn begin(&mut self) -> Option<Vec<oneshot::Sender<T>>> {
        if self.under_way || self.waiting.is_empty() {
            return None;
        }
        self.under_way = true;
        Some(std::mem::take(&mut self.waiting))
    }

    fn end(&mut self, asked_for: Vec<oneshot::Sender<T>>, answer: &T) {
        self.under_way = false;
        for sender in asked_for {
            // Who asked may have given up.
            sender.send(answer.clone()).ok();
        }
    }
}

/// Answered once this server's state holds everything that was acknowledged before.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub(super) struct Linearize;

impl Handler<Linearize> for Consensus {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, _: Linearize, ctx: &mut Self::Context) -> Self::Result {
        if planted::is(Planted::ReadWithoutQuorum) {
            return Box::pin(async { Ok(()) });
        }
        let answer = self.reads.join();
        self.next_reads(ctx);
        Box::pin(async move {
            let answer = tokio::time::timeout(LINEARIZE_WITHIN, answer).await;
            answer.map_or_else(
                |_| Err(no_majority()),
                |answer| answer.unwrap_or_else(stopping),
            )
        })
    }
}

fn no_majority() -> String {
    "no server leads a majority".to_owned()
}

fn stopping(_: oneshot::error::RecvError) -> Result<(), String> {
    Err("the server is stopping".to_owned())
}

/// How far a server's state has to be before it may be read; `None` if it need not be anywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadIndex(pub(super) Option<u64>);

/// Asks the leader for that; `None` if it doesn't lead, or not surely.
#[derive(Message)]
#[rtype(result = "Option<ReadIndex>")]
pub(super) struct AskReadIndex;

impl Handler<AskReadIndex> for Consensus {
    type Result = ResponseFuture<Option<ReadIndex>>;

    fn handle(&mut self, _: AskReadIndex, ctx: &mut Self::Context) -> Self::Result {
        if !self.standing.leads() {
            return Box::pin(async { None });
        }
        let answer = self.indexes.join();
        self.next_indexes(ctx);
        Box::pin(async move { answer.await.ok().flatten() })
    }
}

impl Consensus {
    fn next_reads(&mut self, ctx: &mut Context<Self>) {
        let Some(asked_for) = self.reads.begin() else {
            return;
        };
        let reading = Reading {
            raft: self.raft.clone(),
            rpc: self.rpc.clone(),
            consensus: ctx.address(),
            standing: self.reader.clone(),
        };
        let reading = tokio::time::timeout(LINEARIZE_WITHIN, reading.finish());
        ctx.spawn(reading.into_actor(self).map(|done, consensus, ctx| {
            let done = done.unwrap_or_else(|_| Err(no_majority()));
            consensus.reads.end(asked_for, &done);
            consensus.next_reads(ctx);
        }));
    }

    fn next_indexes(&mut self, ctx: &mut Context<Self>) {
        let Some(asked_for) = self.indexes.begin() else {
            return;
        };
        let raft = self.raft.clone();
        let asking = async move {
            let within = tokio::time::timeout(LINEARIZE_WITHIN, raft.ensure_linearizable()).await;
            let read = within.ok()?.ok()?;
            Some(ReadIndex(read.map(|log_id| log_id.index)))
        };
        ctx.spawn(asking.into_actor(self).map(|index, consensus, ctx| {
            consensus.indexes.end(asked_for, &index);
            consensus.next_indexes(ctx);
        }));
    }
}

struct Reading {
    raft: Raft,
    rpc: Rpc,
    consensus: Addr<Consensus>,
    standing: Subscriber<Arc<Standing>>,
}

impl Reading {
    async fn finish(mut self) -> Result<(), String> {
        loop {
            let target = self.consensus.send(WhereToRead).await;
            let index = match target.map_err(|error| error.to_string())? {
                Target::Here => match self.raft.ensure_linearizable().await {
                    Ok(_) => return Ok(()),
                    Err(_) => None,
                },
                Target::Leader(address) => self.index_at(&address).await,
                Target::Nobody => None,
            };
            if let Some(ReadIndex(index)) = index {
                let applied = self.raft.wait(Some(LINEARIZE_WITHIN));
                let applied = applied.applied_index_at_least(index, "to be read").await;
                return applied.map(|_| ()).map_err(|error| error.to_string());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn index_at(&mut self, leader: &str) -> Option<ReadIndex> {
        let number = self.standing.borrow().leader;
        let asking = self.rpc.ask_at(leader, &Request::ReadIndex, ANSWER_WITHIN);
        // One that leads no more, or has no power, mustn't keep readers waiting.
        tokio::select! {
            biased;
            answer = asking => match answer {
                Ok(Response::ReadIndex(index)) => Some(ReadIndex(index)),
                Ok(_) | Err(_) => None,
            },
            _ = self.standing.wait_for(|standing| standing.leader != number) => None,
        }
    }
}

#[derive(Message)]
#[rtype(result = "Target")]
struct WhereToRead;

#[derive(MessageResponse)]
enum Target {
    Here,
    Leader(String),
    Nobody,
}

impl Handler<WhereToRead> for Consensus {
    type Result = Target;

    fn handle(&mut self, _: WhereToRead, _: &mut Self::Context) -> Self::Result {
        if self.standing.leader == Some(self.standing.number) {
            return Target::Here;
        }
        let address = self.standing.leader_address(&self.gossip);
        address.map_or(Target::Nobody, Target::Leader)
    }
}

#[cfg(test)]
mod tests {
    use super::Round;

    #[test]
    fn who_comes_while_a_round_is_asked_is_answered_by_the_next() {
        let mut round = Round::default();
        assert!(round.begin().is_none(), "nobody waits");
        let mut first = round.join();
        let asked_for = round.begin().expect("one waits");
        let mut late = round.join();
        let mut later = round.join();
        assert!(round.begin().is_none(), "one is under way");
        round.end(asked_for, &1);
        assert_eq!(first.try_recv(), Ok(1));
        assert!(
            late.try_recv().is_err(),
            "that round began too early for it"
        );
        let asked_for = round.begin().expect("two wait");
        round.end(asked_for, &2);
        assert_eq!((late.try_recv(), later.try_recv()), (Ok(2), Ok(2)));
    }
}
