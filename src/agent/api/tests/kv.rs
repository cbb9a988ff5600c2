//! The Consul API: keys and values.

use axum::Router;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use logic::model::KvPair;
use logic::state::{Dump, KvDump, Store, Topic};
use serde_json::{Value, json};
use tower_service::Service;

use super::fixture::{Agent, Answer, answer, bytes, get, request};
use super::passing_on::{RPC, open};
use crate::server::snapshot_file;
use crate::wire;

async fn write(router: &Router, path: &str, value: &str) -> Value {
    let written = answer(router, request("PUT", path, value.to_owned())).await;
    assert_eq!(written.status, StatusCode::OK, "{path}: {}", written.text);
    assert_eq!(written.headers["content-type"], "application/json");
    written.json()
}

async fn delete(router: &Router, path: &str) -> Answer {
    answer(router, request("DELETE", path, "")).await
}

#[actix::test]
async fn a_key_is_written_read_and_deleted_as_in_consul() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    let missing = get(consul, "/v1/kv/a/b").await;
    assert_eq!(
        (missing.status, missing.text.as_str()),
        (StatusCode::NOT_FOUND, "")
    );
    assert_eq!(missing.headers.get("content-type"), None);
    assert_eq!(missing.index(), 1);
    assert_eq!(missing.headers["x-consul-knownleader"], "true");
    assert_eq!(write(consul, "/v1/kv/a/b?flags=42", "hello").await, true);
    let found = get(consul, "/v1/kv/a/b").await;
    let index = found.index();
    let row = json!({
        "LockIndex": 0, "Key": "a/b", "Flags": 42, "Value": "aGVsbG8=",
        "CreateIndex": index, "ModifyIndex": index,
    });
    assert_eq!(found.json(), json!([row]));
    assert_eq!(found.headers["x-consul-effective-consistency"], "leader");
    for path in ["/v1/kv/a?recurse", "/v1/kv/?recurse", "/v1/kv?recurse=true"] {
        assert_eq!(get(consul, path).await.json(), json!([row]), "{path}");
    }
    let raw = get(consul, "/v1/kv/a/b?raw").await;
    assert_eq!(raw.text, "hello");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-security-policy", "sandbox"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(raw.headers[name], value);
    }
    let deleted = delete(consul, "/v1/kv/a/b").await;
    assert_eq!(
        (deleted.status, deleted.json()),
        (StatusCode::OK, json!(true))
    );
    for path in [
        "/v1/kv/a/b",
        "/v1/kv/a/b?raw",
        "/v1/kv/a?recurse",
        "/v1/kv/a?keys",
    ] {
        let gone = get(consul, path).await;
        assert_eq!(
            (gone.status, gone.text.as_str()),
            (StatusCode::NOT_FOUND, "")
        );
        assert!(gone.index() > index, "{path}");
    }
}

#[actix::test]
async fn checked_writes_happen_only_at_the_index_they_name() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    assert_eq!(write(consul, "/v1/kv/a?cas=9", "1").await, false);
    assert_eq!(write(consul, "/v1/kv/a?cas=0", "1").await, true);
    assert_eq!(write(consul, "/v1/kv/a?cas=0", "2").await, false);
    let index = get(consul, "/v1/kv/a").await.index();
    assert_eq!(
        write(consul, &format!("/v1/kv/a?cas={index}"), "2").await,
        true
    );
    assert_eq!(get(consul, "/v1/kv/a?raw").await.text, "2");
    let stale = delete(consul, &format!("/v1/kv/a?cas={index}")).await;
    assert_eq!(stale.json(), false);
    let index = get(consul, "/v1/kv/a").await.index();
    let right = delete(consul, &format!("/v1/kv/a?cas={index}")).await;
    assert_eq!(right.json(), true);
    assert_eq!(agent.now().kv("a"), None);
}

#[actix::test]
async fn keys_are_listed_up_to_a_separator() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    assert_eq!(get(consul, "/v1/kv/?keys").await.json(), json!([]));
    for key in [
        "app/db/name",
        "app/db/port",
        "app/name",
        "app/web/port",
        "apple",
    ] {
        write(consul, &format!("/v1/kv/{key}"), "x").await;
    }
    for (path, keys) in [
        ("?keys&separator=/", json!(["app/", "apple"])),
        (
            "app/?keys&separator=/",
            json!(["app/db/", "app/name", "app/web/"]),
        ),
        ("app/db?keys", json!(["app/db/name", "app/db/port"])),
        (
            "app?keys&separator=l",
            json!([
                "app/db/name",
                "app/db/port",
                "app/name",
                "app/web/port",
                "appl"
            ]),
        ),
    ] {
        let listed = get(consul, &format!("/v1/kv/{path}")).await;
        assert_eq!(listed.json(), keys, "{path}");
    }
    assert_eq!(delete(consul, "/v1/kv/app/?recurse").await.json(), true);
    assert_eq!(get(consul, "/v1/kv/?keys").await.json(), json!(["apple"]));
    delete(consul, "/v1/kv/?recurse").await;
    assert_eq!(
        get(consul, "/v1/kv/?recurse").await.status,
        StatusCode::NOT_FOUND
    );
}

#[actix::test]
async fn a_watcher_is_told_of_writes_and_deletions() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    for (path, first) in [
        ("/v1/kv/a/b", "?"),
        ("/v1/kv/a/", "?recurse&"),
        ("/v1/kv/a", "?keys&"),
    ] {
        let from = |index: u64| format!("{path}{first}index={index}&wait=60s");
        let index = get(consul, &format!("{path}{first}")).await.index();
        let watched = from(index);
        let (written, _) = tokio::join!(get(consul, &watched), write(consul, "/v1/kv/a/b", path));
        assert_eq!(written.status, StatusCode::OK);
        assert!(written.index() > index);
        let watched = from(written.index());
        let (gone, _) = tokio::join!(get(consul, &watched), delete(consul, "/v1/kv/a/b"));
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        assert!(gone.index() > written.index());
    }
}

#[actix::test]
async fn any_text_is_a_key_and_any_bytes_are_a_value() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    for (path, key) in [
        ("with%20space", "with space"),
        ("a%2Fb", "a/b"),
        ("%E6%A5%BC/x+y", "楼/x+y"),
        ("folder/", "folder/"),
        ("a//b", "a//b"),
    ] {
        write(consul, &format!("/v1/kv/{path}"), "").await;
        let row = &get(consul, &format!("/v1/kv/{path}")).await.json()[0];
        assert_eq!((&row["Key"], &row["Value"]), (&json!(key), &Value::Null));
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let put = request("PUT", "/v1/kv/bytes", bytes.clone());
    assert_eq!(answer(consul, put).await.json(), true);
    let Ok(response) = consul
        .clone()
        .call(request("GET", "/v1/kv/bytes?raw", ""))
        .await;
    let raw = response.into_body().collect().await.unwrap();
    assert_eq!(raw.to_bytes(), bytes);
}

#[actix::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let agent = Agent::server().await;
    for (method, path, text) in [
        ("GET", "/v1/kv/", "Missing key name"),
        ("PUT", "/v1/kv/", "Missing key name"),
        ("DELETE", "/v1/kv", "Missing key name"),
        ("PUT", "/v1/kv//a", "must not begin with a '/': /a"),
        ("PUT", "/v1/kv/%FF", "isn't UTF-8"),
        ("PUT", "/v1/kv/a?flags=many", "Invalid flags: `many`"),
        ("PUT", "/v1/kv/a?cas", "Invalid cas: a number is expected"),
        ("PUT", "/v1/kv/a?cas=-1", "Invalid cas: `-1`"),
        ("PUT", "/v1/kv/a?acquire=x", "invalid session \"x\""),
        ("DELETE", "/v1/kv/a?cas=x", "Invalid cas: `x`"),
        ("DELETE", "/v1/kv/a?cas=1&recurse", "Conflicting flags"),
        ("GET", "/v1/kv/a?stale&consistent", "conflicting semantics"),
    ] {
        let refused = answer(&agent.consul, request(method, path, "x")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{method} {path}");
        assert!(
            refused.text.contains(text),
            "{method} {path}: {}",
            refused.text
        );
    }
    let refused = answer(&agent.consul, request("POST", "/v1/kv/a", "x")).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(agent.now().kv_under("").count(), 0);
}

#[actix::test]
async fn values_are_at_most_half_a_megabyte() {
    let agent = Agent::server().await;
    let consul = &agent.consul;
    let largest = "x".repeat(512 << 10);
    assert_eq!(write(consul, "/v1/kv/a", &largest).await, true);
    assert_eq!(get(consul, "/v1/kv/a?raw").await.text.len(), largest.len());
    let refused = answer(consul, request("PUT", "/v1/kv/a", largest + "x")).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let expected = "Request body(524289 bytes) too large, max size: 524288 bytes.";
    assert_eq!(refused.text, expected);
}

#[actix::test]
async fn a_snapshot_may_be_larger_than_a_message() {
    let row = |number: u8| KvPair {
        key: format!("key/{number:03}"),
        value: vec![number; 512 << 10].into(),
        create_index: 1,
        modify_index: 1,
        ..KvPair::default()
    };
    let rows: Vec<_> = (0..130).map(|number| row(number).into()).collect();
    let store = Store::restore(Dump {
        index: 1,
        indexes: [(Topic::Kv, 1)].into(),
        kv: KvDump {
            rows: rows.clone(),
            ..KvDump::default()
        },
        ..Dump::default()
    });
    let saved = snapshot_file::write(1, &store).unwrap();
    assert!(saved.len() > wire::FRAME_BYTES_MAX);
    let agent = Agent::server().await;
    write(&agent.consul, "/v1/kv/before", "x").await;
    let restored = answer(&agent.consul, request("PUT", "/v1/snapshot", saved)).await;
    assert_eq!(restored.status, StatusCode::OK, "{}", restored.text);
    assert!(agent.now().kv_under("").eq(&rows));
    let saved = bytes(&agent.consul, request("GET", "/v1/snapshot", "")).await;
    assert!(snapshot_file::read(&saved).unwrap().dump.kv.rows == rows);
    open(&agent).await;
    let client = Agent::beside(&agent, &[RPC]);
    let refused = get(&client.consul, "/v1/snapshot").await;
    assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE);
    assert!(refused.text.contains("ask a server"), "{}", refused.text);
}

#[actix::test]
async fn an_agent_that_is_no_server_passes_keys_on() {
    let server = Agent::server().await;
    open(&server).await;
    let agent = Agent::beside(&server, &[RPC]);
    let key = "/v1/kv/a%2Fb%20c";
    assert_eq!(
        write(&agent.consul, &format!("{key}?flags=7&cas=0"), "v").await,
        true
    );
    assert_eq!(
        write(&agent.consul, &format!("{key}?cas=0"), "w").await,
        false
    );
    for path in [key, "/v1/kv/a/b%20c?raw", "/v1/kv/?keys", "/v1/kv/none"] {
        let (here, there) = (
            get(&agent.consul, path).await,
            get(&server.consul, path).await,
        );
        assert_eq!(
            (here.status, &here.text),
            (there.status, &there.text),
            "{path}"
        );
        assert_eq!(here.index(), there.index(), "{path}");
    }
    let large = "x".repeat((512 << 10) + 1);
    let refused = answer(&agent.consul, request("PUT", key, large)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(delete(&agent.consul, key).await.json(), true);
    assert_eq!(server.now().kv("a/b c"), None);
}
