//! Agent configuration files.

use std::net::IpAddr;

use jobspec::{Configured, Errors, check_agent_config, load_agent_config};
use logic::config::{AccessFormat, AgentConfig, ConsulConfig, EdgeListener, EdgeProtocol};

use super::told;

fn loaded(files: &[&str]) -> AgentConfig {
    configured(files).config
}

fn configured(files: &[&str]) -> Configured {
    load_agent_config(AgentConfig::default(), &named(files))
        .unwrap_or_else(|errors| panic!("refused: {errors}"))
}

fn refused(text: &str) -> Vec<String> {
    match load_agent_config(AgentConfig::default(), &named(&[text])) {
        Ok(_) => panic!("accepted: {text}"),
        Err(errors) => told(&errors),
    }
}

fn named(files: &[&str]) -> Vec<(String, Vec<u8>)> {
    let files = files.iter().enumerate();
    files
        .map(|(index, text)| (format!("{index}.hcl"), text.as_bytes().to_vec()))
        .collect()
}

#[test]
fn the_walk_throughs_configuration_is_read() {
    let config = loaded(&[
        "data_dir = \"/x\"  server { enabled = true bootstrap_expect = 3 raft_snapshot_threshold = 500 } client { enabled = true }",
    ]);
    assert_eq!(config.data_dir, "/x");
    assert!(config.server.enabled && config.client.enabled);
    assert_eq!(config.server.bootstrap_expect, 3);
    assert_eq!(config.server.snapshot_threshold, 500);
    assert_eq!(check_agent_config(&config), Ok(()));
}

const FULL: &str = r#"
region = "eu"
datacenter = "dc2"
name = "n1"
data_dir = "/d"
bind_addr = "10.0.0.1"
log_level = "DEBUG"
log_json = true
leave_on_interrupt = false
leave_on_terminate = true
addresses { http = "127.0.0.1" }
advertise {
  http = "10.0.0.9"
  rpc  = "10.0.0.9:4647"
}
ports { http = 5646 }
server {
  enabled = true
  heartbeat_grace = "30s"
}
client {
  enabled = true
  servers = ["10.0.0.2:4647"]
  meta { rack = "r1" }
  options = { "docker.cleanup.image" = "false" }
  reserved {
    cpu = 500
    memory = 256
    reserved_ports = "22,8000-8100"
  }
}
plugin "raw_exec" {
  config { enabled = true }
}
plugin "docker" {
  config { endpoint = "unix:///run/docker.sock" }
}
catalog {
  domain = "cluster."
  service_ttl = "5s"
  recursors = ["10.0.0.53"]
  dns_config {
    node_ttl = "2s"
    udp_answer_limit = 3
    use_cache = true
    service_ttl = { "db*" = "9s" }
    soa {
      min_ttl = 4
    }
  }
}
edge {
  ports = [80, 8080]
  no_route_status = 503
}
"#;

#[test]
fn every_setting_finds_its_place() {
    let config = loaded(&[FULL]);
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert_eq!(
        (config.region.as_str(), config.datacenter.as_str()),
        ("eu", "dc2")
    );
    assert_eq!(config.bind_addr, ip("10.0.0.1"));
    assert_eq!(config.log_level, "debug");
    assert!(config.log_json && !config.leave_on_interrupt && config.leave_on_terminate);
    assert_eq!(config.addresses.http, Some(ip("127.0.0.1")));
    assert_eq!(config.advertise_addr, Some(ip("10.0.0.9")));
    assert_eq!((config.ports.http, config.ports.rpc), (5646, 4647));
    assert_eq!(config.server.heartbeat_ttl_ms, 30_000);
    assert_eq!(config.client.servers, ["10.0.0.2:4647"]);
    assert_eq!(config.client.meta["rack"], "r1");
    assert_eq!(config.client.options["docker.cleanup.image"], "false");
    assert_eq!(config.client.options["driver.raw_exec.enable"], "true");
    assert_eq!(
        config.client.options["docker.endpoint"],
        "unix:///run/docker.sock"
    );
    assert_eq!(config.client.reserved.cpu, 500);
    assert_eq!(config.client.reserved.ports, "22,8000-8100");
    assert_eq!(
        (
            config.catalog.domain.as_str(),
            config.catalog.dns.ttl_of("web")
        ),
        ("cluster", 5)
    );
    let dns = &config.catalog.dns;
    assert_eq!(
        (dns.node_ttl, dns.udp_answer_limit, dns.soa.min_ttl),
        (2, 3, 4)
    );
    assert_eq!(
        (dns.ttl_of("db-1"), config.catalog.recursors.as_slice()),
        (9, &["10.0.0.53".to_owned()][..])
    );
    let listeners = [80, 8080].map(EdgeListener::http);
    assert_eq!(config.edge.listeners, listeners);
    assert_eq!(config.edge.no_route_status, 503);
}

#[test]
fn the_edge_listens_as_fabio_writes_it() {
    let config =
        loaded(&["edge {\n proxy_addr = \":9999,:9997;proto=tcp\"\n access_log = \"combined\"\n}"]);
    let tcp = EdgeListener {
        protocol: EdgeProtocol::Tcp,
        ..EdgeListener::http(9997)
    };
    assert_eq!(config.edge.listeners, [EdgeListener::http(9999), tcp]);
    assert_eq!(config.edge.access_log, Some(AccessFormat::Combined));
}

#[test]
fn later_files_override_and_maps_merge() {
    let config = loaded(&[
        "datacenter = \"a\"\nname = \"n\"\nclient {\n meta {\n x = 1\n y = 1\n }\n }",
        "{\"datacenter\": \"b\", \"client\": {\"enabled\": true, \"meta\": {\"y\": \"2\"}},
          \"plugin\": {\"raw_exec\": {\"config\": {\"enabled\": true}}}}",
    ]);
    assert_eq!(
        (config.datacenter.as_str(), config.name.as_str()),
        ("b", "n")
    );
    let meta: Vec<_> = config.client.meta.into_iter().collect();
    assert_eq!(meta, [("x".into(), "1".into()), ("y".into(), "2".into())]);
    assert_eq!(config.client.options["driver.raw_exec.enable"], "true");
    assert!(config.client.enabled);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        (
            "datadir = \"/x\"",
            "1:1: `datadir` isn't known in the agent's configuration | did you mean `data_dir`?",
        ),
        (
            "acl {\n enabled = true\n}",
            "1:1: `acl` isn't supported yet",
        ),
        (
            "server {\n bootstrap_expct = 3\n}",
            "2:2: `bootstrap_expct` isn't known in server | did you mean `bootstrap_expect`?",
        ),
        (
            "server {\n bootstrap_expect = -1\n}",
            "2:21: `bootstrap_expect` is -1, it must be 0 or more",
        ),
        (
            "bind_addr = \"all\"",
            "1:13: `bind_addr` must be an IP address, such as \"127.0.0.1\"",
        ),
        (
            "ports {\n http = 70000\n}",
            "2:9: `http` is 70000, it must be from 0 to 65535",
        ),
        (
            "log_level = \"loud\"",
            "1:13: unknown log level | use one of trace, debug, info, warn, error",
        ),
        (
            "client {\n enabled = \"maybe\"\n}",
            "2:12: `enabled` must be true or false, not the string \"maybe\"",
        ),
        (
            "plugin \"java\" {}",
            "1:8: plugin `java` isn't supported yet | there are `docker` and `raw_exec`",
        ),
        (
            "client {\n reserved {\n reserved_ports = \"80-22\"\n }\n}",
            "3:19: `80-22` is not a list of ports | such as \"22,80,8500-8600\"",
        ),
        (
            "{\"name\": 1, \"x\": 2}",
            "1:13: `x` isn't known in the agent's configuration",
        ),
        (
            "server {",
            "1:8: this `{` is never closed | add a `}` where the block ends",
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
    for harmless in [
        "enable_syslog = false",
        "disable_update_check = true",
        "server {\n raft_protocol = 3\n rejoin_after_leave = true\n retry_max = 0\n}",
    ] {
        assert_eq!(configured(&[harmless]).warnings, []);
    }
}

#[test]
fn an_edge_that_cant_be_is_refused_with_the_place() {
    for (text, expected) in [
        (
            "edge {\n proxy_addr = \":9999;proto=udp\"\n}",
            "2:15: listener 1 of \":9999;proto=udp\", \":9999;proto=udp\": proto=udp is unknown; \
             write http, https, tcp, tcp+sni, https+tcp+sni, grpc or grpcs",
        ),
        (
            "edge {\n ports = [1]\n proxy_addr = \":2\"\n}",
            "3:15: `proxy_addr` and `ports` both say where to listen: keep `proxy_addr`",
        ),
        (
            "edge {\n access_log = \"apache\"\n}",
            "2:15: the access log's format \"apache\" is unknown; write common or combined",
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
}

#[test]
fn problems_of_all_files_are_told_each_with_its_file() {
    let errors = load_agent_config(AgentConfig::default(), &named(&["a = 1", "b = 2"]));
    let files: Vec<_> = errors
        .expect_err("wrong")
        .0
        .into_iter()
        .map(|p| p.file)
        .collect();
    assert_eq!(files, ["0.hcl", "1.hcl"]);
}

#[test]
fn an_agent_needs_a_place_for_its_state_and_something_to_do() {
    let with = |text: &str| check_agent_config(&loaded(&[text]));
    for (text, expected) in [
        ("server {\n enabled = true\n}", "no data_dir"),
        (
            "data_dir = \"x\"\nserver {\n enabled = true\n}",
            "must be an absolute path",
        ),
        ("data_dir = \"/x\"", "neither server nor client"),
        (
            "data_dir = \"/x\"\nserver {\n enabled = true\n bootstrap_expect = 0\n}",
            "bootstrap_expect is 0",
        ),
        (
            "data_dir = \"/x\"\nclient {\n enabled = true\n}",
            "knows no server",
        ),
    ] {
        let error = with(text).expect_err(text);
        assert!(error.contains(expected), "{error}");
    }
    let joins = "data_dir = \"/x\"\nserver {\n enabled = true\n bootstrap_expect = 0\n retry_join = [\"a\"]\n}";
    assert_eq!(with(joins), Ok(()));
    assert_eq!(check_agent_config(&AgentConfig::dev()), Ok(()));
}

const KEY: &str = "cg8StVXbQJ0gPvMd9o7yrg3kZHHU9pH2hGcNZNl6Nbg=";

#[test]
fn servers_and_clients_find_the_others_through_gossip() {
    let nobody: &[&str] = &[];
    for (text, start, retry, servers) in [
        (
            "server {\n start_join = [\"a\"]\n retry_join = [\"b:4648\", \"::1\"]\n}",
            &["a"][..],
            &["b:4648", "::1"][..],
            nobody,
        ),
        (
            "server {\n retry_join = [\"a\"]\n server_join {\n start_join = [\"c\"]\n \
             retry_join = [\"a\", \"b\"]\n}\n}",
            &["c"],
            &["a", "b"],
            nobody,
        ),
        (
            "client {\n server_join {\n retry_join = [\"a\", \"b:4648\", \"c:4647\"]\n }\n}",
            nobody,
            &["a", "b:4648"],
            &["c:4647"],
        ),
        (
            "ports {\n serf = 5648\n}\nclient {\n servers = [\"s\"]\n server_join {\n \
             start_join = [\"[::1]:5648\", \"d:5647\"]\n }\n}",
            &["[::1]:5648"],
            nobody,
            &["s", "d:5647"],
        ),
        (
            "{\"server\": {\"server_join\": {\"retry_join\": [\"10.0.0.1\"]}}}",
            nobody,
            &["10.0.0.1"],
            nobody,
        ),
    ] {
        let config = loaded(&[text]);
        assert_eq!(config.start_join, start, "{text}");
        assert_eq!(config.join, retry, "{text}");
        assert_eq!(config.client.servers, servers, "{text}");
    }
}

#[test]
fn addresses_of_several_files_come_together() {
    let file = |address: &str| format!("server {{\n retry_join = [\"{address}\"]\n}}");
    let files = [file("a"), file("b"), file("a")];
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    assert_eq!(loaded(&files).join, ["a", "b"]);
}

#[test]
fn an_address_that_is_none_is_told_with_its_place() {
    let not = |shown: &str, hint: &str| format!("`{shown}` is not an address to join | {hint}");
    let form = "write HOST or HOST:PORT, such as \"10.0.0.1\" or \"server-1.example:4648\"";
    for (address, hint) in [
        ("", form),
        ("a b", form),
        ("a:", form),
        ("a:0", form),
        ("a:70000", form),
        ("10.0.0.256", form),
        ("10.0.0", form),
        ("[10.0.0.1]:1", form),
        ("http://a", form),
        (
            "provider=aws tag_key=x",
            "finding agents through a cloud's API isn't supported yet, write HOST or HOST:PORT",
        ),
        (
            "{{GetPrivateIP}}",
            "templates aren't supported yet, write HOST or HOST:PORT",
        ),
    ] {
        let text = format!("server {{\n retry_join = [\"ok\", \"{address}\"]\n}}");
        let expected = format!("2:22: {}", not(address, hint));
        assert_eq!(refused(&text), [expected], "{text}");
        let flag = AgentConfig {
            join: vec![address.to_owned()],
            ..AgentConfig::dev()
        };
        let error = check_agent_config(&flag).expect_err(address);
        assert_eq!(error, not(address, hint).replace(" | ", ": "));
    }
}

#[test]
fn the_clusters_key_is_32_bytes() {
    for text in [
        format!("encrypt = \"{KEY}\""),
        format!("server {{\n encrypt = \"{KEY}\"\n}}"),
    ] {
        assert_eq!(loaded(&[&text]).encrypt, KEY);
    }
    let not = |count: usize| {
        format!("`encrypt` must be 32 bytes in base64, which is 44 characters, not {count}")
    };
    let hint = "`drover keygen` prints a key";
    for (key, count) in [
        ("", 0),
        ("c2hvcnQ=", 8),
        (&KEY[..43], 43),
        (&"-".repeat(44), 44),
    ] {
        let text = format!("server {{\n encrypt = \"{key}\"\n}}");
        let expected = format!("2:12: {} | {hint}", not(count));
        assert_eq!(refused(&text), [expected]);
    }
    let flag = AgentConfig {
        encrypt: "short".to_owned(),
        ..AgentConfig::dev()
    };
    let error = check_agent_config(&flag).expect_err("a bad key");
    assert_eq!(error, format!("{}: {hint}", not(5)));
}

#[test]
fn a_consul_is_asked_for_the_others_unless_unwanted() {
    for (inside, address) in [
        ("", Some("127.0.0.1:8500")),
        ("address = \"10.0.0.1:8501\"", Some("10.0.0.1:8501")),
        (
            "address = \"http://consul.example/\"",
            Some("consul.example:8500"),
        ),
        ("address = \"::1\"", Some("[::1]:8500")),
        ("server_auto_join = false", Some("127.0.0.1:8500")),
    ] {
        let config = loaded(&[&format!("consul {{\n {inside}\n}}")]);
        let found = config.consul.as_ref().map(|consul| consul.address.as_str());
        assert_eq!(found, address, "{inside}");
        assert!(config.finds_others(), "{inside}");
    }
    assert_eq!(loaded(&[""]).consul, None);
    let alone = loaded(&["consul {\n client_auto_join = false\n}"]);
    assert!(!alone.finds_others(), "no server");
    for (inside, expected) in [
        (
            "namespace = \"x\"",
            "2:14: Consul's namespaces aren't supported",
        ),
        (
            "address = \"https://a\"",
            "2:12: `address` is not the HTTP address of a Consul | write HOST:PORT, such as \
             \"127.0.0.1:8500\"",
        ),
        (
            "ssl = true",
            "2:8: a Consul that speaks https isn't supported yet",
        ),
        (
            "adress = \"a\"",
            "2:2: `adress` isn't known in consul | did you mean `address`?",
        ),
    ] {
        assert_eq!(refused(&format!("consul {{\n {inside}\n}}")), [expected]);
    }
}

#[test]
fn what_is_read_and_not_acted_on_gets_a_warning() {
    let text =
        "server {\n retry_interval = \"15s\"\n retry_max = 3\n}\nconsul {\n verify_ssl = true\n}";
    let warnings = told(&Errors(configured(&[text]).warnings));
    assert_eq!(
        warnings,
        [
            "2:19: `retry_interval` is ignored: agents try again every few seconds",
            "3:14: `retry_max` is ignored: agents try until one answers",
            "6:15: `verify_ssl` is ignored: Consul is asked over plain http",
        ]
    );
}

#[test]
fn a_client_that_joins_needs_no_list_of_servers() {
    let client = "data_dir = \"/x\"\nclient {\n enabled = true\n";
    for more in [
        "servers = [\"a\"]\n}",
        "server_join {\n retry_join = [\"a\"]\n}\n}",
        "}\nconsul {}",
    ] {
        assert_eq!(
            check_agent_config(&loaded(&[&format!("{client}{more}")])),
            Ok(()),
            "{more}"
        );
    }
}

#[test]
fn a_consul_beside_the_agent_is_described_as_nomads_is() {
    let text = "consul {
      address = \"10.0.0.1\"
      token = \"secret\"
      auth = \"user:pass\"
      timeout = \"2s\"
      auto_advertise = false
      checks_use_advertise = true
      server_service_name = \"sched\"
      tags = [\"a\"]
    }";
    let consul = loaded(&[text]).consul.expect("a Consul");
    let expected = ConsulConfig {
        token: "secret".to_owned(),
        auth: "user:pass".to_owned(),
        timeout_ms: 2_000,
        auto_advertise: false,
        checks_use_advertise: true,
        server_service_name: "sched".to_owned(),
        tags: vec!["a".to_owned()],
        ..ConsulConfig::at("10.0.0.1:8500")
    };
    assert_eq!(consul, expected);
}

#[test]
fn beside_a_consul_there_is_a_catalog_only_if_asked_for() {
    let asked = "catalog {\n enabled = true\n}";
    for (files, catalog) in [
        (vec![""], true),
        (vec!["consul {}"], false),
        (vec![asked, "consul {}"], true),
        (vec!["consul {}", asked], true),
    ] {
        assert_eq!(loaded(&files).catalog.enabled, catalog, "{files:?}");
    }
}

#[test]
fn mistakes_in_dns_config_are_placed() {
    for (inner, said) in [
        (
            "nod_ttl = \"5s\"",
            "a:3:3: `nod_ttl` isn't known in dns_config\n  hint: did you mean `node_ttl`?",
        ),
        (
            "soa {\n min_tll = 1\n }",
            "a:4:2: `min_tll` isn't known in soa\n  hint: did you mean `min_ttl`?",
        ),
        (
            "node_ttl = \"soon\"",
            "a:2:3: dns_config: node_ttl must be a duration such as \"10s\", and is \"soon\"",
        ),
    ] {
        let text = format!("catalog {{\n  dns_config {{\n  {inner}\n  }}\n}}\n");
        let files = [("a".to_owned(), text.into_bytes())];
        let refused = load_agent_config(AgentConfig::default(), &files);
        let told = refused.expect_err(inner).to_string();
        assert_eq!(told, said, "{inner}");
    }
}
