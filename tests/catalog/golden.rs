//! Every request that was recorded of a real Consul, sent to an agent whose catalog holds the same:
//! the answers are compared field by field. Ours may have more fields, and none less.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::ConsulAgent;
use super::recorded::{NODE, NODE_2, Recorded, Recordings, register_at, write_other_nodes};
use crate::program::{Answer, eventually};

/// The recorded requests, in an order in which each finds what it needs.
const REQUESTS: [&str; 51] = [
    "GET_agent_self",
    "GET_agent_members",
    "GET_agent_services",
    "GET_agent_checks",
    "GET_agent_services_node2",
    "GET_agent_checks_node2",
    "GET_catalog_datacenters",
    "GET_catalog_nodes",
    "GET_catalog_services",
    "GET_stale",
    "GET_consistent",
    "GET_catalog_service_httpbackend",
    "GET_tag",
    "GET_catalog_service_nosuch",
    "GET_catalog_node_consul-2",
    "GET_health_service_httpbackend",
    "GET_health_service_httpbackend_passing",
    "GET_blocking_health_wait2s",
    "GET_health_service_nosuch",
    "GET_health_node_consul-2",
    "GET_health_checks_httpbackend",
    "GET_health_state_any",
    "GET_health_state_critical",
    "GET_internal_ui_services",
    "GET_coordinate_nodes",
    "GET_event_list",
    "GET_session_list",
    "GET_status_leader",
    "GET_status_peers",
    "GET_operator_raft_configuration",
    "GET_bogus",
    "GET_badwait",
    "GET_filter",
    "GET_kv_nosuch",
    "GET_kv_fabio_config",
    "GET_kv__recurse",
    "PUT_kv_a_b",
    "GET_kv_a_b",
    "GET_kv_a_b_raw",
    "GET_kv_a_keys",
    "GET_kv_a_recurse",
    "PUT_kv_cas0_fail",
    "PUT_kv_cas_ok",
    "DELETE_kv_a_b",
    "GET_kv_a_b_deleted",
    "PUT_agent_service_register",
    "GET_health_service_handreg_initial",
    "PUT_agent_check_pass",
    "GET_health_service_handreg_pass",
    "GET_health_service_handreg_ttl_expired",
    "PUT_agent_service_deregister",
];

/// Fields whose values are different each time; what they are of is compared.
const COUNTED: [&str; 6] = [
    "CreateIndex",
    "ModifyIndex",
    "Vec",
    "Error",
    "Adjustment",
    "Height",
];

/// Headers that say how an answer travels, not what it is.
const OF_THE_CONNECTION: [&str; 3] = ["date", "content-length", "transfer-encoding"];

/// Where an answer is meant to differ: the recording (or all), the place, which may end in `*`, and
/// why.
const MEANT: [(&str, &str, &str); 44] = [
    ("*", "vary", "answers aren't compressed"),
    ("*", ".Config.Revision", BUILD),
    ("*", ".Member.Tags.build", BUILD),
    ("*", "[].Tags.build", BUILD),
    ("*", ".Stats.runtime.version", BUILD),
    ("*", ".Member.Tags.expect", ALONE),
    ("*", "[].Tags.expect", ALONE),
    ("*", ".DebugConfig.BootstrapExpect", ALONE),
    ("*", ".Stats.consul.bootstrap", ALONE),
    ("*", ".Stats.consul.leader", ALONE),
    ("*", ".Stats.consul.leader_addr", ALONE),
    ("*", ".Stats.raft.last_contact", ALONE),
    ("*", ".Stats.raft.latest_configuration", ALONE),
    ("*", ".Stats.raft.num_peers", ALONE),
    ("*", ".Stats.raft.state", ALONE),
    ("*", ".Stats.serf_lan.members", ALONE),
    ("*", ".Stats.serf_wan.members", ALONE),
    ("*", ".Servers[].Leader", ALONE),
    ("GET_status_leader", "", ALONE),
    ("*", ".Stats.raft.applied_index", COUNT),
    ("*", ".Stats.raft.commit_index", COUNT),
    ("*", ".Stats.raft.last_log_index", COUNT),
    ("*", ".Stats.raft.last_log_term", COUNT),
    ("*", ".Stats.raft.term", COUNT),
    ("*", ".DebugConfig.ClientAddrs[]", FLAGS),
    ("*", ".DebugConfig.DNSAddrs[]", FLAGS),
    ("*", ".DebugConfig.DNSPort", FLAGS),
    ("*", ".DebugConfig.DataDir", FLAGS),
    ("*", ".DebugConfig.DevMode", FLAGS),
    ("*", ".DebugConfig.HTTPAddrs[]", FLAGS),
    ("*", ".DebugConfig.HTTPPort", FLAGS),
    ("*", ".DebugConfig.ServerPort", FLAGS),
    (
        "*",
        ".DebugConfig.DNSOnlyPassing",
        "what warns isn't named by default",
    ),
    (
        "*",
        ".DebugConfig.DNSUDPAnswerLimit",
        "all instances are named by default",
    ),
    (
        "*",
        ".DebugConfig.SessionTTLMin",
        "theirs says 0 and refuses what is below 10 s",
    ),
    ("*", ".Stats.agent.check_ttls", TTLS),
    ("GET_agent_checks*", "*.Type", TTLS),
    ("GET_health_state_any", "[].Type", TTLS),
    (
        "*",
        "*.Meta",
        "an empty object can be looked through, null can't",
    ),
    (
        "GET_internal_ui_services",
        "[].Nodes*",
        "a node is named once",
    ),
    ("GET_bogus", "body", "the answer says what isn't there"),
    (
        "GET_badwait",
        "body",
        "the answer says what is wrong, and what is right",
    ),
    (
        "GET_filter",
        "*",
        "who asks is wrong, not the server, and is told why",
    ),
    (
        "GET_consistent",
        ".nomad[]",
        "theirs have no order, ours always the same",
    ),
];

const BUILD: &str = "it is another program";
const ALONE: &str = "the agent here is alone, and leads";
const COUNT: &str = "other things have happened";
const FLAGS: &str = "the agent here is started on other ports, and keeps nothing";
const TTLS: &str = "checks are registered with TTLs here, so that nothing is run";

/// What theirs has and ours hasn't: the place, which may end in `*`, and why.
const ABSENT: [(&str, &str); 14] = [
    (".DebugConfig.*", "settings of what only their program has"),
    (".Stats.raft.fsm_pending", LIBRARY),
    (".Stats.raft.last_snapshot_index", LIBRARY),
    (".Stats.raft.last_snapshot_term", LIBRARY),
    (".Stats.raft.latest_configuration_index", LIBRARY),
    (".Stats.raft.protocol_version*", LIBRARY),
    (".Stats.raft.snapshot_version*", LIBRARY),
    (".Stats.runtime.goroutines", "there are none"),
    (
        ".Stats.runtime.max_procs",
        "there are no processors of a runtime",
    ),
    (".Stats.serf_lan.coordinate_resets", GOSSIP),
    (".Stats.serf_lan.*_queue", GOSSIP),
    (".Stats.serf_lan.*_time", GOSSIP),
    (".Stats.serf_lan.health_score", GOSSIP),
    (".Stats.serf_wan.*", GOSSIP),
];

const LIBRARY: &str = "numbers of their library for logs";
const GOSSIP: &str = "numbers of their library for gossip";

/// Settings of theirs that ours shows.
const SETTINGS: [&str; 40] = [
    "ACLsEnabled",
    "AdvertiseAddrLAN",
    "AdvertiseAddrWAN",
    "BindAddr",
    "BootstrapExpect",
    "ClientAddrs",
    "DNSARecordLimit",
    "DNSAddrs",
    "DNSDisableCompression",
    "DNSDomain",
    "DNSEnableTruncate",
    "DNSNodeMetaTXT",
    "DNSNodeTTL",
    "DNSOnlyPassing",
    "DNSPort",
    "DNSRecursorTimeout",
    "DNSRecursors",
    "DNSSOA",
    "DNSServiceTTL",
    "DNSUDPAnswerLimit",
    "DataDir",
    "Datacenter",
    "DevMode",
    "EnableUI",
    "HTTPAddrs",
    "HTTPPort",
    "KVMaxValueSize",
    "LeaveOnTerm",
    "NodeID",
    "NodeName",
    "PrimaryDatacenter",
    "RPCAdvertiseAddr",
    "RPCBindAddr",
    "RetryJoinLAN",
    "SerfAdvertiseAddrLAN",
    "SerfPortLAN",
    "ServerMode",
    "ServerPort",
    "SessionTTLMin",
    "Version",
];

fn is_absent(at: &str, field: &str) -> bool {
    let is_setting = at.starts_with(".DebugConfig.") && SETTINGS.contains(&field);
    !is_setting && ABSENT.iter().any(|(place, _)| is_at(place, at))
}

/// Notes where ours isn't as theirs: the place, and what is there.
fn compare(at: &str, theirs: &Value, ours: &Value, found: &mut Vec<(String, String)>) {
    let field = at.rsplit('.').next().unwrap_or(at);
    match (theirs, ours) {
        (theirs, ours)
            if COUNTED.contains(&field) && discriminant(theirs) == discriminant(ours) => {}
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let at = format!("{at}.{key}");
                match ours.get(key) {
                    None if is_absent(&at, key) => {}
                    None => found.push((at, format!("it is missing, theirs is {value}"))),
                    Some(own) => compare(&at, value, own, found),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if theirs.len() != ours.len() {
                let counts = format!("{} and not {}", ours.len(), theirs.len());
                found.push((format!("{at}[#]"), counts));
            }
            for (theirs, ours) in theirs.iter().zip(ours) {
                compare(&format!("{at}[]"), theirs, ours, found);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => found.push((at.to_owned(), format!("{ours} and not {theirs}"))),
    }
}

/// Whether a place is meant; one star stands for anything.
fn is_at(place: &str, at: &str) -> bool {
    match place.split_once('*') {
        Some((beginning, end)) => {
            let rest = at.strip_prefix(beginning);
            rest.is_some_and(|rest| rest.ends_with(end))
        }
        None => place == at,
    }
}

fn compare_headers(theirs: &Recorded, ours: &Answer, found: &mut Vec<(String, String)>) {
    for (name, value) in &theirs.headers {
        if OF_THE_CONNECTION.contains(&name.as_str()) {
            continue;
        }
        let own = ours.header(name).map(str::trim);
        let same = match own {
            Some(own) if name == "x-consul-index" || name == "x-consul-lastcontact" => {
                own.parse::<u64>().is_ok()
            }
            own => own == Some(value.as_str()),
        };
        if !same {
            found.push((name.clone(), format!("{own:?} and not {value:?}")));
        }
    }
}

fn differences(theirs: &Recorded, ours: &Answer) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if theirs.status != ours.status {
        let codes = format!("{} and not {}", ours.status, theirs.status);
        found.push(("status".to_owned(), codes));
    }
    compare_headers(theirs, ours, &mut found);
    match serde_json::from_str::<Value>(&theirs.answer) {
        Ok(value) => match serde_json::from_str(&ours.body) {
            Ok(own) => compare("", &value, &own, &mut found),
            Err(error) => found.push(("body".to_owned(), format!("{error}: {}", ours.body))),
        },
        Err(_) if theirs.answer == ours.body => {}
        Err(_) => {
            let texts = format!("{:?} and not {:?}", ours.body, theirs.answer);
            found.push(("body".to_owned(), texts));
        }
    }
    found
}

/// An agent in the place of one of theirs, with what was registered there.
fn agent_of(theirs: &mut Recordings, node: &str, offset: u16, rows: [&str; 2]) -> ConsulAgent {
    let agent = ConsulAgent::dev(node, offset, &[]);
    theirs.stands_for(&agent, node);
    let [services, checks] = rows.map(|name| theirs.json(name));
    register_at(&agent, &services, &checks);
    agent
}

/// Sends a request as it was recorded, but for indexes, which are ours.
fn send(agent: &ConsulAgent, name: &str, recorded: &Recorded) -> Answer {
    let Recorded {
        method, path, body, ..
    } = recorded;
    let current = |path: &str, pointer: &str| {
        let answer = agent.get(path);
        let index = answer.header("x-consul-index").map(str::to_owned);
        let row = answer.json().pointer(pointer).map(Value::to_string);
        (index.unwrap_or_default(), row.unwrap_or_default())
    };
    match name {
        "GET_blocking_health_wait2s" => {
            let (index, _) = current("/v1/health/service/httpbackend?passing", "");
            let began = Instant::now();
            let answer = agent.get(&path.replace("index=83", &format!("index={index}")));
            assert!(began.elapsed() >= Duration::from_secs(2), "it waits");
            answer
        }
        "PUT_kv_cas_ok" => {
            let (_, index) = current("/v1/kv/a/b", "/0/ModifyIndex");
            let path = path.replace("cas=133", &format!("cas={index}"));
            agent.ask(method, &path, body)
        }
        "GET_health_service_handreg_ttl_expired" => eventually("its TTL ends", || {
            let answer = agent.get(path);
            answer.body.contains("TTL expired").then_some(answer)
        }),
        _ => agent.ask(method, path, body),
    }
}

#[test]
fn every_recorded_answer_is_given() {
    let Some(mut theirs) = Recordings::find() else {
        return;
    };
    let recorded: BTreeSet<String> = theirs.names().into_iter().collect();
    let listed: BTreeSet<String> = REQUESTS.map(str::to_owned).into();
    assert_eq!(recorded, listed, "every recording is compared");
    let rows = ["GET_agent_services_node2", "GET_agent_checks_node2"];
    let mut found = Vec::new();
    let second = agent_of(&mut theirs, NODE_2, 580, rows);
    let (of_second, of_first) = REQUESTS.into_iter().partition(|name| rows.contains(name));
    let mut ask_all = |agent: &ConsulAgent, theirs: &Recordings, names: Vec<&'static str>| {
        for name in names {
            let recorded = theirs.get(name);
            let answer = send(agent, name, &recorded);
            for (at, what) in differences(&recorded, &answer) {
                found.push((name, at, what));
            }
        }
    };
    ask_all(&second, &theirs, of_second);
    drop(second);
    let rows = ["GET_agent_services", "GET_agent_checks"];
    let first = agent_of(&mut theirs, NODE, 570, rows);
    write_other_nodes(&first, &theirs);
    ask_all(&first, &theirs, of_first);
    let own = |name: &str| {
        let node = first.get(&format!("/v1/catalog/node/{name}"));
        node.json()["Services"]["consul"].clone()
    };
    let mut differ = Vec::new();
    // What a server says of itself is as what was recorded of another.
    let mut recorded = own(NODE_2);
    recorded["Port"] = first.rpc_port().into();
    compare("", &recorded, &own(NODE), &mut differ);
    assert_eq!(differ, []);
    let mut used = BTreeSet::new();
    found.retain(|(name, at, _)| {
        let is_meant = |(of, place, _): &(&str, &str, &str)| is_at(of, name) && is_at(place, at);
        let meant = MEANT.iter().position(is_meant);
        used.extend(meant);
        meant.is_none()
    });
    let lines: Vec<String> = found
        .iter()
        .map(|(name, at, what)| format!("{name} {at}: {what}"))
        .collect();
    assert!(lines.is_empty(), "{lines:#?}");
    let unused: Vec<_> = (0..MEANT.len()).filter(|at| !used.contains(at)).collect();
    assert!(
        unused.is_empty(),
        "no difference any more: {unused:?} of MEANT"
    );
}
