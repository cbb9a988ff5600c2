//! From flags and files to an agent's configuration: defaults, then files in their order, then
//! flags.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use jobspec::Configured;
use logic::config::AgentConfig;

use super::consul_flags::ConsulArgs;
use super::edge_flags::EdgeArgs;
use crate::cli::version::Program;

/// Run an agent: a server, a client, or with -dev a whole cluster in one process
#[derive(clap::Args, Debug, Default)]
pub(crate) struct AgentArgs {
    /// A whole cluster in one process: on loopback, forgotten when it ends
    #[arg(long)]
    dev: bool,
    /// A configuration file, or a folder of *.hcl and *.json files; later ones override earlier
    /// ones, flags override them all
    #[arg(long, value_name = "FILE_OR_DIR")]
    config: Vec<PathBuf>,
    /// Where state lives, as an absolute path
    #[arg(long, value_name = "PATH")]
    data_dir: Option<String>,
    /// The address to listen on
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// The node's name instead of the host's
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The datacenter, which jobs name and DNS has in names [default: dc1]
    #[arg(long, value_name = "NAME")]
    dc: Option<String>,
    /// The region [default: global]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Be a server: hold the cluster's state and schedule
    #[arg(long)]
    server: bool,
    /// Be a client: run tasks
    #[arg(long)]
    client: bool,
    /// How many servers the cluster starts with
    #[arg(long, value_name = "N")]
    bootstrap_expect: Option<u32>,
    /// The servers a client talks to, HOST[:PORT] with commas between them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    servers: Vec<String>,
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
    /// The cluster's key, 32 bytes in base64: `drover keygen` prints one
    #[arg(long, value_name = "KEY")]
    encrypt: Option<String>,
    #[command(flatten)]
    consul: ConsulArgs,
    /// What constraints call this client's kind
    #[arg(long, value_name = "CLASS")]
    node_class: Option<String>,
    /// KEY=VALUE for constraints; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// The interface whose address tasks get
    #[arg(long, value_name = "NAME")]
    network_interface: Option<String>,
    /// MHz of this client instead of what is found
    #[arg(long, value_name = "MHZ")]
    cpu_total_compute: Option<i64>,
    /// Where allocations have their directories
    #[arg(long, value_name = "PATH")]
    alloc_dir: Option<String>,
    /// Where a client keeps what it must know after a restart
    #[arg(long, value_name = "PATH")]
    state_dir: Option<String>,
    /// How much is logged [default: info]
    #[arg(long, value_name = "LEVEL",
        value_parser = ["trace", "debug", "info", "warn", "error"], ignore_case = true)]
    log_level: Option<String>,
    /// Log JSON instead of lines for people
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    edge: EdgeArgs,
    /// The port of the HTTP API instead of 4646
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Added to every port, for several agents on one machine
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    port_offset: u16,
}

impl AgentArgs {
    pub(super) fn config(&self, program: Program) -> anyhow::Result<Configured> {
        let mut base = if self.dev {
            dev()
        } else {
            AgentConfig::default()
        };
        base.server.bootstrap_expect = UNSAID;
        // Whoever starts a Nomad runs fabio as a job, which needs the edge's ports.
        base.edge.enabled = program != Program::Nomad;
        let mut configured = read_files(base, &self.config)?;
        let config = &mut configured.config;
        self.override_by_flags(config);
        self.override_cluster(config);
        self.consul.override_in(config)?;
        self.edge.override_in(&mut config.edge)?;
        settle_beginning(config);
        shift_ports(config, self.port_offset)?;
        jobspec::check_agent_config(config).map_err(|why| anyhow!(why))?;
        Ok(configured)
    }

    fn override_by_flags(&self, config: &mut AgentConfig) {
        for (flag, setting) in [
            (&self.data_dir, &mut config.data_dir),
            (&self.node, &mut config.name),
            (&self.dc, &mut config.datacenter),
            (&self.region, &mut config.region),
            (&self.node_class, &mut config.client.node_class),
            (
                &self.network_interface,
                &mut config.client.network_interface,
            ),
            (&self.alloc_dir, &mut config.client.alloc_dir),
            (&self.state_dir, &mut config.client.state_dir),
        ] {
            if let Some(value) = flag {
                setting.clone_from(value);
            }
        }
        if let Some(level) = &self.log_level {
            config.log_level = level.to_lowercase();
        }
        if let Some(address) = self.bind {
            config.bind_addr = address;
            if self.dev && !address.is_loopback() {
                // What -dev says about addresses holds on loopback only.
                config.advertise_addr = None;
                config.client.network_interface.clear();
            }
        }
        config.server.enabled |= self.server;
        config.client.enabled |= self.client;
        config.log_json |= self.log_json;
        if let Some(count) = self.bootstrap_expect {
            config.server.bootstrap_expect = count;
        }
        if !self.servers.is_empty() {
            config.client.servers.clone_from(&self.servers);
        }
        if let Some(port) = self.http_port {
            config.ports.http = port;
        }
        if let Some(mhz) = self.cpu_total_compute {
            config.client.cpu_total_compute = mhz;
        }
        config.client.meta.extend(self.meta.iter().cloned());
    }

    /// How the others are found, and talked to.
    fn override_cluster(&self, config: &mut AgentConfig) {
        config.start_join.extend(self.join.iter().cloned());
        config.join.extend(self.retry_join.iter().cloned());
        if let Some(key) = &self.encrypt {
            config.encrypt.clone_from(key);
        }
    }
}

/// A `bootstrap_expect` that nobody has given. As such it stays for servers that join others: two
/// clusters would never become one.
pub(super) const UNSAID: u32 = 0;

/// A server that has nobody to join begins a cluster of its own.
pub(super) fn settle_beginning(config: &mut AgentConfig) {
    let alone = config.dev_mode || !config.finds_others();
    if config.server.bootstrap_expect == UNSAID && alone {
        config.server.bootstrap_expect = 1;
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

/// `-dev`, with tasks on loopback too.
pub(in crate::cli) fn dev() -> AgentConfig {
    let mut config = AgentConfig::dev();
    "lo".clone_into(&mut config.client.network_interface);
    config
}

/// Moves all ports, so that several agents fit on one machine. Port 0 stays: any free one.
pub(in crate::cli) fn shift_ports(config: &mut AgentConfig, offset: u16) -> anyhow::Result<()> {
    let ports = [
        &mut config.ports.http,
        &mut config.ports.rpc,
        &mut config.ports.serf,
        &mut config.catalog.http_port,
        &mut config.catalog.dns_port,
        &mut config.edge.ui_port,
    ];
    let listeners = config.edge.listeners.iter_mut();
    for port in ports
        .into_iter()
        .chain(listeners.map(|listener| &mut listener.port))
    {
        if *port != 0 {
            let shifted = port.checked_add(offset);
            *port = shifted.with_context(|| format!("port {port} + {offset} is above 65535"))?;
        }
    }
    Ok(())
}

pub(super) fn read_files(base: AgentConfig, paths: &[PathBuf]) -> anyhow::Result<Configured> {
    let mut files = Vec::new();
    for path in paths {
        for file in files_at(path)? {
            let read = fs::read(&file);
            let bytes = read.with_context(|| unreadable(&file))?;
            files.push((file.display().to_string(), bytes));
        }
    }
    jobspec::load_agent_config(base, &files).map_err(|errors| {
        let lines: Vec<_> = errors.0.iter().map(one_line).collect();
        anyhow!(lines.join("\n"))
    })
}

pub(super) fn one_line(problem: &jobspec::Problem) -> String {
    let jobspec::Problem {
        file,
        line,
        column,
        message,
        hint,
    } = problem;
    let hint = hint
        .as_ref()
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    format!("{file}:{line}:{column}: {message}{hint}")
}

/// The file itself, or the configuration files in the folder, by name.
pub(super) fn files_at(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let found = fs::metadata(path).with_context(|| unreadable(path))?;
    if !found.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| unreadable(path))? {
        let file = entry.with_context(|| unreadable(path))?.path();
        if file
            .extension()
            .is_some_and(|ending| ending == "hcl" || ending == "json")
        {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!(
            "there is no *.hcl or *.json in the folder {}",
            path.display()
        );
    }
    files.sort();
    Ok(files)
}

pub(super) fn unreadable(path: &Path) -> String {
    format!("can't read the configuration {}", path.display())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use logic::config::EdgeListener;

    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn files_override_defaults_and_flags_override_files() {
        let folder = written(&[
            ("20.hcl", "datacenter = \"from20\"\nregion = \"from20\""),
            (
                "10.json",
                "{\"datacenter\": \"from10\", \"name\": \"from10\"}",
            ),
            ("notes.txt", "not = \"read\""),
        ]);
        let args = AgentArgs {
            dev: true,
            config: vec![folder.path().to_owned()],
            region: Some("flag".to_owned()),
            ..AgentArgs::default()
        };
        let config = args
            .config(Program::Drover)
            .expect("a configuration")
            .config;
        assert_eq!(config.name, "from10");
        assert_eq!(config.datacenter, "from20");
        assert_eq!(config.region, "flag");
        assert!(config.dev_mode && config.server.enabled && config.client.enabled);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        let unknown = written(&[("agent.hcl", "\ndata_dri = \"/x\"")]);
        let empty = written(&[]);
        let config = |path: &Path| vec![path.to_owned()];
        for (args, reason) in [
            (
                AgentArgs {
                    server: true,
                    ..AgentArgs::default()
                },
                "no data_dir",
            ),
            (
                AgentArgs {
                    dev: true,
                    port_offset: 60_000,
                    ..AgentArgs::default()
                },
                "is above 65535",
            ),
            (
                AgentArgs {
                    dev: true,
                    config: config(&unknown.path().join("agent.hcl")),
                    ..AgentArgs::default()
                },
                "agent.hcl:2:1: ",
            ),
            (
                AgentArgs {
                    dev: true,
                    config: config(empty.path()),
                    ..AgentArgs::default()
                },
                "there is no *.hcl or *.json",
            ),
            (
                AgentArgs {
                    config: config(Path::new("/no/such/file")),
                    ..AgentArgs::default()
                },
                "can't read the configuration /no/such/file",
            ),
        ] {
            let error = args.config(Program::Drover).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn flags_say_how_the_others_are_found() {
        let folder = written(&[(
            "agent.hcl",
            "server {\n retry_join = [\"a\"]\n retry_max = 2\n}\nclient {\n meta {\n x = 1\n }\n}",
        )]);
        let key = "cg8StVXbQJ0gPvMd9o7yrg3kZHHU9pH2hGcNZNl6Nbg=";
        let args = AgentArgs {
            dev: true,
            config: vec![folder.path().to_owned()],
            join: vec!["10.0.0.1".to_owned()],
            retry_join: vec!["b:4648".to_owned()],
            encrypt: Some(key.to_owned()),
            consul: ConsulArgs {
                consul_address: Some("http://127.0.0.1:8500/".to_owned()),
                ..ConsulArgs::default()
            },
            meta: vec![("y".to_owned(), "2".to_owned())],
            ..AgentArgs::default()
        };
        let Configured { config, warnings } =
            args.config(Program::Drover).expect("a configuration");
        assert_eq!(config.start_join, ["10.0.0.1"]);
        assert_eq!(config.join, ["a", "b:4648"]);
        assert_eq!(config.encrypt, key);
        assert_eq!(
            config.consul,
            Some(logic::config::ConsulConfig::at("127.0.0.1:8500"))
        );
        assert!(!config.catalog.enabled, "its ports are left to the Consul");
        assert_eq!(config.client.meta.len(), 2);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[test]
    fn a_server_that_joins_others_begins_no_cluster_unless_told() {
        let expect = |join: &[&str], given| {
            let args = AgentArgs {
                server: true,
                data_dir: Some("/x".to_owned()),
                join: join.iter().map(|address| (*address).to_owned()).collect(),
                bootstrap_expect: given,
                ..AgentArgs::default()
            };
            let configured = args.config(Program::Drover).expect("a configuration");
            configured.config.server.bootstrap_expect
        };
        assert_eq!(expect(&[], None), 1);
        assert_eq!(expect(&["a"], None), 0);
        assert_eq!(expect(&["a"], Some(3)), 3);
    }

    #[test]
    fn what_cannot_be_joined_or_decoded_is_refused() {
        let dev = || AgentArgs {
            dev: true,
            ..AgentArgs::default()
        };
        for (args, reason) in [
            (
                AgentArgs {
                    join: vec!["10.0.0.1:gossip".to_owned()],
                    ..dev()
                },
                "`10.0.0.1:gossip` is not an address to join",
            ),
            (
                AgentArgs {
                    encrypt: Some("secret".to_owned()),
                    ..dev()
                },
                "`encrypt` must be 32 bytes in base64",
            ),
        ] {
            let error = args.config(Program::Drover).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_offset_moves_every_port_but_zero() {
        let mut config = AgentConfig::default();
        config.ports.serf = 0;
        shift_ports(&mut config, 10).expect("within the range");
        assert_eq!(
            (config.ports.http, config.ports.rpc, config.ports.serf),
            (4656, 4657, 0)
        );
        assert_eq!(
            (config.catalog.http_port, config.catalog.dns_port),
            (8510, 8610)
        );
        assert_eq!(
            (config.edge.listeners, config.edge.ui_port),
            (vec![EdgeListener::http(10_009)], 10_008)
        );
    }

    #[test]
    fn a_nomad_leaves_the_edges_ports_to_a_fabio_unless_told_otherwise() {
        let written = |text: &str| {
            let file = tempfile::NamedTempFile::with_suffix(".hcl").expect("a file");
            fs::write(file.path(), text).expect("written");
            file
        };
        let (silent, block) = (
            written("data_dir = \"/x\""),
            written("edge {\n ui_port = 1\n}"),
        );
        for (program, file, flag, expected) in [
            (Program::Nomad, &silent, None, false),
            (Program::Nomad, &block, None, true),
            (Program::Nomad, &silent, Some(":9999"), true),
            (Program::Drover, &silent, None, true),
        ] {
            let args = AgentArgs {
                dev: true,
                config: vec![file.path().to_owned()],
                edge: EdgeArgs::listening(flag),
                ..AgentArgs::default()
            };
            let config = args.config(program).expect("a configuration").config;
            assert_eq!(config.edge.enabled, expected, "{program:?} {flag:?}");
        }
    }

    #[test]
    fn a_dev_agent_outside_loopback_finds_its_address_out() {
        let bind = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let args = AgentArgs {
            dev: true,
            bind,
            ..AgentArgs::default()
        };
        let config = args
            .config(Program::Drover)
            .expect("a configuration")
            .config;
        assert_eq!(config.advertise_addr, None);
        assert_eq!(config.client.network_interface, "");
        let args = AgentArgs {
            dev: true,
            ..AgentArgs::default()
        };
        let config = args
            .config(Program::Drover)
            .expect("a configuration")
            .config;
        assert_eq!(config.client.network_interface, "lo");
    }
}
