//! What an agent offers itself: the services that users of the anchors look for.

use std::collections::BTreeMap;

use logic::config::AgentConfig;
use logic::model::ServiceInstance;

use crate::api::{CONSUL_VERSION, Identity};

/// What Consul's servers say of themselves.
fn consul_meta() -> BTreeMap<String, String> {
    let said = [
        ("non_voter", "false"),
        ("raft_version", "3"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", CONSUL_VERSION),
    ];
    said.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

pub(crate) fn own_services(config: &AgentConfig, me: &Identity) -> Vec<ServiceInstance> {
    let address = me.address.to_string();
    let service = |id: &str, name: &str, tag: Option<&str>, port: u16| ServiceInstance {
        node: me.name.clone(),
        id: id.to_owned(),
        service: name.to_owned(),
        tags: tag.map(str::to_owned).into_iter().collect(),
        address: address.clone(),
        port,
        ..ServiceInstance::default()
    };
    let mut own = Vec::new();
    if config.server.enabled {
        // The anchor's own entry has no address of its own, so that DNS names the node.
        let consul = service("consul", "consul", None, config.ports.rpc);
        own.push(ServiceInstance {
            address: String::new(),
            meta: consul_meta(),
            ..consul
        });
    }
    // An agent that is only asked for its catalog schedules nothing.
    if config.server.enabled && config.ports.http != 0 {
        own.push(service(
            "_nomad-server-http",
            "nomad",
            Some("http"),
            config.ports.http,
        ));
        own.push(service(
            "_nomad-server-rpc",
            "nomad",
            Some("rpc"),
            config.ports.rpc,
        ));
    }
    if config.client.enabled {
        let http = config.ports.http;
        own.push(service(
            "_nomad-client-http",
            "nomad-client",
            Some("http"),
            http,
        ));
    }
    own
}
