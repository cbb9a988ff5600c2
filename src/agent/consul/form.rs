//! What a Consul is told and tells, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use logic::beside::{Definition, FoundCheck, FoundService, Registration};
use logic::lifecycle::services::Probe;
use serde_json::{Value, json};

/// The body that registers a service with its checks. Those whose status is known begin with it:
/// a Consul that forgot an instance that works doesn't take it out of DNS.
pub(super) fn registration(service: &Registration, known: &BTreeMap<String, String>) -> Value {
    let checks = service.checks.iter();
    let checks: Vec<Value> = checks
        .map(|(id, check)| definition(id, check, known.get(id).unwrap_or(&check.status)))
        .collect();
    json!({
        "ID": service.id,
        "Name": service.name,
        "Tags": service.tags,
        "Address": service.address,
        "Port": service.port,
        "Meta": service.meta,
        "Checks": checks,
    })
}

fn definition(id: &str, check: &Definition, status: &str) -> Value {
    let mut body = json!({
        "CheckID": id,
        "Name": check.name,
        "Interval": millis(check.interval),
        "Timeout": millis(check.timeout),
        "Status": status,
    });
    for (name, count) in [
        ("SuccessBeforePassing", check.successes_needed),
        ("FailuresBeforeCritical", check.failures_needed),
    ] {
        // Old ones don't know these: said only if it matters.
        if count > 1 {
            body[name] = json!(count);
        }
    }
    match &check.probe {
        Probe::Tcp { address } => body["TCP"] = json!(address),
        Probe::Http {
            address,
            path,
            method,
            headers,
            body: sent,
            tls,
        } => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            let scheme = if tls.is_some() { "https" } else { "http" };
            body["HTTP"] = json!(format!("{scheme}://{address}{slash}{path}"));
            if tls.as_ref().is_some_and(|tls| !tls.verified) {
                body["TLSSkipVerify"] = json!(true);
            }
            body["Method"] = json!(method);
            if !headers.is_empty() {
                let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                for (name, value) in headers {
                    by_name.entry(name).or_default().push(value);
                }
                body["Header"] = json!(by_name);
            }
            if !sent.is_empty() {
                body["Body"] = json!(sent);
            }
        }
    }
    body
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The answer of `/v1/agent/services`.
pub(super) fn services(answer: &Value) -> BTreeMap<String, FoundService> {
    let services = answer.as_object().into_iter().flatten();
    services
        .map(|(id, service)| {
            let meta = service["Meta"].as_object().into_iter().flatten();
            let tags = service["Tags"].as_array().into_iter().flatten();
            let found = FoundService {
                name: text(&service["Service"]),
                tags: tags.map(text).collect(),
                address: text(&service["Address"]),
                port: service["Port"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok())
                    .unwrap_or_default(),
                meta: meta
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect(),
            };
            (id.clone(), found)
        })
        .collect()
}

/// The answer of `/v1/agent/checks`.
pub(super) fn checks(answer: &Value) -> BTreeMap<String, FoundCheck> {
    let checks = answer.as_object().into_iter().flatten();
    checks
        .map(|(id, check)| {
            let found = FoundCheck {
                service_id: text(&check["ServiceID"]),
                status: text(&check["Status"]),
                output: text(&check["Output"]),
            };
            (id.clone(), found)
        })
        .collect()
}

/// What constraints of jobs may ask of a node's Consul, from `/v1/agent/self`.
pub(super) fn attributes(answer: &Value) -> BTreeMap<String, String> {
    let config = &answer["Config"];
    let mut attributes = BTreeMap::new();
    for (name, value) in [
        ("consul.datacenter", &config["Datacenter"]),
        ("consul.version", &config["Version"]),
        ("consul.revision", &config["Revision"]),
        ("unique.consul.name", &config["NodeName"]),
    ] {
        let value = text(value);
        if !value.is_empty() {
            attributes.insert(name.to_owned(), value);
        }
    }
    if let Some(server) = config["Server"].as_bool() {
        attributes.insert("consul.server".to_owned(), server.to_string());
    }
    attributes
}
