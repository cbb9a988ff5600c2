//! `StateStore`: holds the state, applies agreed entries to it, and publishes every new version.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult, Recipient};
use logic::schedule::verify::verify;
use logic::state::{Command, Entry, Store};

use super::eval_broker::Enqueue;
use super::raft::types::{Answers, Applied, Batch};
use crate::planted::{self, Planted};
use crate::published::Publisher;

/// Entries of the log that are agreed and durable, in order. Answered with what became of each.
#[derive(Message)]
#[rtype(result = "Vec<Answers>")]
pub(super) struct Apply(pub(super) Vec<Batch>);

/// A snapshot takes the state's place.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Replace(pub(super) Box<Store>);

pub struct StateStore {
    store: Store,
    newest: Publisher<Arc<Store>>,
    broker: Recipient<Enqueue>,
}

impl StateStore {
    pub(super) fn new(newest: Publisher<Arc<Store>>, broker: Recipient<Enqueue>) -> Self {
        Self {
            store: Store::default(),
            newest,
            broker,
        }
    }
}

impl StateStore {
    /// The planted mistake: what a check of the plan would leave out happens all the same.
    fn unchecked(&self, command: &Command) -> Option<Command> {
        let (true, Command::ApplyPlan { plan }) = (planted::is(Planted::StalePlanApplied), command)
        else {
            return None;
        };
        let refused = verify(&self.store, (**plan).clone()).refused;
        let left_out = plan
            .places
            .iter()
            .filter(|alloc| refused.contains_key(&alloc.node_id));
        let mut dump = self.store.dump();
        dump.allocs.extend(left_out.cloned().map(|mut alloc| {
            alloc.job = plan.job.clone().map(Arc::new);
            Arc::new(alloc)
        }));
        Some(Command::Restore {
            id: String::new(),
            staged: 0,
            dump: Box::new(dump),
        })
    }
}

impl Actor for StateStore {
    type Context = Context<Self>;
}

impl Handler<Apply> for StateStore {
    type Result = MessageResult<Apply>;

    fn handle(&mut self, Apply(batches): Apply, _: &mut Self::Context) -> Self::Result {
        let mut pending = Vec::new();
        let before = self.store.index();
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut of_batch = Answers::with_capacity(batch.proposals.len());
            for proposal in batch.proposals {
                let twice = planted::is(Planted::DoubleApplyAfterForwarding);
                let unchecked = self.unchecked(&proposal.command);
                let outcome = self.store.apply(Entry {
                    index: self.store.index() + 1,
                    at: batch.at,
                    proposal: if twice { String::new() } else { proposal.id },
                    command: proposal.command,
                });
                pending.extend(outcome.pending);
                if let Some(command) = unchecked {
                    self.store.apply(Entry {
                        index: self.store.index() + 1,
                        at: batch.at,
                        proposal: String::new(),
                        command,
                    });
                }
                of_batch.push(outcome.reply.map(|reply| Applied {
                    index: outcome.index,
                    reply,
                }));
            }
            answers.push(of_batch);
        }
        debug_assert_eq!(logic::invariants::check(&self.store), Ok(()));
        // Published before anybody is answered: who was answered can read what it wrote.
        if self.store.index() != before {
            self.newest.send_replace(Arc::new(self.store.clone()));
        }
        if !pending.is_empty() {
            self.broker.do_send(Enqueue(pending));
        }
        MessageResult(answers)
    }
}

impl Handler<Replace> for StateStore {
    type Result = ();

    fn handle(&mut self, Replace(store): Replace, _: &mut Self::Context) {
        self.store = *store;
        self.newest.send_replace(Arc::new(self.store.clone()));
    }
}
