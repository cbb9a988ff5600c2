//! `status`: whatever has that id.

use clap::Args;
use logic::model::Evaluation;
use serde_json::Value;

use super::alloc::AllocStatus;
use super::api::{AllocStub, JobStub, NodeStub};
use super::connection::Connection;
use super::deployment::{Deployment, DeploymentStatus};
use super::eval::EvalStatus;
use super::exit::{Exit, Failure, Outcome};
use super::http::Client;
use super::job_status::{JobStatus, Shown};
use super::lookup::Row;
use super::node::NodeStatus;
use super::{format, lookup, template, terminal};

/// List jobs, or show whatever has that id: a job, allocation, node, evaluation or deployment
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover status
  $ drover status httpbackend
  $ drover status 0e0dd4b7")]
pub(super) struct Status {
    /// An id, or a prefix of one; none: list all jobs
    id: Option<String>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    asked: Asked,
}

/// What the commands that show one thing are told alike.
#[derive(Args, Clone, Debug)]
pub(super) struct Asked {
    /// Full ids and exact times
    #[arg(long)]
    pub(super) verbose: bool,
    /// The API's answer as JSON
    #[arg(long, conflicts_with = "template")]
    json: bool,
    /// The API's answer through a template in Go's language
    #[arg(short = 't', value_name = "TEMPLATE")]
    template: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Asked {
    /// Whether the API's own answer is wanted, in one form or the other.
    pub(super) fn raw(&self) -> bool {
        self.json || self.template.is_some()
    }

    /// Prints an answer in the form it is wanted in.
    pub(super) fn print_raw(&self, answer: &Value) -> Outcome {
        terminal::print(&match &self.template {
            Some(template) => template::rendered(template, answer)?,
            None => format::json(answer),
        });
        Ok(Exit::Done)
    }
}

/// What an id can be the id of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    Alloc,
    Node,
    Eval,
    Deployment,
}

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Alloc => "alloc",
            Self::Node => "node",
            Self::Eval => "eval",
            Self::Deployment => "deployment",
        }
    }
}

impl Status {
    pub(super) async fn run(self) -> Outcome {
        let Self { id, shown, asked } = self;
        let Some(id) = id else {
            return JobStatus::of(None, shown, asked).run().await;
        };
        match kind(&asked, &id).await? {
            Kind::Job => JobStatus::of(Some(id), shown, asked).run().await,
            Kind::Alloc => AllocStatus::of(id, asked).run().await,
            Kind::Node => NodeStatus::of(id, asked).run().await,
            Kind::Eval => EvalStatus::of(id, asked).run().await,
            Kind::Deployment => DeploymentStatus::of(id, asked).run().await,
        }
    }
}

async fn kind(asked: &Asked, id: &str) -> Result<Kind, Failure> {
    let client = asked.connection.client()?;
    Ok(looked_up(&client, id).await?.0)
}

/// What a prefix means, if only one thing has it.
pub(super) async fn found(client: &Client, typed: &str) -> Result<(Kind, String), Failure> {
    let (kind, ids) = looked_up(client, typed).await?;
    let exact = ids.iter().find(|id| *id == typed);
    match (exact, ids.as_slice()) {
        (Some(id), _) => Ok((kind, id.clone())),
        (None, [only]) => Ok((kind, only.clone())),
        (None, _) => {
            let (count, what) = (ids.len(), kind.command());
            let text = format!("Prefix \"{typed}\" matched {count} of kind {what}");
            Err(Failure::new(text).hint(format!("`drover {what} status {typed}` lists them")))
        }
    }
}

/// Whose ids begin like that, and which.
async fn looked_up(client: &Client, id: &str) -> Result<(Kind, Vec<String>), Failure> {
    let jobs = ids::<JobStub>(client, id).await?;
    if !jobs.is_empty() {
        // Jobs have names, others have random ids: a name that fits is what was meant.
        return Ok((Kind::Job, jobs));
    }
    let mut all = vec![
        (Kind::Alloc, ids::<AllocStub>(client, id).await?),
        (Kind::Node, ids::<NodeStub>(client, id).await?),
        (Kind::Eval, ids::<Evaluation>(client, id).await?),
        (Kind::Deployment, ids::<Deployment>(client, id).await?),
    ];
    let counts: Vec<_> = all.iter().map(|(kind, ids)| (*kind, ids.len())).collect();
    let kind = only_kind(id, &counts)?;
    let at = all.iter().position(|(found, _)| *found == kind);
    Ok(all.swap_remove(at.unwrap_or(0)))
}

async fn ids<R: Row>(client: &Client, prefix: &str) -> Result<Vec<String>, Failure> {
    let rows: Vec<R> = lookup::with_prefix(client, prefix).await?;
    Ok(rows.iter().map(|row| row.id().to_owned()).collect())
}

fn only_kind(id: &str, counts: &[(Kind, usize)]) -> Result<Kind, Failure> {
    let found: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    match found.as_slice() {
        [] => Err(Failure::new(format!("No matches found for id \"{id}\""))),
        [(kind, _)] => Ok(*kind),
        several => {
            let ways = several
                .iter()
                .map(|(kind, _)| format!("\n  drover {} status {id}", kind.command()));
            let ways: String = ways.collect();
            Err(Failure::new(format!(
                "Multiple matches found for id \"{id}\"; one of these is meant:{ways}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_several_kinds_have_is_asked_back() {
        let counts = [(Kind::Alloc, 1), (Kind::Node, 0), (Kind::Eval, 2)];
        let failure = only_kind("3f", &counts).expect_err("it could be two things");
        assert_eq!(
            failure.message,
            "Multiple matches found for id \"3f\"; one of these is meant:\n  \
             drover alloc status 3f\n  drover eval status 3f"
        );
        assert_eq!(only_kind("3f", &counts[..2]), Ok(Kind::Alloc));
        let failure = only_kind("3f", &[]).expect_err("there is nothing");
        assert_eq!(failure.message, "No matches found for id \"3f\"");
    }
}
