//! `snapshot-catch-up`: a follower is away while more is written than the log keeps. It comes back
//! and knows everything; then all servers restart from their snapshots, and still do.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::Load;
use crate::order::Order;
use crate::user::User;

/// Entries between two snapshots in this story.
pub(super) const THRESHOLD: u64 = 60;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let leader = user.leader()?;
    let mut followers = user.size.server_names();
    followers.retain(|server| *server != leader);
    let away = followers[user.pick(followers.len())].clone();
    user.order(Order::Crash(away.clone()));
    let from = newest(&user);
    let load = Load::start(&user, 6);
    let written = |more: u64| {
        let user = user.clone();
        async move {
            let now = newest(&user);
            ensure!(now > from + more, "the log is at {now}, it was at {from}");
            Ok(())
        }
    };
    user.eventually("much is written", Duration::from_secs(120), || {
        written(4 * THRESHOLD)
    })
    .await?;
    user.order(Order::Bounce(away.clone()));
    user.caught_up(&away, Duration::from_secs(30)).await?;
    user.eventually("more is written", Duration::from_secs(120), || {
        written(6 * THRESHOLD)
    })
    .await?;
    for server in user.size.server_names() {
        user.order(Order::Crash(server.clone()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        user.order(Order::Bounce(server));
    }
    user.eventually("a server leads", Duration::from_secs(10), || async {
        user.leader()
    })
    .await?;
    load.finish().await?;
    user.settled(Duration::from_secs(60)).await
}

fn newest(user: &User) -> u64 {
    let stores = user.sight.stores();
    let indexes = stores.values().map(|store| store.index());
    indexes.max().unwrap_or(0)
}
