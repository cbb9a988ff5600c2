//! From an instance in the catalog, with its tags, to targets.

use super::tag::RouteTag;
use super::target::{Protocol, Target, Tls};
use super::{Instance, Rejected, command_line};
use crate::address;

pub(super) struct Found {
    pub(super) command: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) target: Target,
}

/// Where a target is.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Upstream {
    fn address(&self) -> String {
        let Self { host, port } = self;
        if host.is_empty() {
            String::new()
        } else {
            address::join(host, port)
        }
    }
}

pub(super) fn read(
    instance: &Instance,
    prefix: &str,
    datacenter: &str,
    found: &mut Vec<Found>,
    rejected: &mut Vec<Rejected>,
) {
    let service = &instance.service;
    let others = service.tags.iter().filter(|tag| !tag.starts_with(prefix));
    let others: Vec<String> = others.cloned().collect();
    for tag in &service.tags {
        let Some(text) = tag.strip_prefix(prefix) else {
            continue;
        };
        let read = RouteTag::of_service(text, datacenter).and_then(|route| {
            if service.port == 0 && route.redirect.is_none() {
                return Err("the service has no port".to_owned());
            }
            Ok(route)
        });
        match read {
            Ok(route) => {
                let upstream = Upstream {
                    host: instance.address().to_owned(),
                    port: service.port,
                };
                let target = target(&service.service, &upstream, &route, others.clone());
                found.push(Found {
                    command: command_line(&route.host, &route.path, &target),
                    host: route.host,
                    path: route.path,
                    target,
                });
            }
            Err(reason) => rejected.push(Rejected {
                service: service.service.clone(),
                tag: tag.clone(),
                reason,
            }),
        }
    }
}

pub(super) fn target(
    service: &str,
    upstream: &Upstream,
    route: &RouteTag,
    tags: Vec<String>,
) -> Target {
    let address = upstream.address();
    let destination = match &route.redirect {
        Some((_, url)) => url.clone(),
        None => route.protocol.destination(&address),
    };
    Target {
        service: service.to_owned(),
        tls: tls(route, &upstream.host),
        address,
        protocol: route.protocol,
        weight: 0.0,
        redirect: route.redirect.clone(),
        strip: route.strip.clone(),
        prepend: route.prepend.clone(),
        host_header: route.host_header.clone(),
        access: route.access.clone(),
        proxy_protocol: route.proxy_protocol,
        registers: route.registers.clone(),
        fixed_weight: route.weight,
        tags,
        shown_options: route.shown.join(" "),
        destination,
    }
}

/// How the upstream's certificate is checked, if it has one.
fn tls(route: &RouteTag, address: &str) -> Option<Tls> {
    if !matches!(route.protocol, Protocol::Https | Protocol::Grpcs) || route.redirect.is_some() {
        return None;
    }
    let named = if route.server_name.is_empty() {
        route.host_header.as_str()
    } else {
        route.server_name.as_str()
    };
    let named = named.rsplit_once(':').map_or(named, |(name, _)| name);
    let name = if matches!(named, "" | "dst") {
        address
    } else {
        named
    };
    Some(Tls {
        name: name.to_owned(),
        verified: !route.tls_skip_verify,
    })
}
