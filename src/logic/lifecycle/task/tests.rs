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
