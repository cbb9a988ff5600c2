//! `start(world, config)`: creates the actors in order and wires them. The only place that knows
//! them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use logic::catalog::View;
use logic::config::AgentConfig;
use logic::membership::Member;
use logic::model::{CatalogNode, Node, Resources};
use ports::errors::NetworkError;
use ports::{Fingerprint, Listener, World};
use tokio::sync::Notify;

use crate::api::{self, Api, Identity};
use crate::catalog::{self, Beside, Catalog};
use crate::client::probe::Prober;
use crate::client::{self, Client, NodeIdentity};
use crate::consul::{self, Consul, Keeper, look_around};
use crate::dns::{self, DnsListener};
use crate::edge::{self, Edge};
use crate::error::StartError;
use crate::gossip::Gossip;
use crate::http_listener;
use crate::own_services::own_services;
use crate::published::Subscriber;
use crate::registry::Loaded;
use crate::reload::Settled;
use crate::rpc::Rpc;
use crate::seal::Seal;
use crate::server::{self, Requests, Routers, Server};
use crate::wishes::Owner;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Nomad whose job files and APIs are the measure.
const NOMAD_VERSION: &str = "0.8.7";

/// How long a Consul beside the agent may take to learn that it ends.
const RETIRED_WITHIN: Duration = Duration::from_secs(2);

/// A running agent.
pub struct Agent {
    pub identity: Arc<Identity>,
    pub server: Option<Server>,
    pub gossip: Gossip,
    pub client: Option<Addr<Client>>,
    pub catalog: Addr<Catalog>,
    pub edge: Option<Edge>,
    pub dns: Option<Addr<DnsListener>>,
    /// The agent's replica of the catalog.
    pub view: Subscriber<Arc<View>>,
    /// Somebody asked the agent over its API to leave.
    pub leaving: Arc<Notify>,
    /// What whoever starts the agent is asked for.
    pub owner: Owner,
    /// What takes it then.
    pub settled: Settled,
    dev_mode: bool,
}

impl Agent {
    /// Ends in order. A server lets another one lead. A dev agent takes its tasks with it; others
    /// leave them running, to be taken up by the next start. With `leave`, the cluster is told
    /// that the agent isn't expected back: a server then is one no more.
    pub async fn end(self, leave: bool) {
        if let (true, Some(client)) = (self.dev_mode, &self.client) {
            client.send(client::Leave).await.ok();
        }
        let ending = self.catalog.send(catalog::Ending);
        tokio::time::timeout(RETIRED_WITHIN, ending).await.ok();
        if let Some(server) = &self.server {
            server.hand_over().await;
        }
        if leave {
            self.gossip.leave().await;
        }
    }
}

/// Starts an agent. Returns once all of its ports are open.
pub async fn start(world: World, config: AgentConfig) -> Result<Agent, StartError> {
    if !config.server.enabled && !config.client.enabled {
        let why = "the agent is neither server nor client: enable at least one of them";
        return Err(StartError::Config(why.to_owned()));
    }
    world.disk.prepare()?;
    let config = Arc::new(config);
    let sockets = Sockets::open(&world, &config).await?;
    let fingerprint = world.machine.fingerprint();
    let identity = client::node_identity(&world).await?;
    let me = Arc::new(who(&config, &fingerprint, &identity));
    let seal = Seal::configured(&config.encrypt)?;
    let rpc = Rpc::sealed(world.clone(), seal.clone(), servers(&config));
    let member = member(&world, &config, &me);
    let gossip = Gossip::start(&world, &config, member.clone()).await?;
    let node = node(&world, &config, &identity, &me, fingerprint).await;
    let catalog_node = catalog_node(&node);
    let registered = Loaded::new(&world, &me.name, config.catalog.registered.clone()).await;
    let (catalog, view, local) = Catalog::new(
        &world,
        catalog_node.clone(),
        rpc.clone(),
        own_services(&config, &me),
        registered.rows(),
        !config.client.enabled,
        beside(&world, &config, &me),
    )
    .await;
    let (dns, edge) = outlets(&world, &config, &view).await?;
    let server = server(&world, &config, &member, &gossip, &seal).await?;
    let catalog = catalog.start();
    let prober = Prober::new(&world);
    let registry = registered.start(prober.clone(), catalog.clone().recipient(), local.clone());
    let (leaving, owner) = (Arc::new(Notify::new()), Owner::default());
    let settled = Settled::new(registry.clone(), dns.clone());
    let api = Api {
        world: world.clone(),
        config: Arc::clone(&config),
        identity: Arc::clone(&me),
        server: server.clone(),
        gossip: gossip.clone(),
        rpc: rpc.clone(),
        view: view.clone(),
        local,
        registry,
        leaving: Arc::clone(&leaving),
        owner: owner.clone(),
    };
    sockets.serve(api, seal);
    join_through_consul(&world, &config, &gossip, member);
    actix_rt::spawn(follow_servers(gossip.clone(), rpc.clone(), config.clone()));
    let runs = || Client::new(world, rpc, prober, catalog.clone(), node, catalog_node).start();
    let client = config.client.enabled.then(runs);
    let dev_mode = config.dev_mode;
    Ok(Agent {
        identity: me,
        server,
        gossip,
        client,
        catalog,
        edge,
        dns,
        view,
        leaving,
        owner,
        settled,
        dev_mode,
    })
}

async fn server(
    world: &World,
    config: &Arc<AgentConfig>,
    member: &Member,
    gossip: &Gossip,
    seal: &Seal,
) -> Result<Option<Server>, StartError> {
    if !config.server.enabled {
        return Ok(None);
    }
    // Its own connections: what a client thinks of a server is nothing to the servers.
    let between = Rpc::sealed(world.clone(), seal.clone(), Vec::new());
    let started = server::start(world, config, member, gossip, &between).await?;
    Ok(Some(started))
}

/// Looks for others in a Consul's catalog, if there is one to ask.
fn join_through_consul(world: &World, config: &AgentConfig, gossip: &Gossip, member: Member) {
    if let Some(consul) = &config.consul
        && consul.auto_join(config.server.enabled)
        && !config.dev_mode
    {
        let asked = Consul::new(world.clone(), consul);
        let name = consul.server_service_name.clone();
        actix_rt::spawn(look_around(asked, name, gossip.clone(), member));
    }
}

/// The Consul beside this agent, kept told of what runs here.
fn beside(world: &World, config: &AgentConfig, me: &Identity) -> Option<Beside> {
    let consul = config.consul.as_ref()?;
    // Its HTTP port tells agents on one host apart.
    let mark = format!("{}:{}", me.name, config.ports.http);
    let own = consul::registrations(config, consul, me.address, &mark);
    let asked = Consul::new(world.clone(), consul);
    let (keeper, heard) = Keeper::new(world.clone(), asked, &mark, own);
    let keeper = keeper.start();
    Some(Beside { keeper, heard })
}

/// Keeps what the agent knows of the servers up to date: its own first, then those of its region.
async fn follow_servers(gossip: Gossip, rpc: Rpc, config: Arc<AgentConfig>) {
    let own = if config.server.enabled {
        servers(&config)
    } else {
        Vec::new()
    };
    let mut members = gossip.members();
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let alive: BTreeMap<String, u64> = {
            let members = members.borrow_and_update();
            members
                .alive_servers(&config.region)
                .map(|member| (member.rpc_address().to_string(), member.generation))
                .collect()
        };
        for (server, generation) in &alive {
            if known.get(server).is_some_and(|before| before != generation) {
                // It may have lost power: whoever waits for an answer of before waits in vain.
                rpc.give_up_on(server);
            }
        }
        let others: Vec<String> = alive.keys().cloned().collect();
        known.extend(alive);
        if !others.is_empty() {
            let mut servers = own.clone();
            servers.extend(others.into_iter().filter(|server| !own.contains(server)));
            rpc.set_servers(servers);
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}

/// What the agent says of itself to the others.
fn member(world: &World, config: &AgentConfig, me: &Identity) -> Member {
    Member {
        id: me.node_id.clone(),
        name: me.name.clone(),
        region: config.region.clone(),
        datacenter: config.datacenter.clone(),
        address: me.address,
        serf_port: config.ports.serf,
        rpc_port: config.ports.rpc,
        http_port: config.ports.http,
        server: config.server.enabled,
        bootstrap_expect: config.server.bootstrap_expect,
        version: VERSION.to_owned(),
        generation: u64::try_from(world.clock.now().0).unwrap_or_default(),
    }
}

/// DNS and the edge, which answer from the catalog's replica.
async fn outlets(
    world: &World,
    config: &AgentConfig,
    view: &Subscriber<Arc<View>>,
) -> Result<(Option<Addr<DnsListener>>, Option<Edge>), StartError> {
    let dns = if config.catalog.enabled {
        let bound = dns::start(world, &config.catalog, config.bind_addr, view.clone()).await;
        Some(bound.map_err(listening("DNS", "catalog { dns_port }"))?)
    } else {
        None
    };
    let edge = if config.edge.enabled {
        let bound = edge::start(world, &config.edge, config.bind_addr, view.clone()).await;
        Some(bound.map_err(listening("the edge proxy", "edge { proxy_addr, ui_port }"))?)
    } else {
        None
    };
    Ok((dns, edge))
}

fn who(config: &AgentConfig, fingerprint: &Fingerprint, identity: &NodeIdentity) -> Identity {
    let name = if config.name.is_empty() {
        &fingerprint.hostname
    } else {
        &config.name
    };
    Identity {
        node_id: identity.id.clone(),
        name: name.clone(),
        address: advertised(config, fingerprint),
        version: VERSION,
    }
}

/// Listeners are opened before anything is started: a busy port leaves nothing half done.
struct Sockets {
    http: Box<dyn Listener>,
    rpc: Option<Box<dyn Listener>>,
    catalog_http: Option<Box<dyn Listener>>,
}

impl Sockets {
    async fn open(world: &World, config: &AgentConfig) -> Result<Self, StartError> {
        let http = SocketAddr::new(
            config.addresses.http.unwrap_or(config.bind_addr),
            config.ports.http,
        );
        let http = world.network.listen(http).await;
        let http = http.map_err(listening("the HTTP API", "ports { http }"))?;
        let rpc = if config.server.enabled {
            let listener = world.network.listen(server::rpc_address(config)).await;
            Some(listener.map_err(listening("other agents", "ports { rpc }"))?)
        } else {
            None
        };
        let catalog_http = if config.catalog.enabled {
            let address = SocketAddr::new(config.bind_addr, config.catalog.http_port);
            let listener = world.network.listen(address).await;
            Some(listener.map_err(listening("the catalog's HTTP API", "catalog { http_port }"))?)
        } else {
            None
        };
        Ok(Self {
            http,
            rpc,
            catalog_http,
        })
    }

    /// Answers what comes in.
    fn serve(self, api: Api, seal: Seal) {
        let (clock, random) = (api.world.clock.clone(), api.world.random.clone());
        let (server, datacenter) = (api.server.clone(), api.config.datacenter.clone());
        let routers = Routers {
            nomad: api::nomad(api.clone()),
            consul: api::consul(api),
        };
        if let (Some(server), Some(listener)) = (server, self.rpc) {
            Requests::new(listener, server, routers.clone(), datacenter, seal, random).start();
        }
        actix_rt::spawn(http_listener::serve(
            self.http,
            routers.nomad,
            clock.clone(),
        ));
        if let Some(listener) = self.catalog_http {
            actix_rt::spawn(http_listener::serve(listener, routers.consul, clock));
        }
    }
}

fn listening(what: &'static str, setting: &'static str) -> impl FnOnce(NetworkError) -> StartError {
    move |source| StartError::Listen {
        what,
        setting,
        source,
    }
}

/// The address other agents and tasks' users reach this agent at.
fn advertised(config: &AgentConfig, fingerprint: &Fingerprint) -> IpAddr {
    let bound = (!config.bind_addr.is_unspecified()).then_some(config.bind_addr);
    config
        .advertise_addr
        .or(bound)
        .or(fingerprint.address)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Where servers are: those configured, or this agent itself.
fn servers(config: &AgentConfig) -> Vec<String> {
    let rpc = config.ports.rpc;
    if config.server.enabled || config.client.servers.is_empty() {
        let bound = server::rpc_address(config).ip();
        let ip = if bound.is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            bound
        };
        return vec![SocketAddr::new(ip, rpc).to_string()];
    }
    let with_port = |server: &String| {
        let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        if has_port {
            server.clone()
        } else {
            format!("{server}:{rpc}")
        }
    };
    config.client.servers.iter().map(with_port).collect()
}

async fn node(
    world: &World,
    config: &AgentConfig,
    identity: &NodeIdentity,
    me: &Identity,
    fingerprint: Fingerprint,
) -> Node {
    let mut attributes = fingerprint.attributes;
    // Job files ask for it in constraints, and tools gate on it.
    attributes.insert("nomad.version".to_owned(), NOMAD_VERSION.to_owned());
    attributes.insert("drover.version".to_owned(), VERSION.to_owned());
    attributes.insert("unique.hostname".to_owned(), fingerprint.hostname);
    let mut drivers = world.containers.drivers().await;
    for info in drivers.values_mut() {
        info.update_time = world.clock.now();
    }
    for (name, info) in drivers.iter().filter(|(_, info)| info.detected) {
        attributes.insert(format!("driver.{name}"), "1".to_owned());
        attributes.extend(info.attributes.clone());
    }
    let mut resources = fingerprint.resources;
    if config.client.cpu_total_compute > 0 {
        resources.cpu = config.client.cpu_total_compute;
    }
    if config.client.memory_total_mb > 0 {
        resources.memory_mb = config.client.memory_total_mb;
    }
    let reserved = &config.client.reserved;
    let http = SocketAddr::new(me.address, config.ports.http);
    Node {
        id: identity.id.clone(),
        secret_id: identity.secret.clone(),
        datacenter: config.datacenter.clone(),
        name: me.name.clone(),
        http_addr: http.to_string(),
        address: me.address.to_string(),
        attributes,
        meta: config.client.meta.clone(),
        node_class: config.client.node_class.clone(),
        resources,
        reserved: Resources {
            cpu: reserved.cpu,
            memory_mb: reserved.memory_mb,
            disk_mb: reserved.disk_mb,
            ..Resources::default()
        },
        drivers,
        used_ports: world.machine.ports_in_use(),
        ..Node::default()
    }
}

fn catalog_node(node: &Node) -> CatalogNode {
    CatalogNode {
        id: node.id.clone(),
        node: node.name.clone(),
        address: node.address.clone(),
        datacenter: node.datacenter.clone(),
        meta: BTreeMap::from([("consul-network-segment".to_owned(), String::new())]),
        ..CatalogNode::default()
    }
}
