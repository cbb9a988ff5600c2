//! Configuration files as `consul agent` reads them: Consul's own keys, in JSON or HCL. What isn't
//! acted on is told.

use std::net::IpAddr;

use logic::config::AgentConfig;
use logic::model::Registrations;
use serde_json::{Map, Value};

use crate::fields::{Fields, Wrong};
use crate::problem::{Problem, Source};
use crate::{consul_dns, consul_file, consul_names, registration};

/// Puts what a file says into a configuration; returns what isn't acted on. A mistake names the
/// file.
pub fn apply(config: &mut AgentConfig, file: &str, text: &str) -> Result<Vec<Problem>, Wrong> {
    let source = Source { file, text };
    let read = consul_file::read(source).map_err(|errors| errors.to_string())?;
    let warnings = consul_names::warnings(source, &read);
    settings(&Fields::of(read.said), config).map_err(|why| format!("{file}: {why}"))?;
    Ok(warnings)
}

fn settings(fields: &Fields, config: &mut AgentConfig) -> Result<(), Wrong> {
    texts(fields, config)?;
    addresses(fields, config)?;
    cluster(fields, config)?;
    ports(fields, config)?;
    config.catalog.recursors.extend(fields.texts("recursors")?);
    if let Some(dns) = fields.object("dns_config")? {
        consul_dns::read(&dns, &mut config.catalog.dns)?;
    }
    registered(fields, &mut config.catalog.registered)
}

fn texts(fields: &Fields, config: &mut AgentConfig) -> Result<(), Wrong> {
    for (name, setting) in [
        ("data_dir", &mut config.data_dir),
        ("node_name", &mut config.name),
        ("datacenter", &mut config.datacenter),
        ("domain", &mut config.catalog.domain),
        ("encrypt", &mut config.encrypt),
    ] {
        if fields.has(name) {
            *setting = fields.text(name)?;
        }
    }
    config.catalog.domain = config.catalog.domain.trim_matches('.').to_owned();
    if fields.has("log_level") {
        let level = fields.text("log_level")?.to_lowercase();
        config.log_level = match level.as_str() {
            "err" => "error".to_owned(),
            "trace" | "debug" | "info" | "warn" | "error" => level,
            _ => return Err(format!("log_level \"{level}\" is unknown")),
        };
    }
    config.log_json |= fields.flag("log_json")?;
    config.leave_on_terminate |= fields.flag("leave_on_terminate")?;
    Ok(())
}

fn address(fields: &Fields, name: &str) -> Result<Option<IpAddr>, Wrong> {
    let text = fields.text(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|_| format!("{name} \"{text}\" isn't an IP address"))
}

fn addresses(fields: &Fields, config: &mut AgentConfig) -> Result<(), Wrong> {
    if let Some(client) = address(fields, "client_addr")? {
        config.bind_addr = client;
    }
    if let Some(bind) = address(fields, "bind_addr")? {
        config.addresses.rpc = Some(bind);
        config.addresses.serf = Some(bind);
        if !bind.is_unspecified() {
            config.advertise_addr = Some(bind);
        }
    }
    if let Some(advertised) = address(fields, "advertise_addr")? {
        config.advertise_addr = Some(advertised);
    }
    Ok(())
}

fn cluster(fields: &Fields, config: &mut AgentConfig) -> Result<(), Wrong> {
    config.server.enabled |= fields.flag("server")?;
    if fields.flag("bootstrap")? {
        config.server.bootstrap_expect = 1;
    }
    if let Some(count) = fields.number("bootstrap_expect")? {
        let count = u32::try_from(count);
        config.server.bootstrap_expect =
            count.map_err(|_| "bootstrap_expect is too large".to_owned())?;
    }
    config.start_join.extend(fields.texts("start_join")?);
    config.join.extend(fields.texts("retry_join")?);
    Ok(())
}

fn ports(fields: &Fields, config: &mut AgentConfig) -> Result<(), Wrong> {
    let Some(ports) = fields.object("ports")? else {
        return Ok(());
    };
    for (name, setting) in [
        ("dns", &mut config.catalog.dns_port),
        ("http", &mut config.catalog.http_port),
        ("server", &mut config.ports.rpc),
        ("serf_lan", &mut config.ports.serf),
    ] {
        if let Some(port) = ports.number(name)? {
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            *setting = port.ok_or_else(|| format!("ports.{name} isn't a port"))?;
        }
    }
    Ok(())
}

fn registered(fields: &Fields, into: &mut Registrations) -> Result<(), Wrong> {
    for name in ["service", "services"] {
        for service in fields.objects(name)? {
            let (service, checks) = registration::service(&service)?;
            let checks = checks.into_iter().map(|check| (check.id.clone(), check));
            into.checks.extend(checks);
            into.services.insert(service.id.clone(), service);
        }
    }
    for name in ["check", "checks"] {
        for check in fields.objects(name)? {
            let check = registration::lone_check(&check)?;
            into.checks.insert(check.id.clone(), check);
        }
    }
    for check in into
        .checks
        .values_mut()
        .filter(|check| check.status.is_empty())
    {
        logic::model::CHECK_CRITICAL.clone_into(&mut check.status);
    }
    Ok(())
}

/// The services that a file for `consul services register` has, as they are sent to an agent.
pub fn services(file: &str, text: &str) -> Result<Vec<Value>, Wrong> {
    let read = consul_file::read(Source { file, text }).map_err(|errors| errors.to_string())?;
    listed(&read.said).map_err(|why| format!("{file}: {why}"))
}

fn listed(object: &Map<String, Value>) -> Result<Vec<Value>, Wrong> {
    let mut found = Vec::new();
    for name in ["service", "services", "Service", "Services"] {
        match object.get(name) {
            None => {}
            Some(Value::Array(items)) => found.extend(items.iter().cloned()),
            Some(one) => found.push(one.clone()),
        }
    }
    if found.is_empty() {
        return Err("there is no `service` in it".to_owned());
    }
    for service in &found {
        let Value::Object(service) = service else {
            return Err("a service must be an object".to_owned());
        };
        registration::service(&Fields::of(service.clone()))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HCL: &str = r#"
        server = true
        bootstrap_expect = 3
        node_name = "consul-1"
        data_dir = "/var/lib/consul"
        client_addr = "0.0.0.0"
        bind_addr = "10.0.0.1"
        retry_join = ["10.0.0.2"]
        recursors = ["8.8.8.8"]
        log_level = "ERR"
        ports { dns = 53 }
        dns_config { service_ttl = { "*" = "5s" } }
        acl { enabled = true }
        service {
          name = "web"
          port = 80
          check { http = "http://10.0.0.1/", interval = "5s" }
        }
        service { name = "db" }
    "#;

    #[test]
    fn consuls_keys_are_understood_in_hcl_and_json() {
        let json = r#"{"server":true,"bootstrap_expect":3,"node_name":"consul-1",
            "data_dir":"/var/lib/consul","client_addr":"0.0.0.0","bind_addr":"10.0.0.1",
            "retry_join":["10.0.0.2"],"recursors":["8.8.8.8"],"log_level":"ERR",
            "ports":{"dns":53},"dns_config":{"service_ttl":{"*":"5s"}},"acl":{"enabled":true},
            "services":[{"name":"web","port":80,
                         "check":{"http":"http://10.0.0.1/","interval":"5s"}},
                        {"name":"db"}]}"#;
        let read = |text: &str| {
            let mut config = AgentConfig::default();
            let warnings = apply(&mut config, "x", text);
            let warnings = warnings.unwrap_or_else(|why| panic!("{why}: {text}"));
            let warnings = warnings.into_iter().map(|warning| warning.message);
            (config, warnings.collect::<Vec<_>>())
        };
        let (config, warnings) = read(HCL);
        assert_eq!(read(json), (config.clone(), warnings.clone()));
        assert_eq!(warnings, ["`acl` isn't supported yet, and has no effect"]);
        assert!(config.server.enabled && config.server.bootstrap_expect == 3);
        assert_eq!(
            (config.catalog.dns_port, config.catalog.dns.ttl_of("web")),
            (53, 5)
        );
        assert_eq!(config.catalog.recursors, ["8.8.8.8"]);
        assert_eq!(config.log_level, "error");
        assert_eq!(config.catalog.registered.services.len(), 2);
        assert!(config.catalog.registered.checks.contains_key("service:web"));
        assert_eq!(services("x", json).map(|found| found.len()), Ok(2));
    }

    #[test]
    fn what_dns_is_told_is_read() {
        let hcl = r#"
            dns_config {
              node_ttl = "2s"
              service_ttl { "*" = "3s", "Web-1*" = "4s" }
              only_passing = false
              node_meta_txt = false
              a_record_limit = 1
              udp_answer_limit = 3
              enable_truncate = true
              disable_compression = true
              allow_stale = true
              max_stale = "87600h"
              use_cache = true
              cache_max_age = "5s"
              recursor_timeout = "250ms"
              soa { refresh = 1, retry = 2, expire = 3, min_ttl = 4 }
            }"#;
        let json = r#"{"dns_config":{"node_ttl":"2s","service_ttl":{"*":"3s","Web-1*":"4s"},
            "only_passing":false,"node_meta_txt":false,"a_record_limit":1,"udp_answer_limit":3,
            "enable_truncate":true,"disable_compression":true,"recursor_timeout":"250ms",
            "soa":{"refresh":1,"retry":2,"expire":3,"min_ttl":4}}}"#;
        let read = |text: &str| {
            let mut config = AgentConfig::default();
            let warnings = apply(&mut config, "x", text);
            assert_eq!(warnings.map(|found| found.len()), Ok(0), "{text}");
            config.catalog.dns
        };
        let dns = read(hcl);
        assert_eq!(read(json), dns);
        assert_eq!((dns.ttl_of("web-12"), dns.ttl_of("web")), (4, 3));
        assert_eq!((dns.node_ttl, dns.recursor_timeout), (2, 250_000_000));
        assert!(!dns.only_passing && !dns.node_meta_txt);
        assert_eq!((dns.a_record_limit, dns.udp_answer_limit), (1, 3));
        assert!(dns.enable_truncate && dns.disable_compression);
        let soa = &dns.soa;
        let times = (soa.refresh, soa.retry, soa.expire, soa.min_ttl);
        assert_eq!(times, (1, 2, 3, 4));
    }

    #[test]
    fn keys_that_change_nothing_are_told_with_their_place() {
        let hcl = r#"datacentre = "dc2"
ports {
  https = 8501
  grpc = -1
  dsn = 53
}
dns_config {
  nod_ttl = "5s"
  soa {
    min_tll = 1
  }
}
telemetry {
  anything = true
}
services = [
  { name = "a" },
  { name = "b", prot = 80 },
]
service {
  name = "c"
  check {
    ttl = "5s"
    output_max_size = 9
  }
}
"#;
        let json = r#"{"enable_script_checks": true,
 "ports": {"dns": 53,
  "dsn": 54}}"#;
        let told = |text: &str| {
            let found = apply(&mut AgentConfig::default(), "c.hcl", text);
            let found = found.unwrap_or_else(|why| panic!("{why}: {text}"));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told(hcl),
            [
                "c.hcl:1:1: `datacentre` isn't known, and has no effect; \
                 did you mean `datacenter`?",
                "c.hcl:3:3: `ports.https` isn't supported yet, and has no effect",
                "c.hcl:5:3: `ports.dsn` isn't known, and has no effect; did you mean `dns`?",
                "c.hcl:8:3: `dns_config.nod_ttl` isn't known, and has no effect; \
                 did you mean `node_ttl`?",
                "c.hcl:10:5: `dns_config.soa.min_tll` isn't known, and has no effect; \
                 did you mean `min_ttl`?",
                "c.hcl:13:1: `telemetry` isn't supported yet, and has no effect",
                "c.hcl:18:17: `services.prot` isn't known, and has no effect; \
                 did you mean `port`?",
                "c.hcl:24:5: `service.check.output_max_size` isn't supported yet, and has no \
                 effect",
            ]
        );
        assert_eq!(
            told(json),
            [
                "c.hcl:1:2: `enable_script_checks` isn't supported yet, and has no effect",
                "c.hcl:3:3: `ports.dsn` isn't known, and has no effect; did you mean `dns`?",
            ]
        );
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "{",
            r#"{"server":"yes"}"#,
            r#"{"bind_addr":"here"}"#,
            r#"{"ports":{"dns":0}}"#,
            r#"{"service":{"port":80}}"#,
            r#"{"log_level":"loud"}"#,
            r#"{"dns_config":{"node_ttl":"soon"}}"#,
            r#"{"dns_config":{"service_ttl":{"web":"-1s"}}}"#,
            r#"{"dns_config":{"recursor_timeout":"0s"}}"#,
            r#"{"dns_config":{"only_passing":"no"}}"#,
            r#"{"dns_config":{"soa":{"retry":3000000000}}}"#,
            r#"{"dns_config":{"max_stale":"often"}}"#,
        ] {
            let applied = apply(&mut AgentConfig::default(), "x", text);
            assert!(applied.is_err(), "{text}");
        }
        assert!(services("x", "{}").is_err());
    }
}
