//! `deployment promote|fail|pause|resume`: what operators decide about an update.

use clap::Args;
use logic::id::short;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Connection;
use super::deployment::Deployment;
use super::exit::{Exit, Failure, Outcome};
use super::http::Client;
use super::monitor::Monitor;
use super::{lookup, terminal};

/// Which deployment, and whether to watch what comes of it.
#[derive(Args, Debug)]
pub(super) struct Chosen {
    /// The deployment's id, or a prefix of it
    id: String,
    #[command(flatten)]
    after: After,
}

/// Whether to watch what comes of a decision.
#[derive(Args, Debug)]
pub(super) struct After {
    /// Leave, instead of watching what comes of it
    #[arg(long)]
    pub(super) detach: bool,
    /// Full ids
    #[arg(long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// What a decision about a deployment is answered with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Decided {
    #[serde(rename = "EvalID")]
    eval_id: String,
    reverted_job_version: Option<u64>,
}

impl After {
    /// Tells the agent what was decided, says what that did, and watches.
    async fn decide(
        &self,
        client: &Client,
        verb: &str,
        deployment: &Deployment,
        request: Value,
        done: &str,
    ) -> Outcome {
        let id = &deployment.id;
        let path = format!("/v1/deployment/{verb}/{id}");
        let decided: Decided = client.put(&path, &request).await.map_err(|error| {
            let doing = match verb {
                "promote" => "promoting",
                "fail" => "failing",
                _ => "changing",
            };
            Failure::from(error).during(format!("Error {doing} deployment"))
        })?;
        let shown = if self.verbose { id } else { short(id) };
        let reverted = decided.reverted_job_version.map_or_else(String::new, |to| {
            format!(". Auto-reverted to job version {to}.")
        });
        terminal::print(&format!("Deployment \"{shown}\" {done}{reverted}"));
        if self.detach || decided.eval_id.is_empty() {
            return Ok(Exit::Done);
        }
        terminal::print("");
        let monitor = Monitor {
            client,
            style: self.connection.style(),
            verbose: self.verbose,
        };
        monitor.follow(&decided.eval_id).await
    }

    pub(super) async fn promote(
        &self,
        client: &Client,
        deployment: &Deployment,
        groups: &[String],
    ) -> Outcome {
        if let Some(unknown) = groups
            .iter()
            .find(|group| !deployment.task_groups.contains_key(*group))
        {
            let known: Vec<_> = deployment.task_groups.keys().cloned().collect();
            let text = format!(
                "Deployment \"{}\" has no group \"{unknown}\"; it has: {}",
                short(&deployment.id),
                known.join(", ")
            );
            return Err(Failure::new(text));
        }
        let request = json!({
            "DeploymentID": deployment.id,
            "All": groups.is_empty(),
            "Groups": groups,
        });
        self.decide(client, "promote", deployment, request, "promoted")
            .await
    }
}

/// Promote canaries: the rest of the job's allocations are updated too
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover deployment promote 384fcd6b
  $ drover deployment promote -group web 384fcd6b")]
pub(super) struct DeploymentPromote {
    #[command(flatten)]
    chosen: Chosen,
    /// Only this group; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
}

impl DeploymentPromote {
    pub(super) async fn run(self) -> Outcome {
        let Chosen { id, after } = &self.chosen;
        let client = after.connection.client()?;
        let deployment: Deployment = lookup::one(&client, id).await?;
        after.promote(&client, &deployment, &self.group).await
    }
}

/// Fail a deployment by hand: nothing more is updated, and groups with `auto_revert` go back
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover deployment fail 384fcd6b")]
pub(super) struct DeploymentFail {
    #[command(flatten)]
    chosen: Chosen,
}

impl DeploymentFail {
    pub(super) async fn run(self) -> Outcome {
        let Chosen { id, after } = &self.chosen;
        let client = after.connection.client()?;
        let deployment: Deployment = lookup::one(&client, id).await?;
        let request = json!({ "DeploymentID": deployment.id });
        after
            .decide(&client, "fail", &deployment, request, "failed")
            .await
    }
}

/// Pause a deployment: nothing more is updated until it is resumed
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover deployment pause 384fcd6b")]
pub(super) struct DeploymentPause {
    #[command(flatten)]
    chosen: Chosen,
}

impl DeploymentPause {
    pub(super) async fn run(self) -> Outcome {
        set_paused(&self.chosen, true).await
    }
}

/// Resume a paused deployment
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover deployment resume 384fcd6b")]
pub(super) struct DeploymentResume {
    #[command(flatten)]
    chosen: Chosen,
}

impl DeploymentResume {
    pub(super) async fn run(self) -> Outcome {
        set_paused(&self.chosen, false).await
    }
}

async fn set_paused(chosen: &Chosen, pause: bool) -> Outcome {
    let Chosen { id, after } = chosen;
    let client = after.connection.client()?;
    let deployment: Deployment = lookup::one(&client, id).await?;
    let request = json!({ "DeploymentID": deployment.id, "Pause": pause });
    let done = if pause { "paused" } else { "resumed" };
    after
        .decide(&client, "pause", &deployment, request, done)
        .await
}
