//! Consul's `/v1/agent/self`: what this agent is, how it is configured, and numbers about it.

use axum::extract::State;
use axum::response::Response;
use logic::config::DnsConfig;
use logic::duration;
use serde_json::{Value, json};

use super::consul_about::nowhere;
use super::consul_agent::member;
use super::consul_local;
use super::query::Query;
use super::{Api, CONSUL_VERSION, cluster, consul_kv};

pub(super) async fn own(State(api): State<Api>, query: Query) -> Response {
    let (me, config) = (&api.identity, &api.config);
    query.json(&json!({
        "Config": {
            "Datacenter": config.datacenter,
            "NodeID": me.node_id,
            "NodeName": me.name,
            "Revision": format!("drover {}", me.version),
            "Server": api.server.is_some(),
            "Version": CONSUL_VERSION,
        },
        "DebugConfig": settings(&api),
        "Coord": nowhere(&me.name)["Coord"],
        "Member": member(&cluster::me(&api)),
        "Meta": { "consul-network-segment": "" },
        "Stats": stats(&api),
    }))
}

/// Numbers for `info`; all of them are strings.
fn stats(api: &Api) -> Value {
    let local = api.local.borrow().clone();
    let services = consul_local::offered(&local).count();
    let ttls = local.checks.values().filter(|check| check.r#type == "ttl");
    let facts = api.world.machine.fingerprint();
    let attribute = |name: &str| facts.attributes.get(name).cloned().unwrap_or_default();
    let server = api.server.is_some();
    let mut stats = json!({
        "agent": {
            "check_monitors": "0",
            "check_ttls": ttls.count().to_string(),
            "checks": local.checks.len().to_string(),
            "services": services.to_string(),
        },
        "build": { "prerelease": "", "revision": "", "version": CONSUL_VERSION },
        "consul": {
            "acl": "disabled",
            "known_datacenters": cluster::datacenters(api).len().to_string(),
            "server": server.to_string(),
        },
        "runtime": {
            "arch": attribute("cpu.arch"),
            "cpu_count": attribute("cpu.numcores"),
            "os": attribute("kernel.name"),
            "version": format!("drover{}", api.identity.version),
        },
        "serf_lan": cluster::gossip_stats(api, |_| true),
    });
    if let Some(server) = &api.server {
        let leader = server.leader();
        let leads = leader
            .as_ref()
            .is_some_and(|leader| leader.id == api.identity.node_id);
        let is_first = api.config.server.bootstrap_expect == 1;
        stats["consul"]["bootstrap"] = json!(is_first.to_string());
        stats["consul"]["leader"] = json!(leads.to_string());
        stats["consul"]["leader_addr"] = json!(leader.map(|leader| leader.address));
        stats["raft"] = cluster::raft_stats(api, server);
        // There is one gossip, that of everybody.
        stats["serf_wan"] = cluster::gossip_stats(api, |member| member.server);
    }
    stats
}

/// The settings that clients read, and those that this agent has.
fn settings(api: &Api) -> Value {
    let (me, config) = (&api.identity, &api.config);
    let address = me.address.to_string();
    let for_agents = config.addresses.rpc.unwrap_or(config.bind_addr);
    let listens = |address: &dyn std::fmt::Display, port: u16| format!("tcp://{address}:{port}");
    let clients = &config.bind_addr;
    let catalog = &config.catalog;
    let mut settings = json!({
        "ACLsEnabled": false,
        "AdvertiseAddrLAN": address,
        "AdvertiseAddrWAN": address,
        "BindAddr": for_agents.to_string(),
        "BootstrapExpect": config.server.bootstrap_expect,
        "ClientAddrs": [clients.to_string()],
        "DataDir": config.data_dir,
        "Datacenter": config.datacenter,
        "DevMode": config.dev_mode,
        "EnableUI": true,
        "EncryptKey": "hidden",
        "HTTPAddrs": [listens(clients, catalog.http_port)],
        "HTTPPort": catalog.http_port,
        "KVMaxValueSize": consul_kv::VALUE_MAX,
        "LeaveOnTerm": config.leave_on_terminate,
        "Logging": {
            "LogLevel": config.log_level.to_uppercase(),
            "LogJSON": config.log_json,
        },
        "NodeID": me.node_id,
        "NodeName": me.name,
        "PrimaryDatacenter": config.datacenter,
        "RPCAdvertiseAddr": listens(&address, config.ports.rpc),
        "RPCBindAddr": listens(&for_agents, config.ports.rpc),
        "RetryJoinLAN": config.join,
        "SerfAdvertiseAddrLAN": listens(&address, config.ports.serf),
        "SerfPortLAN": config.ports.serf,
        "ServerMode": config.server.enabled,
        "ServerPort": config.ports.rpc,
        // Clients that hold locks read the smallest TTL they may ask for.
        "SessionTTLMin": "10s",
        "SkipLeaveOnInt": !config.leave_on_interrupt,
        "StartJoinAddrsLAN": config.start_join,
        "UIContentPath": "/ui/",
        "Version": CONSUL_VERSION,
    });
    let dns = dns_settings(&catalog.dns);
    for (name, value) in dns.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    settings["DNSPort"] = json!(catalog.dns_port);
    settings["DNSDomain"] = json!(format!("{}.", catalog.domain));
    settings["DNSRecursors"] = json!(catalog.recursors);
    settings["DNSAddrs"] = ["tcp", "udp"]
        .map(|how| format!("{how}://{clients}:{}", catalog.dns_port))
        .into();
    settings
}

fn dns_settings(dns: &DnsConfig) -> Value {
    let seconds = |count: u32| duration::format(i64::from(count) * duration::SECOND);
    let ttls = dns.service_ttl.iter();
    let ttls = ttls.map(|(name, ttl)| (name.clone(), json!(seconds(*ttl))));
    json!({
        "DNSARecordLimit": dns.a_record_limit,
        "DNSDisableCompression": dns.disable_compression,
        "DNSEnableTruncate": dns.enable_truncate,
        "DNSNodeMetaTXT": dns.node_meta_txt,
        "DNSNodeTTL": seconds(dns.node_ttl),
        "DNSOnlyPassing": dns.only_passing,
        "DNSRecursorTimeout": duration::format(dns.recursor_timeout),
        "DNSServiceTTL": ttls.collect::<serde_json::Map<_, _>>(),
        "DNSSOA": {
            "Expire": dns.soa.expire,
            "Minttl": dns.soa.min_ttl,
            "Refresh": dns.soa.refresh,
            "Retry": dns.soa.retry,
        },
        "DNSUDPAnswerLimit": dns.udp_answer_limit,
    })
}
