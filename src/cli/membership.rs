//! Consul's `join` and `force-leave`: who belongs to the cluster.

use clap::Args;
use hyper::Method;

use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::format::counted;
use super::http::escaped;
use super::terminal;

/// Join agents at addresses; one that answers tells of all others
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ consul join 10.0.0.2 10.0.0.3:8301")]
pub(super) struct Join {
    /// HOST[:PORT] of gossip
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
    /// Accepted: there is one network only
    #[arg(long, hide = true)]
    wan: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Join {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let mut joined = 0;
        let mut exit = Exit::Done;
        for address in &self.addresses {
            let path = format!("/v1/agent/join/{}", escaped(address));
            match client.tell(Method::PUT, &path).await {
                Ok(()) => joined += 1,
                Err(error) => {
                    exit = Failure::from(error)
                        .during(format!("Error joining address '{address}'"))
                        .tell();
                }
            }
        }
        if joined > 0 {
            let count = counted(joined, "agent");
            terminal::print(&format!("Joined the cluster through {count}"));
        }
        Ok(exit)
    }
}

/// Make a failed agent one that has left, so that nobody waits for it
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ consul force-leave consul-2")]
pub(super) struct ForceLeave {
    /// Its name or id
    node: String,
    /// Accepted: who left is forgotten in any case
    #[arg(long, hide = true)]
    prune: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl ForceLeave {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let path = format!("/v1/agent/force-leave/{}", escaped(&self.node));
        let left = client.tell(Method::PUT, &path).await;
        left.map_err(|error| Failure::from(error).during("Error force-leaving"))?;
        terminal::print(&format!("`{}` counts as having left", self.node));
        Ok(Exit::Done)
    }
}
