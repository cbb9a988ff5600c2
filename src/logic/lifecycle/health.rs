//! What a check's runs add up to: its status, when it runs next, and whether its task should be
//! started anew.
//!
//! A check that has not passed yet since its task came up runs more often at first (from a tenth
//! of a second up to its interval), so that an instance is routed to as soon as it works.

use std::time::Duration;

use super::services::CheckPlan;
use crate::duration::{SECOND, to_std};
use crate::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING};

/// The first wait of a check that hasn't passed yet.
const EAGER_FROM: Duration = Duration::from_millis(100);

/// What one run of a check said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passing,
    Warning,
    Critical,
}

/// A check's history, as far as it matters.
#[derive(Clone, Debug)]
pub struct Health {
    interval: Duration,
    successes_needed: u32,
    failures_needed: u32,
    /// Failures in a row that call for a restart, and how long after the start none count.
    restart: Option<(i64, Duration)>,
    /// Wait before the next run while it has not passed yet.
    eager: Option<Duration>,
    status: &'static str,
    successes: u32,
    failures: u32,
}

impl Health {
    pub fn new(plan: &CheckPlan) -> Self {
        let grace = |grace: Option<i64>| to_std(grace.unwrap_or(SECOND));
        Self {
            interval: plan.interval,
            successes_needed: plan.successes_needed,
            failures_needed: plan.failures_needed,
            restart: plan
                .restart
                .as_ref()
                .map(|policy| (policy.limit, grace(policy.grace))),
            eager: Some(EAGER_FROM),
            status: status_of(&plan.row.status),
            successes: 0,
            failures: 0,
        }
    }

    pub fn status(&self) -> &'static str {
        self.status
    }

    /// Notes a run, `up` after its task came up; tells whether the task should be started anew.
    #[must_use]
    pub fn ran(&mut self, verdict: Verdict, up: Duration) -> bool {
        if verdict == Verdict::Critical {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
        }
        match verdict {
            Verdict::Passing if self.successes >= self.successes_needed => {
                self.status = CHECK_PASSING;
                self.eager = None;
            }
            Verdict::Warning if self.successes >= self.successes_needed => {
                self.status = CHECK_WARNING;
            }
            Verdict::Critical if self.failures >= self.failures_needed => {
                self.status = CHECK_CRITICAL;
            }
            Verdict::Passing | Verdict::Warning | Verdict::Critical => {}
        }
        self.gives_up(up)
    }

    /// Notes what somebody else who runs the check says of it.
    #[must_use]
    pub fn heard(&mut self, status: &str, up: Duration) -> bool {
        self.eager = None;
        self.status = status_of(status);
        if self.status == CHECK_CRITICAL {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
        }
        self.gives_up(up)
    }

    fn gives_up(&mut self, up: Duration) -> bool {
        let Some((limit, grace)) = self.restart else {
            return false;
        };
        let gives_up = up >= grace && i64::from(self.failures) >= limit;
        if up < grace || gives_up {
            self.failures = 0;
        }
        gives_up
    }

    /// How long until the next run.
    pub fn next_wait(&mut self) -> Duration {
        let Some(eager) = self.eager else {
            return self.interval;
        };
        self.eager = (eager * 2 < self.interval).then_some(eager * 2);
        eager.min(self.interval)
    }
}

fn status_of(text: &str) -> &'static str {
    match text {
        CHECK_PASSING => CHECK_PASSING,
        CHECK_WARNING => CHECK_WARNING,
        _ => CHECK_CRITICAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::services::Probe;
    use crate::model::{Check, CheckRestart};

    fn health(successes: u32, failures: u32, limit: Option<i64>) -> Health {
        Health::new(&CheckPlan {
            row: Check::default(),
            probe: Probe::Tcp {
                address: "10.0.0.1:80".into(),
            },
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            successes_needed: successes,
            failures_needed: failures,
            restart: limit.map(|limit| CheckRestart {
                limit,
                grace: Some(10 * SECOND),
                ignore_warnings: false,
            }),
        })
    }

    #[test]
    fn a_status_changes_after_as_many_runs_in_a_row_as_it_needs() {
        let mut health = health(2, 3, None);
        let up = Duration::from_secs(60);
        for (verdict, status) in [
            (Verdict::Passing, CHECK_CRITICAL),
            (Verdict::Passing, CHECK_PASSING),
            (Verdict::Critical, CHECK_PASSING),
            (Verdict::Critical, CHECK_PASSING),
            (Verdict::Critical, CHECK_CRITICAL),
            (Verdict::Warning, CHECK_CRITICAL),
            (Verdict::Warning, CHECK_WARNING),
        ] {
            assert!(!health.ran(verdict, up));
            assert_eq!(health.status(), status, "{verdict:?}");
        }
    }

    #[test]
    fn waits_grow_up_to_the_interval_until_it_passes() {
        let mut health = health(1, 1, None);
        let waits: Vec<_> = (0..5).map(|_| health.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000]);
        let mut passed = super::tests::health(1, 1, None);
        assert!(!passed.ran(Verdict::Passing, Duration::ZERO));
        assert_eq!(passed.next_wait(), Duration::from_secs(1));
    }

    #[test]
    fn a_task_is_given_up_after_its_limit_and_its_grace() {
        let mut health = health(1, 1, Some(2));
        let (early, late) = (Duration::from_secs(5), Duration::from_secs(20));
        assert!(!health.ran(Verdict::Critical, early));
        assert!(
            !health.ran(Verdict::Critical, early),
            "failures in the grace don't count"
        );
        assert!(!health.ran(Verdict::Critical, late));
        assert!(health.ran(Verdict::Critical, late));
        assert!(!health.ran(Verdict::Critical, late), "it counts anew");
    }

    #[test]
    fn what_is_heard_of_a_check_counts_as_its_runs_do() {
        let mut health = health(3, 3, Some(2));
        let up = Duration::from_secs(60);
        assert!(!health.heard(CHECK_PASSING, up));
        assert_eq!(
            health.status(),
            CHECK_PASSING,
            "thresholds are kept by who runs it"
        );
        assert!(!health.heard(CHECK_CRITICAL, up));
        assert!(health.heard(CHECK_CRITICAL, up), "the limit is reached");
        assert_eq!(health.status(), CHECK_CRITICAL);
        assert_eq!(health.next_wait(), Duration::from_secs(1));
    }
}
