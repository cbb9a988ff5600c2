//! The Consul API: what is registered at an agent, and in the catalog.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE, answer, get, put, request};
use super::passing_on::{RPC, open};

/// Something that can't be kept: the disk of these tests takes nothing.
const NOT_KEPT: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

async fn status(agent: &Agent, path: &str, body: &Value) -> StatusCode {
    put(&agent.consul, path, body).await.status
}

#[actix::test]
async fn what_is_registered_is_offered_and_told() {
    let (agent, _) = Agent::with_web().await;
    let asked = json!({
        "Name": "db", "ID": "db-1", "Port": 5432, "Tags": ["master"],
        "Check": { "TTL": "10s", "Status": "passing" },
    });
    let path = "/v1/agent/service/register";
    // It isn't acknowledged before it is durable, though it is known by then.
    assert_eq!(status(&agent, path, &asked).await, NOT_KEPT);
    let services = get(&agent.consul, "/v1/agent/services").await.json();
    assert_eq!(services["db-1"]["Tags"], json!(["master"]));
    let filtered = get(&agent.consul, "/v1/agent/services?filter=Port==1").await;
    assert_eq!(filtered.json(), json!({}));
    let checks = get(&agent.consul, "/v1/agent/checks").await.json();
    assert_eq!(checks["service:db-1"]["Type"], "ttl");
    let one = get(&agent.consul, "/v1/agent/service/db-1").await;
    let hash = one.headers["x-consul-contenthash"].clone();
    assert_eq!(one.json()["ContentHash"], json!(hash));
    let path = "/v1/agent/health/service/id/db-1?format=text";
    assert_eq!(get(&agent.consul, path).await.text, "passing");
    status(
        &agent,
        "/v1/agent/check/warn/service:db-1?note=slow",
        &json!(null),
    )
    .await;
    let warned = get(&agent.consul, "/v1/agent/health/service/name/db").await;
    assert_eq!(warned.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(warned.json()[0]["Checks"][0]["Output"], "slow");
    let path = format!("/v1/agent/service/db-1?hash={hash}&wait=60s");
    let again = json!({ "Name": "db", "ID": "db-1", "Port": 5433 });
    let (changed, _) = tokio::join!(
        get(&agent.consul, &path),
        put(&agent.consul, "/v1/agent/service/register", &again)
    );
    assert_eq!(changed.json()["Port"], 5433);
    status(&agent, "/v1/agent/service/deregister/db-1", &json!(null)).await;
    assert_eq!(
        get(&agent.consul, "/v1/agent/services").await.json(),
        json!({})
    );
    let unknown = get(&agent.consul, "/v1/agent/service/db-1").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[actix::test]
async fn what_makes_no_sense_is_refused() {
    let (agent, _) = Agent::with_web().await;
    let bad = StatusCode::BAD_REQUEST;
    let missing = StatusCode::NOT_FOUND;
    for (path, body, expected) in [
        ("/v1/agent/service/register", json!({}), bad),
        ("/v1/agent/service/register", json!({ "Name": 1 }), bad),
        ("/v1/agent/check/register", json!({ "Name": "c" }), bad),
        (
            "/v1/agent/check/register",
            json!({ "Name": "c", "TTL": "1s", "ServiceID": "x" }),
            bad,
        ),
        ("/v1/agent/service/deregister/x", json!(null), missing),
        ("/v1/agent/check/pass/x", json!(null), missing),
        ("/v1/agent/check/update/x", json!({ "Status": "good" }), bad),
        (
            "/v1/agent/service/register",
            json!({ "Name": "web", "ID": "web-1" }),
            StatusCode::CONFLICT,
        ),
        (
            "/v1/agent/service/deregister/web-1",
            json!(null),
            StatusCode::CONFLICT,
        ),
        ("/v1/agent/maintenance", json!(null), bad),
        (
            "/v1/agent/token/default",
            json!({}),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let refused = put(&agent.consul, path, &body).await;
        assert_eq!(refused.status, expected, "{path} {body}: {}", refused.text);
    }
}

#[actix::test]
async fn a_machine_without_an_agent_is_in_the_catalog() {
    let (agent, _) = Agent::with_web().await;
    let asked = json!({
        "Node": "router", "Address": "10.0.0.99", "NodeMeta": { "rack": "1" },
        "TaggedAddresses": { "wan": "203.0.113.9" },
        "Service": { "Service": "gw", "Port": 1 },
        "Check": { "Name": "up", "Status": "passing", "ServiceID": "gw" },
    });
    let registered = put(&agent.consul, "/v1/catalog/register", &asked).await;
    assert_eq!(
        (registered.status, registered.text.as_str()),
        (StatusCode::OK, "true")
    );
    let found = get(&agent.consul, "/v1/health/service/gw?passing")
        .await
        .json();
    assert_eq!(found[0]["Node"]["TaggedAddresses"]["wan"], "203.0.113.9");
    assert_eq!(found[0]["Checks"].as_array().unwrap().len(), 1);
    let elsewhere = json!({ "Node": "router", "Datacenter": "dc2" });
    let refused = put(&agent.consul, "/v1/catalog/deregister", &elsewhere).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    let own = json!({ "Node": NODE });
    let refused = put(&agent.consul, "/v1/catalog/deregister", &own).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let gone = put(
        &agent.consul,
        "/v1/catalog/deregister",
        &json!({ "Node": "router" }),
    )
    .await;
    assert_eq!(gone.text, "true");
    assert_eq!(
        get(&agent.consul, "/v1/catalog/service/gw").await.json(),
        json!([])
    );
}

#[actix::test]
async fn events_are_heard_in_their_order() {
    let agent = Agent::server().await;
    for (name, payload) in [("deploy", "1"), ("other", ""), ("deploy", "2")] {
        let path = format!("/v1/event/fire/{name}");
        let fired = answer(&agent.consul, request("PUT", &path, payload)).await;
        assert_eq!(fired.status, StatusCode::OK, "{}", fired.text);
    }
    let heard = get(&agent.consul, "/v1/event/list?name=deploy")
        .await
        .json();
    let payloads: Vec<_> = heard
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["Payload"])
        .collect();
    assert_eq!(payloads, ["MQ==", "Mg=="]);
    let all = get(&agent.consul, "/v1/event/list").await;
    let path = format!("/v1/event/list?index={}&wait=60s", all.index());
    let firing = put(&agent.consul, "/v1/event/fire/last", &json!(null));
    let (more, _) = tokio::join!(get(&agent.consul, &path), firing);
    assert_eq!(more.json().as_array().unwrap().len(), 4);
}

#[actix::test]
async fn who_has_started_the_agent_is_asked_for_its_log_and_its_files() {
    let agent = Agent::server().await;
    for (method, path) in [("PUT", "/v1/agent/reload"), ("GET", "/v1/agent/monitor")] {
        let nobody = answer(&agent.consul, request(method, path, "")).await;
        assert_eq!(nobody.status, StatusCode::NOT_IMPLEMENTED, "{path}");
    }
    let mut reloads = agent.api.owner.reloads.listen();
    let mut follows = agent.api.owner.follows.listen();
    let reload = || put(&agent.consul, "/v1/agent/reload", &json!(null));
    let (reloaded, ()) = tokio::join!(reload(), async {
        let told = reloads.recv().await.unwrap();
        told.send(Ok(())).unwrap();
    });
    assert_eq!(
        (reloaded.status, reloaded.text.as_str()),
        (StatusCode::OK, "")
    );
    let path = "/v1/agent/monitor?loglevel=loud";
    assert_eq!(
        get(&agent.consul, path).await.status,
        StatusCode::BAD_REQUEST
    );
    let path = "/v1/agent/monitor?loglevel=DEBUG&logjson";
    let (log, ()) = tokio::join!(get(&agent.consul, path), async {
        let follow = follows.recv().await.unwrap();
        assert_eq!((follow.level.as_str(), follow.json), ("debug", true));
        follow.lines.send("one\n".into()).await.unwrap();
        follow.lines.send("two\n".into()).await.unwrap();
    });
    assert_eq!(log.text, "one\ntwo\n");
}

#[actix::test]
async fn a_configuration_with_a_mistake_is_told() {
    let agent = Agent::server().await;
    let mut reloads = agent.api.owner.reloads.listen();
    let (reloaded, ()) = tokio::join!(
        put(&agent.consul, "/v1/agent/reload", &json!(null)),
        async {
            let told = reloads.recv().await.unwrap();
            told.send(Err("x.hcl: no".to_owned())).unwrap();
        }
    );
    let told = (reloaded.status, reloaded.text.as_str());
    assert_eq!(told, (StatusCode::INTERNAL_SERVER_ERROR, "x.hcl: no"));
}

#[actix::test]
async fn an_event_is_seen_where_it_is_meant_for() {
    let (server, _) = Agent::with_web().await;
    open(&server).await;
    let other = Agent::beside(&server, &[RPC]).named("other");
    for query in [
        "",
        "?node=^dx",
        "?node=^oth",
        "?service=^web$",
        "?service=web&tag=^urlprefix",
        "?service=web&tag=^v2",
        "?service=db",
    ] {
        let path = format!("/v1/event/fire/it{query}");
        let fired = answer(&server.consul, request("PUT", &path, "")).await;
        assert_eq!(fired.status, StatusCode::OK, "{}", fired.text);
    }
    let seen = async |agent: &Agent| {
        let events = get(&agent.consul, "/v1/event/list?name=it").await;
        assert!(events.index() > 1);
        let events = events.json();
        let filters = events.as_array().unwrap().iter().map(|event| {
            let filter = |name: &str| event[name].as_str().unwrap().to_owned();
            filter("NodeFilter") + &filter("ServiceFilter") + &filter("TagFilter")
        });
        filters.collect::<Vec<_>>()
    };
    assert_eq!(seen(&server).await, ["", "^dx", "^web$", "web^urlprefix"]);
    assert_eq!(seen(&other).await, ["", "^oth", "^web$", "web^urlprefix"]);
    let path = "/v1/event/fire/it?node=%28";
    let refused = answer(&server.consul, request("PUT", path, "")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.text.starts_with("Invalid node filter `(`"),
        "{}",
        refused.text
    );
}
