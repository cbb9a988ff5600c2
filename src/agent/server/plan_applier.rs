//! `PlanApplier`: commits plans one after the other. Each is checked when it is applied, against
//! the state it then meets.

use actix::{Actor, ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, WrapFuture};
use logic::model::Plan;
use logic::state::{Command, Reply};

use super::consensus::{Consensus, ProposeAsLeader, ProposeError};

/// A scheduler's plan. Answered with whether some of it was refused, so that the scheduler has to
/// look again; the rest is committed.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, ProposeError>")]
pub(super) struct SubmitPlan(pub(super) Plan);

pub struct PlanApplier {
    consensus: Addr<Consensus>,
}

impl PlanApplier {
    pub(super) fn new(consensus: Addr<Consensus>) -> Self {
        Self { consensus }
    }
}

impl Actor for PlanApplier {
    type Context = Context<Self>;
}

impl Handler<SubmitPlan> for PlanApplier {
    type Result = AtomicResponse<Self, Result<bool, ProposeError>>;

    fn handle(&mut self, SubmitPlan(plan): SubmitPlan, _: &mut Self::Context) -> Self::Result {
        let eval = plan.eval_id.clone();
        let propose = ProposeAsLeader(Command::ApplyPlan {
            plan: Box::new(plan),
        });
        let committing = self.consensus.send(propose).into_actor(self);
        AtomicResponse::new(Box::pin(committing.map(
            move |committed, _, _| match committed {
                Ok(Ok(applied)) => {
                    let Reply::Planned { refused } = applied.reply else {
                        return Ok(false);
                    };
                    for (node, reason) in &refused {
                        tracing::debug!(eval, node, reason, "plan refused in part");
                    }
                    Ok(!refused.is_empty())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(ProposeError::Log("it is stopping".to_owned())),
            },
        )))
    }
}
