//! The `consul` block of an agent's configuration: the Consul beside it.

use logic::address;
use logic::config::ConsulConfig;

use crate::agent_join::split;
use crate::decode::{Decoder, Fields};

/// What is read and changes nothing, with the reason.
const IGNORED: [(&str, &str); 12] = [
    ("allow_unauthenticated", "jobs need no token of Consul's"),
    ("ca_file", CLEAR),
    ("cert_file", CLEAR),
    ("client_failures_before_critical", ONE_FAILURE),
    ("client_failures_before_warning", ONE_FAILURE),
    ("grpc_address", NO_MESH),
    ("grpc_ca_file", NO_MESH),
    ("key_file", CLEAR),
    ("server_failures_before_critical", ONE_FAILURE),
    ("server_failures_before_warning", ONE_FAILURE),
    ("share_ssl", "tasks get no settings of Consul's"),
    ("verify_ssl", CLEAR),
];
const CLEAR: &str = "Consul is asked over plain http";
const NO_MESH: &str = "there is no service mesh";
const ONE_FAILURE: &str = "the agent's own checks are critical after one failure";

pub(crate) fn consul(
    decoder: &mut Decoder<'_, '_>,
    fields: &Fields<'_>,
    into: &mut Option<ConsulConfig>,
) {
    for (name, why) in IGNORED {
        if let Some((data, _)) = decoder.get(fields, name) {
            let message = format!("`{name}` is ignored: {why}");
            decoder.findings.warn(data.at, message);
        }
    }
    refuse(decoder, fields);
    let consul = into.get_or_insert_default();
    address(decoder, fields, &mut consul.address);
    for (name, setting) in [
        ("token", &mut consul.token),
        ("auth", &mut consul.auth),
        ("server_service_name", &mut consul.server_service_name),
        ("client_service_name", &mut consul.client_service_name),
        ("server_http_check_name", &mut consul.server_http_check_name),
        ("server_rpc_check_name", &mut consul.server_rpc_check_name),
        ("server_serf_check_name", &mut consul.server_serf_check_name),
        ("client_http_check_name", &mut consul.client_http_check_name),
    ] {
        decoder.string(fields, name, setting);
    }
    for (name, setting) in [
        ("auto_advertise", &mut consul.auto_advertise),
        ("checks_use_advertise", &mut consul.checks_use_advertise),
        ("server_auto_join", &mut consul.server_auto_join),
        ("client_auto_join", &mut consul.client_auto_join),
    ] {
        decoder.flag(fields, name, setting);
    }
    decoder.strings(fields, "tags", &mut consul.tags);
    if let Some(nanos) = decoder.period(fields, "timeout") {
        let millis = u64::try_from(nanos / 1_000_000).unwrap_or(0);
        consul.timeout_ms = millis.max(1);
    }
}

/// Settings that can't be left out without doing something else than was asked for.
fn refuse(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) {
    let mut ssl = false;
    decoder.flag(fields, "ssl", &mut ssl);
    if let (true, Some((data, _))) = (ssl, decoder.get(fields, "ssl")) {
        let message = "a Consul that speaks https isn't supported yet";
        decoder.findings.error(data.at, message);
    }
    let mut namespace = String::new();
    decoder.string(fields, "namespace", &mut namespace);
    if !["", "default"].contains(&namespace.as_str())
        && let Some((data, _)) = decoder.get(fields, "namespace")
    {
        let message = "Consul's namespaces aren't supported";
        decoder.findings.error(data.at, message);
    }
}

fn address(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, into: &mut String) {
    let Some((data, _)) = decoder.get(fields, "address") else {
        return;
    };
    let text = data.to_text().unwrap_or_default();
    match consul_address(&text) {
        Ok(address) => *into = address,
        Err((message, hint)) => {
            let message = format!("`address` {message}");
            decoder.findings.error_with(data.at, message, Some(hint));
        }
    }
}

/// `HOST:PORT` of what is written as a Consul's address; an error says what is wrong with it, and
/// what to write.
pub fn consul_address(text: &str) -> Result<String, (String, String)> {
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.trim_end_matches('/');
    match split(address) {
        Some((_, Some(_))) => Ok(address.to_owned()),
        Some((host, None)) => Ok(address::join(host, 8500)),
        None => Err((
            "is not the HTTP address of a Consul".to_owned(),
            "write HOST:PORT, such as \"127.0.0.1:8500\"".to_owned(),
        )),
    }
}
