//! Services and checks as they are registered at an agent: by the HTTP API, the command line and
//! the agent's configuration, which spell them alike.

use std::net::IpAddr;

use logic::duration::SECOND;
use logic::model::{CheckWay, RegisteredCheck, ServiceInstance, TaggedAddress, Weights};
use logic::registry::{parse_url, status_named};

use crate::fields::{Fields, Wrong};

/// A service that is critical is forgotten no sooner.
const DEREGISTER_AFTER_MIN: i64 = 60 * SECOND;
const TIMEOUT: i64 = 10 * SECOND;

/// What this build doesn't run, by the fields that ask for it.
const NOT_YET: [(&str, &str); 8] = [
    ("GRPC", "gRPC checks"),
    ("H2PING", "h2ping checks"),
    ("UDP", "UDP checks"),
    ("OSService", "checks of operating system services"),
    ("AliasNode", "alias checks"),
    ("AliasService", "alias checks"),
    ("DockerContainerID", "checks inside of containers"),
    ("Args", "script checks"),
];

/// A service and its checks.
pub fn service(fields: &Fields) -> Result<(ServiceInstance, Vec<RegisteredCheck>), Wrong> {
    let name = text_or(fields, "Name", "Service")?;
    if name.is_empty() {
        return Err("Missing service name".to_owned());
    }
    for (field, what) in [("Connect", "service mesh"), ("Proxy", "service mesh")] {
        let inner = fields.object(field)?;
        let wants_one = inner.is_some_and(|inner| inner.has("SidecarService"));
        // Who writes back what was read brings both, with nothing in them.
        if wants_one || fields.says(field) {
            return Err(format!("{field}: {what} isn't supported"));
        }
    }
    let kind = fields.text("Kind")?;
    if !kind.is_empty() && kind != "typical" {
        return Err(format!("Kind \"{kind}\": service mesh isn't supported"));
    }
    let id = fields.text("ID")?;
    let address = fields.text("Address")?;
    if address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
        return Err(format!(
            "Invalid service address \"{address}\": nobody can connect to it"
        ));
    }
    let service = ServiceInstance {
        id: if id.is_empty() { name.clone() } else { id },
        service: name,
        tags: fields.texts("Tags")?,
        port: port(fields, "Port")?,
        meta: fields.map("Meta")?,
        tagged_addresses: fields
            .entries("TaggedAddresses")?
            .into_iter()
            .map(|(tag, at)| {
                let address = at.text("Address")?;
                let port = port(&at, "Port")?;
                Ok((tag, TaggedAddress { address, port }))
            })
            .collect::<Result<_, Wrong>>()?,
        weights: weights(fields)?,
        enable_tag_override: fields.flag("EnableTagOverride")?,
        address,
        ..ServiceInstance::default()
    };
    let mut asked = Vec::new();
    for field in ["Check", "Checks"] {
        for check in fields.objects(field)? {
            asked.push(check);
        }
    }
    let several = asked.len() > 1;
    let mut checks = Vec::new();
    for (number, fields) in asked.iter().enumerate() {
        let mut check = check(fields)?;
        if check.id.is_empty() {
            check.id = format!("service:{}", service.id);
            if several {
                check.id = format!("{}:{}", check.id, number + 1);
            }
        }
        if check.name.is_empty() {
            check.name = format!("Service '{}' check", service.service);
        }
        check.service_id.clone_from(&service.id);
        checks.push(check);
    }
    Ok((service, checks))
}

fn text_or(fields: &Fields, name: &str, other: &str) -> Result<String, Wrong> {
    let text = fields.text(name)?;
    if text.is_empty() {
        fields.text(other)
    } else {
        Ok(text)
    }
}

fn port(fields: &Fields, name: &str) -> Result<u16, Wrong> {
    let number = fields.number(name)?.unwrap_or(0);
    u16::try_from(number).map_err(|_| format!("{name} {number} is no port: at most 65535"))
}

fn weights(fields: &Fields) -> Result<Weights, Wrong> {
    let Some(weights) = fields.object("Weights")? else {
        return Ok(Weights::default());
    };
    let weight = |name| {
        let number = weights.number(name)?.unwrap_or(1);
        u16::try_from(number).map_err(|_| format!("Weights.{name} {number}: at most 65535"))
    };
    let (passing, warning) = (weight("Passing")?, weight("Warning")?);
    if passing == 0 {
        return Err("Weights.Passing must be at least 1".to_owned());
    }
    Ok(Weights { passing, warning })
}

/// A check of its own, with a name and thereby an id.
pub fn lone_check(fields: &Fields) -> Result<RegisteredCheck, Wrong> {
    let mut check = check(fields)?;
    if check.name.is_empty() {
        return Err("Missing check name".to_owned());
    }
    if check.id.is_empty() {
        check.id.clone_from(&check.name);
    }
    Ok(check)
}

/// A check whose id and name may be missing.
fn check(fields: &Fields) -> Result<RegisteredCheck, Wrong> {
    let status = match fields.text("Status")?.as_str() {
        "" => "",
        named => status_named(named).ok_or_else(|| {
            format!("Bad check status \"{named}\": it is passing, warning or critical")
        })?,
    };
    let deregister = "DeregisterCriticalServiceAfter";
    let deregister_after = fields.nanos(deregister)?.unwrap_or(0);
    let count = |name| {
        let number = fields.number(name)?.unwrap_or(0);
        u32::try_from(number).map_err(|_| format!("{name} {number} is too many"))
    };
    let name = fields.text("Name")?;
    Ok(RegisteredCheck {
        id: text_or(fields, "CheckID", "ID")?,
        notes: fields.text("Notes")?,
        service_id: fields.text("ServiceID")?,
        status: status.to_owned(),
        way: way(fields, &name)?,
        name,
        interval: fields.nanos("Interval")?.unwrap_or(0).max(SECOND),
        timeout: fields.nanos("Timeout")?.unwrap_or(TIMEOUT),
        deregister_after: match deregister_after {
            0 => 0,
            some => some.max(DEREGISTER_AFTER_MIN),
        },
        successes_needed: count("SuccessBeforePassing")?,
        failures_needed: count("FailuresBeforeCritical")?,
        ..RegisteredCheck::default()
    })
}

fn way(fields: &Fields, name: &str) -> Result<CheckWay, Wrong> {
    for (field, what) in NOT_YET {
        if fields.has(field) {
            return Err(refused(name, field, what));
        }
    }
    if fields.has("Script") {
        return Err(refused(name, "Script", "script checks"));
    }
    let (http, tcp) = (fields.text("HTTP")?, fields.text("TCP")?);
    let ttl = fields.nanos("TTL")?.unwrap_or(0);
    let asked = [!http.is_empty(), !tcp.is_empty(), ttl > 0];
    match asked.iter().filter(|asked| **asked).count() {
        1 => {}
        0 => return Err("Invalid check: it needs HTTP, TCP or TTL".to_owned()),
        _ => return Err("Invalid check: HTTP, TCP and TTL exclude each other".to_owned()),
    }
    if ttl > 0 {
        return Ok(CheckWay::Ttl(ttl));
    }
    if fields.nanos("Interval")?.unwrap_or(0) == 0 {
        return Err(
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks".to_owned(),
        );
    }
    if !tcp.is_empty() {
        let has_port = tcp
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port {
            return Err(format!("Invalid check: TCP \"{tcp}\" isn't HOST:PORT"));
        }
        return Ok(CheckWay::Tcp { address: tcp });
    }
    if parse_url(&http).is_none() {
        return Err(format!(
            "Invalid check: HTTP \"{http}\" isn't http://HOST[:PORT][/PATH] or https://..."
        ));
    }
    let headers = fields.lists("Header")?;
    Ok(CheckWay::Http {
        url: http,
        method: fields.text("Method")?,
        headers: headers
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
            .collect(),
        body: fields.text("Body")?,
        tls_skip_verify: fields.flag("TLSSkipVerify")?,
        tls_server_name: fields.text("TLSServerName")?,
    })
}

fn refused(name: &str, field: &str, what: &str) -> Wrong {
    let scripts = if matches!(field, "Args" | "Script") {
        "; let the program say how it is, by a TTL check and /v1/agent/check/pass/ID"
    } else {
        ""
    };
    format!("Invalid check {name:?}: {field}: {what} aren't supported yet{scripts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(ServiceInstance, Vec<RegisteredCheck>), Wrong> {
        service(&Fields::parse(text.as_bytes())?)
    }

    #[test]
    fn a_service_is_read_however_its_fields_are_spelt() {
        let api = r#"{"Name":"web","Tags":["a"],"Port":80,"Meta":{"some_key":"v"},
            "TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":80}},
            "Check":{"HTTP":"http://10.0.0.1/","Interval":"100ms","Header":{"X-A":["1","2"]},
                     "DeregisterCriticalServiceAfter":"1s"}}"#;
        let file = r#"{"name":"web","tags":["a"],"port":80,"meta":{"some_key":"v"},
            "tagged_addresses":{"lan":{"address":"10.0.0.1","port":80}},
            "check":[{"http":"http://10.0.0.1/","interval":"1s","header":{"X-A":["1","2"]},
                      "deregister_critical_service_after":"1m"}]}"#;
        let (service, checks) = of(api).expect("a service");
        assert_eq!(of(file), Ok((service.clone(), checks.clone())));
        assert_eq!((service.id.as_str(), service.port), ("web", 80));
        assert_eq!(checks[0].id, "service:web");
        assert_eq!(checks[0].name, "Service 'web' check");
        assert_eq!(checks[0].deregister_after, 60 * SECOND);
    }

    #[test]
    fn what_was_read_can_be_written_back() {
        let read = r#"{"Service":"w","Connect":{},"Meta":null,
            "Proxy":{"MeshGateway":{},"Expose":{},"Config":null}}"#;
        assert_eq!(of(read).map(|(service, _)| service.id), Ok("w".to_owned()));
    }

    #[test]
    fn several_checks_are_numbered() {
        let (_, checks) = of(r#"{"Name":"web","ID":"w1","Check":{"TTL":"5s"},
            "Checks":[{"TCP":"10.0.0.1:80","Interval":"2s"},{"CheckID":"own","TTL":"5s"}]}"#)
        .expect("a service");
        let ids: Vec<_> = checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["service:w1:1", "service:w1:2", "own"]);
    }

    #[test]
    fn mistakes_say_what_is_meant() {
        for (text, said) in [
            ("{}", "Missing service name"),
            (r#"{"Name":"w","Port":70000}"#, "no port"),
            (r#"{"Name":"w","Address":"0.0.0.0"}"#, "nobody can connect"),
            (r#"{"Name":"w","Check":{}}"#, "needs HTTP, TCP or TTL"),
            (
                r#"{"Name":"w","Check":{"TTL":"1s","TCP":"a:1"}}"#,
                "exclude each other",
            ),
            (
                r#"{"Name":"w","Check":{"HTTP":"a","Interval":"1s"}}"#,
                "isn't http://",
            ),
            (
                r#"{"Name":"w","Check":{"HTTP":"http://a"}}"#,
                "Interval must be > 0",
            ),
            (
                r#"{"Name":"w","Check":{"Args":["x"],"Interval":"1s"}}"#,
                "script checks",
            ),
            (
                r#"{"Name":"w","Check":{"TTL":"1s","Status":"good"}}"#,
                "Bad check status",
            ),
            (
                r#"{"Name":"w","Connect":{"SidecarService":{}}}"#,
                "service mesh",
            ),
            (r#"{"Name":["w"]}"#, "Name must be a string"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
