//! One task on its node, from received to dead.
//!
//! ```text
//! Preparing -> Starting -> Running -> Waiting -> Preparing ...      (restart policy)
//!     \            \          \          \
//!      `-------> Stopping (a stop was asked for while something was under way)
//!                     `-> Dead
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::restart::{Restarts, Verdict};
use crate::duration::{format, to_std};
use crate::model::{RestartPolicy, TASK_DEAD, TASK_PENDING, TASK_RUNNING, TaskEvent, TaskState};
use crate::time::Time;

/// Events kept for people to read.
const EVENTS_KEPT: usize = 10;

/// What can happen to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It was handed to this node.
    Received,
    /// It is running already: an earlier run of the agent started it.
    Reattached,
    /// An earlier run of the agent had it, but nothing of it runs now.
    NotFound,
    /// The driver got it ready, and what it has to tell.
    Prepared(Vec<String>),
    /// The driver started it.
    Started,
    /// The driver couldn't get it ready or start it.
    CouldNotStart {
        error: String,
        may_pass: bool,
        port_in_use: bool,
        jitter: u64,
    },
    /// It ended.
    Exited {
        code: i64,
        signal: i64,
        out_of_memory: bool,
        lost: Option<String>,
        jitter: u64,
    },
    /// Its wait is over.
    WaitOver,
    /// It isn't wanted any more.
    Stop { reason: String },
    /// It should be started anew, though it runs (a check keeps failing).
    Restart { reason: String },
    /// Its allocation has not come up well, as its deployment expects.
    Unhealthy { why: String },
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the driver to get the task ready.
    Prepare,
    /// Ask the driver to start it.
    Start,
    /// Wait for its end.
    Watch,
    /// Take it out of the catalog, wait `delay`, then ask the driver to stop it.
    Stop { delay: Duration, timeout: Duration },
    /// It is up: put its services into the catalog.
    Serve,
    /// It is down: take its services out of the catalog.
    Withdraw,
    /// Come back with [`Input::WaitOver`] at this time.
    WakeAt(Time),
    /// The driver may remove what is left of it.
    Remove,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Preparing,
    Starting,
    Running,
    Waiting,
    /// Asked to end; `then_restart`: to be started anew afterwards.
    Stopping {
        then_restart: bool,
    },
    Dead,
}

/// What has to be known of a task to go on with it after a restart of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    pub state: TaskState,
    /// The interval of the restart policy, and what was used of it.
    pub restarts_since: Time,
    pub restarts_used: i64,
    /// It had ended, and was to be started again at this time.
    pub wake_at: Option<Time>,
}

/// The machine. It has no clock: every step is told the time.
#[derive(Clone, Debug)]
pub struct Machine {
    phase: Phase,
    state: TaskState,
    restarts: Restarts,
    kill_timeout: Duration,
    shutdown_delay: Duration,
    /// A stop was asked for while the driver was busy preparing or starting.
    stop_wanted: bool,
    /// When the wait for the next start is over.
    wake_at: Option<Time>,
}

impl Machine {
    pub fn new(
        policy: RestartPolicy,
        restart_on_success: bool,
        kill_timeout: i64,
        shutdown_delay: i64,
    ) -> Self {
        Self {
            phase: Phase::Idle,
            state: TaskState {
                state: TASK_PENDING.to_owned(),
                ..TaskState::default()
            },
            restarts: Restarts::new(policy, restart_on_success),
            kill_timeout: to_std(kill_timeout),
            shutdown_delay: to_std(shutdown_delay),
            stop_wanted: false,
            wake_at: None,
        }
    }

    /// The same with what is known of an earlier run of the agent. A task that had ended stays
    /// so; any other is pending until somebody has looked for it.
    #[must_use]
    pub fn resumed(mut self, saved: Saved) -> Self {
        self.restarts
            .resume((saved.restarts_since, saved.restarts_used));
        self.state = saved.state;
        self.wake_at = saved.wake_at;
        if self.state.state == TASK_DEAD {
            self.phase = Phase::Dead;
        } else {
            TASK_PENDING.clone_into(&mut self.state.state);
        }
        self
    }

    pub fn saved(&self) -> Saved {
        let (restarts_since, restarts_used) = self.restarts.used();
        Saved {
            state: self.state.clone(),
            restarts_since,
            restarts_used,
            wake_at: self.wake_at,
        }
    }

    pub fn state(&self) -> &TaskState {
        &self.state
    }

    pub fn dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    pub fn step(&mut self, now: Time, input: Input) -> Vec<Effect> {
        match input {
            Input::Received => self.received(now),
            Input::Reattached => {
                self.note(
                    now,
                    "Restored",
                    "Task found running after the agent restarted",
                );
                self.phase = Phase::Running;
                self.wake_at = None;
                TASK_RUNNING.clone_into(&mut self.state.state);
                vec![Effect::Watch, Effect::Serve]
            }
            Input::NotFound => self.not_found(now),
            Input::Prepared(notes) => self.prepared(now, notes),
            Input::Started => self.started(now),
            Input::CouldNotStart {
                error,
                may_pass,
                port_in_use,
                jitter,
            } => self.could_not_start(now, error, may_pass, port_in_use, jitter),
            Input::Exited {
                code,
                signal,
                out_of_memory,
                lost,
                jitter,
            } => self.exited(now, code, signal, out_of_memory, lost, jitter),
            Input::WaitOver if self.phase == Phase::Waiting => self.prepare(),
            Input::WaitOver => Vec::new(),
            Input::Stop { reason } => self.stop(now, &reason),
            Input::Restart { reason } => self.restart(now, &reason),
            Input::Unhealthy { why } => {
                self.note(now, "Alloc Unhealthy", &why);
                Vec::new()
            }
        }
    }

    fn received(&mut self, now: Time) -> Vec<Effect> {
        self.note(now, "Received", "Task received by client");
        self.note(now, "Task Setup", "Building Task Directory");
        self.prepare()
    }

    fn not_found(&mut self, now: Time) -> Vec<Effect> {
        if let Some(at) = self.wake_at {
            self.phase = Phase::Waiting;
            return vec![Effect::WakeAt(at)];
        }
        if self.state.started_at.is_never() {
            return self.received(now);
        }
        let what = "Task was not running after the agent restarted: it is started again";
        self.note(now, "Restored", what);
        self.prepare()
    }

    fn prepare(&mut self) -> Vec<Effect> {
        self.wake_at = None;
        self.phase = Phase::Preparing;
        vec![Effect::Prepare]
    }

    fn prepared(&mut self, now: Time, notes: Vec<String>) -> Vec<Effect> {
        for note in notes {
            self.note(now, "Driver", &note);
        }
        if self.stop_wanted {
            return self.die(now, false);
        }
        self.phase = Phase::Starting;
        vec![Effect::Start]
    }

    fn started(&mut self, now: Time) -> Vec<Effect> {
        self.note(now, "Started", "Task started by client");
        TASK_RUNNING.clone_into(&mut self.state.state);
        self.state.started_at = now;
        if self.stop_wanted {
            return [vec![Effect::Watch], self.begin_stop(now, false)].concat();
        }
        self.phase = Phase::Running;
        vec![Effect::Watch, Effect::Serve]
    }

    fn could_not_start(
        &mut self,
        now: Time,
        error: String,
        may_pass: bool,
        port_in_use: bool,
        jitter: u64,
    ) -> Vec<Effect> {
        let kind = if port_in_use {
            crate::schedule::reschedule::EVENT_PORT_IN_USE
        } else {
            "Driver Failure"
        };
        self.push(TaskEvent {
            r#type: kind.to_owned(),
            time: now.0,
            display_message: error.clone(),
            driver_error: error,
            ..TaskEvent::default()
        });
        if self.stop_wanted {
            return self.die(now, false);
        }
        if port_in_use || !may_pass {
            let reason = if port_in_use {
                "Another port is needed"
            } else {
                "Error was unrecoverable"
            };
            return self.fail(now, reason);
        }
        self.ended(now, false, jitter)
    }

    fn exited(
        &mut self,
        now: Time,
        code: i64,
        signal: i64,
        out_of_memory: bool,
        lost: Option<String>,
        jitter: u64,
    ) -> Vec<Effect> {
        let success = code == 0 && signal == 0 && lost.is_none();
        self.push(TaskEvent {
            r#type: "Terminated".to_owned(),
            time: now.0,
            display_message: how_it_ended(code, signal, out_of_memory, lost.as_deref()),
            message: lost.unwrap_or_default(),
            exit_code: code,
            signal,
            details: BTreeMap::from([
                ("exit_code".to_owned(), code.to_string()),
                ("signal".to_owned(), signal.to_string()),
                ("oom_killed".to_owned(), out_of_memory.to_string()),
            ]),
            ..TaskEvent::default()
        });
        let mut effects = vec![Effect::Withdraw];
        effects.extend(match self.phase {
            Phase::Stopping { then_restart: true } => {
                self.count_restart(now);
                self.prepare()
            }
            Phase::Stopping {
                then_restart: false,
            } => {
                self.note(now, "Killed", "Task successfully killed");
                self.die(now, false)
            }
            Phase::Dead => Vec::new(),
            Phase::Idle | Phase::Preparing | Phase::Starting | Phase::Running | Phase::Waiting => {
                self.ended(now, success, jitter)
            }
        });
        effects
    }

    fn ended(&mut self, now: Time, success: bool, jitter: u64) -> Vec<Effect> {
        match self.restarts.ended(success, now, jitter) {
            Verdict::Done => self.die(now, false),
            Verdict::Fail { reason } => self.fail(now, &reason),
            Verdict::Restart { at, reason } => {
                let wait = i64::try_from(at.since(now).as_nanos()).unwrap_or(i64::MAX);
                self.push(TaskEvent {
                    r#type: "Restarting".to_owned(),
                    time: now.0,
                    display_message: format!("Task restarting in {}", format(wait)),
                    restart_reason: reason,
                    start_delay: wait,
                    ..TaskEvent::default()
                });
                self.count_restart(now);
                self.phase = Phase::Waiting;
                self.wake_at = Some(at);
                vec![Effect::WakeAt(at)]
            }
        }
    }

    fn count_restart(&mut self, now: Time) {
        TASK_PENDING.clone_into(&mut self.state.state);
        self.state.restarts += 1;
        self.state.last_restart = now;
    }

    fn fail(&mut self, now: Time, reason: &str) -> Vec<Effect> {
        self.push(TaskEvent {
            r#type: "Not Restarting".to_owned(),
            time: now.0,
            display_message: reason.to_owned(),
            restart_reason: reason.to_owned(),
            fails_task: true,
            ..TaskEvent::default()
        });
        self.die(now, true)
    }

    fn stop(&mut self, now: Time, reason: &str) -> Vec<Effect> {
        match self.phase {
            Phase::Dead
            | Phase::Stopping {
                then_restart: false,
            } => Vec::new(),
            Phase::Stopping { then_restart: true } => {
                self.phase = Phase::Stopping {
                    then_restart: false,
                };
                Vec::new()
            }
            Phase::Preparing | Phase::Starting => {
                // Asked for with every list of allocations until it has ended: told once.
                if !std::mem::replace(&mut self.stop_wanted, true) {
                    self.note(now, "Killing", reason);
                }
                Vec::new()
            }
            Phase::Idle | Phase::Waiting => {
                self.note(now, "Killed", reason);
                self.die(now, false)
            }
            Phase::Running => {
                self.note(now, "Killing", reason);
                self.begin_stop(now, false)
            }
        }
    }

    fn restart(&mut self, now: Time, reason: &str) -> Vec<Effect> {
        if self.phase != Phase::Running {
            return Vec::new();
        }
        self.note(now, "Restart Signaled", reason);
        self.begin_stop(now, true)
    }

    fn begin_stop(&mut self, now: Time, then_restart: bool) -> Vec<Effect> {
        self.push(TaskEvent {
            r#type: "Killing".to_owned(),
            time: now.0,
            display_message: format!(
                "Sent interrupt. Waiting {} before force killing",
                format(i64::try_from(self.kill_timeout.as_nanos()).unwrap_or(i64::MAX))
            ),
            kill_timeout: i64::try_from(self.kill_timeout.as_nanos()).unwrap_or(i64::MAX),
            ..TaskEvent::default()
        });
        self.phase = Phase::Stopping { then_restart };
        let (delay, timeout) = (self.shutdown_delay, self.kill_timeout);
        vec![Effect::Withdraw, Effect::Stop { delay, timeout }]
    }

    fn die(&mut self, now: Time, failed: bool) -> Vec<Effect> {
        self.phase = Phase::Dead;
        self.wake_at = None;
        TASK_DEAD.clone_into(&mut self.state.state);
        self.state.failed = failed;
        self.state.finished_at = now;
        vec![Effect::Remove]
    }

    fn note(&mut self, now: Time, kind: &str, message: &str) {
        self.push(TaskEvent {
            r#type: kind.to_owned(),
            time: now.0,
            display_message: message.to_owned(),
            ..TaskEvent::default()
        });
    }

    fn push(&mut self, event: TaskEvent) {
        self.state.events.push(event);
        let surplus = self.state.events.len().saturating_sub(EVENTS_KEPT);
        self.state.events.drain(..surplus);
    }
}

fn how_it_ended(code: i64, signal: i64, out_of_memory: bool, lost: Option<&str>) -> String {
    if let Some(reason) = lost {
        return format!("Exit unknown: {reason}");
    }
    let mut text = format!("Exit Code: {code}");
    if signal != 0 {
        text = format!("{text}, Signal: {signal}");
    }
    if out_of_memory {
        text.push_str(", Exit Message: \"OOM Killed\"");
    }
    text
}

#[cfg(test)]
mod tests;
