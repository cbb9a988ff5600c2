//! Stories of rolling updates: what runs while one version takes over from another.

use std::sync::Arc;

use super::cluster::{Cluster, but, image, job, memory, on_port, service};
use crate::duration::{MINUTE, SECOND};
use crate::model::{
    AllocReport, Allocation, CLIENT_FAILED, CLIENT_RUNNING, Constraint, DEPLOYMENT_CANCELLED,
    DEPLOYMENT_FAILED, DEPLOYMENT_PAUSED, DEPLOYMENT_RUNNING, DEPLOYMENT_SUCCESSFUL, Deployment,
    DeploymentChange, DrainStrategy, HealthReport, JOB_SYSTEM, Job, TRIGGER_DEPLOYMENT_WATCHER,
    TRIGGER_NODE_DRAIN, TRIGGER_ROLLING_UPDATE, UpdateStrategy,
};
use crate::state::{Command, Refusal, Reply, Rollout};
use crate::time::Time;

/// The same job, updated `max_parallel` at a time.
pub(crate) fn rolling(job: &Job, max_parallel: i64) -> Job {
    updated(job, |update| update.max_parallel = max_parallel)
}

fn updated(job: &Job, change: impl FnOnce(&mut UpdateStrategy)) -> Job {
    but(job, |group| {
        change(group.update.get_or_insert_with(UpdateStrategy::default));
    })
}

impl Cluster {
    /// The newest deployment of a job.
    pub(crate) fn deployment(&self, job_id: &str) -> Arc<Deployment> {
        let newest = self.store.deployments_of_job(job_id).into_iter().next();
        newest.expect("a deployment").clone()
    }

    /// A node says how an allocation is in its deployment.
    pub(crate) fn judge(&mut self, alloc: &Allocation, healthy: bool) {
        let alloc = self.store.alloc(&alloc.id).expect("allocation").clone();
        let health = HealthReport {
            deployment_id: alloc.deployment_id.clone(),
            healthy,
            at: self.now,
        };
        self.apply(Command::ReportAllocs {
            node_id: alloc.node_id.clone(),
            serial: 0,
            reports: vec![AllocReport {
                alloc_id: alloc.id.clone(),
                client_status: alloc.client_status.clone(),
                client_description: String::new(),
                task_states: alloc.task_states.clone(),
                health: Some(health),
            }],
        });
    }

    /// Members of active deployments that run and of which nothing is known yet.
    pub(crate) fn unjudged(&self) -> Vec<Arc<Allocation>> {
        let allocs = self.store.allocs().filter(|alloc| {
            let of = self.store.deployment(&alloc.deployment_id);
            let known = alloc.deployment_healthy() || alloc.deployment_unhealthy();
            of.is_some_and(|row| row.active())
                && !known
                && !alloc.terminal()
                && alloc.client_status == CLIENT_RUNNING
        });
        allocs.cloned().collect()
    }

    /// Everything that runs turns out well, until nothing is left to do.
    fn all_turn_out(&mut self) {
        for _ in 0..50 {
            self.settle();
            let unjudged = self.unjudged();
            let Some(first) = unjudged.first() else {
                return;
            };
            self.judge(first, true);
        }
        panic!("the rollout doesn't come to an end");
    }

    fn change(&mut self, job_id: &str, change: DeploymentChange) -> Result<Reply, Refusal> {
        let deployment_id = self.deployment(job_id).id.clone();
        let changed = self.apply(Command::Rollout(Rollout::Change {
            deployment_id,
            change,
        }));
        self.settle();
        changed.reply
    }

    /// The time for progress is over.
    fn overdue(&mut self) {
        let (due, id) = self.store.progress_due().expect("something is due");
        let (due, deployment_id) = (due, id.to_owned());
        self.now = self.now.max(due);
        self.apply(Command::Rollout(Rollout::Change {
            deployment_id,
            change: DeploymentChange::Overdue { required_by: due },
        }));
        self.settle();
    }

    /// The versions of a job's live allocations, in the order of their names.
    fn versions(&self, job_id: &str) -> Vec<u64> {
        let live = self.live(job_id);
        let mut versions: Vec<_> = live
            .iter()
            .map(|alloc| (alloc.index(), alloc.job_version()))
            .collect();
        versions.sort_unstable();
        versions.into_iter().map(|(_, version)| version).collect()
    }

    fn newest(&self, job_id: &str) -> Vec<Arc<Allocation>> {
        let version = self.store.job(job_id).expect("job").version;
        let mut live = self.live(job_id);
        live.retain(|alloc| alloc.job_version() == version);
        live
    }
}

fn rolled_out(nodes: usize, job: &Job) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    cluster.run(job);
    cluster.all_turn_out();
    cluster
}

#[test]
fn a_job_with_an_update_block_is_deployed_and_becomes_stable() {
    let mut cluster = Cluster::of(3);
    let eval = cluster.run(&rolling(&service("web", 3), 1));
    let begun = cluster.deployment("web");
    assert_eq!(cluster.eval(&eval).deployment_id, begun.id);
    assert_eq!(begun.status, DEPLOYMENT_RUNNING);
    let state = &begun.task_groups["g"];
    assert_eq!((state.desired_total, state.placed_allocs), (3, 3));
    assert!(state.require_progress_by > cluster.now);
    assert!(!cluster.store.job("web").expect("job").stable);
    cluster.all_turn_out();
    let done = cluster.deployment("web");
    assert_eq!(done.id, begun.id);
    assert_eq!(done.status, DEPLOYMENT_SUCCESSFUL);
    assert_eq!(done.status_description, "Deployment completed successfully");
    assert_eq!(done.task_groups["g"].healthy_allocs, 3);
    assert!(cluster.store.job("web").expect("job").stable);
    assert!(cluster.store.job_versions("web")[0].stable);
    let watched = cluster.store.evals_of_job("web");
    let watched = watched.filter(|eval| eval.triggered_by == TRIGGER_DEPLOYMENT_WATCHER);
    assert_eq!(watched.count(), 3);
}

#[test]
fn without_an_update_block_there_is_no_deployment() {
    for job in [service("web", 2), rolling(&service("web", 2), 0)] {
        let mut cluster = Cluster::of(3);
        cluster.run(&job);
        cluster.run(&image(&job, "web:2"));
        assert_eq!(cluster.store.deployments().count(), 0);
        assert_eq!(cluster.versions("web"), [1, 1]);
    }
}

#[test]
fn nothing_stops_before_its_successor_is_healthy() {
    let web = rolling(&service("web", 3), 1);
    let mut cluster = rolled_out(3, &web);
    let before = cluster.ids_of("web");
    cluster.run(&image(&web, "web:2"));
    for step in 1..=3 {
        let live = cluster.live("web");
        assert_eq!(live.len(), 4, "three, and one that is tried");
        let old = live.iter().filter(|alloc| before.contains(&alloc.id));
        assert_eq!(old.count(), 4 - step);
        let new = cluster.unjudged();
        assert_eq!(new.len(), 1, "one at a time");
        assert!(before.contains(&new[0].previous_allocation));
        cluster.judge(&new[0], true);
        cluster.settle();
    }
    assert_eq!(cluster.versions("web"), [1, 1, 1]);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
    assert_eq!(cluster.deployment("web").job_version, 1);
}

#[test]
fn as_many_as_allowed_are_under_way() {
    let web = rolling(&service("web", 5), 2);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "web:2"));
    assert_eq!(cluster.live("web").len(), 7);
    let new = cluster.unjudged();
    cluster.judge(&new[0], true);
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 7, "one more begins at once");
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1; 5]);
}

#[test]
fn where_there_is_no_room_for_both_the_old_one_makes_room() {
    let crowded = memory(&rolling(&service("web", 2), 1), 3_000);
    let fixed = on_port(&rolling(&service("web", 2), 1), 8080);
    let apart = but(&rolling(&service("web", 2), 1), |group| {
        group.constraints.push(Constraint {
            operand: "distinct_hosts".into(),
            ..Constraint::default()
        });
    });
    for web in [crowded, fixed, apart] {
        let mut cluster = rolled_out(2, &web);
        assert_eq!(cluster.versions("web"), [0, 0]);
        cluster.run(&image(&web, "web:2"));
        assert_eq!(
            cluster.versions("web"),
            [1, 0],
            "one at a time all the same"
        );
        cluster.settle();
        assert_eq!(cluster.versions("web"), [1, 0]);
        cluster.all_turn_out();
        assert_eq!(cluster.versions("web"), [1, 1]);
        assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
    }
}

#[test]
fn a_bad_version_fails_by_its_deadline_and_leaves_what_was_well() {
    let web = rolling(&service("web", 3), 1);
    let mut cluster = rolled_out(3, &web);
    let before = cluster.ids_of("web");
    cluster.run(&image(&web, "bad"));
    let bad = cluster.unjudged();
    cluster.judge(&bad[0], false);
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 4, "nothing else begins");
    cluster.overdue();
    let failed = cluster.deployment("web");
    assert_eq!(failed.status, DEPLOYMENT_FAILED);
    assert_eq!(failed.status_description, "Failed due to progress deadline");
    assert_eq!(
        cluster.ids_of("web"),
        before,
        "all of the old ones, and no new one"
    );
    cluster.evaluate_again("web");
    assert_eq!(cluster.ids_of("web"), before, "it isn't begun anew");
    let good = image(&web, "web:2");
    cluster.run(&good);
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [2, 2, 2]);
}

#[test]
fn without_a_deadline_the_first_unhealthy_one_fails_it() {
    let web = updated(&service("web", 2), |update| update.progress_deadline = 0);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "bad"));
    let bad = cluster.unjudged();
    cluster.report(&bad[0].id, CLIENT_FAILED);
    cluster.settle();
    let failed = cluster.deployment("web");
    assert_eq!(failed.status, DEPLOYMENT_FAILED);
    assert_eq!(
        failed.status_description,
        "Failed due to unhealthy allocations"
    );
    assert_eq!(cluster.versions("web"), [0, 0]);
}

#[test]
fn a_job_goes_back_to_its_last_stable_version_and_no_further() {
    let web = updated(&service("web", 3), |update| update.auto_revert = true);
    let mut cluster = rolled_out(3, &web);
    let before = cluster.ids_of("web");
    cluster.run(&image(&web, "bad"));
    cluster.overdue();
    let (failed, job) = (
        cluster.store.deployments_of_job("web")[1].clone(),
        cluster.store.job("web").expect("job").clone(),
    );
    assert_eq!(
        failed.status_description,
        "Failed due to progress deadline - rolling back to job version 0"
    );
    assert_eq!(job.version, 2);
    assert_eq!(
        cluster.ids_of("web"),
        before,
        "what ran well goes on running"
    );
    cluster.all_turn_out();
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
    assert!(cluster.store.job("web").expect("job").stable);
    // The version that it went back to fails as well, for another reason.
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "bad"));
    cluster.overdue();
    cluster.overdue();
    let failed = cluster.deployment("web");
    assert_eq!(
        failed.status_description,
        "Failed due to progress deadline - not rolling back to stable job version 0 as current \
         job has same specification"
    );
    assert_eq!(cluster.store.job("web").expect("job").version, 2);
}

#[test]
fn a_first_version_has_nothing_to_go_back_to() {
    let web = updated(&service("web", 1), |update| update.auto_revert = true);
    let mut cluster = Cluster::of(1);
    cluster.run(&web);
    cluster.overdue();
    assert_eq!(
        cluster.deployment("web").status_description,
        "Failed due to progress deadline - no stable job version to auto revert to"
    );
    assert_eq!(cluster.versions("web"), [0], "it isn't stopped");
}

#[test]
fn canaries_run_beside_the_old_ones_until_they_are_promoted() {
    let web = updated(&service("web", 3), |update| update.canary = 1);
    let mut cluster = rolled_out(3, &web);
    assert_eq!(
        cluster.deployment("web").task_groups["g"].desired_canaries,
        0
    );
    cluster.run(&image(&web, "web:2"));
    let begun = cluster.deployment("web");
    assert_eq!(
        begun.status_description,
        "Deployment is running but requires manual promotion"
    );
    let state = &begun.task_groups["g"];
    assert_eq!((state.desired_canaries, state.placed_allocs), (1, 1));
    let canary = cluster.unjudged()[0].clone();
    assert_eq!(state.placed_canaries, Some(vec![canary.id.clone()]));
    assert!(canary.canary());
    let promote = || DeploymentChange::Promote { groups: Vec::new() };
    assert_eq!(
        cluster.change("web", promote()),
        Err(Refusal::NotPromotable(
            "Task group \"g\" has 0/1 healthy allocations".into()
        ))
    );
    cluster.judge(&canary, true);
    cluster.settle();
    assert_eq!(cluster.versions("web"), [0, 1, 0, 0], "it waits");
    assert_eq!(
        cluster.store.progress_due(),
        None,
        "for as long as it takes"
    );
    assert!(cluster.change("web", promote()).is_ok());
    assert_eq!(cluster.versions("web"), [1, 0, 1, 0], "the next one begins");
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1, 1, 1]);
    assert!(cluster.ids_of("web").contains(&canary.id));
    assert!(cluster.deployment("web").task_groups["g"].promoted);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn more_canaries_than_allocations_have_names_of_their_own() {
    let web = updated(&service("web", 1), |update| update.canary = 2);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "web:2"));
    let names: Vec<_> = cluster.live("web").iter().map(|a| a.name.clone()).collect();
    assert_eq!(names, ["web.g[0]", "web.g[0]", "web.g[1]"]);
    for canary in cluster.unjudged() {
        cluster.judge(&canary, true);
    }
    cluster.settle();
    let groups = vec!["g".to_owned()];
    let promoted = cluster.change("web", DeploymentChange::Promote { groups });
    assert!(promoted.is_ok(), "{promoted:?}");
    assert_eq!(cluster.versions("web"), [1]);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn canaries_may_promote_themselves() {
    let web = updated(&service("web", 2), |update| {
        (update.canary, update.auto_promote) = (1, true);
    });
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "web:2"));
    assert_eq!(
        cluster.deployment("web").status_description,
        "Deployment is running pending automatic promotion"
    );
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1, 1]);
}

#[test]
fn a_canary_that_fails_goes_and_an_old_one_that_is_lost_comes_back_as_it_was() {
    let web = updated(&service("web", 3), |update| update.canary = 1);
    let mut cluster = rolled_out(4, &web);
    cluster.run(&image(&web, "web:2"));
    let canary = cluster.unjudged()[0].clone();
    let victim = cluster
        .live("web")
        .into_iter()
        .find(|alloc| alloc.job_version() == 0 && alloc.node_name != canary.node_name);
    cluster.down(&victim.expect("an old one").node_name);
    cluster.settle();
    let mut versions = cluster.versions("web");
    versions.sort_unstable();
    assert_eq!(versions, [0, 0, 0, 1], "nobody promoted the new version");
    assert!(cluster.change("web", DeploymentChange::Fail).is_ok());
    assert_eq!(cluster.versions("web"), [0, 0, 0]);
    assert_eq!(
        cluster.deployment("web").status_description,
        "Deployment marked as failed"
    );
}

#[test]
fn a_paused_deployment_begins_nothing_and_has_no_deadline() {
    let web = rolling(&service("web", 3), 1);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "web:2"));
    assert!(cluster.change("web", DeploymentChange::Pause).is_ok());
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_PAUSED);
    assert_eq!(cluster.store.progress_due(), None);
    let new = cluster.unjudged();
    cluster.judge(&new[0], true);
    cluster.settle();
    assert_eq!(
        cluster.versions("web"),
        [1, 0, 0],
        "what is healthy takes over"
    );
    cluster.now = Time(cluster.now.0 + 60 * MINUTE);
    assert!(cluster.change("web", DeploymentChange::Resume).is_ok());
    let due = cluster.store.progress_due().expect("due again").0;
    assert_eq!(due.0, cluster.now.0 + 10 * MINUTE);
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1, 1, 1]);
    let late = cluster.change("web", DeploymentChange::Pause);
    assert_eq!(late, Err(Refusal::DeploymentEnded("pause".into())));
}

#[test]
fn a_newer_version_takes_over_from_what_serves_not_from_what_was_tried() {
    let web = rolling(&service("web", 2), 1);
    let mut cluster = rolled_out(3, &web);
    let before = cluster.ids_of("web");
    cluster.run(&image(&web, "bad"));
    cluster.run(&image(&web, "web:3"));
    let cancelled = cluster.store.deployments_of_job("web")[1].clone();
    assert_eq!(cancelled.status, DEPLOYMENT_CANCELLED);
    assert_eq!(
        cancelled.status_description,
        "Cancelled due to newer version of job"
    );
    assert_eq!(cluster.versions("web"), [0, 2, 0]);
    let new = cluster.unjudged();
    assert!(before.contains(&new[0].previous_allocation));
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [2, 2]);
}

#[test]
fn a_revert_keeps_what_is_of_that_version_still() {
    let web = rolling(&service("web", 3), 1);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "web:2"));
    let new = cluster.unjudged();
    cluster.judge(&new[0], true);
    cluster.settle();
    let old: Vec<_> = cluster
        .live("web")
        .into_iter()
        .filter(|a| a.job_version() == 0)
        .collect();
    let refused = cluster.apply(revert(1, None)).reply;
    assert_eq!(refused, Err(Refusal::CurrentVersion));
    let refused = cluster.apply(revert(0, Some(7))).reply;
    let (asked, actual) = (7, 1);
    assert_eq!(refused, Err(Refusal::OtherVersion { asked, actual }));
    let refused = cluster.apply(revert(9, None)).reply;
    let job = "web".to_owned();
    assert_eq!(refused, Err(Refusal::NoSuchVersion { job, version: 9 }));
    assert!(cluster.apply(revert(0, Some(1))).reply.is_ok());
    cluster.settle();
    let live = cluster.ids_of("web");
    assert!(
        old.iter().all(|alloc| live.contains(&alloc.id)),
        "updated in place"
    );
    assert_eq!(cluster.newest("web").len(), 3, "two of them, and one anew");
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [2, 2, 2]);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

fn revert(version: u64, prior: Option<u64>) -> Command {
    Command::Rollout(Rollout::Revert {
        job_id: "web".into(),
        version,
        prior,
    })
}

#[test]
fn a_change_in_place_is_deployed_as_well() {
    let web = rolling(&service("web", 2), 1);
    let mut cluster = rolled_out(3, &web);
    let before = cluster.ids_of("web");
    cluster.run(&but(&web, |group| {
        group.tasks[0].services[0].tags = vec!["urlprefix-/web".into()];
    }));
    assert_eq!(cluster.ids_of("web"), before);
    let begun = cluster.deployment("web");
    assert_eq!(
        (begun.job_version, begun.status.as_str()),
        (1, DEPLOYMENT_RUNNING)
    );
    assert!(
        cluster
            .live("web")
            .iter()
            .all(|alloc| alloc.deployment_id == begun.id)
    );
    assert_eq!(
        cluster.unjudged().len(),
        2,
        "their health is looked at anew"
    );
    cluster.all_turn_out();
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn a_lost_instance_of_a_finished_rollout_begins_no_other_one() {
    let web = rolling(&service("web", 2), 1);
    let mut cluster = rolled_out(3, &web);
    let node = cluster.live("web")[0].node_name.clone();
    cluster.down(&node);
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 2);
    assert_eq!(cluster.store.deployments().count(), 1);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn a_node_lost_in_the_middle_of_a_rollout_doesnt_stop_it() {
    let web = rolling(&service("web", 3), 1);
    let mut cluster = rolled_out(4, &web);
    cluster.run(&image(&web, "web:2"));
    let new = cluster.unjudged();
    cluster.judge(&new[0], true);
    cluster.settle();
    cluster.down(&new[0].node_name);
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1, 1, 1]);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
    assert_eq!(cluster.deployment("web").task_groups["g"].healthy_allocs, 3);
}

#[test]
fn a_stopped_job_cancels_its_deployment() {
    let mut cluster = Cluster::of(3);
    cluster.run(&rolling(&service("web", 2), 1));
    cluster.stop("web", false);
    cluster.settle();
    let cancelled = cluster.deployment("web");
    assert_eq!(cancelled.status, DEPLOYMENT_CANCELLED);
    assert_eq!(
        cancelled.status_description,
        "Cancelled because job is stopped"
    );
    cluster.stop("web", true);
    assert_eq!(cluster.store.deployments().count(), 0);
}

#[test]
fn fewer_are_stopped_at_once_and_more_are_placed_at_once() {
    let web = rolling(&service("web", 4), 1);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&rolling(&service("web", 2), 1));
    assert_eq!(cluster.live("web").len(), 2);
    cluster.all_turn_out();
    cluster.run(&rolling(&service("web", 5), 1));
    assert_eq!(cluster.live("web").len(), 5);
    cluster.all_turn_out();
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn a_user_may_say_what_is_healthy() {
    let web = updated(&service("web", 1), |update| {
        update.health_check = "manual".into();
    });
    let mut cluster = Cluster::of(1);
    cluster.run(&web);
    let alloc = cluster.only("web");
    let strangers = cluster.change(
        "web",
        DeploymentChange::SetHealth {
            healthy: vec!["nobody".into()],
            unhealthy: Vec::new(),
        },
    );
    assert!(matches!(strangers, Err(Refusal::NotInDeployment { .. })));
    let said = cluster.change(
        "web",
        DeploymentChange::SetHealth {
            healthy: vec![alloc.id.clone()],
            unhealthy: Vec::new(),
        },
    );
    assert!(matches!(said, Ok(Reply::DeploymentChanged { eval_id, .. }) if !eval_id.is_empty()));
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}

#[test]
fn whoever_says_that_it_fails_hears_what_it_went_back_to() {
    let web = updated(&service("web", 1), |update| {
        update.health_check = "manual".into();
        update.auto_revert = true;
        update.progress_deadline = 0;
    });
    let mut cluster = Cluster::of(1);
    cluster.run(&web);
    let said = |cluster: &mut Cluster, healthy: bool| {
        let live = cluster.live("web");
        let id = vec![
            live.iter()
                .max_by_key(|alloc| alloc.create_index)
                .unwrap()
                .id
                .clone(),
        ];
        let (healthy, unhealthy) = if healthy {
            (id, Vec::new())
        } else {
            (Vec::new(), id)
        };
        cluster.change("web", DeploymentChange::SetHealth { healthy, unhealthy })
    };
    said(&mut cluster, true).unwrap();
    cluster.run(&image(&web, "bad:1"));
    let Ok(Reply::DeploymentChanged { reverted_to, .. }) = said(&mut cluster, false) else {
        panic!("it was refused");
    };
    assert_eq!(reverted_to, Some(0));
}

#[test]
fn the_stable_version_outlives_the_others() {
    let web = rolling(&service("web", 1), 1);
    let mut cluster = rolled_out(1, &web);
    for number in 0..10 {
        cluster.run(&image(&web, &format!("bad:{number}")));
    }
    let versions = cluster.store.job_versions("web");
    let kept: Vec<_> = versions
        .iter()
        .map(|job| (job.version, job.stable))
        .collect();
    assert_eq!(kept.len(), 6);
    assert_eq!(kept.last(), Some(&(0, true)));
    assert_eq!(kept.first(), Some(&(10, false)));
}

#[test]
fn ended_deployments_are_forgotten_unless_they_are_of_the_job_as_it_is() {
    let web = rolling(&service("web", 1), 1);
    let mut cluster = rolled_out(1, &web);
    cluster.run(&image(&web, "web:2"));
    cluster.all_turn_out();
    assert_eq!(cluster.store.deployments().count(), 2);
    cluster.now = Time(cluster.now.0 + 3_600 * SECOND);
    cluster.apply(Command::CollectGarbage {
        evals_before: cluster.now,
        jobs_before: Time::NEVER,
        nodes_before: Time::NEVER,
    });
    assert_eq!(cluster.store.deployments().count(), 1);
    assert_eq!(cluster.deployment("web").job_version, 1);
}

#[test]
fn a_system_job_is_replaced_a_few_nodes_at_a_time() {
    let agent = updated(&job("agent", JOB_SYSTEM, 1), |update| {
        (update.max_parallel, update.stagger) = (2, 30 * SECOND);
    });
    let mut cluster = Cluster::of(5);
    cluster.run(&agent);
    assert_eq!(cluster.versions("agent"), [0; 5]);
    assert_eq!(
        cluster.store.deployments().count(),
        0,
        "it has no deployment"
    );
    cluster.run(&image(&agent, "agent:2"));
    let new = |cluster: &mut Cluster, secs| {
        cluster.wait(secs);
        cluster.newest("agent").len()
    };
    assert_eq!(new(&mut cluster, 0), 2);
    cluster.evaluate_again("agent");
    assert_eq!(new(&mut cluster, 29), 2, "whoever else looks at it");
    assert_eq!(new(&mut cluster, 1), 4);
    assert_eq!(new(&mut cluster, 30), 5);
    let follow_ups = cluster.store.evals_of_job("agent");
    let follow_ups = follow_ups.filter(|eval| eval.triggered_by == TRIGGER_ROLLING_UPDATE);
    assert_eq!(follow_ups.count(), 2);
}

#[test]
fn an_old_one_that_fails_after_its_successors_were_given_up_comes_back_as_it_was() {
    let web = rolling(&service("web", 2), 1);
    let mut cluster = rolled_out(3, &web);
    cluster.run(&image(&web, "bad"));
    let tried = cluster.unjudged()[0].clone();
    cluster.fail(&tried);
    cluster.wait(31);
    let again = cluster.unjudged()[0].clone();
    assert_eq!(again.previous_allocation, tried.id);
    cluster.overdue();
    assert_eq!(cluster.versions("web"), [0, 0]);
    let old = cluster
        .store
        .alloc(&tried.previous_allocation)
        .expect("it")
        .clone();
    cluster.fail(&old);
    cluster.settle();
    assert_eq!(cluster.versions("web"), [0], "it waits its delay");
    cluster.wait(31);
    assert_eq!(cluster.versions("web"), [0, 0]);
}

#[test]
fn room_that_comes_after_a_first_rollout_has_failed_is_used() {
    let web = memory(&rolling(&service("web", 2), 1), 3_000);
    let mut cluster = Cluster::of(1);
    let eval = cluster.run(&web);
    let waiting = cluster.eval(&cluster.eval(&eval).blocked_eval);
    assert_eq!(waiting.deployment_id, cluster.deployment("web").id);
    cluster.overdue();
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_FAILED);
    assert_eq!(cluster.live("web").len(), 1);
    cluster.join(|_| {});
    cluster.settle();
    assert_eq!(cluster.live("web").len(), 2);
}

#[test]
fn a_node_that_is_emptied_by_force_keeps_no_old_one() {
    let web = rolling(&service("web", 1), 1);
    let mut cluster = rolled_out(2, &web);
    let old = cluster.only("web");
    cluster.run(&image(&web, "web:2"));
    assert_eq!(cluster.live("web").len(), 2);
    let drain = DrainStrategy {
        deadline: -1,
        ..DrainStrategy::default()
    };
    cluster.apply(Command::SetNodeDrain {
        node_id: old.node_id.clone(),
        drain: Some(drain),
        eligible: false,
        complete: false,
    });
    let on_node = cluster.live("web").into_iter();
    let on_node = on_node.filter(|alloc| alloc.node_id == old.node_id);
    let alloc_ids: Vec<_> = on_node.map(|alloc| alloc.id.clone()).collect();
    cluster.apply(Command::MigrateAllocs {
        alloc_ids,
        trigger: TRIGGER_NODE_DRAIN.into(),
    });
    cluster.settle();
    assert!(
        cluster
            .live("web")
            .iter()
            .all(|alloc| alloc.node_id != old.node_id)
    );
    cluster.all_turn_out();
    assert_eq!(cluster.versions("web"), [1]);
    assert_eq!(cluster.deployment("web").status, DEPLOYMENT_SUCCESSFUL);
}
