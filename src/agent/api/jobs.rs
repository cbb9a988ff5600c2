//! `/v1/jobs` and what else takes a whole job: registering, validating, parsing.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use logic::model::Job;
use logic::state::{Command, Reply, Store, Topic};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, json};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let jobs = store.jobs().filter(|job| query.prefixed(&job.id));
        Ok(jobs.map(|job| json::job_stub(store, job)).collect())
    })
    .await
}

/// A stub tells of the job's allocations and queue too.
pub(super) fn index(store: &Store) -> u64 {
    let topics = [Topic::Jobs, Topic::Allocs, Topic::Evals];
    topics
        .into_iter()
        .map(|topic| store.index_of(topic))
        .max()
        .unwrap_or(1)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Submission {
    job: Option<Job>,
    enforce_index: bool,
    job_modify_index: u64,
}

pub(super) async fn register(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    submit(&api, &query, &body, None).await
}

/// Registers the job in `body`, which must have the id `expected` if there is one.
pub(super) async fn submit(
    api: &Api,
    query: &Query,
    body: &Bytes,
    expected: Option<&str>,
) -> Result<Response, Failure> {
    let submission: Submission = read(body)?;
    let check_index = submission
        .enforce_index
        .then_some(submission.job_modify_index);
    let job = submitted(api, submission.job, expected)?;
    let command = Command::RegisterJob {
        job: Box::new(job),
        check_index,
    };
    let (index, reply) = api.propose(command).await?;
    let mut answer = evaluated(index, &reply);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("Warnings".to_owned(), json!(""));
    }
    Ok(query::written(query, index, &answer))
}

/// What a write that leads to an evaluation is answered with.
pub(super) fn evaluated(index: u64, reply: &Reply) -> Value {
    let (eval_id, job_modify_index) = match reply {
        Reply::Evaluated {
            eval_id,
            job_modify_index,
        } => (eval_id.as_str(), *job_modify_index),
        Reply::Done
        | Reply::Planned { .. }
        | Reply::Kv { .. }
        | Reply::Superseded { .. }
        | Reply::Txn(_)
        | Reply::Session { .. }
        | Reply::Fired { .. }
        | Reply::DeploymentChanged { .. } => ("", index),
    };
    json!({
        "EvalCreateIndex": if eval_id.is_empty() { 0 } else { index },
        "EvalID": eval_id,
        "Index": index,
        "JobModifyIndex": job_modify_index,
        "KnownLeader": false,
        "LastContact": 0,
    })
}

pub(super) async fn validate(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let submission: Submission = read(&body)?;
    let job = completed(&api, submission.job)?;
    let wrong: Vec<String> = logic::validate::job(&job)
        .iter()
        .map(ToString::to_string)
        .collect();
    let error = if wrong.is_empty() {
        String::new()
    } else {
        listed(&wrong)
    };
    Ok(query.json(&json!({
        "DriverConfigValidated": true,
        "Error": error,
        "ValidationErrors": if wrong.is_empty() { Value::Null } else { json!(wrong) },
        "Warnings": "",
    })))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parse {
    /// The defaults are always filled in, whatever `Canonicalize` says: they are shown anyway.
    #[serde(rename = "JobHCL")]
    job_hcl: String,
}

pub(super) async fn parse(query: Query, body: Bytes) -> Result<Response, Failure> {
    let parse: Parse = read(&body)?;
    if parse.job_hcl.trim().is_empty() {
        return Err(Failure::bad_request("Job spec is empty"));
    }
    let parsed = jobspec::parse_job("request", parse.job_hcl.as_bytes());
    let parsed = parsed.map_err(|errors| Failure::bad_request(errors.to_string()))?;
    let mut job = parsed.job;
    complete(&mut job);
    Ok(query.json(&json::job(&job)))
}

/// The job of a request, if nothing is wrong with it. It must have the id `expected` if there is
/// one.
pub(super) fn submitted(
    api: &Api,
    job: Option<Job>,
    expected: Option<&str>,
) -> Result<Job, Failure> {
    let job = completed(api, job)?;
    if let Some(expected) = expected.filter(|expected| *expected != job.id) {
        let text = format!(
            "Job ID does not match: `{}` was sent to `{expected}`",
            job.id
        );
        return Err(Failure::bad_request(text));
    }
    match wrong(&job) {
        Some(text) => Err(Failure::bad_request(text)),
        None => Ok(job),
    }
}

/// The job of a request, with what was left out filled in.
fn completed(api: &Api, job: Option<Job>) -> Result<Job, Failure> {
    let mut job = job.ok_or_else(|| Failure::bad_request("Job must be specified"))?;
    if job.region.is_empty() {
        job.region.clone_from(&api.config.region);
    }
    if job.region != api.config.region {
        let (asked, ours) = (&job.region, &api.config.region);
        let text = format!("No path to region: the job asks for `{asked}`, there is only `{ours}`");
        return Err(Failure::bad_request(text));
    }
    // What a job without an `update` block looks like when it comes back from the API.
    if job.update == Some(json::no_update()) {
        job.update = None;
    }
    complete(&mut job);
    Ok(job)
}

/// Fills in what was left out, so that what is shown is what happens.
fn complete(job: &mut Job) {
    job.canonicalize();
    for task in job
        .task_groups
        .iter_mut()
        .flat_map(|group| &mut group.tasks)
    {
        task.kill_timeout = Some(task.kill_timeout());
    }
}

/// Everything that is wrong with a job, as one text; nothing if it is fine.
fn wrong(job: &Job) -> Option<String> {
    let wrong = logic::validate::job(job);
    if wrong.is_empty() {
        None
    } else {
        Some(listed(&wrong))
    }
}

fn listed(errors: &[impl Display]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("* {error}")).collect();
    format!(
        "{} error(s) occurred:\n\n{}",
        errors.len(),
        lines.join("\n")
    )
}

/// A request's JSON body.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    if body.is_empty() {
        return Err(Failure::bad_request(
            "the request has no body: JSON is expected",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the request's body: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_listed_as_the_anchor_lists_them() {
        assert_eq!(
            listed(&["no group", "no driver"]),
            "2 error(s) occurred:\n\n* no group\n* no driver"
        );
    }
}
