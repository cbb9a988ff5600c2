//! How an agent finds the others: addresses to join, the cluster's key.

use std::net::IpAddr;

use logic::config::AgentConfig;

use crate::agent::block;
use crate::agent_names as names;
use crate::decode::{Decoder, Fields};
use crate::tree::{Data, Kind};

/// What is wrong with a value, and what to do about it.
type Wrong = (String, String);

/// Gossip's port if none is configured.
const GOSSIP_PORT: u16 = 4648;

/// Whether `text` is `HOST[:PORT]`.
pub(crate) fn check_address(text: &str) -> Result<(), Wrong> {
    if split(text).is_some() {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    let hint = if text.contains("provider=") {
        "finding agents through a cloud's API isn't supported yet, write HOST or HOST:PORT"
    } else if text.contains("{{") {
        "templates aren't supported yet, write HOST or HOST:PORT"
    } else {
        "write HOST or HOST:PORT, such as \"10.0.0.1\" or \"server-1.example:4648\""
    };
    let shown = shown.escape_debug();
    Err((
        format!("`{shown}` is not an address to join"),
        hint.to_owned(),
    ))
}

/// A host's name or address, and the port if one is given.
pub(crate) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            let is_six = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':')?),
            };
            (is_six.then_some(host)?, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (is_name(host).then_some(host)?, Some(port)),
            None => (is_name(text).then_some(text)?, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    Some((host, port))
}

fn is_name(host: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let only_numbers = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !host.is_empty()
        && host.len() <= 253
        && host.chars().all(is_fine)
        && !host.starts_with(['-', '.'])
        && (!only_numbers || host.parse::<IpAddr>().is_ok())
}

/// Whether `text` is a key: 32 bytes in base64. What it is isn't told.
pub(crate) fn check_key(text: &str) -> Result<(), Wrong> {
    let digits = text.strip_suffix('=').unwrap_or_default();
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    if digits.len() == 43 && digits.chars().all(is_digit) {
        return Ok(());
    }
    let message = format!(
        "`encrypt` must be 32 bytes in base64, which is 44 characters, not {}",
        text.chars().count()
    );
    Err((message, "`drover keygen` prints a key".to_owned()))
}

/// The cluster's key.
pub(crate) fn encrypt(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, into: &mut String) {
    let Some((data, _)) = decoder.get(fields, "encrypt") else {
        return;
    };
    let text = data.to_text().unwrap_or_default();
    match check_key(&text) {
        Ok(()) => *into = text,
        Err((message, hint)) => decoder.findings.error_with(data.at, message, Some(hint)),
    }
}

/// Addresses of one list, those that are some.
fn addresses(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, name: &str) -> Vec<String> {
    let Some((data, _)) = decoder.get(fields, name) else {
        return Vec::new();
    };
    if let Kind::List(items) = &data.kind {
        for item in items {
            check_item(decoder, item);
        }
    }
    let mut texts = Vec::new();
    decoder.strings(fields, name, &mut texts);
    texts
}

fn check_item(decoder: &mut Decoder<'_, '_>, item: &Data) {
    let Some(text) = item.to_text() else {
        return;
    };
    if let Err((message, hint)) = check_address(&text) {
        decoder.findings.error_with(item.at, message, Some(hint));
    }
}

/// `start_join` and `retry_join` of a block.
#[derive(Default)]
struct Joins {
    start: Vec<String>,
    retry: Vec<String>,
}

impl Joins {
    fn read(&mut self, decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) {
        self.start.extend(addresses(decoder, fields, "start_join"));
        self.retry.extend(addresses(decoder, fields, "retry_join"));
        if let (Some(_), Some((data, _))) = (
            decoder.period(fields, "retry_interval"),
            decoder.get(fields, "retry_interval"),
        ) {
            let message = "`retry_interval` is ignored: agents try again every few seconds";
            decoder.findings.warn(data.at, message);
        }
        let max: Option<u32> = decoder.small(fields, "retry_max", "0 or more");
        if let (Some(1..), Some((data, _))) = (max, decoder.get(fields, "retry_max")) {
            let message = "`retry_max` is ignored: agents try until one answers";
            decoder.findings.warn(data.at, message);
        }
    }

    fn read_server_join(&mut self, decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) {
        block(
            decoder,
            fields,
            "server_join",
            &names::SERVER_JOIN,
            |d, f| self.read(d, f),
        );
    }
}

fn add(addresses: Vec<String>, to: &mut Vec<String>) {
    for address in addresses {
        if !to.contains(&address) {
            to.push(address);
        }
    }
}

/// The others that a server joins.
pub(crate) fn of_server(
    decoder: &mut Decoder<'_, '_>,
    fields: &Fields<'_>,
    config: &mut AgentConfig,
) {
    let mut joins = Joins::default();
    joins.read(decoder, fields);
    joins.read_server_join(decoder, fields);
    add(joins.start, &mut config.start_join);
    add(joins.retry, &mut config.join);
}

/// The servers that a client joins. With a port other than gossip's, they are asked directly, as
/// those in `servers` are.
pub(crate) fn of_client(
    decoder: &mut Decoder<'_, '_>,
    fields: &Fields<'_>,
    config: &mut AgentConfig,
) {
    let mut joins = Joins::default();
    joins.read_server_join(decoder, fields);
    let gossip = [GOSSIP_PORT, config.ports.serf];
    let is_gossip = |address: &String| {
        let port = split(address).and_then(|(_, port)| port);
        port.is_none_or(|port| gossip.contains(&port))
    };
    let (start, mut direct): (Vec<_>, Vec<_>) = joins.start.into_iter().partition(is_gossip);
    let (retry, more) = joins.retry.into_iter().partition(is_gossip);
    direct.extend::<Vec<String>>(more);
    add(start, &mut config.start_join);
    add(retry, &mut config.join);
    add(direct, &mut config.client.servers);
}
