//! What an agent is told to be. Read from files by `jobspec`, from flags by the command line.

mod certificates;
mod consul;
mod dns;
mod edge;
mod listeners;
mod reload;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::Registrations;

pub use self::certificates::{CertKind, CertSource};
pub use self::consul::ConsulConfig;
pub use self::dns::{DnsConfig, SoaConfig};
pub use self::edge::{AccessFormat, EdgeConfig, ProxyOptions, Strategy, UiOptions};
pub use self::listeners::{EdgeListener, EdgeProtocol, ListenerOptions, ListenerTls};
pub use self::reload::needs_restart;

/// An agent's whole configuration, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    pub region: String,
    pub datacenter: String,
    /// The node's name; empty: the host's name.
    pub name: String,
    /// Where state lives; empty only with `dev_mode`, where nothing outlives the process.
    pub data_dir: String,
    /// The address all listeners bind to unless `addresses` says otherwise.
    pub bind_addr: IpAddr,
    pub addresses: Addresses,
    /// The address other agents reach this one at; unset: found out from `bind_addr` or the host.
    pub advertise_addr: Option<IpAddr>,
    pub ports: Ports,
    pub dev_mode: bool,
    /// `trace`, `debug`, `info`, `warn` or `error`, as `tracing` filters.
    pub log_level: String,
    pub log_json: bool,
    /// Leave gracefully on SIGINT / SIGTERM.
    pub leave_on_interrupt: bool,
    pub leave_on_terminate: bool,
    /// Agents to find the others through: `host[:port]`, of gossip unless a port is given. Asked
    /// again and again until one answers.
    pub join: Vec<String>,
    /// Those of `start_join`: an agent that reaches none of them doesn't start.
    pub start_join: Vec<String>,
    /// The cluster's 32-byte key in base64; empty: agents talk in the clear.
    pub encrypt: String,
    /// A Consul beside this agent, to register in and to find servers through.
    pub consul: Option<ConsulConfig>,
    pub server: ServerConfig,
    pub client: ClientConfig,
    pub catalog: CatalogConfig,
    pub edge: EdgeConfig,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            name: String::new(),
            data_dir: String::new(),
            bind_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            addresses: Addresses::default(),
            advertise_addr: None,
            ports: Ports::default(),
            dev_mode: false,
            log_level: "info".to_owned(),
            log_json: false,
            leave_on_interrupt: false,
            leave_on_terminate: false,
            join: Vec::new(),
            start_join: Vec::new(),
            encrypt: String::new(),
            consul: None,
            server: ServerConfig::default(),
            client: ClientConfig::default(),
            catalog: CatalogConfig::default(),
            edge: EdgeConfig::default(),
        }
    }
}

impl AgentConfig {
    /// Whether this agent is told of other agents, or where to ask for them.
    pub fn finds_others(&self) -> bool {
        let through_consul = self
            .consul
            .as_ref()
            .is_some_and(|consul| consul.auto_join(self.server.enabled));
        !self.join.is_empty() || !self.start_join.is_empty() || through_consul
    }

    /// Catalog and DNS are left to the Consul beside the agent, unless both are asked for.
    pub fn settle_catalog(&mut self) {
        if self.consul.is_some() && !self.catalog.said {
            self.catalog.enabled = false;
        }
    }

    /// `agent -dev`: a whole cluster in one process, on loopback, in memory.
    pub fn dev() -> Self {
        let mut config = Self {
            dev_mode: true,
            bind_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise_addr: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ..Self::default()
        };
        config.server.enabled = true;
        config.client.enabled = true;
        config
            .client
            .options
            .insert("driver.raw_exec.enable".to_owned(), "true".to_owned());
        config
    }
}

/// Bind addresses by listener; unset: `bind_addr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub http: Option<IpAddr>,
    pub rpc: Option<IpAddr>,
    pub serf: Option<IpAddr>,
}

/// Ports by listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The Nomad HTTP API.
    pub http: u16,
    /// Agent to agent.
    pub rpc: u16,
    /// Gossip.
    pub serf: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            http: 4646,
            rpc: 4647,
            serf: 4648,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub enabled: bool,
    /// How many servers the cluster starts with.
    pub bootstrap_expect: u32,
    /// Milliseconds a node may stay silent before it counts as down.
    pub heartbeat_ttl_ms: u64,
    /// Entries of the log after which a snapshot takes their place.
    pub snapshot_threshold: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            bootstrap_expect: 1,
            heartbeat_ttl_ms: 5_000,
            snapshot_threshold: 8_192,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientConfig {
    pub enabled: bool,
    /// Servers to talk to, `host[:port]`; empty: this agent's own server.
    pub servers: Vec<String>,
    pub node_class: String,
    pub meta: BTreeMap<String, String>,
    /// `driver.raw_exec.enable`, `docker.endpoint`, ...
    pub options: BTreeMap<String, String>,
    /// Allocation directories; empty: `DATA_DIR/alloc`.
    pub alloc_dir: String,
    pub state_dir: String,
    /// The interface whose address tasks get; empty: the one with the default route.
    pub network_interface: String,
    /// MHz; 0: found out from the host.
    pub cpu_total_compute: i64,
    pub memory_total_mb: i64,
    pub reserved: Reserved,
}

/// What tasks must leave for the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    pub cpu: i64,
    pub memory_mb: i64,
    pub disk_mb: i64,
    /// Such as `22,80,8500-8600`.
    pub ports: String,
}

/// The Consul-compatible part: catalog API and DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogConfig {
    pub http_port: u16,
    pub dns_port: u16,
    /// The DNS domain, without dots at its ends.
    pub domain: String,
    pub dns: DnsConfig,
    pub enabled: bool,
    /// Services and checks that the agent registers itself.
    pub registered: Registrations,
    /// Resolvers that know the rest of the world, `IP[:PORT]`.
    pub recursors: Vec<String>,
    /// The configuration says so itself: a Consul beside the agent doesn't change it.
    pub said: bool,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            http_port: 8500,
            dns_port: 8600,
            domain: "consul".to_owned(),
            dns: DnsConfig::default(),
            enabled: true,
            registered: Registrations::default(),
            recursors: Vec::new(),
            said: false,
        }
    }
}
