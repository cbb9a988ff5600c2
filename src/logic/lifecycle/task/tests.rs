//! A task's life, as stories.

use super::*;
use crate::duration::SECOND;
use crate::model::JOB_SERVICE;

fn machine() -> Machine {
    Machine::new(RestartPolicy::default_for(JOB_SERVICE), true, 5 * SECOND, 0)
}

fn running() -> Machine {
    let mut machine = machine();
    machine.step(at(0), Input::Received);
    machine.step(at(0), Input::Prepared(vec![]));
    machine.step(at(1), Input::Started);
    machine
}

fn at(secs: i64) -> Time {
    Time((1_000 + secs) * SECOND)
}

fn exited(code: i64) -> Input {
    Input::Exited {
        code,
        signal: 0,
        out_of_memory: false,
        lost: None,
        jitter: 0,
    }
}

fn stop() -> Input {
    Input::Stop {
        reason: "not needed".into(),
    }
}

fn no_start(may_pass: bool, port_in_use: bool) -> Input {
    Input::CouldNotStart {
        error: "no such image".into(),
        may_pass,
        port_in_use,
        jitter: 0,
    }
}

const STOP: Effect = Effect::Stop {
    delay: Duration::ZERO,
    timeout: Duration::from_secs(5),
};

#[test]
fn a_task_is_prepared_started_watched_and_served() {
    let mut machine = machine();
    assert_eq!(machine.step(at(0), Input::Received), [Effect::Prepare]);
    assert_eq!(
        machine.step(at(0), Input::Prepared(vec![])),
        [Effect::Start]
    );
    assert_eq!(
        machine.step(at(1), Input::Started),
        [Effect::Watch, Effect::Serve]
    );
    assert_eq!(machine.state().state, TASK_RUNNING);
    assert_eq!(machine.state().started_at, at(1));
}

#[test]
fn a_task_that_ends_is_withdrawn_at_once_and_started_again_after_its_delay() {
    let mut machine = running();
    assert_eq!(
        machine.step(at(9), exited(137)),
        [Effect::Withdraw, Effect::WakeAt(at(24))]
    );
    assert_eq!(machine.state().state, TASK_PENDING);
    assert_eq!(machine.state().restarts, 1);
    assert_eq!(machine.step(at(24), Input::WaitOver), [Effect::Prepare]);
}

#[test]
fn a_task_that_keeps_failing_fails() {
    let mut machine = running();
    for round in 0..2 {
        machine.step(at(round * 20), exited(1));
        machine.step(at(round * 20 + 15), Input::WaitOver);
        machine.step(at(round * 20 + 15), Input::Prepared(vec![]));
        machine.step(at(round * 20 + 16), Input::Started);
    }
    assert_eq!(
        machine.step(at(50), exited(1)),
        [Effect::Withdraw, Effect::Remove]
    );
    assert!(machine.dead() && machine.state().failed);
}

#[test]
fn a_stop_while_running_withdraws_before_it_kills() {
    let mut machine = running();
    assert_eq!(machine.step(at(5), stop()), [Effect::Withdraw, STOP]);
    assert_eq!(machine.step(at(6), stop()), []);
    assert_eq!(
        machine.step(at(7), exited(137)),
        [Effect::Withdraw, Effect::Remove]
    );
    assert!(machine.dead() && machine.state().successful());
}

#[test]
fn a_stop_while_the_driver_is_busy_is_not_forgotten() {
    let mut preparing = machine();
    preparing.step(at(0), Input::Received);
    assert_eq!(preparing.step(at(1), stop()), []);
    assert_eq!(
        preparing.step(at(2), Input::Prepared(vec![])),
        [Effect::Remove]
    );

    let mut starting = machine();
    starting.step(at(0), Input::Received);
    starting.step(at(0), Input::Prepared(vec![]));
    assert_eq!(starting.step(at(1), stop()), []);
    assert_eq!(
        starting.step(at(2), Input::Started),
        [Effect::Watch, Effect::Withdraw, STOP]
    );
}

#[test]
fn a_stop_while_waiting_ends_the_wait() {
    let mut machine = running();
    machine.step(at(5), exited(1));
    assert_eq!(machine.step(at(6), stop()), [Effect::Remove]);
    assert_eq!(machine.step(at(20), Input::WaitOver), []);
    assert!(machine.dead());
}

#[test]
fn what_cannot_pass_is_not_tried_again() {
    for (may_pass, port_in_use, dead) in [
        (false, false, true),
        (true, true, true),
        (true, false, false),
    ] {
        let mut machine = machine();
        machine.step(at(0), Input::Received);
        machine.step(at(1), no_start(may_pass, port_in_use));
        assert_eq!(machine.dead(), dead, "{may_pass} {port_in_use}");
    }
}

#[test]
fn the_drivers_words_reach_the_user() {
    let mut machine = machine();
    machine.step(at(0), Input::Received);
    machine.step(at(1), no_start(false, false));
    let events = &machine.state().events;
    assert!(
        events
            .iter()
            .any(|event| event.r#type == "Driver Failure"
                && event.display_message == "no such image")
    );
}

#[test]
fn a_restart_keeps_the_task_and_counts() {
    let mut machine = running();
    let effects = machine.step(
        at(5),
        Input::Restart {
            reason: "check failed".into(),
        },
    );
    assert_eq!(effects, [Effect::Withdraw, STOP]);
    assert_eq!(
        machine.step(at(6), exited(0)),
        [Effect::Withdraw, Effect::Prepare]
    );
    assert_eq!(machine.state().restarts, 1);
}

#[test]
fn a_task_that_was_found_running_goes_on_with_its_history() {
    let mut before = running();
    before.step(at(5), exited(1));
    before.step(at(20), Input::WaitOver);
    before.step(at(20), Input::Prepared(vec![]));
    before.step(at(21), Input::Started);
    let mut after = machine().resumed(before.saved());
    assert_eq!(after.state().state, TASK_PENDING, "nobody has looked yet");
    assert_eq!(
        after.step(at(30), Input::Reattached),
        [Effect::Watch, Effect::Serve]
    );
    assert_eq!(after.state().restarts, 1);
    assert_eq!(after.state().started_at, at(21));
    after.step(at(40), exited(1));
    assert_eq!(after.saved().restarts_used, 2, "the policy's count goes on");
}

#[test]
fn a_task_that_waited_for_its_restart_waits_on() {
    let mut before = running();
    before.step(at(9), exited(1));
    let saved = before.saved();
    assert_eq!(saved.wake_at, Some(at(24)));
    let mut after = machine().resumed(saved.clone());
    assert_eq!(
        after.step(at(12), Input::NotFound),
        [Effect::WakeAt(at(24))]
    );
    assert_eq!(after.saved(), saved);
    assert_eq!(after.step(at(24), Input::WaitOver), [Effect::Prepare]);
    assert_eq!(after.saved().wake_at, None);
}

#[test]
fn a_task_that_is_gone_is_started_again_and_one_that_ended_is_not() {
    let mut gone = machine().resumed(running().saved());
    assert_eq!(gone.step(at(30), Input::NotFound), [Effect::Prepare]);
    assert_eq!(gone.state().restarts, 0, "that was no failure of the task");

    let mut ended = running();
    ended.step(at(5), stop());
    ended.step(at(6), exited(0));
    let after = machine().resumed(ended.saved());
    assert!(after.dead());
    assert_eq!(after.saved(), ended.saved());
}

#[test]
fn what_is_saved_survives_as_json_and_without_fields_of_later_versions() {
    let mut before = running();
    before.step(at(9), exited(1));
    let text = serde_json::to_string(&before.saved()).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Saved>(&text).expect("JSON"),
        before.saved()
    );
    assert_eq!(
        serde_json::from_str::<Saved>("{}").expect("JSON"),
        Saved::default()
    );
}
