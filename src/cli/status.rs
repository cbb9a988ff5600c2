//! `status`: whatever has that id.

use clap::Args;
use logic::model::Evaluation;

use super::alloc::AllocStatus;
use super::api::{AllocStub, JobStub, NodeStub};
use super::connection::Connection;
use super::eval::EvalStatus;
use super::exit::{Failure, Outcome};
use super::job_status::JobStatus;
use super::lookup;
use super::node::NodeStatus;

/// List jobs, or show whatever has that id: a job, allocation, node or evaluation
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover status
  $ drover status httpbackend
  $ drover status 0e0dd4b7")]
pub(super) struct Status {
    /// An id, or a prefix of one; none: list all jobs
    id: Option<String>,
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
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// What an id can be the id of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Job,
    Alloc,
    Node,
    Eval,
}

impl Kind {
    fn command(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Alloc => "alloc",
            Self::Node => "node",
            Self::Eval => "eval",
        }
    }
}

impl Status {
    pub(super) async fn run(self) -> Outcome {
        let Self { id, asked } = self;
        let Some(id) = id else {
            return JobStatus::of(None, asked).run().await;
        };
        match kind(&asked, &id).await? {
            Kind::Job => JobStatus::of(Some(id), asked).run().await,
            Kind::Alloc => AllocStatus::of(id, asked).run().await,
            Kind::Node => NodeStatus::of(id, asked).run().await,
            Kind::Eval => EvalStatus::of(id, asked).run().await,
        }
    }
}

async fn kind(asked: &Asked, id: &str) -> Result<Kind, Failure> {
    let client = asked.connection.client()?;
    let jobs: Vec<JobStub> = lookup::with_prefix(&client, id).await?;
    if !jobs.is_empty() {
        // Jobs have names, others have random ids: a name that fits is what was meant.
        return Ok(Kind::Job);
    }
    let allocs: Vec<AllocStub> = lookup::with_prefix(&client, id).await?;
    let nodes: Vec<NodeStub> = lookup::with_prefix(&client, id).await?;
    let evals: Vec<Evaluation> = lookup::with_prefix(&client, id).await?;
    let counts = [
        (Kind::Alloc, allocs.len()),
        (Kind::Node, nodes.len()),
        (Kind::Eval, evals.len()),
    ];
    only_kind(id, &counts)
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
