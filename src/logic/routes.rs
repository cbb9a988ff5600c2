//! The edge's routing table: which upstreams answer for a host and a path.
//!
//! A [`Table`] is made from the catalog and never changes; a new catalog gives a new table.
//! Only instances that pass their checks, and have one, get into it.

mod access;
mod claims;
mod command;
mod glob;
mod instance;
mod overrides;
mod rules;
mod shares;
mod tag;
mod target;
#[cfg(test)]
mod tests;
mod turn;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

pub use self::access::Access;
pub use self::claims::{Claimed, claimed, claimed_by_a_job};
pub use self::command::BadLine;
use self::glob::Glob;
use self::instance::Found;
pub use self::rules::{Health, Matcher, Overrides, Rules, TAG_PREFIX};
use self::shares::Shares;
use self::tag::RouteTag;
pub use self::tag::redirects;
pub use self::target::{Protocol, Target, Tls};
use self::turn::Turn;
use crate::catalog::{Instance, View};

/// All upstreams for one host and path.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// As in the tag, lower-cased; empty: any.
    pub host: String,
    pub path: String,
    pub targets: Vec<Target>,
    /// Who answers requests.
    requests: Shares,
    /// Who takes connections that are passed on as they are.
    connections: Shares,
    /// Who answers gRPC calls.
    calls: Shares,
    paths: Paths,
    turn: Turn,
    /// See [`Route::is_plain`].
    plain: bool,
}

/// How a route's path is compared with a request's.
#[derive(Clone, Debug, PartialEq)]
enum Paths {
    Prefix,
    /// The path in lower case.
    AnyCase(String),
    Pattern(Glob),
}

impl Route {
    fn new(host: &str, path: &str, matcher: Matcher) -> Self {
        Self {
            paths: match matcher {
                Matcher::Prefix => Paths::Prefix,
                Matcher::PrefixInAnyCase => Paths::AnyCase(path.to_lowercase()),
                Matcher::Glob => Paths::Pattern(Glob::new(path)),
            },
            turn: Turn::default(),
            host: host.to_owned(),
            path: path.to_owned(),
            targets: Vec::new(),
            requests: Shares::default(),
            connections: Shares::default(),
            calls: Shares::default(),
            plain: false,
        }
    }

    /// Whether requests are passed on to each of its targets without anything being decided.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The upstream for the `n`th request, or for a random `n`. None if no target can serve
    /// requests, such as if all want gRPC.
    pub fn pick(&self, n: u64) -> Option<&Target> {
        self.requests.pick(&self.targets, n)
    }

    /// The upstream for a gRPC call: one that speaks it, or any if none says so.
    pub fn pick_for_call(&self, n: u64) -> Option<&Target> {
        let call = self.calls.pick(&self.targets, n);
        call.or_else(|| self.pick(n))
    }

    /// The targets that answer gRPC calls, beginning with the one after `first`.
    pub fn others_for_call<'a>(&'a self, first: &'a Target) -> impl Iterator<Item = &'a Target> {
        self.calls.others(&self.targets, first)
    }

    /// Whether a tag asks for connections to be passed on as they are.
    pub fn takes_connections(&self) -> bool {
        self.targets.iter().any(|t| t.protocol.takes_connections())
    }

    /// The upstream whose turn it is: each gets its share, spread out evenly.
    pub fn pick_in_turn(&self) -> Option<&Target> {
        self.requests.pick_spread(&self.targets, self.turn.next())
    }

    /// The same for a connection that is passed on as it is.
    pub fn pick_in_turn_for_connection(&self) -> Option<&Target> {
        self.connections
            .pick_spread(&self.targets, self.turn.next())
    }

    /// The targets that can serve requests, beginning with the one after `first`.
    pub fn others<'a>(&'a self, first: &'a Target) -> impl Iterator<Item = &'a Target> {
        self.requests.others(&self.targets, first)
    }

    /// The upstream for the `n`th connection that is passed on as it is, or for a random `n`.
    pub fn pick_for_connection(&self, n: u64) -> Option<&Target> {
        self.connections.pick(&self.targets, n)
    }

    /// The targets that take such connections, beginning with the one after `first`.
    pub fn others_for_connection<'a>(
        &'a self,
        first: &'a Target,
    ) -> impl Iterator<Item = &'a Target> {
        self.connections.others(&self.targets, first)
    }

    /// `path` is as [`Table::compared`] returns it.
    fn answers(&self, path: &str) -> bool {
        let takes_requests =
            |target: &Target| target.redirect.is_some() || target.protocol.takes_requests();
        let meant = match &self.paths {
            Paths::Prefix => path.starts_with(&self.path),
            Paths::AnyCase(lower) => path.starts_with(lower),
            Paths::Pattern(glob) => glob.matches(path),
        };
        !self.path.is_empty() && meant && self.targets.iter().any(takes_requests)
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
        self.plain = self.targets.iter().all(Target::is_plain);
        self.requests = Shares::new(&self.targets, Target::servable);
        self.connections = Shares::new(&self.targets, |t| t.protocol.takes_connections());
        self.calls = Shares::new(&self.targets, |t| t.protocol.takes_calls());
        if self.connections.is_empty() {
            // As in fabio, a route needs no `proto` to be reached over TCP or by server name.
            self.connections = Shares::new(&self.targets, |t| t.redirect.is_none());
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

/// Whether what follows a tag's prefix is a route; otherwise a sentence about what is wrong.
pub fn check_tag(text: &str) -> Result<(), String> {
    RouteTag::of_service(text, "dc1").map(drop)
}

/// Every route there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// By host as requests are compared with it; routes with the longest path first.
    hosts: BTreeMap<String, Vec<Route>>,
    /// Patterns among those hosts, the most specific domain first.
    patterns: Vec<(Glob, String)>,
    matcher: Matcher,
    rejected: Vec<Rejected>,
    bad_lines: Vec<BadLine>,
    no_route_page: String,
}

impl Table {
    /// Routes from the tags that begin with `prefix`.
    pub fn new(view: &View, prefix: &str) -> Self {
        Self::build(view, &Rules::new(prefix), &Overrides::default())
    }

    /// Routes from tags, then whatever the operator's commands make of them.
    pub fn build(view: &View, rules: &Rules, overrides: &Overrides) -> Self {
        let mut rejected = Vec::new();
        let mut found = Vec::new();
        for instance in view.services.values().flatten() {
            if rules.health.routes(instance) {
                let (prefix, datacenter) = (&rules.tag_prefix, &view.datacenter);
                instance::read(instance, prefix, datacenter, &mut found, &mut rejected);
            }
        }
        rejected.sort();
        rejected.dedup();
        // fabio adds routes in this order, which is what its outputs show.
        found.sort_by(|a, b| b.command.cmp(&a.command));
        found.dedup_by(|a, b| a.command == b.command);
        let mut table = Self {
            rejected,
            matcher: rules.matcher,
            no_route_page: overrides.no_route_page.clone(),
            ..Self::default()
        };
        for Found {
            host, path, target, ..
        } in found
        {
            table.add(&host, &path, target);
        }
        table.obey(&overrides.commands, &view.datacenter);
        table.finish(rules.host_patterns);
        table
    }

    fn add(&mut self, host: &str, path: &str, target: Target) {
        let matcher = self.matcher;
        let routes = self.hosts.entry(comparable(host).to_owned()).or_default();
        let at = routes.iter().position(|route| route.path == path);
        let at = at.unwrap_or_else(|| {
            routes.push(Route::new(host, path, matcher));
            routes.len() - 1
        });
        routes[at].targets.push(target);
    }

    fn finish(&mut self, host_patterns: bool) {
        for (host, routes) in &mut self.hosts {
            let order = |route: &Route| (std::cmp::Reverse(route.path.len()), route.path.clone());
            routes.sort_by_key(order);
            for route in routes {
                route.weigh();
            }
            if host_patterns && Glob::is_pattern(host) {
                self.patterns.push((Glob::new(host), host.clone()));
            }
        }
        let specific = |(_, host): &(Glob, String)| std::cmp::Reverse(host.len());
        self.patterns.sort_by_key(specific);
    }

    /// The routes for a request, the one to take first: of each host that matches, the one with
    /// the longest path. `host` is the request's `Host` header; `path` has no query.
    pub fn matching<'t>(&'t self, host: &str, path: &'t str) -> impl Iterator<Item = &'t Route> {
        let hosts = self.matching_hosts(&lower(host)).into_iter();
        let path = self.compared(path);
        hosts.filter_map(move |host| self.find_path(host, &path))
    }

    /// The first of [`Self::matching`].
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let (host, path) = (lower(host), &self.compared(path));
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

    /// The hosts of the table that a request for `host` may be meant for.
    fn matching_hosts(&self, host: &str) -> Vec<&str> {
        let host = comparable(host);
        let exact = self.hosts.get_key_value(host).filter(|_| !host.is_empty());
        let exact = exact.map(|(host, _)| host.as_str()).into_iter();
        let patterns = self.patterns.iter().filter(|(glob, _)| glob.matches(host));
        let patterns = patterns.map(|(_, pattern)| pattern.as_str());
        exact
            .chain(patterns.filter(|pattern| *pattern != host))
            .chain([""])
            .collect()
    }

    /// The route for a connection to this port of ours.
    pub fn find_port(&self, port: u16) -> Option<&Route> {
        self.find_connection(&format!(":{port}"))
    }

    /// The route for a TLS connection that asks for this server: its name, then patterns.
    pub fn find_server_name(&self, name: &str) -> Option<&Route> {
        let name = lower(name);
        if name.is_empty() || Glob::is_pattern(&name) {
            return None;
        }
        self.find_connection(&name).or_else(|| {
            let mut matching = self.patterns.iter().filter(|(glob, _)| glob.matches(&name));
            matching.find_map(|(_, pattern)| self.find_connection(pattern))
        })
    }

    fn find_connection(&self, host: &str) -> Option<&Route> {
        let mut routes = self.hosts.get(host)?.iter();
        routes
            .find(|route| matches!(route.path.as_str(), "" | "/") && !route.connections.is_empty())
    }

    /// A request's path as those of routes are compared with it.
    fn compared<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match self.matcher {
            Matcher::PrefixInAnyCase => Cow::Owned(path.to_lowercase()),
            Matcher::Prefix | Matcher::Glob => Cow::Borrowed(path),
        }
    }

    /// `path` is as [`Self::compared`] returns it.
    fn find_path(&self, host: &str, path: &str) -> Option<&Route> {
        self.hosts
            .get(host)?
            .iter()
            .find(|route| route.answers(path))
    }

    /// How the routes for a request are looked for, in fabio's words.
    pub fn trace(&self, host: &str, path: &str) -> Vec<String> {
        let (lower, compared) = (lower(host), self.compared(path));
        let hosts = self.matching_hosts(&lower);
        let shown: Vec<&str> = hosts.iter().copied().filter(|h| !h.is_empty()).collect();
        let mut steps = vec![
            format!("Tracing {host}{path}"),
            format!("Matching hosts: [{}]", shown.join(" ")),
        ];
        for host in hosts {
            for route in self.hosts.get(host).into_iter().flatten() {
                let Route { host, path: at, .. } = route;
                if route.answers(&compared) {
                    steps.push(format!("Match {host}{at}"));
                    return steps;
                }
                steps.push(format!("No match {host}{at}"));
            }
        }
        steps
    }

    /// Every route, by host, longest path first.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.hosts.values().flatten()
    }

    /// Tags that were skipped, and why.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Lines of the operator's commands that were skipped, and why.
    pub fn bad_lines(&self) -> &[BadLine] {
        &self.bad_lines
    }

    /// What is answered where there is no route; empty: nothing.
    pub fn no_route_page(&self) -> &str {
        &self.no_route_page
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
                let line = |target| command_line(&route.host, &route.path, target);
                route.targets.iter().map(line)
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

fn command_line(host: &str, path: &str, target: &Target) -> String {
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

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// A host without a default port, which browsers leave out.
fn comparable(host: &str) -> &str {
    host.strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .filter(|bare| !bare.is_empty())
        .unwrap_or(host)
}
