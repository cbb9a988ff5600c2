//! Groups that let their node be silent for a while.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::cluster::{Cluster, but, image, job, service};
use crate::duration::SECOND;
use crate::model::{
    AllocReport, Allocation, BEST_SCORE, CLIENT_FAILED, CLIENT_LOST, CLIENT_RUNNING,
    CLIENT_UNKNOWN, DisconnectStrategy, JOB_SYSTEM, Job, KEEP_ORIGINAL, KEEP_REPLACEMENT,
    LONGEST_RUNNING, NODE_DISCONNECTED, NODE_DOWN, TASK_RUNNING, TaskState,
};
use crate::state::Command;
use crate::time::Time;

/// An instance whose node may be silent for a minute.
fn patient(replace: Option<bool>, reconcile: &str) -> Job {
    but(&service("web", 1), |group| {
        group.disconnect = Some(DisconnectStrategy {
            lost_after: 60 * SECOND,
            replace,
            reconcile: reconcile.into(),
            ..DisconnectStrategy::default()
        });
    })
}

fn status(cluster: &Cluster, alloc: &Allocation) -> String {
    let row = cluster.store.alloc(&alloc.id).expect("allocation");
    row.client_status.clone()
}

/// The node says that the allocation's task runs since an instant.
fn runs_since(cluster: &mut Cluster, alloc: &Allocation, secs: i64) {
    let state = TaskState {
        state: TASK_RUNNING.into(),
        started_at: Time::from_secs(secs),
        ..TaskState::default()
    };
    cluster.apply(Command::ReportAllocs {
        node_id: alloc.node_id.clone(),
        serial: 0,
        reports: vec![AllocReport {
            alloc_id: alloc.id.clone(),
            client_status: CLIENT_RUNNING.into(),
            client_description: String::new(),
            task_states: [("t".to_owned(), state)].into(),
            health: None,
        }],
    });
}

/// Runs the job and lets its node go silent.
fn silent(job: &Job) -> (Cluster, std::sync::Arc<Allocation>) {
    let mut cluster = Cluster::of(2);
    cluster.run(job);
    let original = cluster.only("web");
    runs_since(&mut cluster, &original, 900);
    cluster.down(&original.node_name);
    (cluster, original)
}

#[test]
fn an_instance_that_may_be_away_is_unknown_and_replaced_meanwhile() {
    let old_way = but(&service("web", 1), |group| {
        group.max_client_disconnect = Some(60 * SECOND);
    });
    for job in [old_way, patient(None, ""), patient(Some(true), "")] {
        let (mut cluster, original) = silent(&job);
        // All of it in the entry that says that the node is silent.
        assert_eq!(cluster.node(&original.node_name).status, NODE_DISCONNECTED);
        assert_eq!(status(&cluster, &original), CLIENT_UNKNOWN);
        cluster.settle();
        let replacement = cluster
            .live("web")
            .into_iter()
            .find(|it| it.id != original.id);
        let replacement = replacement.unwrap();
        assert_eq!(replacement.client_status, CLIENT_RUNNING);
        assert_eq!(replacement.previous_allocation, original.id);
        let summary = cluster.store.job_summary(cluster.store.job("web").unwrap());
        assert_eq!(
            (summary.summary["g"].unknown, summary.summary["g"].running),
            (1, 1)
        );
        cluster.evaluate_again("web");
        assert_eq!(cluster.live("web").len(), 2, "and that is all");
        // Nobody waits for ever.
        cluster.wait(59);
        assert_eq!(status(&cluster, &original), CLIENT_UNKNOWN);
        cluster.wait(1);
        assert_eq!(status(&cluster, &original), CLIENT_LOST);
        assert_eq!(cluster.only("web").id, replacement.id);
        assert_eq!(cluster.node(&original.node_name).status, NODE_DOWN);
    }
}

#[test]
fn without_replacement_there_is_one_only_when_the_time_is_over() {
    let (mut cluster, original) = silent(&patient(Some(false), ""));
    cluster.wait(59);
    assert_eq!(cluster.only("web").id, original.id);
    cluster.wait(1);
    assert_eq!(status(&cluster, &original), CLIENT_LOST);
    assert_ne!(cluster.only("web").node_name, original.node_name);
}

#[test]
fn without_replacement_the_instance_runs_on_when_its_node_is_back() {
    let (mut cluster, original) = silent(&patient(Some(false), ""));
    cluster.wait(59);
    cluster.up(&original.node_name);
    cluster.wait(100);
    let now = cluster.only("web");
    assert_eq!(
        (&now.id, now.client_status.as_str()),
        (&original.id, CLIENT_RUNNING)
    );
    let states: Vec<_> = now
        .alloc_states
        .iter()
        .map(|it| it.value.as_str())
        .collect();
    assert_eq!(states, [CLIENT_UNKNOWN, CLIENT_RUNNING]);
    // The next silence is counted from its own beginning.
    cluster.down(&original.node_name);
    cluster.wait(59);
    assert_eq!(status(&cluster, &original), CLIENT_UNKNOWN);
}

/// Which one stays when the node is back.
#[test]
fn of_the_original_and_its_replacement_the_one_asked_for_stays() {
    // (strategy, the original's score, the replacement runs since, the original stays)
    for (strategy, score, since, original_stays) in [
        (KEEP_ORIGINAL, 0.0, 1, true),
        (KEEP_REPLACEMENT, 99.0, 1_001, false),
        (BEST_SCORE, 99.0, 1_001, true),
        (BEST_SCORE, -99.0, 1_001, false),
        (LONGEST_RUNNING, -99.0, 1_001, true),
        (LONGEST_RUNNING, 99.0, 800, false),
    ] {
        let mut cluster = Cluster::of(2);
        cluster.run(&patient(None, strategy));
        let original = cluster.only("web");
        let mut dump = cluster.store.dump();
        let mut scored = (*original).clone();
        let key = format!("{}.binpack", scored.node_id);
        scored.metrics.scores = [(key, score)].into();
        dump.allocs = vec![scored.into()];
        cluster.store = crate::state::Store::restore(dump);
        runs_since(&mut cluster, &original, 900);
        cluster.down(&original.node_name);
        cluster.settle();
        let mut live = cluster.live("web").into_iter();
        let replacement = live.find(|it| it.id != original.id).unwrap();
        runs_since(&mut cluster, &replacement, since);
        cluster.up(&original.node_name);
        cluster.settle();
        let stays = if original_stays {
            &original
        } else {
            &replacement
        };
        assert_eq!(
            cluster.only("web").id,
            stays.id,
            "{strategy} {score} {since}"
        );
        assert_eq!(cluster.only("web").next_allocation, "", "{strategy}");
        cluster.wait(100);
        assert_eq!(cluster.only("web").id, stays.id, "and for good: {strategy}");
    }
}

#[test]
fn a_replacement_that_doesnt_run_yet_makes_way() {
    for strategy in [BEST_SCORE, LONGEST_RUNNING, KEEP_ORIGINAL] {
        let (mut cluster, original) = silent(&patient(None, strategy));
        cluster.evaluate_all();
        assert_eq!(cluster.live("web").len(), 2);
        cluster.up(&original.node_name);
        cluster.settle();
        assert_eq!(cluster.only("web").id, original.id, "{strategy}");
    }
}

#[test]
fn an_original_that_stayed_and_fails_is_replaced_after_its_delay() {
    let (mut cluster, original) = silent(&patient(None, KEEP_ORIGINAL));
    cluster.settle();
    cluster.up(&original.node_name);
    cluster.settle();
    cluster.report(&original.id, CLIENT_FAILED);
    cluster.settle();
    assert!(cluster.live("web").is_empty(), "not at once");
    cluster.wait(31);
    assert_eq!(cluster.only("web").previous_allocation, original.id);
}

#[test]
fn what_is_unknown_goes_when_the_job_changes_shrinks_or_stops() {
    type Change = fn(&mut Cluster);
    let changes: [(&str, Change, usize); 3] = [
        (
            "changes",
            |cluster| {
                cluster.run(&image(&patient(None, ""), "web:2"));
            },
            1,
        ),
        (
            "shrinks",
            |cluster| {
                cluster.run(&but(&patient(None, ""), |group| group.count = Some(0)));
            },
            0,
        ),
        (
            "stops",
            |cluster| {
                cluster.stop("web", false);
                cluster.settle();
            },
            0,
        ),
    ];
    for (what, change, live) in changes {
        let (mut cluster, original) = silent(&patient(None, KEEP_ORIGINAL));
        cluster.settle();
        change(&mut cluster);
        assert_eq!(status(&cluster, &original), CLIENT_LOST, "{what}");
        assert_eq!(cluster.live("web").len(), live, "{what}");
        cluster.up(&original.node_name);
        cluster.report(&original.id, CLIENT_RUNNING);
        cluster.settle();
        assert_eq!(cluster.live("web").len(), live, "{what}");
    }
}

#[test]
fn a_system_instance_that_may_be_away_waits_for_its_node() {
    let mut cluster = Cluster::of(2);
    let logs = but(&job("web", JOB_SYSTEM, 1), |group| {
        group.max_client_disconnect = Some(60 * SECOND);
    });
    cluster.run(&logs);
    let before = cluster.ids_of("web");
    cluster.down("n1");
    cluster.wait(30);
    cluster.up("n1");
    cluster.settle();
    assert_eq!(cluster.ids_of("web"), before);
    cluster.down("n1");
    cluster.wait(61);
    assert_eq!(cluster.nodes_of("web"), ["n2"]);
}

#[test]
fn what_a_silent_node_stops_itself_is_replaced_only_then() {
    let older = but(&service("web", 1), |group| {
        group.stop_after_client_disconnect = Some(60 * SECOND);
    });
    let newer = but(&service("web", 1), |group| {
        group.disconnect = Some(DisconnectStrategy {
            stop_on_client_after: Some(60 * SECOND),
            ..DisconnectStrategy::default()
        });
    });
    for job in [older, newer] {
        let (mut cluster, original) = silent(&job);
        assert_eq!(cluster.node(&original.node_name).status, NODE_DOWN);
        cluster.wait(59);
        assert_eq!(cluster.only("web").id, original.id);
        cluster.wait(1);
        assert_ne!(cluster.only("web").node_name, original.node_name);
        assert_eq!(status(&cluster, &original), CLIENT_LOST);
    }
}
