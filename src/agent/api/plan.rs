//! `/v1/job/:id/plan`: what registering a job would lead to. Nothing is changed.

use axum::body::Bytes;
use axum::response::Response;
use logic::model::{GroupChanges, Job};
use logic::schedule::dry_run::{DryRun, dry_run};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, jobs, json};

/// How the API writes a time that never comes: periodic jobs are refused.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Planning {
    job: Option<Job>,
    /// `PolicyOverride` is accepted besides: there are no policies.
    diff: bool,
}

pub(super) async fn plan(
    api: &Api,
    query: &Query,
    body: &Bytes,
    id: &str,
) -> Result<Response, Failure> {
    let planning: Planning = jobs::read(body)?;
    let job = jobs::submitted(api, planning.job, Some(id))?;
    let server = api.server()?;
    query.current(server).await?;
    let store = server.state.now();
    let run = dry_run(&store, job, api.world.clock.now()).map_err(Failure::from)?;
    let index = run.old.as_ref().map_or(0, |job| job.job_modify_index);
    let answer = shown(&run, planning.diff, index);
    Ok(query::written(query, store.index(), &answer))
}

fn shown(run: &DryRun, diff: bool, index: u64) -> Value {
    let changes = run.decision.plan.annotations.iter();
    let updates: Map<_, _> = changes
        .map(|(group, changes)| (group.clone(), desired(changes)))
        .collect();
    let created: Vec<_> = run.created_evals().map(json::eval).collect();
    let failed = &run.decision.done.failed_tg_allocs;
    json!({
        "Annotations": { "DesiredTGUpdates": updates },
        "CreatedEvals": if created.is_empty() { Value::Null } else { created.into() },
        "Diff": diff.then(|| run.diff()),
        "FailedTGAllocs": (!failed.is_empty()).then(|| json::failed(failed)),
        "Index": index,
        "JobModifyIndex": index,
        "NextPeriodicLaunch": NEVER,
        "Warnings": "",
    })
}

fn desired(changes: &GroupChanges) -> Value {
    json!({
        "Canary": changes.canary,
        "DestructiveUpdate": changes.destructive_update,
        "Ignore": changes.ignore,
        "InPlaceUpdate": changes.in_place_update,
        "Migrate": changes.migrate,
        "Place": changes.place,
        "Preemptions": 0,
        "Stop": changes.stop,
    })
}
