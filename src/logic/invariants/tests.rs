//! Random histories keep all invariants, and the invariants notice what is wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    CHECK_CRITICAL, CHECK_PASSING, CLIENT_UNKNOWN, CatalogChange, Check, EVAL_BLOCKED, Evaluation,
    NODE_DISCONNECTED, NODE_DOWN, ServiceInstance,
};
use crate::schedule::tests::cluster::{Cluster, on_port, service};
use crate::schedule::tests::random::{cases, heal, histories, play};
use crate::state::{Command, Dump};

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn every_history_is_safe_and_heals(history in histories()) {
        let mut cluster = play(&history);
        heal(&mut cluster);
        if let Err(broken) = check_liveness(&cluster.store) {
            prop_assert!(false, "{broken}");
        }
        let pending = cluster.store.pending_evals().count();
        prop_assert_eq!(pending, 0, "nothing is left to be looked at");
        let index = cluster.store.index();
        cluster.wait(1_000_000);
        prop_assert_eq!(cluster.store.index(), index, "a cluster at rest writes nothing");
    }
}

/// A store with two instances on a port each, after something went wrong in its rows.
fn spoilt(spoil: impl FnOnce(&mut Dump)) -> Result<(), &'static str> {
    let mut cluster = Cluster::of(2);
    cluster.run(&on_port(&service("web", 2), 8080));
    cluster.apply(Command::ChangeCatalog {
        change: CatalogChange {
            node: "n1".into(),
            services: vec![ServiceInstance {
                id: "web".into(),
                ..ServiceInstance::default()
            }],
            checks: vec![Check {
                check_id: "c".into(),
                service_id: "web".into(),
                ..Check::default()
            }],
            ..CatalogChange::default()
        },
    });
    let mut dump = cluster.store.dump();
    spoil(&mut dump);
    check(&Store::restore(dump)).map_err(|broken| broken.id)
}

#[test]
fn a_store_in_order_breaks_nothing() {
    assert_eq!(spoilt(|_| {}), Ok(()));
}

#[test]
fn spoilt_rows_are_noticed() {
    let same_name = spoilt(|dump| {
        let name = dump.allocs[0].name.clone();
        Arc::make_mut(&mut dump.allocs[1]).name = name;
    });
    assert_eq!(same_name, Err("one-live-allocation-per-name"));
    let same_port = spoilt(|dump| {
        let node = dump.allocs[0].node_id.clone();
        Arc::make_mut(&mut dump.allocs[1]).node_id = node;
    });
    assert_eq!(same_port, Err("no-port-twice-on-a-node"));
    let too_big = spoilt(|dump| Arc::make_mut(&mut dump.allocs[0]).resources.cpu = 99_000);
    assert_eq!(too_big, Err("no-node-overcommitted"));
    let orphan = spoilt(|dump| dump.services.clear());
    assert_eq!(orphan, Err("checks-belong-to-services"));
    let blocked = spoilt(|dump| {
        for id in ["a", "b"] {
            dump.evals.push(Arc::new(Evaluation {
                id: id.into(),
                job_id: "web".into(),
                status: EVAL_BLOCKED.into(),
                ..Evaluation::default()
            }));
        }
    });
    assert_eq!(blocked, Err("one-blocked-evaluation-per-job"));
    let silent = spoilt(|dump| {
        for node in &mut dump.nodes {
            Arc::make_mut(node).status = NODE_DOWN.into();
        }
    });
    assert_eq!(silent, Err("silent-nodes-serve-nothing"));
    let critical = |dump: &mut Dump| {
        for check in &mut dump.checks {
            Arc::make_mut(check).status = CHECK_CRITICAL.into();
        }
    };
    let unknown = spoilt(|dump| {
        Arc::make_mut(&mut dump.allocs[0]).client_status = CLIENT_UNKNOWN.into();
    });
    assert_eq!(unknown, Err("unknown-means-disconnected"));
    let unasked = spoilt(|dump| {
        critical(dump);
        for node in &mut dump.nodes {
            Arc::make_mut(node).status = NODE_DISCONNECTED.into();
        }
    });
    assert_eq!(unasked, Err("unknown-means-disconnected"));
    let unseen = spoilt(|dump| {
        critical(dump);
        for node in &mut dump.nodes {
            Arc::make_mut(node).status = NODE_DOWN.into();
        }
    });
    assert_eq!(unseen, Err("lost-is-looked-at"));
    let stranger = spoilt(|dump| {
        let next = dump.allocs[1].id.clone();
        Arc::make_mut(&mut dump.allocs[0]).next_allocation = next;
    });
    assert_eq!(stranger, Err("successors-know-their-predecessors"));
    let nobody = spoilt(|dump| dump.allocs_said.push(("n9".into(), 1)));
    assert_eq!(nobody, Err("serials-are-of-nodes"));
    let early = spoilt(|dump| Arc::make_mut(&mut dump.allocs[0]).modify_index = 9_999);
    assert_eq!(early, Err("nothing-from-the-future"));
}

#[test]
fn servers_that_differ_at_the_same_index_are_noticed() {
    let one = Cluster::of(2);
    let mut two = one.clone();
    let stores = |two: &Cluster| [one.store.clone(), two.store.clone()];
    assert_eq!(check_list(REPLICAS, &stores(&two)[..]), Ok(()));
    two.eligible("n1", false);
    assert_eq!(
        check_list(REPLICAS, &stores(&two)[..]),
        Ok(()),
        "one is behind"
    );
    let mut dump = two.store.dump();
    dump.index = one.store.index();
    two.store = Store::restore(dump);
    let broken = check_list(REPLICAS, &stores(&two)[..]).unwrap_err();
    assert_eq!(broken.id, "same-index-same-state");
}

#[test]
fn too_few_too_many_and_unwanted_instances_are_noticed() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 2));
    assert_eq!(check_liveness(&cluster.store), Ok(()));
    let node = cluster.nodes_of("web")[0].clone();
    cluster.down(&node);
    let broken = check_liveness(&cluster.store).unwrap_err();
    assert_eq!(broken.id, "desired-count-held");
    assert_eq!(
        broken.detail,
        "web.g has 1 running of 2 live ones, and wants 2"
    );
    cluster.settle();
    assert_eq!(check_liveness(&cluster.store), Ok(()));
    cluster.stop("web", true);
    let broken = check_liveness(&cluster.store).unwrap_err();
    assert_eq!(broken.id, "nothing-left-of-stopped-jobs");
}

#[test]
fn a_route_to_an_instance_that_fails_its_check_is_noticed() {
    let view = |status: &str| {
        let mut cluster = Cluster::of(1);
        cluster.apply(Command::ChangeCatalog {
            change: CatalogChange {
                node: "n1".into(),
                services: vec![ServiceInstance {
                    id: "web-1".into(),
                    service: "web".into(),
                    port: 8080,
                    tags: vec!["urlprefix-/web".into()],
                    ..ServiceInstance::default()
                }],
                checks: vec![Check {
                    check_id: "c".into(),
                    service_id: "web-1".into(),
                    status: status.into(),
                    ..Check::default()
                }],
                ..CatalogChange::default()
            },
        });
        View::new(cluster.store.catalog("dc1"))
    };
    let table = Table::new(&view(CHECK_PASSING), "urlprefix-");
    assert!(!table.is_empty());
    let mut pair = (view(CHECK_PASSING), table);
    assert_eq!(check_list(ROUTING, &pair), Ok(()));
    pair.0 = view(CHECK_CRITICAL);
    let broken = check_list(ROUTING, &pair).unwrap_err();
    assert_eq!(
        broken.detail,
        "/web leads to web at 10.0.0.1:8080, which doesn't"
    );
}

#[test]
fn what_was_placed_while_there_was_room_may_stay_when_there_is_less() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 2));
    let before = cluster.ids_of("web");
    cluster.resize("n1", 300);
    cluster.settle();
    assert_eq!(cluster.ids_of("web"), before);
    cluster.run(&service("api", 1));
    assert!(cluster.live("api").is_empty());
    // Something that was placed later doesn't fit.
    let mut dump = cluster.store.dump();
    let late = Allocation {
        id: "late".into(),
        name: "web.g[2]".into(),
        create_index: dump.index,
        task_resources: std::collections::BTreeMap::new(),
        ..(*cluster.live("web")[0]).clone()
    };
    dump.allocs.push(late.into());
    let broken = check(&Store::restore(dump)).unwrap_err();
    assert_eq!(broken.id, "no-node-overcommitted");
}

#[test]
fn an_allocation_too_many_is_noticed() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    let twin = Allocation {
        id: "twin".into(),
        ..(*cluster.only("web")).clone()
    };
    let mut dump = cluster.store.dump();
    dump.allocs.push(twin.into());
    let broken = check(&Store::restore(dump)).unwrap_err();
    assert_eq!(broken.id, "one-live-allocation-per-name");
    assert!(broken.to_string().contains("web.g[0] is both"));
}
