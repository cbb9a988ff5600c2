//! `node eligibility`: whether new allocations may be placed on a node.

use clap::Args;
use logic::model::{NODE_ELIGIBLE, NODE_INELIGIBLE};
use serde_json::{Value, json};

use super::api::NodeStub;
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::node::own_node;
use super::{format, lookup, terminal};

/// Let a node have new allocations, or keep them away from it; those it has go on
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover node eligibility -disable 6dbe0d79     any unique prefix will do
  $ drover node eligibility -enable -self")]
pub(super) struct NodeEligibility {
    /// The node's id, or a prefix of it
    #[arg(conflicts_with = "own", required_unless_present = "own")]
    id: Option<String>,
    /// The node of the agent that answers
    #[arg(long = "self", id = "own")]
    own: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// New allocations may be placed there
    #[arg(long)]
    enable: bool,
    /// No new allocations are placed there
    #[arg(long)]
    disable: bool,
}

impl NodeEligibility {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let id = match &self.id {
            Some(typed) => lookup::one::<NodeStub>(&client, typed).await?.id,
            None => own_node(&client).await?,
        };
        let wanted = if self.wanted.enable {
            NODE_ELIGIBLE
        } else {
            NODE_INELIGIBLE
        };
        let path = format!("/v1/node/{id}/eligibility");
        let request = json!({ "NodeID": id, "Eligibility": wanted });
        let answer: Value = client.put(&path, &request).await.map_err(|error| {
            Failure::from(error).during("Error updating scheduling eligibility")
        })?;
        if self.json {
            terminal::print(&format::json(&answer));
        } else {
            terminal::print(&format!(
                "Node \"{id}\" scheduling eligibility set: {wanted} for scheduling"
            ));
        }
        Ok(Exit::Done)
    }
}
