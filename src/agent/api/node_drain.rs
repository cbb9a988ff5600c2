//! `/v1/node/:id/drain` and `/v1/allocation/:id/stop`: moving allocations away from where they
//! are.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use logic::model::{DrainStrategy, TRIGGER_ALLOC_STOP};
use logic::state::Command;
use serde::Deserialize;
use serde_json::json;

use super::allocations::missing;
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, jobs};

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct SetDrain {
    /// None: the drain ends.
    drain_spec: Option<DrainSpec>,
    mark_eligible: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DrainSpec {
    deadline: i64,
    ignore_system_jobs: bool,
}

pub(super) async fn set_drain(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    // Older clients say `?enable=true`, and nothing more: then all leave at once.
    let asked = if query.has("enable") {
        SetDrain {
            drain_spec: query.flag("enable")?.then_some(DrainSpec {
                deadline: -1,
                ignore_system_jobs: false,
            }),
            mark_eligible: true,
        }
    } else {
        jobs::read::<SetDrain>(&body)?
    };
    let drain = asked.drain_spec.map(|spec| DrainStrategy {
        deadline: spec.deadline,
        ignore_system_jobs: spec.ignore_system_jobs,
        ..DrainStrategy::default()
    });
    let command = Command::SetNodeDrain {
        node_id: id,
        eligible: drain.is_none() && asked.mark_eligible,
        drain,
        complete: false,
    };
    let (index, _) = api.propose(command).await?;
    let answer = json!({
        "EvalCreateIndex": 0,
        "EvalIDs": null,
        "Index": index,
        "KnownLeader": false,
        "LastContact": 0,
        "NodeModifyIndex": index,
    });
    Ok(query::written(&query, index, &answer))
}

pub(super) async fn stop_alloc(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let server = api.server()?;
    query.current(server).await?;
    if server.state.now().alloc(&id).is_none() {
        return Err(missing("alloc", &id));
    }
    let command = Command::MigrateAllocs {
        alloc_ids: vec![id],
        trigger: TRIGGER_ALLOC_STOP.to_owned(),
    };
    let (index, reply) = api.propose(command).await?;
    Ok(query::written(
        &query,
        index,
        &jobs::evaluated(index, &reply),
    ))
}
