//! Stories of a cluster: what is placed where, and what follows when something happens to it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

pub(crate) mod cluster;
mod disconnect;
mod lost;
pub(crate) mod random;
pub(crate) mod rolling;

use std::collections::BTreeSet;

use cluster::{Cluster, but, image, job, memory, on_port, service};

use crate::duration::{HOUR, SECOND};
use crate::model::{
    CHECK_CRITICAL, CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING,
    Constraint, EVAL_BLOCKED, EVAL_CANCELLED, EVAL_COMPLETE, EVAL_PENDING, JOB_BATCH, JOB_DEAD,
    JOB_PENDING, JOB_RUNNING, JOB_SYSTEM, ReschedulePolicy, SERF_HEALTH, TRIGGER_ALLOC_FAILURE,
    TaskEvent, TaskState,
};
use crate::schedule::reschedule::EVENT_PORT_IN_USE;
use crate::schedule::verify::verify;
use crate::state::{Command, Reply};
use crate::time::Time;

fn distinct_nodes(cluster: &Cluster, job_id: &str) -> usize {
    let nodes: BTreeSet<_> = cluster.nodes_of(job_id).into_iter().collect();
    nodes.len()
}

fn constraint(left: &str, operand: &str, right: &str) -> Constraint {
    Constraint {
        left: left.into(),
        operand: operand.into(),
        right: right.into(),
    }
}

#[test]
fn two_instances_go_to_two_of_three_nodes() {
    let mut cluster = Cluster::of(3);
    let eval = cluster.run(&service("web", 2));
    assert_eq!(distinct_nodes(&cluster, "web"), 2);
    let live = cluster.live("web");
    assert_eq!(live[0].name, "web.g[0]");
    assert_eq!(live[1].name, "web.g[1]");
    assert_eq!(live[0].eval_id, eval);
    assert_eq!(live[0].metrics.nodes_evaluated, 3);
    assert_eq!(cluster.eval(&eval).status, EVAL_COMPLETE);
    assert_eq!(cluster.eval(&eval).queued_allocations["g"], 0);
    assert_eq!(cluster.store.job("web").unwrap().status, JOB_RUNNING);
    for alloc in live {
        let (label, port) = alloc
            .ports()
            .next()
            .map(|(_, p)| (&p.label, p.value))
            .unwrap();
        assert_eq!(label, "http");
        assert!((20_000..=32_000).contains(&port));
    }
}

#[test]
fn a_greater_count_adds_and_a_smaller_one_stops_the_highest() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 2));
    let before = cluster.ids_of("web");
    cluster.run(&service("web", 5));
    assert_eq!(cluster.ids_of("web")[..2], before, "the first two stay");
    assert_eq!(cluster.live("web").len(), 5);
    cluster.run(&service("web", 1));
    assert_eq!(cluster.ids_of("web"), before[..1]);
    cluster.run(&service("web", 0));
    assert!(cluster.live("web").is_empty());
    assert_eq!(cluster.store.job("web").unwrap().status, JOB_DEAD);
    let held = cluster
        .store
        .nodes()
        .map(|node| cluster.store.usage(&node.id).cpu);
    assert_eq!(held.sum::<i64>(), 0);
}

#[test]
fn tags_and_checks_change_in_place() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 2));
    let before = cluster.live("web");
    cluster.run(&but(&service("web", 2), |group| {
        group.tasks[0].services[0].tags = vec!["urlprefix-/web".into()];
    }));
    let after = cluster.live("web");
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old.id, new.id);
        assert_eq!(new.client_status, CLIENT_RUNNING);
        assert_eq!(new.group().unwrap().tasks[0].services[0].tags.len(), 1);
        assert_eq!(new.job_version(), 1);
        assert!(
            new.alloc_modify_index > old.alloc_modify_index,
            "the node hears of it"
        );
        assert_eq!(old.task_resources, new.task_resources, "ports stay");
    }
}

#[test]
fn another_image_replaces() {
    let mut cluster = Cluster::of(3);
    let web = service("web", 2);
    cluster.run(&web);
    let before = cluster.live("web");
    cluster.run(&image(&web, "web:2"));
    let after = cluster.live("web");
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old.name, new.name);
        assert_eq!(new.previous_allocation, old.id);
        assert_eq!(new.reschedule_tracker, None);
        let old = cluster.store.alloc(&old.id).unwrap();
        assert_eq!(old.next_allocation, new.id);
        assert_eq!(old.client_status, CLIENT_COMPLETE);
    }
}

#[test]
fn a_replacement_may_take_its_predecessors_room_and_port() {
    let mut cluster = Cluster::new();
    cluster.join(|node| node.resources.memory_mb = 300);
    let web = on_port(&service("web", 1), 8080);
    cluster.run(&web);
    let before = cluster.only("web");
    cluster.run(&image(&web, "web:2"));
    assert_eq!(cluster.only("web").previous_allocation, before.id);
}

#[test]
fn nothing_stops_before_its_replacement_has_a_place() {
    for kind in ["service", JOB_SYSTEM] {
        let mut cluster = Cluster::of(1);
        let web = job("web", kind, 1);
        cluster.run(&web);
        let before = cluster.only("web");
        let too_big = memory(&web, 64_000);
        let eval = cluster.run(&too_big);
        let after = cluster.only("web");
        assert_eq!(after.id, before.id, "{kind}");
        assert_eq!(after.client_status, CLIENT_RUNNING);
        assert_eq!(cluster.eval(&eval).queued_allocations["g"], 1);
    }
}

#[test]
fn a_replacement_isnt_held_up_by_one_that_doesnt_fit() {
    let mut cluster = Cluster::of(2);
    let web = memory(&service("web", 2), 3_000);
    cluster.run(&web);
    cluster.down("n1");
    cluster.settle();
    // One has no other place; the other one is replaced where it is.
    cluster.run(&image(&web, "web:2"));
    let versions = |cluster: &Cluster| -> Vec<_> {
        let live = cluster.live("web");
        let version = |node: &str| live.iter().find(|alloc| alloc.node_name == node);
        ["n1", "n2"]
            .map(|node| version(node).map(|alloc| alloc.job_version()))
            .into()
    };
    assert_eq!(versions(&cluster), [Some(0), Some(1)]);
    cluster.up("n1");
    cluster.settle();
    assert_eq!(versions(&cluster), [Some(1), Some(1)]);
}

#[test]
fn a_stopped_job_stops_and_can_be_run_again() {
    let mut cluster = Cluster::of(3);
    let web = service("web", 2);
    cluster.run(&web);
    cluster.stop("web", false);
    cluster.settle();
    assert!(cluster.live("web").is_empty());
    let stopped = cluster.store.job("web").unwrap();
    assert_eq!((stopped.status.as_str(), stopped.version), (JOB_DEAD, 1));
    cluster.run(&web);
    assert_eq!(cluster.live("web").len(), 2);
    assert_eq!(cluster.store.job("web").unwrap().version, 2);
}

#[test]
fn a_purged_job_is_forgotten_and_its_instances_stop() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 2));
    cluster.stop("web", true);
    cluster.settle();
    assert!(cluster.store.job("web").is_none());
    assert!(cluster.live("web").is_empty());
    assert!(cluster.store.job_versions("web").is_empty());
}

#[test]
fn the_same_job_again_changes_nothing() {
    let mut cluster = Cluster::of(3);
    let web = service("web", 2);
    cluster.run(&web);
    let (before, job) = (
        cluster.live("web"),
        cluster.store.job("web").unwrap().clone(),
    );
    let eval = cluster.run(&web);
    assert_eq!(cluster.live("web"), before);
    let again = cluster.store.job("web").unwrap();
    assert_eq!(again.version, 0);
    assert_eq!(again.job_modify_index, job.job_modify_index);
    assert_eq!(cluster.eval(&eval).status, EVAL_COMPLETE);
}

#[test]
fn a_group_that_is_gone_from_the_job_stops() {
    let mut cluster = Cluster::of(2);
    let mut web = service("web", 1);
    let mut other = web.task_groups[0].clone();
    other.name = "other".into();
    web.task_groups.push(other);
    cluster.run(&web);
    assert_eq!(cluster.live("web").len(), 2);
    cluster.run(&service("web", 1));
    assert_eq!(cluster.only("web").name, "web.g[0]");
}

#[test]
fn a_lost_nodes_instances_are_replaced_and_not_doubled_when_it_is_back() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 2));
    let lost = cluster.live("web")[0].clone();
    cluster.down(&lost.node_name);
    let serf = |cluster: &Cluster| {
        let mut checks = cluster.store.checks_on(&lost.node_name);
        checks
            .find(|check| check.check_id == SERF_HEALTH)
            .unwrap()
            .status
            .clone()
    };
    assert_eq!(serf(&cluster), CHECK_CRITICAL);
    cluster.settle();
    assert_eq!(
        cluster.store.alloc(&lost.id).unwrap().client_status,
        CLIENT_LOST
    );
    let live = cluster.live("web");
    assert_eq!(distinct_nodes(&cluster, "web"), 2);
    assert!(live.iter().all(|alloc| alloc.node_name != lost.node_name));
    assert_eq!(live[0].previous_allocation, lost.id);
    // The node is back, and still runs it: it is told to stop it.
    cluster.up(&lost.node_name);
    cluster.report(&lost.id, CLIENT_RUNNING);
    assert!(
        cluster.store.usage(&lost.node_id).cpu > 0,
        "it takes room until it has ended"
    );
    cluster.settle();
    assert_eq!(cluster.live("web"), live);
    assert_eq!(cluster.store.usage(&lost.node_id).cpu, 0);
}

#[test]
fn a_node_that_is_back_before_anybody_looked_keeps_its_instances() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 3));
    let before = cluster.live("web");
    cluster.down("n2");
    cluster.up("n2");
    cluster.settle();
    assert_eq!(cluster.live("web"), before);
}

#[test]
fn what_was_stopping_on_a_lost_node_is_lost_too() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    let alloc = cluster.only("web");
    // Told to stop, but lost before it can say that it did; and the other way round.
    for stop_first in [true, false] {
        let mut cluster = cluster.clone();
        if stop_first {
            cluster.stop("web", true);
            cluster.evaluate_all();
            cluster.down("n1");
        } else {
            cluster.down("n1");
            cluster.stop("web", true);
        }
        cluster.settle();
        assert_eq!(
            cluster.store.alloc(&alloc.id).unwrap().client_status,
            CLIENT_LOST
        );
    }
}

#[test]
fn a_plan_that_reaches_a_node_lost_meanwhile_is_made_good() {
    let mut cluster = Cluster::of(2);
    cluster.submit(&service("web", 1), None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let decision = cluster.decide(&snapshot, &eval);
    let node = decision.plan.places[0].node_name.clone();
    cluster.down(&node);
    assert!(!cluster.carry_out(decision));
    assert!(cluster.live("web").is_empty());
    cluster.settle();
    assert_ne!(cluster.only("web").node_name, node);
}

#[test]
fn a_failed_instance_is_replaced_elsewhere_after_its_delay() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 1));
    let failed = cluster.only("web");
    cluster.fail(&failed);
    cluster.settle();
    let row = cluster.store.alloc(&failed.id).unwrap().clone();
    let follow_up = cluster.eval(&row.follow_up_eval_id);
    assert_eq!(follow_up.status, EVAL_PENDING);
    assert_eq!(follow_up.triggered_by, TRIGGER_ALLOC_FAILURE);
    assert_eq!(follow_up.wait_until, Time(cluster.now.0 + 30 * SECOND));
    assert_eq!(cluster.store.job("web").unwrap().status, JOB_PENDING);
    cluster.wait(20);
    cluster.evaluate_again("web");
    assert!(cluster.live("web").is_empty(), "not before its time");
    let evals = cluster.store.evals().count();
    cluster.evaluate_again("web");
    assert_eq!(
        cluster.store.evals().count(),
        evals + 1,
        "one follow-up is enough"
    );
    cluster.wait(10);
    let replacement = cluster.only("web");
    assert_ne!(replacement.node_id, failed.node_id);
    assert_eq!(replacement.previous_allocation, failed.id);
    let tracker = replacement.reschedule_tracker.as_ref().unwrap();
    assert_eq!(tracker.events[0].prev_node_id, failed.node_id);
    assert_eq!(tracker.events[0].delay, 30 * SECOND);
    // The next failure waits twice as long.
    cluster.fail(&replacement);
    cluster.wait(59);
    assert!(cluster.live("web").is_empty());
    cluster.wait(1);
    let third = cluster.only("web");
    assert!(![&failed.node_id, &replacement.node_id].contains(&&third.node_id));
}

#[test]
fn a_corrected_job_doesnt_wait_for_the_delay_of_the_broken_one() {
    let mut cluster = Cluster::of(3);
    let never = ReschedulePolicy {
        attempts: 0,
        unlimited: false,
        ..ReschedulePolicy::default()
    };
    let web = but(&service("web", 1), |group| {
        group.reschedule_policy = Some(never);
    });
    for job in [web, service("api", 1)] {
        cluster.run(&job);
        let failed = cluster.only(&job.id);
        cluster.fail(&failed);
        cluster.settle();
        assert!(cluster.live(&job.id).is_empty());
        cluster.run(&image(&job, "web:2"));
        let replacement = cluster.only(&job.id);
        assert_eq!(replacement.previous_allocation, failed.id);
        assert_eq!(replacement.reschedule_tracker, None);
        cluster.wait(HOUR / SECOND);
        assert_eq!(
            cluster.only(&job.id).id,
            replacement.id,
            "the old delay is void"
        );
    }
}

#[test]
fn a_port_taken_on_the_host_is_tried_elsewhere_at_once_but_not_for_ever() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 1));
    let mut tries = 0;
    while let [alloc] = cluster.live("web").as_slice() {
        tries += 1;
        let event = TaskEvent {
            r#type: EVENT_PORT_IN_USE.into(),
            ..TaskEvent::default()
        };
        let state = TaskState {
            events: vec![event],
            ..TaskState::default()
        };
        cluster.apply(Command::ReportAllocs {
            node_id: alloc.node_id.clone(),
            serial: 0,
            reports: vec![crate::model::AllocReport {
                alloc_id: alloc.id.clone(),
                client_status: CLIENT_FAILED.into(),
                client_description: String::new(),
                task_states: [("t".to_owned(), state)].into(),
                health: None,
            }],
        });
        cluster.settle();
    }
    assert_eq!(tries, 4);
    cluster.wait(30);
    assert_eq!(cluster.live("web").len(), 1);
}

#[test]
fn late_reports_dont_bring_back_what_has_ended() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    let alloc = cluster.only("web");
    cluster.fail(&alloc);
    cluster.report(&alloc.id, CLIENT_RUNNING);
    assert_eq!(
        cluster.store.alloc(&alloc.id).unwrap().client_status,
        CLIENT_FAILED
    );
    let (index, evals) = (
        cluster.store.alloc(&alloc.id).unwrap().modify_index,
        cluster.due().len(),
    );
    cluster.fail(&alloc);
    assert_eq!(
        cluster.store.alloc(&alloc.id).unwrap().modify_index,
        index,
        "no news"
    );
    assert_eq!(cluster.due().len(), evals);
}

#[test]
fn a_port_asked_for_by_number_is_given_once_per_node() {
    let mut cluster = Cluster::of(2);
    let eval = cluster.run(&on_port(&service("web", 3), 8080));
    assert_eq!(distinct_nodes(&cluster, "web"), 2);
    let failure = &cluster.eval(&eval).failed_tg_allocs["g"];
    let dimension = "network: reserved port collision http=8080";
    assert_eq!(failure.dimension_exhausted[dimension], 2);
    assert_eq!(failure.nodes_exhausted, 2);
    assert_eq!(
        failure.reasons["n1"],
        "port 8080 (\"http\") is taken by another allocation"
    );
    cluster.join(|node| {
        node.used_ports.insert(8080);
    });
    cluster.settle();
    let waiting = cluster
        .store
        .evals()
        .find(|eval| eval.status == EVAL_BLOCKED)
        .unwrap();
    let reason = &waiting.failed_tg_allocs["g"].reasons["n3"];
    assert_eq!(
        reason,
        "port 8080 (\"http\") is taken by a program that is no allocation's, perhaps the agent's own edge"
    );
    cluster.join(|_| {});
    cluster.settle();
    assert_eq!(cluster.nodes_of("web").last().unwrap(), "n4");
}

#[test]
fn ports_chosen_for_a_job_are_free() {
    let mut cluster = Cluster::new();
    let free: BTreeSet<u16> = [20_000, 25_001, 31_999].into();
    cluster.join(|node| {
        node.used_ports = (20_000..=32_000)
            .filter(|port| !free.contains(port))
            .collect();
    });
    let eval = cluster.run(&service("web", 4));
    let live = cluster.live("web");
    let given: BTreeSet<u16> = live
        .iter()
        .flat_map(|alloc| {
            alloc
                .ports()
                .map(|(_, port)| port.value)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(given, free);
    let failure = &cluster.eval(&eval).failed_tg_allocs["g"];
    assert_eq!(
        failure.dimension_exhausted["network: dynamic port selection failed"],
        1
    );
    assert_eq!(
        failure.reasons["n1"],
        "all ports from 20000 to 32000 are taken"
    );
}

#[test]
fn too_much_memory_waits_for_a_bigger_node_and_says_so() {
    let mut cluster = Cluster::of(2);
    let big = memory(&service("big", 2), 10_000);
    let eval = cluster.run(&big);
    let eval = cluster.eval(&eval);
    let failure = &eval.failed_tg_allocs["g"];
    assert_eq!(failure.nodes_available["dc1"], 2);
    assert_eq!((failure.nodes_evaluated, failure.nodes_exhausted), (2, 2));
    assert_eq!(failure.dimension_exhausted["memory"], 2);
    assert_eq!(failure.coalesced_failures, 1);
    assert_eq!(
        failure.reasons["n2"],
        "needs 10000 MB of memory, 4096 of 4096 MB are free"
    );
    assert_eq!(eval.queued_allocations["g"], 2);
    let blocked = cluster.eval(&eval.blocked_eval);
    assert_eq!(blocked.status, EVAL_BLOCKED);
    assert_eq!(blocked.previous_eval, eval.id);
    let job = cluster.store.job("big").unwrap().clone();
    assert_eq!(job.status, JOB_PENDING);
    assert_eq!(cluster.store.job_summary(&job).summary["g"].queued, 2);
    cluster.join(|node| node.resources.memory_mb = 32_000);
    cluster.settle();
    assert_eq!(cluster.nodes_of("big"), ["n3", "n3"]);
    let job = cluster.store.job("big").unwrap().clone();
    let summary = &cluster.store.job_summary(&job).summary["g"];
    assert_eq!((summary.queued, summary.running), (0, 2));
    assert_eq!(cluster.eval(&blocked.id).status, EVAL_COMPLETE);
}

#[test]
fn what_waits_gets_the_room_that_others_leave() {
    let mut cluster = Cluster::of(1);
    let big = |id| memory(&service(id, 1), 4_000);
    cluster.run(&big("first"));
    cluster.run(&big("second"));
    assert!(cluster.live("second").is_empty());
    cluster.stop("first", false);
    cluster.evaluate_all();
    assert!(
        cluster.live("second").is_empty(),
        "not before the first has ended"
    );
    cluster.settle();
    assert_eq!(cluster.live("second").len(), 1);
}

#[test]
fn room_freed_while_a_scheduler_looks_isnt_missed() {
    let mut cluster = Cluster::of(1);
    let big = |id| memory(&service(id, 1), 4_000);
    cluster.run(&big("first"));
    cluster.submit(&big("second"), None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let decision = cluster.decide(&snapshot, &eval);
    assert!(decision.blocked.is_some());
    let first = cluster.only("first");
    cluster.report(&first.id, CLIENT_COMPLETE);
    cluster.stop("first", false);
    cluster.carry_out(decision);
    cluster.settle();
    assert_eq!(cluster.live("second").len(), 1);
}

#[test]
fn a_stopped_job_doesnt_wait_for_room_any_more() {
    let mut cluster = Cluster::of(1);
    let big = memory(&service("big", 1), 10_000);
    let eval = cluster.run(&big);
    let blocked = cluster.eval(&eval).blocked_eval.clone();
    cluster.stop("big", false);
    cluster.settle();
    assert_eq!(cluster.eval(&blocked).status, EVAL_CANCELLED);
    let job = cluster.store.job("big").unwrap().clone();
    assert_eq!(job.status, JOB_DEAD);
    assert_eq!(cluster.store.job_summary(&job).summary["g"].queued, 0);
}

#[test]
fn an_unknown_datacenter_has_no_nodes() {
    let mut cluster = Cluster::of(2);
    let mut web = service("web", 1);
    web.datacenters = vec!["dc9".into()];
    let eval = cluster.run(&web);
    let eval = cluster.eval(&eval);
    let failure = &eval.failed_tg_allocs["g"];
    assert_eq!(failure.nodes_available["dc9"], 0);
    assert_eq!(failure.nodes_evaluated, 0);
}

#[test]
fn constraints_and_drivers_filter_nodes() {
    let mut cluster = Cluster::of(2);
    cluster.join(|node| {
        node.attributes.insert("kernel.name".into(), "linux".into());
    });
    let mut web = service("web", 1);
    web.constraints = vec![constraint("${attr.kernel.name}", "=", "linux")];
    cluster.run(&web);
    let alloc = cluster.only("web");
    assert_eq!(alloc.node_name, "n3");
    assert_eq!(
        (alloc.metrics.nodes_evaluated, alloc.metrics.nodes_filtered),
        (3, 2)
    );
    assert_eq!(
        alloc.metrics.constraint_filtered["${attr.kernel.name} = linux"],
        2
    );

    let java = but(&service("java", 1), |group| {
        group.tasks[0].driver = "java".into();
    });
    let eval = cluster.run(&java);
    let failure = cluster.eval(&eval).failed_tg_allocs["g"].clone();
    assert_eq!(failure.constraint_filtered["missing drivers \"java\""], 3);
    assert!(failure.reasons["n1"].contains("the node doesn't know it"));
    // The driver turns up on a node that was there all along.
    let mut node = (*cluster.node("n1")).clone();
    let info = node.drivers["docker"].clone();
    node.drivers.insert("java".into(), info);
    cluster.register(node);
    cluster.settle();
    assert_eq!(cluster.only("java").node_name, "n1");
}

#[test]
fn distinct_hosts_means_one_per_node() {
    let mut cluster = Cluster::of(3);
    let mut web = service("web", 4);
    web.constraints = vec![constraint("", "distinct_hosts", "true")];
    let eval = cluster.run(&web);
    assert_eq!(distinct_nodes(&cluster, "web"), 3);
    let failure = &cluster.eval(&eval).failed_tg_allocs["g"];
    assert_eq!(failure.nodes_filtered, 3);
    // Replacing needs no fourth node.
    cluster.run(&image(&web, "web:2"));
    assert_eq!(distinct_nodes(&cluster, "web"), 3);
    assert!(
        cluster
            .live("web")
            .iter()
            .all(|alloc| alloc.job_version() == 1)
    );
}

#[test]
fn distinct_property_limits_each_value() {
    let mut cluster = Cluster::new();
    for rack in ["a", "a", "b", "b"] {
        cluster.join(|node| {
            node.meta.insert("rack".into(), rack.into());
        });
    }
    let mut web = service("web", 5);
    web.constraints = vec![constraint("${meta.rack}", "distinct_property", "2")];
    cluster.run(&web);
    let nodes = cluster.nodes_of("web");
    let on_a = nodes
        .iter()
        .filter(|name| ["n1", "n2"].contains(&name.as_str()))
        .count();
    assert_eq!((nodes.len(), on_a), (4, 2));
}

#[test]
fn a_system_job_is_on_every_node_and_on_those_that_join() {
    let mut cluster = Cluster::of(2);
    cluster.run(&job("logs", JOB_SYSTEM, 1));
    assert_eq!(cluster.nodes_of("logs"), ["n1", "n2"]);
    let before = cluster.ids_of("logs");
    cluster.join(|_| {});
    cluster.settle();
    assert_eq!(cluster.nodes_of("logs"), ["n1", "n2", "n3"]);
    assert_eq!(cluster.ids_of("logs")[..2], before);
    cluster.down("n1");
    cluster.settle();
    assert_eq!(cluster.nodes_of("logs"), ["n2", "n3"]);
    cluster.up("n1");
    cluster.settle();
    assert_eq!(cluster.nodes_of("logs"), ["n1", "n2", "n3"]);
}

#[test]
fn a_system_job_goes_where_its_driver_turns_up_and_leaves_where_it_may_not_be() {
    let mut cluster = Cluster::of(1);
    cluster.join(|node| node.drivers.clear());
    let logs = job("logs", JOB_SYSTEM, 1);
    let eval = cluster.run(&logs);
    assert!(
        cluster.eval(&eval).failed_tg_allocs.is_empty(),
        "nothing is wrong with that"
    );
    let mut node = (*cluster.node("n2")).clone();
    node.drivers.clone_from(&cluster.node("n1").drivers);
    cluster.register(node);
    cluster.settle();
    assert_eq!(cluster.nodes_of("logs"), ["n1", "n2"]);
    let mut only_n1 = logs.clone();
    only_n1.constraints = vec![constraint("${node.unique.name}", "=", "n1")];
    cluster.run(&only_n1);
    assert_eq!(cluster.nodes_of("logs"), ["n1"]);
}

#[test]
fn a_system_job_that_may_run_nowhere_says_why_and_waits_for_a_node() {
    let mut cluster = Cluster::of(2);
    let mut logs = job("logs", JOB_SYSTEM, 1);
    let label = "${node.class} = big";
    logs.constraints = vec![constraint("${node.class}", "=", "big")];
    let eval = cluster.run(&logs);
    let eval = cluster.eval(&eval);
    let metric = &eval.failed_tg_allocs["g"];
    assert_eq!((metric.nodes_evaluated, metric.nodes_filtered), (2, 2));
    assert_eq!(metric.constraint_filtered[label], 2);
    assert!(metric.reasons["n1"].contains("isn't met"), "{metric:?}");
    let blocked = eval.blocked_eval.clone();
    assert_eq!(cluster.eval(&blocked).status, EVAL_BLOCKED);
    cluster.join(|node| "big".clone_into(&mut node.node_class));
    cluster.settle();
    assert_eq!(cluster.nodes_of("logs"), ["n3"]);
    assert!(cluster.eval(&blocked).terminal());
    assert!(cluster.eval(&blocked).failed_tg_allocs.is_empty());
    cluster.down("n3");
    cluster.settle();
    let waits = |cluster: &Cluster| {
        let evals = cluster.store.evals();
        evals.filter(|eval| eval.status == EVAL_BLOCKED).count()
    };
    assert_eq!(waits(&cluster), 1, "its only node is gone");
    cluster.stop("logs", false);
    cluster.settle();
    assert_eq!(waits(&cluster), 0);
    // One that is to run nowhere lacks nothing.
    let mut none = logs.clone();
    none.task_groups[0].count = Some(0);
    cluster.run(&none);
    assert_eq!(waits(&cluster), 0);
}

#[test]
fn a_system_job_leaves_ineligible_nodes_as_they_are() {
    let mut cluster = Cluster::of(2);
    let logs = job("logs", JOB_SYSTEM, 1);
    cluster.run(&logs);
    cluster.eligible("n2", false);
    let eval = cluster.run(&image(&logs, "web:2"));
    assert_eq!(cluster.eval(&eval).status, EVAL_COMPLETE);
    let versions: Vec<_> = cluster
        .live("logs")
        .iter()
        .map(|a| a.job_version())
        .collect();
    assert_eq!(versions, [1, 0]);
    cluster.eligible("n2", true);
    cluster.settle();
    let versions: Vec<_> = cluster
        .live("logs")
        .iter()
        .map(|a| a.job_version())
        .collect();
    assert_eq!(versions, [1, 1]);
}

#[test]
fn a_system_job_without_room_on_one_node_waits_there() {
    let mut cluster = Cluster::of(1);
    cluster.join(|node| node.resources.memory_mb = 100);
    let eval = cluster.run(&job("logs", JOB_SYSTEM, 1));
    assert_eq!(cluster.nodes_of("logs"), ["n1"]);
    let eval = cluster.eval(&eval);
    assert_eq!(eval.queued_allocations["g"], 1);
    assert_eq!(eval.failed_tg_allocs["g"].dimension_exhausted["memory"], 1);
    assert_eq!(cluster.eval(&eval.blocked_eval).status, EVAL_BLOCKED);
}

#[test]
fn finished_batch_work_isnt_done_again() {
    let mut cluster = Cluster::of(2);
    let sums = job("sums", JOB_BATCH, 2);
    cluster.run(&sums);
    for alloc in cluster.live("sums") {
        cluster.report(&alloc.id, CLIENT_COMPLETE);
    }
    cluster.settle();
    assert!(cluster.live("sums").is_empty());
    assert_eq!(cluster.store.job("sums").unwrap().status, JOB_DEAD);
    cluster.evaluate_again("sums");
    cluster.run(&sums);
    cluster.down("n1");
    cluster.down("n2");
    cluster.settle();
    assert_eq!(cluster.store.allocs_of_job("sums").count(), 2);
    cluster.up("n1");
    // But it is when it is asked for again: stopped and run, forgotten and run, or changed.
    cluster.stop("sums", false);
    cluster.run(&sums);
    assert_eq!(cluster.live("sums").len(), 2);
    for alloc in cluster.live("sums") {
        cluster.report(&alloc.id, CLIENT_COMPLETE);
    }
    cluster.settle();
    cluster.stop("sums", true);
    cluster.run(&sums);
    assert_eq!(cluster.live("sums").len(), 2);
    for alloc in cluster.live("sums") {
        cluster.report(&alloc.id, CLIENT_COMPLETE);
    }
    cluster.run(&image(&sums, "web:2"));
    assert_eq!(cluster.live("sums").len(), 2);
}

#[test]
fn failed_batch_work_is_tried_once_more() {
    let mut cluster = Cluster::of(2);
    cluster.run(&job("sums", JOB_BATCH, 1));
    cluster.fail(&cluster.only("sums").clone());
    cluster.settle();
    assert!(cluster.live("sums").is_empty());
    cluster.wait(5);
    cluster.fail(&cluster.only("sums").clone());
    cluster.wait(48 * HOUR / SECOND);
    cluster.evaluate_again("sums");
    assert!(cluster.live("sums").is_empty());
    assert_eq!(cluster.store.job("sums").unwrap().status, JOB_DEAD);
}

#[test]
fn an_ineligible_node_keeps_what_it_has_and_gets_nothing_new() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    cluster.eligible("n1", false);
    let eval = cluster.run(&service("web", 2));
    assert_eq!(cluster.live("web").len(), 1);
    let failed = &cluster.eval(&eval).failed_tg_allocs["g"];
    assert_eq!(failed.nodes_available["dc1"], 0);
    cluster.eligible("n1", true);
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 2);
}

#[test]
fn of_two_plans_for_the_same_room_the_second_is_refused_and_made_anew() {
    let mut cluster = Cluster::of(2);
    let big = |id| memory(&service(id, 1), 4_000);
    cluster.submit(&big("first"), None).unwrap();
    cluster.submit(&big("second"), None).unwrap();
    cluster.down("n2");
    let snapshot = cluster.store.clone();
    let due = cluster.due();
    let first = cluster.decide(&snapshot, &due[0]);
    let second = cluster.decide(&snapshot, &due[1]);
    assert!(cluster.carry_out(first));
    let verified = verify(&cluster.store, second.plan.clone());
    assert!(verified.plan.is_empty());
    assert_eq!(verified.refused.len(), 1);
    assert!(!cluster.carry_out(second));
    cluster.up("n2");
    cluster.settle();
    assert_eq!(cluster.nodes_of("first"), ["n1"]);
    assert_eq!(cluster.nodes_of("second"), ["n2"]);
}

/// A server that led before may still hand in what it planned then.
#[test]
fn an_outdated_plan_is_cut_to_what_fits_when_it_is_applied() {
    let mut cluster = Cluster::of(2);
    let web = memory(&service("web", 2), 4_000);
    cluster.submit(&web, None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let plan = Box::new(cluster.decide(&snapshot, &eval).plan);
    let down = cluster.node("n2").id.clone();
    cluster.down("n2");
    let apply = || Command::ApplyPlan { plan: plan.clone() };
    let refused = |cluster: &mut Cluster| match cluster.apply(apply()).reply {
        Ok(Reply::Planned { refused }) => refused,
        other => panic!("{other:?}"),
    };
    let why = "the node is down and eligible".to_owned();
    assert_eq!(refused(&mut cluster), [(down, why)]);
    assert_eq!(cluster.nodes_of("web"), ["n1"]);
    let before = cluster.ids_of("web");
    // The second time, what was placed the first time takes the place itself.
    refused(&mut cluster);
    assert_eq!(cluster.ids_of("web"), before);
}

#[test]
fn two_plans_for_the_same_job_dont_use_a_name_twice() {
    let mut cluster = Cluster::of(3);
    let web = service("web", 2);
    cluster.submit(&web, None).unwrap();
    cluster.submit(&web, None).unwrap();
    let snapshot = cluster.store.clone();
    let due = cluster.due();
    let first = cluster.decide(&snapshot, &due[0]);
    let second = cluster.decide(&snapshot, &due[1]);
    assert!(cluster.carry_out(first));
    assert!(!cluster.carry_out(second));
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 2);
}

#[test]
fn what_is_left_out_of_a_plan_doesnt_make_room_for_the_rest() {
    // Two nodes, one instance each. The new version swaps them, which can't be done half.
    let mut cluster = Cluster::of(2);
    let web = memory(&service("web", 2), 4_000);
    cluster.run(&web);
    let before = cluster.live("web");
    cluster.submit(&image(&web, "web:2"), None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let mut decision = cluster.decide(&snapshot, &eval);
    let (a, b) = (before[0].node_id.clone(), before[1].node_id.clone());
    for alloc in &mut decision.plan.places {
        alloc.node_id = if alloc.node_id == a {
            b.clone()
        } else {
            a.clone()
        };
    }
    cluster.eligible(&before[0].node_name, false);
    let verified = verify(&cluster.store, decision.plan);
    assert!(verified.plan.is_empty(), "{:?}", verified.plan);
    assert_eq!(verified.refused.len(), 2);
}

#[test]
fn a_plan_for_a_job_that_changed_meanwhile_is_refused() {
    let mut cluster = Cluster::of(3);
    cluster.run(&service("web", 3));
    cluster.submit(&service("web", 1), None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let fewer = cluster.decide(&snapshot, &eval);
    assert_eq!(fewer.plan.stops.len(), 2);
    cluster.submit(&service("web", 3), None).unwrap();
    let before = cluster.live("web");
    assert!(!cluster.carry_out(fewer));
    assert_eq!(cluster.live("web"), before);
    // The same for a job that was stopped and is wanted again.
    cluster.stop("web", false);
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let none = cluster.decide(&snapshot, &eval);
    cluster.submit(&service("web", 3), None).unwrap();
    assert!(!cluster.carry_out(none));
    cluster.settle();
    assert_eq!(cluster.ids_of("web").len(), 3);
    let ids = |allocs: &[std::sync::Arc<crate::model::Allocation>]| -> Vec<String> {
        allocs.iter().map(|alloc| alloc.id.clone()).collect()
    };
    assert_eq!(cluster.ids_of("web"), ids(&before));
}

#[test]
fn a_pending_instance_counts_and_its_update_keeps_what_the_node_said() {
    let mut cluster = Cluster::of(1);
    let web = service("web", 1);
    cluster.submit(&web, None).unwrap();
    cluster.evaluate_all();
    let alloc = cluster.only("web");
    assert_eq!(alloc.client_status, CLIENT_PENDING);
    let tagged = but(&web, |group| {
        group.tasks[0].services[0].tags = vec!["a".into()];
    });
    cluster.submit(&tagged, None).unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let decision = cluster.decide(&snapshot, &eval);
    cluster.report(&alloc.id, CLIENT_RUNNING);
    cluster.carry_out(decision);
    assert_eq!(cluster.only("web").client_status, CLIENT_RUNNING);
    assert_eq!(cluster.only("web").job_version(), 1);
}

#[test]
fn a_plan_says_what_it_changes() {
    let mut cluster = Cluster::of(2);
    let web = service("web", 2);
    cluster.run(&web);
    cluster
        .submit(&image(&service("web", 3), "web:2"), None)
        .unwrap();
    let eval = cluster.due().remove(0);
    let snapshot = cluster.store.clone();
    let plan = cluster.decide(&snapshot, &eval).plan;
    let changes = &plan.annotations["g"];
    assert_eq!(
        (changes.destructive_update, changes.place, changes.ignore),
        (2, 1, 0)
    );
    assert_eq!(plan.stops.len(), 2);
    assert_eq!(plan.places.len(), 3);
    assert!(plan.places.iter().all(|alloc| {
        alloc
            .metrics
            .scores
            .keys()
            .any(|key| key.ends_with(".binpack"))
    }));
}
