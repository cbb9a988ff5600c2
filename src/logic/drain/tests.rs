//! Nodes are emptied step by step.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use super::*;
use crate::duration::{HOUR, SECOND};
use crate::model::{
    AllocReport, CHECK_PASSING, CatalogChange, Check, DrainStrategy, NODE_ELIGIBLE,
    NODE_INELIGIBLE, ServiceInstance, TRIGGER_ALLOC_STOP, TaskState,
};
use crate::schedule::tests::cluster::{Cluster, image, job, memory, on_port, service};
use crate::schedule::tests::rolling::rolling;
use crate::state::{Command, Refusal, Reply};

impl Cluster {
    /// What runs without anybody knowing since when has just been started.
    pub(crate) fn starts(&mut self) {
        let fresh = |alloc: &&Arc<Allocation>| {
            alloc.client_status == CLIENT_RUNNING && alloc.task_states.is_empty()
        };
        let fresh: Vec<_> = self.store.allocs().filter(fresh).cloned().collect();
        let state = TaskState {
            state: TASK_RUNNING.into(),
            started_at: self.now,
            ..TaskState::default()
        };
        for alloc in fresh {
            self.offers(&alloc, CHECK_PASSING);
            self.apply(Command::ReportAllocs {
                node_id: alloc.node_id.clone(),
                serial: 0,
                reports: vec![AllocReport {
                    alloc_id: alloc.id.clone(),
                    client_status: CLIENT_RUNNING.into(),
                    client_description: String::new(),
                    task_states: BTreeMap::from([("t".to_owned(), state.clone())]),
                    health: None,
                }],
            });
        }
    }

    /// An allocation's service is in the catalog, with a check.
    fn offers(&mut self, alloc: &Allocation, status: &str) {
        let service = ServiceInstance {
            node: alloc.node_name.clone(),
            id: format!("_nomad-task-{}-t-{}-http", alloc.id, alloc.job_id),
            service: alloc.job_id.clone(),
            alloc_id: alloc.id.clone(),
            ..ServiceInstance::default()
        };
        let check = Check {
            node: alloc.node_name.clone(),
            check_id: alloc.id.clone(),
            status: status.into(),
            service_id: service.id.clone(),
            ..Check::default()
        };
        let change = CatalogChange {
            node: alloc.node_name.clone(),
            services: vec![service],
            checks: vec![check],
            ..CatalogChange::default()
        };
        self.apply(Command::ChangeCatalog { change });
    }

    /// Does what is to be done now; how many allocations were sent away.
    fn step(&mut self) -> usize {
        let Steps {
            migrate,
            moved,
            stopped,
            drained,
        } = steps(&self.store, self.now);
        let count = migrate.len();
        for ids in [migrate, moved, stopped] {
            if !ids.is_empty() {
                self.send_away(ids);
            }
        }
        for node_id in drained {
            self.emptied(node_id);
        }
        self.settle();
        self.starts();
        count
    }

    fn later(&mut self, secs: i64) {
        self.wait(secs);
        self.starts();
    }
}

/// Two instances on `n1`, which have run for a while, and an empty `n2`.
fn crowded() -> Cluster {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 2));
    cluster.starts();
    cluster.join(|_| {});
    cluster.later(60);
    cluster
}

fn spread(cluster: &Cluster) -> Vec<String> {
    let mut nodes = cluster.nodes_of("web");
    nodes.sort();
    nodes
}

#[test]
fn instances_leave_one_after_the_other_each_when_the_one_before_is_well_elsewhere() {
    let mut cluster = crowded();
    cluster.set_drain("n1", Some(HOUR));
    assert_eq!(cluster.node("n1").scheduling_eligibility, NODE_INELIGIBLE);
    assert_eq!(cluster.step(), 1);
    assert_eq!(spread(&cluster), ["n1", "n1", "n2"]);
    assert_eq!(cluster.step(), 0, "the first isn't well yet");
    cluster.later(9);
    assert_eq!(cluster.step(), 0);
    assert_eq!(spread(&cluster), ["n1", "n1", "n2"], "so it stays");
    cluster.later(1);
    assert_eq!(cluster.step(), 1);
    assert_eq!(spread(&cluster), ["n1", "n2", "n2"]);
    cluster.later(10);
    assert_eq!(cluster.step(), 0);
    assert_eq!(cluster.nodes_of("web"), ["n2", "n2"]);
    assert!(cluster.node("n1").drain);
    assert_eq!(cluster.step(), 0);
    let node = cluster.node("n1");
    assert!(!node.drain && node.drain_strategy.is_none());
    assert_eq!(
        node.scheduling_eligibility, NODE_INELIGIBLE,
        "it stays empty"
    );
    let told: Vec<_> = node.events.iter().map(|event| &event.message).collect();
    assert_eq!(
        told[1..],
        ["Node drain strategy set", "Node drain complete"]
    );
    assert!(steps(&cluster.store, cluster.now).is_empty());
}

#[test]
fn as_many_leave_at_a_time_as_the_migrate_block_says() {
    let mut cluster = Cluster::of(1);
    let mut web = service("web", 3);
    if let Some(migrate) = &mut web.task_groups[0].migrate {
        migrate.max_parallel = 2;
    }
    cluster.run(&web);
    cluster.starts();
    cluster.join(|_| {});
    cluster.later(60);
    cluster.set_drain("n1", Some(HOUR));
    assert_eq!(cluster.step(), 2);
    cluster.later(10);
    assert_eq!(cluster.step(), 1);
}

#[test]
fn what_has_no_room_elsewhere_runs_on_until_the_deadline() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    cluster.starts();
    cluster.later(60);
    let old = cluster.ids_of("web");
    cluster.set_drain("n1", Some(300 * SECOND));
    assert_eq!(cluster.step(), 1);
    assert_eq!(cluster.ids_of("web"), old, "there is no other node");
    cluster.later(299);
    assert_eq!(cluster.step(), 0);
    cluster.later(1);
    assert_eq!(cluster.step(), 1);
    assert_eq!(cluster.live("web"), []);
    cluster.step();
    assert!(!cluster.node("n1").drain, "it is empty");
    cluster.join(|_| {});
    cluster.settle();
    assert_eq!(cluster.nodes_of("web"), ["n2"], "it waited for room");
}

#[test]
fn batch_work_may_end_by_itself_until_the_deadline() {
    let mut cluster = Cluster::of(1);
    cluster.run(&job("work", JOB_BATCH, 1));
    cluster.starts();
    cluster.join(|_| {});
    cluster.set_drain("n1", Some(300 * SECOND));
    assert_eq!(cluster.step(), 0);
    assert_eq!(cluster.nodes_of("work"), ["n1"]);
    cluster.later(300);
    assert_eq!(cluster.step(), 1);
    assert_eq!(cluster.nodes_of("work"), ["n2"]);
}

#[test]
fn a_forced_drain_waits_for_nothing() {
    let mut cluster = crowded();
    cluster.set_drain("n1", Some(-1));
    assert_eq!(cluster.step(), 2);
    assert_eq!(cluster.nodes_of("web"), ["n2", "n2"]);
}

#[test]
fn system_jobs_leave_last_or_stay_if_they_are_ignored() {
    for ignored in [false, true] {
        let mut cluster = crowded();
        cluster.run(&memory(&job("log", JOB_SYSTEM, 1), 16));
        cluster.starts();
        cluster.later(60);
        let drain = DrainStrategy {
            deadline: HOUR,
            ignore_system_jobs: ignored,
            ..DrainStrategy::default()
        };
        cluster.apply(Command::SetNodeDrain {
            node_id: cluster.node("n1").id.clone(),
            drain: Some(drain),
            eligible: false,
            complete: false,
        });
        for _ in 0..3 {
            cluster.step();
            cluster.later(10);
        }
        assert_eq!(cluster.nodes_of("web"), ["n2", "n2"]);
        cluster.step();
        let left = if ignored { 2 } else { 1 };
        assert_eq!(cluster.live("log").len(), left);
        cluster.step();
        assert!(!cluster.node("n1").drain, "ignored: {ignored}");
        // It may have new ones again: the system job's comes back by itself.
        let node_id = cluster.node("n1").id.clone();
        let eligible = true;
        cluster.apply(Command::SetNodeEligibility { node_id, eligible });
        cluster.settle();
        assert_eq!(cluster.live("log").len(), 2);
    }
}

#[test]
fn what_fails_its_check_serves_nobody_and_leaves_at_once() {
    let mut cluster = crowded();
    for alloc in cluster.live("web") {
        cluster.offers(&alloc, CHECK_CRITICAL);
    }
    cluster.set_drain("n1", Some(HOUR));
    assert_eq!(cluster.step(), 2);
    assert_eq!(cluster.nodes_of("web"), ["n2", "n2"]);
}

#[test]
fn a_drain_that_is_ended_lets_the_rest_stay() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    cluster.starts();
    cluster.later(60);
    cluster.set_drain("n1", Some(HOUR));
    cluster.step();
    assert!(cluster.only("web").migrate);
    cluster.set_drain("n1", None);
    assert!(!cluster.only("web").migrate);
    assert_eq!(cluster.node("n1").scheduling_eligibility, NODE_ELIGIBLE);
    cluster.join(|_| {});
    cluster.settle();
    assert_eq!(cluster.nodes_of("web"), ["n1"]);
}

#[test]
fn an_allocation_that_a_user_stops_is_replaced() {
    let mut cluster = crowded();
    let old = cluster.ids_of("web");
    let reply = cluster.apply(stop(&old[0])).reply;
    assert!(matches!(reply, Ok(Reply::Evaluated { .. })), "{reply:?}");
    cluster.settle();
    assert_eq!(cluster.ids_of("web").len(), 3, "it stays for now");
    cluster.starts();
    cluster.later(10);
    cluster.step();
    let new = cluster.ids_of("web");
    assert!(new.len() == 2 && !new.contains(&old[0]) && new.contains(&old[1]));
    let again = cluster.apply(stop(&old[0])).reply;
    assert_eq!(again, Err(Refusal::AllocStopped(old[0].clone())));
}

fn stop(id: &str) -> Command {
    Command::MigrateAllocs {
        alloc_ids: vec![id.to_owned()],
        trigger: TRIGGER_ALLOC_STOP.into(),
    }
}

/// One instance on `n1`, which has run for a while, and an empty `n2`.
fn single() -> (Cluster, Arc<Allocation>) {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    cluster.starts();
    cluster.join(|_| {});
    cluster.later(60);
    let only = cluster.only("web");
    (cluster, only)
}

fn stays(cluster: &Cluster, alloc: &Allocation) -> bool {
    !cluster.store.alloc(&alloc.id).unwrap().terminal()
}

#[test]
fn a_user_who_stops_one_that_serves_nobody_doesnt_wait() {
    let (mut cluster, old) = single();
    cluster.offers(&old, CHECK_CRITICAL);
    cluster.apply(stop(&old.id));
    cluster.settle();
    assert!(!stays(&cluster, &old));
    assert_ne!(cluster.only("web").id, old.id);
}

#[test]
fn a_successor_that_doesnt_come_up_is_waited_for_by_a_drain_but_not_for_ever_by_a_user() {
    for drained in [true, false] {
        let (mut cluster, old) = single();
        if drained {
            cluster.set_drain("n1", Some(HOUR));
            cluster.step();
        } else {
            cluster.apply(stop(&old.id));
            cluster.settle();
        }
        let new = cluster.live("web");
        let new = new.iter().find(|alloc| alloc.id != old.id).unwrap();
        cluster.starts();
        cluster.offers(new, CHECK_CRITICAL);
        cluster.later(299);
        cluster.step();
        assert!(stays(&cluster, &old), "it isn't well");
        // What fails is placed anew after a while, and the old one stays.
        cluster.fail(new);
        cluster.settle();
        cluster.later(1);
        cluster.step();
        assert_eq!(stays(&cluster, &old), drained);
        cluster.later(3_600);
        cluster.step();
        assert!(!stays(&cluster, &old), "the deadline");
    }
}

#[test]
fn a_name_has_at_most_two_holders() {
    let (mut cluster, old) = single();
    cluster.apply(stop(&old.id));
    cluster.settle();
    let new = cluster.live("web");
    let new = new.iter().find(|alloc| alloc.id != old.id).unwrap().clone();
    cluster.starts();
    cluster.apply(stop(&new.id));
    cluster.settle();
    assert!(stays(&cluster, &old) && !stays(&cluster, &new));
    assert_eq!(cluster.live("web").len(), 2);
    // A changed job has its next version in the place of what comes.
    cluster.starts();
    cluster.run(&image(&service("web", 1), "web:2"));
    let versions = cluster.live("web");
    let versions: Vec<_> = versions.iter().map(|alloc| alloc.job_version()).collect();
    assert_eq!((versions.len(), versions.iter().sum()), (2, 1));
    assert!(stays(&cluster, &old));
    cluster.starts();
    cluster.later(10);
    cluster.step();
    assert_eq!(cluster.only("web").job_version(), 1);
}

#[test]
fn what_has_come_in_the_place_of_another_stays_when_the_drain_is_ended() {
    let (mut cluster, old) = single();
    cluster.set_drain("n1", Some(HOUR));
    cluster.step();
    cluster.set_drain("n1", None);
    cluster.settle();
    assert!(stays(&cluster, &old));
    cluster.later(10);
    cluster.step();
    assert_eq!(cluster.nodes_of("web"), ["n2"]);
    assert!(is_idle(&cluster.store));
}

#[test]
fn where_a_port_is_for_one_the_old_one_makes_room() {
    let mut cluster = Cluster::of(1);
    cluster.run(&on_port(&service("web", 1), 8080));
    cluster.starts();
    cluster.later(60);
    let old = cluster.only("web");
    cluster.apply(stop(&old.id));
    cluster.settle();
    assert_ne!(cluster.only("web").id, old.id);
}

#[test]
fn what_has_been_rolled_out_moves_as_other_jobs_do() {
    let mut cluster = Cluster::of(1);
    let web = rolling(&service("web", 1), 1);
    cluster.run(&web);
    cluster.starts();
    let old = cluster.only("web");
    cluster.judge(&old, true);
    cluster.join(|_| {});
    cluster.settle();
    cluster.later(60);
    assert!(!cluster.deployment("web").active());
    cluster.set_drain("n1", Some(HOUR));
    cluster.step();
    assert_eq!(cluster.live("web").len(), 2);
    // Another version takes the place of what comes.
    cluster.run(&image(&web, "web:2"));
    assert_eq!(cluster.live("web").len(), 2);
    for _ in 0..3 {
        cluster.starts();
        cluster.later(10);
        for alloc in cluster.unjudged() {
            cluster.judge(&alloc, true);
        }
        cluster.settle();
        cluster.step();
        assert!(!cluster.live("web").is_empty());
    }
    let new = cluster.only("web");
    assert_eq!((new.job_version(), new.node_name.as_str()), (1, "n2"));
}
