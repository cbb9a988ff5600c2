//! Watches a deployment: what it places, what becomes healthy, what doesn't and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;

use super::super::api::{AllocStub, newest_first};
use super::super::deployment::{Deployment, PAUSED, Rollout, SUCCESSFUL};
use super::super::exit::{Exit, Failure, Outcome};
use super::super::format::shown_id;
use super::super::http::RequestError;
use super::super::terminal;
use super::{Monitor, Say, failures, told};

const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Monitor<'_> {
    /// Follows a deployment to its end, and prints what happens.
    pub(in super::super) async fn follow_deployment(&self, id: &str) -> Outcome {
        self.watch_deployment(id, &[], &mut terminal::print).await
    }

    /// The same, told to `say`; `placed`: allocations that have been told of.
    pub(super) async fn watch_deployment(
        &self,
        id: &str,
        placed: &[AllocStub],
        say: Say<'_>,
    ) -> Outcome {
        let shown = shown_id(id, self.verbose);
        say(&self.headline(&format!("Monitoring deployment \"{shown}\"")));
        let known = placed.iter().map(|alloc| alloc.id.clone()).collect();
        let mut progress = Progress::new(self.verbose, known);
        loop {
            let (deployment, allocs) = self.deployment(id).await?;
            for line in progress.news(&deployment, &allocs) {
                say(&format!("    {line}"));
            }
            if let Some(exit) = self.stands_still(&deployment, &progress, say) {
                return Ok(exit);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn deployment(&self, id: &str) -> Result<(Deployment, Vec<AllocStub>), Failure> {
        let failed =
            |error: RequestError| Failure::from(error).during("Error retrieving deployment");
        // The allocations first: what a deployment that has ended says of them is true.
        let path = format!("/v1/deployment/allocations/{id}");
        let allocs: Result<Vec<AllocStub>, RequestError> = self.client.get(&path).await;
        let mut allocs = allocs.map_err(failed)?;
        newest_first(&mut allocs);
        let deployment = self.client.get(&format!("/v1/deployment/{id}")).await;
        Ok((deployment.map_err(failed)?, allocs))
    }

    /// Says how a deployment ended, or what it waits for; nothing while it goes on.
    fn stands_still(
        &self,
        deployment: &Deployment,
        progress: &Progress,
        say: Say<'_>,
    ) -> Option<Exit> {
        let shown = shown_id(&deployment.id, self.verbose);
        let job = &deployment.job_id;
        if deployment.waits_for_promotion() {
            let text = format!("Deployment \"{shown}\" waits for its canaries to be promoted");
            say(&self.headline(&text));
            say(&format!(
                "    `drover job promote {job}` updates the rest, \
                 `drover deployment fail {shown}` gives it up"
            ));
            return Some(Exit::Done);
        }
        if deployment.status == PAUSED {
            say(&self.headline(&format!("Deployment \"{shown}\" is paused")));
            say(&format!(
                "    `drover deployment resume {shown}` lets it go on"
            ));
            return Some(Exit::Done);
        }
        if !deployment.ended() {
            return None;
        }
        let text = format!(
            "Deployment \"{shown}\" finished with status \"{}\"",
            deployment.status
        );
        if deployment.status == SUCCESSFUL {
            say(&self.headline(&text));
            return Some(Exit::Done);
        }
        let why = &deployment.status_description;
        say(&self.style.red(&format!("==> {text}: {why}")));
        for line in progress.failing.values().flatten() {
            say(line);
        }
        Some(Exit::NotPlaced)
    }
}

/// What has been told of a deployment so far.
struct Progress {
    verbose: bool,
    known: BTreeSet<String>,
    /// Nothing has been looked at yet.
    first: bool,
    /// What allocations failed at when that was seen first: failed ones are stopped in the end.
    failing: BTreeMap<String, Vec<String>>,
    unhealthy: BTreeSet<String>,
    /// By task group.
    counts: BTreeMap<String, String>,
}

impl Progress {
    fn new(verbose: bool, known: BTreeSet<String>) -> Self {
        Self {
            verbose,
            known,
            first: true,
            failing: BTreeMap::new(),
            unhealthy: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    /// What is new since the last look.
    fn news(&mut self, deployment: &Deployment, allocs: &[AllocStub]) -> Vec<String> {
        let mut lines = Vec::new();
        for alloc in allocs {
            self.alloc_news(alloc, &mut lines);
        }
        self.first = false;
        for (name, group) in &deployment.task_groups {
            let counts = counts(group);
            if self.counts.get(name) != Some(&counts) {
                lines.push(format!("Group \"{name}\": {counts}"));
                self.counts.insert(name.clone(), counts);
            }
        }
        lines
    }

    fn alloc_news(&mut self, alloc: &AllocStub, lines: &mut Vec<String>) {
        let shown = shown_id(&alloc.id, self.verbose);
        // What was there before isn't news.
        if self.known.insert(alloc.id.clone()) && !self.first {
            let node = shown_id(&alloc.node_id, self.verbose);
            lines.push(format!(
                "Allocation \"{shown}\" created: node \"{node}\", group \"{}\"",
                alloc.task_group
            ));
        }
        let reasons = failures(alloc);
        if let Some(reason) = reasons.first()
            && !self.failing.contains_key(&alloc.id)
        {
            let whole = told(alloc, self.verbose);
            self.failing.insert(alloc.id.clone(), whole);
            lines.push(format!("Allocation \"{shown}\" fails: {reason}"));
        }
        let healthy = alloc.deployment_status.and_then(|status| status.healthy);
        if healthy == Some(false) && self.unhealthy.insert(alloc.id.clone()) {
            lines.push(format!("Allocation \"{shown}\" is unhealthy"));
        }
    }
}

fn counts(group: &Rollout) -> String {
    let Rollout {
        placed_allocs: placed,
        healthy_allocs: healthy,
        unhealthy_allocs: unhealthy,
        desired_canaries: canaries,
        ..
    } = group;
    let (wanted, of) = if *canaries > 0 && !group.promoted {
        (canaries, "canaries ")
    } else {
        (&group.desired_total, "")
    };
    let unhealthy = match unhealthy {
        0 => String::new(),
        count => format!(", {count} unhealthy"),
    };
    format!("{placed} of {wanted} {of}placed, {healthy} healthy{unhealthy}")
}

#[cfg(test)]
mod tests {
    use logic::model::{TaskEvent, TaskState};

    use super::super::super::api::AllocHealth;
    use super::super::super::deployment::RUNNING;
    use super::super::super::http::Client;
    use super::super::super::terminal::Style;
    use super::*;

    fn deployment(status: &str, placed: u64, healthy: u64, unhealthy: u64) -> Deployment {
        let group = Rollout {
            desired_total: 3,
            placed_allocs: placed,
            healthy_allocs: healthy,
            unhealthy_allocs: unhealthy,
            ..Rollout::default()
        };
        Deployment {
            id: "384fcd6b-0646".to_owned(),
            job_id: "rolling".to_owned(),
            status: status.to_owned(),
            status_description: "Failed due to unhealthy allocations".to_owned(),
            task_groups: [("web".to_owned(), group)].into(),
            ..Deployment::default()
        }
    }

    fn alloc() -> AllocStub {
        AllocStub {
            id: "181a2c2a-73bf".to_owned(),
            node_id: "6dbe0d79-ad99".to_owned(),
            task_group: "web".to_owned(),
            desired_status: "run".to_owned(),
            client_status: "pending".to_owned(),
            ..AllocStub::default()
        }
    }

    fn failing() -> AllocStub {
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
        AllocStub {
            task_states: [("web".to_owned(), state)].into(),
            deployment_status: Some(AllocHealth {
                healthy: Some(false),
                canary: false,
            }),
            ..alloc()
        }
    }

    #[test]
    fn each_step_of_a_deployment_is_told_once() {
        let mut progress = Progress::new(false, BTreeSet::new());
        assert_eq!(
            progress.news(&deployment(RUNNING, 0, 0, 0), &[]),
            ["Group \"web\": 0 of 3 placed, 0 healthy"]
        );
        assert_eq!(
            progress.news(&deployment(RUNNING, 1, 0, 0), &[alloc()]),
            [
                "Allocation \"181a2c2a\" created: node \"6dbe0d79\", group \"web\"",
                "Group \"web\": 1 of 3 placed, 0 healthy",
            ]
        );
        let again = progress.news(&deployment(RUNNING, 1, 0, 0), &[alloc()]);
        assert!(again.is_empty(), "{again:?}");
        let failed = deployment(RUNNING, 1, 0, 1);
        assert_eq!(
            progress.news(&failed, &[failing()]),
            [
                "Allocation \"181a2c2a\" fails: Task \"web\": Driver Failure: no such image `x:y`",
                "Allocation \"181a2c2a\" is unhealthy",
                "Group \"web\": 1 of 3 placed, 0 healthy, 1 unhealthy",
            ]
        );
        assert!(progress.news(&failed, &[failing()]).is_empty());
    }

    fn said(deployment: &Deployment, allocs: &[AllocStub]) -> (Option<Exit>, String) {
        let client = Client::new("http://127.0.0.1:1", 4646).expect("an address");
        let monitor = Monitor {
            client: &client,
            style: Style::PLAIN,
            verbose: false,
        };
        let mut lines = Vec::new();
        let mut progress = Progress::new(false, BTreeSet::new());
        progress.news(deployment, allocs);
        let exit = monitor.stands_still(deployment, &progress, &mut |line| {
            lines.push(line.to_owned());
        });
        (exit, lines.join("\n"))
    }

    #[test]
    fn the_last_line_says_how_it_ended_and_why() {
        let (exit, text) = said(&deployment(RUNNING, 1, 0, 0), &[]);
        assert_eq!((exit, text.as_str()), (None, ""));
        let (exit, text) = said(&deployment(SUCCESSFUL, 3, 3, 0), &[]);
        assert_eq!(exit, Some(Exit::Done));
        assert_eq!(
            text,
            "==> Deployment \"384fcd6b\" finished with status \"successful\""
        );
        let (exit, text) = said(&deployment("failed", 1, 0, 1), &[failing()]);
        assert_eq!(exit, Some(Exit::NotPlaced));
        assert_eq!(
            text,
            "==> Deployment \"384fcd6b\" finished with status \"failed\": \
             Failed due to unhealthy allocations
    Allocation \"181a2c2a\" on node \"6dbe0d79\", group \"web\":
      * Task \"web\": Driver Failure: no such image `x:y`
      see `drover alloc status 181a2c2a`"
        );
    }

    #[test]
    fn what_waits_for_an_operator_says_what_to_do() {
        let mut canary = deployment(RUNNING, 1, 1, 0);
        for group in canary.task_groups.values_mut() {
            group.desired_canaries = 1;
        }
        let (exit, text) = said(&canary, &[]);
        assert_eq!(exit, Some(Exit::Done));
        assert!(text.contains("drover job promote rolling"), "{text}");
        let (exit, text) = said(&deployment(PAUSED, 1, 1, 0), &[]);
        assert_eq!(exit, Some(Exit::Done));
        assert!(text.contains("drover deployment resume 384fcd6b"), "{text}");
    }
}
