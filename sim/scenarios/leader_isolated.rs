//! `leader-isolated`: the leader is cut off from all machines, but not from its user. The others
//! elect another one; what the old one is asked to write isn't acknowledged, and what it answers
//! isn't old.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::load::Load;
use crate::order::Order;
use crate::user::User;

const ELECTED_WITHIN: Duration = Duration::from_millis(1_500);
/// Longer than a write waits for a leader.
const ISOLATED: Duration = Duration::from_secs(13);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let load = Load::start(&user, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let old = user.leader()?;
    user.register_small(&old, "before").await?;
    let mut others = [user.size.server_names(), user.size.client_names()].concat();
    others.retain(|host| *host != old);
    user.say(&format!("{old} leads, and is cut off"));
    user.order(Order::Partition {
        a: vec![old.clone()],
        b: others.clone(),
    });
    let began = user.now();
    let (alone, server) = (user.clone(), old.clone());
    let lost = tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        alone.register_small(&server, "isolated").await
    });
    let new = user.another_leader(&old, ELECTED_WITHIN).await?;
    let path = "/v1/job/before";
    user.api_at(&new, "DELETE", path, None).await?;
    if let Ok(job) = user.api_at(&old, "GET", path, None).await {
        ensure!(job["Stop"] == true, "{old} answers what was true before");
    }
    let left = ISOLATED.saturating_sub(user.now().saturating_sub(began));
    tokio::time::sleep(left).await;
    if lost.await.context("the write panicked")?.is_ok() {
        bail!("{old} acknowledged a write while it was cut off");
    }
    user.order(Order::Heal);
    user.eventually("one server leads", Duration::from_secs(5), || async {
        user.leader()
    })
    .await?;
    user.caught_up(&old, Duration::from_secs(20)).await?;
    load.finish().await?;
    user.settled(Duration::from_secs(60)).await
}
