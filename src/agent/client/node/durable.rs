//! What outlives the agent: writing it down, and taking it up again at the next start.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use ports::World;

use super::super::allocation::Past;
use super::super::kept::{self, KeptAlloc, Loaded};
use super::{Client, Running};
use crate::catalog::Restored;

/// Changes that come within this time are written together.
const WRITE_AFTER: Duration = Duration::from_millis(100);
/// Pause before what could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(2);
/// How long the drivers may take to say what runs here.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// Files, and the allocations of which the drivers have tasks (`None` if they don't say).
async fn found(world: World) -> (Loaded, Option<BTreeSet<String>>) {
    let loaded = kept::load(&world).await;
    let listed = tokio::time::timeout(LIST_WITHIN, world.containers.list()).await;
    let listed = listed.ok().and_then(Result::ok);
    let ids = listed.map(|keys| keys.into_iter().map(|key| key.alloc_id).collect());
    (loaded, ids)
}

impl Client {
    /// Takes up what an earlier run of the agent knew, then turns to the servers. Nothing else
    /// happens before.
    pub(super) fn remember(&mut self, ctx: &mut Context<Self>) {
        let finding = found(self.world.clone()).into_actor(self);
        ctx.wait(finding.map(|(loaded, ids), client, ctx| {
            client.restore(loaded, ids.as_ref(), ctx);
            client.settle_if_known();
            client.register(ctx);
        }));
    }

    fn restore(&mut self, loaded: Loaded, ids: Option<&BTreeSet<String>>, ctx: &mut Context<Self>) {
        let known: BTreeSet<&str> = loaded
            .allocs
            .iter()
            .map(|kept| kept.alloc.id.as_str())
            .collect();
        self.memory.strangers = loaded.damaged
            || ids.is_none_or(|ids| ids.iter().any(|id| !known.contains(id.as_str())));
        if !loaded.allocs.is_empty() {
            tracing::info!(
                allocations = loaded.allocs.len(),
                "taking up what an earlier run of the agent left running"
            );
        }
        for kept in loaded.allocs {
            let id = kept.alloc.id.clone();
            if let Some(report) = kept.report {
                self.reports.insert(id.clone(), report);
                self.report_soon(ctx);
            }
            if kept.ended {
                let running = Running {
                    alloc: kept.alloc,
                    addr: None,
                    ended: true,
                    confirmed: true,
                    tasks: kept.tasks,
                };
                self.running.insert(id, running);
            } else {
                self.start(kept.alloc, Past::Kept(kept.tasks), ctx);
            }
        }
        let mut node = (*self.node).clone();
        node.used_ports = self.foreign_ports();
        self.node = std::sync::Arc::new(node);
    }

    /// Lets the catalog speak for this node once it is known what runs here.
    pub(super) fn settle_if_known(&mut self) {
        if self.memory.unsettled.is_empty() && (self.listed || !self.memory.strangers) {
            self.settle();
        }
    }

    pub(super) fn settle(&mut self) {
        if !std::mem::replace(&mut self.memory.settled, true) {
            self.catalog.do_send(Restored);
        }
    }

    /// What is kept of an allocation differs from its file.
    pub(super) fn changed(&mut self, alloc_id: &str, ctx: &mut Context<Self>) {
        self.memory.changed.insert(alloc_id.to_owned());
        self.write_soon(ctx);
    }

    pub(super) fn write_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.memory.changed.is_empty() && !std::mem::replace(&mut self.memory.writing, true) {
            ctx.run_later(WRITE_AFTER, Self::write);
        }
    }

    fn kept(&self, alloc_id: &str) -> Option<KeptAlloc> {
        let running = self.running.get(alloc_id)?;
        Some(KeptAlloc {
            alloc: running.alloc.clone(),
            tasks: running.tasks.clone(),
            ended: running.ended,
            report: self.reports.get(alloc_id).cloned(),
        })
    }

    fn write(&mut self, ctx: &mut Context<Self>) {
        let world = self.world.clone();
        let changed: Vec<_> = std::mem::take(&mut self.memory.changed)
            .into_iter()
            .map(|id| {
                let kept = self.kept(&id);
                (id, kept)
            })
            .collect();
        let writing = async move {
            let (mut left, mut problem) = (Vec::new(), None);
            for (id, kept) in changed {
                if let Err(error) = kept::write(&world, &id, kept.as_ref()).await {
                    left.push(id);
                    problem = Some(error);
                }
            }
            (left, problem)
        };
        ctx.spawn(
            writing
                .into_actor(self)
                .map(|(left, problem), client, ctx| {
                    client.memory.changed.extend(left);
                    client.memory.writing = false;
                    let failed_before =
                        std::mem::replace(&mut client.memory.failing, problem.is_some());
                    if let Some(error) = problem {
                        if !failed_before {
                            tracing::warn!(
                                %error,
                                "what runs here can't be written down: a restart of the agent \
                                 would need the servers to go on"
                            );
                        }
                        client.memory.writing = true;
                        ctx.run_later(WRITE_AGAIN, Self::write);
                    } else {
                        client.write_soon(ctx);
                    }
                }),
        );
    }
}
