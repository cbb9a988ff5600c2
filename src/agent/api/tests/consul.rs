//! The Consul API: services and their health.

use std::sync::Arc;

use axum::http::StatusCode;
use logic::catalog::View;
use logic::model::{CHECK_CRITICAL, CHECK_WARNING};
use serde_json::json;

use super::fixture::{Agent, NODE, NODE_ID, answer, check_web, get, request};
use super::passing_on::{RPC, open};

fn count(value: &serde_json::Value) -> usize {
    value.as_array().unwrap().len()
}

#[actix::test]
async fn a_service_is_found_with_its_node_and_checks() {
    let (agent, _) = Agent::with_web().await;
    let found = get(&agent.consul, "/v1/health/service/web?passing").await;
    assert_eq!(found.headers["x-consul-effective-consistency"], "leader");
    let found = found.json();
    assert_eq!(found[0]["Node"]["Node"], NODE);
    assert_eq!(found[0]["Service"]["ID"], "web-1");
    assert_eq!(found[0]["Checks"][0]["CheckID"], "serfHealth");
    assert_eq!(found[0]["Checks"][1]["ServiceID"], "web-1");
    let services = get(&agent.consul, "/v1/catalog/services?stale").await;
    assert_eq!(services.headers["x-consul-effective-consistency"], "stale");
    assert_eq!(
        services.json(),
        json!({ "web": ["urlprefix-web.example/"] })
    );
    let node = get(&agent.consul, &format!("/v1/catalog/node/{NODE}"))
        .await
        .json();
    assert_eq!(node["Services"]["web-1"]["Service"], "web");
    assert_eq!(
        get(&agent.consul, "/v1/catalog/node/nosuch").await.text,
        "null"
    );
}

#[actix::test]
async fn only_passing_instances_pass() {
    let (agent, _) = Agent::with_web().await;
    for (status, passing) in [(CHECK_CRITICAL, 0), (CHECK_WARNING, 0), ("passing", 1)] {
        agent.propose(check_web(status)).await;
        let path = "/v1/health/service/web?passing=1";
        assert_eq!(
            count(&get(&agent.consul, path).await.json()),
            passing,
            "{status}"
        );
        assert_eq!(
            count(&get(&agent.consul, "/v1/health/service/web").await.json()),
            1
        );
        let path = format!("/v1/health/state/{status}");
        let checks = get(&agent.consul, &path).await.json();
        let checks = checks.as_array().unwrap();
        assert!(
            checks.iter().any(|check| check["ServiceName"] == "web"),
            "{status}"
        );
    }
    assert_eq!(
        count(&get(&agent.consul, "/v1/health/state/any").await.json()),
        2
    );
    assert_eq!(
        count(&get(&agent.consul, "/v1/health/checks/web").await.json()),
        1
    );
    assert_eq!(
        count(
            &get(&agent.consul, &format!("/v1/health/node/{NODE}"))
                .await
                .json()
        ),
        2
    );
}

#[actix::test]
async fn tags_and_node_meta_select() {
    let (agent, _) = Agent::with_web().await;
    for (query, found) in [
        ("tag=urlprefix-web.example/", 1),
        ("tag=urlprefix-web.example/&tag=other", 0),
        ("node-meta=rack:7", 0),
        ("dc=dc1", 1),
    ] {
        for path in ["/v1/health/service/web", "/v1/catalog/service/web"] {
            let found_here = get(&agent.consul, &format!("{path}?{query}")).await.json();
            assert_eq!(count(&found_here), found, "{path}?{query}");
        }
    }
}

/// The nodes of an answer's rows, in their order.
fn nodes(rows: &serde_json::Value) -> Vec<String> {
    let rows = rows.as_array().unwrap().iter();
    let name = |row: &serde_json::Value| {
        let node = row["Node"]
            .as_str()
            .or_else(|| row["Node"]["Node"].as_str());
        node.unwrap().to_owned()
    };
    rows.map(name).collect()
}

#[actix::test]
async fn what_is_near_comes_first() {
    let (server, _) = Agent::with_web().await;
    server.with_second_node("a-node").await;
    open(&server).await;
    let other = Agent::beside(&server, &[RPC]).named("a-node");
    for path in [
        "/v1/health/service/web",
        "/v1/health/checks/web",
        "/v1/catalog/service/web",
        "/v1/catalog/nodes",
    ] {
        for (agent, near, first) in [
            (&server, "", "a-node"),
            (&server, "?near=DXNODE2", NODE),
            (&server, "?near=_agent", NODE),
            (&server, "?near=a-node", "a-node"),
            (&server, "?near=nobody", "a-node"),
            (&other, "?near=_agent", "a-node"),
            (&other, "?stale&near=dxnode2&wait=1s", NODE),
        ] {
            let found = get(&agent.consul, &format!("{path}{near}")).await.json();
            let found = nodes(&found);
            assert_eq!((found.len(), found[0].as_str()), (2, first), "{path}{near}");
        }
    }
}

#[actix::test]
async fn what_cannot_be_answered_is_refused_with_a_reason() {
    let (agent, _) = Agent::with_web().await;
    for (method, path, status, text) in [
        (
            "GET",
            "/v1/catalog/services?dc=mars",
            500,
            "No path to datacenter",
        ),
        (
            "GET",
            "/v1/catalog/services?index=5&wait=zz",
            400,
            "Invalid wait time",
        ),
        (
            "GET",
            "/v1/health/service/web?filter=x",
            400,
            "an operator is expected after `x`",
        ),
        (
            "GET",
            "/v1/health/service/web?passing=maybe",
            400,
            "Invalid value for passing",
        ),
        ("GET", "/v1/health/state/sick", 400, "unknown state `sick`"),
        (
            "GET",
            "/v1/catalog/nodes?stale&consistent",
            400,
            "conflicting semantics",
        ),
        (
            "GET",
            "/v1/agent/checks?filter=x",
            400,
            "an operator is expected after `x`",
        ),
        (
            "PUT",
            "/v1/agent/service/register",
            400,
            "Missing service name",
        ),
        ("PUT", "/v1/txn", 400, "a list of steps"),
        ("PUT", "/v1/catalog/nodes", 405, "Invalid method: PUT"),
        ("GET", "/v1/bogus", 404, "no such path"),
    ] {
        let answer = answer(&agent.consul, request(method, path, "")).await;
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
    }
}

#[actix::test]
async fn a_watcher_is_told_when_a_check_changes() {
    let (agent, _) = Agent::with_web().await;
    let index = get(&agent.consul, "/v1/health/service/web").await.index();
    let path = format!("/v1/health/service/web?passing&index={index}&wait=60s");
    let (changed, _) = tokio::join!(
        get(&agent.consul, &path),
        agent.propose(check_web(CHECK_CRITICAL))
    );
    assert_eq!(changed.json(), json!([]));
    assert!(changed.index() > index);
}

#[actix::test]
async fn an_agent_tells_of_itself_and_its_own_node() {
    let (agent, _) = Agent::with_web().await;
    agent
        .view
        .send_replace(Arc::new(View::new(agent.now().catalog("dc1"))));
    let me = get(&agent.consul, "/v1/agent/self").await.json();
    assert_eq!(me["Config"]["Datacenter"], "dc1");
    assert_eq!(me["Config"]["NodeID"], NODE_ID);
    let members = get(&agent.consul, "/v1/agent/members").await.json();
    assert_eq!(
        (&members[0]["Name"], &members[0]["Status"]),
        (&json!(NODE), &json!(1))
    );
    let services = get(&agent.consul, "/v1/agent/services").await.json();
    assert_eq!(services["web-1"]["Service"], "web");
    let checks = get(&agent.consul, "/v1/agent/checks").await.json();
    assert_eq!(
        checks.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["web-1-alive"]
    );
    let leader = get(&agent.consul, "/v1/status/leader").await;
    assert_eq!(
        (leader.status, leader.json()),
        (StatusCode::OK, json!("10.0.0.2:4647"))
    );
}
