//! `job status`: all jobs, or one with its groups, what waits, and its allocations.

use clap::Args;
use logic::model::{EVAL_BLOCKED, EVAL_PENDING, Evaluation, Job};
use logic::time::Time;
use serde_json::Value;

use super::api::{AllocStub, JobStub, JobSummary, newest_first};
use super::deployment::Deployment;
use super::exit::{Exit, Failure, Outcome};
use super::format::{instant, pairs, relative, shown_id, table};
use super::http::{Client, escaped};
use super::lookup;
use super::status::Asked;
use super::terminal::{self, Style};
use super::{alloc, deployment, eval, now, placement};

/// List jobs, or show one: its groups, what waits for room and why, and its allocations
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover job status
  $ drover job status httpbackend
  $ drover job status -evals -verbose http     any unique prefix will do")]
pub(super) struct JobStatus {
    /// The job's id, or a prefix of it; none: list all jobs
    id: Option<String>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    asked: Asked,
}

/// How much is shown of a job.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Also list allocations of earlier jobs with this id
    #[arg(long)]
    all_allocs: bool,
    /// Only what the job is, not what runs of it
    #[arg(long)]
    short: bool,
    /// Also list the job's evaluations
    #[arg(long)]
    evals: bool,
}

/// What there is to show of a job.
#[derive(Debug, Default)]
struct Facts {
    job: Job,
    summary: JobSummary,
    evals: Vec<Evaluation>,
    allocs: Vec<AllocStub>,
    deployment: Option<Deployment>,
}

impl JobStatus {
    pub(super) fn of(id: Option<String>, shown: Shown, asked: Asked) -> Self {
        Self { id, shown, asked }
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let Some(typed) = &self.id else {
            return self.list(&client).await;
        };
        let stub: JobStub = lookup::one(&client, typed).await?;
        let style = self.asked.connection.style();
        self.show(&client, &stub.id, style).await
    }

    async fn list(&self, client: &Client) -> Outcome {
        let failed = |error| Failure::from(error).during("Error querying jobs");
        if self.asked.raw() {
            let jobs: Value = client.get("/v1/jobs").await.map_err(failed)?;
            return self.asked.print_raw(&jobs);
        }
        let jobs: Vec<JobStub> = client.get("/v1/jobs").await.map_err(failed)?;
        if jobs.is_empty() {
            terminal::print("No running jobs");
        } else {
            terminal::print(&render_list(&jobs));
        }
        Ok(Exit::Done)
    }

    async fn show(&self, client: &Client, id: &str, style: Style) -> Outcome {
        let path = format!("/v1/job/{}", escaped(id));
        let failed = |error| Failure::from(error).during("Error querying job");
        if self.asked.raw() {
            let job: Value = client.get(&path).await.map_err(failed)?;
            return self.asked.print_raw(&job);
        }
        let job = client.get(&path).await.map_err(failed)?;
        let mut facts = Facts {
            job,
            ..Facts::default()
        };
        if !self.shown.short {
            let all = format!("{path}/allocations?all={}", self.shown.all_allocs);
            facts.allocs = client.get(&all).await.map_err(failed)?;
            let evals = client.get(&format!("{path}/evaluations")).await;
            facts.evals = evals.map_err(failed)?;
            let summary = client.get(&format!("{path}/summary")).await;
            facts.summary = summary.map_err(failed)?;
            let latest = deployment::latest(client, id).await;
            facts.deployment = latest.map_err(failed)?;
        }
        newest_first(&mut facts.allocs);
        facts
            .evals
            .sort_by_key(|eval| std::cmp::Reverse(eval.create_index));
        terminal::print(&self.shown.render(&facts, now(), self.asked.verbose, style));
        Ok(Exit::Done)
    }
}

impl Shown {
    fn render(self, facts: &Facts, now: Time, verbose: bool, style: Style) -> String {
        let mut sections = vec![render_head(&facts.job, verbose)];
        if self.short {
            return sections.concat();
        }
        let mut section = |title: &str, text: String| {
            sections.push(format!("{}\n{text}", style.bold(title)));
        };
        section("Summary", render_summary(&facts.summary));
        if self.evals || verbose {
            section("Evaluations", eval::render_list(&facts.evals, verbose));
        }
        if let Some(eval) = latest_failure(&facts.evals) {
            section("Placement Failure", render_failure(eval, verbose));
        }
        let attempts = future_attempts(facts);
        if !attempts.is_empty() {
            let row = |(group, eval): &(&str, &Evaluation)| {
                let id = shown_id(&eval.id, verbose);
                [(*group).to_owned(), id, relative(eval.wait_until, now)]
            };
            let rows = attempts.iter().map(row).collect();
            let attempts = table(["Task Group", "Eval ID", "Eval Time"], rows);
            section("Future Rescheduling Attempts", attempts);
        }
        if let Some(latest) = &facts.deployment {
            let text = deployment::render_of_job(latest, verbose, style);
            section("Latest Deployment", text);
        }
        section(
            "Allocations",
            alloc::render_list(&facts.allocs, now, verbose),
        );
        sections.join("\n\n")
    }
}

fn render_failure(eval: &Evaluation, verbose: bool) -> String {
    let mut lines = Vec::new();
    for (group, metric) in &eval.failed_tg_allocs {
        lines.push(format!("Task Group \"{group}\":"));
        lines.extend(placement::reasons(metric, "  ", verbose));
    }
    lines.join("\n")
}

/// All jobs as a table.
pub(super) fn render_list(jobs: &[JobStub]) -> String {
    let row = |job: &JobStub| {
        [
            job.id.clone(),
            job.r#type.clone(),
            job.priority.to_string(),
            shown_status(&job.status, job.stop),
            instant(Time(job.submit_time)),
        ]
    };
    let header = ["ID", "Type", "Priority", "Status", "Submit Date"];
    table(header, jobs.iter().map(row).collect())
}

fn shown_status(status: &str, stop: bool) -> String {
    if stop {
        format!("{status} (stopped)")
    } else {
        status.to_owned()
    }
}

fn render_head(job: &Job, verbose: bool) -> String {
    let mut head = vec![
        ("ID", job.id.clone()),
        ("Name", job.name.clone()),
        ("Submit Date", instant(Time(job.submit_time))),
        ("Type", job.r#type.clone()),
        ("Priority", job.priority.to_string()),
        ("Datacenters", job.datacenters.join(",")),
        ("Status", shown_status(&job.status, job.stop)),
        ("Periodic", job.periodic.is_some().to_string()),
        ("Parameterized", job.parameterized_job.is_some().to_string()),
    ];
    if verbose {
        head.insert(2, ("Version", job.version.to_string()));
    }
    if !job.status_description.is_empty() {
        head.push(("Description", job.status_description.clone()));
    }
    pairs(&head)
}

fn render_summary(summary: &JobSummary) -> String {
    let row = |(group, count): (&String, &super::api::GroupSummary)| {
        [
            group.clone(),
            count.queued.to_string(),
            count.starting.to_string(),
            count.running.to_string(),
            count.failed.to_string(),
            count.complete.to_string(),
            count.lost.to_string(),
        ]
    };
    let header = [
        "Task Group",
        "Queued",
        "Starting",
        "Running",
        "Failed",
        "Complete",
        "Lost",
    ];
    table(header, summary.summary.iter().map(row).collect())
}

/// The newest evaluation that couldn't place everything, while something still waits for room.
fn latest_failure(evals: &[Evaluation]) -> Option<&Evaluation> {
    let waits = evals.iter().any(|eval| eval.status == EVAL_BLOCKED);
    let mut failed = evals
        .iter()
        .filter(|eval| !eval.failed_tg_allocs.is_empty());
    failed.next().filter(|_| waits)
}

/// Which groups have failed allocations that will be placed anew, and by which evaluation.
fn future_attempts(facts: &Facts) -> Vec<(&str, &Evaluation)> {
    let mut attempts = Vec::new();
    for alloc in &facts.allocs {
        let eval = facts.evals.iter().find(|eval| {
            eval.id == alloc.follow_up_eval_id
                && eval.status == EVAL_PENDING
                && !eval.wait_until.is_never()
        });
        attempts.extend(eval.map(|eval| (alloc.task_group.as_str(), eval)));
    }
    attempts.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    attempts.dedup_by(|a, b| a.0 == b.0 && a.1.id == b.1.id);
    attempts
}

#[cfg(test)]
mod tests;
