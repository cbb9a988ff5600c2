//! `HealthCheck`: runs one check, again and again, and tells the catalog what it says. What its
//! runs add up to is decided in `logic::lifecycle::health`.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use logic::lifecycle::health::{Health, Verdict};
use logic::lifecycle::services::CheckPlan;
use ports::World;

use super::probe;
use super::task::{CheckGaveUp, CheckSaid, Task};
use crate::catalog::{Catalog, CheckRan};
use crate::edge::tls::TlsClient;

/// The task is down or has new checks.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

pub struct HealthCheck {
    world: World,
    tls: Arc<TlsClient>,
    plan: CheckPlan,
    catalog: Addr<Catalog>,
    task: Addr<Task>,
    health: Health,
    /// What its task was told last.
    told: Option<&'static str>,
    started: Duration,
}

impl HealthCheck {
    pub(super) fn new(
        world: World,
        plan: CheckPlan,
        catalog: Addr<Catalog>,
        task: Addr<Task>,
    ) -> Self {
        let (health, started) = (Health::new(&plan), world.clock.monotonic());
        Self {
            tls: Arc::new(TlsClient::new(&world)),
            world,
            plan,
            catalog,
            task,
            health,
            told: None,
            started,
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        let running = probe::run(
            self.world.clone(),
            Arc::clone(&self.tls),
            self.plan.probe.clone(),
            self.plan.timeout,
        );
        ctx.spawn(
            running
                .into_actor(self)
                .map(|(verdict, output), check, ctx| {
                    check.ran(verdict, output);
                    ctx.run_later(check.health.next_wait(), Self::run);
                }),
        );
    }

    fn ran(&mut self, verdict: Verdict, output: String) {
        let up = self.world.clock.monotonic().saturating_sub(self.started);
        let gave_up = self.health.ran(verdict, up);
        let status = self.health.status();
        self.catalog.do_send(CheckRan {
            check_id: self.plan.row.check_id.clone(),
            status,
            output,
        });
        if self.told.replace(status) != Some(status) {
            self.task.do_send(CheckSaid {
                check_id: self.plan.row.check_id.clone(),
                status,
            });
        }
        if gave_up {
            self.task.do_send(CheckGaveUp {
                check: self.plan.row.name.clone(),
            });
        }
    }
}

impl Actor for HealthCheck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.run(ctx);
    }
}

impl Handler<Stop> for HealthCheck {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
