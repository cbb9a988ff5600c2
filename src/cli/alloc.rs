//! `alloc status`: one allocation, its tasks, what they use and what happened to them.

use clap::{Args, Subcommand};
use logic::model::{
    AllocMetric, Allocation, EVAL_PENDING, Evaluation, Network, Resources, TaskEvent, TaskState,
};
use logic::time::Time;
use logic::{duration, id};
use serde::Deserialize;
use serde_json::Value;

use super::alloc_fs::AllocFs;
use super::alloc_logs::AllocLogs;
use super::alloc_stop::AllocStop;
use super::api::{
    AllocHealth, AllocStub, AllocUsage, SharedResources, TaskUsage, newest_first, whole,
};
use super::exit::{Exit, Failure, Outcome};
use super::format::{
    NONE, bytes, columns, instant, megabytes, or_none, pairs, shown_id, table, when,
};
use super::http::{Client, decode};
use super::status::Asked;
use super::terminal::{self, Style};
use super::{lookup, now, placement};

#[derive(Debug, Subcommand)]
pub(super) enum AllocCommand {
    Status(AllocStatus),
    Logs(AllocLogs),
    Fs(AllocFs),
    Stop(AllocStop),
}

impl AllocCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Status(command) => command.run().await,
            Self::Logs(command) => command.run().await,
            Self::Fs(command) => command.run().await,
            Self::Stop(command) => command.run().await,
        }
    }
}

/// List allocations, or show one: its tasks, addresses, use, and what happened to it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover alloc status 0e0dd4b7     any unique prefix will do
  $ drover alloc status -json 0e0dd4b7")]
pub(super) struct AllocStatus {
    /// The allocation's id, or a prefix of it; none: list all allocations
    id: Option<String>,
    /// Tasks in one line each
    #[arg(long)]
    short: bool,
    /// Accepted: use is always shown
    #[arg(long, hide = true)]
    stats: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Everything that is shown of an allocation.
#[derive(Debug, Default)]
struct Facts {
    alloc: Allocation,
    /// Ports and disk of the group.
    shared: SharedResources,
    update: Update,
    usage: Option<AllocUsage>,
    /// When a failed allocation will be placed anew.
    replaced_at: Time,
}

impl AllocStatus {
    pub(super) fn of(id: String, asked: Asked) -> Self {
        Self {
            id: Some(id),
            short: false,
            stats: false,
            asked,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let failed = |error| Failure::from(error).during("Error querying allocation");
        let Some(typed) = &self.id else {
            if self.asked.raw() {
                let all: Value = client.get("/v1/allocations").await.map_err(failed)?;
                return self.asked.print_raw(&all);
            }
            let all: Vec<AllocStub> = client.get("/v1/allocations").await.map_err(failed)?;
            terminal::print(&render_list(&all, now(), self.asked.verbose));
            return Ok(Exit::Done);
        };
        let stub: AllocStub = lookup::one(&client, typed).await?;
        let path = format!("/v1/allocation/{}", stub.id);
        let answer: Value = client.get(&path).await.map_err(failed)?;
        if self.asked.raw() {
            return self.asked.print_raw(&answer);
        }
        let mut facts = Facts::read(&answer)
            .map_err(|error| Failure::new(format!("Error querying allocation: {error}")))?;
        facts.usage = usage(&client, &stub.id).await;
        facts.replaced_at = replaced_at(&client, &facts.alloc).await;
        let style = self.asked.connection.style();
        terminal::print(&facts.render(self.short, self.asked.verbose, now(), style));
        Ok(Exit::Done)
    }
}

/// What a running allocation uses, if its node can be asked.
pub(super) async fn usage(client: &Client, alloc_id: &str) -> Option<AllocUsage> {
    let path = format!("/v1/client/allocation/{alloc_id}/stats");
    client.get(&path).await.ok()
}

/// When the evaluation is due that places a failed allocation anew, if there is one.
async fn replaced_at(client: &Client, alloc: &Allocation) -> Time {
    if alloc.follow_up_eval_id.is_empty() {
        return Time::NEVER;
    }
    let path = format!("/v1/evaluation/{}", alloc.follow_up_eval_id);
    let eval: Evaluation = client.get(&path).await.unwrap_or_default();
    if eval.status == EVAL_PENDING {
        eval.wait_until
    } else {
        Time::NEVER
    }
}

/// Allocations as a table.
pub(super) fn render_list(allocs: &[AllocStub], now: Time, verbose: bool) -> String {
    if allocs.is_empty() {
        return "No allocations placed".to_owned();
    }
    let mut allocs = allocs.to_vec();
    newest_first(&mut allocs);
    let mut header = vec!["ID"];
    if verbose {
        header.push("Eval ID");
    }
    header.extend([
        "Node ID",
        "Task Group",
        "Version",
        "Desired",
        "Status",
        "Created",
        "Modified",
    ]);
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for alloc in allocs {
        let mut row = vec![shown_id(&alloc.id, verbose)];
        if verbose {
            row.push(alloc.eval_id.clone());
        }
        row.extend([
            shown_id(&alloc.node_id, verbose),
            alloc.task_group.clone(),
            alloc.job_version.to_string(),
            alloc.desired_status.clone(),
            alloc.client_status.clone(),
            when(Time(alloc.create_time), now, verbose),
            when(Time(alloc.modify_time), now, verbose),
        ]);
        rows.push(row);
    }
    columns(&rows)
}

/// The part of an allocation that isn't in the model's own type.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Besides {
    shared_resources: SharedResources,
    #[serde(flatten)]
    update: Update,
}

/// The update of its job that an allocation belongs to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Update {
    #[serde(rename = "DeploymentID")]
    deployment_id: String,
    deployment_status: Option<AllocHealth>,
}

impl Update {
    fn rows(&self, verbose: bool) -> Vec<(&'static str, String)> {
        if self.deployment_id.is_empty() {
            return Vec::new();
        }
        let health = match self.deployment_status.and_then(|status| status.healthy) {
            Some(true) => "healthy",
            Some(false) => "unhealthy",
            None => "unset",
        };
        let mut rows = vec![
            ("Deployment ID", shown_id(&self.deployment_id, verbose)),
            ("Deployment Health", health.to_owned()),
        ];
        if self.deployment_status.is_some_and(|status| status.canary) {
            rows.push(("Canary", true.to_string()));
        }
        rows
    }
}

impl Facts {
    fn read(answer: &Value) -> serde_json::Result<Self> {
        let bytes = serde_json::to_vec(answer)?;
        let Besides {
            shared_resources,
            update,
        } = decode(&bytes)?;
        Ok(Self {
            shared: shared_resources,
            update,
            alloc: decode(&bytes)?,
            usage: None,
            replaced_at: Time::NEVER,
        })
    }

    fn render(&self, short: bool, verbose: bool, now: Time, style: Style) -> String {
        let mut sections = vec![self.head(verbose, now)];
        let title = |title: &str| style.bold(title);
        if !self.shared.networks.is_empty() {
            let text = group_addresses(&self.shared.networks);
            sections.push(format!("{}\n{text}", title("Allocation Addresses")));
        }
        if short {
            sections.push(format!("{}\n{}", title("Tasks"), self.short_tasks()));
        } else {
            for (name, state) in &self.alloc.task_states {
                sections.push(self.task(name, state, style));
            }
        }
        if verbose {
            let lines = placement::scores(&self.alloc.metrics).join("\n");
            let lines = if lines.is_empty() {
                NONE.to_owned()
            } else {
                lines
            };
            sections.push(format!("{}\n{lines}", title("Placement Metrics")));
        }
        sections.join("\n\n")
    }

    fn head(&self, verbose: bool, now: Time) -> String {
        let alloc = &self.alloc;
        let mut head = vec![
            ("ID", shown_id(&alloc.id, verbose)),
            ("Eval ID", shown_id(&alloc.eval_id, verbose)),
            ("Name", alloc.name.clone()),
            ("Node ID", shown_id(&alloc.node_id, verbose)),
            ("Job ID", alloc.job_id.clone()),
            ("Job Version", alloc.job_version().to_string()),
            ("Client Status", alloc.client_status.clone()),
            ("Client Description", or_none(&alloc.client_description)),
            ("Desired Status", alloc.desired_status.clone()),
            ("Desired Description", or_none(&alloc.desired_description)),
            ("Created", when(Time(alloc.create_time), now, verbose)),
            ("Modified", when(Time(alloc.modify_time), now, verbose)),
        ];
        head.extend(self.update.rows(verbose));
        for (key, other) in [
            ("Replacement Alloc ID", &alloc.next_allocation),
            ("Replaces Alloc ID", &alloc.previous_allocation),
        ] {
            if !other.is_empty() {
                head.push((key, shown_id(other, verbose)));
            }
        }
        if self.replaced_at > now {
            let at = when(self.replaced_at, now, verbose);
            head.push(("Reschedule Eligibility", at));
        }
        if verbose {
            head.extend(counts(&alloc.metrics));
        }
        pairs(&head)
    }

    fn short_tasks(&self) -> String {
        let row = |(name, state): (&String, &TaskState)| {
            let last = state.events.last();
            [
                name.clone(),
                state.state.clone(),
                last.map_or(String::new(), |event| event.r#type.clone()),
                last.map_or(String::new(), |event| instant(Time(event.time))),
            ]
        };
        let rows = self.alloc.task_states.iter().map(row).collect();
        table(["Name", "State", "Last Event", "Time"], rows)
    }

    fn task(&self, name: &str, state: &TaskState, style: Style) -> String {
        let head = format!("Task \"{name}\" is \"{}\"", state.state);
        let mut out = vec![style.bold(&head)];
        if let Some(resources) = self.alloc.task_resources.get(name) {
            let used = self.usage.as_ref().and_then(|usage| usage.tasks.get(name));
            let disk = self.shared.disk_mb.max(resources.disk_mb);
            out.push(style.bold("Task Resources"));
            out.push(render_resources(resources, disk, used));
        }
        let times = [
            ("Started At", instant(state.started_at)),
            ("Finished At", instant(state.finished_at)),
            ("Total Restarts", state.restarts.to_string()),
            ("Last Restart", instant(state.last_restart)),
        ];
        out.push(format!("\n{}", style.bold("Task Events:")));
        out.push(pairs(&times));
        out.push(format!("\n{}", style.bold("Recent Events:")));
        out.push(render_events(&state.events));
        out.join("\n")
    }
}

fn counts(metric: &AllocMetric) -> [(&'static str, String); 5] {
    [
        ("Evaluated Nodes", metric.nodes_evaluated.to_string()),
        ("Filtered Nodes", metric.nodes_filtered.to_string()),
        ("Exhausted Nodes", metric.nodes_exhausted.to_string()),
        ("Allocation Time", duration::format(metric.allocation_time)),
        ("Failures", metric.coalesced_failures.to_string()),
    ]
}

fn group_addresses(networks: &[Network]) -> String {
    let mut rows = Vec::new();
    for network in networks {
        for (ports, dynamic) in [
            (&network.reserved_ports, "no"),
            (&network.dynamic_ports, "yes"),
        ] {
            for port in ports {
                rows.push([
                    port.label.clone(),
                    dynamic.to_owned(),
                    format!("{}:{}", network.ip, port.value),
                ]);
            }
        }
    }
    table(["Label", "Dynamic", "Address"], rows)
}

fn render_resources(resources: &Resources, disk_mb: i64, used: Option<&TaskUsage>) -> String {
    let mut cpu = format!("{} MHz", resources.cpu);
    let mut memory = megabytes(resources.memory_mb);
    if let Some(TaskUsage { resource_usage }) = used {
        cpu = format!("{}/{cpu}", whole(resource_usage.cpu_stats.total_ticks));
        memory = format!("{}/{memory}", bytes(resource_usage.memory_stats.rss));
    }
    let networks = resources.networks.iter();
    let mut addresses = networks.flat_map(|network| {
        let address =
            |port: &logic::model::Port| format!("{}: {}:{}", port.label, network.ip, port.value);
        network.ports().map(address).collect::<Vec<_>>()
    });
    let first = addresses.next().unwrap_or_default();
    let mut rows = vec![[
        cpu,
        memory,
        megabytes(disk_mb),
        resources.iops.to_string(),
        first,
    ]];
    rows.extend(addresses.map(|address| {
        let nothing = String::new;
        [nothing(), nothing(), nothing(), nothing(), address]
    }));
    table(["CPU", "Memory", "Disk", "IOPS", "Addresses"], rows)
}

/// Newest first.
fn render_events(events: &[TaskEvent]) -> String {
    let row = |event: &TaskEvent| {
        // A table's row is a line; some drivers' errors have several.
        let words: Vec<_> = event.display_message.split_whitespace().collect();
        [
            instant(Time(event.time)),
            event.r#type.clone(),
            words.join(" "),
        ]
    };
    let rows = events.iter().rev().map(row).collect();
    table(["Time", "Type", "Description"], rows)
}

/// The one task of an allocation, or the one that was named.
pub(super) fn chosen_task(alloc: &AllocStub, named: Option<&str>) -> Result<String, Failure> {
    let shown = id::short(&alloc.id);
    let known: Vec<_> = alloc.task_states.keys().cloned().collect();
    let list = || known.join("\n  * ");
    match (named, known.as_slice()) {
        (Some(task), []) => Ok(task.to_owned()),
        (Some(task), _) if known.iter().any(|own| own == task) => Ok(task.to_owned()),
        (Some(task), _) => Err(Failure::new(format!(
            "Allocation \"{shown}\" has no task \"{task}\"; it has:\n  * {}",
            list()
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Failure::new(format!(
            "Allocation \"{shown}\" hasn't started any task yet"
        ))),
        (None, _) => Err(Failure::new(format!(
            "Allocation \"{shown}\" has several tasks, name one:\n  * {}",
            list()
        ))),
    }
}

#[cfg(test)]
mod tests;
