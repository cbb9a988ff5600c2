//! A job's versions: what they are, going back to one, and which are worth that.

use axum::body::Bytes;
use axum::response::Response;
use logic::diff::{self, JobDiff};
use logic::model::Job;
use logic::serial::lenient;
use logic::state::{Command, Rollout, Store};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, jobs, json};

/// All versions that are kept, newest first; with `diffs`, how each differs from the one before.
pub(super) fn versions(store: &Store, job: &Job, diffs: bool) -> Value {
    let kept = store.job_versions(&job.id);
    let differences = kept.windows(2).map(|pair| match pair {
        [new, old] => diff::job(Some(old), Some(new)),
        _ => JobDiff::default(),
    });
    let differences: Vec<JobDiff> = if diffs {
        differences.collect()
    } else {
        Vec::new()
    };
    json!({
        "Diffs": diffs.then_some(differences),
        "Index": job.modify_index,
        "KnownLeader": true,
        "LastContact": 0,
        "Versions": kept.into_iter().map(|job| json::job(job)).collect::<Value>(),
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Asked {
    #[serde(rename = "JobID", deserialize_with = "lenient")]
    job_id: String,
    job_version: Option<u64>,
    enforce_prior_version: Option<u64>,
    stable: Option<bool>,
}

impl Asked {
    fn read(id: &str, body: &Bytes) -> Result<(Self, u64), Failure> {
        let asked: Self = jobs::read(body)?;
        if !asked.job_id.is_empty() && asked.job_id != id {
            return Err(Failure::bad_request("Job ID does not match"));
        }
        let Some(version) = asked.job_version else {
            return Err(Failure::bad_request("`JobVersion` is missing"));
        };
        Ok((asked, version))
    }
}

pub(super) async fn revert(
    api: &Api,
    query: &Query,
    body: &Bytes,
    job_id: String,
) -> Result<Response, Failure> {
    let (asked, version) = Asked::read(&job_id, body)?;
    let command = Command::Rollout(Rollout::Revert {
        job_id,
        version,
        prior: asked.enforce_prior_version,
    });
    let (index, reply) = api.propose(command).await?;
    let mut answer = jobs::evaluated(index, &reply);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("Warnings".to_owned(), json!(""));
    }
    Ok(query::written(query, index, &answer))
}

pub(super) async fn set_stable(
    api: &Api,
    query: &Query,
    body: &Bytes,
    job_id: String,
) -> Result<Response, Failure> {
    let (asked, version) = Asked::read(&job_id, body)?;
    let command = Command::Rollout(Rollout::SetStability {
        job_id,
        version,
        stable: asked.stable.unwrap_or(true),
    });
    let (index, _) = api.propose(command).await?;
    let answer = json!({ "Index": index, "JobModifyIndex": index });
    Ok(query::written(query, index, &answer))
}
