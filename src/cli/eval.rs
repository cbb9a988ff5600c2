//! `eval status`: one evaluation, and why it couldn't place everything.

use clap::{Args, Subcommand};
use logic::model::{EVAL_BLOCKED, Evaluation};
use serde_json::Value;

use super::exit::{Exit, Failure, Outcome};
use super::format::{or_none, pairs, shown_id, table};
use super::http::decode;
use super::monitor::{Monitor, unplaced};
use super::status::Asked;
use super::{format, lookup, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    Status(EvalStatus),
    List(EvalList),
}

impl EvalCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Status(command) => command.run().await,
            Self::List(command) => command.run().await,
        }
    }
}

/// Show an evaluation: what triggered it, and what it couldn't place and why
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover eval status 292b7aeb     any unique prefix will do")]
pub(super) struct EvalStatus {
    /// The evaluation's id, or a prefix of it
    id: String,
    /// Watch it until it is done
    #[arg(long)]
    monitor: bool,
    #[command(flatten)]
    asked: Asked,
}

impl EvalStatus {
    pub(super) fn of(id: String, asked: Asked) -> Self {
        Self {
            id,
            monitor: false,
            asked,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let eval: Evaluation = lookup::one(&client, &self.id).await?;
        if self.asked.raw() {
            let answer: Value = client
                .get(&format!("/v1/evaluation/{}", eval.id))
                .await
                .map_err(|error| Failure::from(error).during("Error querying evaluation"))?;
            return self.asked.print_raw(&answer);
        }
        let style = self.asked.connection.style();
        if self.monitor {
            let monitor = Monitor {
                client: &client,
                style,
                verbose: self.asked.verbose,
            };
            return monitor.follow(&eval.id).await;
        }
        let mut text = render(&eval, self.asked.verbose);
        if !eval.failed_tg_allocs.is_empty() {
            let lines = unplaced(&eval, "", self.asked.verbose).join("\n");
            text = format!("{text}\n\n{}\n{lines}", style.bold("Failed Placements"));
        }
        terminal::print(&text);
        Ok(Exit::Done)
    }
}

/// List evaluations, the newest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover eval list
  $ drover eval list -job httpbackend -status blocked")]
pub(super) struct EvalList {
    /// Only those of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only those that are pending, blocked, complete, failed or canceled
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

impl EvalList {
    async fn run(self) -> Outcome {
        let client = self.asked.connection.client()?;
        let answer: Value = client
            .get("/v1/evaluations")
            .await
            .map_err(|error| Failure::from(error).during("Error querying evaluations"))?;
        let Value::Array(mut rows) = answer else {
            return Err(Failure::new(
                "Error querying evaluations: unexpected answer",
            ));
        };
        let is = |row: &Value, field: &str, wanted: &Option<String>| {
            let found = row[field].as_str();
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        rows.retain(|row| is(row, "JobID", &self.job) && is(row, "Status", &self.status));
        rows.sort_by_key(|row| std::cmp::Reverse(row["CreateIndex"].as_u64()));
        let rows = Value::Array(rows);
        if self.asked.raw() {
            return self.asked.print_raw(&rows);
        }
        let evals: Vec<Evaluation> = decode(rows.to_string().as_bytes())
            .map_err(|error| Failure::new(format!("Error querying evaluations: {error}")))?;
        terminal::print(&render_listed(&evals, self.asked.verbose));
        Ok(Exit::Done)
    }
}

/// Evaluations of several jobs as a table.
fn render_listed(evals: &[Evaluation], verbose: bool) -> String {
    if evals.is_empty() {
        return "No evals found".to_owned();
    }
    let row = |eval: &Evaluation| {
        [
            shown_id(&eval.id, verbose),
            eval.priority.to_string(),
            eval.triggered_by.clone(),
            eval.job_id.clone(),
            eval.status.clone(),
            failures(eval),
        ]
    };
    let header = [
        "ID",
        "Priority",
        "Triggered By",
        "Job ID",
        "Status",
        "Placement Failures",
    ];
    table(header, evals.iter().map(row).collect())
}

/// Evaluations as a table.
pub(super) fn render_list(evals: &[Evaluation], verbose: bool) -> String {
    if evals.is_empty() {
        return "No evaluations".to_owned();
    }
    let row = |eval: &Evaluation| {
        [
            shown_id(&eval.id, verbose),
            eval.priority.to_string(),
            eval.triggered_by.clone(),
            eval.status.clone(),
            failures(eval),
        ]
    };
    let header = [
        "ID",
        "Priority",
        "Triggered By",
        "Status",
        "Placement Failures",
    ];
    table(header, evals.iter().map(row).collect())
}

/// Whether something has no place; unknown while it waits for room.
fn failures(eval: &Evaluation) -> String {
    if eval.status == EVAL_BLOCKED {
        return "N/A - In Progress".to_owned();
    }
    (!eval.failed_tg_allocs.is_empty()).to_string()
}

fn render(eval: &Evaluation, verbose: bool) -> String {
    let description = if eval.status_description.is_empty() {
        &eval.status
    } else {
        &eval.status_description
    };
    let mut rows = vec![
        ("ID", shown_id(&eval.id, verbose)),
        ("Status", eval.status.clone()),
        ("Status Description", description.clone()),
        ("Type", eval.r#type.clone()),
        ("TriggeredBy", eval.triggered_by.clone()),
    ];
    if eval.node_id.is_empty() {
        rows.push(("Job ID", eval.job_id.clone()));
    } else {
        rows.push(("Node ID", shown_id(&eval.node_id, verbose)));
    }
    rows.push(("Priority", eval.priority.to_string()));
    rows.push(("Placement Failures", failures(eval)));
    if !eval.wait_until.is_never() {
        rows.push(("Wait Until", format::instant(eval.wait_until)));
    }
    if verbose {
        rows.push(("Previous Eval", or_none(&eval.previous_eval)));
        rows.push(("Next Eval", or_none(&eval.next_eval)));
        rows.push(("Blocked Eval", or_none(&eval.blocked_eval)));
    }
    pairs(&rows)
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn an_evaluation_looks_as_the_anchor_shows_it() {
        let (Some(eval), Some(expected)) = (
            golden::answer("nomad-api/GET_evaluation_EVALID.json"),
            golden::output("46f-eval-status.out"),
        ) else {
            return;
        };
        assert_eq!(render(&eval, false), expected);
    }

    #[test]
    fn what_waits_for_room_is_in_progress() {
        let eval = Evaluation {
            id: "480d8532-0000".to_owned(),
            status: EVAL_BLOCKED.to_owned(),
            priority: 50,
            triggered_by: "queued-allocs".to_owned(),
            ..Evaluation::default()
        };
        assert_eq!(
            render_list(&[eval], false),
            "ID        Priority  Triggered By   Status   Placement Failures
480d8532  50        queued-allocs  blocked  N/A - In Progress"
        );
    }
}
