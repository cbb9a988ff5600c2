//! Whether the allocation has come up well, for its deployment. `logic::lifecycle::rollout`
//! decides; here its tasks and timers are.

use std::collections::BTreeMap;

use actix::{AsyncContext, Context, SpawnHandle};
use logic::lifecycle::rollout::{self, Verdict, Watch};
use logic::model::HealthReport;

use super::Allocation;

/// What is known of the allocation's health.
#[derive(Default)]
pub(super) struct Vitals {
    /// By task: it is up, and its checks pass.
    passing: BTreeMap<String, bool>,
    /// While somebody waits for a verdict.
    watch: Option<Watch>,
    verdict: Option<HealthReport>,
    timer: Option<SpawnHandle>,
}

impl Vitals {
    pub(super) fn passes(&mut self, task: &str, passes: bool) {
        self.passing.insert(task.to_owned(), passes);
    }

    pub(super) fn verdict(&self) -> Option<HealthReport> {
        self.verdict.clone()
    }
}

impl Allocation {
    /// Begins to watch if a deployment waits that hasn't been told yet.
    pub(super) fn watch_health(&mut self, ctx: &mut Context<Self>) {
        let deployment = &self.alloc.deployment_id;
        let told = self.vitals.verdict.as_ref();
        let watched = self.vitals.watch.as_ref();
        if told.is_some_and(|told| told.deployment_id == *deployment)
            || watched.is_some_and(|watch| watch.deployment_id == *deployment)
        {
            return;
        }
        self.vitals.verdict = None;
        // Its checks may be others now: the tasks tell.
        self.vitals.passing.clear();
        self.vitals.watch = Watch::begin(&self.alloc, self.world.clock.now());
        if self.judge(ctx) {
            self.tell(true);
        }
    }

    /// Looks at the allocation's health; whether there is a verdict that there wasn't before.
    pub(super) fn judge(&mut self, ctx: &mut Context<Self>) -> bool {
        if let Some(timer) = self.vitals.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(watch) = &mut self.vitals.watch else {
            return false;
        };
        let now = self.world.clock.now();
        let checks_pass = self
            .states
            .keys()
            .all(|task| self.vitals.passing.get(task).copied().unwrap_or(false));
        let vitals = rollout::Vitals {
            tasks: &self.states,
            checks_pass,
        };
        let healthy = match watch.look(now, vitals) {
            Verdict::Wait(until) => {
                self.vitals.timer = Some(ctx.run_later(until.since(now), |alloc, ctx| {
                    if alloc.judge(ctx) {
                        alloc.tell(true);
                    }
                }));
                return false;
            }
            Verdict::Healthy => {
                tracing::info!(alloc = self.alloc.id, "healthy in its deployment");
                true
            }
            Verdict::Unhealthy(why) => {
                tracing::warn!(alloc = self.alloc.id, why, "unhealthy in its deployment");
                false
            }
        };
        self.vitals.verdict = Some(watch.report(healthy, now));
        self.vitals.watch = None;
        true
    }
}
