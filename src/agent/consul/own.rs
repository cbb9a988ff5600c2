//! What an agent registers of itself: the services that tools of Nomad's users look for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use logic::beside::{Definition, Registration};
use logic::config::{AgentConfig, ConsulConfig};
use logic::lifecycle::services::Probe;
use logic::model::CHECK_CRITICAL;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whom a service is for, and what is checked.
struct Service<'a> {
    kind: &'static str,
    name: &'a str,
    tag: &'static str,
    port: u16,
    check: &'a str,
    probe: Probe,
}

/// Servers as `nomad` with a tag for each port, clients as `nomad-client`.
pub(crate) fn registrations(
    config: &AgentConfig,
    consul: &ConsulConfig,
    address: IpAddr,
    mark: &str,
) -> Vec<Registration> {
    if !consul.auto_advertise {
        return Vec::new();
    }
    let checked = |bound: Option<IpAddr>, port| {
        let bound = bound.unwrap_or(config.bind_addr);
        SocketAddr::new(checked_at(consul, bound, address), port).to_string()
    };
    let health = |kind: &str| Probe::Http {
        address: checked(config.addresses.http, config.ports.http),
        path: format!("/v1/agent/health?type={kind}"),
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        tls: None,
    };
    // Gossip is UDP here, which no check of Consul's can ask: who answers requests also gossips.
    let connects = || Probe::Tcp {
        address: checked(config.addresses.rpc, config.ports.rpc),
    };
    let (ports, of_server) = (&config.ports, &consul.server_service_name);
    let service = |kind, name, tag, port, check, probe| Service {
        kind,
        name,
        tag,
        port,
        check,
        probe,
    };
    let mut services = Vec::new();
    if config.server.enabled {
        let (http, rpc) = (
            &consul.server_http_check_name,
            &consul.server_rpc_check_name,
        );
        let serf = &consul.server_serf_check_name;
        services = vec![
            service(
                "server",
                of_server,
                "http",
                ports.http,
                http,
                health("server"),
            ),
            service("server", of_server, "rpc", ports.rpc, rpc, connects()),
            service("server", of_server, "serf", ports.serf, serf, connects()),
        ];
    }
    if config.client.enabled {
        let (name, check) = (&consul.client_service_name, &consul.client_http_check_name);
        let probe = health("client");
        services.push(service("client", name, "http", ports.http, check, probe));
    }
    let services = services.into_iter();
    services
        .filter(|service| !service.name.is_empty())
        .map(|service| service.registration(consul, address, mark))
        .collect()
}

/// Where the Consul reaches a listener of this agent.
fn checked_at(consul: &ConsulConfig, bound: IpAddr, advertised: IpAddr) -> IpAddr {
    let host = consul.address.rsplit_once(':').map_or("", |(host, _)| host);
    let beside = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    match (bound.is_unspecified(), beside) {
        _ if consul.checks_use_advertise => advertised,
        (false, _) => bound,
        (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, false) => advertised,
    }
}

impl Service<'_> {
    fn registration(self, consul: &ConsulConfig, address: IpAddr, mark: &str) -> Registration {
        // Several agents may share a Consul.
        let place = SocketAddr::new(address, self.port).to_string();
        let place = place.replace(['[', ']'], "").replace(':', "-");
        let id = format!("_nomad-{}-{place}-{}", self.kind, self.tag);
        let check = Definition {
            name: self.check.to_owned(),
            probe: self.probe,
            interval: INTERVAL,
            timeout: TIMEOUT,
            status: CHECK_CRITICAL.to_owned(),
            successes_needed: 1,
            failures_needed: 1,
        };
        let tags = std::iter::once(self.tag.to_owned());
        Registration {
            name: self.name.to_owned(),
            tags: tags.chain(consul.tags.iter().cloned()).collect(),
            address: address.to_string(),
            port: self.port,
            meta: BTreeMap::new(),
            checks: BTreeMap::from([(format!("_nomad-check-{}", &id[1..]), check)]),
            id,
        }
        .marked(mark)
    }
}
