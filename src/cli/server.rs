//! `server`: the servers of the cluster, and who joins and leaves it.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::api::{Joined, ServerMember, ServerMembers};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::format::{counted, table};
use super::http::escaped;
use super::terminal::Style;
use super::{format, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    Members(Members),
    Join(Join),
    ForceLeave(ForceLeave),
}

impl ServerCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Members(command) => command.run().await,
            Self::Join(command) => command.run().await,
            Self::ForceLeave(command) => command.run().await,
        }
    }
}

/// List the servers, and which one leads
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover server members
  $ drover server members -detailed")]
pub(super) struct Members {
    /// Show each server's tags
    #[arg(long)]
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
        let style = self.connection.style();
        if self.detailed {
            terminal::print(&painted(&render_tags(&answer.members), style));
            return Ok(Exit::Done);
        }
        // Without a leader the servers are still worth showing.
        let leader: String = client.get("/v1/status/leader").await.unwrap_or_default();
        terminal::print(&painted(&render(&answer.members, &leader), style));
        if leader.is_empty() {
            terminal::complain("warning: no server leads: nothing can be changed for now");
        }
        Ok(Exit::Done)
    }
}

/// Join agents at addresses; one that answers tells of all others
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover server join 10.0.0.2 10.0.0.3:4648")]
pub(super) struct Join {
    /// HOST[:PORT] of gossip
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Join {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error joining");
        let addresses = self.addresses.iter().map(|address| escaped(address));
        let query: Vec<_> = addresses
            .map(|address| format!("address={address}"))
            .collect();
        let path = format!("/v1/agent/join?{}", query.join("&"));
        let answer: Value = client.put(&path, &Value::Null).await.map_err(failed)?;
        if self.json {
            terminal::print(&format::json(&answer));
        }
        let joined: Joined = serde_json::from_value(answer)
            .map_err(|error| Failure::new(format!("Error joining: {error}")))?;
        if joined.num_joined == 0 {
            return Err(Failure::new(format!("Error joining: {}", joined.error)));
        }
        if !self.json {
            let count = counted(joined.num_joined, "agent");
            terminal::print(&format!("Joined {count} successfully"));
        }
        Ok(Exit::Done)
    }
}

/// Make a failed agent one that has left, so that nobody waits for it
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover server force-leave dxnode2.global")]
pub(super) struct ForceLeave {
    /// Its name, with or without region, or its id
    node: String,
    #[command(flatten)]
    connection: Connection,
}

impl ForceLeave {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let path = format!("/v1/agent/force-leave?node={}", escaped(&self.node));
        let left = client.tell(Method::PUT, &path).await;
        left.map_err(|error| Failure::from(error).during("Error force-leaving"))?;
        terminal::print(&format!("`{}` counts as having left", self.node));
        Ok(Exit::Done)
    }
}

/// A table with a bold header, and red where a server has failed.
fn painted(table: &str, style: Style) -> String {
    let mut lines = table.lines();
    let header = lines.next().map(|header| style.bold(header));
    let rows = lines.map(|row| {
        if row.split_whitespace().any(|cell| cell == "failed") {
            style.red(row)
        } else {
            row.to_owned()
        }
    });
    header
        .into_iter()
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}

fn render_tags(members: &[ServerMember]) -> String {
    let row = |member: &ServerMember| {
        let tags = member.tags.iter();
        let tags: Vec<_> = tags
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        [
            member.name.clone(),
            member.addr.clone(),
            member.port.to_string(),
            tags.join(","),
        ]
    };
    let header = ["Name", "Address", "Port", "Tags"];
    table(header, members.iter().map(row).collect())
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
        assert_eq!(painted(&expected, Style::PLAIN), expected);
    }

    #[test]
    fn in_detail_every_tag_is_shown() {
        let member = ServerMember {
            name: "a.global".to_owned(),
            addr: "10.0.0.1".to_owned(),
            port: 4648,
            tags: [("role", "nomad"), ("dc", "dc1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..ServerMember::default()
        };
        assert_eq!(
            render_tags(&[member]),
            "Name      Address   Port  Tags\na.global  10.0.0.1  4648  dc=dc1,role=nomad"
        );
    }
}
