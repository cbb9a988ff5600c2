//! The Nomad API: what is read, what is written, and what is refused.

use axum::http::StatusCode;
use logic::model::CLIENT_RUNNING;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE_ID, answer, get, put, request, web_job};

#[actix::test]
async fn a_registered_job_is_listed_with_its_allocations() {
    let (agent, alloc_id) = Agent::with_web().await;
    let jobs = get(&agent.nomad, "/v1/jobs").await;
    assert_eq!(jobs.headers["content-type"], "application/json");
    assert_eq!(jobs.headers["x-nomad-knownleader"], "true");
    let job = &jobs.json()[0];
    assert_eq!(job["ID"], "web");
    assert_eq!(job["Status"], "running");
    assert_eq!(job["JobSummary"]["Summary"]["web"]["Running"], 1);

    let allocs = get(&agent.nomad, "/v1/job/web/allocations").await.json();
    assert_eq!(allocs[0]["ID"], alloc_id);
    assert_eq!(allocs[0]["ClientStatus"], CLIENT_RUNNING);
    let alloc = get(&agent.nomad, &format!("/v1/allocation/{alloc_id}"))
        .await
        .json();
    assert_eq!(alloc["Job"]["ID"], "web");
    assert_eq!(alloc["NodeID"], NODE_ID);
    assert_eq!(
        get(&agent.nomad, "/v1/jobs?prefix=we")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        get(&agent.nomad, "/v1/jobs?prefix=x").await.json(),
        json!([])
    );
}

#[actix::test]
async fn a_stopped_job_is_kept_and_a_purged_one_is_gone() {
    let (agent, _) = Agent::with_web().await;
    let stopped = answer(&agent.nomad, request("DELETE", "/v1/job/web", "")).await;
    assert_eq!(stopped.status, StatusCode::OK);
    assert_eq!(stopped.json()["EvalID"].as_str().unwrap().len(), 36);
    assert_eq!(get(&agent.nomad, "/v1/job/web").await.json()["Stop"], true);
    assert_eq!(
        get(&agent.nomad, "/v1/job/web/versions").await.json()["Versions"][0]["Version"],
        1
    );
    answer(
        &agent.nomad,
        request("DELETE", "/v1/job/web?purge=true", ""),
    )
    .await;
    let gone = get(&agent.nomad, "/v1/job/web").await;
    assert_eq!(
        (gone.status, gone.text.as_str()),
        (StatusCode::NOT_FOUND, "job not found")
    );
    assert!(gone.index() > 1);
}

#[actix::test]
async fn a_job_that_came_from_the_api_can_be_sent_back_unchanged() {
    let (agent, _) = Agent::with_web().await;
    let job = get(&agent.nomad, "/v1/job/web").await.json();
    let again = put(&agent.nomad, "/v1/job/web", &json!({ "Job": job })).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(again.json()["JobModifyIndex"], job["JobModifyIndex"]);
    assert_eq!(get(&agent.nomad, "/v1/job/web").await.json()["Version"], 0);
}

#[actix::test]
async fn job_ids_with_slashes_are_found_by_either_spelling() {
    let agent = Agent::server().await;
    let mut job = web_job();
    job["Job"]["ID"] = json!("team/web");
    let registered = put(&agent.nomad, "/v1/jobs", &job).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    for path in [
        "/v1/job/team/web",
        "/v1/job/team%2Fweb",
        "/v1/job/team%2Fweb/summary",
    ] {
        assert_eq!(
            get(&agent.nomad, path).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
}

#[actix::test]
async fn the_callers_mistakes_are_never_the_servers_errors() {
    let (agent, _) = Agent::with_web().await;
    let no_id = "00000000-0000-0000-0000-000000000000";
    for (method, path, body, status, text) in [
        (
            "PUT",
            "/v1/jobs",
            "{\"Job\":{\"ID\":",
            400,
            "line 1 column 13",
        ),
        ("PUT", "/v1/jobs", "", 400, "JSON is expected"),
        ("PUT", "/v1/jobs", "{}", 400, "Job must be specified"),
        (
            "PUT",
            "/v1/jobs",
            "{\"Job\":{\"ID\":7}}",
            400,
            "expected a string",
        ),
        (
            "PUT",
            "/v1/jobs",
            "{\"Job\":{\"ID\":\"x\"}}",
            400,
            "1 error(s) occurred:\n\n* TaskGroups",
        ),
        (
            "PUT",
            "/v1/jobs",
            "{\"Job\":{\"Region\":\"eu\"}}",
            400,
            "No path to region",
        ),
        (
            "PUT",
            "/v1/job/web",
            "{\"Job\":{\"ID\":\"x\"}}",
            400,
            "Job ID does not match",
        ),
        (
            "PUT",
            "/v1/job/nosuch/evaluate",
            "{}",
            404,
            "job \"nosuch\" not found",
        ),
        (
            "DELETE",
            "/v1/job/nosuch",
            "",
            404,
            "job \"nosuch\" not found",
        ),
        (
            "DELETE",
            "/v1/job/web?purge=perhaps",
            "",
            400,
            "Invalid value for purge",
        ),
        ("PATCH", "/v1/job/web", "", 405, "Invalid method"),
        ("DELETE", "/v1/jobs", "", 405, "Invalid method: DELETE"),
        ("GET", "/v1/validate/job", "", 405, "Invalid method: GET"),
        (
            "GET",
            "/v1/jobs?index=soon",
            "",
            400,
            "Invalid index: `soon` is not a number",
        ),
        (
            "GET",
            "/v1/jobs?index=1&wait=zz",
            "",
            400,
            "Invalid wait time",
        ),
        (
            "GET",
            "/v1/jobs?filter=x",
            "",
            400,
            "`filter` isn't supported yet",
        ),
        ("GET", "/v1/jobs?region=eu", "", 400, "No path to region"),
        (
            "GET",
            "/v1/allocation/nosuch",
            "",
            404,
            "alloc lookup failed",
        ),
        (
            "GET",
            &format!("/v1/allocation/{no_id}"),
            "",
            404,
            "alloc not found",
        ),
        (
            "GET",
            &format!("/v1/evaluation/{no_id}"),
            "",
            404,
            "eval not found",
        ),
        (
            "GET",
            &format!("/v1/node/{no_id}/allocations"),
            "",
            404,
            "node not found",
        ),
        (
            "PUT",
            &format!("/v1/node/{no_id}/eligibility"),
            "{}",
            400,
            "missing field",
        ),
        (
            "PUT",
            &format!("/v1/node/{no_id}/drain"),
            "{}",
            404,
            "not found",
        ),
        ("GET", "/v1/nosuch", "", 404, "no such path: /v1/nosuch"),
    ] {
        let answer = answer(&agent.nomad, request(method, path, body)).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path}: {}",
            answer.text
        );
        assert!(
            answer.text.contains(text),
            "{method} {path}: {}",
            answer.text
        );
        assert_eq!(
            answer.headers["content-type"], "text/plain; charset=utf-8",
            "{path}"
        );
        assert_eq!(
            status == 405,
            answer.headers.contains_key("allow"),
            "{method} {path}"
        );
    }
}

#[actix::test]
async fn an_index_that_is_not_the_jobs_is_a_conflict() {
    let (agent, _) = Agent::with_web().await;
    let mut job = web_job();
    job["EnforceIndex"] = json!(true);
    job["JobModifyIndex"] = json!(99_999);
    let refused = put(&agent.nomad, "/v1/jobs", &job).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(
        refused
            .text
            .starts_with("Enforcing job modify index 99999: job exists with")
    );
}

#[actix::test]
async fn validating_lists_what_is_wrong_and_changes_nothing() {
    let agent = Agent::server().await;
    let fine = put(&agent.nomad, "/v1/validate/job", &web_job())
        .await
        .json();
    assert_eq!(
        (&fine["Error"], &fine["ValidationErrors"]),
        (&json!(""), &Value::Null)
    );
    let mut job = web_job();
    job["Job"]["Priority"] = json!(1_000);
    let wrong = put(&agent.nomad, "/v1/validate/job", &job).await.json();
    assert_eq!(wrong["ValidationErrors"].as_array().unwrap().len(), 1);
    assert!(
        wrong["Error"]
            .as_str()
            .unwrap()
            .contains("priority is 1000")
    );
    assert_eq!(agent.now().jobs().count(), 0);
}

#[actix::test]
async fn a_job_file_is_parsed_or_its_errors_are_told_with_their_place() {
    let agent = Agent::server().await;
    let parse = |text: &str| json!({ "JobHCL": text, "Canonicalize": true });
    let file = "job \"web\" {\n  group \"g\" {\n    task \"t\" {\n      driver = \"docker\"\n\
                \n      config { image = \"x:1\" }\n    }\n  }\n}\n";
    let job = put(&agent.nomad, "/v1/jobs/parse", &parse(file)).await;
    assert_eq!(job.status, StatusCode::OK, "{}", job.text);
    assert_eq!(job.json()["TaskGroups"][0]["Tasks"][0]["Driver"], "docker");
    let broken = put(
        &agent.nomad,
        "/v1/jobs/parse",
        &parse("job \"web\" {\n  grupo \"g\" {}\n}"),
    )
    .await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    assert!(broken.text.contains(":2:3"), "{}", broken.text);
}

#[actix::test]
async fn a_blocking_query_answers_when_something_changed() {
    let agent = Agent::server().await;
    let index = get(&agent.nomad, "/v1/jobs").await.index();
    let path = format!("/v1/jobs?index={index}&wait=60s");
    let job = web_job();
    let (changed, _) = tokio::join!(
        get(&agent.nomad, &path),
        put(&agent.nomad, "/v1/jobs", &job)
    );
    assert_eq!(changed.json()[0]["ID"], "web");
    assert!(changed.index() > index);
}

#[actix::test]
async fn a_blocking_query_in_vain_answers_what_there_is() {
    let agent = Agent::server().await;
    let jobs = get(&agent.nomad, "/v1/jobs?index=1000&wait=10ms").await;
    assert_eq!((jobs.status, jobs.json()), (StatusCode::OK, json!([])));
}

#[actix::test]
async fn a_node_keeps_its_secret_and_can_be_closed_for_new_allocations() {
    let (agent, _) = Agent::with_web().await;
    let path = format!("/v1/node/{NODE_ID}");
    assert_eq!(get(&agent.nomad, &path).await.json()["SecretID"], "");
    for list in ["/v1/nodes", "/v1/agent/members", "/v1/agent/self"] {
        assert!(
            !get(&agent.nomad, list).await.text.contains("its secret"),
            "{list}"
        );
    }
    let closed = json!({ "Eligibility": "ineligible" });
    let answer = put(&agent.nomad, &format!("{path}/eligibility"), &closed).await;
    assert_eq!(answer.json()["NodeModifyIndex"], answer.index());
    assert_eq!(
        get(&agent.nomad, &path).await.json()["SchedulingEligibility"],
        "ineligible"
    );
    let nonsense = json!({ "Eligibility": "maybe" });
    let answer = put(&agent.nomad, &format!("{path}/eligibility"), &nonsense).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[actix::test]
async fn pretty_answers_are_indented() {
    let agent = Agent::server().await;
    assert_eq!(
        get(&agent.nomad, "/v1/regions?pretty").await.text,
        "[\n    \"global\"\n]"
    );
}
