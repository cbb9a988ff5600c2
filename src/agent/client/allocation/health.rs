//! Whether the allocation has come up well, for its deployment. `logic::lifecycle::rollout`
//! decides; here its tasks and timers are.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use logic::lifecycle::rollout::{self, Verdict, Watch};
use logic::model::HealthReport;
use logic::time::Time;
use ports::World;

use super::Allocation;
use crate::catalog::Tell;
use crate::client::task::Unhealthy;
use crate::planted::{self, Planted};

/// How long a verdict waits until the servers know the instances it is about.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// What is known of the allocation's health.
#[derive(Default)]
pub(super) struct Vitals {
    /// By task: it is up, and its checks pass.
    passing: BTreeMap<String, bool>,
    /// While somebody waits for a verdict.
    watch: Option<Watch>,
    verdict: Option<HealthReport>,
    timer: Option<SpawnHandle>,
    /// It is being stopped: that its tasks end says nothing of its health.
    over: bool,
}

impl Vitals {
    pub(super) fn passes(&mut self, task: &str, passes: bool) {
        self.passing.insert(task.to_owned(), passes);
    }

    pub(super) fn verdict(&self) -> Option<HealthReport> {
        self.verdict.clone()
    }
}

/// A time that only goes on, whatever is done to the machine's clock.
fn ticks(world: &World) -> Time {
    Time::NEVER.plus(world.clock.monotonic())
}

impl Allocation {
    /// Begins to watch if a deployment waits that hasn't been told yet.
    pub(super) fn watch_health(&mut self, ctx: &mut Context<Self>) {
        let deployment = &self.alloc.deployment_id;
        let told = self.vitals.verdict.as_ref();
        let watched = self.vitals.watch.as_ref();
        if self.vitals.over
            || told.is_some_and(|told| told.deployment_id == *deployment)
            || watched.is_some_and(|watch| watch.deployment_id == *deployment)
        {
            return;
        }
        self.vitals.verdict = None;
        // Its checks may be others now: the tasks tell.
        self.vitals.passing.clear();
        self.vitals.watch = Watch::begin(&self.alloc, ticks(&self.here.world));
        self.judge(ctx);
    }

    /// Nobody is told any more how it is.
    pub(super) fn stop_watching(&mut self, ctx: &mut Context<Self>) {
        self.vitals.over = true;
        self.vitals.watch = None;
        self.judge(ctx);
    }

    /// Looks at the allocation's health, and tells as soon as there is a verdict.
    pub(super) fn judge(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.vitals.timer.take() {
            ctx.cancel_future(timer);
        }
        let (ticks, now) = (ticks(&self.here.world), self.here.world.clock.now());
        let Some(watch) = &mut self.vitals.watch else {
            return;
        };
        let checks_pass = self
            .states
            .keys()
            .all(|task| self.vitals.passing.get(task).copied().unwrap_or(false));
        let vitals = rollout::Vitals {
            tasks: &self.states,
            checks_pass,
        };
        let mut verdict = watch.look(ticks, vitals);
        if planted::is(Planted::HealthyUnseen) {
            verdict = Verdict::Healthy;
        }
        let report = match verdict {
            Verdict::Wait(until) => {
                let timer = ctx.run_later(until.since(ticks), Self::judge);
                self.vitals.timer = Some(timer);
                return;
            }
            Verdict::Healthy => {
                tracing::info!(alloc = self.alloc.id, "healthy in its deployment");
                watch.report(true, now)
            }
            Verdict::Unhealthy(why) => {
                tracing::warn!(alloc = self.alloc.id, why, "unhealthy in its deployment");
                for task in self.tasks.values() {
                    task.do_send(Unhealthy { why: why.clone() });
                }
                watch.report(false, now)
            }
        };
        self.vitals.watch = None;
        self.say(report, ctx);
    }

    /// Reports a verdict. Whoever this one takes over from is stopped then: its instance has to be
    /// in the catalog before.
    fn say(&mut self, report: HealthReport, ctx: &mut Context<Self>) {
        let telling = self.here.catalog.send(Tell);
        let knowing = async move {
            tokio::time::timeout(KNOWN_WITHIN, telling).await.ok();
        };
        ctx.spawn(knowing.into_actor(self).map(|(), alloc, _| {
            if alloc.alloc.deployment_id == report.deployment_id {
                alloc.vitals.verdict = Some(report);
                alloc.tell(true);
            }
        }));
    }
}
