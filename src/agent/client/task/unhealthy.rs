//! What a task is told when it isn't well: a check has given it up, or a deployment its allocation.

use actix::{Context, Handler, Message};
use logic::lifecycle::task::Input;

use super::Task;

/// Why its allocation isn't healthy in its deployment: people read it among the task's events.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::client) struct Unhealthy {
    pub(in crate::client) why: String,
}

impl Handler<Unhealthy> for Task {
    type Result = ();

    fn handle(&mut self, Unhealthy { why }: Unhealthy, ctx: &mut Context<Self>) {
        self.step(Input::Unhealthy { why }, ctx);
    }
}

/// A check has failed so often that the task should be started anew.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::client) struct CheckGaveUp {
    pub(in crate::client) check: String,
}

impl Handler<CheckGaveUp> for Task {
    type Result = ();

    fn handle(&mut self, CheckGaveUp { check }: CheckGaveUp, ctx: &mut Context<Self>) {
        let reason = format!("healthcheck: check \"{check}\" unhealthy");
        self.step(Input::Restart { reason }, ctx);
    }
}
