//! `job plan`: what running a job would change, without changing anything.

use std::collections::BTreeMap;

use clap::Args;
use logic::diff::JobDiff;
use logic::model::{AllocMetric, GroupChanges, JOB_SYSTEM, Job};
use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::http::escaped;
use super::terminal::Style;
use super::version::Program;
use super::{job_file, placement, terminal};

mod render;

/// Tell what running a job would change
///
/// Shows what the job asks for that it didn't before, and what the scheduler would do about it.
/// Nothing is changed. The index it prints makes `job run -check-index` run the job only if nobody
/// else has changed it meanwhile.
///
/// Exit codes: 0 no allocation would be started or stopped, 1 some would, 255 there is no plan.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover job plan httpbackend.nomad
  $ cat httpbackend.nomad | drover job plan -
  $ drover job plan -diff=false httpbackend.nomad")]
pub(super) struct JobPlan {
    /// The job file, HCL or JSON; - reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Show what differs; -diff=false doesn't
    #[arg(long, overrides_with = "no_diff")]
    diff: bool,
    #[arg(long, hide = true, overrides_with = "diff")]
    no_diff: bool,
    /// Accepted for Nomad's sake; there are no policies
    #[arg(long)]
    policy_override: bool,
    /// All of what is added and deleted too, and the reason of every node
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    job: &'a Job,
    diff: bool,
    policy_override: bool,
}

/// What the API answers, as far as it is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Plan {
    annotations: Annotations,
    diff: Option<JobDiff>,
    #[serde(rename = "FailedTGAllocs")]
    failed: Option<BTreeMap<String, AllocMetric>>,
    job_modify_index: u64,
    warnings: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "DesiredTGUpdates")]
    updates: BTreeMap<String, GroupChanges>,
}

impl JobPlan {
    pub(super) async fn run(self, program: Program) -> Outcome {
        let client = self.connection.client()?;
        let job = job_file::read(&self.file)?;
        let request = Request {
            job: &job,
            diff: !self.no_diff,
            policy_override: self.policy_override,
        };
        let plan: Plan = client
            .put(&format!("/v1/job/{}/plan", escaped(&job.id)), &request)
            .await
            .map_err(|error| Failure::from(error).during("Error during plan"))?;
        let shown = Shown {
            program: program.name(),
            file: &self.file,
            system: job.r#type == JOB_SYSTEM,
            verbose: self.verbose,
            style: self.connection.style(),
        };
        terminal::print(&shown.render(&plan));
        Ok(plan.exit())
    }
}

impl Plan {
    fn exit(&self) -> Exit {
        let touched = |changes: &GroupChanges| {
            let moved = changes.migrate + changes.destructive_update + changes.canary;
            changes.stop + changes.place + moved > 0
        };
        if self.annotations.updates.values().any(touched) {
            Exit::Changes
        } else {
            Exit::Done
        }
    }
}

/// A diff as text.
pub(super) fn render_diff(diff: &JobDiff, style: Style) -> String {
    render::job(diff, false, style)
}

/// How a plan is shown.
struct Shown<'a> {
    program: &'a str,
    file: &'a str,
    system: bool,
    verbose: bool,
    style: Style,
}

impl Shown<'_> {
    fn render(&self, plan: &Plan) -> String {
        let mut parts = Vec::new();
        if let Some(diff) = &plan.diff {
            parts.push(render::job(diff, self.verbose, self.style));
        }
        parts.push(self.dry_run(plan));
        if !plan.warnings.is_empty() {
            let warnings = format!("Job Warnings:\n{}", plan.warnings);
            parts.push(self.style.yellow(&warnings));
        }
        parts.push(self.next_step(plan.job_modify_index));
        parts.join("\n\n")
    }

    fn dry_run(&self, plan: &Plan) -> String {
        let mut lines = vec![self.style.bold("Scheduler dry-run:")];
        let failed = plan.failed.iter().flatten();
        let mut groups: Vec<_> = failed
            .map(|(name, metric)| placement::group(name, metric, "  ", self.verbose).join("\n"))
            .map(|text| self.style.yellow(&text))
            .collect();
        if groups.is_empty() {
            lines.push(self.style.green("- All tasks successfully allocated."));
        } else {
            let what = if self.system {
                "- WARNING: Failed to place allocations on all nodes."
            } else {
                "- WARNING: Failed to place all allocations."
            };
            let first = groups.remove(0);
            lines.push(self.style.yellow(what));
            lines.push([vec![first], groups].concat().join("\n\n"));
        }
        lines.join("\n")
    }

    fn next_step(&self, index: u64) -> String {
        let (program, file) = (self.program, self.file);
        format!(
            "Job Modify Index: {index}
To submit the job with version verification run:

{program} job run -check-index {index} {file}

When running the job with the check-index flag, the job will only be run if the
server side version matches the job modify index returned. If the index has
changed, another user has modified the job and the plan's results are
potentially invalid."
        )
    }
}

#[cfg(test)]
mod tests;
