//! `Client`: registers the node, keeps its lease, learns what it should run, and runs it: one
//! [`Allocation`] actor each. What it needs to go on after a restart is kept on disk.

mod consul;
mod durable;
mod reconcile;
mod silence;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture,
    WrapFuture,
};
use logic::model::{self, AllocReport, CatalogNode, Node};
use ports::World;

use super::allocation::Allocation;
use super::kept::KeptTask;
use super::probe::Prober;
use crate::catalog::{Catalog, NodeRegistered};
use crate::consul::Heard;
use crate::published::Subscriber;
use crate::rpc::{NodeProof, Request, Response, Rpc, Serials};

/// How long one look at the node's allocations waits for a change.
const WATCH_MS: u64 = 30_000;
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Pause after all servers failed to renew the lease.
const BEAT_AGAIN: Duration = Duration::from_millis(250);
/// Reports that come within this time travel together.
const REPORT_AFTER: Duration = Duration::from_millis(20);
/// How often the host is asked which ports are taken and which drivers work.
const FINGERPRINT_EVERY: Duration = Duration::from_secs(15);
/// How long the catalog waits, once there is a server, for all that runs here to be taken up.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// A lease is renewed when this fraction of it is over.
const BEATS_PER_LEASE: u32 = 3;

/// The servers' newest idea of what runs here.
#[derive(Message)]
#[rtype(result = "()")]
struct AllocsListed {
    index: u64,
    allocs: Vec<Arc<model::Allocation>>,
}

/// What is to be kept of an allocation changed, and what the servers have to know, if they do.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AllocChanged {
    pub(super) alloc_id: String,
    pub(super) report: Option<AllocReport>,
    pub(super) tasks: BTreeMap<String, KeptTask>,
}

/// It is known of each task of an allocation whether an earlier run of the agent left it running.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AllocSettled {
    pub(super) alloc_id: String,
}

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
    prober: Prober,
    catalog: Addr<Catalog>,
    node: Arc<Node>,
    catalog_node: CatalogNode,
    running: BTreeMap<String, Running>,
    /// Allocations that wait until another one gives up their ports.
    deferred: BTreeMap<String, Arc<model::Allocation>>,
    reports: BTreeMap<String, AllocReport>,
    reporting: bool,
    serials: Serials,
    registered: bool,
    /// The log's index at which the node was registered.
    registered_at: u64,
    /// The servers are being asked what should run here; that never ends.
    watching: bool,
    /// The index of the newest list that was acted on.
    acted_on: u64,
    /// The servers have said what should run here, and what nobody wants any more is removed.
    listed: bool,
    memory: Memory,
    leaving: bool,
    /// When a server last took a heartbeat.
    heard: Duration,
    /// What a Consul beside this agent says.
    consul: Option<Subscriber<Arc<Heard>>>,
}

/// What is kept on disk, and what came of what was found there.
#[derive(Default)]
struct Memory {
    /// Allocations whose files are to be written.
    changed: BTreeSet<String>,
    writing: bool,
    /// Writing failed; that was told.
    failing: bool,
    /// Something runs here, or may run here, that isn't in the files.
    strangers: bool,
    /// Allocations of which it isn't known yet what runs of them.
    unsettled: BTreeSet<String>,
    /// The catalog knows that all is taken up.
    settled: bool,
}

struct Running {
    alloc: Arc<model::Allocation>,
    /// None if it had ended before this agent started.
    addr: Option<Addr<Allocation>>,
    ended: bool,
    /// The servers have said in this run of the agent that they want it.
    confirmed: bool,
    tasks: BTreeMap<String, KeptTask>,
}

impl Running {
    fn tell<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Allocation: Handler<M>,
    {
        if let Some(addr) = &self.addr {
            addr.do_send(message);
        }
    }
}

impl Client {
    pub(crate) fn new(
        world: World,
        rpc: Rpc,
        prober: Prober,
        catalog: Addr<Catalog>,
        node: Node,
        catalog_node: CatalogNode,
    ) -> Self {
        Self {
            world,
            rpc,
            prober,
            catalog,
            node: Arc::new(node),
            catalog_node,
            running: BTreeMap::new(),
            deferred: BTreeMap::new(),
            reports: BTreeMap::new(),
            reporting: false,
            serials: Serials::default(),
            registered: false,
            registered_at: 0,
            watching: false,
            acted_on: 0,
            listed: false,
            memory: Memory::default(),
            leaving: false,
            heard: Duration::ZERO,
            consul: None,
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
        let acted_on = self.acted_on;
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |answer, client, ctx| match answer {
                    Ok(Response::Registered { index }) => {
                        client.registered_at(index, acted_on);
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
                            client.watch(ctx);
                            ctx.run_later(SETTLE_WITHIN, |client, _| client.settle());
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
                        client.heard = client.world.clock.monotonic();
                        let next = Duration::from_millis(ttl_ms) / BEATS_PER_LEASE;
                        ctx.run_later(next, Self::beat);
                    }
                    Ok(Response::Unregistered) => client.register(ctx),
                    Ok(_) | Err(_) => {
                        ctx.run_later(BEAT_AGAIN, Self::beat);
                    }
                }),
        );
    }

    /// `acted_on` was the newest list when the registration was asked for: if that is later than
    /// the registration, these servers aren't those that made the list.
    fn registered_at(&mut self, index: u64, acted_on: u64) {
        if index < acted_on {
            tracing::warn!(
                index,
                acted_on,
                "the servers' state is older than what they said before: it is followed anew"
            );
            self.acted_on = 0;
        }
        self.registered_at = index;
    }

    fn watch(&mut self, ctx: &mut Context<Self>) {
        let (rpc, proof) = (self.rpc.clone(), self.proof());
        let request = Request::WatchAllocs {
            proof,
            after: self.acted_on,
            min_index: self.registered_at.max(self.acted_on),
            // The first list is wanted even if it is empty.
            wait_ms: if self.listed { WATCH_MS } else { 0 },
        };
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(asking.into_actor(self).map(|answer, client, ctx| {
            if let Ok(Response::Allocs { index, allocs }) = answer
                && index >= client.acted_on
            {
                ctx.notify(AllocsListed { index, allocs });
            } else {
                ctx.run_later(RETRY_AFTER, Self::watch);
            }
        }));
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
        let request = Request::ReportAllocs {
            proof,
            serial: self.serials.next(self.world.clock.now()),
            reports: sent.values().cloned().collect(),
        };
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(asking.into_actor(self).map(move |answer, client, ctx| {
            client.reporting = false;
            if matches!(answer, Ok(Response::Done)) {
                client
                    .reports
                    .retain(|id, report| sent.get(id) != Some(report));
                for id in sent.keys() {
                    client.changed(id, ctx);
                }
                if !client.reports.is_empty() {
                    client.report_soon(ctx);
                }
            } else {
                if let Ok(Response::Superseded { serial }) = answer {
                    client.serials.after(serial);
                }
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
            node.attributes.extend(client.consul_attributes());
            let health = |drivers: &BTreeMap<String, model::DriverInfo>| {
                drivers
                    .iter()
                    .map(|(name, info)| (name.clone(), info.detected, info.healthy))
                    .collect::<Vec<_>>()
            };
            let changed = node.used_ports != client.node.used_ports
                || node.attributes != client.node.attributes
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
        let acted_on = self.acted_on;
        let asking = async move { rpc.ask(request).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |answer, client, _| match answer {
                    Ok(Response::Registered { index }) => client.registered_at(index, acted_on),
                    Ok(other) => tracing::warn!(?other, "the node's new state wasn't taken"),
                    Err(error) => {
                        tracing::debug!(%error, "the servers don't know the node's new state yet");
                    }
                }),
        );
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(4_096);
        self.remember(ctx);
        self.mind_silence(ctx);
        self.look_for_consul(ctx);
        ctx.run_interval(FINGERPRINT_EVERY, Self::fingerprint);
    }
}

impl Handler<AllocsListed> for Client {
    type Result = ();

    fn handle(&mut self, listed: AllocsListed, ctx: &mut Self::Context) {
        if self.leaving {
            return;
        }
        self.acted_on = listed.index;
        self.reconcile(listed.allocs, ctx);
        if !std::mem::replace(&mut self.listed, true) {
            self.sweep(ctx);
            self.settle_if_known();
        }
        self.watch(ctx);
    }
}

impl Handler<AllocChanged> for Client {
    type Result = ();

    fn handle(&mut self, changed: AllocChanged, ctx: &mut Self::Context) {
        let id = changed.alloc_id;
        if let Some(running) = self.running.get_mut(&id) {
            running.tasks = changed.tasks;
        }
        if let Some(report) = changed.report {
            self.reports.insert(id.clone(), report);
            self.report_soon(ctx);
        }
        self.changed(&id, ctx);
    }
}

impl Handler<AllocSettled> for Client {
    type Result = ();

    fn handle(&mut self, settled: AllocSettled, _: &mut Self::Context) {
        self.memory.unsettled.remove(&settled.alloc_id);
        self.settle_if_known();
    }
}

impl Handler<AllocEnded> for Client {
    type Result = ();

    fn handle(&mut self, ended: AllocEnded, ctx: &mut Self::Context) {
        if let Some(running) = self.running.get_mut(&ended.alloc_id) {
            running.ended = true;
        }
        self.changed(&ended.alloc_id, ctx);
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
            .filter_map(|running| Some(running.addr.as_ref()?.send(super::allocation::End)))
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
