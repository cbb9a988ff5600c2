//! Watches an evaluation: what it places, why it can't, and whether what it placed comes up.
//!
//! [`Progress`] says what is new in each look; [`Monitor`] looks until there is nothing to wait
//! for.

mod rollout;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use logic::model::{
    CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING, DESIRED_STOP, EVAL_COMPLETE,
    EVAL_FAILED, EVAL_PENDING, Evaluation, TASK_RUNNING, TaskEvent, TaskState,
};
use logic::schedule::reschedule::EVENT_PORT_IN_USE;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::api::{AllocStub, newest_first};
use super::exit::{Exit, Failure, Outcome};
use super::format::{counted, shown_id};
use super::http::{Client, RequestError, decode};
use super::terminal::{self, Style};
use super::{now, placement};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long new allocations are watched before the rest is left to `alloc status`. Images that
/// must be downloaded may take longer than anybody wants to wait.
const START_WATCHED: Duration = Duration::from_secs(60);
/// A next evaluation that is due later isn't waited for.
const NEXT_WAITED_FOR: Duration = Duration::from_secs(60);

/// The part of an evaluation that says which update it belongs to.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Within {
    #[serde(rename = "DeploymentID")]
    deployment: String,
}

/// An evaluation that is done, and what it left.
struct Done {
    eval: Evaluation,
    /// The deployment it belongs to, if it belongs to one.
    deployment: String,
    allocs: Vec<AllocStub>,
}

/// Where lines go.
type Say<'s> = &'s mut dyn FnMut(&str);

pub(super) struct Monitor<'a> {
    pub(super) client: &'a Client,
    pub(super) style: Style,
    pub(super) verbose: bool,
}

impl Monitor<'_> {
    /// Follows an evaluation and those after it to the end, and prints what happens.
    pub(super) async fn follow(&self, eval_id: &str) -> Outcome {
        let (_, exit) = self.watch(eval_id, &mut terminal::print).await?;
        Ok(exit)
    }

    /// The same, told to `say`. Returns the last evaluation's id, and what it all comes to.
    pub(super) async fn watch(
        &self,
        eval_id: &str,
        say: Say<'_>,
    ) -> Result<(String, Exit), Failure> {
        let mut eval_id = eval_id.to_owned();
        loop {
            let Done {
                eval,
                deployment,
                allocs,
            } = self.to_the_end(&eval_id, say).await?;
            let placed = eval.failed_tg_allocs.is_empty();
            if placed && eval.status == EVAL_COMPLETE && !deployment.is_empty() {
                self.finished(&eval, &[], say);
                let exit = self.watch_deployment(&deployment, &allocs, say).await?;
                return Ok((eval_id, exit));
            }
            let failing = if placed {
                self.come_up(&eval_id, allocs, say).await
            } else {
                Vec::new()
            };
            let exit = self.finished(&eval, &failing, say);
            match self.next(&eval, say).await {
                Some(next) => eval_id = next,
                None => return Ok((eval_id, exit)),
            }
        }
    }

    /// Watches one evaluation until it is done.
    async fn to_the_end(&self, eval_id: &str, say: Say<'_>) -> Result<Done, Failure> {
        let shown = shown_id(eval_id, self.verbose);
        say(&self.headline(&format!("Monitoring evaluation \"{shown}\"")));
        let mut progress = Progress::new(self.verbose);
        loop {
            let path = format!("/v1/evaluation/{eval_id}");
            let eval = self.client.bytes(Method::GET, &path, Vec::new()).await;
            let eval =
                eval.map_err(|error| Failure::from(error).during("Error reading evaluation"))?;
            let read = (decode(&eval), decode(&eval));
            let (Ok(eval), Ok(Within { deployment })) = read else {
                return Err(Failure::new("Error reading evaluation: unexpected answer"));
            };
            let allocs = self.allocs(eval_id).await?;
            for line in progress.news(&eval, &deployment, &allocs) {
                say(&format!("    {line}"));
            }
            if eval.terminal() {
                return Ok(Done {
                    eval,
                    deployment,
                    allocs,
                });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn allocs(&self, eval_id: &str) -> Result<Vec<AllocStub>, Failure> {
        let path = format!("/v1/evaluation/{eval_id}/allocations");
        let allocs: Result<Vec<AllocStub>, RequestError> = self.client.get(&path).await;
        let mut allocs =
            allocs.map_err(|error| Failure::from(error).during("Error reading allocations"))?;
        newest_first(&mut allocs);
        Ok(allocs)
    }

    fn headline(&self, text: &str) -> String {
        self.style.bold(&format!("==> {text}"))
    }

    /// Says what an evaluation came to, with what it couldn't place and what can't be started.
    fn finished(&self, eval: &Evaluation, failing: &[AllocStub], say: Say<'_>) -> Exit {
        let shown = shown_id(&eval.id, self.verbose);
        let text = format!(
            "Evaluation \"{shown}\" finished with status \"{}\"",
            eval.status
        );
        let (but, lines) = if !eval.failed_tg_allocs.is_empty() {
            let lines = unplaced(eval, "    ", self.verbose);
            ("but failed to place all allocations:".to_owned(), lines)
        } else if !failing.is_empty() {
            let but = format!(
                "but {} failed to start:",
                counted(failing.len(), "allocation")
            );
            let lines = failing.iter().flat_map(|alloc| told(alloc, self.verbose));
            (but, lines.collect())
        } else {
            say(&self.headline(&text));
            return if eval.status == EVAL_COMPLETE {
                Exit::Done
            } else {
                Exit::Failed
            };
        };
        say(&self.style.red(&format!("==> {text} {but}")));
        for line in lines {
            say(&line);
        }
        Exit::NotPlaced
    }

    /// The evaluation that carries on, once it is due.
    async fn next(&self, eval: &Evaluation, say: Say<'_>) -> Option<String> {
        if eval.next_eval.is_empty() {
            return None;
        }
        let shown = shown_id(&eval.next_eval, self.verbose);
        let next: Result<Evaluation, _> = self
            .client
            .get(&format!("/v1/evaluation/{}", eval.next_eval))
            .await;
        let wait = next.ok()?.wait_until.since(now());
        if wait.is_zero() {
            return Some(eval.next_eval.clone());
        }
        let secs = wait.as_secs() + 1;
        if wait > NEXT_WAITED_FOR {
            let text = format!("    Next evaluation \"{shown}\" is due in {secs}s");
            say(&text);
            return None;
        }
        say(&self.headline(&format!(
            "Monitoring next evaluation \"{shown}\" in {secs}s"
        )));
        sleep(wait).await;
        Some(eval.next_eval.clone())
    }

    /// Watches what was placed until each allocation runs or has failed; returns the failed ones.
    /// Says nothing as long as all goes well.
    async fn come_up(&self, eval_id: &str, placed: Vec<AllocStub>, say: Say<'_>) -> Vec<AllocStub> {
        let deadline = Instant::now() + START_WATCHED;
        let mut allocs = placed;
        loop {
            let (failing, rest): (Vec<_>, Vec<_>) = allocs
                .into_iter()
                .partition(|alloc| !failures(alloc).is_empty());
            let mut waiting = rest.iter().filter(|alloc| is_starting(alloc)).peekable();
            if waiting.peek().is_none() {
                return failing;
            }
            if Instant::now() >= deadline {
                for alloc in waiting {
                    say(&still_starting(alloc, self.verbose));
                }
                return failing;
            }
            sleep(LOOK_EVERY).await;
            allocs = match self.allocs(eval_id).await {
                Ok(allocs) => allocs,
                // The job is registered and placed: not seeing more of it is no failure.
                Err(_) => return failing,
            };
        }
    }
}

fn still_starting(alloc: &AllocStub, verbose: bool) -> String {
    let shown = shown_id(&alloc.id, verbose);
    let last = |state: &TaskState| Some(state.events.last()?.display_message.clone());
    let doing = alloc.task_states.values().find_map(last);
    let doing = doing.map_or_else(String::new, |doing| format!(" ({doing})"));
    format!(
        "    Allocation \"{shown}\" is still starting{doing}: see `drover alloc status {shown}`"
    )
}

/// What an allocation fails at, if it does.
pub(super) fn trouble(alloc: &AllocStub, verbose: bool) -> Vec<String> {
    let reasons = failures(alloc);
    if reasons.is_empty() {
        return Vec::new();
    }
    let shown = shown_id(&alloc.id, verbose);
    let node = shown_id(&alloc.node_id, verbose);
    let group = &alloc.task_group;
    let head = format!("  Allocation \"{shown}\" on node \"{node}\", group \"{group}\":");
    let reasons = reasons.iter().map(|reason| format!("    * {reason}"));
    [head].into_iter().chain(reasons).collect()
}

/// What is told of an allocation that can't be started.
fn told(alloc: &AllocStub, verbose: bool) -> Vec<String> {
    let shown = shown_id(&alloc.id, verbose);
    let lines = trouble(alloc, verbose).into_iter();
    let mut lines: Vec<_> = lines.map(|line| format!("  {line}")).collect();
    lines.push(format!("      see `drover alloc status {shown}`"));
    lines
}

fn is_starting(alloc: &AllocStub) -> bool {
    alloc.desired_status != DESIRED_STOP && alloc.client_status == CLIENT_PENDING
}

/// Why an allocation's tasks can't be started, if they can't. A task that waits for its next
/// attempt counts: the first error is the one to look at.
fn failures(alloc: &AllocStub) -> Vec<String> {
    // One that failed may have been stopped since: its rollout was taken back.
    let gone = alloc.desired_status == DESIRED_STOP && alloc.client_status != CLIENT_FAILED;
    if gone || lost_its_port(alloc) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    for (task, state) in &alloc.task_states {
        if state.successful() {
            continue;
        }
        let ended = state.events.iter().rfind(|event| is_failure(event));
        if let Some(event) = ended.filter(|_| state.state != TASK_RUNNING) {
            let (kind, message) = (&event.r#type, &event.display_message);
            reasons.push(format!("Task \"{task}\": {kind}: {message}"));
        }
    }
    if reasons.is_empty() && [CLIENT_FAILED, CLIENT_LOST].contains(&alloc.client_status.as_str()) {
        let description = &alloc.client_description;
        reasons.push(format!("{}: {description}", alloc.client_status));
    }
    reasons
}

/// Another program was faster to take the port: the servers place it anew at once.
fn lost_its_port(alloc: &AllocStub) -> bool {
    let mut events = alloc.task_states.values().flat_map(|state| &state.events);
    events.any(|event| event.r#type == EVENT_PORT_IN_USE)
}

fn is_failure(event: &TaskEvent) -> bool {
    match event.r#type.as_str() {
        "Driver Failure" | "Setup Failure" | "Failed Artifact Download" => true,
        "Terminated" => event.exit_code != 0 || event.signal != 0,
        _ => !event.driver_error.is_empty(),
    }
}

/// Each group that couldn't be placed whole, and who waits for room.
pub(super) fn unplaced(eval: &Evaluation, indent: &str, verbose: bool) -> Vec<String> {
    let groups = eval.failed_tg_allocs.iter();
    let mut lines: Vec<_> = groups
        .flat_map(|(name, metric)| placement::group(name, metric, indent, verbose))
        .collect();
    if !eval.blocked_eval.is_empty() {
        let blocked = shown_id(&eval.blocked_eval, verbose);
        lines.push(format!(
            "{indent}Evaluation \"{blocked}\" waiting for additional capacity to place remainder"
        ));
    }
    lines
}

/// What has been told of an evaluation so far.
struct Progress {
    verbose: bool,
    triggered: bool,
    deployment: String,
    status: String,
    /// Client status by allocation.
    allocs: BTreeMap<String, String>,
}

impl Progress {
    fn new(verbose: bool) -> Self {
        Self {
            verbose,
            triggered: false,
            deployment: String::new(),
            status: EVAL_PENDING.to_owned(),
            allocs: BTreeMap::new(),
        }
    }

    /// What is new since the last look.
    fn news(&mut self, eval: &Evaluation, deployment: &str, allocs: &[AllocStub]) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.triggered {
            self.triggered = true;
            lines.push(trigger(eval, self.verbose));
        }
        if self.deployment != deployment {
            deployment.clone_into(&mut self.deployment);
            let shown = shown_id(deployment, self.verbose);
            lines.push(format!("Evaluation within deployment: \"{shown}\""));
        }
        for alloc in allocs {
            lines.extend(self.alloc_news(eval, alloc));
        }
        if eval.status != self.status {
            let because = if eval.status == EVAL_FAILED {
                format!(" ({})", eval.status_description)
            } else {
                String::new()
            };
            lines.push(format!(
                "Evaluation status changed: \"{}\" -> \"{}\"{because}",
                self.status, eval.status
            ));
            self.status.clone_from(&eval.status);
        }
        lines
    }

    fn alloc_news(&mut self, eval: &Evaluation, alloc: &AllocStub) -> Option<String> {
        let shown = shown_id(&alloc.id, self.verbose);
        let status = alloc.client_status.clone();
        let was = self.allocs.insert(alloc.id.clone(), status.clone());
        match was {
            None if alloc.desired_status == DESIRED_STOP => None,
            None => {
                let existed = alloc.create_index < eval.create_index;
                let verb = if existed { "modified" } else { "created" };
                let node = shown_id(&alloc.node_id, self.verbose);
                Some(format!(
                    "Allocation \"{shown}\" {verb}: node \"{node}\", group \"{}\"",
                    alloc.task_group
                ))
            }
            Some(was) if was != status && status != CLIENT_RUNNING => Some(format!(
                "Allocation \"{shown}\" status changed: \"{was}\" -> \"{status}\" ({})",
                alloc.client_description
            )),
            Some(_) => None,
        }
    }
}

fn trigger(eval: &Evaluation, verbose: bool) -> String {
    if eval.node_id.is_empty() {
        format!("Evaluation triggered by job \"{}\"", eval.job_id)
    } else {
        let node = shown_id(&eval.node_id, verbose);
        format!("Evaluation triggered by node \"{node}\"")
    }
}

#[cfg(test)]
mod tests;
