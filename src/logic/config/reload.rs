//! What of a configuration a running agent can take, and what only a start can change.

use super::{AgentConfig, CatalogConfig};

/// The settings that differ, and have to wait until the agent is started again.
pub fn needs_restart(runs: &AgentConfig, wanted: &AgentConfig) -> Vec<&'static str> {
    let mut differ = Vec::new();
    let mut note = |name, same: bool| {
        if !same {
            differ.push(name);
        }
    };
    note("region", runs.region == wanted.region);
    note("datacenter", runs.datacenter == wanted.datacenter);
    note("the node's name", runs.name == wanted.name);
    note("data_dir", runs.data_dir == wanted.data_dir);
    note(
        "addresses",
        (runs.bind_addr, runs.advertise_addr) == (wanted.bind_addr, wanted.advertise_addr)
            && runs.addresses == wanted.addresses,
    );
    note(
        "ports",
        runs.ports == wanted.ports && ports(&runs.catalog) == ports(&wanted.catalog),
    );
    note("log_json", runs.log_json == wanted.log_json);
    note(
        "what ends the agent gracefully",
        (runs.leave_on_interrupt, runs.leave_on_terminate)
            == (wanted.leave_on_interrupt, wanted.leave_on_terminate),
    );
    note(
        "whom to join",
        (&runs.join, &runs.start_join) == (&wanted.join, &wanted.start_join),
    );
    note("encrypt", runs.encrypt == wanted.encrypt);
    note("consul", runs.consul == wanted.consul);
    note("server", runs.server == wanted.server);
    note("client", runs.client == wanted.client);
    note("catalog", runs.catalog.enabled == wanted.catalog.enabled);
    note("edge", runs.edge == wanted.edge);
    differ
}

fn ports(catalog: &CatalogConfig) -> (u16, u16) {
    (catalog.http_port, catalog.dns_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_taken_at_once_needs_no_restart() {
        let runs = AgentConfig::dev();
        let mut wanted = runs.clone();
        wanted.log_level = "debug".to_owned();
        wanted.catalog.dns.node_ttl = 5;
        wanted.catalog.domain = "other".to_owned();
        wanted.catalog.recursors.push("10.0.0.1".to_owned());
        assert_eq!(needs_restart(&runs, &wanted), Vec::<&str>::new());
        wanted.name = "other".to_owned();
        wanted.catalog.dns_port = 53;
        wanted.server.bootstrap_expect = 3;
        assert_eq!(
            needs_restart(&runs, &wanted),
            ["the node's name", "ports", "server"]
        );
    }
}
