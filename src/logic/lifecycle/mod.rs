//! How a node runs an allocation: restarts, the state of its tasks, its services and variables.

pub mod environment;
pub mod health;
pub mod restart;
pub mod rollout;
pub mod services;
pub mod task;

use std::collections::BTreeMap;

use crate::model::{
    AllocReport, CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_PENDING, CLIENT_RUNNING, TASK_DEAD,
    TASK_RUNNING, TaskState,
};

/// An allocation's client status as its tasks make it: failed if one failed, running if one runs,
/// complete if all ended well.
pub fn client_status(tasks: &BTreeMap<String, TaskState>) -> (&'static str, &'static str) {
    let any = |wanted: fn(&TaskState) -> bool| tasks.values().any(wanted);
    let all_dead = !tasks.is_empty() && tasks.values().all(|state| state.state == TASK_DEAD);
    if all_dead && any(|state| state.failed) {
        (CLIENT_FAILED, "Failed tasks")
    } else if all_dead {
        (CLIENT_COMPLETE, "All tasks have completed")
    } else if any(|state| state.state == TASK_RUNNING) {
        (CLIENT_RUNNING, "Tasks are running")
    } else {
        (CLIENT_PENDING, "No tasks have started")
    }
}

/// What a node reports of an allocation whose tasks are in these states.
pub fn report(alloc_id: &str, tasks: &BTreeMap<String, TaskState>) -> AllocReport {
    let (status, description) = client_status(tasks);
    AllocReport {
        alloc_id: alloc_id.to_owned(),
        client_status: status.to_owned(),
        client_description: description.to_owned(),
        task_states: tasks.clone(),
        health: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TASK_PENDING;

    #[test]
    fn an_allocation_is_what_its_tasks_are() {
        let state = |name: &str, failed| TaskState {
            state: name.to_owned(),
            failed,
            ..TaskState::default()
        };
        for (tasks, status) in [
            (vec![], CLIENT_PENDING),
            (vec![state(TASK_PENDING, false)], CLIENT_PENDING),
            (
                vec![state(TASK_RUNNING, false), state(TASK_PENDING, false)],
                CLIENT_RUNNING,
            ),
            (
                vec![state(TASK_RUNNING, false), state(TASK_DEAD, true)],
                CLIENT_RUNNING,
            ),
            (
                vec![state(TASK_DEAD, false), state(TASK_DEAD, true)],
                CLIENT_FAILED,
            ),
            (vec![state(TASK_DEAD, false)], CLIENT_COMPLETE),
        ] {
            let tasks: BTreeMap<_, _> = tasks
                .into_iter()
                .enumerate()
                .map(|(at, state)| (at.to_string(), state))
                .collect();
            assert_eq!(client_status(&tasks).0, status, "{tasks:?}");
        }
    }
}
