//! What a monitor says of an evaluation, a deployment and their allocations.

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
        progress.news(&eval(EVAL_PENDING), "", &[]),
        ["Evaluation triggered by job \"web\""]
    );
    let allocs = [
        alloc("0e0dd4b7", 11, CLIENT_PENDING),
        alloc("d2c227bb", 5, CLIENT_RUNNING),
    ];
    assert_eq!(
        progress.news(&eval(EVAL_COMPLETE), "86352240-9b45", &allocs),
        [
            "Evaluation within deployment: \"86352240\"",
            "Allocation \"0e0dd4b7\" created: node \"275d3d25\", group \"g\"",
            "Allocation \"d2c227bb\" modified: node \"275d3d25\", group \"g\"",
            "Evaluation status changed: \"pending\" -> \"complete\"",
        ]
    );
    assert!(
        progress
            .news(&eval(EVAL_COMPLETE), "86352240-9b45", &allocs)
            .is_empty()
    );
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
