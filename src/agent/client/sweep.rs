//! Removing what an earlier run of the agent, or a lost node's past, left behind.

use std::time::Duration;

use ports::{TaskKey, World};

/// How long a task that nobody wants may take to end.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Removes tasks that nobody wants any more; tells whether all are gone.
pub(super) async fn sweep(world: World, unwanted: Vec<TaskKey>) -> bool {
    let mut gone = true;
    for key in unwanted {
        tracing::warn!(task = %key, "removing a task that nobody wants any more");
        // Whether it could be asked to end doesn't matter: removing kills what runs.
        world.containers.stop(&key, "", KILL_AFTER).await.ok();
        if let Err(error) = world.containers.remove(&key).await {
            tracing::warn!(task = %key, %error, "it could not be removed");
            gone = false;
        }
    }
    gone
}
