//! Nodes that are lost and come back.

use super::cluster::{Cluster, job, memory, service};
use crate::catalog::View;
use crate::model::{
    CHECK_PASSING, CLIENT_LOST, CLIENT_RUNNING, CatalogChange, Check, JOB_BATCH, JOB_SYSTEM,
    NODE_DOWN, ServiceInstance, TRIGGER_NODE_UPDATE,
};
use crate::state::Command;

fn passing(cluster: &Cluster) -> usize {
    let view = View::new(cluster.store.catalog("dc1"));
    let instances = view.instances("web");
    instances.iter().filter(|it| it.passing()).count()
}

/// What the agent of `node` says of a service on it.
fn offer(cluster: &mut Cluster, node: &str) {
    let service = ServiceInstance {
        id: "web-1".into(),
        service: "web".into(),
        port: 80,
        ..ServiceInstance::default()
    };
    let check = Check {
        check_id: "c1".into(),
        service_id: "web-1".into(),
        service_name: "web".into(),
        status: CHECK_PASSING.into(),
        ..Check::default()
    };
    let change = CatalogChange {
        node: node.to_owned(),
        services: vec![service],
        checks: vec![check],
        ..CatalogChange::default()
    };
    cluster.apply(Command::ChangeCatalog { change });
}

#[test]
fn all_that_follows_from_a_lost_node_follows_in_one_entry() {
    let mut cluster = Cluster::of(3);
    for kind in ["service", JOB_BATCH, JOB_SYSTEM] {
        cluster.run(&job(kind, kind, 3));
    }
    cluster.run(&service("web", 3));
    cluster.stop("web", false);
    cluster.evaluate_all();
    offer(&mut cluster, "n1");
    assert_eq!(passing(&cluster), 1);
    let node = cluster.node("n1");
    let outcome = cluster.apply(Command::SetNodeStatus {
        node_id: node.id.clone(),
        status: NODE_DOWN.into(),
        description: "no heartbeat".into(),
    });
    assert_eq!(cluster.node("n1").status, NODE_DOWN);
    assert_eq!(passing(&cluster), 0);
    let mut woken: Vec<_> = outcome
        .pending
        .iter()
        .map(|it| it.job_id.as_str())
        .collect();
    woken.sort_unstable();
    assert_eq!(woken, [JOB_BATCH, "service", JOB_SYSTEM]);
    for eval in &outcome.pending {
        assert_eq!(eval.triggered_by, TRIGGER_NODE_UPDATE);
        assert_eq!(eval.node_id, node.id);
    }
    // What was asked to stop there can't tell any more that it did.
    let mut stopping = cluster.store.allocs_of_job("web");
    assert!(stopping.any(|alloc| alloc.client_status == CLIENT_LOST));
}

/// Whether the instance of a lost node runs on when the node is back, by what happened meanwhile.
#[test]
fn what_a_node_still_runs_when_it_is_back_is_kept_unless_it_was_replaced_or_isnt_wanted() {
    type Meanwhile = fn(&mut Cluster);
    let cases: [(&str, usize, Meanwhile, bool); 6] = [
        ("nobody looked", 2, |_| {}, true),
        ("it was replaced", 2, Cluster::settle, false),
        ("there was no room to replace it", 1, Cluster::settle, true),
        (
            "the job was stopped",
            1,
            |cluster| {
                cluster.stop("web", false);
                cluster.settle();
            },
            false,
        ),
        (
            "the job was forgotten",
            1,
            |cluster| {
                cluster.stop("web", true);
                cluster.settle();
            },
            false,
        ),
        (
            "fewer are wanted",
            1,
            |cluster| {
                cluster.run(&memory(&service("web", 0), 3_000));
            },
            false,
        ),
    ];
    for (case, nodes, meanwhile, kept) in cases {
        let mut cluster = Cluster::of(nodes);
        cluster.run(&memory(&service("web", 1), 3_000));
        let alloc = cluster.only("web");
        cluster.down(&alloc.node_name);
        meanwhile(&mut cluster);
        cluster.up(&alloc.node_name);
        // It says that it still runs it.
        cluster.report(&alloc.id, CLIENT_RUNNING);
        cluster.settle();
        let now = cluster.store.alloc(&alloc.id).expect("allocation");
        assert_eq!(!now.terminal(), kept, "{case}");
        assert!(cluster.live("web").len() <= 1, "{case}");
        let usage = cluster.store.usage(&alloc.node_id);
        assert_eq!(usage.memory_mb > 0, kept, "{case}");
    }
}

#[test]
fn when_all_nodes_go_silent_at_once_and_come_back_everything_runs_on() {
    let mut cluster = Cluster::of(3);
    for kind in ["service", JOB_BATCH] {
        cluster.run(&job(kind, kind, 3));
    }
    let before = ["service", JOB_BATCH].map(|id| cluster.ids_of(id));
    for node in ["n1", "n2", "n3"] {
        cluster.down(node);
    }
    cluster.settle();
    let summary = cluster
        .store
        .job_summary(cluster.store.job("service").expect("job"));
    assert_eq!(summary.summary["g"].lost, 3);
    for node in ["n2", "n1", "n3"] {
        cluster.up(node);
    }
    cluster.settle();
    assert_eq!(["service", JOB_BATCH].map(|id| cluster.ids_of(id)), before);
}

#[test]
fn a_node_that_is_eligible_again_takes_what_waited() {
    let mut cluster = Cluster::of(1);
    cluster.eligible("n1", false);
    cluster.run(&service("web", 1));
    assert!(cluster.live("web").is_empty());
    cluster.eligible("n1", true);
    cluster.settle();
    assert_eq!(cluster.nodes_of("web"), ["n1"]);
}
