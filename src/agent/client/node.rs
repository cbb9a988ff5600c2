//! `Client`: registers the node, keeps its lease, learns what it should run, and runs it: one
//! [`Allocation`] actor each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture,
    WrapFuture,
};
use logic::model::{self, AllocReport, CatalogNode, Node};
use ports::World;

use super::allocation::{Allocation, Stop, Update};
use super::sweep;
use crate::catalog::{Catalog, NodeRegistered};
use crate::rpc::{NodeProof, Request, Response, Rpc};

/// How long one look at the node's allocations waits for a change.
const WATCH_MS: u64 = 30_000;
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Reports that come within this time travel together.
const REPORT_AFTER: Duration = Duration::from_millis(20);
/// How often the host is asked which ports are taken and which drivers work.
const FINGERPRINT_EVERY: Duration = Duration::from_secs(15);
/// A lease is renewed when this fraction of it is over.
const BEATS_PER_LEASE: u32 = 5;

/// The servers' newest idea of what runs here.
#[derive(Message)]
#[rtype(result = "()")]
struct AllocsListed {
    index: u64,
    allocs: Vec<Arc<model::Allocation>>,
}

/// An allocation's state changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AllocChanged(pub(super) AllocReport);

/// An allocation has ended and all of its tasks are gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AllocEnded {
    pub(super) alloc_id: String,
}

/// Stop everything that runs here; answered when it has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave;

pub struct Client {
    world: World,
    rpc: Rpc,
    catalog: Addr<Catalog>,
    node: Arc<Node>,
    catalog_node: CatalogNode,
    running: BTreeMap<String, Running>,
    /// Allocations that wait until another one gives up their ports.
    deferred: BTreeMap<String, Arc<model::Allocation>>,
    reports: BTreeMap<String, AllocReport>,
    reporting: bool,
    registered: bool,
    /// The servers are being asked what should run here; that never ends.
    watching: bool,
    /// Containers of allocations nobody wants any more are removed once, after the first list.
    swept: bool,
    leaving: bool,
}

struct Running {
    alloc: Arc<model::Allocation>,
    addr: Addr<Allocation>,
    ended: bool,
}

impl Client {
    pub fn new(
        world: World,
        rpc: Rpc,
        catalog: Addr<Catalog>,
        node: Node,
        catalog_node: CatalogNode,
    ) -> Self {
        Self {
            world,
            rpc,
            catalog,
            node: Arc::new(node),
            catalog_node,
            running: BTreeMap::new(),
            deferred: BTreeMap::new(),
            reports: BTreeMap::new(),
            reporting: false,
            registered: false,
            watching: false,
            swept: false,
            leaving: false,
        }
    }

    fn proof(&self) -> NodeProof {
        NodeProof {
            node_id: self.node.id.clone(),
            secret: self.node.secret_id.clone(),
        }
    }

    /// Registers the node as it is now, then keeps its lease.
    fn register(&mut self, ctx: &mut Context<Self>) {
        let rpc = self.rpc.clone();
        let request = Request::RegisterNode {
            node: Box::new((*self.node).clone()),
            catalog: self.catalog_node.clone(),
        };
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(|answer, client, ctx| match answer {
                    Ok(Response::Done) => {
                        if !client.registered {
                            tracing::info!(
                                node = client.node.name,
                                id = client.node.id,
                                "node registered"
                            );
                        }
                        client.registered = true;
                        client.catalog.do_send(NodeRegistered);
                        client.beat(ctx);
                        if !std::mem::replace(&mut client.watching, true) {
                            client.watch(0, ctx);
                        }
                    }
                    Ok(Response::Refused(reason)) => {
                        tracing::error!(reason, "the servers refuse this node");
                        ctx.run_later(RETRY_AFTER * 10, Self::register);
                    }
                    Ok(_) | Err(_) => {
                        ctx.run_later(RETRY_AFTER, Self::register);
                    }
                }),
        );
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        let (rpc, proof) = (self.rpc.clone(), self.proof());
        let asking = async move { rpc.ask(Request::Heartbeat { proof }).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(|answer, client, ctx| match answer {
                    Ok(Response::Lease { ttl_ms }) => {
                        let next = Duration::from_millis(ttl_ms) / BEATS_PER_LEASE;
                        ctx.run_later(next, Self::beat);
                    }
                    Ok(Response::Unregistered) => client.register(ctx),
                    Ok(_) | Err(_) => {
                        ctx.run_later(RETRY_AFTER, Self::beat);
                    }
                }),
        );
    }

    fn watch(&mut self, after: u64, ctx: &mut Context<Self>) {
        let (rpc, proof) = (self.rpc.clone(), self.proof());
        let request = Request::WatchAllocs {
            proof,
            after,
            wait_ms: WATCH_MS,
        };
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |answer, _, ctx| match answer {
                    Ok(Response::Allocs { index, allocs }) => {
                        ctx.notify(AllocsListed { index, allocs });
                    }
                    Ok(_) | Err(_) => {
                        ctx.run_later(RETRY_AFTER, move |client, ctx| client.watch(after, ctx));
                    }
                }),
        );
    }

    /// Starts, updates and stops allocations until what runs here is what should.
    fn reconcile(&mut self, allocs: Vec<Arc<model::Allocation>>, ctx: &mut Context<Self>) {
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
                running.addr.do_send(Stop {
                    reason: "forgotten by the servers".to_owned(),
                });
            }
            self.forget_when_ended(&id);
        }
        for alloc in allocs {
            match self.running.get_mut(&alloc.id) {
                Some(running) if running.ended => {}
                Some(running) if alloc.server_terminal() => {
                    running.alloc = Arc::clone(&alloc);
                    running.addr.do_send(Stop {
                        reason: alloc.desired_description.clone(),
                    });
                }
                Some(running) => {
                    if running.alloc.alloc_modify_index != alloc.alloc_modify_index {
                        running.alloc = Arc::clone(&alloc);
                        running.addr.do_send(Update(alloc));
                    }
                }
                None if alloc.server_terminal() => {
                    if self.deferred.remove(&alloc.id).is_some() || !alloc.client_terminal() {
                        self.never_ran(&alloc, ctx);
                    }
                }
                None if alloc.client_terminal() => {}
                None => {
                    self.deferred.insert(alloc.id.clone(), alloc);
                }
            }
        }
        self.start_deferred(ctx);
    }

    /// Starts what waits, unless another allocation still holds a port it needs.
    fn start_deferred(&mut self, ctx: &mut Context<Self>) {
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
            let addr = Allocation::new(
                self.world.clone(),
                Arc::clone(&self.node),
                Arc::clone(&alloc),
                self.catalog.clone(),
                ctx.address(),
            )
            .start();
            self.running.insert(
                id,
                Running {
                    alloc,
                    addr,
                    ended: false,
                },
            );
        }
    }

    /// An allocation that is to stop but doesn't run here: it has ended.
    fn never_ran(&mut self, alloc: &model::Allocation, ctx: &mut Context<Self>) {
        let report = AllocReport {
            alloc_id: alloc.id.clone(),
            client_status: model::CLIENT_COMPLETE.to_owned(),
            client_description: "stopped before it ran".to_owned(),
            task_states: alloc.task_states.clone(),
        };
        self.reports.insert(alloc.id.clone(), report);
        self.report_soon(ctx);
    }

    fn forget_when_ended(&mut self, id: &str) {
        if !self.running.get(id).is_some_and(|running| running.ended) {
            return;
        }
        self.running.remove(id);
        let (world, id) = (self.world.clone(), id.to_owned());
        actix_rt::spawn(async move {
            if let Err(error) = world.containers.forget(&id).await {
                tracing::warn!(alloc = id, %error, "what was kept of an allocation remains");
            }
        });
    }

    /// Removes containers of allocations that should not run here (any more).
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let wanted = self
            .running
            .keys()
            .chain(self.deferred.keys())
            .cloned()
            .collect();
        ctx.spawn(sweep::sweep(self.world.clone(), wanted).into_actor(self));
    }

    fn report_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.reporting {
            self.reporting = true;
            ctx.run_later(REPORT_AFTER, Self::report);
        }
    }

    fn report(&mut self, ctx: &mut Context<Self>) {
        let (rpc, proof) = (self.rpc.clone(), self.proof());
        let sent = self.reports.clone();
        let reports = sent.values().cloned().collect();
        let asking = async move { rpc.ask(Request::ReportAllocs { proof, reports }).await };
        ctx.spawn(asking.into_actor(self).map(move |answer, client, ctx| {
            client.reporting = false;
            if matches!(answer, Ok(Response::Done)) {
                client
                    .reports
                    .retain(|id, report| sent.get(id) != Some(report));
                if !client.reports.is_empty() {
                    client.report_soon(ctx);
                }
            } else {
                client.reporting = true;
                ctx.run_later(RETRY_AFTER, Self::report);
            }
        }));
    }

    /// Looks at the host again: ports that other programs took, drivers that came or went.
    fn fingerprint(&mut self, ctx: &mut Context<Self>) {
        let world = self.world.clone();
        let asking = async move { world.containers.drivers().await };
        ctx.spawn(asking.into_actor(self).map(|drivers, client, ctx| {
            let mut node = (*client.node).clone();
            node.used_ports = client.foreign_ports();
            let health = |drivers: &BTreeMap<String, model::DriverInfo>| {
                drivers
                    .iter()
                    .map(|(name, info)| (name.clone(), info.detected, info.healthy))
                    .collect::<Vec<_>>()
            };
            let changed = node.used_ports != client.node.used_ports
                || health(&drivers) != health(&node.drivers);
            if changed && client.registered {
                node.drivers = drivers;
                let now = client.world.clock.now();
                node.drivers
                    .values_mut()
                    .for_each(|info| info.update_time = now);
                client.node = Arc::new(node);
                client.update_registration(ctx);
            }
        }));
    }

    /// Ports on this host that aren't our tasks'.
    fn foreign_ports(&self) -> BTreeSet<u16> {
        let ours: BTreeSet<u16> = self
            .running
            .values()
            .flat_map(|running| {
                running
                    .alloc
                    .ports()
                    .map(|(_, port)| port.value)
                    .collect::<Vec<_>>()
            })
            .collect();
        self.world
            .machine
            .ports_in_use()
            .into_iter()
            .filter(|port| !ours.contains(port))
            .collect()
    }

    fn update_registration(&mut self, ctx: &mut Context<Self>) {
        let rpc = self.rpc.clone();
        let request = Request::RegisterNode {
            node: Box::new((*self.node).clone()),
            catalog: self.catalog_node.clone(),
        };
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(asking.into_actor(self).map(|answer, _, _| {
            if let Err(error) = answer {
                tracing::debug!(%error, "the node's new state isn't known to the servers yet");
            }
        }));
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

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4_096);
        self.register(ctx);
        ctx.run_interval(FINGERPRINT_EVERY, Self::fingerprint);
    }
}

impl Handler<AllocsListed> for Client {
    type Result = ();

    fn handle(&mut self, listed: AllocsListed, ctx: &mut Self::Context) {
        if self.leaving {
            return;
        }
        self.reconcile(listed.allocs, ctx);
        if !self.swept {
            self.swept = true;
            self.sweep(ctx);
        }
        self.watch(listed.index, ctx);
    }
}

impl Handler<AllocChanged> for Client {
    type Result = ();

    fn handle(&mut self, AllocChanged(report): AllocChanged, ctx: &mut Self::Context) {
        self.reports.insert(report.alloc_id.clone(), report);
        self.report_soon(ctx);
    }
}

impl Handler<AllocEnded> for Client {
    type Result = ();

    fn handle(&mut self, ended: AllocEnded, ctx: &mut Self::Context) {
        if let Some(running) = self.running.get_mut(&ended.alloc_id) {
            running.ended = true;
        }
        self.start_deferred(ctx);
    }
}

impl Handler<Leave> for Client {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Leave, _: &mut Self::Context) -> Self::Result {
        self.leaving = true;
        let stopping: Vec<_> = self
            .running
            .values()
            .filter(|running| !running.ended)
            .map(|running| running.addr.send(super::allocation::End))
            .collect();
        Box::pin(
            async move {
                for ended in stopping {
                    ended.await.ok();
                }
            }
            .into_actor(self),
        )
    }
}
