//! A cluster of simulated machines, each running the agent that production runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::published::Subscriber;
use agent::state::State;
use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use logic::catalog::View;
use logic::config::AgentConfig;
use logic::invariants;
use logic::model::Resources;
use logic::routes::Table;
use ports::TaskKey;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::trace::Trace;
use crate::world::{SimHost, lock, world};

/// The edge's current routing table, as the agent publishes it.
type Routes = Arc<ArcSwap<Table>>;

/// How long a routing table may lag behind its agent's replica of the catalog.
const ROUTES_WITHIN: Duration = Duration::from_millis(100);

/// Replicas are compared with routes every so many steps.
const ROUTES_EVERY: u64 = 10;

/// The server's name in the simulated network.
pub const SERVER: &str = "server";

/// The name of the scenario's user there.
pub const USER: &str = "user";

/// What a scenario asks of fate; carried out between two steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Power off: everything on the machine ends at once.
    Crash(String),
    /// Power on again.
    Bounce(String),
    /// Kill a container from outside.
    Kill { host: String, key: TaskKey },
}

/// What can be seen of the agents from outside of the simulation. Clones share it.
#[derive(Clone, Default)]
pub struct Sight(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    servers: BTreeMap<String, State>,
    replicas: BTreeMap<String, (Subscriber<Arc<View>>, Routes)>,
    orders: Vec<Order>,
    panics: Vec<String>,
}

impl Sight {
    pub fn order(&self, order: Order) {
        lock(&self.0).orders.push(order);
    }

    fn agent(&self, host: &str, agent: &agent::Agent) {
        let mut seen = lock(&self.0);
        if let Some(server) = &agent.server {
            seen.servers.insert(host.to_owned(), server.state.clone());
        }
        if let Some(edge) = &agent.edge {
            let replica = (agent.view.clone(), edge.table.clone());
            seen.replicas.insert(host.to_owned(), replica);
        }
    }

    fn gone(&self, host: &str) {
        let mut seen = lock(&self.0);
        seen.servers.remove(host);
        seen.replicas.remove(host);
    }
}

/// A simulated cluster and the machines in it.
pub struct Cluster<'a> {
    pub sim: turmoil::Sim<'a>,
    pub machines: BTreeMap<String, SimHost>,
    pub sight: Sight,
    pub trace: Trace,
    checked_index: u64,
    steps: u64,
    /// Since when a host's routes have been wrong.
    wrong_routes: BTreeMap<String, Duration>,
}

impl Cluster<'_> {
    /// One server and `clients` client machines, named `client-1` and so on.
    pub fn new(seed: u64, clients: usize, trace: Trace) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x0005_eed0_f7e7_0e75);
        let slowest = Duration::from_millis(random.random_range(2..30));
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(Duration::from_millis(2))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(slowest)
            .tcp_capacity(4_096)
            .udp_capacity(4_096)
            .enable_random_order()
            .build();
        trace.note(&format!(
            "cluster: seed {seed}, messages take 1 to {} ms",
            slowest.as_millis()
        ));
        let sight = Sight::default();
        let mut machines = BTreeMap::new();
        let names = (1..=clients).map(|number| format!("client-{number}"));
        for name in std::iter::once(SERVER.to_owned()).chain(names) {
            let resources = Resources {
                cpu: random.random_range(2_000..8_000),
                memory_mb: random.random_range(2_000..16_000),
                disk_mb: 50_000,
                ..Resources::default()
            };
            let machine = SimHost::with_resources(&name, seed, resources);
            machines.insert(name.clone(), machine.clone());
            add(&mut sim, name, machine, sight.clone());
        }
        Self {
            sim,
            machines,
            sight,
            trace,
            checked_index: 0,
            steps: 0,
            wrong_routes: BTreeMap::new(),
        }
    }

    /// One tick of simulated time; then what was ordered happens, and the invariants are checked.
    /// Returns true once the scenario has ended.
    pub fn step(&mut self) -> Result<bool> {
        let ended = self
            .sim
            .step()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let orders = std::mem::take(&mut lock(&self.sight.0).orders);
        for order in orders {
            self.carry_out(order)?;
        }
        self.check()?;
        Ok(ended)
    }

    fn carry_out(&mut self, order: Order) -> Result<()> {
        let at = self.sim.elapsed().as_secs_f64();
        self.trace.note(&format!("fate at {at:.3}: {order:?}"));
        match order {
            Order::Crash(host) => {
                // Cut off first: a machine without power doesn't close its connections.
                for other in self.others(&host) {
                    self.sim.partition(host.as_str(), other.as_str());
                }
                self.sim.crash(host.as_str());
                self.sight.gone(&host);
            }
            Order::Bounce(host) => {
                for other in self.others(&host) {
                    self.sim.repair(host.as_str(), other.as_str());
                }
                self.sim.bounce(host.as_str());
            }
            Order::Kill { host, key } => {
                let machine = self.machines.get(&host).context("no such machine")?;
                if !machine.kill_container(&key) {
                    bail!("{key} doesn't run on {host}");
                }
            }
        }
        Ok(())
    }

    /// Every other name in the simulated network.
    fn others(&self, host: &str) -> Vec<String> {
        let machines = self.machines.keys().cloned();
        machines
            .chain([USER.to_owned()])
            .filter(|name| name != host)
            .collect()
    }

    /// Everything that must hold at every moment.
    fn check(&mut self) -> Result<()> {
        let seen = lock(&self.sight.0);
        if let Some(panic) = seen.panics.first() {
            bail!("something panicked: {panic}");
        }
        for state in seen.servers.values() {
            let store = state.now();
            if store.index() > self.checked_index {
                self.checked_index = store.index();
                invariants::check(&store)?;
            }
        }
        drop(seen);
        self.steps += 1;
        if self.steps.is_multiple_of(ROUTES_EVERY) {
            self.check_routes()?;
            self.check_machines()?;
        }
        Ok(())
    }

    /// Routes lead only to passing instances, on every agent, within a moment.
    fn check_routes(&mut self) -> Result<()> {
        let now = self.sim.elapsed();
        for (host, (view, table)) in &lock(&self.sight.0).replicas {
            let both = ((**view.borrow()).clone(), (**table.load()).clone());
            match invariants::check_list(invariants::ROUTING, &both) {
                Ok(()) => {
                    self.wrong_routes.remove(host);
                }
                Err(broken) => {
                    let since = *self.wrong_routes.entry(host.clone()).or_insert(now);
                    if now.saturating_sub(since) > ROUTES_WITHIN {
                        bail!("on {host}, for {:?}: {broken}", now.saturating_sub(since));
                    }
                }
            }
        }
        Ok(())
    }

    /// No allocation runs twice, and no two tasks of one slot run on reachable machines.
    fn check_machines(&self) -> Result<()> {
        let mut where_it_runs: BTreeMap<TaskKey, &str> = BTreeMap::new();
        for (host, machine) in &self.machines {
            for key in machine.running() {
                if let Some(other) = where_it_runs.insert(key.clone(), host) {
                    bail!("one-machine-per-task: {key} runs on {other} and on {host}");
                }
            }
        }
        Ok(())
    }

    /// Remembers a panic, which fails the run at its next step.
    pub fn panicked(sight: &Sight, message: String) {
        lock(&sight.0).panics.push(message);
    }
}

/// Adds a machine whose agent starts with it.
fn add(sim: &mut turmoil::Sim<'_>, name: String, machine: SimHost, sight: Sight) {
    sim.host(name.clone(), move || {
        let (machine, sight, name) = (machine.clone(), sight.clone(), name.clone());
        async move {
            let agent = agent::start(world(&machine), config(&name)).await?;
            sight.agent(&name, &agent);
            std::future::pending::<()>().await;
            drop(agent);
            Ok(())
        }
    });
}

fn config(name: &str) -> AgentConfig {
    let mut config = AgentConfig {
        name: name.to_owned(),
        data_dir: "/var/lib/drover".to_owned(),
        bind_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        advertise_addr: Some(turmoil::lookup(name)),
        ..AgentConfig::default()
    };
    if name == SERVER {
        config.server.enabled = true;
    } else {
        config.client.enabled = true;
        config.client.servers = vec![SERVER.to_owned()];
    }
    config
}
