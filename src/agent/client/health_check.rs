//! `HealthCheck`: runs one check, again and again, and tells the catalog what it says.
//!
//! A check that has not passed yet since its task came up runs more often at first (from a tenth
//! of a second up to its interval), so that an instance is routed to as soon as it works.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    WrapFuture,
};
use logic::lifecycle::services::CheckPlan;
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING};
use ports::World;

use super::probe::{self, Verdict};
use super::task::CheckGaveUp;
use crate::catalog::{Catalog, CheckRan};

/// The first wait of a check that hasn't passed yet.
const EAGER_FROM: Duration = Duration::from_millis(100);

/// The task is down or has new checks.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

pub struct HealthCheck {
    world: World,
    plan: CheckPlan,
    catalog: Addr<Catalog>,
    task: Recipient<CheckGaveUp>,
    /// Wait before the next run while it has not passed yet.
    eager: Option<Duration>,
    status: &'static str,
    successes: u32,
    failures: u32,
    started: Duration,
}

impl HealthCheck {
    pub(super) fn new(
        world: World,
        plan: CheckPlan,
        catalog: Addr<Catalog>,
        task: Recipient<CheckGaveUp>,
    ) -> Self {
        let started = world.clock.monotonic();
        let status = match plan.row.status.as_str() {
            CHECK_PASSING => CHECK_PASSING,
            CHECK_WARNING => CHECK_WARNING,
            _ => CHECK_CRITICAL,
        };
        Self {
            world,
            plan,
            catalog,
            task,
            eager: Some(EAGER_FROM),
            status,
            successes: 0,
            failures: 0,
            started,
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        let running = probe::run(
            self.world.clone(),
            self.plan.probe.clone(),
            self.plan.timeout,
        );
        ctx.spawn(
            running
                .into_actor(self)
                .map(|(verdict, output), check, ctx| {
                    check.ran(verdict, output);
                    let wait = check.next_wait();
                    ctx.run_later(wait, Self::run);
                }),
        );
    }

    fn ran(&mut self, verdict: Verdict, output: String) {
        if verdict == Verdict::Critical {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
        }
        match verdict {
            Verdict::Passing if self.successes >= self.plan.successes_needed => {
                self.status = CHECK_PASSING;
                self.eager = None;
            }
            Verdict::Warning if self.successes >= self.plan.successes_needed => {
                self.status = CHECK_WARNING;
            }
            Verdict::Critical if self.failures >= self.plan.failures_needed => {
                self.status = CHECK_CRITICAL;
            }
            Verdict::Passing | Verdict::Warning | Verdict::Critical => {}
        }
        self.catalog.do_send(CheckRan {
            check_id: self.plan.row.check_id.clone(),
            status: self.status,
            output,
        });
        self.consider_restart();
    }

    fn consider_restart(&mut self) {
        let Some(restart) = &self.plan.restart else {
            return;
        };
        let grace = logic::duration::to_std(restart.grace.unwrap_or(logic::duration::SECOND));
        if self.world.clock.monotonic().saturating_sub(self.started) < grace {
            self.failures = 0;
            return;
        }
        if i64::from(self.failures) >= restart.limit {
            self.failures = 0;
            self.task.do_send(CheckGaveUp {
                check: self.plan.row.name.clone(),
            });
        }
    }

    fn next_wait(&mut self) -> Duration {
        let interval = self.plan.interval;
        let Some(eager) = self.eager else {
            return interval;
        };
        self.eager = (eager * 2 < interval).then_some(eager * 2);
        eager.min(interval)
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
