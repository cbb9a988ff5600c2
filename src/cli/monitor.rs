//! Watches an evaluation: what it places, why it can't, and whether what it placed comes up.
//!
//! [`Progress`] says what is new in each look; [`Monitor`] looks until there is nothing to wait
//! for.

use std::collections::BTreeMap;
use std::time::Duration;

use logic::model::{
    CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING, DESIRED_STOP, EVAL_COMPLETE,
    EVAL_FAILED, EVAL_PENDING, Evaluation, TASK_RUNNING, TaskEvent, TaskState,
};
use logic::schedule::reschedule::EVENT_PORT_IN_USE;
use tokio::time::{Instant, sleep};

use super::api::{AllocStub, newest_first};
use super::exit::{Exit, Failure, Outcome};
use super::format::{counted, shown_id};
use super::http::{Client, RequestError};
use super::terminal::{self, Style};
use super::{now, placement};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long new allocations are watched before the rest is left to `alloc status`. Images that
/// must be downloaded may take longer than anybody wants to wait.
const START_WATCHED: Duration = Duration::from_secs(60);
/// A next evaluation that is due later isn't waited for.
const NEXT_WAITED_FOR: Duration = Duration::from_secs(60);

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
            let (eval, allocs) = self.to_the_end(&eval_id, say).await?;
            let failing = if eval.failed_tg_allocs.is_empty() {
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
    async fn to_the_end(
        &self,
        eval_id: &str,
        say: Say<'_>,
    ) -> Result<(Evaluation, Vec<AllocStub>), Failure> {
        let shown = shown_id(eval_id, self.verbose);
        say(&self.headline(&format!("Monitoring evaluation \"{shown}\"")));
        let mut progress = Progress::new(self.verbose);
        loop {
            let eval = self.client.get(&format!("/v1/evaluation/{eval_id}")).await;
            let eval: Evaluation =
                eval.map_err(|error| Failure::from(error).during("Error reading evaluation"))?;
            let allocs = self.allocs(eval_id).await?;
            for line in progress.news(&eval, &allocs) {
                say(&format!("    {line}"));
            }
            if eval.terminal() {
                return Ok((eval, allocs));
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

/// What is told of an allocation that can't be started.
fn told(alloc: &AllocStub, verbose: bool) -> Vec<String> {
    let shown = shown_id(&alloc.id, verbose);
    let node = shown_id(&alloc.node_id, verbose);
    let head = format!(
        "    Allocation \"{shown}\" on node \"{node}\", group \"{}\":",
        alloc.task_group
    );
    let mut lines = vec![head];
    let reasons = failures(alloc);
    lines.extend(reasons.iter().map(|reason| format!("      * {reason}")));
    lines.push(format!("      see `drover alloc status {shown}`"));
    lines
}

fn is_starting(alloc: &AllocStub) -> bool {
    alloc.desired_status != DESIRED_STOP && alloc.client_status == CLIENT_PENDING
}

/// Why an allocation's tasks can't be started, if they can't. A task that waits for its next
/// attempt counts: the first error is the one to look at.
fn failures(alloc: &AllocStub) -> Vec<String> {
    if alloc.desired_status == DESIRED_STOP || lost_its_port(alloc) {
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
    status: String,
    /// Client status by allocation.
    allocs: BTreeMap<String, String>,
}

impl Progress {
    fn new(verbose: bool) -> Self {
        Self {
            verbose,
            triggered: false,
            status: EVAL_PENDING.to_owned(),
            allocs: BTreeMap::new(),
        }
    }

    /// What is new since the last look.
    fn news(&mut self, eval: &Evaluation, allocs: &[AllocStub]) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.triggered {
            self.triggered = true;
            lines.push(trigger(eval, self.verbose));
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
mod tests {
    use super::*;

    fn eval(status: &str) -> Evaluation {
        Evaluation {
            id: "292b7aeb-7170-30f5-fcde-3e1200a98e46".to_owned(),
            job_id: "web".to_owned(),
            status: status.to_owned(),
            create_index: 10,
            ..Evaluation::default()
        }
    }

    fn alloc(id: &str, create_index: u64, client_status: &str) -> AllocStub {
        AllocStub {
            id: format!("{id}-a1c4-68df-e1fa-0a7d56bafc45"),
            node_id: "275d3d25-5779-5535-7576-b07d2a4ce473".to_owned(),
            task_group: "g".to_owned(),
            desired_status: "run".to_owned(),
            client_status: client_status.to_owned(),
            create_index,
            ..AllocStub::default()
        }
    }

    fn with_event(mut alloc: AllocStub, state: &str, event: TaskEvent) -> AllocStub {
        let state = TaskState {
            state: state.to_owned(),
            events: vec![event],
            ..TaskState::default()
        };
        alloc.task_states.insert("web".to_owned(), state);
        alloc
    }

    fn driver_failure() -> TaskEvent {
        TaskEvent {
            r#type: "Driver Failure".to_owned(),
            display_message: "no such image `x:y`".to_owned(),
            ..TaskEvent::default()
        }
    }

    #[test]
    fn each_piece_of_news_is_told_once() {
        let mut progress = Progress::new(false);
        assert_eq!(
            progress.news(&eval(EVAL_PENDING), &[]),
            ["Evaluation triggered by job \"web\""]
        );
        let allocs = [
            alloc("0e0dd4b7", 11, CLIENT_PENDING),
            alloc("d2c227bb", 5, CLIENT_RUNNING),
        ];
        assert_eq!(
            progress.news(&eval(EVAL_COMPLETE), &allocs),
            [
                "Allocation \"0e0dd4b7\" created: node \"275d3d25\", group \"g\"",
                "Allocation \"d2c227bb\" modified: node \"275d3d25\", group \"g\"",
                "Evaluation status changed: \"pending\" -> \"complete\"",
            ]
        );
        assert!(progress.news(&eval(EVAL_COMPLETE), &allocs).is_empty());
    }

    #[test]
    fn a_driver_failure_counts_even_while_the_task_is_tried_again() {
        let alloc = with_event(
            alloc("0e0dd4b7", 11, CLIENT_PENDING),
            "pending",
            driver_failure(),
        );
        assert_eq!(
            failures(&alloc),
            ["Task \"web\": Driver Failure: no such image `x:y`"]
        );
    }

    #[test]
    fn what_a_running_task_went_through_is_no_failure() {
        let alloc = with_event(
            alloc("0e0dd4b7", 11, CLIENT_RUNNING),
            TASK_RUNNING,
            driver_failure(),
        );
        assert!(failures(&alloc).is_empty());
        assert!(!is_starting(&alloc));
    }

    #[test]
    fn an_allocation_that_cannot_start_is_told_with_its_tasks_error() {
        let failed = alloc("0e0dd4b7", 11, CLIENT_PENDING);
        let failed = with_event(failed, "pending", driver_failure());
        assert_eq!(
            told(&failed, false).join("\n"),
            "    Allocation \"0e0dd4b7\" on node \"275d3d25\", group \"g\":
      * Task \"web\": Driver Failure: no such image `x:y`
      see `drover alloc status 0e0dd4b7`"
        );
    }

    #[test]
    fn an_allocation_that_takes_long_is_told_with_what_it_does() {
        let downloading = TaskEvent {
            r#type: "Driver".to_owned(),
            display_message: "Downloading image x:y".to_owned(),
            ..TaskEvent::default()
        };
        let slow = with_event(
            alloc("0e0dd4b7", 11, CLIENT_PENDING),
            "pending",
            downloading,
        );
        assert!(is_starting(&slow) && failures(&slow).is_empty());
        assert_eq!(
            still_starting(&slow, false),
            "    Allocation \"0e0dd4b7\" is still starting (Downloading image x:y): \
             see `drover alloc status 0e0dd4b7`"
        );
    }

    #[test]
    fn a_task_that_ended_well_has_not_failed_whatever_came_before() {
        let ended = |exit_code| TaskEvent {
            r#type: "Terminated".to_owned(),
            exit_code,
            ..TaskEvent::default()
        };
        let mut batch = with_event(alloc("0e0dd4b7", 11, "complete"), "dead", ended(1));
        if let Some(task) = batch.task_states.get_mut("web") {
            task.events.push(ended(0));
        }
        assert!(failures(&batch).is_empty());
    }

    #[test]
    fn a_lost_allocation_is_a_failure_without_any_event() {
        let mut alloc = alloc("0e0dd4b7", 11, CLIENT_LOST);
        alloc.client_description = "the node is down".to_owned();
        assert_eq!(failures(&alloc), ["lost: the node is down"]);
        alloc.desired_status = DESIRED_STOP.to_owned();
        assert!(failures(&alloc).is_empty());
    }
}
