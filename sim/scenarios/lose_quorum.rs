//! `lose-quorum-and-recover`: most servers lose power at once. Nothing is acknowledged until they
//! are back, nothing that was acknowledged is lost, and what ran runs on.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::web;
use crate::load::Load;
use crate::order::Order;
use crate::user::User;

/// Longer than a write waits for a leader.
const AWAY: Duration = Duration::from_secs(13);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 2).await?;
    let starts = web::starts(&user, &placed)?;
    let load = Load::start(&user, 3);
    let calm = 2_000 + user.random.below(2_000);
    tokio::time::sleep(Duration::from_millis(calm)).await;
    let mut left = user.size.server_names();
    let most = left.len() / 2 + 1;
    let mut lost = Vec::new();
    for _ in 0..most {
        lost.push(left.remove(user.pick(left.len())));
    }
    for server in &lost {
        user.order(Order::Crash(server.clone()));
    }
    let (alone, server) = (user.clone(), left[0].clone());
    let write = tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        alone.register_small(&server, "without-quorum").await
    });
    tokio::time::sleep(AWAY).await;
    if write.await.context("the write panicked")?.is_ok() {
        bail!("{} acknowledged a write on its own", left[0]);
    }
    for server in &lost {
        user.order(Order::Bounce(server.clone()));
        let apart = user.random.below(3_000);
        tokio::time::sleep(Duration::from_millis(apart)).await;
    }
    user.eventually("a server leads", Duration::from_secs(10), || async {
        user.leader()
    })
    .await?;
    // Long enough for a node to be declared down by mistake.
    tokio::time::sleep(Duration::from_secs(10)).await;
    load.finish().await?;
    web::undisturbed(&user, &placed, &starts)?;
    user.settled(Duration::from_secs(60)).await
}
