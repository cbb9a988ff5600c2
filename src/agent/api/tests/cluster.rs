//! Both APIs about the cluster itself: who leads, who votes, who joins and leaves.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE, NODE_ID, answer, bytes, get, request};

const RPC: &str = "10.0.0.2:4647";

#[actix::test]
async fn a_server_tells_who_leads_and_who_votes() {
    let agent = Agent::server().await;
    for (router, name, protocol) in [
        (&agent.nomad, format!("{NODE}.global"), "RaftProtocol"),
        (&agent.consul, NODE.to_owned(), "ProtocolVersion"),
    ] {
        assert_eq!(get(router, "/v1/status/leader").await.json(), json!(RPC));
        assert_eq!(get(router, "/v1/status/peers").await.json(), json!([RPC]));
        let raft = get(router, "/v1/operator/raft/configuration").await.json();
        let server = json!({
            "ID": NODE_ID,
            "Node": name,
            "Address": RPC,
            "Leader": true,
            "Voter": true,
            protocol: "3",
        });
        assert_eq!(raft["Servers"], json!([server]));
    }
}

#[actix::test]
async fn a_server_tells_how_the_servers_are() {
    let agent = Agent::server().await;
    for (router, name) in [
        (&agent.nomad, format!("{NODE}.global")),
        (&agent.consul, NODE.to_owned()),
    ] {
        let health = get(router, "/v1/operator/autopilot/health").await;
        assert_eq!(health.status, StatusCode::OK, "{}", health.text);
        let health = health.json();
        assert_eq!(
            (&health["Healthy"], &health["FailureTolerance"]),
            (&json!(true), &json!(0))
        );
        let server = &health["Servers"][0];
        for (field, value) in [
            ("ID", json!(NODE_ID)),
            ("Name", json!(name)),
            ("Address", json!(RPC)),
            ("SerfStatus", json!("alive")),
            ("Version", json!(crate::VERSION)),
            ("Leader", json!(true)),
            ("Healthy", json!(true)),
            ("Voter", json!(true)),
            ("LastContact", json!("0s")),
        ] {
            assert_eq!(server[field], value, "{field}");
        }
    }
    let state = get(&agent.consul, "/v1/operator/autopilot/state")
        .await
        .json();
    assert_eq!(
        (&state["Leader"], &state["Voters"]),
        (&json!(NODE_ID), &json!([NODE_ID]))
    );
    assert_eq!(state["Servers"][NODE_ID]["Status"], "leader");
    assert_eq!(state["Servers"][NODE_ID]["NodeStatus"], "alive");
}

#[actix::test]
async fn numbers_about_an_agent_are_its_own() {
    let agent = Agent::server().await;
    let stats = &get(&agent.nomad, "/v1/agent/self").await.json()["stats"];
    for (pointer, value) in [
        ("/nomad/leader", "true"),
        ("/nomad/leader_addr", RPC),
        ("/nomad/known_regions", "1"),
        ("/raft/state", "Leader"),
        ("/raft/num_peers", "0"),
        ("/serf/members", "1"),
        ("/serf/failed", "0"),
        ("/serf/encrypted", "false"),
    ] {
        assert_eq!(stats.pointer(pointer), Some(&json!(value)), "{pointer}");
    }
    let stats = &get(&agent.consul, "/v1/agent/self").await.json()["Stats"];
    assert_eq!(stats["consul"]["leader_addr"], RPC);
    assert_eq!(stats["serf_lan"]["members"], "1");
}

#[actix::test]
async fn what_operators_ask_in_vain_is_told_why() {
    let agent = Agent::server().await;
    let (nomad, consul) = (&agent.nomad, &agent.consul);
    for (router, method, path, status, text) in [
        (nomad, "PUT", "/v1/agent/join", 400, "missing ?address"),
        (nomad, "PUT", "/v1/agent/force-leave", 400, "missing ?node"),
        (nomad, "POST", "/v1/agent/force-leave?node=x", 400, "x"),
        (consul, "PUT", "/v1/agent/force-leave/x", 400, "x"),
        (
            consul,
            "PUT",
            "/v1/agent/join/10.0.0.9",
            500,
            "keeps to itself",
        ),
        (
            nomad,
            "DELETE",
            "/v1/operator/raft/peer",
            400,
            "missing ?id or ?address",
        ),
        (
            nomad,
            "DELETE",
            "/v1/operator/raft/peer?id=a&address=b",
            400,
            "not both",
        ),
        (
            consul,
            "DELETE",
            "/v1/operator/raft/peer?id=nobody",
            400,
            "nobody",
        ),
        (
            consul,
            "DELETE",
            "/v1/operator/raft/peer?address=a:1",
            400,
            "a:1",
        ),
        (
            nomad,
            "PUT",
            "/v1/operator/snapshot",
            400,
            "a snapshot is expected",
        ),
        (consul, "PUT", "/v1/snapshot", 400, "a snapshot is expected"),
        (nomad, "GET", "/v1/agent/join", 405, "Invalid method"),
        (
            nomad,
            "PUT",
            "/v1/operator/autopilot/configuration",
            501,
            "isn't supported yet",
        ),
    ] {
        let answer = answer(router, request(method, path, "")).await;
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
    let join = request(
        "PUT",
        "/v1/agent/join?address=10.0.0.8&address=10.0.0.9",
        "",
    );
    let joined: Value = answer(nomad, join).await.json();
    assert_eq!(joined["num_joined"], 0);
    let error = joined["error"].as_str().unwrap_or_default();
    assert!(!error.is_empty(), "{joined}");
}

#[actix::test]
async fn every_way_to_read_says_how_fresh_it_is() {
    let (agent, _) = Agent::with_web().await;
    for (query, consistency) in [
        ("", "leader"),
        ("?consistent", "consistent"),
        ("?stale", "stale"),
        ("?cached", "leader"),
    ] {
        let jobs = get(&agent.nomad, &format!("/v1/jobs{query}")).await;
        assert_eq!(jobs.headers["x-nomad-knownleader"], "true", "{query}");
        assert_eq!(jobs.headers["x-nomad-lastcontact"], "0", "{query}");
        let nodes = get(&agent.consul, &format!("/v1/catalog/nodes{query}")).await;
        assert_eq!(nodes.headers["x-consul-knownleader"], "true", "{query}");
        assert_eq!(nodes.headers["x-consul-lastcontact"], "0", "{query}");
        assert_eq!(
            nodes.headers["x-consul-effective-consistency"], consistency,
            "{query}"
        );
    }
}

#[actix::test]
async fn without_a_leader_only_stale_reads_are_answered() {
    let agent = Agent::server_of(3).await;
    let (nomad, consul) = (&agent.nomad, &agent.consul);
    for (router, path, header) in [
        (nomad, "/v1/jobs", "x-nomad-knownleader"),
        (consul, "/v1/catalog/nodes", "x-consul-knownleader"),
    ] {
        for mode in ["", "?consistent"] {
            let refused = get(router, &format!("{path}{mode}")).await;
            assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(
                refused.text.starts_with("No cluster leader"),
                "{}",
                refused.text
            );
        }
        let stale = get(router, &format!("{path}?stale")).await;
        assert_eq!((stale.status, stale.json()), (StatusCode::OK, json!([])));
        assert_eq!(stale.headers[header], "false");
        assert_eq!(get(router, "/v1/status/leader").await.json(), json!(""));
        assert_eq!(
            get(router, "/v1/operator/autopilot/health")
                .await
                .status
                .as_u16(),
            500
        );
    }
    let health = get(nomad, "/v1/agent/health").await;
    assert_eq!(health.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        health.json()["server"],
        json!({ "ok": false, "message": "No cluster leader" })
    );
}

#[actix::test]
async fn a_snapshot_brings_everything_back() {
    let (agent, _) = Agent::with_web().await;
    for path in ["/v1/operator/snapshot", "/v1/snapshot"] {
        let router = if path == "/v1/snapshot" {
            &agent.consul
        } else {
            &agent.nomad
        };
        let saved = bytes(router, request("GET", path, "")).await;
        let purge = request("DELETE", "/v1/job/web?purge=true", "");
        assert_eq!(answer(&agent.nomad, purge).await.status, StatusCode::OK);
        assert_eq!(get(&agent.nomad, "/v1/jobs").await.json(), json!([]));
        let restored = answer(router, request("PUT", path, saved)).await;
        assert_eq!(restored.status, StatusCode::OK, "{}", restored.text);
        assert_eq!(get(&agent.nomad, "/v1/jobs").await.json()[0]["ID"], "web");
    }
    let refused = answer(
        &agent.nomad,
        request("PUT", "/v1/operator/snapshot", "junk"),
    )
    .await;
    assert!(
        refused.text.contains("isn't a snapshot"),
        "{}",
        refused.text
    );
}
