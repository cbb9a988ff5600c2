//! When a failed allocation is placed anew: at once, later, or never.

use crate::duration::to_std;
use crate::model::{Allocation, RescheduleEvent, ReschedulePolicy};
use crate::time::Time;

/// How many replacements an allocation's history remembers.
pub const EVENTS_KEPT: usize = 10;

/// The task event of an allocation whose port was taken by somebody else on its host.
pub const EVENT_PORT_IN_USE: &str = "Port In Use";

/// What becomes of a failed allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Now,
    At(Time),
    Never,
}

/// Decides for `alloc`, which has failed, at `now`.
pub fn decide(alloc: &Allocation, policy: Option<&ReschedulePolicy>, now: Time) -> Verdict {
    if port_in_use(alloc) {
        return Verdict::Now;
    }
    let Some(policy) = policy else {
        return Verdict::Never;
    };
    if !policy.unlimited && attempts_within(alloc, policy.interval, now) >= policy.attempts {
        return Verdict::Never;
    }
    let at = Time(alloc.modify_time).plus(to_std(next_delay(alloc, now)));
    if at <= now {
        Verdict::Now
    } else {
        Verdict::At(at)
    }
}

/// Somebody else listened on its port: that is no fault of the task, another port will do.
fn port_in_use(alloc: &Allocation) -> bool {
    alloc.task_states.values().any(|state| {
        state
            .events
            .iter()
            .rev()
            .take(3)
            .any(|event| event.r#type == EVENT_PORT_IN_USE)
    })
}

fn events(alloc: &Allocation) -> &[RescheduleEvent] {
    alloc
        .reschedule_tracker
        .as_ref()
        .map_or(&[], |tracker| tracker.events.as_slice())
}

fn attempts_within(alloc: &Allocation, interval: i64, now: Time) -> i64 {
    let since = now.minus(to_std(interval)).0;
    let count = events(alloc)
        .iter()
        .filter(|event| event.reschedule_time >= since)
        .count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How long (in nanoseconds) the next replacement of this allocation has to wait.
pub fn next_delay(alloc: &Allocation, now: Time) -> i64 {
    let Some(policy) = alloc
        .group()
        .and_then(|group| group.reschedule_policy.as_ref())
    else {
        return 0;
    };
    let history = events(alloc);
    let Some(last) = history.last() else {
        return policy.delay;
    };
    let quiet = now.since(Time(last.reschedule_time));
    if policy.max_delay > 0 && quiet > to_std(policy.max_delay) {
        return policy.delay;
    }
    let grown = match policy.delay_function.as_str() {
        "exponential" => last.delay.saturating_mul(2).max(policy.delay),
        "fibonacci" => {
            let before = history.iter().rev().nth(1).map_or(0, |event| event.delay);
            last.delay.saturating_add(before).max(policy.delay)
        }
        _ => policy.delay,
    };
    if policy.max_delay > 0 {
        grown.min(policy.max_delay)
    } else {
        grown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::duration::{HOUR, SECOND};
    use crate::model::{JOB_SERVICE, Job, RescheduleTracker, TaskEvent, TaskGroup, TaskState};

    fn failed(policy: ReschedulePolicy, history: &[(i64, i64)]) -> Allocation {
        let group = TaskGroup {
            name: "g".into(),
            reschedule_policy: Some(policy),
            ..Default::default()
        };
        Allocation {
            job: Some(Arc::new(Job {
                task_groups: vec![group],
                ..Job::default()
            })),
            task_group: "g".into(),
            modify_time: 1_000 * SECOND,
            reschedule_tracker: Some(RescheduleTracker {
                events: history
                    .iter()
                    .map(|(at, delay)| RescheduleEvent {
                        reschedule_time: at * SECOND,
                        delay: delay * SECOND,
                        ..Default::default()
                    })
                    .collect(),
            }),
            ..Allocation::default()
        }
    }

    fn policy(function: &str) -> ReschedulePolicy {
        ReschedulePolicy {
            delay_function: function.into(),
            ..ReschedulePolicy::default_for(JOB_SERVICE)
        }
    }

    #[test]
    fn delays_grow_as_the_policy_says() {
        for (function, history, secs) in [
            ("constant", &[(900, 30), (950, 30)][..], 30),
            ("exponential", &[], 30),
            ("exponential", &[(900, 30)], 60),
            ("exponential", &[(900, 30), (950, 60)], 120),
            ("exponential", &[(900, 3_000)], 3_600),
            ("fibonacci", &[(900, 30), (950, 60)], 90),
        ] {
            let alloc = failed(policy(function), history);
            assert_eq!(
                next_delay(&alloc, Time(1_000 * SECOND)),
                secs * SECOND,
                "{function} {history:?}"
            );
        }
    }

    #[test]
    fn the_delay_starts_over_after_a_long_quiet_time() {
        let alloc = failed(policy("exponential"), &[(900, 960)]);
        assert_eq!(
            next_delay(&alloc, Time(900 * SECOND + 2 * HOUR)),
            30 * SECOND
        );
    }

    #[test]
    fn a_failed_allocation_waits_its_delay_and_no_longer() {
        let alloc = failed(policy("constant"), &[]);
        let policy = policy("constant");
        let at = Time(1_030 * SECOND);
        assert_eq!(
            decide(&alloc, Some(&policy), Time(1_001 * SECOND)),
            Verdict::At(at)
        );
        assert_eq!(decide(&alloc, Some(&policy), at), Verdict::Now);
        assert_eq!(decide(&alloc, None, at), Verdict::Never);
    }

    #[test]
    fn attempts_are_limited_within_the_interval() {
        let policy = ReschedulePolicy {
            attempts: 2,
            interval: 100 * SECOND,
            unlimited: false,
            ..policy("constant")
        };
        let now = Time(1_000 * SECOND);
        let worn_out = failed(policy.clone(), &[(950, 30), (990, 30)]);
        assert_eq!(decide(&worn_out, Some(&policy), now), Verdict::Never);
        let recovered = failed(policy.clone(), &[(850, 30), (990, 30)]);
        assert!(matches!(
            decide(&recovered, Some(&policy), now),
            Verdict::At(_)
        ));
    }

    #[test]
    fn a_port_taken_by_somebody_else_costs_no_delay() {
        let mut alloc = failed(policy("exponential"), &[]);
        let event = TaskEvent {
            r#type: EVENT_PORT_IN_USE.into(),
            ..TaskEvent::default()
        };
        alloc.task_states.insert(
            "t".into(),
            TaskState {
                events: vec![event],
                ..Default::default()
            },
        );
        assert_eq!(decide(&alloc, None, Time(0)), Verdict::Now);
    }
}
