//! The `edge` block: where the proxy listens, for what, and what it logs.

use logic::config::{AccessFormat, AgentConfig, CertSource, EdgeListener, ProxyOptions, Strategy};
use logic::routes::Matcher;

use crate::agent::port;
use crate::decode::{Decoder, Fields};
use crate::tree::{Data, Kind};

pub(crate) fn edge(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, config: &mut AgentConfig) {
    let edge = &mut config.edge;
    edge.enabled = true;
    decoder.flag(fields, "enabled", &mut edge.enabled);
    if let Some((data, _)) = decoder.get(fields, "proxy_cs") {
        match text(data, "proxy_cs").and_then(|text| CertSource::parse_list(&text)) {
            Ok(sources) => edge.sources = sources,
            Err(why) => decoder.findings.error(data.at, why),
        }
    }
    if let Some(listeners) = listeners(decoder, fields, &edge.sources) {
        edge.listeners = listeners;
    }
    matching(decoder, fields, &mut edge.proxy);
    port(decoder, fields, "ui_port", &mut edge.ui_port);
    decoder.string(fields, "tag_prefix", &mut edge.tag_prefix);
    if let Some((data, _)) = decoder.get(fields, "access_log") {
        match text(data, "access_log").and_then(|text| match text.as_str() {
            "" => Ok(None),
            text => AccessFormat::parse(text).map(Some),
        }) {
            Ok(format) => edge.access_log = format,
            Err(why) => decoder.findings.error(data.at, why),
        }
    }
    let Some(status) = decoder.small::<u16>(fields, "no_route_status", "from 100 to 999") else {
        return;
    };
    if (100..=999).contains(&status) {
        edge.no_route_status = status;
    } else if let Some((data, _)) = decoder.get(fields, "no_route_status") {
        let message = format!("`no_route_status` is {status}, it must be from 100 to 999");
        decoder.findings.error(data.at, message);
    }
}

/// `proxy_addr`, written as fabio's flag, or `ports`, which are all HTTP.
fn listeners(
    decoder: &mut Decoder<'_, '_>,
    fields: &Fields<'_>,
    sources: &[CertSource],
) -> Option<Vec<EdgeListener>> {
    let ports = ports(decoder, fields);
    let Some((data, _)) = decoder.get(fields, "proxy_addr") else {
        return ports;
    };
    if ports.is_some() {
        let message = "`proxy_addr` and `ports` both say where to listen: keep `proxy_addr`";
        decoder.findings.error(data.at, message);
        return None;
    }
    let mut warnings = Vec::new();
    let read = text(data, "proxy_addr")
        .and_then(|text| EdgeListener::parse_list_with(&text, sources, &mut warnings));
    for warning in warnings {
        decoder.findings.warn(data.at, warning);
    }
    match read {
        Ok(listeners) => Some(listeners),
        Err(why) => {
            decoder.findings.error(data.at, why);
            None
        }
    }
}

/// Who gets the next request, and how paths are compared.
fn matching(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, proxy: &mut ProxyOptions) {
    if let Some((data, _)) = decoder.get(fields, "proxy_strategy") {
        match text(data, "proxy_strategy").as_deref() {
            Ok("rnd") => proxy.strategy = Strategy::Random,
            Ok("rr") => proxy.strategy = Strategy::RoundRobin,
            _ => decoder.findings.error(data.at, "write \"rnd\" or \"rr\""),
        }
    }
    if let Some((data, _)) = decoder.get(fields, "proxy_matcher") {
        let read = text(data, "proxy_matcher").ok();
        if let Some(matcher) = read.and_then(|text| Matcher::parse(&text)) {
            proxy.matcher = matcher;
        } else {
            let message = "write \"prefix\", \"glob\" or \"iprefix\"";
            decoder.findings.error(data.at, message);
        }
    }
}

fn text(data: &Data, name: &str) -> Result<String, String> {
    data.to_text()
        .ok_or_else(|| format!("`{name}` must be a string"))
}

fn ports(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) -> Option<Vec<EdgeListener>> {
    let (data, _) = decoder.get(fields, "ports")?;
    let Kind::List(items) = &data.kind else {
        let message = "`ports` must be a list of ports, such as [9999]";
        decoder.findings.error(data.at, message);
        return None;
    };
    let mut listeners = Vec::new();
    for item in items {
        match item.to_value().as_int().map(u16::try_from) {
            Some(Ok(port)) => listeners.push(EdgeListener::http(port)),
            _ => decoder.findings.error(item.at, "this is not a port"),
        }
    }
    Some(listeners)
}
