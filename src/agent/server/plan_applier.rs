//! `PlanApplier`: commits plans one after the other, each checked against the newest state.

use actix::{
    Actor, ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, WrapFuture, fut,
};
use logic::model::Plan;
use logic::schedule::verify::verify;
use logic::state::Command;

use super::consensus::{Consensus, Propose, ProposeError};
use crate::state::State;

/// A scheduler's plan. Answered with whether some of it was refused, so that the scheduler has to
/// look again; the rest is committed.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, ProposeError>")]
pub(super) struct SubmitPlan(pub(super) Plan);

pub struct PlanApplier {
    state: State,
    consensus: Addr<Consensus>,
}

impl PlanApplier {
    pub(super) fn new(state: State, consensus: Addr<Consensus>) -> Self {
        Self { state, consensus }
    }
}

impl Actor for PlanApplier {
    type Context = Context<Self>;
}

impl Handler<SubmitPlan> for PlanApplier {
    type Result = AtomicResponse<Self, Result<bool, ProposeError>>;

    fn handle(&mut self, SubmitPlan(plan): SubmitPlan, _: &mut Self::Context) -> Self::Result {
        let verified = verify(&self.state.now(), plan);
        for (node, reason) in &verified.refused {
            tracing::debug!(
                eval = verified.plan.eval_id,
                node,
                reason,
                "plan refused in part"
            );
        }
        let refused = !verified.refused.is_empty();
        if verified.plan.is_empty() {
            return AtomicResponse::new(Box::pin(fut::ready(Ok(refused))));
        }
        let propose = Propose(Command::ApplyPlan {
            plan: Box::new(verified.plan),
        });
        let committing = self.consensus.send(propose).into_actor(self);
        AtomicResponse::new(Box::pin(committing.map(
            move |committed, _, _| match committed {
                Ok(Ok(_)) => Ok(refused),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(ProposeError::Log("it is stopping".to_owned())),
            },
        )))
    }
}
