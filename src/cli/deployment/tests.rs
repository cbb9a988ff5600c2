//! Deployments as the anchor prints them.

use super::super::golden;
use super::*;

fn recorded() -> Option<Vec<Deployment>> {
    golden::answer("nomad-api/GET_job_rolling_deployments.json")
}

#[test]
fn deployments_look_as_the_anchor_lists_them() {
    let (Some(deployments), Some(expected)) =
        (recorded(), golden::output("85-rolling-status-done.out"))
    else {
        return;
    };
    let list = render_list(&deployments, false);
    assert!(expected.ends_with(&list), "{list}\n---\n{expected}");
}

#[test]
fn a_deployment_looks_as_the_anchor_shows_it() {
    let (Some(deployment), Some(expected)) = (
        golden::answer::<Deployment>("nomad-api/GET_deployment_ID.json"),
        golden::output("86-deployment-status.out"),
    ) else {
        return;
    };
    assert_eq!(render(&deployment, false, Style::PLAIN), expected);
    assert!(!deployment.ended() && !deployment.waits_for_promotion());
}

fn canary(healthy: u64, promoted: bool) -> Deployment {
    let group = Rollout {
        auto_revert: true,
        promoted,
        desired_canaries: 1,
        desired_total: 3,
        placed_allocs: 1,
        healthy_allocs: healthy,
        ..Rollout::default()
    };
    let plain = Rollout {
        desired_total: 2,
        ..Rollout::default()
    };
    Deployment {
        id: "384fcd6b-0646".to_owned(),
        status: RUNNING.to_owned(),
        status_description: "Deployment is running but requires promotion".to_owned(),
        task_groups: [("web".to_owned(), group), ("db".to_owned(), plain)].into(),
        ..Deployment::default()
    }
}

#[test]
fn canaries_and_reverting_have_columns_where_a_group_has_them() {
    assert_eq!(
        render_of_job(&canary(1, false), false, Style::PLAIN),
        "ID          = 384fcd6b
Status      = running
Description = Deployment is running but requires promotion

Deployed
Task Group  Auto Revert  Promoted  Desired  Canaries  Placed  Healthy  Unhealthy  Progress Deadline
db          false        N/A       2        0         0       0        0          N/A
web         true         false     3        1         1       1        0          N/A"
    );
}

#[test]
fn promotion_is_waited_for_once_all_canaries_are_healthy() {
    assert!(canary(1, false).waits_for_promotion());
    assert!(!canary(0, false).waits_for_promotion());
    assert!(!canary(1, true).waits_for_promotion());
}

#[test]
fn without_deployments_that_is_said() {
    assert_eq!(render_list(&[], false), "No deployments found");
}
