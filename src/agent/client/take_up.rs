//! Looking for a task that an earlier run of the agent may have left running.

use std::time::Duration;

use ports::errors::ContainersError;
use ports::{TaskSpec, World};

/// Pause before an engine that can't be reached is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a driver may take to say that a task has ended.
const ENDED_WITHIN: Duration = Duration::from_millis(500);

/// What there is of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It runs, or ended while nobody looked: waiting for its end tells.
    Running,
    /// It is the one whose end is known already.
    Ended,
    Nothing,
}

/// `ended`: its end was seen by the earlier run of the agent. `ran`: it was started here; it may
/// run on though its engine can't be reached, so that an answer is waited for.
pub(super) async fn look(world: World, spec: TaskSpec, ended: bool, ran: bool) -> Found {
    let mut told = false;
    loop {
        match world.containers.reattach(&spec).await {
            Ok(true) if ended => {
                let ends = world.containers.wait(&spec.key);
                return match tokio::time::timeout(ENDED_WITHIN, ends).await {
                    Ok(_) => Found::Ended,
                    // It was started again just before the agent was killed.
                    Err(_) => Found::Running,
                };
            }
            Ok(true) => return Found::Running,
            Ok(false) => return Found::Nothing,
            Err(error @ (ContainersError::Unreachable(_) | ContainersError::TimedOut(_)))
                if ran =>
            {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(task = %spec.key, %error, "the driver can't say whether it runs: it is asked again");
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(task = %spec.key, %error, "the driver can't say whether it runs");
                return Found::Nothing;
            }
        }
    }
}
