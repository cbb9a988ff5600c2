//! `job why`: why a job isn't running as it was asked for, in numbers, as things are right now.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use logic::model::{AllocMetric, DESIRED_STOP, JOB_SYSTEM, Job, NODE_INELIGIBLE, NODE_READY};
use logic::schedule::feasible::asks_for;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{AllocStub, GroupSummary, JobStub, JobSummary, NodeStub, newest_first};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::format::counted;
use super::http::{Client, decode, escaped};
use super::terminal::Style;
use super::{lookup, monitor, placement, terminal};

/// Tell why a job isn't running as it should
///
/// Asks the scheduler to place the job on a copy of the cluster as it is now, and tells for each
/// group that has no room what every node lacks, in numbers; then what its allocations fail at.
/// Nothing is changed.
///
/// Exit codes: 0 all of it is placed and nothing fails, 1 no such job or no agent, 2 something
/// has no place or fails.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover job why httpbackend")]
pub(super) struct JobWhy {
    /// The job's id, or a prefix of it
    id: String,
    /// Full ids
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a dry run of the scheduler says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct DryRun {
    #[serde(rename = "FailedTGAllocs")]
    failed: BTreeMap<String, AllocMetric>,
}

#[derive(Default)]
struct Facts {
    job: Job,
    failed: BTreeMap<String, AllocMetric>,
    summary: BTreeMap<String, GroupSummary>,
    allocs: Vec<AllocStub>,
    nodes: Vec<NodeStub>,
}

impl JobWhy {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let job: JobStub = lookup::one(&client, &self.id).await?;
        let facts = Facts::gathered(&client, &job.id).await?;
        let (exit, text) = facts.explained(self.verbose, self.connection.style());
        terminal::print(&text);
        Ok(exit)
    }
}

impl Facts {
    async fn gathered(client: &Client, id: &str) -> Result<Self, Failure> {
        let path = format!("/v1/job/{}", escaped(id));
        let failed = |error| Failure::from(error).during("Error querying job");
        let registered: Value = client.get(&path).await.map_err(failed)?;
        let bytes = registered.to_string().into_bytes();
        let job: Job =
            decode(&bytes).map_err(|error| Failure::new(format!("Error querying job: {error}")))?;
        let mut facts = Self {
            job,
            ..Self::default()
        };
        if !facts.job.stop {
            let request = json!({ "Job": registered, "Diff": false });
            let run = client.put(&format!("{path}/plan"), &request).await;
            let run: DryRun = run.map_err(failed)?;
            facts.failed = run.failed;
        }
        let summary = client.get(&format!("{path}/summary")).await;
        let summary: JobSummary = summary.map_err(failed)?;
        facts.summary = summary.summary;
        let allocs = client.get(&format!("{path}/allocations")).await;
        facts.allocs = allocs.map_err(failed)?;
        newest_first(&mut facts.allocs);
        facts.nodes = client.get("/v1/nodes").await.map_err(failed)?;
        Ok(facts)
    }

    fn explained(&self, verbose: bool, style: Style) -> (Exit, String) {
        let id = &self.job.id;
        if self.job.stop {
            let text = format!("Job \"{id}\" is stopped: nothing of it is to run.");
            return (Exit::Done, text);
        }
        let mut parts = Vec::new();
        for (name, metric) in &self.failed {
            parts.push(self.unplaced(name, metric, style));
        }
        parts.extend(self.left_out(style).filter(|_| !self.failed.is_empty()));
        let failing: Vec<_> = self
            .current()
            .flat_map(|alloc| monitor::trouble(alloc, verbose))
            .collect();
        if !failing.is_empty() {
            let title = style.bold("Failing");
            parts.push(format!("{title}\n{}", failing.join("\n")));
        }
        if parts.is_empty() {
            return (Exit::Done, self.all_is_well());
        }
        (Exit::NotPlaced, parts.join("\n\n"))
    }

    /// The allocations that nothing has come after.
    fn current(&self) -> impl Iterator<Item = &AllocStub> {
        let mut names = BTreeSet::new();
        let newest = self.allocs.iter();
        let newest = newest.filter(move |alloc| names.insert(&alloc.name));
        newest.filter(|alloc| alloc.desired_status != DESIRED_STOP)
    }

    fn unplaced(&self, name: &str, metric: &AllocMetric, style: Style) -> String {
        let group = self.job.group(name);
        let wanted = group.map_or(0, logic::model::TaskGroup::desired_count);
        let waiting = usize::try_from(metric.coalesced_failures + 1).unwrap_or(usize::MAX);
        let of_system = self.job.r#type == JOB_SYSTEM;
        let what = if of_system && metric.nodes_exhausted == 0 {
            "there is no node that it may run on".to_owned()
        } else if wanted == 0 || of_system {
            format!("no place for {}", counted(waiting, "allocation"))
        } else {
            format!(
                "no place for {waiting} of {}",
                counted(wanted, "allocation")
            )
        };
        let mut lines = vec![style.bold(&format!("Task Group \"{name}\": {what}"))];
        lines.extend(placement::reasons(metric, "  ", true));
        lines.join("\n")
    }

    /// The nodes that the scheduler didn't even look at, and why.
    fn left_out(&self, style: Style) -> Option<String> {
        let line = |node: &NodeStub| {
            let why = self.why_left_out(node)?;
            Some(format!("  * Node \"{}\": {why}", node.name))
        };
        let lines: Vec<_> = self.nodes.iter().filter_map(line).collect();
        let title = style.bold("Nodes Left Out");
        (!lines.is_empty()).then(|| format!("{title}\n{}", lines.join("\n")))
    }

    fn why_left_out(&self, node: &NodeStub) -> Option<String> {
        let datacenter = &node.datacenter;
        if node.status != NODE_READY {
            Some(format!("it is {}", node.status))
        } else if node.drain {
            Some("it is being drained".to_owned())
        } else if node.scheduling_eligibility == NODE_INELIGIBLE {
            Some("it takes no new allocations, as it is ineligible".to_owned())
        } else if !asks_for(&self.job, datacenter) {
            let asked = self.job.datacenters.join(", ");
            Some(format!(
                "it is in datacenter \"{datacenter}\", the job asks for {asked}"
            ))
        } else {
            None
        }
    }

    fn all_is_well(&self) -> String {
        let sum = |count: fn(&GroupSummary) -> i64| self.summary.values().map(count).sum::<i64>();
        let running = sum(|group| group.running);
        let starting = sum(|group| group.starting);
        format!(
            "Job \"{}\" has all the places it asks for: {running} running, {starting} starting.",
            self.job.id
        )
    }
}

#[cfg(test)]
mod tests {
    use logic::model::{TaskEvent, TaskGroup, TaskState};

    use super::*;

    fn job() -> Job {
        Job {
            id: "big".to_owned(),
            datacenters: vec!["dc*".to_owned()],
            task_groups: vec![TaskGroup {
                name: "big".to_owned(),
                count: Some(3),
                ..TaskGroup::default()
            }],
            ..Job::default()
        }
    }

    fn node(eligibility: &str) -> NodeStub {
        NodeStub {
            name: eligibility.to_owned(),
            datacenter: "dc1".to_owned(),
            status: "ready".to_owned(),
            scheduling_eligibility: eligibility.to_owned(),
            ..NodeStub::default()
        }
    }

    #[test]
    fn what_has_no_place_is_told_node_by_node_and_what_fails_by_task() {
        let reason = "needs 30000 MB of memory, 23977 of 24105 MB are free";
        let metric = AllocMetric {
            nodes_evaluated: 7,
            nodes_exhausted: 7,
            coalesced_failures: 1,
            dimension_exhausted: [("memory".to_owned(), 7)].into(),
            reasons: (1..=7)
                .map(|n| (format!("n{n}"), reason.to_owned()))
                .collect(),
            ..AllocMetric::default()
        };
        let event = TaskEvent {
            r#type: "Driver Failure".to_owned(),
            display_message: "no such image `x:y`".to_owned(),
            ..TaskEvent::default()
        };
        let state = TaskState {
            state: "pending".to_owned(),
            events: vec![event],
            ..TaskState::default()
        };
        let alloc = AllocStub {
            id: "181a2c2a-73bf".to_owned(),
            node_id: "6dbe0d79-ad99".to_owned(),
            task_group: "big".to_owned(),
            client_status: "pending".to_owned(),
            task_states: [("web".to_owned(), state)].into(),
            ..AllocStub::default()
        };
        let facts = Facts {
            job: job(),
            failed: [("big".to_owned(), metric)].into(),
            allocs: vec![alloc],
            nodes: ["ineligible", "eligible"].map(node).into(),
            ..Facts::default()
        };
        let (exit, text) = facts.explained(false, Style::PLAIN);
        assert_eq!(exit, Exit::NotPlaced);
        let head = "Task Group \"big\": no place for 2 of 3 allocations
  * Resources exhausted on 7 nodes
  * Dimension \"memory\" exhausted on 7 nodes
  * Node \"n1\": needs 30000 MB of memory, 23977 of 24105 MB are free\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("  * Node \"n7\": needs"), "{text}");
        let left_out = "\n\nNodes Left Out
  * Node \"ineligible\": it takes no new allocations, as it is ineligible\n\nFailing";
        assert!(text.contains(left_out), "{text}");
        let tail = "\n\nFailing
  Allocation \"181a2c2a\" on node \"6dbe0d79\", group \"big\":
    * Task \"web\": Driver Failure: no such image `x:y`";
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn a_job_that_runs_and_a_stopped_one_say_so() {
        let running = GroupSummary {
            running: 3,
            ..GroupSummary::default()
        };
        let mut facts = Facts {
            job: job(),
            summary: [("big".to_owned(), running)].into(),
            ..Facts::default()
        };
        assert_eq!(
            facts.explained(false, Style::PLAIN),
            (
                Exit::Done,
                "Job \"big\" has all the places it asks for: 3 running, 0 starting.".to_owned()
            )
        );
        facts.job.r#type = JOB_SYSTEM.to_owned();
        facts.failed = [("big".to_owned(), AllocMetric::default())].into();
        let (exit, text) = facts.explained(false, Style::PLAIN);
        assert_eq!(exit, Exit::NotPlaced);
        assert!(
            text.contains("there is no node that it may run on"),
            "{text}"
        );
        facts.job.stop = true;
        let (exit, text) = facts.explained(false, Style::PLAIN);
        assert_eq!(exit, Exit::Done);
        assert!(text.contains("is stopped"), "{text}");
    }
}
