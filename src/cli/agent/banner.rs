//! What an agent says of itself once it is up.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use agent::api::Identity;
use logic::config::{AgentConfig, EdgeProtocol};
use logic::model::DriverInfo;

pub(super) fn text(
    config: &AgentConfig,
    identity: &Identity,
    drivers: &BTreeMap<String, DriverInfo>,
) -> String {
    let lines = lines(config, identity, drivers);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = "==> Drover agent configuration:\n\n".to_owned();
    for (name, value) in lines {
        // Writing to a string can't fail.
        writeln!(text, "    {name:>width$}: {value}").ok();
    }
    text.push_str("\n==> Drover agent started! Log data will stream in below:\n\n");
    text
}

fn lines(
    config: &AgentConfig,
    identity: &Identity,
    drivers: &BTreeMap<String, DriverInfo>,
) -> Vec<(&'static str, String)> {
    let at = |port: u16| SocketAddr::new(config.bind_addr, port).to_string();
    let on = |ip: Option<IpAddr>, port| {
        SocketAddr::new(ip.unwrap_or(config.bind_addr), port).to_string()
    };
    let mut lines = vec![
        ("Client", config.client.enabled.to_string()),
        ("Server", config.server.enabled.to_string()),
        (
            "Node",
            format!(
                "{} ({})",
                identity.name,
                logic::id::short(&identity.node_id)
            ),
        ),
        (
            "Region",
            format!("{} (DC: {})", config.region, config.datacenter),
        ),
        ("Advertise", identity.address.to_string()),
        ("HTTP", on(config.addresses.http, config.ports.http)),
    ];
    if config.server.enabled {
        lines.push(("RPC", on(config.addresses.rpc, config.ports.rpc)));
    }
    let encrypted = if config.encrypt.is_empty() {
        "in the clear"
    } else {
        "encrypted"
    };
    lines.push((
        "Gossip",
        format!(
            "{} ({encrypted})",
            on(config.addresses.serf, config.ports.serf)
        ),
    ));
    if let Some(consul) = &config.consul {
        lines.push(("Consul", format!("{} (registers there)", consul.address)));
    }
    if config.catalog.enabled {
        lines.push(("Catalog", at(config.catalog.http_port)));
        let domain = &config.catalog.domain;
        lines.push((
            "DNS",
            format!("{} (UDP and TCP, .{domain})", at(config.catalog.dns_port)),
        ));
    }
    if config.edge.enabled {
        lines.push(("Proxy", proxy(config)));
        lines.push(("Routes", at(config.edge.ui_port)));
    }
    if config.client.enabled {
        lines.extend(
            drivers
                .iter()
                .map(|(name, info)| ("Driver", driver(name, info))),
        );
    }
    let data_dir = if config.data_dir.is_empty() {
        "temporary, removed at the end".to_owned()
    } else {
        config.data_dir.clone()
    };
    lines.push(("Data dir", data_dir));
    lines.push(("Log level", config.log_level.clone()));
    lines.push(("Version", identity.version.to_owned()));
    lines
}

/// Where the edge listens; for what, if not for HTTP.
fn proxy(config: &AgentConfig) -> String {
    let listeners = config.edge.listeners.iter().map(|listener| {
        let address = listener.address.unwrap_or(config.bind_addr);
        let address = SocketAddr::new(address, listener.port);
        match listener.protocol {
            EdgeProtocol::Http => address.to_string(),
            EdgeProtocol::Https
            | EdgeProtocol::Tcp
            | EdgeProtocol::TcpSni
            | EdgeProtocol::HttpsTcpSni
            | EdgeProtocol::Grpc
            | EdgeProtocol::Grpcs => format!("{address} ({})", listener.protocol.name()),
        }
    });
    listeners.collect::<Vec<_>>().join(", ")
}

fn driver(name: &str, info: &DriverInfo) -> String {
    let version = info.attributes.get(&format!("driver.{name}.version"));
    let usable = info.detected && info.healthy;
    match (usable, version, info.health_description.as_str()) {
        (true, Some(version), _) => format!("{name} {version}"),
        (true, None, _) => name.to_owned(),
        (false, _, "") => format!("{name}: not available"),
        (false, _, why) => format!("{name}: not available ({why})"),
    }
}
