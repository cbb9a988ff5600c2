//! `/v1/deployments` and `/v1/deployment/...`: how rollouts go, and what users do about them.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use logic::model::{Deployment, DeploymentChange};
use logic::serial::lenient;
use logic::state::{Command, Reply, Rollout, Store, Topic};
use serde::Deserialize;
use serde_json::{Value, json};

use super::allocations::{self, missing};
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, jobs, json};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let mut rows: Vec<_> = store
            .deployments()
            .filter(|row| query.prefixed(&row.id))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.create_index));
        Ok(rows.into_iter().map(|row| json::deployment(row)).collect())
    })
    .await
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let changed = |store: &Store| {
        store
            .deployment(&id)
            .map_or(index(store), |row| row.modify_index)
    };
    query::nomad(&api, &query, changed, |store| match store.deployment(&id) {
        Some(row) => Ok(json::deployment(row)),
        None => Err(missing("deployment", &id)),
    })
    .await
}

pub(super) async fn allocations(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::nomad(&api, &query, allocations::index, |store| {
        let job_id = store.deployment(&id).map(|row| row.job_id.as_str());
        let members = store.allocs_in(job_id.unwrap_or_default(), &id);
        Ok(allocations::stubs(members))
    })
    .await
}

/// A job's deployments, newest first.
pub(super) fn of_job(store: &Store, job_id: &str) -> Value {
    let rows = store.deployments_of_job(job_id).into_iter();
    rows.map(|row| json::deployment(row)).collect()
}

/// A job's newest deployment.
pub(super) fn newest_of_job(store: &Store, job_id: &str) -> Value {
    let newest = store.deployments_of_job(job_id).into_iter().next();
    newest.map_or(Value::Null, |row| json::deployment(row))
}

/// What the requests below have in common: the deployment may be named in the body as well.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Asked {
    #[serde(rename = "DeploymentID", deserialize_with = "lenient")]
    deployment_id: String,
    #[serde(deserialize_with = "lenient")]
    pause: bool,
    #[serde(deserialize_with = "lenient")]
    all: bool,
    #[serde(deserialize_with = "lenient")]
    groups: Vec<String>,
    #[serde(rename = "HealthyAllocationIDs", deserialize_with = "lenient")]
    healthy: Vec<String>,
    #[serde(rename = "UnhealthyAllocationIDs", deserialize_with = "lenient")]
    unhealthy: Vec<String>,
}

impl Asked {
    fn read(id: &str, body: &Bytes) -> Result<Self, Failure> {
        let asked: Self = jobs::read(body)?;
        if !asked.deployment_id.is_empty() && asked.deployment_id != id {
            return Err(Failure::bad_request("Deployment ID does not match"));
        }
        Ok(asked)
    }
}

pub(super) async fn fail(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    change(&api, &query, id, DeploymentChange::Fail).await
}

pub(super) async fn pause(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(&id, &body)?;
    let wanted = if asked.pause {
        DeploymentChange::Pause
    } else {
        DeploymentChange::Resume
    };
    change(&api, &query, id, wanted).await
}

pub(super) async fn promote(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(&id, &body)?;
    if !asked.all && asked.groups.is_empty() {
        let text = "nothing to promote: set `All`, or name `Groups`";
        return Err(Failure::bad_request(text));
    }
    let groups = if asked.all { Vec::new() } else { asked.groups };
    change(&api, &query, id, DeploymentChange::Promote { groups }).await
}

pub(super) async fn set_health(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let Asked {
        healthy, unhealthy, ..
    } = Asked::read(&id, &body)?;
    if healthy.is_empty() && unhealthy.is_empty() {
        let text = "no allocations: set `HealthyAllocationIDs`, `UnhealthyAllocationIDs`, or both";
        return Err(Failure::bad_request(text));
    }
    let wanted = DeploymentChange::SetHealth { healthy, unhealthy };
    change(&api, &query, id, wanted).await
}

async fn change(
    api: &Api,
    query: &Query,
    deployment_id: String,
    change: DeploymentChange,
) -> Result<Response, Failure> {
    let command = Command::Rollout(Rollout::Change {
        deployment_id,
        change,
    });
    let (index, reply) = api.propose(command).await?;
    let (eval_id, modify_index, reverted_to) = match reply {
        Reply::DeploymentChanged {
            eval_id,
            modify_index,
            reverted_to,
        } => (eval_id, modify_index, reverted_to),
        _ => (String::new(), index, None),
    };
    let answer = json!({
        "DeploymentModifyIndex": modify_index,
        "EvalCreateIndex": if eval_id.is_empty() { 0 } else { index },
        "EvalID": eval_id,
        "Index": index,
        "KnownLeader": false,
        "LastContact": 0,
        "RevertedJobVersion": reverted_to,
    });
    Ok(query::written(query, index, &answer))
}

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Deployments)
}

/// When one of a job's deployments last changed.
pub(super) fn index_of_job(store: &Store, job_id: &str) -> u64 {
    let rows = store.deployments_of_job(job_id).into_iter();
    let newest = rows
        .map(|row: &std::sync::Arc<Deployment>| row.modify_index)
        .max();
    newest.unwrap_or_else(|| index(store))
}
