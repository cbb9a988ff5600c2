//! `StateStore`: holds the state, applies the log to it, and publishes every new version.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient};
use logic::state::{Entry, Store};
use tokio::sync::oneshot;

use super::consensus::{Applied, ProposeError, SnapshotTaken};
use super::eval_broker::Enqueue;
use crate::published::Publisher;

/// Entries that are agreed and durable, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Apply {
    pub(super) entries: Vec<Entry>,
    /// Who waits for each of them.
    pub(super) reply_to: Vec<oneshot::Sender<Result<Applied, ProposeError>>>,
}

/// Asks for a snapshot; it comes as [`SnapshotTaken`].
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakeSnapshot(pub(super) Recipient<SnapshotTaken>);

pub struct StateStore {
    store: Store,
    newest: Publisher<Arc<Store>>,
    broker: Recipient<Enqueue>,
}

impl StateStore {
    pub(super) fn new(
        store: Store,
        newest: Publisher<Arc<Store>>,
        broker: Recipient<Enqueue>,
    ) -> Self {
        Self {
            store,
            newest,
            broker,
        }
    }
}

impl Actor for StateStore {
    type Context = Context<Self>;
}

impl Handler<Apply> for StateStore {
    type Result = ();

    fn handle(&mut self, apply: Apply, _: &mut Self::Context) {
        let (mut replies, mut pending) = (Vec::new(), Vec::new());
        for entry in apply.entries {
            let index = entry.index;
            let outcome = self.store.apply(entry);
            pending.extend(outcome.pending);
            let applied = outcome.reply.map(|reply| Applied { index, reply });
            replies.push(applied.map_err(ProposeError::from));
        }
        debug_assert_eq!(logic::invariants::check(&self.store), Ok(()));
        // Published before anybody is answered: who was answered can read what it wrote.
        self.newest.send_replace(Arc::new(self.store.clone()));
        for (reply_to, reply) in apply.reply_to.into_iter().zip(replies) {
            // Who asked may have gone away; the change stands all the same.
            reply_to.send(reply).ok();
        }
        if !pending.is_empty() {
            self.broker.do_send(Enqueue(pending));
        }
    }
}

impl Handler<TakeSnapshot> for StateStore {
    type Result = ();

    fn handle(&mut self, TakeSnapshot(taker): TakeSnapshot, _: &mut Self::Context) {
        taker.do_send(SnapshotTaken(Box::new(self.store.clone())));
    }
}
