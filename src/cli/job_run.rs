//! `job run`: submits a job and watches until it is placed and up.

use clap::Args;
use logic::model::Job;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::Evaluated;
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::monitor::Monitor;
use super::{format, job_file, terminal};

/// Run a job, or change one that runs
///
/// Registers the job in a file, then shows where its allocations are placed and why some can't
/// be. A job with an `update` block is watched until its deployment has ended, or waits for
/// somebody. Any other job's new allocations are watched for up to a minute: one that can't be
/// started is shown with the driver's error. Leaving early with Ctrl-C changes nothing.
///
/// Exit codes: 0 placed and running (or still starting), 1 refused or no agent, 2 registered but
/// some of it has no place or can't be started, or its deployment failed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover job run httpbackend.nomad
  $ cat httpbackend.nomad | drover job run -
  $ drover job run -detach httpbackend.nomad         in scripts
  $ drover job run -check-index 31 httpbackend.nomad only if nobody changed it meanwhile")]
pub(super) struct JobRun {
    /// The job file, HCL or JSON; - reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Print the evaluation's id and leave, instead of watching it
    #[arg(long)]
    detach: bool,
    /// Only if the job's modify index is this one; 0: only if there is no such job
    #[arg(long, value_name = "INDEX")]
    check_index: Option<u64>,
    /// Print the request as JSON instead of sending it
    #[arg(long)]
    output: bool,
    /// Accepted for Nomad's sake; there are no policies
    #[arg(long, hide = true)]
    policy_override: bool,
    /// Refused: there is no Vault to use it with
    #[arg(long, hide = true, value_name = "TOKEN")]
    vault_token: Option<String>,
    /// Full ids, and the reason of every node
    #[arg(long)]
    verbose: bool,
    /// Print nothing but the API's answer as JSON: the finished evaluation, or with -detach that of
    /// the registration
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Register<'a> {
    job: &'a Job,
    enforce_index: bool,
    job_modify_index: u64,
}

impl JobRun {
    pub(super) async fn run(self) -> Outcome {
        if self.vault_token.is_some() {
            return Err(Failure::new("-vault-token: Vault isn't supported yet"));
        }
        let client = self.connection.client()?;
        let job = job_file::read(&self.file)?;
        if self.output {
            terminal::print(&format::json(&json!({ "Job": job })));
            return Ok(Exit::Done);
        }
        let request = Register {
            job: &job,
            enforce_index: self.check_index.is_some(),
            job_modify_index: self.check_index.unwrap_or(0),
        };
        let failed = |error| Failure::from(error).during("Error submitting job");
        let answer: Value = client.put("/v1/jobs", &request).await.map_err(failed)?;
        let registered: Evaluated = Evaluated::deserialize(&answer)
            .map_err(|error| Failure::new(format!("Error submitting job: {error}")))?;
        if !registered.warnings.is_empty() {
            terminal::complain(&format!("Job Warnings:\n{}\n", registered.warnings));
        }
        let monitor = Monitor {
            client: &client,
            style: self.connection.style(),
            verbose: self.verbose,
        };
        let watched = !self.detach && !registered.eval_id.is_empty();
        match (watched, self.json) {
            (true, false) => monitor.follow(&registered.eval_id).await,
            (true, true) => {
                let (last, exit) = monitor.watch(&registered.eval_id, &mut |_| {}).await?;
                let eval: Value = client
                    .get(&format!("/v1/evaluation/{last}"))
                    .await
                    .map_err(failed)?;
                terminal::print(&format::json(&eval));
                Ok(exit)
            }
            (false, true) => {
                terminal::print(&format::json(&answer));
                Ok(Exit::Done)
            }
            (false, false) => {
                terminal::print("Job registration successful");
                if !registered.eval_id.is_empty() {
                    terminal::print(&format!("Evaluation ID: {}", registered.eval_id));
                }
                Ok(Exit::Done)
            }
        }
    }
}
