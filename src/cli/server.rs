//! `server members`: the servers of the cluster.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{ServerMember, ServerMembers};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::format::table;
use super::{format, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    Members(Members),
}

impl ServerCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Members(command) => command.run().await,
        }
    }
}

/// List the servers, and which one leads
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover server members")]
pub(super) struct Members {
    /// Accepted: everything is always shown
    #[arg(long, hide = true)]
    detailed: bool,
    /// Accepted: everything is always shown
    #[arg(long, hide = true)]
    verbose: bool,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Members {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error querying servers");
        if self.json {
            let answer: Value = client.get("/v1/agent/members").await.map_err(failed)?;
            terminal::print(&format::json(&answer));
            return Ok(Exit::Done);
        }
        let answer: ServerMembers = client.get("/v1/agent/members").await.map_err(failed)?;
        // Without a leader the servers are still worth showing.
        let leader: String = client.get("/v1/status/leader").await.unwrap_or_default();
        terminal::print(&render(&answer.members, &leader));
        Ok(Exit::Done)
    }
}

fn render(members: &[ServerMember], leader: &str) -> String {
    let row = |member: &ServerMember| {
        let tag = |name: &str| member.tags.get(name).cloned().unwrap_or_default();
        let rpc = format!("{}:{}", tag("rpc_addr"), tag("port"));
        [
            member.name.clone(),
            member.addr.clone(),
            member.port.to_string(),
            member.status.clone(),
            (rpc == leader).to_string(),
            member.protocol_cur.to_string(),
            tag("build"),
            tag("dc"),
            tag("region"),
        ]
    };
    let header = [
        "Name",
        "Address",
        "Port",
        "Status",
        "Leader",
        "Protocol",
        "Build",
        "Datacenter",
        "Region",
    ];
    table(header, members.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn servers_look_as_the_anchor_shows_them() {
        let (Some(answer), Some(expected)) = (
            golden::answer::<ServerMembers>("nomad-api/GET_agent_members.json"),
            golden::output("09-nomad-server-members.out"),
        ) else {
            return;
        };
        assert_eq!(render(&answer.members, "172.16.66.102:4647"), expected);
    }
}
