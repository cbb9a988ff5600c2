//! The `catalog` block of an agent's configuration: its API and DNS.

use logic::config::CatalogConfig;

use crate::agent::port;
use crate::decode::{Decoder, Fields};
use crate::tree::Body;
use crate::{consul_dns, consul_file, consul_names, fields};

pub(crate) fn catalog(
    decoder: &mut Decoder<'_, '_>,
    fields: &Fields<'_>,
    catalog: &mut CatalogConfig,
) {
    catalog.said |= decoder.get(fields, "enabled").is_some();
    decoder.flag(fields, "enabled", &mut catalog.enabled);
    port(decoder, fields, "http_port", &mut catalog.http_port);
    port(decoder, fields, "dns_port", &mut catalog.dns_port);
    decoder.string(fields, "domain", &mut catalog.domain);
    catalog.domain = catalog.domain.trim_matches('.').to_owned();
    decoder.strings(fields, "recursors", &mut catalog.recursors);
    if let Some(nanos) = decoder.period(fields, "service_ttl") {
        let seconds = consul_dns::in_seconds(nanos);
        catalog.dns.service_ttl.insert("*".to_owned(), seconds);
    }
    dns_config(decoder, fields, catalog);
}

/// As in Consul's own files; but what isn't known is a mistake here.
fn dns_config(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, catalog: &mut CatalogConfig) {
    let Some(section) = decoder.section(fields, "dns_config") else {
        return;
    };
    let said = consul_file::object(&section.body);
    unknown(decoder, "dns_config", &section.body);
    let read = consul_dns::read(&fields::Fields::of(said), &mut catalog.dns);
    if let Err(why) = read {
        let why = why.trim_start_matches("dns_config.");
        decoder
            .findings
            .error(section.at, format!("dns_config: {why}"));
    }
}

fn unknown(decoder: &mut Decoder<'_, '_>, here: &'static str, body: &Body) {
    let known = consul_names::of_dns(here);
    let attributes = body.attributes.iter().map(|attribute| {
        let inner = attribute.value.as_bodies();
        (&attribute.name, inner.unwrap_or_default())
    });
    let blocks = body.blocks.iter();
    let blocks = blocks.map(|block| (&block.name, vec![block.body.clone()]));
    for (name, inner) in attributes.chain(blocks) {
        if !known.contains(&name.text.as_str()) {
            decoder.unknown_name(name, here, known.iter().copied());
        } else if name.text == "soa" {
            for body in inner {
                unknown(decoder, "soa", &body);
            }
        }
    }
}
