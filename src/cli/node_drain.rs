//! `node drain`: emptying a node, and watching it become empty.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use logic::model::{CLIENT_RUNNING, DESIRED_STOP, Node};
use logic::{duration, id};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::NodeStub;
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::http::Client;
use super::node::own_node;
use super::{lookup, now, terminal};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const DEADLINE: &str = "1h";
const HOW_TO_LEAVE: &str = "Ctrl-C to stop monitoring: will not cancel the node drain";

/// Empty a node: its allocations move to other nodes, and it gets no new ones
///
/// Of each group as many allocations move at a time as its `migrate` block lets be missing; the
/// next ones follow when those are healthy elsewhere. What is left when the deadline is over moves
/// all at once. Batch jobs may end by themselves until then; system jobs leave last. Watches until
/// the node is empty; leaving early with Ctrl-C changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover node drain -enable 6dbe0d79                 any unique prefix will do
  $ drover node drain -enable -deadline 10m -self -yes
  $ drover node drain -disable 6dbe0d79")]
pub(super) struct NodeDrain {
    /// The node's id, or a prefix of it
    #[arg(conflicts_with = "own", required_unless_present = "own")]
    id: Option<String>,
    /// The node of the agent that answers
    #[arg(long = "self", id = "own")]
    own: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// When what is left moves all at once [default: 1h]
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["force", "no_deadline"])]
    deadline: Option<String>,
    /// Move everything at once
    #[arg(long, conflicts_with = "no_deadline")]
    force: bool,
    /// Take as long as it takes
    #[arg(long)]
    no_deadline: bool,
    /// Leave system jobs where they are
    #[arg(long)]
    ignore_system: bool,
    /// With -disable: still no new allocations
    #[arg(long)]
    keep_ineligible: bool,
    /// Don't watch
    #[arg(long)]
    detach: bool,
    /// Don't ask when only a prefix of the id was given
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Begin to empty the node
    #[arg(long)]
    enable: bool,
    /// Stop emptying it; what has moved doesn't come back
    #[arg(long)]
    disable: bool,
    /// Only watch a node that is being emptied
    #[arg(long)]
    monitor: bool,
}

impl NodeDrain {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let id = match &self.id {
            Some(typed) => lookup::one::<NodeStub>(&client, typed).await?.id,
            None => own_node(&client).await?,
        };
        if self.wanted.monitor {
            say(HOW_TO_LEAVE);
            return watch(&client, &id, Progress::default()).await;
        }
        let (spec, mode) = if self.wanted.enable {
            (Some(self.spec()?), "enable")
        } else {
            (None, "disable")
        };
        let exact = self.id.as_ref().is_none_or(|typed| *typed == id);
        if !exact && !self.yes {
            let question = format!("Are you sure you want to {mode} drain mode for node \"{id}\"?");
            if !terminal::confirm(&question) {
                terminal::print("Canceling drain toggle");
                return Ok(Exit::Done);
            }
        }
        let mut progress = Progress::default();
        progress.news(&allocations(&client, &id).await?);
        let request = json!({
            "NodeID": id,
            "DrainSpec": spec,
            "MarkEligible": self.wanted.disable && !self.keep_ineligible,
        });
        let _: Value = client
            .put(&format!("/v1/node/{id}/drain"), &request)
            .await
            .map_err(|error| Failure::from(error).during("Error updating drain specification"))?;
        if self.wanted.disable {
            terminal::print(&format!("Node \"{id}\" drain strategy unset"));
            return Ok(Exit::Done);
        }
        if self.detach {
            terminal::print(&format!("Node \"{id}\" drain strategy set"));
            return Ok(Exit::Done);
        }
        say(HOW_TO_LEAVE);
        say(&format!("Node \"{id}\" drain strategy set"));
        watch(&client, &id, progress).await
    }

    fn spec(&self) -> Result<Value, Failure> {
        let deadline = match (self.force, self.no_deadline) {
            (true, _) => -1,
            (false, true) => 0,
            (false, false) => {
                let text = self.deadline.as_deref().unwrap_or(DEADLINE);
                let parsed = duration::parse(text).map_err(|error| {
                    Failure::new(format!("Failed to parse deadline `{text}`: {error}"))
                })?;
                if parsed <= 0 {
                    return Err(Failure::new(format!(
                        "A positive drain duration must be given, not `{text}`"
                    ))
                    .hint("-force moves everything at once, -no-deadline has no deadline"));
                }
                parsed
            }
        };
        Ok(json!({ "Deadline": deadline, "IgnoreSystemJobs": self.ignore_system }))
    }
}

/// Prints a line with the time.
fn say(text: &str) {
    terminal::print(&format!("{}: {text}", now().rfc3339_seconds()));
}

/// Watches a node until it is empty, or not emptied any more.
async fn watch(client: &Client, id: &str, mut progress: Progress) -> Outcome {
    loop {
        let node: Result<Node, _> = client.get(&format!("/v1/node/{id}")).await;
        let node = node.map_err(|error| Failure::from(error).during("Error watching the node"))?;
        let allocs = allocations(client, id).await?;
        for line in progress.news(&allocs) {
            say(&line);
        }
        if !node.drain {
            let complete = node.events.iter().rfind(|event| event.subsystem == "Drain");
            let complete = complete.is_some_and(|event| event.message.ends_with("complete"));
            if complete {
                say(&format!("Drain complete for node {id}"));
                let left = allocs.iter().filter(|alloc| alloc.status == CLIENT_RUNNING);
                match left.count() {
                    0 => say(&format!("All allocations on node \"{id}\" have stopped.")),
                    left => say(&format!(
                        "{left} allocations of system jobs stay on the node"
                    )),
                }
                return Ok(Exit::Done);
            }
            let shown = id::short(id);
            return Err(Failure::new(format!("No drain strategy set for node {id}"))
                .hint(format!("`drover node drain -enable {shown}` empties it")));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn allocations(client: &Client, id: &str) -> Result<Vec<Seen>, Failure> {
    let rows: Result<Vec<Value>, _> = client.get(&format!("/v1/node/{id}/allocations")).await;
    let rows = rows.map_err(|error| Failure::from(error).during("Error watching the node"))?;
    Ok(rows.iter().filter_map(Seen::read).collect())
}

/// What is watched of an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    id: String,
    marked: bool,
    draining: bool,
    status: String,
}

impl Seen {
    fn read(row: &Value) -> Option<Self> {
        let text = |field: &str| row[field].as_str();
        Some(Self {
            id: text("ID")?.to_owned(),
            marked: row["DesiredTransition"]["Migrate"] == true,
            draining: text("DesiredStatus")? == DESIRED_STOP,
            status: text("ClientStatus")?.to_owned(),
        })
    }
}

/// What has been told of each allocation.
#[derive(Default)]
struct Progress {
    told: BTreeMap<String, Seen>,
    began: bool,
}

impl Progress {
    fn news(&mut self, allocs: &[Seen]) -> Vec<String> {
        let mut lines = Vec::new();
        for alloc in allocs {
            let id = &alloc.id;
            let Some(before) = self.told.insert(id.clone(), alloc.clone()) else {
                // What was on its way before isn't news.
                if self.began || !alloc.marked || alloc.draining {
                    continue;
                }
                lines.push(format!("Alloc \"{id}\" marked for migration"));
                continue;
            };
            if alloc.marked && !before.marked {
                lines.push(format!("Alloc \"{id}\" marked for migration"));
            }
            if alloc.draining && !before.draining {
                lines.push(format!("Alloc \"{id}\" draining"));
            }
            if alloc.status != before.status {
                let (from, to) = (&before.status, &alloc.status);
                lines.push(format!("Alloc \"{id}\" status {from} -> {to}"));
            }
        }
        self.began = true;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(marked: bool, draining: bool, status: &str) -> Seen {
        Seen {
            id: "a77b0539-96b9".to_owned(),
            marked,
            draining,
            status: status.to_owned(),
        }
    }

    #[test]
    fn each_step_of_an_allocation_that_leaves_is_told_once_as_the_anchor_does() {
        let mut progress = Progress::default();
        assert!(progress.news(&[seen(false, false, "running")]).is_empty());
        assert_eq!(
            progress.news(&[seen(true, true, "running")]),
            [
                "Alloc \"a77b0539-96b9\" marked for migration",
                "Alloc \"a77b0539-96b9\" draining",
            ]
        );
        assert_eq!(
            progress.news(&[seen(true, true, "complete")]),
            ["Alloc \"a77b0539-96b9\" status running -> complete"]
        );
        assert!(progress.news(&[seen(true, true, "complete")]).is_empty());
    }
}
