//! `Runner`: runs one registered check again and again.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use logic::lifecycle::health::Health;
use logic::lifecycle::services::CheckPlan;

use super::{Ran, Registry};
use crate::client::probe::Prober;

/// The check isn't registered any more, or otherwise.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

pub(super) struct Runner {
    prober: Prober,
    plan: CheckPlan,
    health: Health,
    registry: Addr<Registry>,
}

impl Runner {
    pub(super) fn new(prober: Prober, plan: CheckPlan, registry: Addr<Registry>) -> Self {
        Self {
            prober,
            health: Health::new(&plan),
            plan,
            registry,
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        let prober = self.prober.clone();
        let running = prober.run(self.plan.probe.clone(), self.plan.timeout);
        let ran = running.into_actor(self);
        ctx.spawn(ran.map(|(verdict, output), runner, ctx| {
            // No task depends on it that could be started anew.
            let _: bool = runner.health.ran(verdict, Duration::ZERO);
            runner.registry.do_send(Ran {
                check_id: runner.plan.row.check_id.clone(),
                status: runner.health.status(),
                output,
            });
            ctx.run_later(runner.health.next_wait(), Self::run);
        }));
    }
}

impl Actor for Runner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.run(ctx);
    }
}

impl Handler<Stop> for Runner {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
