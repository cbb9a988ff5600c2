//! The edge's routing table: which upstreams answer for a host and a path.
//!
//! A [`Table`] is made from the catalog and never changes; a new catalog gives a new table.
//! Only instances that pass their checks, and have one, get into it.

mod glob;
mod tag;
mod target;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use self::glob::Glob;
use self::tag::RouteTag;
pub use self::target::{Protocol, Target};
use crate::catalog::{Instance, View};

/// All upstreams for one host and path.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// As in the tag, lower-cased; empty: any.
    pub host: String,
    pub path: String,
    pub targets: Vec<Target>,
    /// Indices of servable targets, each with the end of its share, in ten-thousandths.
    shares: Vec<(usize, u64)>,
}

/// How finely weights are told apart.
const SHARES: f64 = 10_000.0;

impl Route {
    fn new(host: &str, path: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            targets: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// The upstream for the `n`th request, or for a random `n`. None if no target can serve
    /// requests, such as if all want TLS.
    pub fn pick(&self, n: u64) -> Option<&Target> {
        let (_, total) = self.shares.last()?;
        let share = n % total;
        let at = self.shares.partition_point(|(_, end)| *end <= share);
        let (index, _) = self.shares.get(at)?;
        self.targets.get(*index)
    }

    /// The targets that can serve requests, beginning with the one after `first`.
    pub fn others<'a>(&'a self, first: &'a Target) -> impl Iterator<Item = &'a Target> {
        let at = self
            .shares
            .iter()
            .position(|(index, _)| std::ptr::eq(&raw const self.targets[*index], first))
            .unwrap_or(0);
        (1..self.shares.len()).map(move |step| {
            let (index, _) = self.shares[(at + step) % self.shares.len()];
            &self.targets[index]
        })
    }

    fn takes_requests(&self) -> bool {
        self.targets
            .iter()
            .any(|target| target.redirect.is_some() || target.protocol.takes_requests())
    }

    /// Shares out the route: fixed weights first, the rest evenly among the others.
    fn weigh(&mut self) {
        let fixed: Vec<f64> = self.targets.iter().filter_map(|t| t.fixed_weight).collect();
        let sum: f64 = fixed.iter().sum();
        let open = self.targets.len() - fixed.len();
        let scale = if sum > 1.0 || open == 0 { sum } else { 1.0 };
        let rest = (1.0 - sum).max(0.0) / (f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        for target in &mut self.targets {
            target.weight = target.fixed_weight.map_or(rest, |weight| weight / scale);
        }
        self.share_out();
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "weights are between 0 and 1"
    )]
    fn share_out(&mut self) {
        let equal = self.targets.iter().all(|t| t.fixed_weight.is_none());
        let mut end = 0;
        for (index, target) in self.targets.iter().enumerate() {
            let share = if equal {
                1
            } else {
                (target.weight * SHARES).round() as u64
            };
            if target.servable() && share > 0 {
                end += share;
                self.shares.push((index, end));
            }
        }
    }
}

/// A tag that looks like a route but can't be one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    pub service: String,
    pub tag: String,
    pub reason: String,
}

/// A row of `/api/routes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub service: String,
    pub host: String,
    pub path: String,
    pub src: String,
    pub dst: String,
    pub opts: String,
    pub weight: f64,
    pub cmd: &'static str,
    pub rate1: u64,
    pub pct99: u64,
}

/// Every route there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// By host as requests are compared with it; routes with the longest path first.
    hosts: BTreeMap<String, Vec<Route>>,
    /// Patterns among those hosts, the most specific domain first.
    patterns: Vec<(Glob, String)>,
    rejected: Vec<Rejected>,
}

impl Table {
    /// Routes from the tags that begin with `prefix`.
    pub fn new(view: &View, prefix: &str) -> Self {
        let mut rejected = Vec::new();
        let mut found = Vec::new();
        for instance in view.services.values().flatten() {
            if instance.passing() && instance.checked() {
                read_instance(
                    instance,
                    prefix,
                    &view.datacenter,
                    &mut found,
                    &mut rejected,
                );
            }
        }
        rejected.sort();
        rejected.dedup();
        // fabio adds routes in this order, which is what its outputs show.
        found.sort_by(|a, b| b.command.cmp(&a.command));
        found.dedup_by(|a, b| a.command == b.command);
        let mut table = Self {
            rejected,
            ..Self::default()
        };
        for Found {
            host, path, target, ..
        } in found
        {
            table.add(&host, &path, target);
        }
        table.finish();
        table
    }

    fn add(&mut self, host: &str, path: &str, target: Target) {
        let routes = self.hosts.entry(comparable(host).to_owned()).or_default();
        let at = routes.iter().position(|route| route.path == path);
        let at = at.unwrap_or_else(|| {
            routes.push(Route::new(host, path));
            routes.len() - 1
        });
        routes[at].targets.push(target);
    }

    fn finish(&mut self) {
        for (host, routes) in &mut self.hosts {
            let order = |route: &Route| (std::cmp::Reverse(route.path.len()), route.path.clone());
            routes.sort_by_key(order);
            for route in routes {
                route.weigh();
            }
            if Glob::is_pattern(host) {
                self.patterns.push((Glob::new(host), host.clone()));
            }
        }
        let specific = |(_, host): &(Glob, String)| std::cmp::Reverse(host.len());
        self.patterns.sort_by_key(specific);
    }

    /// The route for a request. `host` is its `Host` header; `path` has no query.
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        let host = comparable(&host);
        let exact = if host.is_empty() {
            None
        } else {
            self.find_path(host, path)
        };
        exact
            .or_else(|| {
                let mut matching = self.patterns.iter().filter(|(glob, _)| glob.matches(host));
                matching.find_map(|(_, pattern)| self.find_path(pattern, path))
            })
            .or_else(|| self.find_path("", path))
    }

    fn find_path(&self, host: &str, path: &str) -> Option<&Route> {
        self.hosts.get(host)?.iter().find(|route| {
            !route.path.is_empty() && path.starts_with(&route.path) && route.takes_requests()
        })
    }

    /// Every route, by host, longest path first.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.hosts.values().flatten()
    }

    /// Tags that were skipped, and why.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The table in fabio's configuration language, a route a line.
    pub fn commands(&self) -> Vec<String> {
        self.hosts
            .values()
            .rev()
            .flatten()
            .flat_map(|route| {
                let command = |target| command(&route.host, &route.path, target);
                route.targets.iter().map(command)
            })
            .collect()
    }

    pub fn rows(&self) -> Vec<Row> {
        self.routes()
            .flat_map(|route| route.targets.iter().map(|target| row(route, target)))
            .collect()
    }
}

fn row(route: &Route, target: &Target) -> Row {
    Row {
        service: target.service.clone(),
        host: route.host.clone(),
        path: route.path.clone(),
        src: format!("{}{}", route.host, route.path),
        dst: target.destination.clone(),
        opts: target.shown_options.clone(),
        weight: target.weight,
        cmd: "route add",
        rate1: 0,
        pct99: 0,
    }
}

fn command(host: &str, path: &str, target: &Target) -> String {
    let Target {
        service,
        destination,
        ..
    } = target;
    let mut line = format!("route add {service} {host}{path} {destination}");
    if let Some(weight) = target.fixed_weight {
        line = format!("{line} weight {weight}");
    }
    if !target.tags.is_empty() {
        line = format!("{line} tags \"{}\"", target.tags.join(","));
    }
    if !target.shown_options.is_empty() {
        line = format!("{line} opts \"{}\"", target.shown_options);
    }
    line
}

struct Found {
    command: String,
    host: String,
    path: String,
    target: Target,
}

fn read_instance(
    instance: &Instance,
    prefix: &str,
    datacenter: &str,
    found: &mut Vec<Found>,
    rejected: &mut Vec<Rejected>,
) {
    let service = &instance.service;
    let others: Vec<&String> = service
        .tags
        .iter()
        .filter(|t| !t.starts_with(prefix))
        .collect();
    for tag in &service.tags {
        let Some(text) = tag.strip_prefix(prefix) else {
            continue;
        };
        let read = RouteTag::parse(text, datacenter).and_then(|route| {
            if service.port == 0 && route.redirect.is_none() {
                return Err("the service has no port".to_owned());
            }
            Ok(route)
        });
        match read {
            Ok(route) => {
                let target = target(instance, &route, &others);
                found.push(Found {
                    command: command(&route.host, &route.path, &target),
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

fn target(instance: &Instance, route: &RouteTag, tags: &[&String]) -> Target {
    let (host, port) = (instance.address(), instance.service.port);
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let destination = match &route.redirect {
        Some((_, url)) => url.clone(),
        None => route.protocol.destination(&address),
    };
    Target {
        service: instance.service.service.clone(),
        address,
        protocol: route.protocol,
        weight: 0.0,
        redirect: route.redirect.clone(),
        strip: route.strip.clone(),
        prepend: route.prepend.clone(),
        host_header: route.host_header.clone(),
        fixed_weight: route.weight,
        tags: tags.iter().map(|tag| (*tag).clone()).collect(),
        shown_options: route.shown.join(" "),
        destination,
    }
}

/// A host without a default port, which browsers leave out.
fn comparable(host: &str) -> &str {
    host.strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .filter(|bare| !bare.is_empty())
        .unwrap_or(host)
}
