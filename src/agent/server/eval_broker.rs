//! `EvalBroker`: keeps evaluations in line, and starts one [`Evaluation`] actor for each when its
//! turn comes: the most urgent first, one at a time for each job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use logic::model::{self, EVAL_PENDING};
use ports::World;

use super::consensus::{Consensus, Leadership};
use super::evaluation::Evaluation;
use super::plan_applier::PlanApplier;
use crate::state::State;

/// Evaluations looked at side by side.
const IN_FLIGHT_MAX: usize = 8;
/// Before an evaluation that came to nothing is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Evaluations that wait for a scheduler.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Enqueue(pub Vec<model::Evaluation>);

/// What evaluations work with.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Equip {
    pub(super) consensus: Addr<Consensus>,
    pub(super) applier: Addr<PlanApplier>,
}

/// An evaluation has been dealt with.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Finished {
    pub(super) eval_id: String,
    pub(super) job_id: String,
    /// Of the broker, when the evaluation was started.
    pub(super) reign: u64,
}

/// Where in the line an evaluation stands: urgent ones first, then the oldest.
type Turn = (std::cmp::Reverse<i64>, u64, String);

pub struct EvalBroker {
    world: World,
    state: State,
    equipped: Option<Equip>,
    /// Only the leader schedules.
    leads: bool,
    /// Counts the times this server began to lead: what was started before doesn't count.
    reign: u64,
    ready: BTreeMap<Turn, model::Evaluation>,
    /// Jobs with an evaluation in flight.
    busy: BTreeSet<String>,
    /// Evaluations that have their time, until then.
    waiting: BTreeMap<String, model::Evaluation>,
}

impl EvalBroker {
    pub(super) fn new(world: World, state: State) -> Self {
        Self {
            world,
            state,
            equipped: None,
            leads: false,
            reign: 0,
            ready: BTreeMap::new(),
            busy: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn enqueue(&mut self, eval: model::Evaluation, ctx: &mut Context<Self>) {
        if !self.leads {
            return;
        }
        let wait = eval.wait_until.since(self.world.clock.now());
        if wait.is_zero() {
            self.waiting.remove(&eval.id);
            let turn = (
                std::cmp::Reverse(eval.priority),
                eval.create_index,
                eval.id.clone(),
            );
            self.ready.insert(turn, eval);
            return;
        }
        let id = eval.id.clone();
        if self.waiting.insert(id.clone(), eval).is_none() {
            ctx.run_later(wait, move |broker, ctx| {
                if let Some(eval) = broker.waiting.remove(&id) {
                    broker.enqueue(eval, ctx);
                    broker.start_next(ctx);
                }
            });
        }
    }

    /// An evaluation couldn't be brought to its end, for want of a majority most likely.
    fn try_later(&self, eval: model::Evaluation, ctx: &mut Context<Self>) {
        let reign = self.reign;
        ctx.run_later(AGAIN_AFTER, move |broker, ctx| {
            if broker.reign == reign {
                broker.enqueue(eval, ctx);
                broker.start_next(ctx);
            }
        });
    }

    fn start_next(&mut self, ctx: &mut Context<Self>) {
        let (true, Some(equipped)) = (self.leads, &self.equipped) else {
            return;
        };
        while self.busy.len() < IN_FLIGHT_MAX {
            let next = self
                .ready
                .iter()
                .find(|(_, eval)| !self.busy.contains(&eval.job_id))
                .map(|(turn, _)| turn.clone());
            let Some(eval) = next.and_then(|turn| self.ready.remove(&turn)) else {
                return;
            };
            self.busy.insert(eval.job_id.clone());
            Evaluation::new(
                self.world.clone(),
                self.state.clone(),
                eval,
                equipped.consensus.clone(),
                equipped.applier.clone(),
                ctx.address().recipient(),
                self.reign,
            )
            .start();
        }
    }
}

impl Actor for EvalBroker {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for EvalBroker {
    type Result = ();

    fn handle(&mut self, Enqueue(evals): Enqueue, ctx: &mut Self::Context) {
        for eval in evals {
            self.enqueue(eval, ctx);
        }
        self.start_next(ctx);
    }
}

impl Handler<Equip> for EvalBroker {
    type Result = ();

    fn handle(&mut self, equipment: Equip, ctx: &mut Self::Context) {
        self.equipped = Some(equipment);
        self.start_next(ctx);
    }
}

impl Handler<Leadership> for EvalBroker {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, ctx: &mut Self::Context) {
        self.ready.clear();
        self.waiting.clear();
        self.busy.clear();
        self.leads = leadership == Leadership::Leads;
        if self.leads {
            self.reign += 1;
            // What the leader before left undone.
            let pending: Vec<_> = self.state.now().pending_evals().cloned().collect();
            for eval in pending {
                self.enqueue(eval, ctx);
            }
            self.start_next(ctx);
        }
    }
}

impl Handler<Finished> for EvalBroker {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Self::Context) {
        if finished.reign == self.reign {
            self.busy.remove(&finished.job_id);
            let left = self
                .state
                .now()
                .eval(&finished.eval_id)
                .map(|eval| (**eval).clone());
            if let Some(eval) = left.filter(|eval| eval.status == EVAL_PENDING) {
                self.try_later(eval, ctx);
            }
            self.start_next(ctx);
        }
    }
}
