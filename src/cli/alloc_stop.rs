//! `alloc stop`: moves one allocation away from where it is.

use clap::Args;
use logic::model::DESIRED_STOP;
use serde_json::Value;

use super::api::{AllocStub, Evaluated};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::format::shown_id;
use super::monitor::Monitor;
use super::{lookup, terminal};

/// Stop an allocation; another one takes its place, maybe on another node
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover alloc stop 0e0dd4b7     any unique prefix will do")]
pub(super) struct AllocStop {
    /// The allocation's id, or a prefix of it
    id: String,
    /// Print the evaluation's id and leave, instead of watching it
    #[arg(long)]
    detach: bool,
    /// Full ids
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

impl AllocStop {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let alloc: AllocStub = lookup::one(&client, &self.id).await?;
        let stopped: Evaluated = client
            .put(&format!("/v1/allocation/{}/stop", alloc.id), &Value::Null)
            .await
            .map_err(|error| Failure::from(error).during("Error stopping allocation"))?;
        if self.detach || stopped.eval_id.is_empty() {
            terminal::print(&stopped.eval_id);
            return Ok(Exit::Done);
        }
        let monitor = Monitor {
            client: &client,
            style: self.connection.style(),
            verbose: self.verbose,
        };
        let exit = monitor.follow(&stopped.eval_id).await?;
        let path = format!("/v1/allocation/{}", alloc.id);
        let now: Result<AllocStub, _> = client.get(&path).await;
        if now.is_ok_and(|now| now.desired_status != DESIRED_STOP) {
            let shown = shown_id(&alloc.id, self.verbose);
            terminal::print(&format!(
                "    Allocation \"{shown}\" stops as soon as the one in its place is healthy"
            ));
        }
        Ok(exit)
    }
}
