//! `system`: upkeep of the servers' state.

use clap::{Args, Subcommand};
use hyper::Method;

use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum SystemCommand {
    Gc(Collect),
}

impl SystemCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Gc(command) => command.run().await,
        }
    }
}

/// Forget now what ended, instead of after a while: evaluations, allocations, stopped jobs, nodes
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover system gc")]
pub(super) struct Collect {
    #[command(flatten)]
    connection: Connection,
}

impl Collect {
    async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let collected = client.tell(Method::PUT, "/v1/system/gc").await;
        collected.map_err(|error| {
            Failure::from(error).during("Error running system garbage-collection")
        })?;
        Ok(Exit::Done)
    }
}
