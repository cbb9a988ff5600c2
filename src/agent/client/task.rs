//! `Task`: one task on this node. The machine in `logic::lifecycle::task` decides; this actor
//! asks the driver, keeps the task's services in the catalog, and reports.

mod spec;
mod take_up;
mod unhealthy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message,
    SpawnHandle, WrapFuture,
};
use logic::lifecycle::services::CheckPlan;
use logic::lifecycle::task::{Effect, Input, Machine, Saved};
use logic::model::{self, JOB_BATCH, RestartPolicy, TASK_DEAD, TASK_RUNNING, TaskState};
use ports::TaskKey;
use ports::errors::ContainersError;

use super::allocation::{Allocation, TaskChanged};
use super::health_check::{self, HealthCheck};
use super::here::Here;
use super::kept::KeptTask;
use crate::catalog::{Serve, Withdraw};
use crate::planted::{self, Planted};
use take_up::Known;
pub(super) use unhealthy::{CheckGaveUp, Unhealthy};

/// How long a stop waits for the servers to learn that the task is withdrawn: routes to it are
/// gone then, so that it isn't killed under a request.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(2);
/// How long agents may take to see in their replicas what the servers know.
const REPLICAS_FOLLOW: Duration = Duration::from_millis(100);
/// Pause before a driver that failed to stop or remove a task is asked again; doubles each time.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// The task isn't wanted any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop {
    pub(super) reason: String,
}

/// The job changed in a way a running task can take on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Update {
    pub(super) alloc: Arc<model::Allocation>,
    pub(super) task: model::Task,
}

/// A check's status changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct CheckSaid {
    pub(super) check_id: String,
    pub(super) status: &'static str,
}

/// The servers (still) want the task: it may be started if it isn't running.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Confirm;

/// What is known of a task when its actor starts.
#[derive(Clone, Debug)]
pub(super) enum Past {
    /// The servers placed it here just now.
    New,
    /// The servers want it here, and an earlier run of the agent may have started it.
    Unknown,
    /// What an earlier run of the agent knew. It is looked for, but not started before the
    /// servers have said that they still want it.
    Kept(Box<KeptTask>),
}

pub struct Task {
    here: Here,
    alloc: Arc<model::Allocation>,
    asked: model::Task,
    allocation: Addr<Allocation>,
    machine: Machine,
    checks: Vec<Addr<HealthCheck>>,
    timer: Option<SpawnHandle>,
    /// How often it has ended: a stop is meant for the run it was asked for.
    ends: u64,
    serving: bool,
    /// The last status of each check, while the task is up.
    health: BTreeMap<String, String>,
    /// An earlier run of the agent may have started it.
    look_first: bool,
    known: Known,
    looking: bool,
    /// Why it is to stop, once it is known whether it runs.
    stop_wanted: Option<String>,
    /// The servers want it.
    confirmed: bool,
    /// It was found running, and what its checks said before isn't known.
    unchecked: bool,
    /// It doesn't run, and isn't started before the servers have said that they want it.
    held: bool,
}

/// What is known of a task before its actor has looked: its past, not yet confirmed.
pub(super) fn waiting(mut state: TaskState) -> TaskState {
    if state.state != TASK_DEAD {
        model::TASK_PENDING.clone_into(&mut state.state);
    }
    state
}

impl Task {
    pub(super) fn new(
        here: Here,
        alloc: Arc<model::Allocation>,
        task: model::Task,
        allocation: Addr<Allocation>,
        past: Past,
    ) -> Self {
        let job = alloc.job.as_ref();
        let kind = job.map_or(model::JOB_SERVICE, |job| job.r#type.as_str());
        let policy = task
            .restart_policy
            .clone()
            .or_else(|| alloc.group()?.restart_policy.clone())
            .unwrap_or_else(|| RestartPolicy::default_for(kind));
        let machine = Machine::new(
            policy,
            kind != JOB_BATCH,
            task.kill_timeout(),
            task.shutdown_delay,
        );
        let told = alloc.task_states.get(&task.name).cloned();
        let ran = told
            .as_ref()
            .is_some_and(|state| state.state == TASK_RUNNING || state.restarts > 0);
        let confirmed = !matches!(past, Past::Kept(_));
        let (look_first, kept) = match past {
            Past::Kept(kept) => (true, *kept),
            Past::New | Past::Unknown => {
                let machine = Saved {
                    state: told.unwrap_or_else(|| machine.state().clone()),
                    ..Saved::default()
                };
                let kept = KeptTask {
                    machine,
                    ..KeptTask::default()
                };
                (ran || matches!(past, Past::Unknown), kept)
            }
        };
        let known = Known::of(&kept.machine);
        let machine = machine.resumed(kept.machine);
        Self {
            here,
            alloc,
            asked: task,
            allocation,
            machine,
            checks: Vec::new(),
            timer: None,
            ends: 0,
            serving: false,
            health: kept.checks,
            look_first,
            known,
            looking: false,
            stop_wanted: None,
            confirmed,
            unchecked: false,
            held: false,
        }
    }

    fn key(&self) -> TaskKey {
        TaskKey {
            alloc_id: self.alloc.id.clone(),
            task: self.asked.name.clone(),
        }
    }

    /// The name its services are offered under.
    fn owner(&self) -> String {
        self.key().to_string()
    }

    /// The one door between messages and the machine.
    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        let before = self.machine.state().clone();
        tracing::trace!(task = %self.key(), ?input, "task");
        for effect in self.machine.step(self.here.world.clock.now(), input) {
            self.perform(effect, ctx);
        }
        if *self.machine.state() != before {
            self.report(&before);
        }
    }

    fn report(&self, before: &TaskState) {
        let state = self.machine.state().clone();
        let key = self.key();
        for event in state
            .events
            .iter()
            .filter(|event| !before.events.contains(event))
        {
            let message = &event.display_message;
            if event.driver_error.is_empty() {
                tracing::info!(task = %key, message, "{}", event.r#type);
            } else {
                tracing::warn!(task = %key, message, "{}", event.r#type);
            }
        }
        self.tell();
    }

    /// Tells the allocation how the task is.
    fn tell(&self) {
        self.allocation.do_send(TaskChanged {
            task: self.asked.name.clone(),
            kept: KeptTask {
                machine: self.machine.saved(),
                checks: self.health.clone(),
            },
            passes: self.serving && self.passes(),
        });
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Prepare => self.prepare(ctx),
            Effect::Start => self.start_task(ctx),
            Effect::Watch => self.watch(ctx),
            Effect::Stop { delay, timeout } => self.stop_task(delay, timeout, ctx),
            Effect::Serve => self.serve(ctx),
            Effect::Withdraw => self.withdraw(),
            Effect::WakeAt(at) => {
                let wait = at.since(self.here.world.clock.now());
                let timer = ctx.run_later(wait, |task, ctx| task.step(Input::WaitOver, ctx));
                if let Some(old) = self.timer.replace(timer) {
                    ctx.cancel_future(old);
                }
            }
            Effect::Remove => self.remove(ASK_AGAIN, ctx),
        }
    }

    fn prepare(&mut self, ctx: &mut Context<Self>) {
        let (world, spec) = (self.here.world.clone(), self.spec());
        let asking = async move { world.containers.prepare(&spec).await };
        ctx.spawn(asking.into_actor(self).map(|prepared, task, ctx| {
            let input = match prepared {
                Ok(notes) => Input::Prepared(notes),
                Err(error) => task.could_not_start(&error),
            };
            task.step(input, ctx);
        }));
    }

    fn start_task(&mut self, ctx: &mut Context<Self>) {
        let (world, spec) = (self.here.world.clone(), self.spec());
        let asking = async move { world.containers.start(&spec).await };
        ctx.spawn(asking.into_actor(self).map(|started, task, ctx| {
            let input = match started {
                Ok(()) => Input::Started,
                Err(error) => task.could_not_start(&error),
            };
            task.step(input, ctx);
        }));
    }

    fn could_not_start(&self, error: &ContainersError) -> Input {
        Input::CouldNotStart {
            error: error.to_string(),
            may_pass: error.may_pass(),
            port_in_use: matches!(error, ContainersError::PortInUse { .. }),
            jitter: self.here.world.random.next_u64(),
        }
    }

    fn watch(&mut self, ctx: &mut Context<Self>) {
        let (world, key) = (self.here.world.clone(), self.key());
        let asking = async move { world.containers.wait(&key).await };
        ctx.spawn(asking.into_actor(self).map(|exit, task, ctx| {
            task.ends += 1;
            let jitter = task.here.world.random.next_u64();
            let ports::Exit {
                code,
                signal,
                out_of_memory,
                lost,
            } = exit;
            task.step(
                Input::Exited {
                    code,
                    signal,
                    out_of_memory,
                    lost,
                    jitter,
                },
                ctx,
            );
        }));
    }

    /// Kills the task once nobody is sent to it any more: when the servers know that it is
    /// withdrawn, and every agent's replica has had time to follow.
    fn stop_task(&mut self, delay: Duration, timeout: Duration, ctx: &mut Context<Self>) {
        let withdrawn = self.here.catalog.send(Withdraw {
            owner: self.owner(),
        });
        let routed_to = !self.offers().is_empty() && !planted::is(Planted::WithdrawAfterKill);
        let asking = async move {
            if routed_to {
                // Servers that can't be reached must not keep a task from being stopped.
                tokio::time::timeout(WITHDRAWN_WITHIN, withdrawn).await.ok();
                tokio::time::sleep(REPLICAS_FOLLOW).await;
            }
            tokio::time::sleep(delay).await;
        };
        let run = self.ends;
        ctx.spawn(asking.into_actor(self).map(move |(), task, ctx| {
            task.kill(run, timeout, ASK_AGAIN, ctx);
        }));
    }

    /// Has the driver end the task, unless that run of it has ended already.
    fn kill(&mut self, run: u64, timeout: Duration, again: Duration, ctx: &mut Context<Self>) {
        if self.ends != run {
            return;
        }
        let (world, key) = (self.here.world.clone(), self.key());
        let signal = self.asked.kill_signal.clone();
        let asking = async move { world.containers.stop(&key, &signal, timeout).await };
        ctx.spawn(asking.into_actor(self).map(move |stopped, task, ctx| {
            let Err(error) = stopped else { return };
            tracing::warn!(task = %task.key(), %error, "the driver could not stop a task");
            let next = (again * 2).min(ASK_AGAIN_MAX);
            ctx.run_later(again, move |task, ctx| task.kill(run, timeout, next, ctx));
        }));
    }

    fn remove(&mut self, again: Duration, ctx: &mut Context<Self>) {
        let (world, key) = (self.here.world.clone(), self.key());
        let asking = async move { world.containers.remove(&key).await };
        ctx.spawn(asking.into_actor(self).map(move |removed, task, ctx| {
            let Err(error) = removed else {
                ctx.stop();
                return;
            };
            tracing::warn!(task = %task.key(), %error, "a dead task's container remains");
            let next = (again * 2).min(ASK_AGAIN_MAX);
            ctx.run_later(again, move |task, ctx| task.remove(next, ctx));
        }));
    }

    fn serve(&mut self, ctx: &mut Context<Self>) {
        let mut offers = self.offers();
        let checked: BTreeSet<&str> = offers
            .iter()
            .flat_map(|offer| &offer.checks)
            .map(|plan| plan.row.check_id.as_str())
            .collect();
        self.health.retain(|id, _| checked.contains(id.as_str()));
        for plan in offers.iter_mut().flat_map(|offer| &mut offer.checks) {
            if let Some(status) = self.health.get(&plan.row.check_id) {
                plan.row.status.clone_from(status);
            }
        }
        self.stop_checks();
        self.serving = true;
        for plan in offers.iter().flat_map(|offer| &offer.checks) {
            self.checks.push(self.check(plan, ctx));
        }
        if !offers.is_empty() {
            self.here.catalog.do_send(Serve {
                owner: self.owner(),
                offers,
            });
        }
    }

    fn check(&self, plan: &CheckPlan, ctx: &Context<Self>) -> Addr<HealthCheck> {
        HealthCheck::new(self.here.clone(), plan.clone(), ctx.address()).start()
    }

    fn stop_checks(&mut self) {
        for check in self.checks.drain(..) {
            check.do_send(health_check::Stop);
        }
    }

    fn withdraw(&mut self) {
        self.stop_checks();
        self.health.clear();
        self.checked();
        if std::mem::take(&mut self.serving) {
            self.here.catalog.do_send(Withdraw {
                owner: self.owner(),
            });
        }
    }
}

impl Actor for Task {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.machine.dead() {
            self.tell();
            self.settled();
            self.remove(ASK_AGAIN, ctx);
        } else if self.look_first {
            self.take_up(ctx);
        } else {
            self.step(Input::Received, ctx);
            self.settled();
        }
    }
}

impl Handler<Stop> for Task {
    type Result = ();

    fn handle(&mut self, Stop { reason }: Stop, ctx: &mut Self::Context) {
        if self.looking {
            self.stop_wanted = Some(reason);
        } else {
            self.step(Input::Stop { reason }, ctx);
        }
    }
}

impl Handler<Confirm> for Task {
    type Result = ();

    fn handle(&mut self, _: Confirm, ctx: &mut Self::Context) {
        self.confirmed = true;
        if std::mem::take(&mut self.held) {
            self.step(Input::NotFound, ctx);
        }
    }
}

impl Handler<CheckSaid> for Task {
    type Result = ();

    fn handle(&mut self, CheckSaid { check_id, status }: CheckSaid, _: &mut Self::Context) {
        if self.serving {
            self.health.insert(check_id, status.to_owned());
            self.tell();
            if self.unchecked && self.passes() {
                self.checked();
            }
        }
    }
}

impl Handler<Update> for Task {
    type Result = ();

    fn handle(&mut self, update: Update, ctx: &mut Self::Context) {
        self.alloc = update.alloc;
        self.asked = update.task;
        if self.serving {
            self.serve(ctx);
            self.tell();
        }
    }
}
