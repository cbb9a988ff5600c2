//! Looks at a running cluster after every step.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use logic::model::{JOB_SYSTEM, NODE_DOWN};
use logic::state::Store;
use ports::TaskKey;

use super::health::{Health, Reach};
use super::rollout::Rollouts;
use super::{
    APPLIED_STAYS, COMMITTED_AGREE, NEVER_DOWN, NOT_OVERCOMMITTED, ONE_A_NAME, ONE_LEADER,
    ONE_MACHINE, ONLY_PASSING, ROUTES_FRESH, Rule, TERM_STAYS, WANTED,
};
use crate::links::Links;
use crate::sight::{AgentSeen, Seen};
use crate::world::SimHost;

/// Machines are compared with states every so many steps.
const LOOK_EVERY: u64 = 10;
/// How long a routing table may lag behind its agent's replica of the catalog.
const ROUTES_WITHIN: Duration = Duration::from_millis(100);
/// How long an instance that is gone may stay in DNS and routes, whatever happened to whom.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// How long machines may take to do what the servers want, while they reach them.
const OBEYED_WITHIN: Duration = Duration::from_secs(30);
/// A node may be declared down that long after trouble that it has overcome.
const TROUBLE_LASTS: Duration = Duration::from_secs(12);

/// A moment of a cluster.
pub(crate) struct Scene<'a> {
    pub(crate) now: Duration,
    pub(crate) seen: &'a Seen,
    pub(crate) links: &'a Links,
    pub(crate) hosts: &'a [String],
    pub(crate) servers: &'a [String],
}

impl Scene<'_> {
    fn health(&self) -> Health {
        let reach = Reach {
            peers: self.links.peers(self.hosts),
            up: self.seen.agents.keys().map(String::as_str).collect(),
            servers: self.servers,
        };
        reach.health()
    }

    fn newest(&self) -> Option<Arc<Store>> {
        let states = self.seen.agents.values().filter_map(AgentSeen::store);
        states.max_by_key(|store| store.index())
    }

    fn running(&self) -> impl Iterator<Item = (&String, &SimHost, TaskKey)> {
        let machines = self.seen.machines.iter();
        machines.flat_map(|(host, machine)| {
            let tasks = machine.running().into_iter();
            tasks.map(move |key| (host, machine, key))
        })
    }
}

/// Since when something has been wrong.
#[derive(Default)]
struct Lasting(BTreeMap<String, Duration>);

impl Lasting {
    /// Fails if one of these has been wrong for too long without a break.
    fn look(
        &mut self,
        rule: &Rule,
        wrong: BTreeMap<String, String>,
        now: Duration,
        within: Duration,
    ) -> Result<()> {
        self.0.retain(|what, _| wrong.contains_key(what));
        for (what, detail) in wrong {
            let since = *self.0.entry(what).or_insert(now);
            let lasted = now.saturating_sub(since);
            if lasted > within {
                return Err(rule.broken(format!("for {lasted:?} {detail}")));
            }
        }
        Ok(())
    }
}

/// The larger a state has become, the fewer of its indexes are looked at in whole: the same ones on
/// all servers.
fn stride(index: u64) -> u64 {
    (index / 512).next_power_of_two()
}

/// What is remembered of the past to judge the present.
#[derive(Default)]
pub(crate) struct Watch {
    steps: u64,
    /// Who led in which term.
    leaders: BTreeMap<u64, String>,
    /// The newest term that each server was seen in.
    terms: BTreeMap<String, u64>,
    /// By index: the state's hash, and a server that had it.
    states: BTreeMap<u64, (u64, String)>,
    /// How far each running server is.
    applied: BTreeMap<String, u64>,
    newest: u64,
    /// When each machine last had a reason to be missed.
    trouble: BTreeMap<String, Duration>,
    down: BTreeSet<String>,
    routes: Lasting,
    gone: Lasting,
    twice: Lasting,
    overcommitted: Lasting,
    unwanted: Lasting,
    rollouts: Rollouts,
}

impl Watch {
    /// Everything that must hold at this moment.
    pub(crate) fn look(&mut self, scene: &Scene<'_>) -> Result<()> {
        self.one_leader(scene)?;
        self.terms_stay(scene)?;
        let news = self.states_agree(scene)?;
        self.steps += 1;
        let regular = self.steps.is_multiple_of(LOOK_EVERY);
        if !(news || regular) {
            return Ok(());
        }
        let health = scene.health();
        self.note_trouble(scene, &health);
        self.never_down(scene)?;
        if regular {
            self.routes_fresh(scene)?;
            self.only_passing(scene, &health)?;
            one_machine(scene)?;
            self.machines_obey(scene, &health)?;
        }
        Ok(())
    }

    fn one_leader(&mut self, scene: &Scene<'_>) -> Result<()> {
        for (host, agent) in scene.seen.agents.iter().filter(|(_, agent)| agent.leads()) {
            let Some(term) = agent.term() else { continue };
            let first = self.leaders.entry(term).or_insert_with(|| host.clone());
            if first != host {
                return Err(ONE_LEADER.broken(format!("{first} and {host} lead in term {term}")));
            }
        }
        Ok(())
    }

    fn terms_stay(&mut self, scene: &Scene<'_>) -> Result<()> {
        for (host, agent) in &scene.seen.agents {
            let Some(term) = agent.known_term() else {
                continue;
            };
            match self.terms.get_mut(host) {
                Some(before) if *before > term => {
                    let detail = format!("{host} was in term {before}, and is in term {term}");
                    return Err(TERM_STAYS.broken(detail));
                }
                Some(before) => *before = term,
                None => {
                    self.terms.insert(host.clone(), term);
                }
            }
        }
        Ok(())
    }

    /// Returns whether a server has applied something that none had before.
    fn states_agree(&mut self, scene: &Scene<'_>) -> Result<bool> {
        let agents = &scene.seen.agents;
        self.applied.retain(|host, _| agents.contains_key(host));
        let mut news = false;
        for (host, agent) in agents {
            let Some(store) = agent.store() else { continue };
            let index = store.index();
            let before = self.applied.insert(host.clone(), index);
            match before {
                Some(before) if before == index => continue,
                Some(before) if before > index => {
                    let detail = format!("{host} went from {before} back to {index}");
                    return Err(APPLIED_STAYS.broken(detail));
                }
                Some(_) | None => {}
            }
            let whole = index.is_multiple_of(stride(index));
            if index > self.newest {
                self.newest = index;
                news = true;
                self.rollouts.look(&store)?;
                if whole {
                    logic::invariants::check(&store)?;
                }
            }
            if whole && scene.servers.len() > 1 {
                self.same_state(host, &store)?;
            }
        }
        Ok(news)
    }

    fn same_state(&mut self, host: &str, store: &Store) -> Result<()> {
        let (index, hash) = (store.index(), hash(store)?);
        let new = || (hash, host.to_owned());
        let (known, other) = self.states.entry(index).or_insert_with(new);
        if *known != hash {
            let detail = format!("at index {index} the states of {other} and {host} differ");
            return Err(COMMITTED_AGREE.broken(detail));
        }
        Ok(())
    }

    fn note_trouble(&mut self, scene: &Scene<'_>, health: &Health) {
        for host in scene.hosts {
            let fine = scene.seen.agents.contains_key(host) && health.connected.contains(host);
            if !fine {
                self.trouble.insert(host.clone(), scene.now);
            }
        }
    }

    /// No trouble for that long.
    fn calm(&self, host: &str, now: Duration, since: Duration) -> bool {
        let last = self.trouble.get(host).copied().unwrap_or_default();
        now.saturating_sub(last) > since
    }

    fn never_down(&mut self, scene: &Scene<'_>) -> Result<()> {
        let Some(store) = scene.newest() else {
            return Ok(());
        };
        if store.index() < self.newest {
            return Ok(());
        }
        let down = store.nodes().filter(|node| node.status == NODE_DOWN);
        let down: BTreeSet<String> = down.map(|node| node.name.clone()).collect();
        for node in down.difference(&self.down) {
            if self.calm(node, scene.now, TROUBLE_LASTS) {
                let detail = format!("{node} is, which has been well for {TROUBLE_LASTS:?}");
                return Err(NEVER_DOWN.broken(detail));
            }
        }
        self.down = down;
        Ok(())
    }

    fn routes_fresh(&mut self, scene: &Scene<'_>) -> Result<()> {
        let mut wrong = BTreeMap::new();
        for (host, agent) in &scene.seen.agents {
            let Some(routes) = &agent.routes else {
                continue;
            };
            let both = ((**agent.view.borrow()).clone(), (**routes.load()).clone());
            if let Err(broken) = logic::invariants::check_list(logic::invariants::ROUTING, &both) {
                wrong.insert(host.clone(), format!("on {host}: {broken}"));
            }
        }
        let routes = &mut self.routes;
        routes.look(&ROUTES_FRESH, wrong, scene.now, ROUTES_WITHIN)
    }

    fn only_passing(&mut self, scene: &Scene<'_>, health: &Health) -> Result<()> {
        let alive: BTreeSet<String> = scene
            .running()
            .filter(|(host, ..)| health.connected.contains(*host))
            .map(|(_, _, key)| key.alloc_id)
            .collect();
        let mut wrong = BTreeMap::new();
        for (host, agent) in &scene.seen.agents {
            if !health.connected.contains(host) {
                continue;
            }
            let view = agent.view.borrow();
            for instance in view.services.values().flatten() {
                let id = &instance.service.id;
                let Some(alloc_id) = alloc_of(id) else {
                    continue;
                };
                if instance.passing() && instance.checked() && !alive.contains(alloc_id) {
                    let detail = format!("{id} passes on {host}, though nobody can reach it");
                    wrong.insert(format!("{host} {id}"), detail);
                }
            }
        }
        self.gone.look(&ONLY_PASSING, wrong, scene.now, GONE_WITHIN)
    }

    /// What runs on machines that have been in touch with the servers for long.
    fn machines_obey(&mut self, scene: &Scene<'_>, health: &Health) -> Result<()> {
        let Some(store) = scene.newest().filter(|_| health.quorum) else {
            return Ok(());
        };
        let (mut names, mut twice) = (BTreeMap::new(), BTreeMap::new());
        let (mut unwanted, mut overcommitted) = (BTreeMap::new(), BTreeMap::new());
        for (host, machine, key) in scene.running() {
            if !self.calm(host, scene.now, Duration::ZERO) {
                continue;
            }
            let (cpu, memory) = machine.promised();
            let has = machine.resources();
            if cpu > has.cpu || memory > has.memory_mb {
                let detail = format!("{cpu} MHz and {memory} MB are promised on {host}");
                overcommitted.insert(host.clone(), detail);
            }
            let alloc = store.alloc(&key.alloc_id).filter(|alloc| !alloc.terminal());
            let Some(alloc) = alloc else {
                let detail = format!("{key} runs on {host}, and no server wants it");
                unwanted.insert(format!("{host} {key}"), detail);
                continue;
            };
            let system = alloc
                .job
                .as_ref()
                .is_some_and(|job| job.r#type == JOB_SYSTEM);
            let place = if system { host.as_str() } else { "" };
            // While one version takes over from another, both run.
            let version = if alloc.deployment_id.is_empty() {
                String::new()
            } else {
                format!("version {} ", alloc.job_version())
            };
            let slot = format!("{} {} {place}{version}", alloc.name, key.task);
            if let Some(other) = names.insert(slot.clone(), alloc.id.clone()) {
                let detail = format!("{slot}is both {other} and {}", alloc.id);
                twice.insert(slot, detail);
            }
        }
        let now = scene.now;
        self.twice.look(&ONE_A_NAME, twice, now, OBEYED_WITHIN)?;
        self.unwanted.look(&WANTED, unwanted, now, OBEYED_WITHIN)?;
        let promised = &mut self.overcommitted;
        promised.look(&NOT_OVERCOMMITTED, overcommitted, now, OBEYED_WITHIN)
    }
}

fn one_machine(scene: &Scene<'_>) -> Result<()> {
    let mut places: BTreeMap<TaskKey, &str> = BTreeMap::new();
    for (host, _, key) in scene.running() {
        if let Some(other) = places.insert(key.clone(), host) {
            return Err(ONE_MACHINE.broken(format!("{key} runs on {other} and on {host}")));
        }
    }
    Ok(())
}

/// The allocation of a task's service, from its id: `_nomad-task-ALLOC-...`.
fn alloc_of(service_id: &str) -> Option<&str> {
    service_id.strip_prefix("_nomad-task-")?.get(..36)
}

fn hash(store: &Store) -> Result<u64> {
    let Ok(bytes) = agent::wire::encode(&store.dump()) else {
        bail!("the state at index {} can't be encoded", store.index());
    };
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_may_be_so_for_a_moment_but_not_for_long() {
        let mut lasting = Lasting::default();
        let wrong = || BTreeMap::from([("a".to_owned(), "it is wrong".to_owned())]);
        let mut look = |wrong, at| {
            let (at, within) = (Duration::from_secs(at), Duration::from_secs(2));
            lasting.look(&WANTED, wrong, at, within)
        };
        assert!(look(wrong(), 1).is_ok());
        assert!(look(wrong(), 3).is_ok());
        assert!(look(BTreeMap::new(), 4).is_ok());
        assert!(look(wrong(), 5).is_ok());
        let error = look(wrong(), 8).expect_err("three seconds are too long");
        assert!(
            error.to_string().starts_with("nothing-unwanted-runs: "),
            "{error}"
        );
    }

    #[test]
    fn a_service_id_names_its_allocation() {
        let alloc = "9f1c1e0e-6a7b-4d1c-8f5e-0123456789ab";
        let id = format!("_nomad-task-{alloc}-web-httpbackend-http");
        assert_eq!(alloc_of(&id), Some(alloc));
        assert_eq!(alloc_of("consul"), None);
    }
}
