//! Rollouts over the API: what is told of them, and what can be done about them.

use std::sync::Arc;

use logic::model::{AllocReport, Allocation, CLIENT_RUNNING, HealthReport};
use logic::state::Command;
use logic::time::Time;
use serde_json::{Value, json};

use super::fixture::{Agent, get, put, web_job};
use super::golden::{compare, golden};

/// The job of `web.job.json` in some version, updated one at a time.
fn rolling(version: &str, canaries: u64) -> Value {
    let mut job = web_job();
    let group = &mut job["Job"]["TaskGroups"][0];
    group["Update"] = json!({ "MaxParallel": 1, "Canary": canaries });
    group["Tasks"][0]["Env"] = json!({ "VERSION": version });
    job
}

/// The newest allocation of the newest version.
async fn newest(agent: &Agent, version: u64) -> Arc<Allocation> {
    let of_version = |alloc: &&Arc<Allocation>| alloc.job_version() == version;
    let store = agent
        .until(|store| store.allocs_of_job("web").any(|alloc| of_version(&alloc)))
        .await;
    let newest = store.allocs_of_job("web").filter(of_version);
    newest
        .max_by_key(|alloc| alloc.create_index)
        .unwrap()
        .clone()
}

/// Its node says how an allocation is.
async fn judge(agent: &Agent, alloc: &Allocation, healthy: bool) {
    let report = AllocReport {
        alloc_id: alloc.id.clone(),
        client_status: CLIENT_RUNNING.to_owned(),
        health: Some(HealthReport {
            deployment_id: alloc.deployment_id.clone(),
            healthy,
            at: Time::from_secs(1_795_526_198),
        }),
        ..AllocReport::default()
    };
    let command = Command::ReportAllocs {
        node_id: alloc.node_id.clone(),
        serial: 0,
        reports: vec![report],
    };
    agent.propose(command).await;
}

async fn rolled_out(version: &str) -> Agent {
    let (agent, _) = Agent::with_web().await;
    roll_out(&agent, version).await;
    agent
}

/// Registers a version, and lets all of it turn out well.
async fn roll_out(agent: &Agent, version: &str) {
    let registered = put(&agent.nomad, "/v1/jobs", &rolling(version, 0)).await;
    assert_eq!(registered.status, 200, "{}", registered.text);
    let number = agent.now().job("web").unwrap().version;
    let done = |store: &logic::state::Store| {
        let newest = store.deployments_of_job("web").into_iter().next().cloned();
        newest.is_some_and(|row| row.job_version == number && row.status == "successful")
    };
    while !done(&agent.now()) {
        let alloc = newest(agent, number).await;
        judge(agent, &alloc, true).await;
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn a_rollout_is_told_in_the_anchors_fields() {
    let agent = rolled_out("2").await;
    let newest = get(&agent.nomad, "/v1/job/web/deployment").await.json();
    let id = newest["ID"].as_str().unwrap();
    assert_eq!(newest["Status"], "successful");
    assert_eq!(newest["TaskGroups"]["web"]["HealthyAllocs"], 1);
    let mut lacks = Vec::new();
    for (name, path) in [
        ("GET_deployment_ID", format!("/v1/deployment/{id}")),
        ("GET_deployments_2", "/v1/deployments".to_owned()),
        (
            "GET_deployment_allocations",
            format!("/v1/deployment/allocations/{id}"),
        ),
        (
            "GET_job_rolling_deployments",
            "/v1/job/web/deployments".to_owned(),
        ),
    ] {
        let ours = get(&agent.nomad, &path).await;
        assert_eq!(ours.status, 200, "{path}: {}", ours.text);
        assert!(ours.index() > 1, "{path}");
        if let Some(theirs) = golden("nomad-api", name) {
            compare(name, &theirs, &ours.json(), &mut lacks);
        }
    }
    lacks.retain(|lack| !lack.contains("TaskGroups.web"));
    assert!(lacks.is_empty(), "{lacks:#?}");
    let unknown = get(&agent.nomad, "/v1/deployment/none").await;
    assert_eq!(unknown.status, 404);
    let path = format!("/v1/deployment/allocations/{id}");
    let alloc = get(&agent.nomad, &path).await.json()[0].clone();
    assert_eq!(alloc["DeploymentStatus"]["Healthy"], true);
    let path = format!("/v1/allocation/{}", alloc["ID"].as_str().unwrap());
    let whole = get(&agent.nomad, &path).await.json();
    assert_eq!(whole["DeploymentID"], id);
}

#[actix::test]
async fn a_canary_is_promoted_when_it_is_healthy() {
    let agent = rolled_out("2").await;
    put(&agent.nomad, "/v1/jobs", &rolling("3", 1)).await;
    let canary = newest(&agent, 2).await;
    let id = canary.deployment_id.clone();
    let promote = format!("/v1/deployment/promote/{id}");
    let all = json!({ "DeploymentID": id, "All": true });
    let early = put(&agent.nomad, &promote, &all).await;
    assert_eq!(early.status, 400);
    assert_eq!(early.text, "Task group \"web\" has 0/1 healthy allocations");
    judge(&agent, &canary, true).await;
    let nothing = put(&agent.nomad, &promote, &json!({})).await;
    assert_eq!(nothing.status, 400, "{}", nothing.text);
    let other = json!({ "DeploymentID": "other", "All": true });
    let other = put(&agent.nomad, &promote, &other).await;
    assert_eq!(
        (other.status.as_u16(), other.text.as_str()),
        (400, "Deployment ID does not match")
    );
    let promoted = put(&agent.nomad, &promote, &all).await;
    assert_eq!(promoted.status, 200, "{}", promoted.text);
    let body = promoted.json();
    assert!(
        body["EvalID"].as_str().is_some_and(|id| id.len() == 36),
        "{body}"
    );
    assert_eq!(body["RevertedJobVersion"], Value::Null);
    assert_eq!(body["DeploymentModifyIndex"], body["Index"]);
    agent
        .until(|store| {
            store
                .deployment(&id)
                .is_some_and(|row| row.status == "successful")
        })
        .await;
    let again = put(&agent.nomad, &promote, &all).await;
    assert_eq!(again.status, 400);
    assert_eq!(again.text, "can't promote terminal deployment");
}

#[actix::test]
async fn a_deployment_is_paused_resumed_and_failed() {
    let agent = rolled_out("2").await;
    put(&agent.nomad, "/v1/jobs", &rolling("3", 0)).await;
    let id = newest(&agent, 2).await.deployment_id.clone();
    let pause = format!("/v1/deployment/pause/{id}");
    for (paused, status, text) in [
        (true, "paused", "Deployment is paused"),
        (false, "running", "Deployment is running"),
    ] {
        let body = json!({ "DeploymentID": id, "Pause": paused });
        let changed = put(&agent.nomad, &pause, &body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let row = get(&agent.nomad, &format!("/v1/deployment/{id}"))
            .await
            .json();
        assert_eq!(
            (&row["Status"], &row["StatusDescription"]),
            (&json!(status), &json!(text))
        );
    }
    let failed = put(
        &agent.nomad,
        &format!("/v1/deployment/fail/{id}"),
        &json!({}),
    )
    .await;
    assert_eq!(failed.status, 200, "{}", failed.text);
    let row = get(&agent.nomad, &format!("/v1/deployment/{id}"))
        .await
        .json();
    assert_eq!(row["StatusDescription"], "Deployment marked as failed");
    let unknown = put(&agent.nomad, "/v1/deployment/fail/none", &json!({})).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.text, "deployment \"none\" not found");
}

#[actix::test]
async fn a_user_says_what_is_healthy() {
    let agent = rolled_out("2").await;
    put(&agent.nomad, "/v1/jobs", &rolling("3", 0)).await;
    let alloc = newest(&agent, 2).await;
    let id = alloc.deployment_id.clone();
    let path = format!("/v1/deployment/allocation-health/{id}");
    let empty = put(&agent.nomad, &path, &json!({})).await;
    assert_eq!(empty.status, 400, "{}", empty.text);
    let stranger = put(
        &agent.nomad,
        &path,
        &json!({ "HealthyAllocationIDs": ["x"] }),
    )
    .await;
    assert_eq!(stranger.status, 400, "{}", stranger.text);
    let said = put(
        &agent.nomad,
        &path,
        &json!({ "HealthyAllocationIDs": [alloc.id] }),
    )
    .await;
    assert_eq!(said.status, 200, "{}", said.text);
    agent
        .until(|store| {
            store
                .deployment(&id)
                .is_some_and(|row| row.status == "successful")
        })
        .await;
}

#[actix::test]
async fn versions_are_compared_reverted_to_and_marked() {
    let agent = rolled_out("2").await;
    roll_out(&agent, "3").await;
    let plain = get(&agent.nomad, "/v1/job/web/versions").await.json();
    assert_eq!(plain["Diffs"], Value::Null);
    let told = get(&agent.nomad, "/v1/job/web/versions?diffs=true")
        .await
        .json();
    let versions: Vec<_> = told["Versions"].as_array().unwrap().iter().collect();
    assert_eq!(versions.len(), 3);
    assert!(versions[0]["Stable"] == true && versions[2]["Stable"] == false);
    let diffs = told["Diffs"].as_array().unwrap();
    assert_eq!(diffs.len(), 2, "each but the oldest");
    assert!(diffs[0].to_string().contains("VERSION"), "{}", diffs[0]);
    for (body, status, text) in [
        (
            json!({ "JobID": "web", "JobVersion": 2 }),
            400,
            "can't revert to current version",
        ),
        (
            json!({ "JobVersion": 9 }),
            404,
            "job \"web\" has no version 9",
        ),
        (
            json!({ "JobID": "api", "JobVersion": 1 }),
            400,
            "Job ID does not match",
        ),
        (json!({ "JobID": "web" }), 400, "`JobVersion` is missing"),
        (
            json!({ "JobVersion": 1, "EnforcePriorVersion": 1 }),
            409,
            "Current job has version 2; enforcing version 1",
        ),
    ] {
        let refused = put(&agent.nomad, "/v1/job/web/revert", &body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.text.as_str()),
            (status, text)
        );
    }
    let body = json!({ "JobID": "web", "JobVersion": 1, "EnforcePriorVersion": 2 });
    let reverted = put(&agent.nomad, "/v1/job/web/revert", &body).await;
    assert_eq!(reverted.status, 200, "{}", reverted.text);
    assert!(
        reverted.json()["EvalID"]
            .as_str()
            .is_some_and(|id| id.len() == 36)
    );
    let job = get(&agent.nomad, "/v1/job/web").await.json();
    assert_eq!(job["Version"], 3);
    assert_eq!(job["TaskGroups"][0]["Tasks"][0]["Env"]["VERSION"], "2");
    let body = json!({ "JobID": "web", "JobVersion": 3, "Stable": true });
    let marked = put(&agent.nomad, "/v1/job/web/stable", &body).await;
    assert_eq!(marked.status, 200, "{}", marked.text);
    assert_eq!(
        get(&agent.nomad, "/v1/job/web").await.json()["Stable"],
        true
    );
}
