//! Looking for a task that an earlier run of the agent may have left running.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use logic::lifecycle::task::Input;
use logic::model::CHECK_PASSING;
use ports::errors::ContainersError;
use ports::{TaskSpec, World};

use super::Task;
use crate::client::allocation::TaskSettled;

/// Pause before an engine that can't be reached is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a driver may take to say that a task has ended.
const ENDED_WITHIN: Duration = Duration::from_millis(500);
/// How long the checks of a running task may take to pass before the servers are told how it is;
/// until then it is, to them, what it was before the agent restarted.
const CHECKED_WITHIN: Duration = Duration::from_secs(3);

/// What there is of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It runs, or ended while nobody looked: waiting for its end tells.
    Running,
    /// It is the one whose end is known already.
    Ended,
    Nothing,
}

impl Task {
    /// Takes up the task if an earlier run of the agent left it running, else starts it.
    pub(super) fn take_up(&mut self, ctx: &mut Context<Self>) {
        self.looking = true;
        let looking = look(
            self.world.clone(),
            self.spec(),
            self.machine.waits(),
            !self.machine.state().started_at.is_never(),
        );
        ctx.spawn(looking.into_actor(self).map(|found, task, ctx| {
            task.looking = false;
            task.found(found, ctx);
            if task.serving && !task.all_known() {
                task.unchecked = true;
                ctx.run_later(CHECKED_WITHIN, |task, _| task.checked());
            } else {
                task.settled();
            }
        }));
    }

    /// The last status of each of its checks is known.
    fn all_known(&self) -> bool {
        let offers = self.offers();
        let mut checks = offers.iter().flat_map(|offer| &offer.checks);
        checks.all(|plan| self.health.contains_key(&plan.row.check_id))
    }

    pub(super) fn passes(&self) -> bool {
        self.all_known() && self.health.values().all(|status| status == CHECK_PASSING)
    }

    /// Its checks have said what they have to say.
    pub(super) fn checked(&mut self) {
        if std::mem::take(&mut self.unchecked) {
            self.settled();
        }
    }

    fn found(&mut self, found: Found, ctx: &mut Context<Self>) {
        if found == Found::Running {
            self.step(Input::Reattached, ctx);
        }
        if let Some(reason) = self.stop_wanted.take() {
            self.step(Input::Stop { reason }, ctx);
            return;
        }
        match found {
            Found::Running => {}
            Found::Ended => self.step(Input::NotFound, ctx),
            Found::Nothing if self.confirmed => self.step(Input::NotFound, ctx),
            Found::Nothing => {
                self.held = true;
                tracing::info!(
                    task = %self.key(),
                    "it doesn't run any more: it is started when a server says that it is wanted"
                );
            }
        }
    }

    /// It is known whether an earlier run of the agent left it running.
    pub(super) fn settled(&self) {
        self.allocation.do_send(TaskSettled {
            task: self.asked.name.clone(),
        });
    }
}

/// `ended`: its end was seen by the earlier run of the agent. `ran`: it was started here; it may
/// run on though its engine can't be reached, so that an answer is waited for.
async fn look(world: World, spec: TaskSpec, ended: bool, ran: bool) -> Found {
    let mut told = false;
    loop {
        match world.containers.reattach(&spec).await {
            Ok(true) if ended => {
                let ends = world.containers.wait(&spec.key);
                return match tokio::time::timeout(ENDED_WITHIN, ends).await {
                    Ok(_) => Found::Ended,
                    // It was started again just before the agent was killed.
                    Err(_) => Found::Running,
                };
            }
            Ok(true) => return Found::Running,
            Ok(false) => return Found::Nothing,
            Err(error @ (ContainersError::Unreachable(_) | ContainersError::TimedOut(_)))
                if ran =>
            {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(task = %spec.key, %error, "the driver can't say whether it runs: it is asked again");
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(task = %spec.key, %error, "the driver can't say whether it runs");
                return Found::Nothing;
            }
        }
    }
}
