//! Allocations that leave, nodes that are emptied, and an allocation's files.

use std::time::Duration;

use logic::model::{
    AllocReport, CLIENT_COMPLETE, CLIENT_RUNNING, CatalogChange, NODE_INELIGIBLE, ServiceInstance,
    TASK_DEAD, TASK_RUNNING, TRIGGER_ALLOC_STOP, TaskState,
};
use logic::state::{Command, Store};
use logic::time::Time;
use serde_json::{Value, json};

use super::fixture::{Agent, NODE, NODE_ID, get, put};

const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// It has been healthy for longer than its group asks before it may leave.
fn runs_since_long(alloc_id: &str) -> Command {
    says(alloc_id, CLIENT_RUNNING, TASK_RUNNING)
}

/// An allocation is well, and so is its service.
pub(super) async fn comes_up(agent: &Agent, alloc_id: &str) {
    let service = ServiceInstance {
        id: format!("_nomad-task-{alloc_id}-web-web-http"),
        service: "web".to_owned(),
        alloc_id: alloc_id.to_owned(),
        ..ServiceInstance::default()
    };
    let change = CatalogChange {
        node: NODE.to_owned(),
        services: vec![service],
        ..CatalogChange::default()
    };
    agent.propose(Command::ChangeCatalog { change }).await;
    agent.propose(runs_since_long(alloc_id)).await;
}

/// What the node says of an allocation.
fn says(alloc_id: &str, status: &str, task: &str) -> Command {
    let state = TaskState {
        state: task.to_owned(),
        started_at: Time::from_secs(1_795_525_000),
        ..TaskState::default()
    };
    Command::ReportAllocs {
        node_id: NODE_ID.to_owned(),
        serial: 0,
        reports: vec![AllocReport {
            alloc_id: alloc_id.to_owned(),
            client_status: status.to_owned(),
            task_states: [("web".to_owned(), state)].into(),
            ..AllocReport::default()
        }],
    }
}

#[actix::test]
async fn a_drained_node_shows_how_and_takes_nothing_new() {
    let (agent, alloc) = Agent::with_web().await;
    agent.propose(runs_since_long(&alloc)).await;
    let path = format!("/v1/node/{NODE_ID}/drain");
    let asked = json!({
        "NodeID": NODE_ID,
        "DrainSpec": { "Deadline": 3_600_000_000_000_i64, "IgnoreSystemJobs": true },
    });
    let answer = put(&agent.nomad, &path, &asked).await.json();
    assert!(answer["NodeModifyIndex"].as_u64().unwrap() > 0, "{answer}");
    let shown = get(&agent.nomad, &format!("/v1/node/{NODE_ID}"))
        .await
        .json();
    assert_eq!(shown["Drain"], true);
    assert_eq!(shown["SchedulingEligibility"], NODE_INELIGIBLE);
    let strategy = &shown["DrainStrategy"];
    assert_eq!(strategy["Deadline"], 3_600_000_000_000_i64);
    assert_eq!(strategy["IgnoreSystemJobs"], true);
    assert_ne!(strategy["ForceDeadline"], "0001-01-01T00:00:00Z");

    // There is no other node: what runs here has to leave, but stays until it can.
    agent
        .until(|store| store.alloc(&alloc).is_some_and(|alloc| alloc.migrate))
        .await;
    let leaving = get(&agent.nomad, &format!("/v1/allocation/{alloc}"))
        .await
        .json();
    assert_eq!(leaving["DesiredTransition"]["Migrate"], true);
    assert_eq!(leaving["DesiredStatus"], "run");
    assert_eq!(leaving.get("Migrate"), None);

    let ended = json!({ "DrainSpec": null, "MarkEligible": true });
    put(&agent.nomad, &path, &ended).await;
    let shown = get(&agent.nomad, &format!("/v1/node/{NODE_ID}"))
        .await
        .json();
    assert_eq!(shown["Drain"], false);
    assert_eq!(shown["DrainStrategy"], Value::Null);
    assert_eq!(shown["SchedulingEligibility"], "eligible");
}

#[actix::test]
async fn a_stopped_allocation_is_replaced_and_only_once() {
    let (agent, alloc) = Agent::with_web().await;
    let path = format!("/v1/allocation/{alloc}/stop");
    let stopped = put(&agent.nomad, &path, &Value::Null).await.json();
    let eval = stopped["EvalID"].as_str().unwrap().to_owned();
    let store = agent
        .until(|store| store.eval(&eval).is_some_and(|eval| eval.terminal()))
        .await;
    assert_eq!(store.eval(&eval).unwrap().triggered_by, TRIGGER_ALLOC_STOP);
    let old = store.alloc(&alloc).unwrap();
    assert!(!old.server_terminal() && !old.next_allocation.is_empty());
    comes_up(&agent, &old.next_allocation).await;
    let store = agent
        .until(|store| store.alloc(&alloc).is_some_and(|old| old.server_terminal()))
        .await;
    let evals = store.evals_of_job("web");
    let triggers: Vec<_> = evals.map(|eval| eval.triggered_by.as_str()).collect();
    let stops = triggers.iter().filter(|by| **by == TRIGGER_ALLOC_STOP);
    assert_eq!(stops.count(), 2, "{triggers:?}");
    let again = put(&agent.nomad, &path, &Value::Null).await;
    assert_eq!(again.status.as_u16(), 409, "{}", again.text);
    let unknown = format!("/v1/allocation/{NO_ID}/stop");
    let unknown = put(&agent.nomad, &unknown, &Value::Null).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.text.as_str()),
        (404, "alloc not found")
    );
}

#[actix::test]
async fn what_ended_is_forgotten_when_somebody_asks_for_that() {
    let (agent, alloc) = Agent::with_web().await;
    let stop = format!("/v1/allocation/{alloc}/stop");
    put(&agent.nomad, &stop, &Value::Null).await;
    let next = |store: &Store| store.alloc(&alloc).unwrap().next_allocation.clone();
    let store = agent.until(|store| !next(store).is_empty()).await;
    let successor = next(&store);
    comes_up(&agent, &successor).await;
    let stops = |store: &Store| store.alloc(&alloc).unwrap().server_terminal();
    agent.until(stops).await;
    let gc = async || {
        agent.machine.clock.pass(Duration::from_secs(1));
        let collected = put(&agent.nomad, "/v1/system/gc", &Value::Null).await;
        assert_eq!(collected.status.as_u16(), 200, "{}", collected.text);
        agent.now()
    };
    let kept = gc().await;
    assert!(
        kept.alloc(&alloc).is_some(),
        "its node hasn't said it ended"
    );

    agent
        .propose(says(&alloc, CLIENT_COMPLETE, TASK_DEAD))
        .await;
    let collected = gc().await;
    assert!(collected.alloc(&alloc).is_none(), "it has ended");
    assert!(collected.alloc(&successor).is_some(), "it runs");
    let gone = get(&agent.nomad, &format!("/v1/allocation/{alloc}")).await;
    assert_eq!(gone.status.as_u16(), 404, "{}", gone.text);
}

#[actix::test]
async fn an_allocations_files_are_listed_and_read() {
    let (agent, alloc) = Agent::with_web().await;
    agent.machine.tasks.write(&alloc, "web", "hello world\n");
    let at = |what: &str, path: &str| format!("/v1/client/fs/{what}/{alloc}?path={path}");
    let file = "alloc/logs/web.stdout.0";
    let listed = get(&agent.nomad, &at("ls", "/alloc/logs")).await.json();
    assert_eq!(listed[0]["Name"], "web.stdout.0");
    assert_eq!(listed[0]["Size"], 12);
    let stat = get(&agent.nomad, &at("stat", file)).await.json();
    assert_eq!(stat["IsDir"], false);
    assert_eq!(
        get(&agent.nomad, &at("cat", file)).await.text,
        "hello world\n"
    );
    let part = format!("{}&offset=6&limit=3", at("readat", file));
    assert_eq!(get(&agent.nomad, &part).await.text, "wor");
    for (path, status, text) in [
        (at("ls", file), 400, "is not a directory"),
        (at("cat", "alloc/logs"), 400, "is a directory"),
        (at("stat", "nosuch"), 404, "there is no `nosuch`"),
        (at("readat", file), 400, "must provide offset"),
        (
            format!("/v1/client/fs/ls/{NO_ID}"),
            404,
            "there is no allocation",
        ),
    ] {
        let refused = get(&agent.nomad, &path).await;
        assert_eq!(refused.status.as_u16(), status, "{path}: {}", refused.text);
        assert!(refused.text.contains(text), "{path}: {}", refused.text);
    }
}
