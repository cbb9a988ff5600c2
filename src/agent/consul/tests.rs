//! What is told to a Consul, and read from one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use logic::beside::{Definition, FoundCheck, FoundService, MARK, Registration};
use logic::config::{AgentConfig, ConsulConfig};
use logic::lifecycle::services::Probe;
use serde_json::json;

use super::{form, registrations};

fn web() -> Registration {
    let probe = Probe::Http {
        address: "10.0.0.1:8080".to_owned(),
        path: "health".to_owned(),
        method: "GET".to_owned(),
        headers: vec![
            ("X".to_owned(), "1".to_owned()),
            ("X".to_owned(), "2".to_owned()),
        ],
        body: String::new(),
        tls: None,
    };
    let check = Definition {
        name: "alive".to_owned(),
        probe,
        interval: Duration::from_secs(10),
        timeout: Duration::from_millis(1_500),
        status: "critical".to_owned(),
        successes_needed: 1,
        failures_needed: 3,
    };
    Registration {
        id: "_nomad-task-a-web-web-http".to_owned(),
        name: "web".to_owned(),
        tags: vec!["urlprefix-/".to_owned()],
        address: "10.0.0.1".to_owned(),
        port: 8080,
        meta: BTreeMap::from([("team".to_owned(), "x".to_owned())]),
        checks: BTreeMap::from([("_nomad-check-1".to_owned(), check)]),
    }
    .marked("n1:4646")
}

#[test]
fn a_service_is_registered_with_its_checks_and_what_is_known_of_them() {
    let known = BTreeMap::from([("_nomad-check-1".to_owned(), "passing".to_owned())]);
    let expected = json!({
        "ID": "_nomad-task-a-web-web-http",
        "Name": "web",
        "Tags": ["urlprefix-/"],
        "Address": "10.0.0.1",
        "Port": 8080,
        "Meta": { "team": "x", "drover-agent": "n1:4646", "external-source": "nomad" },
        "Checks": [{
            "CheckID": "_nomad-check-1",
            "Name": "alive",
            "HTTP": "http://10.0.0.1:8080/health",
            "Method": "GET",
            "Header": { "X": ["1", "2"] },
            "Interval": "10000ms",
            "Timeout": "1500ms",
            "Status": "passing",
            "FailuresBeforeCritical": 3,
        }],
    });
    assert_eq!(form::registration(&web(), &known), expected);
    let unknown = form::registration(&web(), &BTreeMap::new());
    assert_eq!(unknown["Checks"][0]["Status"], "critical");
}

#[test]
fn what_an_agent_has_is_read() {
    let services = json!({ "web": {
        "ID": "web", "Service": "web", "Tags": ["a"], "Meta": { MARK: "n1:4646" },
        "Port": 80, "Address": "10.0.0.1", "Weights": { "Passing": 1, "Warning": 1 },
    }, "odd": { "Tags": null, "Port": -1 } });
    let found = form::services(&services);
    let web = FoundService {
        name: "web".to_owned(),
        tags: vec!["a".to_owned()],
        address: "10.0.0.1".to_owned(),
        port: 80,
        meta: BTreeMap::from([(MARK.to_owned(), "n1:4646".to_owned())]),
    };
    assert_eq!(found["web"], web);
    assert_eq!(found["odd"], FoundService::default());
    let checks = json!({ "c": { "Status": "passing", "Output": "ok", "ServiceID": "web" } });
    let check = FoundCheck {
        service_id: "web".to_owned(),
        status: "passing".to_owned(),
        output: "ok".to_owned(),
    };
    assert_eq!(form::checks(&checks)["c"], check);
}

#[test]
fn a_nodes_attributes_tell_of_its_consul() {
    let own = json!({ "Config": {
        "Datacenter": "dc1", "NodeName": "consul-1", "Revision": "", "Server": true,
        "Version": "1.8.7",
    } });
    let pairs = [
        ("consul.datacenter", "dc1"),
        ("consul.server", "true"),
        ("consul.version", "1.8.7"),
        ("unique.consul.name", "consul-1"),
    ];
    let expected = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form::attributes(&own), BTreeMap::from(expected));
}

fn own(config: &AgentConfig, consul: &ConsulConfig) -> Vec<Registration> {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    registrations(config, consul, address, "n1:4646")
}

fn probed(registration: &Registration) -> String {
    let check = registration.checks.values().next().expect("a check");
    match &check.probe {
        Probe::Tcp { address } => format!("{} {address}", check.name),
        Probe::Http { address, path, .. } => format!("{} {address}{path}", check.name),
    }
}

#[test]
fn an_agent_is_registered_as_a_nomad_is() {
    let mut config = AgentConfig::default();
    (config.server.enabled, config.client.enabled) = (true, true);
    let found = own(&config, &ConsulConfig::default());
    let told: Vec<String> = found
        .iter()
        .map(|one| format!("{} {:?} {}:{}", one.name, one.tags, one.address, one.port))
        .collect();
    assert_eq!(
        told,
        [
            "nomad [\"http\"] 10.0.0.1:4646",
            "nomad [\"rpc\"] 10.0.0.1:4647",
            "nomad [\"serf\"] 10.0.0.1:4648",
            "nomad-client [\"http\"] 10.0.0.1:4646",
        ]
    );
    assert_eq!(found[0].id, "_nomad-server-10.0.0.1-4646-http");
    assert_eq!(
        found.iter().map(probed).collect::<Vec<_>>(),
        [
            "Nomad Server HTTP Check 127.0.0.1:4646/v1/agent/health?type=server",
            "Nomad Server RPC Check 127.0.0.1:4647",
            "Nomad Server Serf Check 127.0.0.1:4647",
            "Nomad Client HTTP Check 127.0.0.1:4646/v1/agent/health?type=client",
        ]
    );
    let quiet = ConsulConfig {
        auto_advertise: false,
        ..ConsulConfig::default()
    };
    assert_eq!(own(&config, &quiet), []);
}

#[test]
fn an_agent_is_checked_where_the_consul_reaches_it() {
    let mut config = AgentConfig::default();
    config.client.enabled = true;
    let advertised = ConsulConfig {
        checks_use_advertise: true,
        ..ConsulConfig::default()
    };
    let elsewhere = ConsulConfig::at("10.0.0.9:8500");
    for (bound, consul, at) in [
        ([0, 0, 0, 0], ConsulConfig::default(), "127.0.0.1:4646"),
        ([0, 0, 0, 0], elsewhere, "10.0.0.1:4646"),
        ([0, 0, 0, 0], advertised.clone(), "10.0.0.1:4646"),
        ([10, 1, 1, 1], ConsulConfig::default(), "10.1.1.1:4646"),
        ([10, 1, 1, 1], advertised, "10.0.0.1:4646"),
    ] {
        config.bind_addr = bound.into();
        let probed = probed(&own(&config, &consul)[0]);
        assert!(probed.contains(&format!(" {at}/")), "{probed}");
    }
}
