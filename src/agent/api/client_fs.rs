//! `/v1/client/fs/logs/:alloc`: a task's output, from this agent's node or passed through from
//! another.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use logic::model::Allocation;
use ports::errors::ContainersError;
use ports::{LogStream, TaskKey};

use super::alloc_logs::{self, Output};
use super::errors::Failure;
use super::query::Query;
use super::{Api, node_proxy};

/// What a request for output asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    task: String,
    stream: LogStream,
    follow: bool,
    plain: bool,
    origin: Origin,
    offset: u64,
}

/// Where an offset is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Start,
    /// Backward from the end.
    End,
}

impl Asked {
    fn of(query: &Query) -> Result<Self, Failure> {
        let task = query
            .get("task")
            .ok_or_else(|| Failure::bad_request("must provide task name"))?;
        let stream = match query.get("type") {
            Some("stdout") => LogStream::Stdout,
            Some("stderr") => LogStream::Stderr,
            _ => {
                return Err(Failure::bad_request(
                    "must provide log type (stdout/stderr)",
                ));
            }
        };
        let origin = match query.get("origin") {
            None | Some("start") => Origin::Start,
            Some("end") => Origin::End,
            Some(_) => return Err(Failure::bad_request("origin must be start or end")),
        };
        Ok(Self {
            task: task.to_owned(),
            stream,
            follow: query.flag("follow")?,
            plain: query.flag("plain")?,
            origin,
            offset: query.number("offset")?.unwrap_or(0),
        })
    }
}

pub(super) async fn logs(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = Asked::of(&query)?;
    if let Some(alloc) = node_proxy::allocation(&api, &id).await? {
        has_task(&alloc, &asked.task)?;
        if alloc.node_id != api.identity.node_id {
            return node_proxy::pass_on(&api, &alloc.node_id, &uri, &headers).await;
        }
    }
    own(
        &api,
        TaskKey {
            alloc_id: id,
            task: asked.task.clone(),
        },
        &asked,
    )
    .await
}

/// Refuses tasks that the allocation's group doesn't have.
pub(super) fn has_task(alloc: &Allocation, task: &str) -> Result<(), Failure> {
    match alloc.group() {
        Some(group) if group.task(task).is_none() => Err(Failure::not_found(format!(
            "task group \"{}\" does not have task with name \"{task}\"",
            alloc.task_group
        ))),
        Some(_) | None => Ok(()),
    }
}

/// The output of a task that runs, or ran, on this agent's own node.
async fn own(api: &Api, key: TaskKey, asked: &Asked) -> Result<Response, Failure> {
    let containers = &api.world.containers;
    let edge = containers.read_log(&key, asked.stream, 0, 0).await;
    let edge = edge.map_err(|error| unreadable(&key, &error))?;
    let offset = match asked.origin {
        Origin::Start => asked.offset,
        Origin::End => edge.end.saturating_sub(asked.offset),
    };
    let output = Output {
        containers: containers.clone(),
        key,
        stream: asked.stream,
        offset,
        follow: asked.follow,
    };
    Ok(if asked.plain {
        alloc_logs::plain(output)
    } else {
        alloc_logs::framed(output)
    })
}

fn unreadable(key: &TaskKey, error: &ContainersError) -> Failure {
    match error {
        ContainersError::Missing(_) => {
            let text = format!("task \"{}\" not started yet. No logs available", key.task);
            Failure::not_found(text)
        }
        ContainersError::Refused(_)
        | ContainersError::PortInUse { .. }
        | ContainersError::Unreachable(_)
        | ContainersError::TimedOut(_)
        | ContainersError::Failed(_) => {
            let text = format!("the output of {key} can't be read: {error}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_wrong_in_a_request_for_output_is_said() {
        for (query, text) in [
            ("type=stdout", "must provide task name"),
            ("task=web", "must provide log type (stdout/stderr)"),
            (
                "task=web&type=both",
                "must provide log type (stdout/stderr)",
            ),
            (
                "task=web&type=stdout&origin=middle",
                "origin must be start or end",
            ),
            (
                "task=web&type=stdout&offset=-3",
                "Invalid offset: `-3` is not a number",
            ),
        ] {
            let uri = format!("/v1/client/fs/logs/x?{query}").parse().unwrap();
            assert_eq!(
                Asked::of(&Query::of(&uri)),
                Err(Failure::bad_request(text)),
                "{query}"
            );
        }
    }
}
