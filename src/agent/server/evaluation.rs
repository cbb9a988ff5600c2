//! `Evaluation`: one evaluation from pending to complete. Takes a snapshot, runs the scheduler,
//! submits the plan; if the plan is refused because the state moved on, starts over.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Recipient, WrapFuture,
};
use logic::id::Ids;
use logic::model::{self, EVAL_FAILED, EVAL_PENDING, TRIGGER_RETRY_FAILED};
use logic::schedule::{Decision, schedule};
use logic::state::{Command, Store};
use ports::World;

use super::consensus::{Consensus, ProposeAsLeader, ProposeError};
use super::eval_broker::Finished;
use super::plan_applier::{PlanApplier, SubmitPlan};
use crate::state::State;

/// Plans refused in a row before the evaluation gives up and is tried again later.
const ATTEMPTS_MAX: u32 = 10;
/// How much later.
const RETRY_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Evaluation {
    world: World,
    state: State,
    eval: model::Evaluation,
    consensus: Addr<Consensus>,
    applier: Addr<PlanApplier>,
    broker: Recipient<Finished>,
    reign: u64,
}

impl Evaluation {
    pub(super) fn new(
        world: World,
        state: State,
        eval: model::Evaluation,
        consensus: Addr<Consensus>,
        applier: Addr<PlanApplier>,
        broker: Recipient<Finished>,
        reign: u64,
    ) -> Self {
        Self {
            world,
            state,
            eval,
            consensus,
            applier,
            broker,
            reign,
        }
    }
}

impl Actor for Evaluation {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let run = Run {
            world: self.world.clone(),
            state: self.state.clone(),
            eval: self.eval.clone(),
            consensus: self.consensus.clone(),
            applier: self.applier.clone(),
        };
        ctx.spawn(
            run.run_to_the_end()
                .into_actor(self)
                .map(|(), evaluation, ctx| {
                    evaluation.broker.do_send(Finished {
                        eval_id: evaluation.eval.id.clone(),
                        job_id: evaluation.eval.job_id.clone(),
                        reign: evaluation.reign,
                    });
                    ctx.stop();
                }),
        );
    }
}

struct Run {
    world: World,
    state: State,
    eval: model::Evaluation,
    consensus: Addr<Consensus>,
    applier: Addr<PlanApplier>,
}

impl Run {
    async fn run_to_the_end(self) {
        // Still pending in the state: this leader tries again, or the next one does.
        if let Err(error) = self.attempts().await {
            tracing::info!(eval = self.eval.id, %error, "an evaluation is left for later");
        }
    }

    async fn attempts(&self) -> Result<(), ProposeError> {
        for attempt in 1..=ATTEMPTS_MAX {
            let snapshot = self.state.now();
            // Cancelled, or dealt with before: an evaluation is worked on once.
            if snapshot
                .eval(&self.eval.id)
                .is_none_or(|eval| eval.status != EVAL_PENDING)
            {
                return Ok(());
            }
            let decision = self.decide(&snapshot);
            if !decision.follow_ups.is_empty() {
                self.store(decision.follow_ups.clone()).await?;
            }
            let refused = if decision.plan.is_empty() {
                false
            } else {
                let plan = decision.plan.clone();
                self.applier
                    .send(SubmitPlan(plan))
                    .await
                    .map_err(stopped)??
            };
            if !refused {
                tracing::debug!(
                    eval = self.eval.id,
                    job = self.eval.job_id,
                    attempt,
                    "evaluated"
                );
                let done = [vec![decision.done], decision.blocked.into_iter().collect()].concat();
                return self.store(done).await;
            }
        }
        self.give_up().await
    }

    fn decide(&self, snapshot: &Store) -> Decision {
        let mut ids = Ids::at(self.world.random.next_u64(), snapshot.index());
        let began = self.world.clock.monotonic();
        let mut decision = schedule(snapshot, &self.eval, self.world.clock.now(), &mut ids);
        let took = self
            .world
            .clock
            .monotonic()
            .saturating_sub(began)
            .as_nanos();
        let each = took / (decision.plan.places.len().max(1) as u128);
        for alloc in &mut decision.plan.places {
            alloc.metrics.allocation_time = i64::try_from(each).unwrap_or(i64::MAX);
        }
        decision
    }

    async fn store(&self, evals: Vec<model::Evaluation>) -> Result<(), ProposeError> {
        let propose = ProposeAsLeader(Command::UpdateEvals { evals });
        self.consensus.send(propose).await.map_err(stopped)??;
        Ok(())
    }

    /// The state moves too fast: this evaluation fails, a new one tries again later.
    async fn give_up(&self) -> Result<(), ProposeError> {
        let next = model::Evaluation {
            id: self.world.random.uuid(),
            triggered_by: TRIGGER_RETRY_FAILED.to_owned(),
            previous_eval: self.eval.id.clone(),
            wait_until: self.world.clock.now().plus(RETRY_AFTER),
            ..self.eval.clone()
        };
        let failed = model::Evaluation {
            status: EVAL_FAILED.to_owned(),
            status_description: format!("its plan was refused {ATTEMPTS_MAX} times"),
            next_eval: next.id.clone(),
            ..self.eval.clone()
        };
        self.store(vec![failed, next]).await
    }
}

fn stopped(_: actix::MailboxError) -> ProposeError {
    ProposeError::Log("it is stopping".to_owned())
}
