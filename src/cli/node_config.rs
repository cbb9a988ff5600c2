//! `node config`: which servers a client asks. Nomad's older name for it is `client-config`.

use clap::Args;

use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::terminal;

/// List the servers that a client knows
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover node config -servers")]
pub(super) struct NodeConfig {
    /// List them; there is nothing else to show
    #[arg(long)]
    servers: bool,
    /// Not possible here: clients learn of servers by gossip
    #[arg(long, hide = true)]
    update_servers: bool,
    #[arg(hide = true)]
    addresses: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

impl NodeConfig {
    pub(super) async fn run(self) -> Outcome {
        if self.update_servers || !self.addresses.is_empty() {
            let text = "a client's servers can't be set: it learns of all of them by gossip";
            return Err(Failure::new(text)
                .hint("`drover server join ADDR` makes it known to agents it doesn't know yet"));
        }
        if !self.servers {
            let text = "nothing is asked for: -servers lists the servers that the client knows";
            return Err(Failure::new(text));
        }
        let client = self.connection.client()?;
        let servers: Vec<String> = client
            .get("/v1/agent/servers")
            .await
            .map_err(|error| Failure::from(error).during("Error querying server list"))?;
        terminal::print(&servers.join("\n"));
        Ok(Exit::Done)
    }
}
