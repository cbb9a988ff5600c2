//! `follower-isolated-and-healed`: a follower is cut off, and comes back. The leader is the same,
//! in the same term, and was all the time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Load;
use crate::order::Order;
use crate::user::User;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let load = Load::start(&user, 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = standing(&user)?;
    let (leader, _) = &before;
    let mut followers = user.size.server_names();
    followers.retain(|server| server != leader);
    let follower = followers[user.pick(followers.len())].clone();
    for round in 0..2 {
        let mut others = [user.size.server_names(), user.size.client_names()].concat();
        others.retain(|host| *host != follower);
        user.order(match (round, user.random.below(3)) {
            (1, 0) => Order::PartitionOneWay {
                from: others,
                to: vec![follower.clone()],
            },
            _ => Order::Partition {
                a: vec![follower.clone()],
                b: others,
            },
        });
        same(&user, &before, 3_000 + user.random.below(12_000)).await?;
        user.order(Order::Heal);
        same(&user, &before, 4_000).await?;
        user.caught_up(&follower, Duration::from_secs(20)).await?;
    }
    load.finish().await?;
    same(&user, &before, 1).await?;
    user.settled(Duration::from_secs(60)).await
}

/// Who leads, in which term.
fn standing(user: &User) -> Result<(String, u64)> {
    let leader = user.leader()?;
    let term = user.sight.term(&leader).context("it has no term")?;
    Ok((leader, term))
}

/// For so long nothing changes.
async fn same(user: &User, before: &(String, u64), millis: u64) -> Result<()> {
    let end = user.now() + Duration::from_millis(millis);
    while user.now() < end {
        let now = standing(user)?;
        ensure!(now == *before, "{before:?} led, and now {now:?} does");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
