//! `Consensus`: the only way to change the state. Gives each command its place in the log,
//! makes it durable, and hands it on to be applied.
//!
//! With one server, what is on its disk is agreed. Proposals that arrive while the disk is busy
//! share the next write.

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, ResponseFuture};
use logic::state::{Command, Entry, Refusal, Reply};
use ports::World;
use thiserror::Error;
use tokio::sync::oneshot;

use super::log::Log;
use super::state_store::{Apply, StateStore, TakeSnapshot};

/// Asks for a change of the state. Answered when it is durable and applied.
#[derive(Debug, Message)]
#[rtype(result = "Result<Applied, ProposeError>")]
pub struct Propose(pub Command);

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub index: u64,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log can't be written, or the server is stopping: whether it happened isn't known.
    #[error("the server could not write its log: {0}")]
    Log(String),
}

pub struct Consensus {
    world: World,
    log: Log,
    store: Addr<StateStore>,
    waiting: Vec<Waiting>,
    flush_due: bool,
    /// Why the log can't be written any more; reads go on, writes are refused.
    halted: Option<String>,
}

struct Waiting {
    command: Command,
    reply_to: oneshot::Sender<Result<Applied, ProposeError>>,
}

impl Consensus {
    pub(super) fn new(world: World, log: Log, store: Addr<StateStore>) -> Self {
        Self {
            world,
            log,
            store,
            waiting: Vec::new(),
            flush_due: false,
            halted: None,
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let at = self.world.clock.now();
        let (mut entries, mut reply_to) = (Vec::new(), Vec::new());
        for (index, waiting) in (self.log.last_index() + 1..).zip(self.waiting.drain(..)) {
            entries.push(Entry {
                index,
                at,
                command: waiting.command,
            });
            reply_to.push(waiting.reply_to);
        }
        if let Err(error) = self.log.append(&entries) {
            // Nothing may be promised that isn't on disk, and what is there isn't known any more.
            tracing::error!(%error, "the log can't be written: no more changes until a restart");
            self.halted = Some(error.to_string());
            for reply_to in reply_to {
                reply_to
                    .send(Err(ProposeError::Log(error.to_string())))
                    .ok();
            }
            return;
        }
        self.store.do_send(Apply { entries, reply_to });
        if self.log.wants_snapshot() {
            self.store.do_send(TakeSnapshot(ctx.address().recipient()));
        }
    }
}

impl Actor for Consensus {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4_096);
    }
}

impl Handler<Propose> for Consensus {
    type Result = ResponseFuture<Result<Applied, ProposeError>>;

    fn handle(&mut self, Propose(command): Propose, ctx: &mut Self::Context) -> Self::Result {
        if let Some(reason) = self.halted.clone() {
            return Box::pin(async move { Err(ProposeError::Log(reason)) });
        }
        let (reply_to, reply) = oneshot::channel();
        self.waiting.push(Waiting { command, reply_to });
        if !self.flush_due {
            self.flush_due = true;
            // Behind the proposals that are in the mailbox already: they share the write.
            ctx.notify(FlushDue);
        }
        Box::pin(async move {
            let stopped = |_| Err(ProposeError::Log("it is stopping".to_owned()));
            reply.await.unwrap_or_else(stopped)
        })
    }
}

/// The proposals that have gathered are to be written.
#[derive(Message)]
#[rtype(result = "()")]
struct FlushDue;

impl Handler<FlushDue> for Consensus {
    type Result = ();

    fn handle(&mut self, _: FlushDue, ctx: &mut Self::Context) {
        self.flush_due = false;
        self.flush(ctx);
    }
}

/// A snapshot of the state was taken: the log up to it can go.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SnapshotTaken(pub(super) Box<logic::state::Store>);

impl Handler<SnapshotTaken> for Consensus {
    type Result = ();

    fn handle(&mut self, SnapshotTaken(store): SnapshotTaken, _: &mut Self::Context) {
        if !self.log.wants_snapshot() {
            return;
        }
        match self.log.snapshot(&store) {
            Ok(()) => tracing::info!(index = store.index(), "snapshot taken"),
            Err(error) => tracing::error!(%error, "no snapshot could be taken"),
        }
    }
}
