//! `HealthCheck`: runs one check, again and again, and tells the catalog what it says. What its
//! runs add up to is decided in `logic::lifecycle::health`. Where a Consul runs it, that is asked;
//! while it is away the check is run here.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use logic::beside::FoundCheck;
use logic::lifecycle::health::{Health, Verdict};
use logic::lifecycle::services::CheckPlan;
use logic::model::{CHECK_CRITICAL, CHECK_PASSING};

use super::here::Here;
use super::task::{CheckGaveUp, CheckSaid, Task};
use crate::catalog::{AskBeside, CheckRan};
use crate::consul::Heard;
use crate::published::Subscriber;

/// How long a Consul that answers may take to have the check, before it is run here.
const REGISTERED_WITHIN: Duration = Duration::from_secs(5);

/// The task is down or has new checks.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

pub struct HealthCheck {
    here: Here,
    plan: CheckPlan,
    task: Addr<Task>,
    health: Health,
    /// What its task was told last.
    told: Option<&'static str>,
    started: Duration,
    /// What a Consul beside this agent says, which then runs the check.
    heard: Option<Subscriber<Arc<Heard>>>,
}

impl HealthCheck {
    pub(super) fn new(here: Here, plan: CheckPlan, task: Addr<Task>) -> Self {
        let (health, started) = (Health::new(&plan), here.world.clock.monotonic());
        Self {
            here,
            plan,
            task,
            health,
            told: None,
            started,
            heard: None,
        }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.heeds(ctx) {
            return;
        }
        let prober = self.here.prober.clone();
        let running = prober.run(self.plan.probe.clone(), self.plan.timeout);
        ctx.spawn(
            running
                .into_actor(self)
                .map(|(verdict, output), check, ctx| {
                    check.ran(verdict, output);
                    ctx.run_later(check.health.next_wait(), Self::run);
                }),
        );
    }

    /// Takes what a Consul says for a run of the check, if there is one that answers.
    fn heeds(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(heard) = self.heard.clone() else {
            return false;
        };
        let now = Arc::clone(&heard.borrow());
        if !now.answers {
            return false;
        }
        let said = now.checks.get(&self.plan.row.check_id);
        match said {
            // It hasn't been run yet, as after a restart of the Consul: what is known holds.
            Some(said) if unrun(said) && self.health.status() == CHECK_PASSING => return false,
            Some(said) if unrun(said) => {}
            Some(said) => {
                let gave_up = self.health.heard(&said.status, self.up());
                self.tell(said.output.clone(), gave_up);
            }
            None if self.up() >= REGISTERED_WITHIN => return false,
            None => {}
        }
        let (id, before) = (self.plan.row.check_id.clone(), said.cloned());
        let patience = match said {
            Some(_) => self.plan.interval,
            None => self.plan.interval.min(REGISTERED_WITHIN),
        };
        let wait = tokio::time::timeout(patience, news(heard, id, before));
        ctx.spawn(wait.into_actor(self).map(|_, check, ctx| check.run(ctx)));
        true
    }

    /// How long its task has been up.
    fn up(&self) -> Duration {
        self.here
            .world
            .clock
            .monotonic()
            .saturating_sub(self.started)
    }

    fn ran(&mut self, verdict: Verdict, output: String) {
        let gave_up = self.health.ran(verdict, self.up());
        self.tell(output, gave_up);
    }

    fn tell(&mut self, output: String, gave_up: bool) {
        let status = self.health.status();
        self.here.catalog.do_send(CheckRan {
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

/// The Consul has the check and hasn't run it.
fn unrun(check: &FoundCheck) -> bool {
    check.status == CHECK_CRITICAL && check.output.is_empty()
}

/// Until a check isn't said to be as it was, or nobody says anything any more.
async fn news(mut heard: Subscriber<Arc<Heard>>, id: String, before: Option<FoundCheck>) {
    let status = |check: &FoundCheck| (check.status.clone(), unrun(check));
    let before = before.as_ref().map(status);
    loop {
        let said = Arc::clone(&heard.borrow_and_update());
        if !said.answers || said.checks.get(&id).map(status) != before {
            return;
        }
        if heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Actor for HealthCheck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let asking = self.here.catalog.send(AskBeside);
        ctx.spawn(asking.into_actor(self).map(|heard, check, ctx| {
            check.heard = heard.ok().flatten();
            check.run(ctx);
        }));
    }
}

impl Handler<Stop> for HealthCheck {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
