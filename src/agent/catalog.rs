//! `Catalog`: what this agent offers, kept the same on the servers, and a replica of what all
//! agents offer, for DNS and the edge. The replica is kept on disk: an agent that starts has
//! routes and names before it has reached a server. Offers are sent as differences; after a
//! failure, a new registration of the node, or a minute, they are sent whole, so that the servers'
//! idea of this node can't stay wrong.

mod messages;
mod replica;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, ResponseFuture,
    WrapFuture,
};
use logic::catalog::View;
use logic::lifecycle::services::Offer;
use logic::model::{CHECK_CRITICAL, CatalogChange, CatalogNode, Check, ServiceInstance};
use ports::{Clock, World};
use tokio::sync::oneshot;

use crate::consul::{Heard, Keep, Keeper, Retire, Settle};
use crate::published::{Publisher, Subscriber, publish};
use crate::rpc::{self, Request, Response, Rpc, Serials};
use replica::Replica;

pub use messages::{
    AskBeside, CheckRan, Ending, NodeRegistered, Register, Restored, Serve, Tell, Withdraw,
};

/// Everything is sent whole this often, whatever happened.
const ANTI_ENTROPY: Duration = Duration::from_secs(60);
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Check output beyond this isn't kept (as in Consul).
const OUTPUT_BYTES_MAX: usize = 4_096;

/// Who offers what the agent itself does.
const AGENT: &str = "agent";

/// What this node offers, by ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Local {
    /// Its name in the catalog.
    pub node: String,
    /// The agent's own services aren't among what it tells clients.
    pub own: BTreeSet<String>,
    pub services: BTreeMap<String, ServiceInstance>,
    pub checks: BTreeMap<String, Check>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    services: BTreeMap<String, ServiceInstance>,
    checks: BTreeMap<String, Check>,
}

pub struct Catalog {
    node: CatalogNode,
    rpc: Rpc,
    clock: Arc<dyn Clock>,
    serials: Serials,
    /// Until the actor that keeps it is started.
    replica: Option<Replica>,
    offered: BTreeMap<String, Vec<Offer>>,
    /// By others than jobs.
    registered: (Vec<ServiceInstance>, Vec<Check>),
    rows: Rows,
    local: Publisher<Arc<Local>>,
    own: BTreeSet<String>,
    /// What the servers hold; `None` if that isn't known.
    agreed: Option<Rows>,
    sending: bool,
    /// What is under way may have come too early: everything is offered once more.
    offer_again: bool,
    waiting: Vec<oneshot::Sender<()>>,
    /// This agent registers its catalog node itself, since no client does it.
    registers_node: bool,
    /// A client still looks for what runs here: sending what is known by now would take healthy
    /// instances out of the catalog.
    restoring: bool,
    beside: Option<Beside>,
}

/// A Consul that is told the same.
pub struct Beside {
    pub keeper: Addr<Keeper>,
    pub heard: Subscriber<Arc<Heard>>,
}

impl Catalog {
    /// A catalog and the replica it keeps.
    pub async fn new(
        world: &World,
        node: CatalogNode,
        rpc: Rpc,
        own: Vec<ServiceInstance>,
        registered: (Vec<ServiceInstance>, Vec<Check>),
        registers_node: bool,
        beside: Option<Beside>,
    ) -> (Self, Subscriber<Arc<View>>, Subscriber<Arc<Local>>) {
        let (replica, view) = Replica::load(world).await;
        let ids = own.iter().map(|instance| instance.id.clone()).collect();
        let (local, local_reader) = publish(Arc::default());
        let offers = own
            .into_iter()
            .map(|instance| Offer {
                instance,
                checks: Vec::new(),
            })
            .collect();
        let mut catalog = Self {
            node,
            rpc,
            clock: Arc::clone(&world.clock),
            serials: Serials::default(),
            replica: Some(replica),
            offered: BTreeMap::from([(AGENT.to_owned(), offers)]),
            registered,
            rows: Rows::default(),
            local,
            own: ids,
            agreed: None,
            sending: false,
            offer_again: false,
            waiting: Vec::new(),
            registers_node,
            restoring: !registers_node,
            beside,
        };
        catalog.rebuild();
        (catalog, view, local_reader)
    }

    /// The rows that the offers make, checks with the status they had.
    fn rebuild(&mut self) {
        let mut rows = Rows::default();
        for offer in self.offered.values().flatten() {
            for plan in &offer.checks {
                let mut row = plan.row.clone();
                if let Some(known) = self.rows.checks.get(&row.check_id) {
                    row.status.clone_from(&known.status);
                    row.output.clone_from(&known.output);
                }
                rows.checks.insert(row.check_id.clone(), row);
            }
            rows.services
                .insert(offer.instance.id.clone(), offer.instance.clone());
        }
        for service in &self.registered.0 {
            let instance = ServiceInstance {
                node: self.node.node.clone(),
                ..service.clone()
            };
            // What a job offers is the job's.
            rows.services.entry(service.id.clone()).or_insert(instance);
        }
        for check in &self.registered.1 {
            let mut row = check.clone();
            if !row.service_id.is_empty() {
                let Some(service) = rows.services.get(&row.service_id) else {
                    continue;
                };
                row.service_name.clone_from(&service.service);
                row.service_tags.clone_from(&service.tags);
            }
            rows.checks.entry(row.check_id.clone()).or_insert(row);
        }
        self.rows = rows;
        self.tell_local();
        self.tell_beside();
    }

    fn tell_local(&self) {
        self.local.send_replace(Arc::new(Local {
            node: self.node.node.clone(),
            own: self.own.clone(),
            services: self.rows.services.clone(),
            checks: self.rows.checks.clone(),
        }));
    }

    fn tell_beside(&self) {
        let Some(beside) = &self.beside else { return };
        let of_tasks = self.offered.iter().filter(|(owner, _)| *owner != AGENT);
        let known = self.rows.checks.iter();
        beside.keeper.do_send(Keep {
            offers: of_tasks.flat_map(|(_, offers)| offers).cloned().collect(),
            known: known
                .map(|(id, row)| (id.clone(), row.status.clone()))
                .collect(),
            complete: !self.restoring,
        });
    }

    fn change(&self) -> CatalogChange {
        let node = self.node.node.clone();
        let Some(agreed) = &self.agreed else {
            return CatalogChange {
                node,
                whole: true,
                services: self.rows.services.values().cloned().collect(),
                checks: self.rows.checks.values().cloned().collect(),
                ..CatalogChange::default()
            };
        };
        CatalogChange {
            node,
            whole: false,
            services: differing(&self.rows.services, &agreed.services),
            checks: differing(&self.rows.checks, &agreed.checks),
            remove_services: missing(&agreed.services, &self.rows.services),
            remove_checks: missing(&agreed.checks, &self.rows.checks),
            ..CatalogChange::default()
        }
    }

    /// When the servers have been told what differs.
    fn told(&mut self, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let (done, known) = oneshot::channel();
        self.waiting.push(done);
        self.send(ctx);
        Box::pin(async move {
            known.await.ok();
        })
    }

    /// Sends what differs, unless something is under way: then it goes with the next round.
    fn send(&mut self, ctx: &mut Context<Self>) {
        if self.restoring {
            release(std::mem::take(&mut self.waiting));
            return;
        }
        if self.sending {
            return;
        }
        let mut change = self.change();
        if change.is_empty() {
            release(std::mem::take(&mut self.waiting));
            return;
        }
        self.sending = true;
        change.serial = self.serials.next(self.clock.now());
        let (rows, waiting) = (self.rows.clone(), std::mem::take(&mut self.waiting));
        let node = (self.registers_node && change.whole).then(|| self.node.clone());
        let asking = ask(self.rpc.clone(), node, change);
        ctx.spawn(asking.into_actor(self).map(move |sent, catalog, ctx| {
            catalog.sending = false;
            release(waiting);
            if let Ok(Response::Done) = sent {
                let again = std::mem::take(&mut catalog.offer_again);
                catalog.agreed = (!again).then_some(rows);
                catalog.send(ctx);
                return;
            }
            match sent {
                Ok(Response::Superseded { serial }) => catalog.serials.after(serial),
                Ok(other) => {
                    tracing::warn!(?other, "the servers didn't take what this node offers");
                }
                Err(error) => {
                    tracing::debug!(%error, "what this node offers isn't known to the servers yet");
                }
            }
            catalog.agreed = None;
            ctx.run_later(RETRY_AFTER, Self::send);
        }));
    }
}

fn release(waiting: Vec<oneshot::Sender<()>>) {
    for waiter in waiting {
        // Who waited may have given up.
        waiter.send(()).ok();
    }
}

async fn ask(
    rpc: Rpc,
    node: Option<CatalogNode>,
    change: CatalogChange,
) -> Result<Response, rpc::Error> {
    if let Some(node) = node {
        match rpc.ask(Request::RegisterCatalogNode { node }).await {
            Ok(Response::Done) => {}
            other => return other,
        }
    }
    rpc.ask(Request::ChangeCatalog { change }).await
}

fn differing<T: Clone + PartialEq>(
    now: &BTreeMap<String, T>,
    before: &BTreeMap<String, T>,
) -> Vec<T> {
    now.iter()
        .filter(|(id, row)| before.get(*id) != Some(row))
        .map(|(_, row)| row.clone())
        .collect()
}

fn missing<T>(before: &BTreeMap<String, T>, now: &BTreeMap<String, T>) -> Vec<String> {
    before
        .keys()
        .filter(|id| !now.contains_key(*id))
        .cloned()
        .collect()
}

impl Actor for Catalog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
        ctx.run_interval(ANTI_ENTROPY, |catalog, ctx| {
            catalog.agreed = None;
            catalog.send(ctx);
        });
        if let Some(replica) = self.replica.take() {
            replica.start(self, self.rpc.clone(), ctx);
        }
        if self.registers_node {
            self.send(ctx);
        }
    }
}

impl Handler<Serve> for Catalog {
    type Result = ();

    fn handle(&mut self, serve: Serve, ctx: &mut Self::Context) {
        self.offered.insert(serve.owner, serve.offers);
        self.rebuild();
        self.send(ctx);
    }
}

impl Handler<Withdraw> for Catalog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, withdraw: Withdraw, ctx: &mut Self::Context) -> Self::Result {
        if self.offered.remove(&withdraw.owner).is_some() {
            self.rebuild();
        }
        // Also who asks again is answered only when the servers know.
        let told = self.told(ctx);
        let beside = self.beside.as_ref();
        let settled = beside.map(|beside| beside.keeper.send(Settle));
        Box::pin(async move {
            told.await;
            if let Some(settled) = settled {
                settled.await.ok();
            }
        })
    }
}

impl Handler<Register> for Catalog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, register: Register, ctx: &mut Self::Context) -> Self::Result {
        let registered = (register.services, register.checks);
        if self.registered != registered {
            self.registered = registered;
            self.rebuild();
        }
        let (done, known) = oneshot::channel();
        self.waiting.push(done);
        self.send(ctx);
        Box::pin(async move {
            known.await.ok();
        })
    }
}

impl Handler<Tell> for Catalog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Tell, ctx: &mut Self::Context) -> Self::Result {
        self.told(ctx)
    }
}

impl Handler<CheckRan> for Catalog {
    type Result = ();

    fn handle(&mut self, ran: CheckRan, ctx: &mut Self::Context) {
        let Some(row) = self.rows.checks.get_mut(&ran.check_id) else {
            return;
        };
        let mut output = ran.output;
        if output.len() > OUTPUT_BYTES_MAX {
            let end = (0..=OUTPUT_BYTES_MAX)
                .rev()
                .find(|at| output.is_char_boundary(*at));
            output.truncate(end.unwrap_or(0));
        }
        if row.status != ran.status {
            let (service, check) = (&row.service_name, &row.name);
            if ran.status == CHECK_CRITICAL {
                tracing::warn!(service, check, output, "check is now {}", ran.status);
            } else {
                tracing::info!(service, check, "check is now {}", ran.status);
            }
        } else if row.output == output {
            return;
        }
        ran.status.clone_into(&mut row.status);
        row.output = output;
        self.tell_local();
        self.send(ctx);
    }
}

impl Handler<NodeRegistered> for Catalog {
    type Result = ();

    fn handle(&mut self, _: NodeRegistered, ctx: &mut Self::Context) {
        self.agreed = None;
        self.offer_again = self.sending;
        self.send(ctx);
    }
}

impl Handler<Restored> for Catalog {
    type Result = ();

    fn handle(&mut self, _: Restored, ctx: &mut Self::Context) {
        self.restoring = false;
        self.tell_beside();
        self.send(ctx);
    }
}

impl Handler<AskBeside> for Catalog {
    type Result = MessageResult<AskBeside>;

    fn handle(&mut self, _: AskBeside, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.beside.as_ref().map(|beside| beside.heard.clone()))
    }
}

impl Handler<Ending> for Catalog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Ending, _: &mut Self::Context) -> Self::Result {
        let beside = self.beside.as_ref();
        let retired = beside.map(|beside| beside.keeper.send(Retire));
        Box::pin(async move {
            if let Some(retired) = retired {
                retired.await.ok();
            }
        })
    }
}
