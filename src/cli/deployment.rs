//! `deployment list` and `deployment status`: updates of jobs, and how far each one is.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use logic::time::Time;
use serde::Deserialize;
use serde_json::Value;

use super::deployment_change::DeploymentResume;
use super::deployment_change::{DeploymentFail, DeploymentPause, DeploymentPromote};
use super::exit::{Exit, Failure, Outcome};
use super::format::{columns, instant, pairs, shown_id, table};
use super::http::{Client, RequestError, escaped};
use super::monitor::Monitor;
use super::status::Asked;
use super::terminal::Style;
use super::{lookup, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum DeploymentCommand {
    List(DeploymentList),
    Status(DeploymentStatus),
    Promote(DeploymentPromote),
    Fail(DeploymentFail),
    Pause(DeploymentPause),
    Resume(DeploymentResume),
}

impl DeploymentCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::List(command) => command.run().await,
            Self::Status(command) => command.run().await,
            Self::Promote(command) => command.run().await,
            Self::Fail(command) => command.run().await,
            Self::Pause(command) => command.run().await,
            Self::Resume(command) => command.run().await,
        }
    }
}

pub(super) const RUNNING: &str = "running";
pub(super) const PAUSED: &str = "paused";
pub(super) const SUCCESSFUL: &str = "successful";

/// A deployment, as far as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Deployment {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "JobID")]
    pub(super) job_id: String,
    pub(super) job_version: u64,
    pub(super) status: String,
    pub(super) status_description: String,
    /// By task group.
    pub(super) task_groups: BTreeMap<String, Rollout>,
    pub(super) create_index: u64,
}

/// How far a group's update is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Rollout {
    pub(super) auto_revert: bool,
    pub(super) promoted: bool,
    pub(super) desired_canaries: u64,
    pub(super) desired_total: u64,
    pub(super) placed_allocs: u64,
    pub(super) healthy_allocs: u64,
    pub(super) unhealthy_allocs: u64,
    pub(super) require_progress_by: Time,
}

impl Deployment {
    pub(super) fn ended(&self) -> bool {
        ![RUNNING, PAUSED].contains(&self.status.as_str())
    }

    /// Whether nothing will happen until somebody promotes the canaries.
    pub(super) fn waits_for_promotion(&self) -> bool {
        let groups = self.task_groups.values();
        let mut unpromoted = groups
            .filter(|group| group.desired_canaries > 0 && !group.promoted)
            .peekable();
        self.status == RUNNING
            && unpromoted.peek().is_some()
            && unpromoted.all(|group| group.healthy_allocs >= group.desired_canaries)
    }
}

/// List deployments: the updates of jobs
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover deployment list")]
pub(super) struct DeploymentList {
    #[command(flatten)]
    asked: Asked,
}

impl DeploymentList {
    async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        list(&client, "/v1/deployments", &self.asked).await
    }
}

/// Prints the deployments that a path answers with.
pub(super) async fn list(client: &Client, path: &str, asked: &Asked) -> Outcome {
    let failed = |error| Failure::from(error).during("Error retrieving deployments");
    if asked.raw() {
        let answer: Value = client.get(path).await.map_err(failed)?;
        return asked.print_raw(&answer);
    }
    let deployments: Vec<Deployment> = client.get(path).await.map_err(failed)?;
    terminal::print(&render_list(&deployments, asked.verbose));
    Ok(Exit::Done)
}

/// Show a deployment: how many allocations each group has placed, and how many are healthy
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover deployment status 384fcd6b     any unique prefix will do
  $ drover deployment status -monitor 384fcd6b")]
pub(super) struct DeploymentStatus {
    /// The deployment's id, or a prefix of it; none: list all deployments
    id: Option<String>,
    /// Watch it until it is done
    #[arg(long)]
    monitor: bool,
    #[command(flatten)]
    asked: Asked,
}

impl DeploymentStatus {
    pub(super) fn of(id: String, asked: Asked) -> Self {
        Self {
            id: Some(id),
            monitor: false,
            asked,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let Some(typed) = &self.id else {
            return list(&client, "/v1/deployments", &self.asked).await;
        };
        let found: Deployment = lookup::one(&client, typed).await?;
        if self.asked.raw() {
            let path = format!("/v1/deployment/{}", found.id);
            let answer: Value = client
                .get(&path)
                .await
                .map_err(|error| Failure::from(error).during("Error retrieving deployment"))?;
            return self.asked.print_raw(&answer);
        }
        let style = self.asked.connection.style();
        if self.monitor {
            let monitor = Monitor {
                client: &client,
                style,
                verbose: self.asked.verbose,
            };
            return monitor.follow_deployment(&found.id).await;
        }
        terminal::print(&render(&found, self.asked.verbose, style));
        Ok(Exit::Done)
    }
}

/// The newest deployment of a job, if it has any.
pub(super) async fn latest(
    client: &Client,
    job_id: &str,
) -> Result<Option<Deployment>, RequestError> {
    let path = format!("/v1/job/{}/deployment", escaped(job_id));
    client.get(&path).await
}

/// Deployments as a table, the newest first.
pub(super) fn render_list(deployments: &[Deployment], verbose: bool) -> String {
    if deployments.is_empty() {
        return "No deployments found".to_owned();
    }
    let mut newest: Vec<_> = deployments.iter().collect();
    newest.sort_by(|a, b| (b.create_index, &a.id).cmp(&(a.create_index, &b.id)));
    let row = |deployment: &&Deployment| {
        [
            shown_id(&deployment.id, verbose),
            deployment.job_id.clone(),
            deployment.job_version.to_string(),
            deployment.status.clone(),
            deployment.status_description.clone(),
        ]
    };
    let header = ["ID", "Job ID", "Job Version", "Status", "Description"];
    table(header, newest.iter().map(row).collect())
}

/// A deployment on its own.
pub(super) fn render(deployment: &Deployment, verbose: bool, style: Style) -> String {
    let head = [
        ("ID", shown_id(&deployment.id, verbose)),
        ("Job ID", deployment.job_id.clone()),
        ("Job Version", deployment.job_version.to_string()),
        ("Status", deployment.status.clone()),
        ("Description", deployment.status_description.clone()),
    ];
    with_groups(&head, deployment, style)
}

/// A deployment as part of its job.
pub(super) fn render_of_job(deployment: &Deployment, verbose: bool, style: Style) -> String {
    let head = [
        ("ID", shown_id(&deployment.id, verbose)),
        ("Status", deployment.status.clone()),
        ("Description", deployment.status_description.clone()),
    ];
    with_groups(&head, deployment, style)
}

fn with_groups(head: &[(&str, String)], deployment: &Deployment, style: Style) -> String {
    let head = pairs(head);
    if deployment.task_groups.is_empty() {
        return head;
    }
    let groups = render_groups(&deployment.task_groups);
    format!("{head}\n\n{}\n{groups}", style.bold("Deployed"))
}

fn render_groups(groups: &BTreeMap<String, Rollout>) -> String {
    let reverting = groups.values().any(|group| group.auto_revert);
    let canaries = groups.values().any(|group| group.desired_canaries > 0);
    let mut header = vec!["Task Group"];
    if reverting {
        header.push("Auto Revert");
    }
    if canaries {
        header.push("Promoted");
    }
    header.push("Desired");
    if canaries {
        header.push("Canaries");
    }
    header.extend(["Placed", "Healthy", "Unhealthy", "Progress Deadline"]);
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for (name, group) in groups {
        let mut row = vec![name.clone()];
        if reverting {
            row.push(group.auto_revert.to_string());
        }
        if canaries && group.desired_canaries > 0 {
            row.push(group.promoted.to_string());
        } else if canaries {
            row.push("N/A".to_owned());
        }
        row.push(group.desired_total.to_string());
        if canaries {
            row.push(group.desired_canaries.to_string());
        }
        row.extend([
            group.placed_allocs.to_string(),
            group.healthy_allocs.to_string(),
            group.unhealthy_allocs.to_string(),
            instant(group.require_progress_by),
        ]);
        rows.push(row);
    }
    columns(&rows)
}

#[cfg(test)]
mod tests;
