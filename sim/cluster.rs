//! A cluster of simulated machines, each running the agent that production runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use logic::config::{AgentConfig, ConsulConfig, EdgeListener, EdgeProtocol};
use logic::model::Resources;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::clock;
use crate::consul::{self, Registry};
use crate::invariants::{Scene, Watch};
use crate::life::{self, Wanted};
use crate::links::Links;
use crate::network::Quality;
use crate::order::Order;
use crate::sight::Sight;
use crate::trace::Trace;
use crate::world::SimHost;

/// The name of the scenario's user in the simulated network.
pub const USER: &str = "user";

/// How many machines there are, and what is special about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub servers: usize,
    /// None: the servers are clients too, and an edge comes as a job.
    pub clients: usize,
    /// Entries after which a server takes a snapshot; `None`: as in production.
    pub snapshot_after: Option<u64>,
    /// No message is lost or late but by order.
    pub good_network: bool,
    /// There is a Consul that isn't ours, and agents register in it.
    pub consul: bool,
}

impl Size {
    pub fn server_names(&self) -> Vec<String> {
        let numbers = 1..=self.servers;
        numbers.map(|number| format!("server-{number}")).collect()
    }

    /// Whether each host is server and client.
    pub fn is_together(&self) -> bool {
        self.clients == 0
    }

    pub fn client_names(&self) -> Vec<String> {
        if self.is_together() {
            return self.server_names();
        }
        let numbers = 1..=self.clients;
        numbers.map(|number| format!("client-{number}")).collect()
    }
}

/// A simulated cluster and the machines in it.
pub struct Cluster<'a> {
    pub sim: turmoil::Sim<'a>,
    pub sight: Sight,
    pub trace: Trace,
    servers: Vec<String>,
    hosts: Vec<String>,
    agents: BTreeMap<String, watch::Sender<Wanted>>,
    links: Links,
    quality: Quality,
    watch: Watch,
}

fn network<'a>(seed: u64, slowest: Duration) -> turmoil::Sim<'a> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(slowest)
        .tcp_capacity(4_096)
        .udp_capacity(4_096)
        .enable_random_order()
        .build()
}

impl Cluster<'_> {
    /// Machines named `server-1`, `client-1` and so on.
    pub fn new(seed: u64, size: Size, trace: Trace) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x0005_eed0_f7e7_0e75);
        let slowest = Duration::from_millis(random.random_range(2..30));
        let mut sim = network(seed, slowest);
        let drawn = quality(&mut random);
        let quality = if size.good_network {
            Quality::default()
        } else {
            drawn
        };
        trace.note(&format!(
            "cluster: seed {seed}, {} servers, {} clients, messages take 1 to {} ms, {quality:?}",
            size.servers,
            size.clients,
            slowest.as_millis()
        ));
        let (servers, clients) = (size.server_names(), size.client_names());
        let hosts = if size.is_together() {
            clients
        } else {
            [servers.clone(), clients].concat()
        };
        let sight = Sight::default();
        let mut agents = BTreeMap::new();
        for name in &hosts {
            let resources = Resources {
                cpu: random.random_range(2_000..8_000),
                memory_mb: random.random_range(2_000..16_000),
                disk_mb: 50_000,
                ..Resources::default()
            };
            let machine = SimHost::with_resources(name, seed, resources);
            machine.set_quality(quality);
            sight.add_machine(machine.clone());
            let (name, all) = (name.clone(), servers.clone());
            let (host, whole) = (name.clone(), size);
            let config = move || config(&host, &all, whole);
            let (wanted, watched) = watch::channel(Wanted::Up);
            agents.insert(name, wanted);
            life::add(&mut sim, machine, config, sight.clone(), watched);
        }
        let mut names: BTreeSet<String> = hosts.iter().cloned().collect();
        names.insert(USER.to_owned());
        if size.consul {
            names.insert(consul::NAME.to_owned());
            agents.insert(consul::NAME.to_owned(), watch::channel(Wanted::Up).0);
            let machine = SimHost::new(consul::NAME, seed);
            sight.add_machine(machine.clone());
            let registry = Registry::default();
            sim.host(consul::NAME, move || {
                consul::run(machine.clone(), registry.clone())
            });
        }
        Self {
            sim,
            sight,
            trace,
            servers,
            hosts,
            agents,
            links: Links::new(names, slowest),
            quality,
            watch: Watch::default(),
        }
    }

    /// One tick of simulated time; then what was ordered happens, and the invariants are checked.
    /// Returns true once the scenario has ended.
    pub fn step(&mut self) -> Result<bool> {
        let ended = self
            .sim
            .step()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let now = self.sim.elapsed();
        clock::between_steps(now, || self.carry_out_all())?;
        if let Some(panic) = self.sight.first_panic() {
            bail!("something panicked: {panic}");
        }
        let (links, hosts, servers) = (&self.links, &self.hosts, &self.servers);
        let watch = &mut self.watch;
        self.sight.with(|seen| {
            watch.look(&Scene {
                now,
                seen,
                links,
                hosts,
                servers,
            })
        })?;
        Ok(ended)
    }

    fn carry_out_all(&mut self) -> Result<()> {
        for order in self.sight.take_orders() {
            self.trace.note(&format!("fate: {order:?}"));
            self.carry_out(order)?;
            self.links.apply(&self.sim);
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Crash(host) => self.crash(&host)?,
            Order::Bounce(host) => self.bounce(&host)?,
            Order::KillAgent(host) => self.agent(&host, Wanted::Dead)?,
            Order::LeaveAgent(host) => self.agent(&host, Wanted::Leaving)?,
            Order::StartAgent(host) => self.agent(&host, Wanted::Up)?,
            Order::Partition { a, b } => {
                self.links.cut(&a, &b);
                self.links.cut(&b, &a);
            }
            Order::PartitionOneWay { from, to } => self.links.cut(&from, &to),
            Order::Hold { a, b } => self.links.hold(&self.sim, &a, &b),
            Order::Latency { a, b, up_to } => self.links.slow(&self.sim, &a, &b, up_to),
            Order::Loss { host, permille } => {
                self.links.lossy(&self.sim, &host);
                self.sight.machine(&host)?.set_quality(Quality {
                    lost_datagrams: permille,
                    ..self.quality
                });
            }
            Order::Heal => {
                self.links.heal(&self.sim, &self.sight);
                for host in &self.hosts {
                    self.sight.machine(host)?.set_quality(self.quality);
                }
            }
            Order::SlowDisk { host, slow } => self.sight.machine(&host)?.set_disk_slow(slow),
            Order::DiskFull { host, full } => self.sight.machine(&host)?.set_disk_full(full),
            Order::Skew { host, millis } => {
                self.sight.machine(&host)?.set_skew(millis * 1_000_000);
            }
            Order::FreezeClock { host, frozen } => {
                self.sight.machine(&host)?.freeze_clock(frozen);
            }
            Order::Kill { host, key } => {
                self.sight.machine(&host)?.kill_container(&key);
            }
            Order::PullFails {
                host,
                image,
                failing,
            } => self.sight.machine(&host)?.fail_pulls(&image, failing),
        }
        Ok(())
    }

    fn crash(&mut self, host: &str) -> Result<()> {
        if !self.sight.machine(host)?.is_up() {
            return Ok(());
        }
        // Cut off first: a machine without power doesn't close its connections.
        self.links.power(host, false);
        self.links.apply(&self.sim);
        self.sim.crash(host);
        self.sight.agent_gone(host);
        Ok(())
    }

    fn bounce(&mut self, host: &str) -> Result<()> {
        if self.sight.machine(host)?.is_up() {
            return Ok(());
        }
        self.links.power(host, true);
        self.links.apply(&self.sim);
        self.agent(host, Wanted::Up)?;
        self.sim.bounce(host);
        Ok(())
    }

    fn agent(&self, host: &str, wanted: Wanted) -> Result<()> {
        let agent = self.agents.get(host);
        let agent = agent.with_context(|| format!("there is no machine {host}"))?;
        agent.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        Ok(())
    }
}

/// Half of all networks are good ones.
fn quality(random: &mut SmallRng) -> Quality {
    if random.random_bool(0.5) {
        return Quality::default();
    }
    Quality {
        lost_datagrams: random.random_range(0..20),
        late_datagrams: random.random_range(0..100),
        lost_answers: random.random_range(0..30),
    }
}

fn config(name: &str, servers: &[String], size: Size) -> AgentConfig {
    let mut config = AgentConfig {
        name: name.to_owned(),
        data_dir: "/var/lib/drover".to_owned(),
        bind_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        advertise_addr: Some(turmoil::lookup(name)),
        join: servers.to_vec(),
        ..AgentConfig::default()
    };
    if size.consul {
        // The catalog stays: visitors ask it, too.
        config.consul = Some(ConsulConfig::at("consul:8500"));
    }
    config.edge.listeners.push(EdgeListener {
        protocol: EdgeProtocol::Tcp,
        ..EdgeListener::http(9997)
    });
    if servers.iter().any(|server| server == name) {
        config.server.enabled = true;
        config.server.bootstrap_expect = u32::try_from(servers.len()).unwrap_or(1);
        if let Some(entries) = size.snapshot_after {
            config.server.snapshot_threshold = entries;
        }
        config.client.enabled = size.is_together();
        config.edge.enabled = !size.is_together();
    } else {
        config.client.enabled = true;
        config.client.servers = servers.to_vec();
    }
    config
}
