//! `consul agent`: from Consul's flags to the configuration of a server that holds a catalog, on
//! Consul's ports. It schedules nothing and runs nothing, so that a `nomad agent` fits beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use jobspec::Configured;
use logic::config::AgentConfig;

use super::configuration::{UNSAID, files_at, settle_beginning, unreadable};
use crate::cli::terminal;

// Consul's ports, where they aren't ours.
const RPC_PORT: u16 = 8300;
const SERF_PORT: u16 = 8301;

/// Run a server of the catalog: members, services, DNS
#[derive(clap::Args, Debug, Default)]
#[command(after_help = "Examples:
  $ consul agent -dev
  $ consul agent -server -bootstrap-expect=3 -data-dir=/var/lib/consul -node=consul-2 \\
        -client=0.0.0.0 -bind=10.0.0.2 -join 10.0.0.1")]
pub(crate) struct ConsulAgentArgs {
    /// On loopback, forgotten when it ends
    #[arg(long)]
    dev: bool,
    /// Be a server; there are no other agents yet
    #[arg(long)]
    server: bool,
    /// Accepted: the web page is always there
    #[arg(long, hide = true)]
    ui: bool,
    /// How many servers the cluster starts with
    #[arg(long, value_name = "N")]
    bootstrap_expect: Option<u32>,
    /// The cluster starts with this server
    #[arg(long, conflicts_with = "bootstrap_expect")]
    bootstrap: bool,
    /// Where state lives
    #[arg(long, value_name = "PATH")]
    data_dir: Option<String>,
    /// The node's name instead of the host's
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The datacenter, which DNS has in names [default: dc1]
    #[arg(long, value_name = "NAME")]
    datacenter: Option<String>,
    /// The address of the HTTP API and of DNS [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The address other agents reach this one at, and that it listens on for them
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// The address other agents reach this one at, if it isn't the one it listens on
    #[arg(long, value_name = "IP")]
    advertise: Option<IpAddr>,
    /// An agent to join, HOST[:PORT]; may be repeated. If none answers, the agent doesn't start
    #[arg(long, value_name = "ADDR")]
    join: Vec<String>,
    /// The same, but the agent starts, and tries until one answers
    #[arg(long, value_name = "ADDR")]
    retry_join: Vec<String>,
    /// Accepted: agents try again every few seconds
    #[arg(long, hide = true, value_name = "TIME")]
    retry_interval: Option<String>,
    /// Accepted: agents try until one answers
    #[arg(long, hide = true, value_name = "N")]
    retry_max: Option<u32>,
    /// Accepted: an agent that left comes back when it is started
    #[arg(long, hide = true)]
    rejoin: bool,
    /// Accepted: there is one protocol
    #[arg(long, hide = true, value_name = "N")]
    raft_protocol: Option<u32>,
    /// The cluster's key, 32 bytes in base64: `consul keygen` prints one
    #[arg(long, value_name = "KEY")]
    encrypt: Option<String>,
    /// The port of DNS [default: 8600]
    #[arg(long, value_name = "PORT")]
    dns_port: Option<u16>,
    /// The port of the HTTP API [default: 8500]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// The port of gossip [default: 8301]
    #[arg(long, value_name = "PORT")]
    serf_lan_port: Option<u16>,
    /// The port of requests between agents [default: 8300]
    #[arg(long, value_name = "PORT")]
    server_port: Option<u16>,
    /// The domain of DNS [default: consul]
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// A resolver to ask about other domains than Consul's, IP[:PORT]; may be repeated
    #[arg(long, value_name = "ADDR")]
    recursor: Vec<String>,
    /// A configuration file of Consul's settings, JSON or HCL
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// A folder of such files, *.hcl and *.json
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// How much is logged [default: info]
    #[arg(long, value_name = "LEVEL",
        value_parser = ["trace", "debug", "info", "warn", "err", "error"], ignore_case = true)]
    log_level: Option<String>,
    /// Log JSON instead of lines for people
    #[arg(long)]
    log_json: bool,
}

/// Puts what Consul's configuration files say on top; returns what isn't acted on.
pub(in crate::cli) fn read_consul_files(
    config: &mut AgentConfig,
    paths: &[PathBuf],
) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for path in paths {
        for file in files_at(path)? {
            let read = std::fs::read_to_string(&file);
            let text = read.with_context(|| unreadable(&file))?;
            let name = file.display().to_string();
            let told =
                jobspec::consul_config::apply(config, &name, &text).map_err(|why| anyhow!(why))?;
            warnings.extend(told.iter().map(ToString::to_string));
        }
    }
    Ok(warnings)
}

/// A catalog's server before files and flags.
fn base(dev: bool) -> AgentConfig {
    let mut config = if dev {
        AgentConfig::dev()
    } else {
        AgentConfig::default()
    };
    config.bind_addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.ports.rpc = RPC_PORT;
    config.ports.serf = SERF_PORT;
    // Nobody asks the catalog's servers for jobs.
    config.ports.http = 0;
    config.addresses.http = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    config.server.enabled = dev;
    config.server.bootstrap_expect = UNSAID;
    config.client.enabled = false;
    config.edge.enabled = false;
    config
}

impl ConsulAgentArgs {
    pub(super) fn config(&self) -> anyhow::Result<Configured> {
        let files: Vec<_> = self
            .config_file
            .iter()
            .chain(&self.config_dir)
            .cloned()
            .collect();
        let mut configured = Configured {
            config: base(self.dev),
            warnings: Vec::new(),
        };
        let config = &mut configured.config;
        for warning in read_consul_files(config, &files)? {
            terminal::complain(&format!("warning: {warning}"));
        }
        self.override_by_flags(config)?;
        self.override_addresses(config);
        settle_beginning(config);
        if !config.server.enabled {
            bail!(
                "an agent of the catalog that is no server isn't supported yet: add -server, or \
                 run `drover agent -client`, which has the catalog too"
            );
        }
        let gossip_port = config.ports.serf;
        for addresses in [&mut config.start_join, &mut config.join] {
            for address in addresses {
                *address = with_port(address, gossip_port);
            }
        }
        jobspec::check_agent_config(config).map_err(|why| anyhow!(why))?;
        Ok(configured)
    }

    fn override_by_flags(&self, config: &mut AgentConfig) -> anyhow::Result<()> {
        if let Some(path) = &self.data_dir {
            config.data_dir = absolute(path)?;
        }
        for (flag, setting) in [
            (&self.node, &mut config.name),
            (&self.datacenter, &mut config.datacenter),
            (&self.encrypt, &mut config.encrypt),
        ] {
            if let Some(value) = flag {
                setting.clone_from(value);
            }
        }
        for (flag, setting) in [
            (self.dns_port, &mut config.catalog.dns_port),
            (self.http_port, &mut config.catalog.http_port),
            (self.serf_lan_port, &mut config.ports.serf),
            (self.server_port, &mut config.ports.rpc),
        ] {
            *setting = flag.unwrap_or(*setting);
        }
        if let Some(domain) = &self.domain {
            domain
                .trim_matches('.')
                .clone_into(&mut config.catalog.domain);
        }
        if let Some(level) = &self.log_level {
            let level = level.to_lowercase();
            config.log_level = if level == "err" {
                "error".to_owned()
            } else {
                level
            };
        }
        config.log_json |= self.log_json;
        config.server.enabled |= self.server;
        if let Some(count) = self.bootstrap_expect.or(self.bootstrap.then_some(1)) {
            config.server.bootstrap_expect = count;
        }
        config
            .catalog
            .recursors
            .extend(self.recursor.iter().cloned());
        config.start_join.extend(self.join.iter().cloned());
        config.join.extend(self.retry_join.iter().cloned());
        Ok(())
    }

    fn override_addresses(&self, config: &mut AgentConfig) {
        if let Some(client) = self.client {
            config.bind_addr = client;
        }
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let default = if self.dev {
            config.bind_addr
        } else {
            unspecified
        };
        let bind = self.bind.unwrap_or(default);
        for address in [&mut config.addresses.rpc, &mut config.addresses.serf] {
            if self.bind.is_some() || address.is_none() {
                *address = Some(bind);
            }
        }
        let bound = self.bind.filter(|bind| !bind.is_unspecified());
        config.advertise_addr = self.advertise.or(bound).or(config.advertise_addr);
    }
}

/// Whether the APIs' address, which usually is the one to advertise, isn't the one other agents
/// can reach.
pub(super) fn must_find_its_address(config: &AgentConfig) -> bool {
    let for_agents = config.addresses.rpc.unwrap_or(config.bind_addr);
    config.advertise_addr.is_none() && config.bind_addr.is_loopback() && !for_agents.is_loopback()
}

/// A path as a shell would have made it, had it looked behind the equals sign.
fn absolute(path: &str) -> anyhow::Result<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let path = match path.strip_prefix("~/") {
        Some(rest) if !home.is_empty() => Path::new(&home).join(rest),
        Some(_) | None => PathBuf::from(path),
    };
    let path = std::path::absolute(&path)
        .with_context(|| format!("can't tell where -data-dir {} is", path.display()))?;
    Ok(path.display().to_string())
}

/// An address with a port for gossip if it has none.
fn with_port(address: &str, port: u16) -> String {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if address.contains(':') => address.to_owned(),
        Err(_) => format!("{address}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Consul {
        #[command(flatten)]
        args: ConsulAgentArgs,
    }

    fn config(flags: &str) -> AgentConfig {
        let typed = flags.split_whitespace();
        let consul = Consul::parse_from(["consul"].into_iter().chain(typed));
        consul.args.config().expect("a configuration").config
    }

    #[test]
    fn the_walk_throughs_command_starts_a_server_of_the_catalog() {
        let config = config(
            "--server --ui --dns-port=53 --bootstrap-expect=3 \
             --data-dir=/root/consul-install/consul-data --node=consul-2 --client=0.0.0.0 \
             --bind=172.16.66.103 --datacenter=dc1 --join 172.16.66.102",
        );
        let bind = "172.16.66.103".parse().ok();
        assert_eq!(config.name, "consul-2");
        assert_eq!(config.server.bootstrap_expect, 3);
        assert!(config.server.enabled && !config.client.enabled && !config.edge.enabled);
        assert_eq!(config.start_join, ["172.16.66.102:8301"]);
        assert_eq!((config.ports.rpc, config.ports.serf), (8300, 8301));
        assert_eq!(
            (config.catalog.http_port, config.catalog.dns_port),
            (8500, 53)
        );
        assert!(config.bind_addr.is_unspecified());
        assert_eq!((config.addresses.rpc, config.addresses.serf), (bind, bind));
        assert_eq!(config.advertise_addr, bind);
        assert!(!must_find_its_address(&config));
    }

    #[test]
    fn by_default_the_apis_are_on_loopback_and_other_agents_are_not() {
        let config = config("--server --data-dir=/x");
        assert!(config.bind_addr.is_loopback());
        assert_eq!(config.addresses.rpc, Some(Ipv4Addr::UNSPECIFIED.into()));
        assert!(must_find_its_address(&config));
    }

    #[test]
    fn a_dev_agent_stays_on_loopback() {
        let config = self::config("--dev");
        assert!(config.dev_mode && config.server.enabled);
        assert_eq!(config.addresses.serf, Some(Ipv4Addr::LOCALHOST.into()));
        assert!(!must_find_its_address(&config));
    }

    #[test]
    fn a_data_dir_may_be_relative() {
        let here = std::env::current_dir().expect("a current directory");
        let data_dir = |path: &str| config(&format!("--server --data-dir={path}")).data_dir;
        assert_eq!(data_dir("data"), here.join("data").display().to_string());
        let home = std::env::var("HOME").expect("a home");
        assert_eq!(data_dir("~/data"), format!("{home}/data"));
    }

    #[test]
    fn agents_that_are_no_servers_are_refused() {
        let args = ConsulAgentArgs {
            data_dir: Some("/x".to_owned()),
            ..ConsulAgentArgs::default()
        };
        let error = args.config().expect_err("no server").to_string();
        assert!(error.contains("add -server"), "{error}");
    }

    #[test]
    fn gossips_port_is_added_where_there_is_none() {
        for (address, whole) in [
            ("10.0.0.1", "10.0.0.1:8301"),
            ("::1", "[::1]:8301"),
            ("[::1]", "[::1]:8301"),
            ("[::1]:1", "[::1]:1"),
            ("host", "host:8301"),
            ("host:1", "host:1"),
        ] {
            assert_eq!(with_port(address, SERF_PORT), whole);
        }
    }
}
