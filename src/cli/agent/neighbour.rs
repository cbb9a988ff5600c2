//! A Consul that already runs where this agent starts: what runs here is registered there, servers
//! find each other through it, and its ports are its own.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use logic::config::{AgentConfig, ConsulConfig};
use serde_json::Value;

use crate::cli::http::Client;
use crate::cli::terminal;
use crate::cli::version::Program;

const PORT: u16 = 8500;

/// What Consul's own tools are told by the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    address: Option<String>,
    token: Option<String>,
    auth: Option<String>,
}

impl Environment {
    pub(super) fn read() -> Self {
        let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            address: said("CONSUL_HTTP_ADDR"),
            token: said("CONSUL_HTTP_TOKEN"),
            auth: said("CONSUL_HTTP_AUTH"),
        }
    }
}

/// Settles which Consul this agent is beside: the configured one, or, called `nomad` and told of
/// none, the one in its usual place if it answers. Catalog and DNS are left to it.
pub(super) async fn consider(
    config: &mut AgentConfig,
    program: Program,
    environment: Environment,
) -> anyhow::Result<()> {
    if config.consul.is_none() {
        let Some(consul) = unasked(config, program, &environment) else {
            return Ok(());
        };
        if !answers(&consul.address).await {
            return Ok(());
        }
        let address = &consul.address;
        tracing::info!("a Consul answers at {address}: this agent registers in it");
        config.consul = Some(consul);
        config.settle_catalog();
    }
    if let Some(consul) = &mut config.consul {
        for (said, setting) in [
            (environment.token, &mut consul.token),
            (environment.auth, &mut consul.auth),
        ] {
            if setting.is_empty() {
                *setting = said.unwrap_or_default();
            }
        }
        let address = consul.address.clone();
        if config.catalog.enabled && is_ours(&address, config) {
            bail!(
                "consul {{ address = \"{address}\" }} is this agent's own catalog: leave the \
                 block out, or set another catalog {{ http_port }}"
            );
        }
    }
    Ok(())
}

/// Where a Nomad looks for a Consul if its configuration doesn't say.
fn unasked(
    config: &AgentConfig,
    program: Program,
    environment: &Environment,
) -> Option<ConsulConfig> {
    if program != Program::Nomad {
        return None;
    }
    let usual = ConsulConfig::USUAL.to_owned();
    let address = environment.address.clone().unwrap_or(usual);
    let alone = config.join.is_empty() && config.start_join.is_empty() && !config.dev_mode;
    let address = match jobspec::consul_address(&address) {
        Ok(address) => address,
        Err((wrong, hint)) => {
            let said = format!("CONSUL_HTTP_ADDR \"{address}\" {wrong}: {hint}");
            terminal::complain(&format!("warning: no Consul is looked for: {said}"));
            return None;
        }
    };
    Some(ConsulConfig {
        address,
        server_auto_join: alone,
        client_auto_join: alone,
        ..ConsulConfig::default()
    })
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
    fn only_a_nomad_looks_for_a_consul_unasked_and_joins_through_it_if_it_knows_nobody() {
        let alone = AgentConfig::default();
        let told = AgentConfig {
            join: vec!["10.0.0.1".to_owned()],
            ..AgentConfig::default()
        };
        for (config, program, joins) in [
            (&alone, Program::Nomad, Some(true)),
            (&alone, Program::Drover, None),
            (&told, Program::Nomad, Some(false)),
            (&AgentConfig::dev(), Program::Nomad, Some(false)),
        ] {
            let found = unasked(config, program, &Environment::default());
            assert_eq!(found.map(|consul| consul.server_auto_join), joins);
        }
        let environment = Environment {
            address: Some("http://10.0.0.9".to_owned()),
            ..Environment::default()
        };
        let found = unasked(&alone, Program::Nomad, &environment);
        assert_eq!(
            found.map(|consul| consul.address),
            Some("10.0.0.9:8500".to_owned())
        );
    }

    #[test]
    fn a_consul_in_our_place_is_told_from_one_elsewhere() {
        let bound = |ip: Ipv4Addr| AgentConfig {
            bind_addr: ip.into(),
            ..AgentConfig::default()
        };
        let everywhere = bound(Ipv4Addr::UNSPECIFIED);
        let here = bound(Ipv4Addr::new(10, 0, 0, 1));
        let usual = ConsulConfig::USUAL;
        for (config, address, expected) in [
            (&everywhere, usual, true),
            (&everywhere, "localhost:8500", true),
            (&everywhere, "127.0.0.1:8501", false),
            (&everywhere, "10.0.0.9:8500", false),
            (&here, "10.0.0.1:8500", true),
            (&here, usual, false),
            (&here, "consul.example:8500", false),
        ] {
            assert_eq!(is_ours(address, config), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_configured_consul_may_come_later_but_isnt_this_agents_own_catalog() {
        let mut config = AgentConfig {
            consul: Some(ConsulConfig::default()),
            ..AgentConfig::default()
        };
        config.settle_catalog();
        let environment = || Environment {
            token: Some("secret".to_owned()),
            ..Environment::default()
        };
        let considered = consider(&mut config, Program::Drover, environment()).await;
        assert!(considered.is_ok() && !config.catalog.enabled);
        assert_eq!(
            config.consul.as_ref().map(|c| c.token.as_str()),
            Some("secret")
        );
        config.catalog.enabled = true;
        let refused = consider(&mut config, Program::Drover, environment()).await;
        let why = refused.expect_err("its own catalog").to_string();
        assert!(why.contains("this agent's own catalog"), "{why}");
    }
}
