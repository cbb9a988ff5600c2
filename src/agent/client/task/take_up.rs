//! Looking for a task that an earlier run of the agent may have left running.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use logic::lifecycle::task::{Input, Saved};
use logic::model::{CHECK_PASSING, TASK_RUNNING};
use ports::errors::ContainersError;
use ports::{TaskSpec, World};

use super::Task;
use crate::client::allocation::TaskSettled;
use crate::planted::{self, Planted};

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
    /// It ran, and its driver can't be asked: tasks outlive their engine, so that it is taken to
    /// run on, as its checks will tell, until the driver says how it ended.
    Unseen,
    /// It is the one whose end is known already.
    Ended,
    Nothing,
}

impl Task {
    /// Takes up the task if an earlier run of the agent left it running, else starts it.
    pub(super) fn take_up(&mut self, ctx: &mut Context<Self>) {
        self.looking = true;
        let looking = look(self.here.world.clone(), self.spec(), self.known);
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
        if found == Found::Unseen {
            ctx.spawn(follow_again(self.here.world.clone(), self.spec()).into_actor(self));
        }
        if matches!(found, Found::Running | Found::Unseen) {
            self.step(Input::Reattached, ctx);
        }
        if let Some(reason) = self.stop_wanted.take() {
            self.step(Input::Stop { reason }, ctx);
            return;
        }
        match found {
            Found::Running | Found::Unseen => {}
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

/// What was known of a task when the agent was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It ran.
    Up,
    /// It had ended and was to be started again.
    Ended,
    /// It had been started before.
    Started,
    /// Nothing: most likely it never was here.
    Nothing,
}

impl Known {
    pub(super) fn of(saved: &Saved) -> Self {
        if saved.wake_at.is_some() {
            Self::Ended
        } else if saved.state.state == TASK_RUNNING {
            Self::Up
        } else if saved.state.started_at.is_never() {
            Self::Nothing
        } else {
            Self::Started
        }
    }
}

async fn look(world: World, spec: TaskSpec, known: Known) -> Found {
    let mut told = false;
    if planted::is(Planted::RestartForgetsTasks) {
        return Found::Nothing;
    }
    loop {
        match world.containers.reattach(&spec).await {
            Ok(true) if known == Known::Ended => {
                let ends = world.containers.wait(&spec.key);
                return match tokio::time::timeout(ENDED_WITHIN, ends).await {
                    Ok(_) => Found::Ended,
                    // It was started again just before the agent was killed.
                    Err(_) => Found::Running,
                };
            }
            Ok(true) => return Found::Running,
            Ok(false) => return Found::Nothing,
            Err(error) => {
                let passes = matches!(
                    error,
                    ContainersError::Unreachable(_) | ContainersError::TimedOut(_)
                );
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(task = %spec.key, %error, "the driver can't say whether it runs");
                }
                match known {
                    Known::Up if passes => return Found::Unseen,
                    Known::Ended | Known::Started if passes => {
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                    Known::Up | Known::Ended | Known::Started | Known::Nothing => {
                        return Found::Nothing;
                    }
                }
            }
        }
    }
}

/// Has the driver follow a task again, as soon as it can be reached.
async fn follow_again(world: World, spec: TaskSpec) {
    while let Err(ContainersError::Unreachable(_) | ContainersError::TimedOut(_)) =
        world.containers.reattach(&spec).await
    {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
