//! Configuration files as `consul agent` reads them: Consul's own keys, in JSON or HCL. What isn't
//! acted on is told.

use std::net::IpAddr;

use logic::config::AgentConfig;
use logic::model::Registrations;
use serde_json::{Map, Value};

use crate::fields::{Fields, Wrong};
use crate::registration;

/// Known, and without a meaning here.
const ACCEPTED: [&str; 14] = [
    "autoreload_config",
    "disable_update_check",
    "enable_syslog",
    "log_file",
    "performance",
    "protocol",
    "raft_protocol",
    "rejoin_after_leave",
    "retry_interval",
    "retry_max",
    "server_name",
    "skip_leave_on_interrupt",
    "ui",
    "ui_config",
];

const KNOWN: [&str; 24] = [
    "advertise_addr",
    "bind_addr",
    "bootstrap",
    "bootstrap_expect",
    "check",
    "checks",
    "client_addr",
    "data_dir",
    "datacenter",
    "dns_config",
    "domain",
    "enable_script_checks",
    "encrypt",
    "leave_on_terminate",
    "log_json",
    "log_level",
    "node_name",
    "ports",
    "recursors",
    "retry_join",
    "server",
    "service",
    "services",
    "start_join",
];

/// The object that a file's text says.
fn object(text: &str) -> Result<Map<String, Value>, Wrong> {
    if crate::is_json(text) {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let parsed: Result<Value, _> = hcl::from_str(text);
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("settings are expected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Puts what a file says into a configuration; returns what isn't acted on.
pub fn apply(config: &mut AgentConfig, text: &str) -> Result<Vec<String>, Wrong> {
    let object = object(text)?;
    let mut warnings = Vec::new();
    for key in object.keys() {
        let name = key.as_str();
        if !KNOWN.contains(&name) && !ACCEPTED.contains(&name) {
            warnings.push(format!("`{name}` isn't supported yet, and has no effect"));
        }
    }
    let fields = Fields::of(object);
    if fields.flag("enable_script_checks")? {
        warnings.push("script checks aren't supported yet".to_owned());
    }
    texts(&fields, config)?;
    addresses(&fields, config)?;
    cluster(&fields, config)?;
    ports(&fields, config)?;
    dns(&fields, config, &mut warnings)?;
    registered(&fields, &mut config.catalog.registered)?;
    Ok(warnings)
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

fn dns(fields: &Fields, config: &mut AgentConfig, warnings: &mut Vec<String>) -> Result<(), Wrong> {
    config.catalog.recursors.extend(fields.texts("recursors")?);
    let Some(dns) = fields.object("dns_config")? else {
        return Ok(());
    };
    if let Some(ttls) = dns.object("service_ttl")?
        && let Some(nanos) = ttls.nanos("*")?
    {
        let seconds = nanos / logic::duration::SECOND;
        config.catalog.service_ttl = u32::try_from(seconds).unwrap_or(u32::MAX);
    }
    if dns.has("only_passing") && !dns.flag("only_passing")? {
        warnings.push("dns_config.only_passing is always on".to_owned());
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
pub fn services(text: &str) -> Result<Vec<Value>, Wrong> {
    let object = object(text)?;
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
        let hcl = HCL.replace(
            "check { http = \"http://10.0.0.1/\", interval = \"5s\" }",
            "check {\n http = \"http://10.0.0.1/\"\n interval = \"5s\"\n }",
        );
        let json = r#"{"server":true,"bootstrap_expect":3,"node_name":"consul-1",
            "data_dir":"/var/lib/consul","client_addr":"0.0.0.0","bind_addr":"10.0.0.1",
            "retry_join":["10.0.0.2"],"recursors":["8.8.8.8"],"log_level":"ERR",
            "ports":{"dns":53},"dns_config":{"service_ttl":{"*":"5s"}},"acl":{"enabled":true},
            "services":[{"name":"web","port":80,
                         "check":{"http":"http://10.0.0.1/","interval":"5s"}},
                        {"name":"db"}]}"#;
        let read = |text: &str| {
            let mut config = AgentConfig::default();
            let warnings = apply(&mut config, text).unwrap_or_else(|why| panic!("{why}: {text}"));
            (config, warnings)
        };
        let (config, warnings) = read(&hcl);
        assert_eq!(read(json), (config.clone(), warnings.clone()));
        assert_eq!(warnings, ["`acl` isn't supported yet, and has no effect"]);
        assert!(config.server.enabled && config.server.bootstrap_expect == 3);
        assert_eq!(
            (config.catalog.dns_port, config.catalog.service_ttl),
            (53, 5)
        );
        assert_eq!(config.catalog.recursors, ["8.8.8.8"]);
        assert_eq!(config.log_level, "error");
        assert_eq!(config.catalog.registered.services.len(), 2);
        assert!(config.catalog.registered.checks.contains_key("service:web"));
        assert_eq!(services(json).map(|found| found.len()), Ok(2));
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
        ] {
            assert!(apply(&mut AgentConfig::default(), text).is_err(), "{text}");
        }
        assert!(services("{}").is_err());
    }
}
