//! Agents that have to ask another: a server for the state, a node for its tasks' output.

use actix::Actor;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tower_service::Service;

use super::fixture::{Agent, get, put, request, web_job};
use crate::http_listener;
use crate::seal::Seal;
use crate::server::{Requests, Routers};

pub(super) const RPC: &str = "10.0.0.2:4647";
const OTHER_NODE: &str = "6dbe0d79-ad99-6a43-fddc-7b72c909748a";

/// Lets a server answer other agents.
pub(super) async fn open(server: &Agent) {
    let network = &server.machine.world.network;
    let listener = network.listen(RPC.parse().unwrap()).await.unwrap();
    let routers = Routers {
        nomad: server.nomad.clone(),
        consul: server.consul.clone(),
    };
    let of_server = server.api.server.clone().unwrap();
    let random = server.machine.world.random.clone();
    let datacenter = "dc1".to_owned();
    Requests::new(listener, of_server, routers, datacenter, Seal::None, random).start();
}

/// Lets an agent answer HTTP where its node says it does.
async fn serve(agent: &Agent) {
    let network = &agent.machine.world.network;
    let listener = network
        .listen("10.0.0.2:4646".parse().unwrap())
        .await
        .unwrap();
    let (router, clock) = (agent.nomad.clone(), agent.machine.world.clock.clone());
    actix_rt::spawn(http_listener::serve(listener, router, clock));
}

#[actix::test]
async fn an_agent_that_is_no_server_passes_requests_on() {
    let (server, _) = Agent::with_web().await;
    open(&server).await;
    let agent = Agent::beside(&server, &[RPC]);
    for path in [
        "/v1/jobs",
        "/v1/job/web?pretty",
        "/v1/job/nosuch",
        "/v1/nodes",
    ] {
        let there = get(&server.nomad, path).await;
        let here = get(&agent.nomad, path).await;
        assert_eq!(
            (here.status, &here.text),
            (there.status, &there.text),
            "{path}"
        );
        assert_eq!(here.index(), there.index(), "{path}");
    }
    let here = get(&agent.consul, "/v1/health/service/web").await;
    assert_eq!(here.json()[0]["Service"]["ID"], "web-1");
    let mut job = web_job();
    job["Job"]["ID"] = "second".into();
    assert_eq!(
        put(&agent.nomad, "/v1/jobs", &job).await.status,
        StatusCode::OK
    );
    assert!(server.now().job("second").is_some());
}

#[actix::test]
async fn without_a_server_the_agent_says_so_and_still_answers_for_itself() {
    let server = Agent::server().await;
    let agent = Agent::beside(&server, &["10.0.0.9:4647"]);
    let refused = get(&agent.nomad, "/v1/jobs").await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        refused.text.starts_with("No cluster leader"),
        "{}",
        refused.text
    );
    assert!(refused.text.contains("10.0.0.9:4647"), "{}", refused.text);
    agent.machine.tasks.write(OTHER_NODE, "web", "still here\n");
    let path = format!("/v1/client/fs/logs/{OTHER_NODE}?task=web&type=stdout&plain=true");
    assert_eq!(get(&agent.nomad, &path).await.text, "still here\n");
    assert_eq!(
        get(&agent.nomad, "/v1/agent/self").await.status,
        StatusCode::OK
    );
    assert_eq!(
        get(&agent.consul, "/v1/agent/services").await.status,
        StatusCode::OK
    );
}

#[actix::test]
async fn output_is_fetched_from_the_node_that_has_it() {
    let (server, alloc) = Agent::with_web().await;
    open(&server).await;
    let node = Agent::beside(&server, &[RPC]);
    serve(&node).await;
    let server = server.with_id(OTHER_NODE);
    node.machine.tasks.write(&alloc, "web", "from afar\n");
    let path = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout&plain=true");
    assert_eq!(get(&server.nomad, &path).await.text, "from afar\n");
    let stats = get(
        &server.nomad,
        &format!("/v1/client/allocation/{alloc}/stats"),
    )
    .await;
    assert_eq!(
        stats.json()["Tasks"]["web"]["ResourceUsage"]["MemoryStats"]["RSS"],
        888_832
    );
    let missing = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout&offset=x");
    assert_eq!(
        get(&server.nomad, &missing).await.status,
        StatusCode::BAD_REQUEST
    );

    let follow = request("GET", &format!("{path}&follow=true"), "");
    let Ok(response) = server.nomad.clone().call(follow).await;
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "from afar\n"
    );
    node.machine.tasks.write(&alloc, "web", "and on\n");
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "and on\n"
    );
}

#[actix::test]
async fn a_node_that_cannot_be_reached_is_named() {
    let (server, alloc) = Agent::with_web().await;
    let server = server.with_id(OTHER_NODE);
    let path = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout");
    let answer = get(&server.nomad, &path).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let text = "No path to node dxnode2 at 10.0.0.2:4646: dial tcp 10.0.0.2:4646";
    assert!(answer.text.starts_with(text), "{}", answer.text);
}

#[actix::test]
async fn a_request_is_passed_on_only_once() {
    let (server, alloc) = Agent::with_web().await;
    let server = server.with_id(OTHER_NODE);
    // Where the node should be, the server itself answers: it would ask itself for ever.
    serve(&server).await;
    let path = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout");
    let answer = get(&server.nomad, &path).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(
        answer.text.contains("another agent answers there"),
        "{}",
        answer.text
    );
}
