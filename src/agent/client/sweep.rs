//! Removing what an earlier run of the agent, or a lost node's past, left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use ports::World;

/// How long a task that nobody wants may take to end.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Removes every task here whose allocation isn't in `wanted`.
pub(super) async fn sweep(world: World, wanted: BTreeSet<String>) {
    let tasks = match world.containers.list().await {
        Ok(tasks) => tasks,
        Err(error) => {
            tracing::warn!(%error, "tasks left from before can't be looked for");
            return;
        }
    };
    for key in tasks
        .into_iter()
        .filter(|key| !wanted.contains(&key.alloc_id))
    {
        tracing::warn!(task = %key, "removing a task that nobody wants any more");
        // Whether it could be asked to end doesn't matter: removing kills what runs.
        world.containers.stop(&key, "", KILL_AFTER).await.ok();
        if let Err(error) = world.containers.remove(&key).await {
            tracing::warn!(task = %key, %error, "it could not be removed");
        }
    }
}
