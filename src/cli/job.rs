//! `job ...`: stop, inspect, validate, init. Planning, running and showing have their own files.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Evaluated, JobStub};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::http::escaped;
use super::job_plan::JobPlan;
use super::job_run::JobRun;
use super::job_status::JobStatus;
use super::monitor::Monitor;
use super::version::Program;
use super::{format, job_file, lookup, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    Plan(JobPlan),
    Run(JobRun),
    Status(JobStatus),
    Stop(JobStop),
    Inspect(JobInspect),
    Validate(JobValidate),
    Init(JobInit),
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

/// Print a submitted job as JSON
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job inspect httpbackend > httpbackend.json && drover job run httpbackend.json")]
pub(super) struct JobInspect {
    /// The job's id, or a prefix of it
    id: String,
    /// As JSON; there is no other form
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl JobInspect {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let job: Value = client
            .get(&format!("/v1/job/{}", escaped(&job.id)))
            .await
            .map_err(|error| Failure::from(error).during("Error inspecting job"))?;
        terminal::print(&format::json(&json!({ "Job": job })));
        Ok(Exit::Done)
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
