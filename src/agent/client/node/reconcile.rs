//! From what the servers want to what runs here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use logic::model::{self, AllocReport, CLIENT_LOST};
use ports::TaskKey;

use super::super::allocation::{Allocation, Past, Stop, Update};
use super::super::here::Here;
use super::super::sweep;
use super::super::task::Confirm;
use super::{Client, Running};

/// Before tasks that were left from before are looked for again.
const SWEEP_AGAIN: Duration = Duration::from_secs(15);

impl Client {
    /// Starts, updates and stops allocations until what runs here is what should.
    pub(super) fn reconcile(
        &mut self,
        allocs: Vec<Arc<model::Allocation>>,
        ctx: &mut Context<Self>,
    ) {
        let wanted: BTreeSet<&str> = allocs.iter().map(|alloc| alloc.id.as_str()).collect();
        self.deferred.retain(|id, _| wanted.contains(id.as_str()));
        let forgotten: Vec<String> = self
            .running
            .keys()
            .filter(|id| !wanted.contains(id.as_str()))
            .cloned()
            .collect();
        for id in forgotten {
            if let Some(running) = self.running.get(&id) {
                running.tell(Stop {
                    reason: "forgotten by the servers".to_owned(),
                });
            }
            self.forget_when_ended(&id, ctx);
        }
        for alloc in allocs {
            match self.running.get_mut(&alloc.id) {
                Some(running) if running.ended => {}
                Some(running) if alloc.server_terminal() => {
                    running.tell(Stop {
                        reason: alloc.desired_description.clone(),
                    });
                    if running.alloc.alloc_modify_index != alloc.alloc_modify_index {
                        self.memory.changed.insert(alloc.id.clone());
                        running.alloc = alloc;
                    }
                }
                Some(running) => {
                    running.confirm(&alloc);
                    if running.alloc.alloc_modify_index != alloc.alloc_modify_index {
                        self.memory.changed.insert(alloc.id.clone());
                        running.alloc = Arc::clone(&alloc);
                        running.tell(Update(alloc));
                    }
                }
                None if alloc.server_terminal() => {
                    let was_deferred = self.deferred.remove(&alloc.id).is_some();
                    if alloc.client_terminal() && !was_deferred {
                        continue;
                    }
                    if self.listed {
                        self.never_ran(&alloc, ctx);
                    } else {
                        // It may run all the same: then it ends in order.
                        self.start(alloc, Past::Unknown, ctx);
                    }
                }
                None if alloc.client_terminal() => {}
                None => {
                    self.deferred.insert(alloc.id.clone(), alloc);
                }
            }
        }
        self.write_soon(ctx);
        self.start_deferred(ctx);
    }

    /// Starts what waits, unless another allocation still holds a port it needs.
    pub(super) fn start_deferred(&mut self, ctx: &mut Context<Self>) {
        if self.leaving {
            return;
        }
        for (id, alloc) in std::mem::take(&mut self.deferred) {
            let blocked = self.running.values().any(|running| {
                !running.ended && (takes_over(&alloc, running) || shares_port(&alloc, running))
            });
            if blocked {
                self.deferred.insert(id, alloc);
                continue;
            }
            // Before the first list was acted on, an earlier run may have started any of them.
            let past = if self.listed {
                Past::New
            } else {
                Past::Unknown
            };
            self.start(alloc, past, ctx);
        }
    }

    /// Runs an allocation. One that the servers don't want any more is only looked for, and ended.
    pub(super) fn start(
        &mut self,
        alloc: Arc<model::Allocation>,
        past: Past,
        ctx: &mut Context<Self>,
    ) {
        let (id, unwanted) = (alloc.id.clone(), alloc.server_terminal());
        let tasks = match &past {
            Past::Kept(tasks) => tasks.clone(),
            Past::New | Past::Unknown => BTreeMap::new(),
        };
        let confirmed = !matches!(past, Past::Kept(_));
        if !matches!(past, Past::New) {
            self.memory.unsettled.insert(id.clone());
        }
        let here = Here {
            world: self.world.clone(),
            node: Arc::clone(&self.node),
            catalog: self.catalog.clone(),
            prober: self.prober.clone(),
        };
        let addr = Allocation::new(here, Arc::clone(&alloc), ctx.address(), past).start();
        if unwanted {
            addr.do_send(Stop {
                reason: alloc.desired_description.clone(),
            });
        }
        let running = Running {
            alloc,
            addr: Some(addr),
            ended: false,
            confirmed,
            tasks,
        };
        self.running.insert(id.clone(), running);
        self.changed(&id, ctx);
    }

    /// An allocation that is to stop but doesn't run here: it has ended.
    fn never_ran(&mut self, alloc: &model::Allocation, ctx: &mut Context<Self>) {
        let report = AllocReport {
            alloc_id: alloc.id.clone(),
            client_status: model::CLIENT_COMPLETE.to_owned(),
            client_description: "stopped before it ran".to_owned(),
            task_states: alloc.task_states.clone(),
            health: None,
        };
        self.reports.insert(alloc.id.clone(), report);
        self.report_soon(ctx);
    }

    fn forget_when_ended(&mut self, id: &str, ctx: &mut Context<Self>) {
        if !self.running.get(id).is_some_and(|running| running.ended) {
            return;
        }
        self.running.remove(id);
        self.changed(id, ctx);
        let (world, id) = (self.world.clone(), id.to_owned());
        actix_rt::spawn(async move {
            if let Err(error) = world.containers.forget(&id).await {
                tracing::warn!(alloc = id, %error, "what was kept of an allocation remains");
            }
        });
    }

    /// Removes containers of allocations that should not run here (any more).
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        let world = self.world.clone();
        let listing = async move { world.containers.list().await };
        ctx.spawn(
            listing
                .into_actor(self)
                .map(|tasks, client, ctx| match tasks {
                    Ok(tasks) => client.remove_unwanted(tasks, ctx),
                    Err(error) => {
                        tracing::warn!(%error, "tasks left from before can't be looked for yet");
                        ctx.run_later(SWEEP_AGAIN, Self::sweep);
                    }
                }),
        );
    }

    fn remove_unwanted(&mut self, tasks: Vec<TaskKey>, ctx: &mut Context<Self>) {
        let wanted = |key: &TaskKey| {
            let running = self.running.get(&key.alloc_id);
            running.is_some_and(|running| !running.ended)
                || self.deferred.contains_key(&key.alloc_id)
        };
        let unwanted = tasks.into_iter().filter(|key| !wanted(key)).collect();
        let sweeping = sweep::sweep(self.world.clone(), unwanted);
        ctx.spawn(sweeping.into_actor(self).map(|gone, _, ctx| {
            if !gone {
                ctx.run_later(SWEEP_AGAIN, Self::sweep);
            }
        }));
    }
}

impl Running {
    /// The servers want it: tasks that were found gone may be started. One that had ended before,
    /// as the servers know, is not begun anew.
    fn confirm(&mut self, wanted: &model::Allocation) {
        if self.confirmed || wanted.client_status == CLIENT_LOST {
            return;
        }
        self.confirmed = true;
        if wanted.client_terminal() {
            self.tell(Stop {
                reason: "it had ended before the agent restarted".to_owned(),
            });
        } else {
            self.tell(Confirm);
        }
    }
}

fn shares_port(alloc: &model::Allocation, other: &Running) -> bool {
    alloc.ports().any(|(_, port)| {
        other
            .alloc
            .ports()
            .any(|(_, held)| held.value == port.value)
    })
}

/// Whether `alloc` replaces one that is being stopped here: it needs what that one holds.
fn takes_over(alloc: &model::Allocation, other: &Running) -> bool {
    alloc.previous_allocation == other.alloc.id && other.alloc.server_terminal()
}
