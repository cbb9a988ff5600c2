//! Random histories of a cluster: users, faults, clocks and schedulers in any order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::cluster::{Cluster, but, image, job, on_port, service};
use super::rolling::rolling;
use crate::drain::{Steps, steps};
use crate::duration::SECOND;
use crate::model::{
    BEST_SCORE, CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_RUNNING, DEPLOYMENT_SUCCESSFUL,
    DeploymentChange, DisconnectStrategy, JOB_BATCH, JOB_SYSTEM, Job, KEEP_ORIGINAL,
    KEEP_REPLACEMENT,
};
use crate::state::{Command, Rollout};
use crate::time::Time;

const NODES: u8 = 4;
/// MB of memory that two or all instances fit into.
const LITTLE: i64 = 600;
const ENOUGH: i64 = 4_096;
const STRATEGIES: [&str; 3] = [KEEP_ORIGINAL, KEEP_REPLACEMENT, BEST_SCORE];
const JOBS: [&str; 6] = ["web", "api", "fixed", "sums", "logs", "shop"];

/// Something that happens. Numbers choose one of what there is.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Run {
        job: u8,
        count: u8,
        version: u8,
        tag: u8,
    },
    Stop {
        job: u8,
        purge: bool,
    },
    Down(u8),
    Up(u8),
    Eligible(u8, bool),
    /// A node is to be emptied, within so many seconds, or not any more.
    Drain(u8, bool, u8),
    /// The allocations that have to leave drained nodes do.
    Leave,
    /// Users move allocations away.
    Migrate(u16),
    /// A node says that it has more or less memory than before.
    Resize(u8, bool),
    Report {
        alloc: u16,
        status: u8,
    },
    /// A node says how an allocation is in its deployment.
    Judge {
        alloc: u8,
        healthy: bool,
    },
    /// Somebody acts on a deployment.
    Change {
        deployment: u8,
        what: u8,
    },
    /// A job goes back to an earlier version.
    Revert {
        job: u8,
        back: u8,
    },
    /// The nodes do what they are told.
    Obey,
    Wait(u8),
    /// A scheduler takes a snapshot and an evaluation.
    Schedule(u8),
    /// It hands in its plan, by then perhaps outdated.
    HandIn(u8),
    Collect {
        older_than: u8,
    },
}

/// Failures are printed as histories, which become stories: no seeds are kept.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

pub(crate) fn histories() -> impl Strategy<Value = Vec<Event>> {
    vec(events(), 0..120)
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<u8>(), 0..5u8, 0..3u8, 0..2u8)
            .prop_map(|(job, count, version, tag)| Event::Run { job, count, version, tag }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(job, purge)| Event::Stop { job, purge }),
        2 => any::<u8>().prop_map(Event::Down),
        3 => any::<u8>().prop_map(Event::Up),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(node, yes)| Event::Eligible(node, yes)),
        1 => (any::<u8>(), any::<bool>(), any::<u8>())
            .prop_map(|(node, begins, within)| Event::Drain(node, begins, within)),
        2 => Just(Event::Leave),
        1 => any::<u16>().prop_map(Event::Migrate),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(node, less)| Event::Resize(node, less)),
        5 => (any::<u16>(), any::<u8>())
            .prop_map(|(alloc, status)| Event::Report { alloc, status }),
        6 => (any::<u8>(), 0..4u8)
            .prop_map(|(alloc, kind)| Event::Judge { alloc, healthy: kind > 0 }),
        2 => (any::<u8>(), 0..6u8)
            .prop_map(|(deployment, what)| Event::Change { deployment, what }),
        1 => (any::<u8>(), 1..4u8).prop_map(|(job, back)| Event::Revert { job, back }),
        3 => Just(Event::Obey),
        2 => any::<u8>().prop_map(Event::Wait),
        9 => any::<u8>().prop_map(Event::Schedule),
        9 => any::<u8>().prop_map(Event::HandIn),
        1 => any::<u8>().prop_map(|older_than| Event::Collect { older_than }),
    ]
}

/// Plays a history; every entry is followed by a check of the invariants.
pub(crate) fn play(history: &[Event]) -> Cluster {
    let mut cluster = Cluster::of(usize::from(NODES));
    let mut decisions = Vec::new();
    for event in history {
        match *event {
            Event::Schedule(which) => {
                let due = cluster.due();
                if let Some(eval) = pick(&due, usize::from(which)) {
                    let snapshot = cluster.store.clone();
                    decisions.push(cluster.decide(&snapshot, eval));
                }
            }
            Event::HandIn(which) => {
                if !decisions.is_empty() {
                    let at = usize::from(which) % decisions.len();
                    cluster.carry_out(decisions.remove(at));
                }
            }
            ref event => happen(&mut cluster, event),
        }
    }
    cluster
}

fn happen(cluster: &mut Cluster, event: &Event) {
    match *event {
        Event::Run {
            job,
            count,
            version,
            tag,
        } => {
            let job = asked(job, count, version, tag);
            cluster.submit(&job, None).expect("registered");
        }
        Event::Stop { job, purge } => cluster.stop(JOBS[usize::from(job) % JOBS.len()], purge),
        Event::Down(node) => with_node(cluster, node, Cluster::down),
        Event::Up(node) => with_node(cluster, node, Cluster::up),
        Event::Eligible(node, yes) => {
            with_node(cluster, node, |cluster, name| cluster.eligible(name, yes));
        }
        Event::Resize(node, less) => with_node(cluster, node, |cluster, name| {
            cluster.resize(name, if less { LITTLE } else { ENOUGH });
        }),
        Event::Drain(node, begins, within) => with_node(cluster, node, |cluster, name| {
            cluster.set_drain(name, begins.then(|| i64::from(within) * SECOND));
        }),
        Event::Leave => leave(cluster),
        Event::Migrate(alloc) => {
            let ids: Vec<_> = cluster.store.allocs().map(|row| row.id.clone()).collect();
            cluster.send_away(
                pick(&ids, usize::from(alloc))
                    .cloned()
                    .into_iter()
                    .collect(),
            );
        }
        Event::Obey => {
            cluster.obey();
            cluster.starts();
        }
        Event::Wait(secs) => cluster.now = Time(cluster.now.0 + i64::from(secs) * SECOND),
        Event::Collect { older_than } => {
            let before = Time(cluster.now.0 - i64::from(older_than) * SECOND);
            cluster.apply(Command::CollectGarbage {
                evals_before: before,
                jobs_before: before,
                nodes_before: Time::NEVER,
            });
        }
        ref event => roll(cluster, event),
    }
}

/// What nodes say of allocations, and what is done to deployments.
fn roll(cluster: &mut Cluster, event: &Event) {
    match *event {
        Event::Report { alloc, status } => {
            let ids: Vec<_> = cluster.store.allocs().map(|row| row.id.clone()).collect();
            let statuses = [CLIENT_RUNNING, CLIENT_FAILED, CLIENT_COMPLETE];
            let status = pick(&statuses, usize::from(status));
            if let (Some(id), Some(status)) = (pick(&ids, usize::from(alloc)), status) {
                cluster.report(id, status);
            }
        }
        Event::Judge { alloc, healthy } => {
            let unjudged = cluster.unjudged();
            if let Some(alloc) = pick(&unjudged, usize::from(alloc)) {
                cluster.judge(alloc, healthy);
            }
        }
        Event::Change { deployment, what } => {
            let all: Vec<_> = cluster.store.deployments().cloned().collect();
            if let Some(row) = pick(&all, usize::from(deployment)) {
                act_on(cluster, &row.id, what);
            }
        }
        Event::Revert { job, back } => {
            let job_id = JOBS[usize::from(job) % JOBS.len()].to_owned();
            let current = cluster.store.job(&job_id).map_or(0, |job| job.version);
            // Refused, if there is no such version.
            cluster.apply(Command::Rollout(Rollout::Revert {
                job_id,
                version: current.saturating_sub(u64::from(back)),
                prior: None,
            }));
        }
        _ => {}
    }
}

/// Whether it may be done or not: ended deployments refuse everything.
fn act_on(cluster: &mut Cluster, deployment_id: &str, what: u8) {
    let row = cluster.store.deployment(deployment_id);
    let due = row.and_then(|row| row.progress_due());
    let change = match what {
        0 => DeploymentChange::Pause,
        1 => DeploymentChange::Resume,
        2 => DeploymentChange::Fail,
        3 => DeploymentChange::Overdue {
            required_by: due.unwrap_or(cluster.now),
        },
        _ => DeploymentChange::Promote { groups: Vec::new() },
    };
    cluster.apply(Command::Rollout(Rollout::Change {
        deployment_id: deployment_id.to_owned(),
        change,
    }));
}

fn pick<T>(from: &[T], which: usize) -> Option<&T> {
    from.get(which % from.len().max(1))
}

fn with_node(cluster: &mut Cluster, node: u8, act: impl FnOnce(&mut Cluster, &str)) {
    act(cluster, &format!("n{}", node % NODES + 1));
}

/// One of a few jobs, in one of a few versions. Two nodes have room for all of them.
fn asked(job_number: u8, count: u8, version: u8, tag: u8) -> Job {
    let name = JOBS[usize::from(job_number) % JOBS.len()];
    let count = i64::from(count);
    let job = match name {
        "fixed" => on_port(&service(name, count.min(2)), 8080),
        "sums" => job(name, JOB_BATCH, count),
        "logs" => job(name, JOB_SYSTEM, 1),
        "shop" => rolling(&service(name, count), 1 + i64::from(tag)),
        _ => service(name, count),
    };
    let job = image(&job, &format!("{name}:{version}"));
    but(&job, |group| {
        if name == "api" {
            // Longer than most silences, and shorter than the longest.
            group.disconnect = Some(DisconnectStrategy {
                lost_after: 100 * SECOND,
                replace: Some(tag == 0),
                reconcile: STRATEGIES[usize::from(version)].into(),
                ..DisconnectStrategy::default()
            });
        }
        if let Some(update) = &mut group.update {
            update.canary = i64::from(version / 2);
            update.auto_revert = tag == 1;
            update.auto_promote = version == 2 && tag == 0;
            // An unhealthy one fails its deployment at once, or by its deadline.
            update.progress_deadline = if tag == 1 { 0 } else { 600 * SECOND };
        }
        group.tasks[0].services[0].tags = vec![format!("tag-{tag}")];
        group.tasks[0].resources.cpu = 300;
    })
}

/// What a leader does about nodes that are emptied, and about what leaves.
fn leave(cluster: &mut Cluster) {
    let Steps {
        migrate,
        moved,
        stopped,
        drained,
    } = steps(&cluster.store, cluster.now);
    for ids in [migrate, moved, stopped] {
        if !ids.is_empty() {
            cluster.send_away(ids);
        }
    }
    for node_id in drained {
        cluster.emptied(node_id);
    }
}

/// All faults are over: every node is up and takes work, and everything has had time to be done.
pub(crate) fn heal(cluster: &mut Cluster) {
    for number in 1..=NODES {
        let name = format!("n{number}");
        if cluster.node(&name).away() {
            cluster.up(&name);
        }
        cluster.resize(&name, ENOUGH);
        cluster.set_drain(&name, None);
        cluster.eligible(&name, true);
    }
    cluster.settle();
    // The longest delay before a failed allocation is replaced is an hour.
    for _ in 0..3 {
        cluster.wait(3_700);
        cluster.starts();
        leave(cluster);
        cluster.settle();
    }
    roll_out_a_good_one(cluster);
}

/// Whatever became of earlier versions, one that is well is rolled out to the end.
fn roll_out_a_good_one(cluster: &mut Cluster) {
    let wanted = cluster.store.job("shop").filter(|job| !job.stop).cloned();
    let Some(shop) = wanted else { return };
    cluster.run(&image(&shop, "shop:good"));
    for _ in 0..50 {
        for alloc in cluster.unjudged() {
            cluster.judge(&alloc, true);
        }
        let newest = cluster.store.deployments_of_job("shop").into_iter().next();
        let waits = newest.filter(|row| row.running() && row.requires_promotion());
        if let Some(id) = waits.map(|row| row.id.clone()) {
            act_on(cluster, &id, 4);
        }
        cluster.starts();
        leave(cluster);
        cluster.settle();
    }
    let shop = cluster.store.job("shop").expect("it runs").clone();
    let of_it = cluster.store.deployment_of(&shop);
    let done = of_it.is_none_or(|row| row.status == DEPLOYMENT_SUCCESSFUL);
    assert!(done || shop.task_groups[0].count == Some(0), "{of_it:?}");
    let live = cluster.live("shop");
    assert!(live.iter().all(|alloc| alloc.job_version() == shop.version));
}
