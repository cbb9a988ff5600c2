//! The restart policy: whether and when an ended task is started again on the same node.

use crate::duration::{format, to_std};
use crate::model::RestartPolicy;
use crate::time::Time;

/// Delays grow by up to a quarter, so that tasks that fell together don't rise together.
const JITTER_PARTS: u64 = 4;

/// Counts restarts within the policy's interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    policy: RestartPolicy,
    /// Batch tasks that end with 0 are done; service tasks are never done.
    restart_on_success: bool,
    interval_began: Time,
    count: i64,
}

/// What becomes of an ended task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again at this time.
    Restart { at: Time, reason: String },
    /// It ended as it should.
    Done,
    /// It won't be started again here.
    Fail { reason: String },
}

impl Restarts {
    pub fn new(policy: RestartPolicy, restart_on_success: bool) -> Self {
        Self {
            policy,
            restart_on_success,
            interval_began: Time::NEVER,
            count: 0,
        }
    }

    /// When the interval began, and how many ends were counted in it.
    pub fn used(&self) -> (Time, i64) {
        (self.interval_began, self.count)
    }

    /// Goes on where an earlier run of the agent was.
    pub fn resume(&mut self, (interval_began, count): (Time, i64)) {
        self.interval_began = interval_began;
        self.count = count;
    }

    /// The task ended (or couldn't be started). `jitter` is any random number.
    pub fn ended(&mut self, success: bool, now: Time, jitter: u64) -> Verdict {
        if success && !self.restart_on_success {
            return Verdict::Done;
        }
        let interval = to_std(self.policy.interval);
        if self.interval_began.is_never() || now.since(self.interval_began) > interval {
            self.interval_began = now;
            self.count = 0;
        }
        self.count += 1;
        if self.count <= self.policy.attempts {
            return Verdict::Restart {
                at: now.plus(to_std(self.jittered(jitter))),
                reason: "Restart within policy".to_owned(),
            };
        }
        let reason = if self.policy.attempts == 0 {
            "Policy allows no restarts".to_owned()
        } else {
            format!(
                "Exceeded allowed attempts {} in interval {}",
                self.policy.attempts,
                format(self.policy.interval)
            )
        };
        if self.policy.mode == "delay" && self.policy.attempts > 0 {
            let next = self.interval_began.plus(interval);
            return Verdict::Restart {
                at: next.max(now),
                reason: format!("{reason} and mode is \"delay\""),
            };
        }
        Verdict::Fail {
            reason: format!("{reason} and mode is \"{}\"", self.policy.mode),
        }
    }

    fn jittered(&self, jitter: u64) -> i64 {
        let delay = u64::try_from(self.policy.delay).unwrap_or(0);
        let extra = jitter % (delay / JITTER_PARTS).max(1);
        i64::try_from(delay.saturating_add(extra)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::{MINUTE, SECOND};
    use crate::model::JOB_SERVICE;

    fn restarts(mode: &str) -> Restarts {
        let policy = RestartPolicy {
            mode: mode.into(),
            ..RestartPolicy::default_for(JOB_SERVICE)
        };
        Restarts::new(policy, true)
    }

    fn at(secs: i64) -> Time {
        Time(1_000_000 * SECOND + secs * SECOND)
    }

    #[test]
    fn the_delay_is_honoured_with_at_most_a_quarter_more() {
        for jitter in [0, 1, 12_345_678_901, u64::MAX] {
            let Verdict::Restart { at: next, .. } = restarts("fail").ended(false, at(0), jitter)
            else {
                panic!("within policy");
            };
            assert!(
                next >= at(15) && next.0 <= at(0).0 + 15 * SECOND * 5 / 4,
                "{next}"
            );
        }
    }

    #[test]
    fn attempts_are_used_up_and_come_back_after_the_interval() {
        let mut restarts = restarts("fail");
        assert!(matches!(
            restarts.ended(false, at(0), 0),
            Verdict::Restart { .. }
        ));
        assert!(matches!(
            restarts.ended(true, at(20), 0),
            Verdict::Restart { .. }
        ));
        let Verdict::Fail { reason } = restarts.ended(false, at(40), 0) else {
            panic!("used up")
        };
        assert_eq!(
            reason,
            "Exceeded allowed attempts 2 in interval 30m0s and mode is \"fail\""
        );
        let later = Time(at(41).0 + 30 * MINUTE);
        assert!(matches!(
            restarts.ended(false, later, 0),
            Verdict::Restart { .. }
        ));
    }

    #[test]
    fn mode_delay_waits_for_the_next_interval() {
        let mut restarts = restarts("delay");
        restarts.ended(false, at(0), 0);
        restarts.ended(false, at(20), 0);
        let Verdict::Restart { at: next, .. } = restarts.ended(false, at(40), 0) else {
            panic!("mode is delay");
        };
        assert_eq!(next, Time(at(0).0 + 30 * MINUTE));
    }

    #[test]
    fn a_batch_task_that_succeeds_is_done() {
        let policy = RestartPolicy::default_for("batch");
        let mut restarts = Restarts::new(policy, false);
        assert_eq!(restarts.ended(true, at(0), 0), Verdict::Done);
        assert!(matches!(
            restarts.ended(false, at(0), 0),
            Verdict::Restart { .. }
        ));
    }
}
