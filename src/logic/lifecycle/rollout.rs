//! Whether an allocation has come up well enough for its deployment to go on: all of its tasks
//! run and all of their checks pass, for long enough, before its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::duration::to_std;
use crate::model::{
    Allocation, HEALTH_MANUAL, HEALTH_TASK_STATES, HealthReport, JOB_SERVICE, TASK_DEAD,
    TASK_RUNNING, TaskState,
};
use crate::time::Time;

/// How an allocation's tasks are at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Vitals<'a> {
    pub tasks: &'a BTreeMap<String, TaskState>,
    /// All checks of all running tasks pass.
    pub checks_pass: bool,
}

/// What there is to say about an allocation's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    /// And why.
    Unhealthy(String),
    /// Nothing yet: look again by then, if nothing happens before.
    Wait(Time),
}

/// Watches one allocation on behalf of one deployment. It has no clock: it is told the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub deployment_id: String,
    with_checks: bool,
    min_healthy: Duration,
    deadline: Time,
    /// Since when all has been well.
    well_since: Option<Time>,
}

impl Watch {
    /// `None` if nobody waits for the health of this allocation, or somebody else tells it.
    pub fn begin(alloc: &Allocation, now: Time) -> Option<Self> {
        let update = alloc.group()?.rolling()?;
        let of_service = alloc.job.as_ref()?.r#type == JOB_SERVICE;
        let known = alloc.deployment_healthy() || alloc.deployment_unhealthy();
        let by_hand = update.health_check == HEALTH_MANUAL;
        let unasked = known || by_hand || !of_service || alloc.server_terminal();
        if alloc.deployment_id.is_empty() || unasked {
            return None;
        }
        Some(Self {
            deployment_id: alloc.deployment_id.clone(),
            with_checks: update.health_check != HEALTH_TASK_STATES,
            min_healthy: to_std(update.min_healthy_time),
            deadline: now.plus(to_std(update.healthy_deadline)),
            well_since: None,
        })
    }

    pub fn look(&mut self, now: Time, vitals: Vitals<'_>) -> Verdict {
        let dead = vitals
            .tasks
            .iter()
            .find(|(_, task)| task.state == TASK_DEAD);
        if let Some((name, task)) = dead {
            let how = if task.failed { "failed" } else { "ended" };
            return Verdict::Unhealthy(format!("task \"{name}\" {how}"));
        }
        let runs = |task: &TaskState| task.state == TASK_RUNNING;
        let all_run = !vitals.tasks.is_empty() && vitals.tasks.values().all(runs);
        if all_run && (vitals.checks_pass || !self.with_checks) {
            let since = *self.well_since.get_or_insert(now);
            let at = since.plus(self.min_healthy);
            if at <= now {
                return Verdict::Healthy;
            }
            // It may take as long as it takes once it is well, unless that ends too late.
            if now < self.deadline {
                return Verdict::Wait(at.min(self.deadline));
            }
        } else {
            self.well_since = None;
            if now < self.deadline {
                return Verdict::Wait(self.deadline);
            }
        }
        Verdict::Unhealthy(self.too_late(all_run, vitals))
    }

    fn too_late(&self, all_run: bool, vitals: Vitals<'_>) -> String {
        let waiting = vitals
            .tasks
            .iter()
            .find(|(_, task)| task.state != TASK_RUNNING);
        match waiting {
            Some((name, _)) => format!("task \"{name}\" isn't running by its deadline"),
            None if all_run && (vitals.checks_pass || !self.with_checks) => {
                "it hasn't been well for long enough by its deadline".to_owned()
            }
            None => "not all of its checks pass by its deadline".to_owned(),
        }
    }

    /// What is reported of a verdict.
    pub fn report(&self, healthy: bool, at: Time) -> HealthReport {
        HealthReport {
            deployment_id: self.deployment_id.clone(),
            healthy,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::duration::SECOND;
    use crate::model::{
        AllocDeploymentStatus, DESIRED_STOP, Job, TASK_PENDING, TaskGroup, UpdateStrategy,
    };

    fn alloc(health_check: &str) -> Allocation {
        let update = UpdateStrategy {
            health_check: health_check.into(),
            min_healthy_time: 10 * SECOND,
            healthy_deadline: 60 * SECOND,
            ..UpdateStrategy::default()
        };
        let group = TaskGroup {
            name: "g".into(),
            update: Some(update),
            ..TaskGroup::default()
        };
        Allocation {
            task_group: "g".into(),
            deployment_id: "d".into(),
            job: Some(Arc::new(Job {
                task_groups: vec![group],
                ..Job::default()
            })),
            ..Allocation::default()
        }
    }

    fn at(secs: i64) -> Time {
        Time::from_secs(1_000 + secs)
    }

    fn look(watch: &mut Watch, secs: i64, states: &[&str], checks_pass: bool) -> Verdict {
        let state = |state: &&str| TaskState {
            state: (*state).to_owned(),
            failed: *state == TASK_DEAD,
            ..TaskState::default()
        };
        let tasks = states.iter().map(state).enumerate();
        let tasks = tasks
            .map(|(nth, state)| (format!("t{nth}"), state))
            .collect();
        let vitals = Vitals {
            tasks: &tasks,
            checks_pass,
        };
        watch.look(at(secs), vitals)
    }

    const UP: [&str; 2] = [TASK_RUNNING, TASK_RUNNING];
    const HALF: [&str; 2] = [TASK_RUNNING, TASK_PENDING];

    #[test]
    fn it_has_to_be_well_without_a_break_for_long_enough() {
        let mut watch = Watch::begin(&alloc("checks"), at(0)).expect("watched");
        for (secs, states, checks, verdict) in [
            (0, HALF, true, Verdict::Wait(at(60))),
            (1, UP, false, Verdict::Wait(at(60))),
            (2, UP, true, Verdict::Wait(at(12))),
            (9, UP, false, Verdict::Wait(at(60))),
            (10, UP, true, Verdict::Wait(at(20))),
            (19, UP, true, Verdict::Wait(at(20))),
            (20, UP, true, Verdict::Healthy),
        ] {
            assert_eq!(look(&mut watch, secs, &states, checks), verdict, "{secs}");
        }
    }

    #[test]
    fn what_takes_too_long_is_unhealthy() {
        for (states, checks, why) in [
            (HALF, true, "task \"t1\" isn't running by its deadline"),
            (UP, false, "not all of its checks pass by its deadline"),
        ] {
            let mut watch = Watch::begin(&alloc("checks"), at(0)).expect("watched");
            assert_eq!(look(&mut watch, 59, &states, checks), Verdict::Wait(at(60)));
            let late = look(&mut watch, 60, &states, checks);
            assert_eq!(late, Verdict::Unhealthy(why.into()));
        }
        let mut watch = Watch::begin(&alloc("checks"), at(0)).expect("watched");
        assert_eq!(look(&mut watch, 55, &UP, true), Verdict::Wait(at(60)));
        let late = look(&mut watch, 60, &UP, true);
        let why = "it hasn't been well for long enough by its deadline";
        assert_eq!(late, Verdict::Unhealthy(why.into()));
    }

    #[test]
    fn a_task_that_is_dead_never_becomes_healthy() {
        let mut watch = Watch::begin(&alloc("checks"), at(0)).expect("watched");
        let verdict = look(&mut watch, 1, &[TASK_RUNNING, TASK_DEAD], true);
        assert_eq!(verdict, Verdict::Unhealthy("task \"t1\" failed".into()));
    }

    #[test]
    fn checks_count_only_if_they_are_asked_for() {
        let mut watch = Watch::begin(&alloc("task_states"), at(0)).expect("watched");
        assert_eq!(look(&mut watch, 0, &UP, false), Verdict::Wait(at(10)));
        assert_eq!(look(&mut watch, 10, &UP, false), Verdict::Healthy);
        assert_eq!(Watch::begin(&alloc("manual"), at(0)), None);
    }

    #[test]
    fn nobody_watches_what_is_known_or_belongs_to_no_deployment() {
        let known = Allocation {
            deployment_status: Some(AllocDeploymentStatus {
                healthy: Some(true),
                ..AllocDeploymentStatus::default()
            }),
            ..alloc("checks")
        };
        let alone = Allocation {
            deployment_id: String::new(),
            ..alloc("checks")
        };
        let stopped = Allocation {
            desired_status: DESIRED_STOP.into(),
            ..alloc("checks")
        };
        for alloc in [known, alone, stopped] {
            assert_eq!(Watch::begin(&alloc, at(0)), None);
        }
    }
}
