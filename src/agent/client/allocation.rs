//! `Allocation`: one allocation on this node: one [`Task`] actor for each of its tasks.

mod health;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture};
use logic::lifecycle;
use logic::model::{self, AllocReport, TASK_DEAD, TaskState};
use tokio::sync::oneshot;

use super::here::Here;
use super::kept::KeptTask;
use super::node::{AllocChanged, AllocEnded, AllocSettled, Client};
use super::task::{self, Confirm, Task};
use health::Vitals;

/// The allocation's job changed in a way its tasks can take on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Update(pub(super) Arc<model::Allocation>);

/// The allocation isn't wanted any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop {
    pub(super) reason: String,
}

/// Stop because the agent leaves; answered when all tasks have ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct End;

/// A task's state changed, or that of its checks.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TaskChanged {
    pub(super) task: String,
    pub(super) kept: KeptTask,
    /// It is up, and all of its checks pass.
    pub(super) passes: bool,
}

/// It is known whether an earlier run of the agent left a task running.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TaskSettled {
    pub(super) task: String,
}

/// What is known of an allocation when its actor starts; see [`task::Past`].
#[derive(Clone, Debug)]
pub(super) enum Past {
    New,
    Unknown,
    Kept(BTreeMap<String, KeptTask>),
}

impl Past {
    fn of_task(&self, name: &str) -> task::Past {
        match self {
            Self::New => task::Past::New,
            Self::Unknown => task::Past::Unknown,
            Self::Kept(tasks) => {
                task::Past::Kept(Box::new(tasks.get(name).cloned().unwrap_or_default()))
            }
        }
    }
}

pub struct Allocation {
    here: Here,
    alloc: Arc<model::Allocation>,
    client: Addr<Client>,
    tasks: BTreeMap<String, Addr<Task>>,
    states: BTreeMap<String, TaskState>,
    past: Past,
    kept: BTreeMap<String, KeptTask>,
    unsettled: BTreeSet<String>,
    ended: bool,
    waiting: Vec<oneshot::Sender<()>>,
    vitals: Vitals,
}

impl Allocation {
    pub(super) fn new(
        here: Here,
        alloc: Arc<model::Allocation>,
        client: Addr<Client>,
        past: Past,
    ) -> Self {
        Self {
            here,
            states: BTreeMap::new(),
            kept: match &past {
                Past::Kept(tasks) => tasks.clone(),
                Past::New | Past::Unknown => BTreeMap::new(),
            },
            past,
            unsettled: BTreeSet::new(),
            alloc,
            client,
            tasks: BTreeMap::new(),
            ended: false,
            waiting: Vec::new(),
            vitals: Vitals::default(),
        }
    }

    fn stop_tasks(&self, reason: &str) {
        for task in self.tasks.values() {
            task.do_send(task::Stop {
                reason: reason.to_owned(),
            });
        }
    }

    /// A task that failed, and a leader that ended, take the others with them.
    fn follow(&self, name: &str, state: &TaskState) {
        if state.state != TASK_DEAD || self.tasks.len() < 2 {
            return;
        }
        let leads = self
            .alloc
            .group()
            .and_then(|group| group.task(name))
            .is_some_and(|task| task.leader);
        let reason = match (state.failed, leads) {
            (true, _) => format!("task \"{name}\" of the same group failed"),
            (false, true) => format!("the leader task \"{name}\" ended"),
            (false, false) => return,
        };
        for (other, task) in &self.tasks {
            if other != name {
                task.do_send(task::Stop {
                    reason: reason.clone(),
                });
            }
        }
    }

    /// Tells the client what to keep, and what to report if the servers have to know.
    fn tell(&self, report: bool) {
        self.client.do_send(AllocChanged {
            alloc_id: self.alloc.id.clone(),
            report: report.then(|| AllocReport {
                health: self.vitals.verdict(),
                ..lifecycle::report(&self.alloc.id, &self.states)
            }),
            tasks: self.kept.clone(),
        });
    }
}

impl Actor for Allocation {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(group) = self.alloc.group().cloned() else {
            self.client.do_send(AllocEnded {
                alloc_id: self.alloc.id.clone(),
            });
            ctx.stop();
            return;
        };
        for asked in group.tasks {
            let kept = self.kept.get(&asked.name).map(|task| &task.machine.state);
            let known = kept.or_else(|| self.alloc.task_states.get(&asked.name));
            let known = known.cloned().unwrap_or_default();
            self.states.insert(asked.name.clone(), task::waiting(known));
            self.unsettled.insert(asked.name.clone());
            let name = asked.name.clone();
            let past = self.past.of_task(&name);
            let task = Task::new(
                self.here.clone(),
                Arc::clone(&self.alloc),
                asked,
                ctx.address(),
                past,
            );
            self.tasks.insert(name, task.start());
        }
        self.watch_health(ctx);
    }
}

impl Handler<TaskChanged> for Allocation {
    type Result = ();

    fn handle(&mut self, changed: TaskChanged, ctx: &mut Self::Context) {
        let TaskChanged { task, kept, passes } = changed;
        self.vitals.passes(&task, passes);
        let state = kept.machine.state.clone();
        self.follow(&task, &state);
        self.kept.insert(task.clone(), kept);
        let before = self.states.insert(task, state.clone());
        self.judge(ctx);
        self.tell(before.as_ref() != Some(&state));
        let all_dead = self.states.values().all(|state| state.state == TASK_DEAD);
        if all_dead && !self.ended {
            self.ended = true;
            self.client.do_send(AllocEnded {
                alloc_id: self.alloc.id.clone(),
            });
            for waiter in self.waiting.drain(..) {
                waiter.send(()).ok();
            }
        }
    }
}

impl Handler<TaskSettled> for Allocation {
    type Result = ();

    fn handle(&mut self, settled: TaskSettled, _: &mut Self::Context) {
        if self.unsettled.remove(&settled.task) && self.unsettled.is_empty() {
            self.client.do_send(AllocSettled {
                alloc_id: self.alloc.id.clone(),
            });
        }
    }
}

impl Handler<Confirm> for Allocation {
    type Result = ();

    fn handle(&mut self, _: Confirm, _: &mut Self::Context) {
        for task in self.tasks.values() {
            task.do_send(Confirm);
        }
    }
}

impl Handler<Update> for Allocation {
    type Result = ();

    fn handle(&mut self, Update(alloc): Update, ctx: &mut Self::Context) {
        self.alloc = Arc::clone(&alloc);
        self.watch_health(ctx);
        let Some(group) = alloc.group() else { return };
        for asked in &group.tasks {
            if let Some(task) = self.tasks.get(&asked.name) {
                task.do_send(task::Update {
                    alloc: Arc::clone(&alloc),
                    task: asked.clone(),
                });
            }
        }
    }
}

impl Handler<Stop> for Allocation {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Self::Context) {
        self.stop_watching(ctx);
        self.stop_tasks(&stop.reason);
    }
}

impl Handler<End> for Allocation {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: End, ctx: &mut Self::Context) -> Self::Result {
        if self.ended {
            return Box::pin(async {});
        }
        self.stop_watching(ctx);
        self.stop_tasks("the agent is leaving");
        let (done, ended) = oneshot::channel();
        self.waiting.push(done);
        Box::pin(async move {
            ended.await.ok();
        })
    }
}
