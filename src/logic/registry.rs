//! What is registered at an agent by hand or by other programs: services, and checks of them and
//! of the node. The agent keeps it, runs the checks and offers it to the catalog; here it is
//! decided what that comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use crate::address::host_of;
use crate::duration::{SECOND, to_std};
use crate::lifecycle::services::{CheckPlan, Probe};
use crate::model::{
    CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING, Check, CheckWay, RegisteredCheck, Registrations,
    ServiceInstance,
};
use crate::routes::Tls;

mod configured;

pub const NODE_MAINTENANCE: &str = "_node_maintenance";
pub const SERVICE_MAINTENANCE: &str = "_service_maintenance:";
const OUTPUT_BYTES_MAX: usize = 4_096;
/// More services than this on one node are a mistake.
const SERVICES_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    #[error(
        "Unknown service ID \"{0}\". Ensure that the service ID is passed, not the service name."
    )]
    NoSuchService(String),
    #[error("Unknown check ID \"{0}\". Ensure that the check ID is passed, not the check name.")]
    NoSuchCheck(String),
    #[error("ServiceID \"{0}\" does not exist")]
    NoServiceToCheck(String),
    #[error("CheckID \"{0}\" does not have associated TTL")]
    NoTtl(String),
    #[error("service \"{0}\" is a job's: it comes and goes with its task")]
    OfAJob(String),
    #[error("there are {SERVICES_MAX} services on this node already")]
    TooMany,
}

/// A check's clocks, on the agent's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clocks {
    /// When a TTL is over.
    due: Option<Duration>,
    critical_since: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct Registry {
    node: String,
    held: Registrations,
    clocks: BTreeMap<String, Clocks>,
    /// Ids that come from the configuration: they aren't kept.
    configured: Registrations,
}

impl Registry {
    /// What was kept, and what the configuration adds.
    pub fn new(node: &str, kept: Registrations, configured: Registrations, now: Duration) -> Self {
        let mut registry = Self {
            node: node.to_owned(),
            held: kept,
            configured: configured.clone(),
            ..Self::default()
        };
        registry.held.services.extend(configured.services);
        registry.held.checks.extend(configured.checks);
        let ids: Vec<String> = registry.held.checks.keys().cloned().collect();
        for id in ids {
            registry.wind(&id, now);
        }
        registry
    }

    /// What has to outlive the agent.
    pub fn kept(&self) -> Registrations {
        let mut kept = self.held.clone();
        kept.services
            .retain(|id, _| !self.configured.services.contains_key(id));
        kept.checks
            .retain(|id, _| !self.configured.checks.contains_key(id));
        for check in kept.checks.values_mut() {
            // Outputs change all the time.
            if !matches!(check.way, CheckWay::Ttl(_)) {
                check.output.clear();
            }
        }
        kept
    }

    pub fn services(&self) -> impl Iterator<Item = &ServiceInstance> {
        self.held.services.values()
    }

    pub fn has_service(&self, id: &str) -> bool {
        self.held.services.contains_key(id)
    }

    /// Starts a check's clocks anew.
    fn wind(&mut self, id: &str, now: Duration) {
        let Some(check) = self.held.checks.get(id) else {
            return;
        };
        let clocks = self.clocks.entry(id.to_owned()).or_default();
        clocks.due = match check.way {
            CheckWay::Ttl(ttl) => Some(now + to_std(ttl)),
            _ => None,
        };
        if check.status == CHECK_CRITICAL {
            clocks.critical_since.get_or_insert(now);
        } else {
            clocks.critical_since = None;
        }
    }

    /// Registers a service with its checks, which take the place of those of the same ids, or with
    /// `replace` of all that it had.
    pub fn register_service(
        &mut self,
        service: ServiceInstance,
        checks: Vec<RegisteredCheck>,
        replace: bool,
        now: Duration,
    ) -> Result<(), Refused> {
        if !self.has_service(&service.id) && self.held.services.len() >= SERVICES_MAX {
            return Err(Refused::TooMany);
        }
        let id = service.id.clone();
        self.held.services.insert(id.clone(), service);
        if replace {
            let wanted: Vec<String> = checks.iter().map(|check| check.id.clone()).collect();
            let maintenance = maintenance_of(&id);
            let gone = self.checks_of(&id);
            for check in gone {
                if check != maintenance && !wanted.contains(&check) {
                    self.forget_check(&check);
                }
            }
        }
        for check in checks {
            self.put_check(check, now);
        }
        Ok(())
    }

    /// A check that is registered again keeps what it said last, unless it is told otherwise.
    fn put_check(&mut self, mut check: RegisteredCheck, now: Duration) {
        let old = self.held.checks.get(&check.id);
        if let Some(old) = old.filter(|_| check.status.is_empty()) {
            check.status.clone_from(&old.status);
            check.output.clone_from(&old.output);
        }
        if check.status.is_empty() {
            CHECK_CRITICAL.clone_into(&mut check.status);
        }
        let id = check.id.clone();
        self.held.checks.insert(id.clone(), check);
        self.wind(&id, now);
    }

    pub fn deregister_service(&mut self, id: &str) -> Result<(), Refused> {
        if self.held.services.remove(id).is_none() {
            return Err(Refused::NoSuchService(id.to_owned()));
        }
        self.configured.services.remove(id);
        for check in self.checks_of(id) {
            self.forget_check(&check);
        }
        Ok(())
    }

    fn checks_of(&self, service_id: &str) -> Vec<String> {
        let of_it = self.held.checks.values();
        of_it
            .filter(|check| check.service_id == service_id)
            .map(|check| check.id.clone())
            .collect()
    }

    fn forget_check(&mut self, id: &str) {
        self.held.checks.remove(id);
        self.configured.checks.remove(id);
        self.clocks.remove(id);
    }

    /// `known` tells whether a service that isn't registered here is offered by this node.
    pub fn register_check(
        &mut self,
        check: RegisteredCheck,
        known: impl Fn(&str) -> bool,
        now: Duration,
    ) -> Result<(), Refused> {
        let service = &check.service_id;
        if !service.is_empty() && !self.has_service(service) && !known(service) {
            return Err(Refused::NoServiceToCheck(service.clone()));
        }
        self.put_check(check, now);
        Ok(())
    }

    pub fn deregister_check(&mut self, id: &str) -> Result<(), Refused> {
        if !self.held.checks.contains_key(id) {
            return Err(Refused::NoSuchCheck(id.to_owned()));
        }
        self.forget_check(id);
        Ok(())
    }

    /// Somebody says how a check with a TTL is.
    pub fn say(
        &mut self,
        id: &str,
        status: &str,
        output: String,
        now: Duration,
    ) -> Result<(), Refused> {
        match self.held.checks.get(id) {
            None => return Err(Refused::NoSuchCheck(id.to_owned())),
            Some(check) if !matches!(check.way, CheckWay::Ttl(_)) => {
                return Err(Refused::NoTtl(id.to_owned()));
            }
            Some(_) => {}
        }
        self.note(id, status, output, now);
        Ok(())
    }

    /// A check was run, or somebody said how it is. Tells whether its status changed.
    pub fn note(&mut self, id: &str, status: &str, mut output: String, now: Duration) -> bool {
        let Some(check) = self.held.checks.get_mut(id) else {
            return false;
        };
        cut(&mut output);
        let changed = check.status != status;
        status.clone_into(&mut check.status);
        check.output = output;
        self.wind(id, now);
        changed
    }

    /// Puts a service, or the whole node, out of service or back.
    pub fn maintain(
        &mut self,
        service: Option<&str>,
        reason: Option<String>,
        known: impl Fn(&str) -> bool,
        now: Duration,
    ) -> Result<(), Refused> {
        let (id, name, default) = match service {
            Some(service) if !self.has_service(service) && !known(service) => {
                return Err(Refused::NoSuchService(service.to_owned()));
            }
            Some(service) => (
                maintenance_of(service),
                "Service Maintenance Mode",
                "Maintenance mode is enabled for this service, but no reason was provided. \
                 This is a default message.",
            ),
            None => (
                NODE_MAINTENANCE.to_owned(),
                "Node Maintenance Mode",
                "Maintenance mode is enabled for this node, but no reason was provided. \
                 This is a default message.",
            ),
        };
        let Some(reason) = reason else {
            self.forget_check(&id);
            return Ok(());
        };
        let check = RegisteredCheck {
            id,
            name: name.to_owned(),
            notes: if reason.is_empty() {
                default.to_owned()
            } else {
                reason
            },
            service_id: service.unwrap_or_default().to_owned(),
            status: CHECK_CRITICAL.to_owned(),
            way: CheckWay::Maintenance,
            ..RegisteredCheck::default()
        };
        self.put_check(check, now);
        Ok(())
    }

    /// Lets TTLs run out, and forgets services that were critical for too long. Tells whether
    /// something changed.
    pub fn tick(&mut self, now: Duration) -> bool {
        let mut changed = false;
        let due: Vec<String> = self
            .clocks
            .iter()
            .filter(|(_, clocks)| clocks.due.is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            changed |= self.note(&id, CHECK_CRITICAL, "TTL expired".to_owned(), now);
            if let Some(clocks) = self.clocks.get_mut(&id) {
                clocks.due = None;
            }
        }
        let mut given_up = Vec::new();
        for (id, check) in &self.held.checks {
            let since = self.clocks.get(id).and_then(|clocks| clocks.critical_since);
            let limit = to_std(check.deregister_after);
            let lasts = since.is_some_and(|since| now.saturating_sub(since) > limit);
            if check.deregister_after > 0 && lasts && !check.service_id.is_empty() {
                given_up.push(check.service_id.clone());
            }
        }
        for service in given_up {
            changed |= self.deregister_service(&service).is_ok();
        }
        changed
    }

    /// The checks as the catalog shows them.
    pub fn checks(&self) -> Vec<Check> {
        let service_of = |id: &str| self.held.services.get(id);
        let row = |check: &RegisteredCheck| {
            let service = service_of(&check.service_id);
            Check {
                node: self.node.clone(),
                check_id: check.id.clone(),
                name: check.name.clone(),
                status: check.status.clone(),
                notes: check.notes.clone(),
                output: check.output.clone(),
                service_id: check.service_id.clone(),
                service_name: service.map_or_else(String::new, |row| row.service.clone()),
                service_tags: service.map_or_else(Vec::new, |row| row.tags.clone()),
                r#type: check.way.name().to_owned(),
                ..Check::default()
            }
        };
        self.held.checks.values().map(row).collect()
    }

    /// The checks that the agent has to run.
    pub fn plans(&self) -> BTreeMap<String, CheckPlan> {
        let plans = self.held.checks.values().filter_map(|check| {
            let probe = probe(&check.way)?;
            let plan = CheckPlan {
                row: Check {
                    check_id: check.id.clone(),
                    name: check.name.clone(),
                    status: check.status.clone(),
                    ..Check::default()
                },
                probe,
                interval: to_std(check.interval.max(SECOND)),
                timeout: to_std(if check.timeout > 0 {
                    check.timeout
                } else {
                    10 * SECOND
                }),
                successes_needed: check.successes_needed.max(1),
                failures_needed: check.failures_needed.max(1),
                restart: None,
            };
            Some((check.id.clone(), plan))
        });
        plans.collect()
    }
}

fn maintenance_of(service: &str) -> String {
    format!("{SERVICE_MAINTENANCE}{service}")
}

fn cut(output: &mut String) {
    if output.len() > OUTPUT_BYTES_MAX {
        let mut ends = (0..=OUTPUT_BYTES_MAX).rev();
        let end = ends.find(|at| output.is_char_boundary(*at));
        output.truncate(end.unwrap_or(0));
    }
}

fn probe(way: &CheckWay) -> Option<Probe> {
    match way {
        CheckWay::Ttl(_) | CheckWay::Maintenance => None,
        CheckWay::Tcp { address } => Some(Probe::Tcp {
            address: address.clone(),
        }),
        CheckWay::Http {
            url,
            method,
            headers,
            body,
            tls_skip_verify,
            tls_server_name,
        } => {
            let url = parse_url(url)?;
            let name = if tls_server_name.is_empty() {
                host_of(&url.address).to_owned()
            } else {
                tls_server_name.clone()
            };
            Some(Probe::Http {
                tls: url.https.then_some(Tls {
                    name,
                    verified: !tls_skip_verify,
                }),
                address: url.address,
                path: url.path,
                method: if method.is_empty() {
                    "GET".to_owned()
                } else {
                    method.clone()
                },
                headers: headers.clone(),
                body: body.clone(),
            })
        }
    }
}

/// An address that an HTTP check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub https: bool,
    /// `host:port`.
    pub address: String,
    /// With the query.
    pub path: String,
}

/// None if it is no address of a page.
pub fn parse_url(url: &str) -> Option<Url> {
    let (scheme, rest) = url.split_once("://")?;
    let https = scheme.eq_ignore_ascii_case("https");
    if !https && !scheme.eq_ignore_ascii_case("http") || url.chars().any(char::is_whitespace) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split('#').next().unwrap_or_default();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(before, port)| port.parse::<u16>().is_ok() && !before.ends_with(':'));
    let inner = host_of(host);
    if inner.is_empty() && !has_port || host.is_empty() {
        return None;
    }
    let has_port = has_port && (!host.contains("::") || host.contains("]:"));
    let address = match (has_port, https) {
        (true, _) => host.to_owned(),
        (false, true) => format!("{host}:443"),
        (false, false) => format!("{host}:80"),
    };
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Some(Url {
        https,
        address,
        path,
    })
}

/// A status by any name that a client may give it.
pub fn status_named(name: &str) -> Option<&'static str> {
    match name {
        CHECK_PASSING | "pass" => Some(CHECK_PASSING),
        CHECK_WARNING | "warn" => Some(CHECK_WARNING),
        CHECK_CRITICAL | "fail" => Some(CHECK_CRITICAL),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
