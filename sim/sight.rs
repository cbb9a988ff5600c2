//! What can be seen of a simulated cluster from outside of it, and where orders are left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agent::published::Subscriber;
use agent::server::Server;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use logic::catalog::View;
use logic::routes::Table;
use logic::state::Store;

use crate::order::Order;
use crate::world::{SimHost, lock};

/// The edge's current routing table, as the agent publishes it.
pub(crate) type Routes = Arc<ArcSwap<Table>>;

/// A view of all agents and machines. Clones share it.
#[derive(Clone, Default)]
pub struct Sight(Arc<Mutex<Seen>>);

/// The agents that run, by their machines' names.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) machines: BTreeMap<String, SimHost>,
    pub(crate) agents: BTreeMap<String, AgentSeen>,
    /// Orders that fate hasn't carried out yet.
    orders: Vec<Order>,
    panics: Vec<String>,
}

/// What an agent publishes.
#[derive(Clone)]
pub(crate) struct AgentSeen {
    pub(crate) server: Option<Server>,
    pub(crate) view: Subscriber<Arc<View>>,
    pub(crate) routes: Option<Routes>,
}

impl AgentSeen {
    pub(crate) fn leads(&self) -> bool {
        let server = self.server.as_ref();
        server.is_some_and(|server| server.standing.borrow().leads())
    }

    /// The term that the server's log begins with after a start, or has come to since; `None` until
    /// the log is open.
    pub(crate) fn known_term(&self) -> Option<u64> {
        let standing = self.server.as_ref()?.standing.borrow();
        (!standing.servers.is_empty()).then_some(standing.term)
    }

    /// The server's term.
    pub(crate) fn term(&self) -> Option<u64> {
        let server = self.server.as_ref();
        server.map(|server| server.standing.borrow().term)
    }

    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.server.as_ref().map(|server| server.state.now())
    }
}

impl Sight {
    pub fn order(&self, order: Order) {
        lock(&self.0).orders.push(order);
    }

    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut lock(&self.0).orders)
    }

    /// Remembers a panic, which fails the run at its next step.
    pub fn panicked(&self, message: String) {
        lock(&self.0).panics.push(message);
    }

    pub(crate) fn first_panic(&self) -> Option<String> {
        lock(&self.0).panics.first().cloned()
    }

    pub(crate) fn add_machine(&self, machine: SimHost) {
        let name = machine.name().to_owned();
        lock(&self.0).machines.insert(name, machine);
    }

    pub fn agent_runs(&self, host: &str, agent: &agent::Agent) {
        let seen = AgentSeen {
            server: agent.server.clone(),
            view: agent.view.clone(),
            routes: agent.edge.as_ref().map(|edge| edge.table.clone()),
        };
        lock(&self.0).agents.insert(host.to_owned(), seen);
    }

    pub fn agent_gone(&self, host: &str) {
        lock(&self.0).agents.remove(host);
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.0))
    }

    pub fn machine(&self, host: &str) -> Result<SimHost> {
        let machine = lock(&self.0).machines.get(host).cloned();
        machine.with_context(|| format!("there is no machine {host}"))
    }

    /// Whether an agent runs there that has opened its ports.
    pub fn agent_is_up(&self, host: &str) -> bool {
        lock(&self.0).agents.contains_key(host)
    }

    /// The servers that take themselves for the leader.
    pub fn leaders(&self) -> Vec<String> {
        let agents = lock(&self.0).agents.clone();
        let leading = agents.into_iter().filter(|(_, agent)| agent.leads());
        leading.map(|(host, _)| host).collect()
    }

    /// The term a server is in.
    pub fn term(&self, host: &str) -> Option<u64> {
        lock(&self.0).agents.get(host)?.term()
    }

    /// The states of the servers that run, by host.
    pub fn stores(&self) -> BTreeMap<String, Arc<Store>> {
        let agents = lock(&self.0).agents.clone();
        let servers = agents
            .into_iter()
            .filter_map(|(host, agent)| Some((host, agent.server?.state.now())));
        servers.collect()
    }
}
