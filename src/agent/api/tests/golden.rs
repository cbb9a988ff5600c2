//! Our answers beside those of the real programs: every field is there, with the same kind of
//! value. Ours may have more.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use logic::catalog::View;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE, NODE_ID, answer, get, put, request, web_job};

/// Objects whose keys are data: any of theirs stands for any of ours.
const MAPS: [&str; 20] = [
    "Attributes",
    "Config",
    "ConstraintFiltered",
    "Details",
    "DimensionExhausted",
    "Drivers",
    "FailedTGAllocs",
    "GET_agent_checks",
    "GET_agent_services",
    "Links",
    "Meta",
    "NodesAvailable",
    "QueuedAllocations",
    "Scores",
    "Services",
    "Summary",
    "TaggedAddresses",
    "TaskResources",
    "TaskStates",
    "Tasks",
];

/// What the anchor has and we have nothing for: deployments, and the reasons of old drivers.
const ABSENT: [&str; 1] = ["DeploymentStatus"];

/// Fields that the anchor shows, empty, of a job that was parsed, but not of one that it runs.
const ONLY_PARSED: [&str; 5] = [
    "parse.Migrate is missing",
    "parse.Reschedule is missing",
    "Services[].CheckRestart is missing",
    "Checks[].Id is missing",
    "Services[].Id is missing",
];

const HTTP_BACKEND: &str = r#"
job "httpbackend" {
  datacenters = ["dc1"]
  group "httpbackend" {
    count = 2
    task "httpbackend" {
      driver = "docker"
      config {
        image = "example/httpbackend:1"
        port_map { http = 8081 }
      }
      resources {
        network {
          mbits = 10
          port "http" {}
        }
      }
      service {
        name = "httpbackend"
        port = "http"
        check {
          name = "alive"
          type = "http"
          path = "/"
          interval = "10s"
          timeout = "2s"
        }
      }
    }
  }
}
"#;

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(super) fn recorded(api: &str, file: &str) -> Option<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let path = root.join(api).join(file);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: {} is missing", path.display());
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap())
}

pub(super) fn golden(api: &str, name: &str) -> Option<Value> {
    recorded(api, &format!("{name}.json"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Notes where `ours` lacks something that `theirs` has.
pub(super) fn compare(at: &str, theirs: &Value, ours: &Value, lacks: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Null, _) => {}
        (Value::Object(theirs), Value::Object(ours)) => {
            let name = at.rsplit('.').next().unwrap_or(at);
            if MAPS.contains(&name) {
                if let (Some(theirs), Some(ours)) = (theirs.values().next(), ours.values().next()) {
                    compare(&format!("{at}.*"), theirs, ours, lacks);
                }
                return;
            }
            for (key, value) in theirs {
                let at = format!("{at}.{key}");
                match ours.get(key) {
                    None => lacks.push(format!("{at} is missing")),
                    Some(Value::Null) if ABSENT.contains(&key.as_str()) => {}
                    Some(own) => compare(&at, value, own, lacks),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(theirs), Some(ours)) = (theirs.first(), ours.first()) {
                compare(&format!("{at}[]"), theirs, ours, lacks);
            }
        }
        (theirs, ours) if kind(theirs) == kind(ours) => {}
        (theirs, ours) => lacks.push(format!("{at} is {}, not {}", kind(ours), kind(theirs))),
    }
}

async fn same_fields(api: &str, router: &Router, files: &[(&str, String)]) {
    let mut lacks = Vec::new();
    for (name, path) in files {
        let answer = get(router, path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text);
        if let Some(theirs) = golden(api, name) {
            compare(name, &theirs, &answer.json(), &mut lacks);
        }
    }
    assert!(lacks.is_empty(), "{lacks:#?}");
}

#[actix::test]
async fn nomads_fields_are_all_there() {
    let (agent, alloc) = Agent::with_web().await;
    let store = agent
        .until(|store| store.evals_of_job("web").all(|eval| eval.terminal()))
        .await;
    let eval = store.evals_of_job("web").next().unwrap().id.clone();
    let files = [
        ("GET_agent_health", "/v1/agent/health".to_owned()),
        ("GET_agent_members", "/v1/agent/members".to_owned()),
        ("GET_agent_servers", "/v1/agent/servers".to_owned()),
        ("GET_allocation_ALLOCID", format!("/v1/allocation/{alloc}")),
        ("GET_allocations", "/v1/allocations".to_owned()),
        (
            "GET_client_allocation_ALLOCID_stats",
            format!("/v1/client/allocation/{alloc}/stats"),
        ),
        ("GET_client_stats", "/v1/client/stats".to_owned()),
        ("GET_deployments", "/v1/deployments".to_owned()),
        ("GET_evaluation_EVALID", format!("/v1/evaluation/{eval}")),
        (
            "GET_evaluation_EVALID_allocations",
            format!("/v1/evaluation/{eval}/allocations"),
        ),
        ("GET_evaluations", "/v1/evaluations".to_owned()),
        ("GET_job_httpbackend", "/v1/job/web".to_owned()),
        (
            "GET_job_httpbackend_allocations",
            "/v1/job/web/allocations".to_owned(),
        ),
        (
            "GET_job_httpbackend_deployment",
            "/v1/job/web/deployment".to_owned(),
        ),
        (
            "GET_job_httpbackend_deployments",
            "/v1/job/web/deployments".to_owned(),
        ),
        (
            "GET_job_httpbackend_evaluations",
            "/v1/job/web/evaluations".to_owned(),
        ),
        (
            "GET_job_httpbackend_summary",
            "/v1/job/web/summary".to_owned(),
        ),
        (
            "GET_job_httpbackend_versions",
            "/v1/job/web/versions".to_owned(),
        ),
        ("GET_jobs", "/v1/jobs".to_owned()),
        ("GET_node_NODEID", format!("/v1/node/{NODE_ID}")),
        (
            "GET_node_NODEID_allocations",
            format!("/v1/node/{NODE_ID}/allocations"),
        ),
        ("GET_nodes", "/v1/nodes".to_owned()),
        (
            "GET_operator_autopilot_configuration",
            "/v1/operator/autopilot/configuration".to_owned(),
        ),
        (
            "GET_operator_raft_configuration",
            "/v1/operator/raft/configuration".to_owned(),
        ),
        ("GET_regions", "/v1/regions".to_owned()),
        ("GET_status_leader", "/v1/status/leader".to_owned()),
        ("GET_status_peers", "/v1/status/peers".to_owned()),
    ];
    same_fields("nomad-api", &agent.nomad, &files).await;
}

#[actix::test]
async fn nomads_answers_to_writes_have_all_fields() {
    let agent = Agent::server().await;
    let mut lacks = Vec::new();
    for (name, path) in [
        ("POST_jobs_register_nochange", "/v1/jobs"),
        ("POST_validate_job", "/v1/validate/job"),
    ] {
        let ours = put(&agent.nomad, path, &web_job()).await.json();
        if let Some(theirs) = golden("nomad-api", name) {
            compare(name, &theirs, &ours, &mut lacks);
        }
    }
    let parse = json!({ "JobHCL": HTTP_BACKEND, "Canonicalize": true });
    let parsed = put(&agent.nomad, "/v1/jobs/parse", &parse).await.json();
    if let Some(theirs) = golden("nomad-api", "POST_jobs_parse") {
        compare("POST_jobs_parse", &theirs, &parsed, &mut lacks);
        lacks.retain(|lack| !ONLY_PARSED.iter().any(|field| lack.ends_with(field)));
    }
    assert!(lacks.is_empty(), "{lacks:#?}");
}

#[actix::test]
async fn consuls_fields_are_all_there() {
    let (agent, _) = Agent::with_web().await;
    agent
        .view
        .send_replace(Arc::new(View::new(agent.now().catalog("dc1"))));
    answer(&agent.consul, request("PUT", "/v1/kv/a/b", "hello")).await;
    let files = [
        ("GET_agent_checks", "/v1/agent/checks".to_owned()),
        ("GET_agent_members", "/v1/agent/members".to_owned()),
        ("GET_agent_services", "/v1/agent/services".to_owned()),
        (
            "GET_catalog_datacenters",
            "/v1/catalog/datacenters".to_owned(),
        ),
        (
            "GET_catalog_node_consul-2",
            format!("/v1/catalog/node/{NODE}"),
        ),
        ("GET_catalog_nodes", "/v1/catalog/nodes".to_owned()),
        (
            "GET_catalog_service_httpbackend",
            "/v1/catalog/service/web".to_owned(),
        ),
        (
            "GET_health_checks_httpbackend",
            "/v1/health/checks/web".to_owned(),
        ),
        (
            "GET_health_node_consul-2",
            format!("/v1/health/node/{NODE}"),
        ),
        (
            "GET_health_service_httpbackend",
            "/v1/health/service/web".to_owned(),
        ),
        ("GET_health_state_any", "/v1/health/state/any".to_owned()),
        ("GET_kv_a_b", "/v1/kv/a/b".to_owned()),
        ("GET_kv_a_keys", "/v1/kv/a?keys".to_owned()),
        ("GET_kv_a_recurse", "/v1/kv/a?recurse".to_owned()),
        (
            "GET_operator_raft_configuration",
            "/v1/operator/raft/configuration".to_owned(),
        ),
        ("GET_status_leader", "/v1/status/leader".to_owned()),
        ("GET_status_peers", "/v1/status/peers".to_owned()),
    ];
    same_fields("consul-api", &agent.consul, &files).await;
}

#[actix::test]
async fn the_parts_of_self_that_clients_read_are_there() {
    let (agent, _) = Agent::with_web().await;
    let mut lacks = Vec::new();
    for (api, router, parts) in [
        (
            "nomad-api",
            &agent.nomad,
            ["member", "config.Version", "config.Ports"],
        ),
        (
            "consul-api",
            &agent.consul,
            ["Config", "Stats.build", "Meta"],
        ),
    ] {
        let ours = get(router, "/v1/agent/self").await.json();
        let Some(theirs) = golden(api, "GET_agent_self") else {
            continue;
        };
        for part in parts {
            let pointer = format!("/{}", part.replace('.', "/"));
            let (theirs, ours) = (theirs.pointer(&pointer), ours.pointer(&pointer));
            compare(
                &format!("{api} self {part}"),
                theirs.unwrap(),
                ours.unwrap(),
                &mut lacks,
            );
        }
    }
    assert!(lacks.is_empty(), "{lacks:#?}");
}
