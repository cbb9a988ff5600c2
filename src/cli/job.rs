//! `job ...`: stop, inspect, validate, init. Planning, running and showing have their own files.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Evaluated, JobStub};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{Client, escaped};
use super::job_history::{JobDeployments, JobHistory, JobPromote, JobRevert};
use super::job_plan::JobPlan;
use super::job_run::JobRun;
use super::job_status::JobStatus;
use super::job_why::JobWhy;
use super::monitor::Monitor;
use super::version::Program;
use super::{format, job_file, job_history, lookup, template, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    Plan(JobPlan),
    Run(JobRun),
    Status(JobStatus),
    Stop(JobStop),
    Inspect(JobInspect),
    Validate(JobValidate),
    Init(JobInit),
    History(JobHistory),
    Revert(JobRevert),
    Deployments(JobDeployments),
    Promote(JobPromote),
    Why(JobWhy),
    Eval(JobEval),
}

impl JobCommand {
    pub(super) async fn run(self, program: Program) -> Outcome {
        match self {
            Self::Plan(command) => command.run(program).await,
            Self::Run(command) => command.run().await,
            Self::Status(command) => command.run().await,
            Self::Stop(command) => command.run().await,
            Self::Inspect(command) => command.run().await,
            Self::Validate(command) => command.run(),
            Self::Init(command) => command.run(),
            Self::History(command) => command.run().await,
            Self::Revert(command) => command.run().await,
            Self::Deployments(command) => command.run().await,
            Self::Promote(command) => command.run().await,
            Self::Why(command) => command.run().await,
            Self::Eval(command) => command.run().await,
        }
    }
}

/// Stop a job's allocations; the job itself stays, until -purge
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover job stop httpbackend
  $ drover job stop -purge -yes -detach httpbackend")]
pub(super) struct JobStop {
    /// The job's id, or a prefix of it
    id: String,
    /// Forget the job too
    #[arg(long)]
    purge: bool,
    /// Don't ask when only a prefix of the id was given
    #[arg(long, short)]
    yes: bool,
    /// Print the evaluation's id and leave, instead of watching it
    #[arg(long)]
    detach: bool,
    /// Full ids
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

impl JobStop {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        if job.id != self.id && !self.yes {
            let question = format!("Are you sure you want to stop job \"{}\"?", job.id);
            if !terminal::confirm(&question) {
                terminal::print("Cancelling job stop");
                return Ok(Exit::Done);
            }
        }
        let path = format!("/v1/job/{}?purge={}", escaped(&job.id), self.purge);
        let stopped: Evaluated = client
            .delete(&path)
            .await
            .map_err(|error| Failure::from(error).during("Error deregistering job"))?;
        if stopped.eval_id.is_empty() {
            return Ok(Exit::Done);
        }
        if self.detach {
            terminal::print(&stopped.eval_id);
            return Ok(Exit::Done);
        }
        let monitor = Monitor {
            client: &client,
            style: self.connection.style(),
            verbose: self.verbose,
        };
        monitor.follow(&stopped.eval_id).await
    }
}

/// Have the scheduler look at a job again
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job eval httpbackend")]
pub(super) struct JobEval {
    /// The job's id, or a prefix of it
    id: String,
    /// Refused: they are placed anew when their delay is over
    #[arg(long, hide = true)]
    force_reschedule: bool,
    /// Print the evaluation's id and leave, instead of watching it
    #[arg(long)]
    detach: bool,
    /// Full ids
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

impl JobEval {
    pub(super) async fn run(self) -> Outcome {
        if self.force_reschedule {
            let text =
                "-force-reschedule isn't supported yet: `job eval` looks at the job as it is";
            return Err(Failure::new(text)
                .hint("failed allocations are placed anew once their `reschedule` delay is over"));
        }
        let client = self.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let path = format!("/v1/job/{}/evaluate", escaped(&job.id));
        let request = json!({ "JobID": job.id });
        let made: Evaluated = client
            .put(&path, &request)
            .await
            .map_err(|error| Failure::from(error).during("Error evaluating job"))?;
        if self.detach || made.eval_id.is_empty() {
            terminal::print(&format!("Created eval ID: \"{}\"", made.eval_id));
            return Ok(Exit::Done);
        }
        let monitor = Monitor {
            client: &client,
            style: self.connection.style(),
            verbose: self.verbose,
        };
        monitor.follow(&made.eval_id).await
    }
}

/// Print a submitted job as JSON
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job inspect httpbackend > httpbackend.json && drover job run httpbackend.json")]
pub(super) struct JobInspect {
    /// The job's id, or a prefix of it
    id: String,
    /// An earlier version of it
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
    /// As JSON, which it is without
    #[arg(long)]
    json: bool,
    /// Through a template in Go's language
    #[arg(short = 't', value_name = "TEMPLATE", conflicts_with = "json")]
    template: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl JobInspect {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let found = self.found(&client, &job.id).await?;
        terminal::print(&match &self.template {
            Some(template) => template::rendered(template, &found)?,
            None => format::json(&json!({ "Job": found })),
        });
        Ok(Exit::Done)
    }

    async fn found(&self, client: &Client, id: &str) -> Result<Value, Failure> {
        let failed = |error| Failure::from(error).during("Error inspecting job");
        let path = format!("/v1/job/{}", escaped(id));
        let Some(version) = self.version else {
            return client.get(&path).await.map_err(failed);
        };
        let all: Value = client
            .get(&format!("{path}/versions"))
            .await
            .map_err(failed)?;
        let mut rows = all["Versions"].as_array().into_iter().flatten();
        rows.find(|row| row["Version"].as_u64() == Some(version))
            .cloned()
            .ok_or_else(|| job_history::no_version(id, version))
    }
}

/// Check a job file without sending it anywhere
///
/// Tells everything that is wrong at once, each with its line and column. Needs no agent.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job validate httpbackend.nomad")]
pub(super) struct JobValidate {
    /// The job file, HCL or JSON; - reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The file is JSON; it's recognized without
    #[arg(long)]
    json: bool,
}

impl JobValidate {
    pub(super) fn run(self) -> Outcome {
        job_file::read(&self.file)?;
        terminal::print("Job validation successful");
        Ok(Exit::Done)
    }
}

/// What `job init` writes.
const EXAMPLE: &str = include_str!("example.nomad");

/// Write an example job file to start from
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job init && drover job run example.nomad")]
pub(super) struct JobInit {
    /// Where to
    #[arg(value_name = "FILE", default_value = "example.nomad")]
    file: String,
    /// Without comments
    #[arg(long)]
    short: bool,
}

impl JobInit {
    pub(super) fn run(self) -> Outcome {
        let text = if self.short {
            without_comments(EXAMPLE)
        } else {
            EXAMPLE.to_owned()
        };
        let file = &self.file;
        let failed = |why: String| Failure::new(format!("can't write `{file}`: {why}"));
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).open(file);
        let written =
            opened.and_then(|mut out| std::io::Write::write_all(&mut out, text.as_bytes()));
        match written {
            Ok(()) => {
                terminal::print(&format!("Example job file written to {file}"));
                Ok(Exit::Done)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(failed("it already exists".to_owned()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

fn without_comments(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut out = lines.collect::<Vec<_>>().join("\n");
    out.push('\n');
    out.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_job_without_mistakes_with_and_without_comments() {
        let whole = jobspec::parse_job("example.nomad", EXAMPLE.as_bytes());
        let whole = whole.expect("a valid job");
        assert_eq!(whole.warnings, []);
        let short = without_comments(EXAMPLE);
        assert!(!short.contains('#'), "{short}");
        let short = jobspec::parse_job("example.nomad", short.as_bytes());
        assert_eq!(short.expect("a valid job").job, whole.job);
    }
}
