//! Beside a Consul that others run: what this agent has registered there, and what is to be
//! changed so that it is what runs here. Whatever hasn't this agent's mark is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::lifecycle::services::{CheckPlan, Offer, Probe};

/// The key, in a service's meta, of the agent that registered it.
pub const MARK: &str = "drover-agent";
/// Tells tools where a service comes from; they know this value.
const SOURCE: (&str, &str) = ("external-source", "nomad");
/// What ids of checks begin with that come from jobs.
const CHECK_PREFIX: &str = "_nomad-check-";

/// A service as it should be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub id: String,
    pub name: String,
    pub tags: Vec<String>,
    pub address: String,
    pub port: u16,
    pub meta: BTreeMap<String, String>,
    /// By id.
    pub checks: BTreeMap<String, Definition>,
}

/// A check that the Consul should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: String,
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Before it was run.
    pub status: String,
    pub successes_needed: u32,
    pub failures_needed: u32,
}

impl Registration {
    /// What a task offers, with the mark of the agent that registers it.
    pub fn of(offer: &Offer, mark: &str) -> Self {
        let instance = &offer.instance;
        Self {
            id: instance.id.clone(),
            name: instance.service.clone(),
            tags: instance.tags.clone(),
            address: instance.address.clone(),
            port: instance.port,
            meta: instance.meta.clone(),
            checks: offer
                .checks
                .iter()
                .map(|plan| (plan.row.check_id.clone(), Definition::of(plan)))
                .collect(),
        }
        .marked(mark)
    }

    #[must_use]
    pub fn marked(mut self, mark: &str) -> Self {
        for (key, value) in [SOURCE, (MARK, mark)] {
            self.meta.insert(key.to_owned(), value.to_owned());
        }
        self
    }
}

impl Definition {
    fn of(plan: &CheckPlan) -> Self {
        Self {
            name: plan.row.name.clone(),
            probe: plan.probe.clone(),
            interval: plan.interval,
            timeout: plan.timeout,
            status: plan.row.status.clone(),
            successes_needed: plan.successes_needed,
            failures_needed: plan.failures_needed,
        }
    }
}

/// What the Consul has, as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By id.
    pub services: BTreeMap<String, FoundService>,
    /// By id.
    pub checks: BTreeMap<String, FoundCheck>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundService {
    pub name: String,
    pub tags: Vec<String>,
    pub address: String,
    pub port: u16,
    pub meta: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundCheck {
    /// Empty: the node's own.
    pub service_id: String,
    pub status: String,
    pub output: String,
}

/// One change, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Deregister(String),
    DeregisterCheck(String),
    Register(String),
}

/// What this agent wants, and what it knows.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub wanted: &'a BTreeMap<String, Registration>,
    /// What the Consul has taken from this run of the agent: definitions of checks aren't told.
    pub taken: &'a BTreeMap<String, Registration>,
    /// What wasn't wanted in the meantime, wanted now or not: what its checks said is old.
    pub gone: &'a BTreeSet<String>,
    pub mark: &'a str,
    /// All that runs here is known. Before that nothing is removed.
    pub complete: bool,
}

/// The changes after which the Consul has what is wanted. What goes, goes first.
pub fn steps(wish: Wish<'_>, found: &Found) -> Vec<Step> {
    let is_ours = |service: &FoundService| service.meta.get(MARK).is_some_and(|m| m == wish.mark);
    let unwanted = found.services.iter().filter(|(id, service)| {
        let unwanted = !wish.wanted.contains_key(*id) || wish.gone.contains(*id);
        wish.complete && is_ours(service) && unwanted
    });
    let gone = unwanted.map(|(id, _)| Step::Deregister(id.clone()));
    let left = found.checks.iter().filter(|(id, check)| {
        let service = wish.wanted.get(&check.service_id);
        id.starts_with(CHECK_PREFIX)
            && service.is_some_and(|service| !service.checks.contains_key(*id))
    });
    let left = left.map(|(id, _)| Step::DeregisterCheck(id.clone()));
    let missing = wish.wanted.iter().filter(|(id, registration)| {
        let service = found.services.get(*id);
        let stands = service.is_some_and(|service| holds(service, registration));
        !stands
            || wish.gone.contains(*id)
            || wish.taken.get(*id) != Some(registration)
            || lacks_check(found, registration)
    });
    let missing = missing.map(|(id, _)| Step::Register(id.clone()));
    gone.chain(left).chain(missing).collect()
}

fn holds(service: &FoundService, wanted: &Registration) -> bool {
    service.name == wanted.name
        && service.address == wanted.address
        && service.port == wanted.port
        && service.meta == wanted.meta
        && service.tags == wanted.tags
}

/// A check of it isn't there, as after a restart of a Consul that keeps nothing.
pub fn lacks_check(found: &Found, wanted: &Registration) -> bool {
    let checks = &found.checks;
    wanted.checks.keys().any(|id| !checks.contains_key(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: &str = "node-1:4646";

    fn registration(id: &str, checks: &[&str]) -> Registration {
        let definition = |name: &&str| Definition {
            name: (*name).to_owned(),
            probe: Probe::Tcp {
                address: "10.0.0.1:80".to_owned(),
            },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            status: "critical".to_owned(),
            successes_needed: 1,
            failures_needed: 1,
        };
        let checks = checks.iter();
        Registration {
            id: id.to_owned(),
            name: "web".to_owned(),
            tags: vec!["a".to_owned()],
            address: "10.0.0.1".to_owned(),
            port: 80,
            meta: BTreeMap::new(),
            checks: checks
                .map(|name| (format!("{CHECK_PREFIX}{name}"), definition(name)))
                .collect(),
        }
        .marked(MINE)
    }

    fn all(registrations: &[Registration]) -> BTreeMap<String, Registration> {
        let registrations = registrations.iter();
        registrations
            .map(|one| (one.id.clone(), one.clone()))
            .collect()
    }

    /// A Consul that took these.
    fn holding(registrations: &[Registration]) -> Found {
        let mut found = Found::default();
        for one in registrations {
            let service = FoundService {
                name: one.name.clone(),
                tags: one.tags.clone(),
                address: one.address.clone(),
                port: one.port,
                meta: one.meta.clone(),
            };
            found.services.insert(one.id.clone(), service);
            for id in one.checks.keys() {
                let check = FoundCheck {
                    service_id: one.id.clone(),
                    ..FoundCheck::default()
                };
                found.checks.insert(id.clone(), check);
            }
        }
        found
    }

    fn changes(wanted: &[Registration], taken: &[Registration], found: &Found) -> Vec<Step> {
        let (wanted, taken) = (all(wanted), all(taken));
        let wish = Wish {
            wanted: &wanted,
            taken: &taken,
            gone: &BTreeSet::new(),
            mark: MINE,
            complete: true,
        };
        steps(wish, found)
    }

    fn register(id: &str) -> Vec<Step> {
        vec![Step::Register(id.to_owned())]
    }

    #[test]
    fn what_stands_is_left_alone() {
        let web = [registration("web", &["alive"])];
        assert_eq!(changes(&web, &web, &holding(&web)), []);
    }

    #[test]
    fn what_was_lost_changed_or_never_taken_is_registered() {
        let web = [registration("web", &["alive"])];
        assert_eq!(changes(&web, &[], &Found::default()), register("web"));
        assert_eq!(changes(&web, &web, &Found::default()), register("web"));
        assert_eq!(
            changes(&web, &[], &holding(&web)),
            register("web"),
            "checks may differ"
        );
        let lost_check = holding(&[registration("web", &[])]);
        assert_eq!(changes(&web, &web, &lost_check), register("web"));
        let mut by_hand = holding(&web);
        by_hand
            .services
            .entry("web".to_owned())
            .or_default()
            .tags
            .clear();
        assert_eq!(changes(&web, &web, &by_hand), register("web"));
        let mut slower = web.clone();
        for check in slower[0].checks.values_mut() {
            check.interval *= 2;
        }
        assert_eq!(changes(&slower, &web, &holding(&web)), register("web"));
    }

    #[test]
    fn only_what_has_this_agents_mark_is_removed() {
        let mut others = registration("_nomad-task-of-another-agent", &["alive"]);
        others
            .meta
            .insert(MARK.to_owned(), "node-1:5646".to_owned());
        let mut by_hand = registration("db", &[]);
        by_hand.meta.clear();
        let old = registration("old", &["alive"]);
        let found = holding(&[others, by_hand, old]);
        assert_eq!(
            changes(&[], &[], &found),
            [Step::Deregister("old".to_owned())]
        );
    }

    #[test]
    fn nothing_is_removed_before_all_that_runs_is_known() {
        let old = registration("old", &["alive"]);
        let wish = Wish {
            wanted: &BTreeMap::new(),
            taken: &BTreeMap::new(),
            gone: &BTreeSet::new(),
            mark: MINE,
            complete: false,
        };
        assert_eq!(steps(wish, &holding(&[old])), []);
    }

    #[test]
    fn what_was_gone_in_between_begins_anew() {
        let web = [registration("web", &["alive"])];
        let wanted = all(&web);
        let wish = Wish {
            wanted: &wanted,
            taken: &wanted,
            gone: &BTreeSet::from(["web".to_owned()]),
            mark: MINE,
            complete: true,
        };
        let anew = [
            Step::Deregister("web".to_owned()),
            Step::Register("web".to_owned()),
        ];
        assert_eq!(steps(wish, &holding(&web)), anew);
    }

    #[test]
    fn a_check_that_a_job_has_no_more_goes_and_one_added_by_hand_stays() {
        let (before, now) = (registration("web", &["old"]), registration("web", &["new"]));
        let mut found = holding(&[before, now.clone()]);
        let by_hand = FoundCheck {
            service_id: "web".to_owned(),
            ..FoundCheck::default()
        };
        let maintenance = "_service_maintenance:web".to_owned();
        found.checks.insert(maintenance, by_hand);
        let gone = Step::DeregisterCheck(format!("{CHECK_PREFIX}old"));
        let now = [now];
        assert_eq!(changes(&now, &now, &found), [gone]);
    }
}
