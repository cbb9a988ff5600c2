//! `node status`: all nodes, or one with its drivers, resources and allocations.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use logic::model::{Allocation, CLIENT_RUNNING, DriverInfo, Node, NodeEvent, Resources};
use logic::time::Time;
use serde_json::Value;

use super::api::{AllocStub, AllocUsage, NodeStub, NodeUsage, newest_first, whole};
use super::exit::{Exit, Failure, Outcome};
use super::format::{NONE, bytes, instant, megabytes, or_none, pairs, shown_id, table, uptime};
use super::http::{Client, RequestError};
use super::node_config::NodeConfig;
use super::node_drain::NodeDrain;
use super::node_eligibility::NodeEligibility;
use super::status::Asked;
use super::terminal::{self, Style};
use super::{alloc, format, lookup, now};

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    Status(NodeStatus),
    Eligibility(NodeEligibility),
    Config(NodeConfig),
    Drain(NodeDrain),
}

impl NodeCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Status(command) => command.run().await,
            Self::Eligibility(command) => command.run().await,
            Self::Config(command) => command.run().await,
            Self::Drain(command) => command.run().await,
        }
    }
}

/// List nodes, or show one: drivers, resources in use, allocations
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover node status
  $ drover node status -self
  $ drover node status -verbose 6dbe0d79     any unique prefix will do")]
pub(super) struct NodeStatus {
    /// The node's id, or a prefix of it; none: list all nodes
    #[arg(conflicts_with = "own")]
    id: Option<String>,
    /// The node of the agent that answers
    #[arg(long = "self", id = "own")]
    own: bool,
    /// In the list: how many allocations run on each node
    #[arg(long)]
    allocs: bool,
    /// Only what the node is and what it runs
    #[arg(long)]
    short: bool,
    /// Accepted: use is always shown
    #[arg(long, hide = true)]
    stats: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Everything that is shown of a node.
#[derive(Debug, Default)]
struct Facts {
    node: Node,
    usage: Option<NodeUsage>,
    allocs: Vec<Allocation>,
    /// What the running allocations use together.
    used: Used,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    mhz: f64,
    bytes: u64,
}

impl NodeStatus {
    pub(super) fn of(id: String, asked: Asked) -> Self {
        Self {
            id: Some(id),
            own: false,
            allocs: false,
            short: false,
            stats: false,
            asked,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let id = match (&self.id, self.own) {
            (Some(typed), _) => lookup::one::<NodeStub>(&client, typed).await?.id,
            (None, true) => own_node(&client).await?,
            (None, false) => return self.list(&client).await,
        };
        let failed = |error| Failure::from(error).during("Error querying node info");
        let path = format!("/v1/node/{id}");
        if self.asked.raw() {
            let node: Value = client.get(&path).await.map_err(failed)?;
            return self.asked.print_raw(&node);
        }
        let allocs = client.get(&format!("{path}/allocations")).await;
        let mut facts = Facts {
            node: client.get(&path).await.map_err(failed)?,
            allocs: allocs.map_err(failed)?,
            ..Facts::default()
        };
        if !self.short {
            let usage = client.get(&format!("/v1/client/stats?node_id={id}")).await;
            facts.usage = usage.ok();
            facts.used = used(&client, &facts.allocs).await;
        }
        let style = self.asked.connection.style();
        terminal::print(&render(
            &facts,
            self.short,
            self.asked.verbose,
            now(),
            style,
        ));
        Ok(Exit::Done)
    }

    async fn list(&self, client: &Client) -> Outcome {
        let failed = |error| Failure::from(error).during("Error querying node status");
        if self.asked.raw() {
            let nodes: Value = client.get("/v1/nodes").await.map_err(failed)?;
            return self.asked.print_raw(&nodes);
        }
        let nodes: Vec<NodeStub> = client.get("/v1/nodes").await.map_err(failed)?;
        let running = if self.allocs {
            let allocs: Vec<AllocStub> = client.get("/v1/allocations").await.map_err(failed)?;
            Some(running_by_node(&allocs))
        } else {
            None
        };
        if !nodes.is_empty() {
            terminal::print(&render_list(&nodes, running.as_ref(), self.asked.verbose));
        }
        Ok(Exit::Done)
    }
}

/// The node of the agent that answers.
pub(super) async fn own_node(client: &Client) -> Result<String, Failure> {
    let own: Result<Value, RequestError> = client.get("/v1/agent/self").await;
    let own = own.map_err(|error| Failure::from(error).during("Error querying agent info"))?;
    match own.pointer("/stats/client/node_id").and_then(Value::as_str) {
        Some(id) => Ok(id.to_owned()),
        None => Err(Failure::new("the agent that answers runs no client")),
    }
}

async fn used(client: &Client, allocs: &[Allocation]) -> Used {
    let mut used = Used::default();
    for alloc in allocs
        .iter()
        .filter(|alloc| alloc.client_status == CLIENT_RUNNING)
    {
        // An allocation that ends meanwhile uses nothing any more.
        if let Some(usage) = alloc::usage(client, &alloc.id).await {
            let AllocUsage { resource_usage, .. } = usage;
            used.mhz += resource_usage.cpu_stats.total_ticks;
            used.bytes += resource_usage.memory_stats.rss;
        }
    }
    used
}

fn running_by_node(allocs: &[AllocStub]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for alloc in allocs
        .iter()
        .filter(|alloc| alloc.client_status == CLIENT_RUNNING)
    {
        *counts.entry(alloc.node_id.clone()).or_default() += 1;
    }
    counts
}

/// All nodes as a table, with their running allocations if those are known.
pub(super) fn render_list(
    nodes: &[NodeStub],
    running: Option<&BTreeMap<String, usize>>,
    verbose: bool,
) -> String {
    let mut header = vec!["ID", "DC", "Name", "Class"];
    if verbose {
        header.extend(["Address", "Version"]);
    }
    header.extend(["Drain", "Eligibility", "Status"]);
    if running.is_some() {
        header.push("Running Allocs");
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for node in nodes {
        let mut row = vec![
            shown_id(&node.id, verbose),
            node.datacenter.clone(),
            node.name.clone(),
            or_none(&node.node_class),
        ];
        if verbose {
            row.extend([node.address.clone(), node.version.clone()]);
        }
        row.extend([
            node.drain.to_string(),
            node.scheduling_eligibility.clone(),
            node.status.clone(),
        ]);
        if let Some(running) = running {
            row.push(running.get(&node.id).copied().unwrap_or(0).to_string());
        }
        rows.push(row);
    }
    format::columns(&rows)
}

fn render(facts: &Facts, short: bool, verbose: bool, now: Time, style: Style) -> String {
    let mut sections = vec![render_head(facts, verbose)];
    let mut section = |title: &str, text: &str| {
        sections.push(
            format!("{}\n{text}", style.bold(title))
                .trim_end()
                .to_owned(),
        );
    };
    if verbose {
        section("Drivers", &render_drivers(&facts.node.drivers));
    }
    if !short {
        section("Node Events", &render_events(&facts.node.events, verbose));
        section("Allocated Resources", &render_allocated(facts));
        let total = facts.node.available();
        let memory = bytes(facts.used.bytes);
        let row = [
            format!("{}/{} MHz", whole(facts.used.mhz), total.cpu),
            format!("{memory}/{}", megabytes(total.memory_mb)),
        ];
        let text = table(["CPU", "Memory"], vec![row]);
        section("Allocation Resource Utilization", &text);
        if let Some(usage) = &facts.usage {
            section(
                "Host Resource Utilization",
                &render_host(usage, facts.node.resources.cpu),
            );
        }
    }
    let mut allocs: Vec<_> = facts.allocs.iter().map(stub).collect();
    newest_first(&mut allocs);
    section("Allocations", &alloc::render_list(&allocs, now, verbose));
    if verbose {
        let attributes: Vec<_> = facts.node.attributes.iter().collect();
        section("Attributes", &pairs(&attributes));
        let meta: Vec<_> = facts.node.meta.iter().collect();
        section("Meta", &pairs(&meta));
    }
    sections.join("\n\n")
}

fn stub(alloc: &Allocation) -> AllocStub {
    AllocStub {
        id: alloc.id.clone(),
        eval_id: alloc.eval_id.clone(),
        node_id: alloc.node_id.clone(),
        job_id: alloc.job_id.clone(),
        job_version: alloc.job_version(),
        task_group: alloc.task_group.clone(),
        desired_status: alloc.desired_status.clone(),
        client_status: alloc.client_status.clone(),
        create_index: alloc.create_index,
        create_time: alloc.create_time,
        modify_time: alloc.modify_time,
        ..AllocStub::default()
    }
}

fn render_head(facts: &Facts, verbose: bool) -> String {
    let node = &facts.node;
    let mut head = vec![
        ("ID", shown_id(&node.id, verbose)),
        ("Name", node.name.clone()),
        ("Class", or_none(&node.node_class)),
        ("DC", node.datacenter.clone()),
        ("Drain", drain(node)),
        ("Eligibility", node.scheduling_eligibility.clone()),
        ("Status", node.status.clone()),
    ];
    if !node.status_description.is_empty() {
        head.push(("Description", node.status_description.clone()));
    }
    if let Some(usage) = &facts.usage {
        head.push(("Uptime", uptime(usage.uptime)));
    }
    if !verbose {
        head.push(("Driver Status", driver_status(&node.drivers)));
    }
    pairs(&head)
}

/// Whether a node is being emptied, and until when.
fn drain(node: &Node) -> String {
    let Some(strategy) = &node.drain_strategy else {
        return node.drain.to_string();
    };
    let until = match strategy.deadline {
        0 => "no deadline".to_owned(),
        deadline if deadline < 0 => "force drain".to_owned(),
        _ => format!("{} deadline", instant(strategy.force_deadline)),
    };
    let ignoring = if strategy.ignore_system_jobs {
        "; ignoring system jobs"
    } else {
        ""
    };
    format!("true; {until}{ignoring}")
}

fn driver_status(drivers: &BTreeMap<String, DriverInfo>) -> String {
    let detected = drivers.iter().filter(|(_, driver)| driver.detected);
    let shown: Vec<_> = detected
        .map(|(name, driver)| {
            if driver.healthy {
                name.clone()
            } else {
                format!("{name} (unhealthy)")
            }
        })
        .collect();
    or_none(&shown.join(","))
}

fn render_drivers(drivers: &BTreeMap<String, DriverInfo>) -> String {
    let row = |(name, driver): (&String, &DriverInfo)| {
        [
            name.clone(),
            driver.detected.to_string(),
            driver.healthy.to_string(),
            or_none(&driver.health_description),
            instant(driver.update_time),
        ]
    };
    let header = ["Driver", "Detected", "Healthy", "Message", "Time"];
    table(header, drivers.iter().map(row).collect())
}

/// Newest first.
fn render_events(events: &[NodeEvent], verbose: bool) -> String {
    let mut rows = vec![vec![
        "Time".to_owned(),
        "Subsystem".to_owned(),
        "Message".to_owned(),
    ]];
    if verbose {
        rows[0].push("Details".to_owned());
    }
    for event in events.iter().rev() {
        let mut row = vec![
            instant(event.timestamp),
            event.subsystem.clone(),
            event.message.clone(),
        ];
        if verbose {
            let details = event.details.iter();
            let details: Vec<_> = details
                .map(|(key, value)| format!("{key}: {value}"))
                .collect();
            row.push(or_none(&details.join(",")));
        }
        rows.push(row);
    }
    if rows.len() == 1 {
        return NONE.to_owned();
    }
    format::columns(&rows)
}

fn render_allocated(facts: &Facts) -> String {
    let mut sum = Resources::default();
    for alloc in facts.allocs.iter().filter(|alloc| !alloc.terminal()) {
        sum.add(&alloc.resources);
    }
    let total = facts.node.available();
    let row = [
        format!("{}/{} MHz", sum.cpu, total.cpu),
        format!(
            "{}/{}",
            megabytes(sum.memory_mb),
            megabytes(total.memory_mb)
        ),
        format!("{}/{}", megabytes(sum.disk_mb), megabytes(total.disk_mb)),
        format!("{}/{}", sum.iops, total.iops),
    ];
    table(["CPU", "Memory", "Disk", "IOPS"], vec![row])
}

fn render_host(usage: &NodeUsage, mhz: i64) -> String {
    let row = [
        format!("{}/{mhz} MHz", whole(usage.cpu_ticks)),
        format!("{}/{}", bytes(usage.memory.used), bytes(usage.memory.total)),
        format!("{}/{}", bytes(usage.disk.used), bytes(usage.disk.size)),
    ];
    table(["CPU", "Memory", "Disk"], vec![row])
}

#[cfg(test)]
mod tests;
