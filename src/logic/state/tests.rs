//! How entries change the state.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::model::{
    CHECK_CRITICAL, CHECK_PASSING, CLIENT_COMPLETE, CLIENT_LOST, CatalogChange, EVAL_COMPLETE,
    JOB_BATCH, JOB_DEAD, JOB_RUNNING, SERF_HEALTH,
};
use crate::schedule::tests::cluster::{Cluster, but, image, job, memory, service};
use crate::schedule::tests::random::{cases, histories, play};

#[test]
fn a_checked_registration_needs_the_right_index() {
    let mut cluster = Cluster::of(1);
    let web = service("web", 1);
    let absent = cluster.submit(&web, Some(9));
    assert_eq!(absent, Err(Refusal::NoJobToCheck { asked: 9 }));
    let Ok(Reply::Evaluated {
        job_modify_index, ..
    }) = cluster.submit(&web, Some(0))
    else {
        panic!("refused")
    };
    assert_eq!(cluster.submit(&web, Some(0)), Err(Refusal::JobExists));
    let (asked, actual) = (job_modify_index + 1, job_modify_index);
    let changed = cluster.submit(&web, Some(asked));
    assert_eq!(changed, Err(Refusal::JobChanged { asked, actual }));
    assert_eq!(changed.unwrap_err().http_status(), 409);
    cluster.settle();
    // A change of status isn't a change of the job.
    assert_eq!(cluster.store.job("web").unwrap().status, JOB_RUNNING);
    assert!(cluster.submit(&image(&web, "web:2"), Some(actual)).is_ok());
    assert_eq!(cluster.store.job("web").unwrap().version, 1);
}

/// A job whose service has this route.
fn routed(name: &str, tag: &str) -> Job {
    let mut job = service(name, 1);
    job.task_groups[0].tasks[0].services = vec![crate::model::Service {
        name: name.to_owned(),
        tags: vec![tag.to_owned()],
        ..crate::model::Service::default()
    }];
    job
}

#[test]
fn no_job_takes_over_another_ones_route() {
    let mut cluster = Cluster::of(1);
    let shop = routed("shop", "urlprefix-mysite.com/");
    assert!(cluster.submit(&shop, None).is_ok());
    assert!(cluster.submit(&image(&shop, "shop:2"), None).is_ok());
    let blog = routed("blog", "urlprefix-MySite.com:80/ strip=/x");
    let refused = cluster.submit(&blog, None).unwrap_err();
    assert_eq!(refused.http_status(), 409);
    assert_eq!(
        refused.to_string(),
        "the route \"mysite.com:80/\" of service \"blog\" belongs to service \"shop\" of job \
         \"shop\": use another host or path, stop that job first, or add weight=0.5 to the tag \
         if both are to share it"
    );
    assert!(cluster.store.job("blog").is_none());
    let sharing = routed("blog", "urlprefix-mysite.com/ weight=0.5");
    assert!(cluster.submit(&sharing, None).is_ok());
}

#[test]
fn what_isnt_there_is_refused() {
    let mut cluster = Cluster::new();
    let id = || "none".to_owned();
    for (command, refusal) in [
        (
            Command::DeregisterJob {
                job_id: id(),
                purge: false,
            },
            Refusal::NoSuchJob(id()),
        ),
        (
            Command::EvaluateJob { job_id: id() },
            Refusal::NoSuchJob(id()),
        ),
        (
            Command::SetNodeEligibility {
                node_id: id(),
                eligible: true,
            },
            Refusal::NoSuchNode(id()),
        ),
    ] {
        let outcome = cluster.apply(command);
        assert_eq!(outcome.reply, Err(refusal));
        assert!(outcome.pending.is_empty());
    }
}

#[test]
fn a_node_is_only_itself() {
    let mut cluster = Cluster::new();
    cluster.join(|node| node.secret_id = "s3cret".into());
    let mut imposter = (*cluster.node("n1")).clone();
    imposter.secret_id = "guess".into();
    let command = Command::RegisterNode {
        node: Box::new(imposter),
        catalog: CatalogNode::default(),
    };
    assert_eq!(cluster.apply(command).reply, Err(Refusal::WrongSecret));
}

#[test]
fn old_entries_change_nothing() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 2));
    let before = cluster.store.clone();
    for entry in cluster.log.clone() {
        let index = entry.index;
        let outcome = cluster.store.apply(entry);
        assert_eq!(
            outcome,
            Outcome {
                index,
                reply: Ok(Reply::Done),
                pending: Vec::new()
            }
        );
    }
    assert_eq!(cluster.store, before);
}

#[test]
fn a_stop_answers_with_the_index_the_job_then_has() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    for _ in 0..2 {
        let stop = Command::DeregisterJob {
            job_id: "web".to_owned(),
            purge: false,
        };
        let Ok(Reply::Evaluated {
            job_modify_index, ..
        }) = cluster.apply(stop).reply
        else {
            panic!("refused")
        };
        let job = cluster.store.job("web").unwrap();
        assert_eq!(job.job_modify_index, job_modify_index);
    }
}

#[test]
fn a_node_nobody_reaches_is_critical_until_it_is_reached_or_down() {
    let mut cluster = Cluster::of(1);
    let node = cluster.store.nodes().next().unwrap().clone();
    let serf = |cluster: &Cluster| {
        let key = (node.name.clone(), SERF_HEALTH.to_owned());
        cluster.store.checks.get(&key).unwrap().status.clone()
    };
    let reach = |cluster: &mut Cluster, reachable| {
        let node = node.name.clone();
        cluster.apply(Command::SetReachable { node, reachable });
    };
    assert_eq!(serf(&cluster), CHECK_PASSING);
    reach(&mut cluster, false);
    assert_eq!(serf(&cluster), CHECK_CRITICAL);
    reach(&mut cluster, true);
    assert_eq!(serf(&cluster), CHECK_PASSING);
    reach(&mut cluster, false);
    cluster.down(&node.name);
    reach(&mut cluster, true);
    assert_eq!(
        serf(&cluster),
        CHECK_CRITICAL,
        "it has to say what it offers first"
    );
}

#[test]
fn a_restored_state_is_the_saved_one_at_a_later_index() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    let saved = cluster.store.dump();
    cluster.run(&service("db", 1));
    let before = cluster.store.index();
    let restore = Command::Restore {
        id: String::new(),
        staged: 0,
        dump: Box::new(saved.clone()),
    };
    assert_eq!(cluster.apply(restore).reply, Ok(Reply::Done));
    let store = &cluster.store;
    assert_eq!(store.index(), before + 1);
    assert!(store.job("db").is_none());
    let mut restored = store.dump();
    assert_eq!(restored.allocs, saved.allocs);
    assert!(
        store
            .nodes()
            .all(|node| store.node_alloc_index(&node.id) > before),
        "clients look again"
    );
    (restored.index, restored.indexes) = (saved.index, saved.indexes.clone());
    assert_eq!(restored.jobs, saved.jobs);
}

#[test]
fn six_versions_of_a_job_are_kept() {
    let mut cluster = Cluster::of(1);
    for version in 0..9 {
        cluster.run(&image(&service("web", 1), &format!("web:{version}")));
    }
    let versions = cluster.store.job_versions("web");
    let versions: Vec<_> = versions.iter().map(|job| job.version).collect();
    assert_eq!(versions, [8, 7, 6, 5, 4, 3]);
}

#[test]
fn the_summary_counts_by_group_and_state() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 3));
    let failing = cluster.live("web")[0].clone();
    cluster.fail(&failing);
    cluster.down(&cluster.live("web")[0].node_name.clone());
    cluster.evaluate_all();
    let job = cluster.store.job("web").unwrap().clone();
    let sum = &cluster.store.job_summary(&job).summary["g"];
    assert_eq!(sum.failed, 1);
    assert_eq!(sum.lost, sum.starting, "each lost one has a successor");
    assert_eq!(sum.lost + sum.running, 2);
}

#[test]
fn a_registration_that_says_nothing_new_wakes_nobody() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 2));
    cluster.run(&memory(&service("big", 1), 99_000));
    let mut node = (*cluster.node("n1")).clone();
    node.status_updated_at = 5;
    cluster.register(node.clone());
    assert_eq!(cluster.due().len(), 0);
    node.resources.memory_mb *= 2;
    cluster.register(node);
    assert!(cluster.due().len() >= 2, "big waits for room, web is there");
}

fn change(node: &str) -> CatalogChange {
    CatalogChange {
        node: node.into(),
        ..CatalogChange::default()
    }
}

fn instance(id: &str) -> ServiceInstance {
    ServiceInstance {
        id: id.into(),
        service: "web".into(),
        ..ServiceInstance::default()
    }
}

fn check(id: &str, service: &str, status: &str) -> Check {
    Check {
        check_id: id.into(),
        service_id: service.into(),
        status: status.into(),
        ..Check::default()
    }
}

fn checks(cluster: &Cluster) -> Vec<(String, String)> {
    let checks = cluster.store.checks_on("n1");
    checks
        .map(|row| (row.check_id.clone(), row.status.clone()))
        .collect()
}

#[test]
fn the_catalog_holds_what_agents_say_of_their_services() {
    let mut cluster = Cluster::of(1);
    let serf = (SERF_HEALTH.to_owned(), CHECK_PASSING.to_owned());
    let row = |id: &str, status: &str| (id.to_owned(), status.to_owned());
    let say = |cluster: &mut Cluster, change| {
        cluster.apply(Command::ChangeCatalog { change });
    };
    say(
        &mut cluster,
        CatalogChange {
            services: vec![instance("web-1"), instance("web-2")],
            checks: vec![
                check("c1", "web-1", CHECK_CRITICAL),
                check("c2", "web-2", CHECK_PASSING),
                check("of-nobody", "web-3", CHECK_PASSING),
                check(SERF_HEALTH, "", CHECK_CRITICAL),
            ],
            ..change("n1")
        },
    );
    let all = [
        row("c1", CHECK_CRITICAL),
        row("c2", CHECK_PASSING),
        serf.clone(),
    ];
    assert_eq!(checks(&cluster), all);
    // The same again is no news.
    let index = cluster.store.index_of(Topic::Catalog);
    say(
        &mut cluster,
        CatalogChange {
            services: vec![instance("web-1")],
            ..change("n1")
        },
    );
    assert_eq!(cluster.store.index_of(Topic::Catalog), index);
    say(
        &mut cluster,
        CatalogChange {
            remove_services: vec!["web-1".into()],
            ..change("n1")
        },
    );
    assert_eq!(checks(&cluster), [row("c2", CHECK_PASSING), serf.clone()]);
    // What an agent doesn't mention when it tells everything is gone.
    say(
        &mut cluster,
        CatalogChange {
            whole: true,
            services: vec![instance("web-9")],
            ..change("n1")
        },
    );
    assert_eq!(checks(&cluster), [serf]);
    let ids: Vec<_> = cluster.store.services().map(|row| row.id.clone()).collect();
    assert_eq!(ids, ["web-9"]);
    let unknown = CatalogChange {
        services: vec![instance("web-1")],
        ..change("n7")
    };
    say(&mut cluster, unknown);
    assert_eq!(cluster.store.services().count(), 1);
}

fn collect(cluster: &mut Cluster) {
    let before = cluster.now;
    cluster.apply(Command::CollectGarbage {
        evals_before: before,
        jobs_before: before,
        nodes_before: before,
    });
}

#[test]
fn garbage_is_what_ended_and_nobody_asks_for() {
    let mut cluster = Cluster::of(3);
    let web = service("web", 2);
    let web = but(&web, |group| group.count = Some(3));
    cluster.run(&web);
    cluster.run(&image(&web, "web:2"));
    cluster.run(&service("idle", 0));
    cluster.run(&service("gone", 2));
    cluster.stop("gone", false);
    cluster.run(&job("sums", JOB_BATCH, 1));
    let sums = cluster.live("sums")[0].clone();
    cluster.report(&sums.id, CLIENT_COMPLETE);
    cluster.settle();
    let live = cluster.live("web");
    cluster.now = Time::from_secs(5_000);
    cluster.down("n3");
    cluster.settle();
    let lost: Vec<_> = cluster
        .store
        .allocs()
        .filter(|alloc| alloc.client_status == CLIENT_LOST)
        .map(|alloc| alloc.id.clone())
        .collect();
    cluster.now = Time::from_secs(4_000);
    collect(&mut cluster);
    assert!(cluster.store.job("gone").is_none());
    assert!(cluster.store.job("sums").is_none(), "it has done its work");
    assert_eq!(
        cluster.store.job("idle").unwrap().status,
        JOB_DEAD,
        "it may be scaled up again"
    );
    assert_eq!(cluster.store.allocs_of_job("gone").count(), 0);
    assert_eq!(cluster.store.evals_of_job("gone").count(), 0);
    assert_eq!(lost.len(), 1);
    for alloc in live {
        assert!(cluster.store.alloc(&alloc.id).is_some());
        assert!(
            cluster.store.eval(&alloc.eval_id).is_some(),
            "its evaluation explains it"
        );
    }
    let kept = lost.iter().all(|id| cluster.store.alloc(id).is_some());
    assert!(kept, "lost a moment ago");
    cluster.now = Time::from_secs(9_000);
    collect(&mut cluster);
    assert_eq!(cluster.store.nodes().count(), 2);
    assert!(cluster.store.checks_on("n3").next().is_none());
    assert_eq!(cluster.live("web").len(), 3);
    let ended = cluster
        .store
        .evals()
        .filter(|eval| eval.status == EVAL_COMPLETE);
    let referred = cluster.live("web").len();
    assert!(ended.count() <= referred);
}

#[test]
fn a_failed_allocation_that_wont_be_replaced_is_kept() {
    let mut cluster = Cluster::of(1);
    cluster.run(&but(&service("web", 1), |group| {
        group.reschedule_policy.as_mut().unwrap().unlimited = false;
    }));
    let failed = cluster.only("web");
    cluster.fail(&failed);
    cluster.wait(100_000);
    collect(&mut cluster);
    cluster.evaluate_again("web");
    assert_eq!(
        cluster.store.allocs_of_job("web").count(),
        1,
        "or its place would be filled"
    );
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_restored_dump_is_the_same_store(history in histories()) {
        let cluster = play(&history);
        let value = serde_json::to_value(cluster.store.dump()).unwrap();
        let dump: Dump = serde_json::from_value(value).unwrap();
        prop_assert!(Store::restore(dump) == cluster.store);
    }

    #[test]
    fn every_server_that_applies_the_log_holds_the_same(history in histories()) {
        let cluster = play(&history);
        let mut other = Store::default();
        for entry in &cluster.log {
            other.apply(entry.clone());
            other.apply(entry.clone());
        }
        prop_assert!(other == cluster.store);
    }
}

/// Found by the simulator: a machine that lost power and came back had a route to its dead
/// container until its agent had told what it offers now.
#[test]
fn a_node_that_comes_back_is_routed_to_only_when_it_has_said_what_it_offers() {
    let mut cluster = Cluster::of(1);
    cluster.apply(Command::ChangeCatalog {
        change: CatalogChange {
            services: vec![instance("web-1")],
            checks: vec![check("c1", "web-1", CHECK_PASSING)],
            ..change("n1")
        },
    });
    let passing = |cluster: &Cluster| {
        let view = crate::catalog::View::new(cluster.store.catalog("dc1"));
        view.instances("web")
            .iter()
            .filter(|instance| instance.passing())
            .count()
    };
    assert_eq!(passing(&cluster), 1);
    cluster.down("n1");
    assert_eq!(passing(&cluster), 0);
    cluster.up("n1");
    assert_eq!(passing(&cluster), 0);
    cluster.apply(Command::ChangeCatalog {
        change: CatalogChange {
            whole: true,
            services: vec![instance("web-2")],
            checks: vec![check("c2", "web-2", CHECK_PASSING)],
            ..change("n1")
        },
    });
    assert_eq!(passing(&cluster), 1);
}
