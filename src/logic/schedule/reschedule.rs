//! When a failed allocation is placed anew: at once, later, or never.

use crate::duration::to_std;
use crate::model::{Allocation, RescheduleEvent, ReschedulePolicy, RescheduleTracker};
use crate::time::Time;

/// How many replacements an allocation's history remembers, or as many as its policy counts.
const EVENTS_KEPT: usize = 10;

/// Replacements in a row without any delay, for ports taken by somebody else.
const UNDELAYED_MAX: usize = 3;

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
    if undelayed(alloc) {
        return Verdict::Now;
    }
    let Some(policy) = policy else {
        return Verdict::Never;
    };
    if !policy.unlimited && attempts_within(alloc, policy.interval) >= policy.attempts {
        return Verdict::Never;
    }
    let at = failed_at(alloc).plus(to_std(next_delay(alloc)));
    if at <= now {
        Verdict::Now
    } else {
        Verdict::At(at)
    }
}

/// The history of a failed allocation's successor: its own, and that it is replaced `now`.
pub fn tracked(failed: &Allocation, now: Time) -> RescheduleTracker {
    let mut tracker = failed.reschedule_tracker.clone().unwrap_or_default();
    tracker.events.push(RescheduleEvent {
        reschedule_time: now.0,
        prev_alloc_id: failed.id.clone(),
        prev_node_id: failed.node_id.clone(),
        delay: next_delay(failed),
    });
    let counted = policy_of(failed).map_or(0, |policy| policy.attempts);
    let kept = EVENTS_KEPT.max(usize::try_from(counted).unwrap_or(0));
    let surplus = tracker.events.len().saturating_sub(kept);
    tracker.events.drain(..surplus);
    tracker
}

/// When it failed; later changes of a failed allocation's row are the servers' own and follow at
/// once.
fn failed_at(alloc: &Allocation) -> Time {
    Time(alloc.modify_time)
}

fn policy_of(alloc: &Allocation) -> Option<&ReschedulePolicy> {
    alloc.group()?.reschedule_policy.as_ref()
}

/// Its port was taken, and that hasn't happened too often in a row yet.
fn undelayed(alloc: &Allocation) -> bool {
    let in_a_row = events(alloc)
        .iter()
        .rev()
        .take_while(|event| event.delay == 0);
    port_in_use(alloc) && in_a_row.count() < UNDELAYED_MAX
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

fn attempts_within(alloc: &Allocation, interval: i64) -> i64 {
    let since = failed_at(alloc).minus(to_std(interval)).0;
    let count = events(alloc)
        .iter()
        .filter(|event| event.reschedule_time >= since)
        .count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How long (in nanoseconds) the next replacement of this allocation has to wait.
pub fn next_delay(alloc: &Allocation) -> i64 {
    if undelayed(alloc) {
        return 0;
    }
    let Some(policy) = policy_of(alloc) else {
        return 0;
    };
    let history = events(alloc);
    let Some(last) = history.last() else {
        return policy.delay;
    };
    // It ran well for long enough that its earlier failures don't matter any more.
    let ran = failed_at(alloc).since(Time(last.reschedule_time));
    if policy.max_delay > 0 && ran > to_std(policy.max_delay) {
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
            assert_eq!(next_delay(&alloc), secs * SECOND, "{function} {history:?}");
        }
    }

    #[test]
    fn the_delay_starts_over_after_a_long_quiet_time() {
        let mut alloc = failed(policy("exponential"), &[(900, 960)]);
        alloc.modify_time = 900 * SECOND + 2 * HOUR;
        assert_eq!(next_delay(&alloc), 30 * SECOND);
    }

    #[test]
    fn waiting_for_the_delay_is_no_quiet_time() {
        let mut alloc = failed(policy("exponential"), &[(900, 3_600)]);
        alloc.modify_time = 901 * SECOND;
        let now = Time(901 * SECOND + HOUR);
        assert_eq!(
            decide(&alloc, Some(&policy("exponential")), now),
            Verdict::Now
        );
        let last = tracked(&alloc, now).events.pop().map(|event| event.delay);
        assert_eq!(last, Some(HOUR), "the next failure waits as long again");
    }

    #[test]
    fn as_many_attempts_are_remembered_as_the_policy_counts() {
        let limited = ReschedulePolicy {
            attempts: 20,
            interval: HOUR,
            unlimited: false,
            ..policy("constant")
        };
        let mut alloc = failed(limited, &[]);
        for _ in 0..30 {
            alloc.reschedule_tracker = Some(tracked(&alloc, Time(1_000 * SECOND)));
        }
        assert_eq!(alloc.reschedule_tracker.map(|t| t.events.len()), Some(20));
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
        for _ in 0..UNDELAYED_MAX {
            assert_eq!(decide(&alloc, None, Time(0)), Verdict::Now);
            alloc.reschedule_tracker = Some(tracked(&alloc, Time(0)));
        }
        let policy = policy("exponential");
        let verdict = decide(&alloc, Some(&policy), Time(0));
        let at = Time(1_030 * SECOND);
        assert_eq!(verdict, Verdict::At(at), "but not for ever");
    }
}
