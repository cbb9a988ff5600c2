//! `/v1/job/:id` and below. A job's id may hold slashes, so the path is taken apart by hand.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::Response;
use logic::percent;
use logic::state::{Command, Store, Topic};
use serde_json::Value;

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, allocations, deployments, evaluations, history, jobs, json, plan};

/// What of a job a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Allocations,
    Evaluations,
    Summary,
    Versions,
    Deployments,
    Deployment,
    Evaluate,
    Plan,
    Revert,
    Stable,
    /// Something of the anchor's that this build hasn't.
    Later(&'static str),
}

const PARTS: [(&str, Part); 13] = [
    ("/allocations", Part::Allocations),
    ("/evaluations", Part::Evaluations),
    ("/summary", Part::Summary),
    ("/versions", Part::Versions),
    ("/deployments", Part::Deployments),
    ("/deployment", Part::Deployment),
    ("/evaluate", Part::Evaluate),
    ("/plan", Part::Plan),
    ("/revert", Part::Revert),
    ("/stable", Part::Stable),
    ("/dispatch", Part::Later("dispatching a job")),
    ("/periodic/force", Part::Later("periodic jobs")),
    ("/scale", Part::Later("scaling over the API")),
];

/// The job's id, decoded, and the part of it.
fn taken_apart(path: &str) -> Result<(String, Part), Failure> {
    let rest = path.strip_prefix("/v1/job/").unwrap_or_default();
    let found = PARTS
        .iter()
        .find_map(|(suffix, part)| Some((rest.strip_suffix(suffix)?, *part)));
    let (id, part) = found.unwrap_or((rest, Part::Whole));
    match percent::decoded(id) {
        Some(id) if !id.is_empty() => Ok((id, part)),
        Some(_) => Err(Failure::bad_request("Missing job ID")),
        None => Err(Failure::bad_request(format!(
            "`{id}` has broken percent escapes"
        ))),
    }
}

pub(super) async fn handle(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let (id, part) = taken_apart(uri.path())?;
    let reads = [Method::GET, Method::HEAD].contains(&method);
    let writes = [Method::PUT, Method::POST].contains(&method);
    match part {
        Part::Whole if writes => jobs::submit(&api, &query, &body, Some(&id)).await,
        Part::Whole if method == Method::DELETE => deregister(&api, &query, id).await,
        Part::Whole if !reads => Err(Failure::not_allowed(&method, "GET,HEAD,PUT,POST,DELETE")),
        Part::Evaluate if writes => evaluate(&api, &query, id).await,
        Part::Plan if writes => plan::plan(&api, &query, &body, &id).await,
        Part::Revert if writes => history::revert(&api, &query, &body, id).await,
        Part::Stable if writes => history::set_stable(&api, &query, &body, id).await,
        Part::Evaluate | Part::Plan | Part::Revert | Part::Stable => {
            Err(Failure::not_allowed(&method, "PUT,POST"))
        }
        Part::Later(what) => Err(Failure::not_yet(what)),
        Part::Whole
        | Part::Allocations
        | Part::Evaluations
        | Part::Summary
        | Part::Versions
        | Part::Deployments
        | Part::Deployment => {
            if !reads {
                return Err(Failure::not_allowed(&method, "GET,HEAD"));
            }
            read(&api, &query, &id, part).await
        }
    }
}

async fn read(api: &Api, query: &Query, id: &str, part: Part) -> Result<Response, Failure> {
    let diffs = part == Part::Versions && query.flag("diffs")?;
    let changed = |store: &Store| match part {
        Part::Allocations => allocations::index(store),
        Part::Evaluations => evaluations::index(store),
        Part::Summary => jobs::index(store),
        Part::Deployments | Part::Deployment => deployments::index_of_job(store, id),
        _ => store
            .job(id)
            .map_or(store.index_of(Topic::Jobs), |job| job.modify_index),
    };
    query::nomad(api, query, changed, |store| view(store, id, part, diffs)).await
}

/// A part of a job as JSON. Lists of what a job left behind are there even if it is gone.
fn view(store: &Store, id: &str, part: Part, diffs: bool) -> Result<Value, Failure> {
    let job = || {
        store
            .job(id)
            .ok_or_else(|| Failure::not_found("job not found"))
    };
    match part {
        Part::Whole => Ok(json::job(job()?)),
        Part::Summary => Ok(json::job_summary(store, job()?)),
        Part::Versions => Ok(history::versions(store, job()?, diffs)),
        Part::Allocations => Ok(allocations::stubs(store.allocs_of_job(id))),
        Part::Evaluations => Ok(store
            .evals_of_job(id)
            .map(|eval| json::eval(eval))
            .collect()),
        Part::Deployments => Ok(deployments::of_job(store, id)),
        Part::Deployment => Ok(deployments::newest_of_job(store, id)),
        Part::Evaluate | Part::Plan | Part::Revert | Part::Stable | Part::Later(_) => {
            Err(Failure::not_yet("reading this"))
        }
    }
}

async fn deregister(api: &Api, query: &Query, id: String) -> Result<Response, Failure> {
    let purge = query.flag("purge")?;
    let (index, reply) = api
        .propose(Command::DeregisterJob { job_id: id, purge })
        .await?;
    Ok(query::written(
        query,
        index,
        &jobs::evaluated(index, &reply),
    ))
}

async fn evaluate(api: &Api, query: &Query, id: String) -> Result<Response, Failure> {
    let (index, reply) = api.propose(Command::EvaluateJob { job_id: id }).await?;
    Ok(query::written(
        query,
        index,
        &jobs::evaluated(index, &reply),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_may_hold_slashes_and_escapes() {
        for (path, id, part) in [
            ("/v1/job/web", "web", Part::Whole),
            ("/v1/job/web/summary", "web", Part::Summary),
            (
                "/v1/job/team/web/allocations",
                "team/web",
                Part::Allocations,
            ),
            ("/v1/job/team%2Fweb", "team/web", Part::Whole),
            ("/v1/job/web%2Fsummary", "web/summary", Part::Whole),
            (
                "/v1/job/a%20b/periodic/force",
                "a b",
                Part::Later("periodic jobs"),
            ),
        ] {
            assert_eq!(taken_apart(path), Ok((id.to_owned(), part)), "{path}");
        }
        assert!(taken_apart("/v1/job/50%").is_err());
        assert!(taken_apart("/v1/job//plan").is_err());
    }
}
