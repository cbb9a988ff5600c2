//! A Consul that already runs where this agent starts: servers find each other through it, and its
//! ports are its own.

use std::net::{IpAddr, SocketAddr};

use logic::config::AgentConfig;
use serde_json::Value;

use crate::cli::http::Client;
use crate::cli::version::Program;

/// Where a Nomad looks for a Consul if nobody says where it is.
const USUAL: &str = "127.0.0.1:8500";
const PORT: u16 = 8500;

/// Has an agent find others through a Consul: the configured one, or, called `nomad` and told of
/// nobody to join, the one in its usual place. If that is on this machine, this agent leaves it
/// the catalog's ports.
pub(super) async fn consider(config: &mut AgentConfig, program: Program) {
    let Some(address) = candidate(config, program) else {
        return;
    };
    if !answers(&address).await {
        return;
    }
    if config.catalog.enabled && is_ours(&address, config) {
        tracing::info!("a Consul answers at {address}: this agent leaves catalog and DNS to it");
        config.catalog.enabled = false;
    }
    config.consul_address = Some(address);
}

fn candidate(config: &AgentConfig, program: Program) -> Option<String> {
    let alone = config.join.is_empty() && config.start_join.is_empty() && !config.dev_mode;
    let usual = (program == Program::Nomad && alone).then(|| USUAL.to_owned());
    config.consul_address.clone().or(usual)
}

async fn answers(address: &str) -> bool {
    let Ok(client) = Client::new(address, PORT) else {
        return false;
    };
    let own = client.get::<Value>("/v1/agent/self").await;
    own.is_ok_and(|own| own["Config"]["NodeName"].is_string())
}

/// Whether this agent's own catalog would listen there.
fn is_ours(address: &str, config: &AgentConfig) -> bool {
    let address = address.replace("localhost:", "127.0.0.1:");
    let Ok(address) = address.parse::<SocketAddr>() else {
        return false;
    };
    let bound = config.bind_addr;
    let here = |ip: IpAddr| ip == bound || Some(ip) == config.advertise_addr;
    let reached = bound.is_unspecified() && address.ip().is_loopback();
    address.port() == config.catalog.http_port && (here(address.ip()) || reached)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_a_nomad_that_knows_nobody_looks_for_a_consul_unasked() {
        let alone = AgentConfig::default();
        let told = AgentConfig {
            join: vec!["10.0.0.1".to_owned()],
            ..AgentConfig::default()
        };
        let asked = AgentConfig {
            consul_address: Some("10.0.0.9:8500".to_owned()),
            ..told.clone()
        };
        for (config, program, expected) in [
            (&alone, Program::Nomad, Some(USUAL)),
            (&alone, Program::Drover, None),
            (&told, Program::Nomad, None),
            (&asked, Program::Drover, Some("10.0.0.9:8500")),
            (&AgentConfig::dev(), Program::Nomad, None),
        ] {
            assert_eq!(candidate(config, program).as_deref(), expected);
        }
    }

    #[test]
    fn a_consul_in_our_place_is_told_from_one_elsewhere() {
        let bound = |ip: Ipv4Addr| AgentConfig {
            bind_addr: ip.into(),
            ..AgentConfig::default()
        };
        let everywhere = bound(Ipv4Addr::UNSPECIFIED);
        let here = bound(Ipv4Addr::new(10, 0, 0, 1));
        for (config, address, expected) in [
            (&everywhere, USUAL, true),
            (&everywhere, "localhost:8500", true),
            (&everywhere, "127.0.0.1:8501", false),
            (&everywhere, "10.0.0.9:8500", false),
            (&here, "10.0.0.1:8500", true),
            (&here, USUAL, false),
            (&here, "consul.example:8500", false),
        ] {
            assert_eq!(is_ours(address, config), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_nothing_changes() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = closed.local_addr().expect("its address").to_string();
        drop(closed);
        let mut config = AgentConfig {
            consul_address: Some(address),
            ..AgentConfig::default()
        };
        let before = config.clone();
        consider(&mut config, Program::Drover).await;
        assert_eq!(config, before);
    }
}
