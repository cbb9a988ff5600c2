//! `agent-info`, and Consul's `info`: numbers about the agent that is asked.

use clap::Args;
use serde_json::Value;

use super::connection::{CatalogConnection, Connection};
use super::exit::{Exit, Failure, Outcome};
use super::http::Client;
use super::{format, terminal};

/// Show numbers about an agent: its log, its nodes, its members
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover agent-info")]
pub(super) struct AgentInfo {
    /// The numbers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Show numbers about an agent of the catalog
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ consul info")]
pub(super) struct Info {
    /// The numbers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl AgentInfo {
    pub(super) async fn run(self) -> Outcome {
        let stats = stats(&self.connection.client()?, "stats").await?;
        show(&stats, self.json, str::to_owned, "  ");
        Ok(Exit::Done)
    }
}

impl Info {
    pub(super) async fn run(self) -> Outcome {
        let stats = stats(&self.connection.client()?, "Stats").await?;
        show(&stats, self.json, |name| format!("{name}:"), "\t");
        Ok(Exit::Done)
    }
}

async fn stats(client: &Client, field: &str) -> Result<Value, Failure> {
    let own = client.get("/v1/agent/self").await;
    let own: Value = own.map_err(|error| Failure::from(error).during("Error querying agent"))?;
    Ok(own[field].clone())
}

fn show(stats: &Value, json: bool, title: impl Fn(&str) -> String, indent: &str) {
    terminal::print(&if json {
        format::json(stats)
    } else {
        render(stats, title, indent)
    });
}

fn render(stats: &Value, title: impl Fn(&str) -> String, indent: &str) -> String {
    let mut lines = Vec::new();
    for (name, numbers) in stats.as_object().into_iter().flatten() {
        lines.push(title(name));
        for (name, number) in numbers.as_object().into_iter().flatten() {
            let number = number
                .as_str()
                .map_or_else(|| number.to_string(), str::to_owned);
            lines.push(format!("{indent}{name} = {number}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_listed_by_what_they_are_about() {
        let stats = json!({ "raft": { "state": "Leader", "num_peers": "2" }, "serf": {} });
        let nomad = render(&stats, str::to_owned, "  ");
        assert_eq!(nomad, "raft\n  num_peers = 2\n  state = Leader\nserf");
    }
}
