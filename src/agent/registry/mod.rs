//! `Registry`: services and checks that are registered at this agent by its API and its
//! configuration. It keeps them on disk, runs the checks, and offers them to the catalog. What
//! they come to is decided in `logic::registry`.

mod kept;
mod runner;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture};
use logic::lifecycle::services::CheckPlan;
use logic::model::{Check, RegisteredCheck, Registrations, ServiceInstance};
use logic::registry::{Refused, Registry as Machine};
use ports::World;
use thiserror::Error;

use crate::catalog::{Local, Register};
use crate::client::probe::Prober;
use crate::published::{Publisher, Subscriber, publish};
use kept::Written;
use runner::{Runner, Stop};

/// How often TTLs are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long an answer waits for the servers to know: they may be out of reach.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Something is to be registered otherwise. Answered when it is durable and, usually, known to the
/// servers.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), ChangeError>")]
pub enum Change {
    Service {
        service: Box<ServiceInstance>,
        checks: Vec<RegisteredCheck>,
        /// Checks of the service that aren't in `checks` go.
        replace: bool,
    },
    NoService(String),
    Check(Box<RegisteredCheck>),
    NoCheck(String),
    /// How a check with a TTL is.
    Say {
        id: String,
        status: &'static str,
        output: String,
    },
    /// What the configuration registers, read again.
    Configured(Box<Registrations>),
    /// Puts a service, or the node, out of service for a reason, or back.
    Maintain {
        service: Option<String>,
        reason: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("what is registered can't be kept: {0}")]
    Disk(String),
}

/// A check was run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ran {
    check_id: String,
    status: &'static str,
    output: String,
}

/// What is registered, before the actor runs.
pub struct Loaded {
    world: World,
    machine: Machine,
}

impl Loaded {
    /// What was kept, and what the configuration adds.
    pub async fn new(world: &World, node: &str, configured: Registrations) -> Self {
        Self::of(world, node, kept::load(world).await, configured)
    }

    pub(crate) fn of(
        world: &World,
        node: &str,
        kept: Registrations,
        configured: Registrations,
    ) -> Self {
        let now = world.clock.monotonic();
        Self {
            world: world.clone(),
            machine: Machine::new(node, kept, configured, now),
        }
    }

    pub fn rows(&self) -> (Vec<ServiceInstance>, Vec<Check>) {
        rows(&self.machine)
    }

    pub(crate) fn start(
        self,
        prober: Prober,
        catalog: Recipient<Register>,
        local: Subscriber<Arc<Local>>,
    ) -> Addr<Registry> {
        let kept = self.machine.kept();
        let (newest, reader) = publish((0, Arc::new(kept.clone())));
        let (written, outcome) = publish(Written::default());
        actix_rt::spawn(kept::keep(self.world.clone(), reader, written));
        Registry {
            world: self.world,
            prober,
            machine: self.machine,
            catalog,
            local,
            runners: BTreeMap::new(),
            newest,
            outcome,
            version: 0,
            kept,
        }
        .start()
    }
}

fn rows(machine: &Machine) -> (Vec<ServiceInstance>, Vec<Check>) {
    (machine.services().cloned().collect(), machine.checks())
}

pub struct Registry {
    world: World,
    prober: Prober,
    machine: Machine,
    catalog: Recipient<Register>,
    /// What this node offers, whoever offers it.
    local: Subscriber<Arc<Local>>,
    runners: BTreeMap<String, (CheckPlan, Addr<Runner>)>,
    newest: Publisher<(u64, Arc<Registrations>)>,
    outcome: Subscriber<Written>,
    /// Of what was given to the disk last.
    version: u64,
    kept: Registrations,
}

impl Registry {
    fn change(&mut self, change: Change) -> Result<(), Refused> {
        let now = self.world.clock.monotonic();
        let local = Arc::clone(&self.local.borrow());
        let known = |id: &str| local.services.contains_key(id);
        match change {
            Change::Service { service, .. }
                if known(&service.id) && !self.machine.has_service(&service.id) =>
            {
                Err(Refused::OfAJob(service.id))
            }
            Change::Service {
                service,
                checks,
                replace,
            } => {
                let service = ServiceInstance {
                    node: local.node.clone(),
                    ..*service
                };
                self.machine.register_service(service, checks, replace, now)
            }
            Change::NoService(id) if known(&id) && !self.machine.has_service(&id) => {
                Err(Refused::OfAJob(id))
            }
            Change::NoService(id) => self.machine.deregister_service(&id),
            Change::Check(check) => self.machine.register_check(*check, known, now),
            Change::NoCheck(id) => self.machine.deregister_check(&id),
            Change::Configured(wanted) => {
                self.machine.reconfigure(*wanted, now);
                Ok(())
            }
            Change::Say { id, status, output } => self.machine.say(&id, status, output, now),
            Change::Maintain { service, reason } => {
                self.machine
                    .maintain(service.as_deref(), reason, known, now)
            }
        }
    }

    /// Keeps what has changed; tells the version that has to be written.
    fn keep(&mut self) -> u64 {
        let kept = self.machine.kept();
        if kept != self.kept {
            self.version += 1;
            self.newest
                .send_replace((self.version, Arc::new(kept.clone())));
            self.kept = kept;
        }
        self.version
    }

    /// Runs the checks that are to be run, and no others.
    fn run_checks(&mut self, ctx: &Context<Self>) {
        let plans = self.machine.plans();
        self.runners.retain(|id, (plan, runner)| {
            let same = plans.get(id).is_some_and(|wanted| same_check(wanted, plan));
            if !same {
                runner.do_send(Stop);
            }
            same
        });
        for (id, plan) in plans {
            if !self.runners.contains_key(&id) {
                let runner = Runner::new(self.prober.clone(), plan.clone(), ctx.address());
                self.runners.insert(id, (plan, runner.start()));
            }
        }
    }

    fn offer(&self) -> impl Future<Output = ()> + use<> {
        let (services, checks) = rows(&self.machine);
        let known = self.catalog.send(Register { services, checks });
        async move {
            // A catalog that has ended has nobody to tell.
            tokio::time::timeout(KNOWN_WITHIN, known).await.ok();
        }
    }
}

/// Whether a check is run in the same way, whatever it said last.
fn same_check(one: &CheckPlan, other: &CheckPlan) -> bool {
    let bare = |plan: &CheckPlan| {
        let mut plan = plan.clone();
        plan.row.status.clear();
        plan
    };
    bare(one) == bare(other)
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
        self.run_checks(ctx);
        ctx.run_interval(TICK, |registry, ctx| {
            if registry.machine.tick(registry.world.clock.monotonic()) {
                registry.keep();
                registry.run_checks(ctx);
                actix_rt::spawn(registry.offer());
            }
        });
    }
}

impl Handler<Change> for Registry {
    type Result = ResponseFuture<Result<(), ChangeError>>;

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.change(change) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let version = self.keep();
        self.run_checks(ctx);
        let known = self.offer();
        let mut outcome = self.outcome.clone();
        Box::pin(async move {
            let written = outcome.wait_for(|written| written.version >= version).await;
            let failure = written.map_or_else(
                |_| Some("the agent is stopping".to_owned()),
                |written| written.failure,
            );
            known.await;
            failure.map_or(Ok(()), |reason| Err(ChangeError::Disk(reason)))
        })
    }
}

impl Handler<Ran> for Registry {
    type Result = ();

    fn handle(&mut self, ran: Ran, _: &mut Self::Context) {
        let now = self.world.clock.monotonic();
        let Ran {
            check_id,
            status,
            output,
        } = ran;
        if self.machine.note(&check_id, status, output, now) {
            tracing::info!(check = check_id, "registered check is now {status}");
            self.keep();
        }
        actix_rt::spawn(self.offer());
    }
}
