//! What needs somebody's attention, and why: told first on the overview and on each page.

use std::collections::BTreeMap;
use std::sync::Arc;

use logic::membership::MemberStatus;
use logic::model::{
    AllocMetric, Allocation, CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_UNKNOWN,
    Deployment, EVAL_BLOCKED, Evaluation, Job, Node, TaskEvent, TaskState,
};
use logic::state::Store;
use logic::time::Time;
use maud::{Markup, html};

use super::elements::{Tone, ago, count, grouped, link, status};
use super::offered;
use super::place::Place;
use super::seen::Seen;

/// Nodes whose reason is told when there are many.
pub(super) const NODES_SHOWN: usize = 8;

/// Something that isn't as somebody asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) tone: Tone,
    pub(super) place: Place,
    /// Who has it.
    pub(super) subject: String,
    /// What it is, in one sentence with numbers.
    pub(super) says: String,
    /// Since when, where that is known.
    pub(super) since: Option<Time>,
    pub(super) reasons: Vec<Reason>,
}

/// Why something isn't as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) place: Option<Place>,
    /// What it is about.
    pub(super) about: String,
    pub(super) says: String,
    /// Output that tells more.
    pub(super) logs: Option<Place>,
}

impl Reason {
    pub(super) fn new(place: Option<Place>, about: &str, says: impl Into<String>) -> Self {
        Self {
            place,
            about: about.to_owned(),
            says: says.into(),
            logs: None,
        }
    }
}

/// All of them, the worst first.
pub(super) fn all(seen: &Seen) -> Vec<Trouble> {
    let store = &seen.store;
    let mut found = of_servers(seen);
    found.extend(store.nodes().filter_map(|node| of_client(seen, node)));
    found.extend(store.jobs().flat_map(|job| of_job(store, job)));
    found.extend(offered::of_services(seen));
    found.extend(offered::of_routes(seen));
    found.sort_by_key(|trouble| trouble.tone);
    found
}

pub(super) fn of_servers(seen: &Seen) -> Vec<Trouble> {
    let trouble = |tone, subject: &str, says: String| Trouble {
        tone,
        place: Place::Servers,
        subject: subject.to_owned(),
        says,
        since: None,
        reasons: Vec::new(),
    };
    let mut found = Vec::new();
    let voters = seen.peers.iter().filter(|peer| peer.voter).count();
    if !seen.led() {
        let says = format!(
            "No server leads: nothing can be changed until {} of {voters} agree. \
             What runs, runs on.",
            voters / 2 + 1
        );
        found.push(trouble(Tone::Bad, "Cluster", says));
    }
    for known in &seen.members {
        if known.status == MemberStatus::Failed && known.member.server {
            let says = "This server isn't heard from any more".to_owned();
            found.push(trouble(Tone::Bad, &known.member.name, says));
        }
    }
    found
}

pub(super) fn of_client(seen: &Seen, node: &Node) -> Option<Trouble> {
    if !node.away() {
        let broken: Vec<_> = node
            .drivers
            .iter()
            .filter(|(_, driver)| driver.detected && !driver.healthy)
            .map(|(name, driver)| Reason::new(None, name, &driver.health_description))
            .collect();
        return (!broken.is_empty()).then(|| Trouble {
            tone: Tone::Warn,
            place: Place::Client(node.id.clone()),
            subject: node.name.clone(),
            says: format!("{} can't be used", count(broken.len(), "driver", "drivers")),
            since: None,
            reasons: broken,
        });
    }
    let allocs = seen.store.allocs_on_node(&node.id);
    let touched = allocs
        .filter(|alloc| !alloc.server_terminal() && !alloc.client_terminal())
        .count();
    let why = match node.status_description.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let fate = match touched {
        0 => String::new(),
        1 => ". Nobody knows how its allocation fares".to_owned(),
        _ => format!(
            ". Nobody knows how its {} allocations fare",
            grouped(touched)
        ),
    };
    let says = format!("This client is {}{why}{fate}", node.status);
    let since = Time::from_secs(node.status_updated_at);
    Some(Trouble {
        tone: Tone::Bad,
        place: Place::Client(node.id.clone()),
        subject: node.name.clone(),
        says,
        since: Some(since),
        reasons: Vec::new(),
    })
}

/// What keeps a job from running as asked: allocations without a place, and those that fail.
pub(super) fn of_job(store: &Store, job: &Job) -> Vec<Trouble> {
    if job.stop {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (group, metric) in unplaced(store, &job.id) {
        found.push(Trouble {
            tone: Tone::Bad,
            place: Place::Job(job.id.clone()),
            subject: job.id.clone(),
            says: placement(&group, &metric),
            since: None,
            reasons: reasons(store, &metric),
        });
    }
    found.extend(ailing(store, job));
    found.extend(of_deployment(store, job));
    found
}

/// A rollout of the job's newest version that failed, or that waits for somebody.
fn of_deployment(store: &Store, job: &Job) -> Option<Trouble> {
    let deployment = store.deployment_of(job)?;
    let waits = deployment.active() && deployment.requires_promotion();
    let tone = match (deployment.failed(), waits) {
        (true, _) => Tone::Bad,
        (false, true) if !deployment.promotes_itself() => Tone::Warn,
        (false, _) => return None,
    };
    let (version, says) = (deployment.job_version, &deployment.status_description);
    Some(Trouble {
        tone,
        place: Place::JobDeployments(job.id.clone()),
        subject: job.id.clone(),
        says: format!("Version {version}: {says}"),
        since: Some(Time(deployment.modify_time)),
        reasons: unhealthy(store, deployment),
    })
}

/// What went wrong with the allocations that failed a deployment; the newest first.
fn unhealthy(store: &Store, deployment: &Deployment) -> Vec<Reason> {
    let sick = |alloc: &&Arc<Allocation>| {
        alloc.deployment_id == deployment.id && alloc.deployment_unhealthy()
    };
    let mut allocs: Vec<_> = store
        .allocs_of_job(&deployment.job_id)
        .filter(sick)
        .collect();
    allocs.sort_by_key(|alloc| std::cmp::Reverse((alloc.modify_index, alloc.id.clone())));
    let reason = |alloc: &&Arc<Allocation>| {
        let told = last_word(alloc).map(|event| event.display_message.as_str());
        let says = match told.filter(|told| !told.is_empty()) {
            Some(told) => format!("unhealthy: {told}"),
            None => "unhealthy".to_owned(),
        };
        Reason {
            logs: telling_logs(alloc),
            ..Reason::new(Some(Place::Allocation(alloc.id.clone())), &alloc.name, says)
        }
    };
    allocs.iter().take(NODES_SHOWN).map(reason).collect()
}

/// By group: why its allocations wait for room. Only while they do.
pub(super) fn unplaced(store: &Store, job_id: &str) -> BTreeMap<String, AllocMetric> {
    let blocked = |eval: &&Arc<Evaluation>| eval.status == EVAL_BLOCKED;
    let mut unplaced = BTreeMap::new();
    for eval in store.evals_of_job(job_id).filter(blocked) {
        for (group, metric) in &eval.failed_tg_allocs {
            unplaced.insert(group.clone(), metric.clone());
        }
    }
    unplaced
}

/// What a search for a place came to, in numbers.
pub(super) fn placement(group: &str, metric: &AllocMetric) -> String {
    let waiting = usize::try_from(metric.coalesced_failures + 1).unwrap_or(usize::MAX);
    let verb = if waiting == 1 { "has" } else { "have" };
    let what = count(waiting, "allocation", "allocations");
    let ready: u64 = metric.nodes_available.values().sum();
    let mut lacks = Vec::new();
    for (dimension, nodes) in &metric.dimension_exhausted {
        let verb = if *nodes == 1 { "lacks" } else { "lack" };
        lacks.push(format!("{nodes} {verb} {dimension}"));
    }
    for (constraint, nodes) in &metric.constraint_filtered {
        lacks.push(format!("{nodes} ruled out by {constraint}"));
    }
    for (class, nodes) in &metric.class_filtered {
        lacks.push(format!("{nodes} of class {class} ruled out"));
    }
    for (datacenter, _) in metric
        .nodes_available
        .iter()
        .filter(|(_, ready)| **ready == 0)
    {
        lacks.push(format!("none is ready in datacenter {datacenter}"));
    }
    let lacks = if lacks.is_empty() {
        "no node is ready for it".to_owned()
    } else {
        let ready = usize::try_from(ready).unwrap_or(usize::MAX);
        let nodes = count(ready, "ready node", "ready nodes");
        format!("of {nodes}, {}", lacks.join(", "))
    };
    format!("{what} of group {group} {verb} no place: {lacks}")
}

/// Why each node was ruled out.
pub(super) fn reasons(store: &Store, metric: &AllocMetric) -> Vec<Reason> {
    let place = |name: &str| {
        let node = store.nodes().find(|node| node.name == name)?;
        Some(Place::Client(node.id.clone()))
    };
    let mut reasons: Vec<_> = metric
        .reasons
        .iter()
        .take(NODES_SHOWN)
        .map(|(node, reason)| Reason::new(place(node), node, reason))
        .collect();
    let rest = metric.reasons.len() - reasons.len();
    if rest > 0 {
        let more = count(rest, "more node", "more nodes");
        reasons.push(Reason::new(None, &more, "ruled out likewise"));
    }
    reasons
}

/// How an allocation that should run doesn't; nothing if it does.
pub(super) fn ailment(alloc: &Allocation) -> Option<(Tone, String)> {
    if alloc.server_terminal() {
        return None;
    }
    let restarts: u64 = alloc.task_states.values().map(|state| state.restarts).sum();
    let last = last_word(alloc).map(|event| event.display_message.as_str());
    let because = |what: &str| {
        let restarts = usize::try_from(restarts).unwrap_or(usize::MAX);
        let what = match restarts {
            0 => what.to_owned(),
            _ => format!("{what} after {}", count(restarts, "restart", "restarts")),
        };
        match last {
            Some(said) if !said.is_empty() => format!("{what}: {said}"),
            Some(_) | None => what,
        }
    };
    match alloc.client_status.as_str() {
        CLIENT_FAILED => Some((Tone::Bad, because("failed"))),
        CLIENT_LOST => Some((Tone::Bad, "lost with its client".to_owned())),
        CLIENT_UNKNOWN => Some((Tone::Warn, "its client isn't heard from".to_owned())),
        CLIENT_PENDING if restarts > 0 => Some((Tone::Bad, because("waits for a restart"))),
        _ if alloc.task_states.values().any(|state| state.failed) => {
            Some((Tone::Bad, because("a task failed")))
        }
        _ => None,
    }
}

/// The output of the task that is to blame, or of the first that ran.
fn telling_logs(alloc: &Allocation) -> Option<Place> {
    let mut states = alloc.task_states.iter();
    let ran = |state: &TaskState| !state.started_at.is_never();
    let failed = states.clone().find(|(_, state)| state.failed && ran(state));
    let (task, _) = failed.or_else(|| states.find(|(_, state)| ran(state)))?;
    Some(Place::Logs {
        alloc: alloc.id.clone(),
        task: task.clone(),
    })
}

/// The last event of any task that tells what went wrong.
pub(super) fn last_word(alloc: &Allocation) -> Option<&TaskEvent> {
    let telling = |event: &&TaskEvent| {
        matches!(
            event.r#type.as_str(),
            "Terminated" | "Driver Failure" | "Setup Failure" | "Failed Validation" | "Killed"
        )
    };
    let events = alloc.task_states.values().flat_map(|state| &state.events);
    let told = events
        .clone()
        .filter(telling)
        .max_by_key(|event| event.time);
    told.or_else(|| events.max_by_key(|event| event.time))
}

/// Allocations of a job that don't run as they should. One that was replaced is history.
fn sick<'a>(store: &'a Store, job: &Job) -> impl Iterator<Item = (&'a Allocation, Tone, String)> {
    store.allocs_of_job(&job.id).filter_map(|alloc| {
        let (tone, says) = ailment(alloc)?;
        let replaced = !alloc.next_allocation.is_empty();
        (!replaced).then_some((alloc.as_ref(), tone, says))
    })
}

/// Whether something of a group doesn't run as it should.
pub(super) fn ails(store: &Store, job: &Job, group: &str) -> bool {
    !job.stop && sick(store, job).any(|(alloc, ..)| alloc.task_group == group)
}

/// One trouble for each group with allocations that don't run as they should.
fn ailing(store: &Store, job: &Job) -> Vec<Trouble> {
    let mut groups: BTreeMap<&str, Vec<(&Allocation, Tone, String)>> = BTreeMap::new();
    for (alloc, tone, says) in sick(store, job) {
        let group = groups.entry(&alloc.task_group).or_default();
        group.push((alloc, tone, says));
    }
    let trouble = |(group, mut ailing): (&str, Vec<(&Allocation, Tone, String)>)| {
        ailing.sort_by_key(|(alloc, ..)| std::cmp::Reverse(alloc.modify_index));
        let tone = ailing.iter().map(|(_, tone, _)| *tone).min()?;
        let wanted = job
            .group(group)
            .map_or(0, logic::model::TaskGroup::desired_count);
        let verb = if ailing.len() == 1 {
            "doesn't"
        } else {
            "don't"
        };
        let of = count(wanted.max(ailing.len()), "allocation", "allocations");
        let reason = |(alloc, _, says): &(&Allocation, Tone, String)| {
            let place = Place::Allocation(alloc.id.clone());
            Reason {
                logs: telling_logs(alloc),
                ..Reason::new(Some(place), &alloc.name, says)
            }
        };
        Some(Trouble {
            tone,
            place: Place::Job(job.id.clone()),
            subject: job.id.clone(),
            says: format!("{} of {of} of group {group} {verb} run", ailing.len()),
            since: None,
            reasons: ailing.iter().take(NODES_SHOWN).map(reason).collect(),
        })
    };
    groups.into_iter().filter_map(trouble).collect()
}

pub(super) fn alloc_place(seen: &Seen, alloc_id: &str) -> Option<Place> {
    let alloc = seen.store.alloc(alloc_id)?;
    Some(Place::Allocation(alloc.id.clone()))
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no word")
}

/// Troubles as a list; with `subjects` each says whose it is.
pub(super) fn list(troubles: &[Trouble], subjects: bool, now: Time) -> Markup {
    html! {
        ul.troubles {
            @for trouble in troubles {
                li class=(trouble.tone.class()) {
                    p.says {
                        @if subjects {
                            (status(trouble.tone, kind(&trouble.place))) " "
                            strong { (link(&trouble.place, &trouble.subject)) } ": "
                        } @else {
                            (status(trouble.tone, word(trouble.tone))) " "
                        }
                        (trouble.says)
                        @if let Some(since) = trouble.since {
                            span.dim { " · " (ago(since, now)) }
                        }
                    }
                    @if !trouble.reasons.is_empty() {
                        ul.reasons {
                            @for reason in &trouble.reasons {
                                li {
                                    @if let Some(place) = &reason.place {
                                        (link(place, &reason.about))
                                    }
                                    @else { span { (reason.about) } }
                                    span {
                                        (reason.says)
                                        @if let Some(logs) = &reason.logs {
                                            " · " (link(logs, "logs"))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "problem",
        Tone::Warn => "warning",
        Tone::Busy | Tone::Idle | Tone::Ok => "note",
    }
}

fn kind(place: &Place) -> &'static str {
    match place {
        Place::Client(_) => "client",
        Place::Servers => "server",
        Place::Service(_) => "service",
        _ => "job",
    }
}
