//! `Runner`: runs one registered check again and again.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use logic::lifecycle::health::Health;
use logic::lifecycle::services::CheckPlan;
use ports::World;

use super::{Ran, Registry};
use crate::client::probe;
use crate::edge::tls::TlsClient;

/// The check isn't registered any more, or otherwise.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

pub(super) struct Runner {
    world: World,
    tls: Arc<TlsClient>,
    plan: CheckPlan,
    health: Health,
    registry: Addr<Registry>,
}

impl Runner {
    pub(super) fn new(world: World, plan: CheckPlan, registry: Addr<Registry>) -> Self {
        Self {
            tls: Arc::new(TlsClient::new(&world)),
            world,
            health: Health::new(&plan),
            plan,
            registry,
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        let running = probe::run(
            self.world.clone(),
            Arc::clone(&self.tls),
            self.plan.probe.clone(),
            self.plan.timeout,
        );
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
