//! `Allocation`: one allocation on this node: one [`Task`] actor for each of its tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture};
use logic::lifecycle;
use logic::model::{self, Node, TASK_DEAD, TaskState};
use ports::World;
use tokio::sync::oneshot;

use super::node::{AllocChanged, AllocEnded, Client};
use super::task::{self, Task};
use crate::catalog::Catalog;

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

/// A task's state changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TaskChanged {
    pub(super) task: String,
    pub(super) state: TaskState,
}

pub struct Allocation {
    world: World,
    node: Arc<Node>,
    alloc: Arc<model::Allocation>,
    catalog: Addr<Catalog>,
    client: Addr<Client>,
    tasks: BTreeMap<String, Addr<Task>>,
    states: BTreeMap<String, TaskState>,
    ended: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Allocation {
    pub(super) fn new(
        world: World,
        node: Arc<Node>,
        alloc: Arc<model::Allocation>,
        catalog: Addr<Catalog>,
        client: Addr<Client>,
    ) -> Self {
        Self {
            world,
            node,
            states: BTreeMap::new(),
            alloc,
            catalog,
            client,
            tasks: BTreeMap::new(),
            ended: false,
            waiting: Vec::new(),
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

    fn report(&self) {
        self.client.do_send(AllocChanged(lifecycle::report(
            &self.alloc.id,
            &self.states,
        )));
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
            let known = self.alloc.task_states.get(&asked.name).cloned();
            self.states
                .insert(asked.name.clone(), task::waiting(known.as_ref()));
            let name = asked.name.clone();
            let task = Task::new(
                self.world.clone(),
                Arc::clone(&self.node),
                Arc::clone(&self.alloc),
                asked,
                self.catalog.clone(),
                ctx.address(),
            );
            self.tasks.insert(name, task.start());
        }
    }
}

impl Handler<TaskChanged> for Allocation {
    type Result = ();

    fn handle(&mut self, changed: TaskChanged, _: &mut Self::Context) {
        self.follow(&changed.task, &changed.state);
        self.states.insert(changed.task, changed.state);
        self.report();
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

impl Handler<Update> for Allocation {
    type Result = ();

    fn handle(&mut self, Update(alloc): Update, _: &mut Self::Context) {
        self.alloc = Arc::clone(&alloc);
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

    fn handle(&mut self, stop: Stop, _: &mut Self::Context) {
        self.stop_tasks(&stop.reason);
    }
}

impl Handler<End> for Allocation {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: End, _: &mut Self::Context) -> Self::Result {
        if self.ended {
            return Box::pin(async {});
        }
        self.stop_tasks("the agent is leaving");
        let (done, ended) = oneshot::channel();
        self.waiting.push(done);
        Box::pin(async move {
            ended.await.ok();
        })
    }
}
