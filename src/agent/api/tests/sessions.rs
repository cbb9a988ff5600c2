//! The Consul API: sessions, the locks they hold, and transactions.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE, answer, get, put, request};

async fn create(agent: &Agent, body: &Value) -> String {
    let created = put(&agent.consul, "/v1/session/create", body).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.text);
    created.json()["ID"].as_str().unwrap().to_owned()
}

async fn send(agent: &Agent, method: &str, path: &str, body: &str) -> String {
    let body = body.to_owned();
    answer(&agent.consul, request(method, path, body))
        .await
        .text
}

#[actix::test]
async fn a_session_is_told_as_it_was_asked_for() {
    let (agent, _) = Agent::with_web().await;
    let asked = json!({ "Name": "mine", "TTL": "20s", "Behavior": "delete", "LockDelay": "5s" });
    let id = create(&agent, &asked).await;
    let told = get(&agent.consul, &format!("/v1/session/info/{id}")).await;
    let index = told.index();
    let told = told.json();
    assert_eq!(told[0]["Node"], NODE);
    assert_eq!(told[0]["TTL"], "20s");
    assert_eq!(told[0]["LockDelay"], 5_000_000_000_u64);
    assert_eq!(told[0]["NodeChecks"], json!(["serfHealth"]));
    let renewed = put(
        &agent.consul,
        &format!("/v1/session/renew/{id}"),
        &json!(null),
    )
    .await;
    assert_eq!(
        (renewed.status, &renewed.json()[0]["ID"]),
        (StatusCode::OK, &json!(id))
    );
    let of_node = get(&agent.consul, &format!("/v1/session/node/{NODE}")).await;
    assert_eq!(of_node.json()[0]["Name"], "mine");
    let path = format!("/v1/session/list?index={index}&wait=60s");
    let destroying = async { send(&agent, "PUT", &format!("/v1/session/destroy/{id}"), "").await };
    let (listed, destroyed) = tokio::join!(get(&agent.consul, &path), destroying);
    assert_eq!((listed.json(), destroyed.as_str()), (json!([]), "true"));
    let gone = put(
        &agent.consul,
        &format!("/v1/session/renew/{id}"),
        &json!(null),
    )
    .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[actix::test]
async fn a_session_that_cannot_be_is_refused() {
    let (agent, _) = Agent::with_web().await;
    for (asked, said) in [
        (json!({ "TTL": "1s" }), "between [10s=24h0m0s]"),
        (json!({ "TTL": "25h" }), "between [10s=24h0m0s]"),
        (json!({ "Behavior": "keep" }), "Invalid Behavior"),
        (json!({ "Node": "nosuch" }), "Missing node registration"),
        (json!({ "NodeChecks": ["nosuch"] }), "Missing check"),
        (json!({ "TTL": 5.5 }), "TTL must be a duration"),
        (json!([]), "a JSON object is expected"),
    ] {
        let refused = put(&agent.consul, "/v1/session/create", &asked).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{asked}");
        assert!(refused.text.contains(said), "{asked}: {}", refused.text);
    }
}

#[actix::test]
async fn a_lock_is_held_by_one_session() {
    let (agent, _) = Agent::with_web().await;
    let asked = json!({ "LockDelay": "0s" });
    let (one, other) = (create(&agent, &asked).await, create(&agent, &asked).await);
    let acquire = |id: &str| format!("/v1/kv/lock?acquire={id}&flags=7");
    assert_eq!(send(&agent, "PUT", &acquire(&one), "a").await, "true");
    assert_eq!(send(&agent, "PUT", &acquire(&other), "b").await, "false");
    let row = get(&agent.consul, "/v1/kv/lock").await.json()[0].take();
    assert_eq!(
        (&row["Session"], &row["LockIndex"]),
        (&json!(one), &json!(1))
    );
    assert_eq!(row["Flags"], 7);
    let release = |id: &str| format!("/v1/kv/lock?release={id}");
    assert_eq!(send(&agent, "PUT", &release(&other), "c").await, "false");
    assert_eq!(send(&agent, "PUT", &release(&one), "c").await, "true");
    let row = get(&agent.consul, "/v1/kv/lock").await.json()[0].take();
    assert_eq!((row.get("Session"), &row["LockIndex"]), (None, &json!(1)));
    assert_eq!(send(&agent, "PUT", &acquire(&other), "b").await, "true");
    for path in [
        "/v1/kv/lock?acquire=nobody",
        "/v1/kv/lock?acquire=",
        &format!("/v1/kv/lock?acquire={one}&release={one}"),
        &format!("/v1/kv/lock?acquire={one}&cas=1"),
    ] {
        let refused = answer(&agent.consul, request("PUT", path, "x")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[actix::test]
async fn a_transaction_is_done_or_says_which_step_is_wrong() {
    let agent = Agent::server().await;
    let steps = json!([
        { "KV": { "Verb": "set", "Key": "a", "Value": "MQ==", "Flags": 3 } },
        { "KV": { "Verb": "get", "Key": "a" } },
        { "KV": { "Verb": "delete", "Key": "b" } },
    ]);
    let done = put(&agent.consul, "/v1/txn", &steps).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let done = done.json();
    assert_eq!(done["Errors"], Value::Null);
    assert_eq!(done["Results"][0]["KV"]["Value"], Value::Null);
    assert_eq!(done["Results"][1]["KV"]["Value"], "MQ==");
    let steps = json!([
        { "KV": { "Verb": "set", "Key": "a", "Value": "Mg==" } },
        { "KV": { "Verb": "check-not-exists", "Key": "a" } },
    ]);
    let failed = put(&agent.consul, "/v1/txn", &steps).await;
    assert_eq!(failed.status, StatusCode::CONFLICT);
    assert_eq!(failed.json()["Errors"][0]["OpIndex"], 1);
    assert_eq!(get(&agent.consul, "/v1/kv/a?raw").await.text, "1");
    let reading = json!([{ "KV": { "Verb": "get-tree", "Key": "" } }]);
    let read = put(&agent.consul, "/v1/txn", &reading).await.json();
    assert_eq!(read["Results"][0]["KV"]["Key"], "a");
    for wrong in [
        json!({}),
        json!([{ "Node": {} }]),
        json!([{ "KV": { "Verb": "burn", "Key": "a" } }]),
        json!([{ "KV": { "Verb": "set" } }]),
        json!([{ "KV": { "Verb": "lock", "Key": "a" } }]),
        json!([{ "KV": { "Verb": "set", "Key": "a", "Value": "?" } }]),
    ] {
        let refused = put(&agent.consul, "/v1/txn", &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}
