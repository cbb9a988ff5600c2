//! `/v1/job/:id/plan`: it foresees, and touches nothing.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Agent, get, put, web_job};
use super::golden::{compare, golden, recorded};

fn planning(count: i64) -> Value {
    let mut job = web_job();
    job["Job"]["TaskGroups"][0]["Count"] = json!(count);
    job["Diff"] = json!(true);
    job["PolicyOverride"] = json!(false);
    job
}

#[actix::test]
async fn a_plan_foresees_and_touches_nothing() {
    let (agent, _) = Agent::with_web().await;
    let store = agent
        .until(|store| store.evals_of_job("web").all(|eval| eval.terminal()))
        .await;
    let planned = put(&agent.nomad, "/v1/job/web/plan", &planning(3)).await;
    assert_eq!(planned.status, StatusCode::OK, "{}", planned.text);
    assert_eq!(planned.index(), store.index());
    let plan = planned.json();
    let updates = &plan["Annotations"]["DesiredTGUpdates"]["web"];
    assert_eq!(
        (&updates["Place"], &updates["InPlaceUpdate"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(updates["Preemptions"], 0);
    let count = &plan["Diff"]["TaskGroups"][0]["Fields"][0];
    assert_eq!((&count["Old"], &count["New"]), (&json!("1"), &json!("3")));
    assert_eq!(count["Annotations"], json!(["forces create"]));
    assert_eq!(plan["FailedTGAllocs"], Value::Null);
    let job = get(&agent.nomad, "/v1/job/web").await.json();
    assert_eq!(plan["JobModifyIndex"], job["JobModifyIndex"]);
    assert_eq!(agent.now().index(), store.index());

    let unasked = put(&agent.nomad, "/v1/job/web/plan", &web_job())
        .await
        .json();
    assert_eq!(unasked["Diff"], Value::Null);
}

#[actix::test]
async fn what_has_no_room_is_told_in_numbers() {
    let (agent, _) = Agent::with_web().await;
    let plan = put(&agent.nomad, "/v1/job/web/plan", &planning(300))
        .await
        .json();
    let failed = &plan["FailedTGAllocs"]["web"];
    assert_eq!(failed["NodesExhausted"], 1, "{failed}");
    let reasons = failed["Reasons"].as_object().unwrap();
    assert!(
        reasons["dxnode2"]
            .as_str()
            .unwrap()
            .contains(" of 5000 MHz"),
        "{failed}"
    );
    let eval = &plan["CreatedEvals"][0];
    assert_eq!(
        (&eval["Status"], &eval["JobID"]),
        (&json!("blocked"), &json!("web"))
    );
}

#[actix::test]
async fn a_job_that_is_not_there_is_planned_at_index_0() {
    let agent = Agent::server().await;
    let plan = put(&agent.nomad, "/v1/job/web/plan", &planning(1))
        .await
        .json();
    assert_eq!(
        (&plan["JobModifyIndex"], &plan["Diff"]["Type"]),
        (&json!(0), &json!("Added"))
    );
    assert_eq!(plan["FailedTGAllocs"]["web"]["NodesEvaluated"], 0);
    assert_eq!(
        get(&agent.nomad, "/v1/job/web").await.status,
        StatusCode::NOT_FOUND
    );
}

#[actix::test]
async fn what_cant_be_registered_cant_be_planned() {
    let agent = Agent::server().await;
    for (path, body, text) in [
        ("/v1/job/web/plan", json!({}), "Job must be specified"),
        ("/v1/job/api/plan", planning(1), "Job ID does not match"),
        ("/v1/job/web/plan", planning(-1), "1 error(s) occurred"),
    ] {
        let answer = put(&agent.nomad, path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(answer.text.contains(text), "{}", answer.text);
    }
    let read = get(&agent.nomad, "/v1/job/web/plan").await;
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(read.headers["allow"], "PUT,POST");
}

#[actix::test]
async fn plans_are_what_the_anchor_answered() {
    let name = |which: &str| format!("POST_job_httpbackend_plan_{which}");
    let request = |which: &str| recorded("nomad-api", &format!("{}.reqbody", name(which)));
    let (agent, _) = Agent::with_web().await;
    let Some(running) = request("nochange") else {
        return;
    };
    let placed = put(&agent.nomad, "/v1/jobs", &running).await;
    assert_eq!(placed.status, StatusCode::OK, "{}", placed.text);
    agent
        .until(|store| store.allocs_of_job("httpbackend").count() == 2)
        .await;
    for which in ["nochange", "count3", "count300"] {
        let (Some(body), Some(mut theirs)) = (request(which), golden("nomad-api", &name(which)))
        else {
            return;
        };
        let answer = put(&agent.nomad, "/v1/job/httpbackend/plan", &body).await;
        let ours = answer.json();
        let updates = theirs.pointer_mut("/Annotations/DesiredTGUpdates/httpbackend");
        updates.unwrap()["Preemptions"] = json!(0);
        for part in ["Annotations", "Diff"] {
            assert_eq!(ours[part], theirs[part], "{which}");
        }
        let mut lacks = Vec::new();
        compare(which, &theirs, &ours, &mut lacks);
        lacks.retain(|lack| !lack.contains("ClassEligibility"));
        assert!(lacks.is_empty(), "{lacks:#?}");
    }
}
