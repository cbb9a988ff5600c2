//! `job history`, `job revert`, `job deployments` and `job promote`: a job's versions, and going
//! from one to another.

use clap::Args;
use logic::diff::JobDiff;
use logic::model::Job;
use logic::time::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Evaluated, JobStub};
use super::deployment::{self, Deployment};
use super::deployment_change::After;
use super::exit::{Exit, Failure, Outcome};
use super::format::{instant, pairs};
use super::http::{Client, escaped};
use super::job_plan::render_diff;
use super::monitor::Monitor;
use super::status::Asked;
use super::terminal::Style;
use super::{format, lookup, terminal};

/// Show the versions of a job that are kept, the newest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover job history -p httpbackend
  $ drover job history -version 2 -full httpbackend")]
pub(super) struct JobHistory {
    /// The job's id, or a prefix of it
    id: String,
    /// What differs from the version before
    #[arg(short = 'p')]
    differences: bool,
    /// Each version as a whole, as JSON
    #[arg(long)]
    full: bool,
    /// Only this version
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Versions {
    versions: Vec<Job>,
    /// From each version to the one before.
    diffs: Vec<JobDiff>,
}

impl JobHistory {
    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let path = format!(
            "/v1/job/{}/versions?diffs={}",
            escaped(&job.id),
            self.differences
        );
        let failed = |error| Failure::from(error).during("Error retrieving job versions");
        if self.asked.raw() {
            let answer: Value = client.get(&path).await.map_err(failed)?;
            let all = answer["Versions"].clone();
            let Some(version) = self.version else {
                return self.asked.print_raw(&all);
            };
            let mut rows = all.as_array().into_iter().flatten();
            let one = rows.find(|row| row["Version"].as_u64() == Some(version));
            let one = one.ok_or_else(|| no_version(&job.id, version))?;
            return self.asked.print_raw(one);
        }
        let versions: Versions = client.get(&path).await.map_err(failed)?;
        let style = self.asked.connection.style();
        terminal::print(&self.render(&job.id, &versions, style)?);
        Ok(Exit::Done)
    }

    fn render(&self, id: &str, versions: &Versions, style: Style) -> Result<String, Failure> {
        let wanted = |job: &Job| self.version.is_none_or(|version| version == job.version);
        let rows = versions.versions.iter().enumerate();
        let shown: Vec<_> = rows
            .filter(|(_, job)| wanted(job))
            .map(|(at, job)| self.render_one(job, versions.diffs.get(at), style))
            .collect();
        match self.version {
            Some(version) if shown.is_empty() => Err(no_version(id, version)),
            _ => Ok(shown.join("\n\n")),
        }
    }

    fn render_one(&self, job: &Job, diff: Option<&JobDiff>, style: Style) -> String {
        let mut head = vec![
            ("Version", job.version.to_string()),
            ("Stable", job.stable.to_string()),
            ("Submit Date", instant(Time(job.submit_time))),
        ];
        if let Some(diff) = diff {
            head.push(("Diff", format!("\n{}", render_diff(diff, style))));
        }
        if self.full {
            head.push((
                "Full",
                format!("\n{}", format::json(&json!({ "Job": job }))),
            ));
        }
        pairs(&head).replace(" = \n", " =\n")
    }
}

pub(super) fn no_version(id: &str, version: u64) -> Failure {
    Failure::new(format!("Job \"{id}\" has no version {version}")).hint(format!(
        "`drover job history {id}` lists those that are kept"
    ))
}

/// Make an earlier version of a job its newest one
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job history httpbackend && drover job revert httpbackend 2")]
pub(super) struct JobRevert {
    /// The job's id, or a prefix of it
    id: String,
    /// The version to go back to
    version: u64,
    #[command(flatten)]
    after: After,
}

impl JobRevert {
    pub(super) async fn run(self) -> Outcome {
        let client = self.after.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let path = format!("/v1/job/{}/revert", escaped(&job.id));
        let request = json!({
            "JobID": job.id,
            "JobVersion": self.version,
            "EnforcePriorVersion": null,
        });
        let reverted: Evaluated = client
            .put(&path, &request)
            .await
            .map_err(|error| Failure::from(error).during("Error reverting job"))?;
        if self.after.detach || reverted.eval_id.is_empty() {
            terminal::print(&format!(
                "Job \"{}\" reverted to version {}",
                job.id, self.version
            ));
            if !reverted.eval_id.is_empty() {
                terminal::print(&format!("Evaluation ID: {}", reverted.eval_id));
            }
            return Ok(Exit::Done);
        }
        let monitor = Monitor {
            client: &client,
            style: self.after.connection.style(),
            verbose: self.after.verbose,
        };
        monitor.follow(&reverted.eval_id).await
    }
}

/// List the deployments of a job: its updates
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job deployments -latest httpbackend")]
pub(super) struct JobDeployments {
    /// The job's id, or a prefix of it
    id: String,
    /// Show the newest one
    #[arg(long)]
    latest: bool,
    /// Accepted: deployments of earlier jobs with this id are forgotten with them
    #[arg(long, hide = true)]
    all: bool,
    #[command(flatten)]
    asked: Asked,
}

impl JobDeployments {
    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        if !self.latest {
            let path = format!("/v1/job/{}/deployments", escaped(&job.id));
            return deployment::list(&client, &path, &self.asked).await;
        }
        let failed = |error| Failure::from(error).during("Error retrieving deployments");
        if self.asked.raw() {
            let path = format!("/v1/job/{}/deployment", escaped(&job.id));
            let answer: Value = client.get(&path).await.map_err(failed)?;
            return self.asked.print_raw(&answer);
        }
        let style = self.asked.connection.style();
        let latest = deployment::latest(&client, &job.id).await;
        terminal::print(&match latest.map_err(failed)? {
            Some(latest) => deployment::render(&latest, self.asked.verbose, style),
            None => "No deployments found".to_owned(),
        });
        Ok(Exit::Done)
    }
}

/// Promote the canaries of a job's newest deployment: the rest is updated too
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job promote httpbackend")]
pub(super) struct JobPromote {
    /// The job's id, or a prefix of it
    id: String,
    /// Only this group; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    #[command(flatten)]
    after: After,
}

impl JobPromote {
    pub(super) async fn run(self) -> Outcome {
        let client = self.after.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let latest = newest(&client, &job.id).await?;
        self.after.promote(&client, &latest, &self.group).await
    }
}

async fn newest(client: &Client, job_id: &str) -> Result<Deployment, Failure> {
    let latest = deployment::latest(client, job_id).await;
    let latest =
        latest.map_err(|error| Failure::from(error).during("Error retrieving deployments"))?;
    latest.ok_or_else(|| {
        Failure::new(format!("Job \"{job_id}\" has no deployment to promote"))
            .hint("a job has deployments if it has an `update` block, and canaries if that says so")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::golden;
    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        history: JobHistory,
    }

    fn shown(args: &[&str], versions: &Versions) -> Result<String, Failure> {
        let typed = Typed::try_parse_from([&["history"], args].concat()).expect("arguments");
        typed.history.render("httpbackend", versions, Style::PLAIN)
    }

    /// The recorded versions, with the diffs that this program makes of them.
    fn recorded() -> Option<Versions> {
        let mut versions: Versions = golden::answer("nomad-api/GET_job_httpbackend_versions.json")?;
        let pairs = versions.versions.windows(2);
        let diff = |pair: &[Job]| logic::diff::job(Some(&pair[1]), Some(&pair[0]));
        versions.diffs = pairs.map(diff).collect();
        Some(versions)
    }

    #[test]
    fn versions_look_as_the_anchor_shows_them() {
        let (Some(versions), Some(expected)) = (recorded(), golden::output("46d-job-history.out"))
        else {
            return;
        };
        let text = shown(&["-p", "httpbackend"], &versions).expect("all versions");
        // What isn't the diffs of parts, which have better brackets here.
        for version in ["Version     = 3", "Version     = 0"] {
            let block = |text: &str| {
                let at = text.find(version).expect(version);
                text[at..].lines().take(7).collect::<Vec<_>>().join("\n")
            };
            assert_eq!(block(&text), block(&expected));
        }
        assert_eq!(
            text.matches("Diff        =\n+/- Job: ").count(),
            3,
            "{text}"
        );
    }

    #[test]
    fn one_version_can_be_asked_for() {
        let version = |version| Job {
            version,
            submit_time: 1_795_526_016_044_393_766,
            ..Job::default()
        };
        let versions = Versions {
            versions: vec![version(1), version(0)],
            diffs: Vec::new(),
        };
        assert_eq!(
            shown(&["--version", "0", "x"], &versions).expect("it is kept"),
            "Version     = 0\nStable      = false\nSubmit Date = 2026-11-24T13:13:36Z"
        );
        let failure = shown(&["--version", "7", "x"], &versions).expect_err("it isn't kept");
        assert_eq!(failure.message, "Job \"httpbackend\" has no version 7");
    }
}
