//! Agent configuration files: HCL or JSON, several of them, later ones override.

use std::collections::BTreeMap;
use std::net::IpAddr;

use logic::config::AgentConfig;
use logic::validate::Path;

use crate::agent_names as names;
use crate::decode::{Decoder, Fields};
use crate::names::Names;
use crate::problem::{Errors, Findings, Problem, Source};
use crate::tree::{Body, Data, Kind};
use crate::{
    agent_catalog, agent_consul, agent_edge, agent_join as join, is_json, json, scan, utf8,
};

/// An agent's configuration as its files have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    pub config: AgentConfig,
    /// What is read, and not acted on.
    pub warnings: Vec<Problem>,
}

/// `base` with what the files (name and content) say on top, in their order.
pub fn load_agent_config(
    base: AgentConfig,
    files: &[(String, Vec<u8>)],
) -> Result<Configured, Errors> {
    let mut config = base;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    for (file, bytes) in files {
        match apply(&mut config, file, bytes) {
            Ok(found) => warnings.extend(found),
            Err(Errors(found)) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        config.settle_catalog();
        Ok(Configured { config, warnings })
    } else {
        Err(Errors(problems))
    }
}

/// Whether an agent can be started with this.
pub fn check_agent_config(config: &AgentConfig) -> Result<(), String> {
    if config.data_dir.is_empty() && !config.dev_mode {
        return Err(
            "no data_dir: set `data_dir` in the configuration file or -data-dir, or try -dev"
                .to_owned(),
        );
    }
    if !config.data_dir.is_empty() && !config.data_dir.starts_with('/') {
        let dir = &config.data_dir;
        return Err(format!("data_dir `{dir}` must be an absolute path"));
    }
    if !config.server.enabled && !config.client.enabled {
        return Err(
            "neither server nor client is enabled: enable one of them, or try -dev".to_owned(),
        );
    }
    for address in config.join.iter().chain(&config.start_join) {
        join::check_address(address).map_err(|(message, hint)| format!("{message}: {hint}"))?;
    }
    if !config.encrypt.is_empty() {
        join::check_key(&config.encrypt).map_err(|(message, hint)| format!("{message}: {hint}"))?;
    }
    let finds_others = config.finds_others();
    if config.server.enabled && config.server.bootstrap_expect == 0 && !finds_others {
        return Err(
            "bootstrap_expect is 0: it must be the number of servers, unless there are some to \
             join"
                .to_owned(),
        );
    }
    if !config.server.enabled && config.client.servers.is_empty() && !finds_others {
        return Err(
            "this client knows no server: set `servers` or `server_join` in `client`, or -join, \
             or enable `server`"
                .to_owned(),
        );
    }
    Ok(())
}

fn apply(config: &mut AgentConfig, file: &str, bytes: &[u8]) -> Result<Vec<Problem>, Errors> {
    let text = utf8(file, bytes)?;
    let mut findings = Findings::new(Source { file, text });
    let body = if is_json(text) {
        json::read(&mut findings).and_then(|data| json_body(&mut findings, &data))
    } else {
        Some(scan::file(&mut findings))
    };
    if let Some(body) = body {
        agent(&mut Decoder::new(&mut findings), &body, config);
    }
    findings.take()
}

fn json_body(findings: &mut Findings<'_>, data: &Data) -> Option<Body> {
    if let Kind::Map(_) = data.kind {
        return data.as_bodies()?.pop();
    }
    findings.error(data.at, "expected settings in braces");
    None
}

fn agent(decoder: &mut Decoder<'_, '_>, body: &Body, config: &mut AgentConfig) {
    let fields = decoder.fields(&names::AGENT, body, &Path::default());
    decoder.string(&fields, "region", &mut config.region);
    decoder.string(&fields, "datacenter", &mut config.datacenter);
    decoder.string(&fields, "name", &mut config.name);
    decoder.string(&fields, "data_dir", &mut config.data_dir);
    if let Some(address) = ip(decoder, &fields, "bind_addr") {
        config.bind_addr = address;
    }
    log_level(decoder, &fields, &mut config.log_level);
    decoder.flag(&fields, "log_json", &mut config.log_json);
    decoder.flag(
        &fields,
        "leave_on_interrupt",
        &mut config.leave_on_interrupt,
    );
    decoder.flag(
        &fields,
        "leave_on_terminate",
        &mut config.leave_on_terminate,
    );
    block(decoder, &fields, "addresses", &names::ADDRESSES, |d, f| {
        let addresses = &mut config.addresses;
        for (name, address) in [
            ("http", &mut addresses.http),
            ("rpc", &mut addresses.rpc),
            ("serf", &mut addresses.serf),
        ] {
            *address = ip(d, f, name).or(*address);
        }
    });
    block(decoder, &fields, "advertise", &names::ADVERTISE, |d, f| {
        advertise(d, f, &mut config.advertise_addr);
    });
    block(decoder, &fields, "ports", &names::PORTS, |d, f| {
        port(d, f, "http", &mut config.ports.http);
        port(d, f, "rpc", &mut config.ports.rpc);
        port(d, f, "serf", &mut config.ports.serf);
    });
    join::encrypt(decoder, &fields, &mut config.encrypt);
    block(decoder, &fields, "server", &names::SERVER, |d, f| {
        server(d, f, config);
    });
    block(decoder, &fields, "client", &names::CLIENT, |d, f| {
        client(d, f, config);
    });
    block(decoder, &fields, "consul", &names::CONSUL, |d, f| {
        agent_consul::consul(d, f, &mut config.consul);
    });
    plugins(decoder, &fields, &mut config.client.options);
    block(decoder, &fields, "catalog", &names::CATALOG, |d, f| {
        agent_catalog::catalog(d, f, &mut config.catalog);
    });
    block(decoder, &fields, "edge", &names::EDGE, |d, f| {
        agent_edge::edge(d, f, config);
    });
}

/// Reads the block `name`, if it is there.
pub(crate) fn block(
    decoder: &mut Decoder<'_, '_>,
    owner: &Fields<'_>,
    name: &'static str,
    known: &'static Names,
    read: impl FnOnce(&mut Decoder<'_, '_>, &Fields<'_>),
) {
    if let Some(section) = decoder.section(owner, name) {
        let path = owner.path.key(name);
        let fields = decoder.fields(known, &section.body, &path);
        read(decoder, &fields);
    }
}

fn server(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, config: &mut AgentConfig) {
    let server = &mut config.server;
    decoder.flag(fields, "enabled", &mut server.enabled);
    if let Some(count) = decoder.small(fields, "bootstrap_expect", "0 or more") {
        server.bootstrap_expect = count;
    }
    if let Some(nanos) = decoder.period(fields, "heartbeat_grace") {
        server.heartbeat_ttl_ms = u64::try_from(nanos / 1_000_000).unwrap_or(0);
    }
    if let Some(entries) = decoder.small::<u32>(fields, "raft_snapshot_threshold", "1 or more") {
        server.snapshot_threshold = u64::from(entries.max(1));
    }
    // Of no consequence: there is one protocol, and who left always comes back if started again.
    decoder.small::<u32>(fields, "raft_protocol", "0 or more");
    decoder.small::<u32>(fields, "protocol_version", "0 or more");
    decoder.flag(fields, "rejoin_after_leave", &mut true);
    join::encrypt(decoder, fields, &mut config.encrypt);
    join::of_server(decoder, fields, config);
}

fn client(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, config: &mut AgentConfig) {
    let client = &mut config.client;
    decoder.flag(fields, "enabled", &mut client.enabled);
    decoder.strings(fields, "servers", &mut client.servers);
    decoder.string(fields, "node_class", &mut client.node_class);
    client.meta.extend(decoder.text_map(fields, "meta"));
    client.options.extend(decoder.text_map(fields, "options"));
    decoder.string(fields, "alloc_dir", &mut client.alloc_dir);
    decoder.string(fields, "state_dir", &mut client.state_dir);
    decoder.string(fields, "network_interface", &mut client.network_interface);
    decoder.number(fields, "cpu_total_compute", &mut client.cpu_total_compute);
    decoder.number(fields, "memory_total_mb", &mut client.memory_total_mb);
    let reserved = &mut client.reserved;
    block(decoder, fields, "reserved", &names::RESERVED, |d, f| {
        d.number(f, "cpu", &mut reserved.cpu);
        d.number(f, "memory", &mut reserved.memory_mb);
        d.number(f, "disk", &mut reserved.disk_mb);
        d.string(f, "reserved_ports", &mut reserved.ports);
        port_ranges(d, f, &reserved.ports);
    });
    join::of_client(decoder, fields, config);
}

/// 0 lets the system choose.
pub(crate) fn port(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, name: &str, into: &mut u16) {
    if let Some(port) = decoder.small(fields, name, "from 0 to 65535") {
        *into = port;
    }
}

fn ip(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, name: &str) -> Option<IpAddr> {
    let (data, _) = decoder.get(fields, name)?;
    let text = data.to_text().unwrap_or_default();
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("`{name}` must be an IP address, such as \"127.0.0.1\"");
        decoder.findings.error(data.at, message);
    }
    address
}

/// One address for all, whatever the ports: those come from `ports`.
fn advertise(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, into: &mut Option<IpAddr>) {
    let mut first: Option<IpAddr> = None;
    for name in ["http", "rpc", "serf"] {
        let Some((data, _)) = decoder.get(fields, name) else {
            continue;
        };
        let text = data.to_text().unwrap_or_default();
        let parsed = text.parse::<IpAddr>().or_else(|_| {
            let address = text.parse::<std::net::SocketAddr>();
            address.map(|address| address.ip())
        });
        match (parsed, first) {
            (Err(_), _) => decoder.findings.error(
                data.at,
                format!("`{name}` must be an IP address, with or without a port"),
            ),
            (Ok(address), Some(other)) if address != other => decoder.findings.error(
                data.at,
                "different addresses for http, rpc and serf aren't supported yet",
            ),
            (Ok(address), _) => first = Some(address),
        }
    }
    *into = first.or(*into);
}

fn log_level(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, into: &mut String) {
    const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
    let Some((data, _)) = decoder.get(fields, "log_level") else {
        return;
    };
    let level = data.to_text().unwrap_or_default().to_lowercase();
    let level = if level == "err" {
        "error".to_owned()
    } else {
        level
    };
    if LEVELS.contains(&level.as_str()) {
        *into = level;
    } else {
        decoder.findings.error_with(
            data.at,
            "unknown log level",
            Some(format!("use one of {}", LEVELS.join(", "))),
        );
    }
}

/// Such as `22,80,8500-8600`.
fn port_ranges(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, text: &str) {
    let is_fine = text.split(',').map(str::trim).all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
        part.is_empty() || matches!(bounds, (Ok(first), Ok(last)) if first <= last)
    });
    if let (false, Some((data, _))) = (is_fine, decoder.get(fields, "reserved_ports")) {
        decoder.findings.error_with(
            data.at,
            format!("`{}` is not a list of ports", text.escape_debug()),
            Some("such as \"22,80,8500-8600\"".to_owned()),
        );
    }
}

/// `plugin "raw_exec" { config { enabled = true } }`: the newer way to write client options.
fn plugins(
    decoder: &mut Decoder<'_, '_>,
    owner: &Fields<'_>,
    options: &mut BTreeMap<String, String>,
) {
    for section in decoder.sections(owner, "plugin") {
        if let Some(label) = section.labels.first() {
            plugin(decoder, &label.text, label.at, &section.body, options);
            continue;
        }
        // In JSON, and in HCL 1's other form, the label is the key.
        for attribute in &section.body.attributes {
            let (name, at) = (&attribute.name.text, attribute.name.at);
            for body in attribute.value.as_bodies().unwrap_or_default() {
                plugin(decoder, name, at, &body, options);
            }
        }
        for block in &section.body.blocks {
            plugin(
                decoder,
                &block.name.text,
                block.name.at,
                &block.body,
                options,
            );
        }
    }
}

fn plugin(
    decoder: &mut Decoder<'_, '_>,
    name: &str,
    at: usize,
    body: &Body,
    options: &mut BTreeMap<String, String>,
) {
    let (known, settings): (_, &[_]) = match name {
        "raw_exec" => (&names::RAW_EXEC, &[("enabled", "driver.raw_exec.enable")]),
        "docker" => (&names::DOCKER, &[("endpoint", "docker.endpoint")]),
        _ => {
            let message = format!("plugin `{}` isn't supported yet", name.escape_debug());
            let known = Some("there are `docker` and `raw_exec`".to_owned());
            return decoder.findings.error_with(at, message, known);
        }
    };
    let fields = decoder.fields(&names::PLUGIN, body, &Path::default().key(name));
    block(decoder, &fields, "config", known, |d, f| {
        for (name, option) in settings {
            let Some((data, _)) = d.get(f, name) else {
                continue;
            };
            match data.to_text() {
                Some(text) => {
                    options.insert((*option).to_owned(), text);
                }
                None => d
                    .findings
                    .error(data.at, format!("`{name}` must be a string")),
            }
        }
    });
}
