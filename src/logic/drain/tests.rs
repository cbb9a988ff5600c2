//! Nodes are emptied step by step.

use std::collections::BTreeMap;

use super::*;
use crate::duration::{HOUR, SECOND};
use crate::model::{
    AllocReport, CatalogChange, Check, DrainStrategy, NODE_ELIGIBLE, NODE_INELIGIBLE,
    ServiceInstance, TRIGGER_ALLOC_STOP, TaskState,
};
use crate::schedule::tests::cluster::{Cluster, job, memory, service};
use crate::state::{Command, Refusal, Reply};

impl Cluster {
    /// What runs without anybody knowing since when has just been started.
    fn starts(&mut self) {
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

    /// Does what is to be done now; how many allocations were sent away.
    fn step(&mut self) -> usize {
        let Steps { migrate, drained } = steps(&self.store, self.now);
        let count = migrate.len();
        if count > 0 {
            self.send_away(migrate);
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

#[test]
fn instances_leave_one_after_the_other_each_when_the_one_before_is_well_elsewhere() {
    let mut cluster = crowded();
    cluster.set_drain("n1", Some(HOUR));
    assert_eq!(cluster.node("n1").scheduling_eligibility, NODE_INELIGIBLE);
    assert_eq!(cluster.step(), 1);
    assert_eq!(cluster.nodes_of("web").len(), 2);
    assert_eq!(cluster.step(), 0, "the first isn't well yet");
    cluster.later(9);
    assert_eq!(cluster.step(), 0);
    cluster.later(1);
    assert_eq!(cluster.step(), 1);
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
        for _ in 0..2 {
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
        let service = ServiceInstance {
            node: "n1".into(),
            id: format!("_nomad-task-{}-t-web-http", alloc.id),
            service: "web".into(),
            alloc_id: alloc.id.clone(),
            ..ServiceInstance::default()
        };
        let check = Check {
            node: "n1".into(),
            check_id: alloc.id.clone(),
            status: CHECK_CRITICAL.into(),
            service_id: service.id.clone(),
            ..Check::default()
        };
        let change = CatalogChange {
            node: "n1".into(),
            services: vec![service],
            checks: vec![check],
            ..CatalogChange::default()
        };
        cluster.apply(Command::ChangeCatalog { change });
    }
    cluster.set_drain("n1", Some(HOUR));
    assert_eq!(cluster.step(), 2);
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
    let stop = |id: &str| Command::MigrateAllocs {
        alloc_ids: vec![id.to_owned()],
        trigger: TRIGGER_ALLOC_STOP.into(),
    };
    let reply = cluster.apply(stop(&old[0])).reply;
    assert!(matches!(reply, Ok(Reply::Evaluated { .. })), "{reply:?}");
    cluster.settle();
    let new = cluster.ids_of("web");
    assert!(new.len() == 2 && !new.contains(&old[0]) && new.contains(&old[1]));
    let again = cluster.apply(stop(&old[0])).reply;
    assert_eq!(again, Err(Refusal::AllocStopped(old[0].clone())));
}
