//! A task's output over the API.

use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use tower_service::Service;

use super::fixture::{Agent, get, request};

#[actix::test]
async fn output_comes_plain_or_in_frames_and_from_where_it_is_asked() {
    let (agent, alloc) = Agent::with_web().await;
    agent.machine.tasks.write(&alloc, "web", "hello world\n");
    let path = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout");
    for (query, text) in [
        ("&plain=true", "hello world\n"),
        ("&plain=true&offset=6", "world\n"),
        ("&plain=true&origin=end&offset=3", "ld\n"),
        ("&plain=true&origin=end&offset=1000", "hello world\n"),
    ] {
        let output = get(&agent.nomad, &format!("{path}{query}")).await;
        assert_eq!(
            (output.status, output.text.as_str()),
            (StatusCode::OK, text),
            "{query}"
        );
    }
    let framed = get(&agent.nomad, &path).await;
    assert_eq!(framed.headers["content-type"], "text/plain; charset=utf-8");
    let frame =
        json!({ "Data": "aGVsbG8gd29ybGQK", "File": "alloc/logs/web.stdout.0", "Offset": 12 });
    assert_eq!(framed.json(), frame);
    let stderr = format!("/v1/client/fs/logs/{alloc}?task=web&type=stderr");
    assert_eq!(get(&agent.nomad, &stderr).await.text, "");
}

#[actix::test]
async fn following_goes_on_with_what_is_written_later() {
    let (agent, alloc) = Agent::with_web().await;
    agent.machine.tasks.write(&alloc, "web", "one\n");
    let path = format!("/v1/client/fs/logs/{alloc}?task=web&type=stdout&follow=true&plain=true");
    let Ok(response) = agent.nomad.clone().call(request("GET", &path, "")).await;
    let mut body = response.into_body();
    for (written, next) in [("", "one\n"), ("two\n", "two\n"), ("three\n", "three\n")] {
        agent.machine.tasks.write(&alloc, "web", written);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), next);
    }
}

#[actix::test]
async fn output_that_cannot_be_had_is_refused_with_a_reason() {
    let (agent, alloc) = Agent::with_web().await;
    let no_alloc = "00000000-0000-0000-0000-000000000000";
    for (path, status, text) in [
        (
            format!("{alloc}?type=stdout"),
            400,
            "must provide task name",
        ),
        (format!("{alloc}?task=web"), 400, "must provide log type"),
        (
            format!("{alloc}?task=zz&type=stdout"),
            404,
            "task group \"web\" does not have task with name \"zz\"",
        ),
        (
            format!("{alloc}?task=web&type=stdout"),
            404,
            "task \"web\" not started yet",
        ),
        (
            format!("{no_alloc}?task=web&type=stdout"),
            404,
            "alloc lookup failed",
        ),
        (
            "nosuch?task=web&type=stdout".to_owned(),
            404,
            "alloc lookup failed",
        ),
    ] {
        let answer = get(&agent.nomad, &format!("/v1/client/fs/logs/{path}")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        assert!(answer.text.contains(text), "{path}: {}", answer.text);
    }
}
