//! `old-leader-restarts`: the leader is cut off with changes in its log that nobody else has. Once
//! it is reachable again, it takes the new leader's entries in their place, and loses power at that
//! moment. What it finds on its disk is the new leader's log, or the old one, but no mixture.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::order::Order;
use crate::user::User;

const ELECTED_WITHIN: Duration = Duration::from_secs(2);
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    user.register_small(&user.leader()?, "before").await?;
    // The less the next leader has to write, the more of its predecessor's log is still there.
    user.settled(Duration::from_secs(30)).await?;
    let old = user.leader()?;
    let mut others = [user.size.server_names(), user.size.client_names()].concat();
    others.retain(|host| *host != old);
    user.say(&format!("{old} leads, and is cut off"));
    user.order(Order::Partition {
        a: vec![old.clone()],
        b: others,
    });
    let lost: Vec<_> = (0..4)
        .map(|number| {
            let (alone, server) = (user.clone(), old.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(5 + 40 * number)).await;
                let name = format!("isolated-{number}");
                alone.register_small(&server, &name).await.ok()
            })
        })
        .collect();
    let new = user.another_leader(&old, ELECTED_WITHIN).await?;
    user.order(Order::Heal);
    let began = user.now();
    while user.sight.term(&old) < user.sight.term(&new) {
        let waited = user.now().saturating_sub(began);
        ensure!(waited < FOLLOWS_WITHIN, "{old} doesn't follow {new}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(user.random.below(30))).await;
    user.order(Order::Crash(old.clone()));
    tokio::time::sleep(Duration::from_millis(100 + user.random.below(400))).await;
    user.order(Order::Bounce(old.clone()));
    user.caught_up(&old, Duration::from_secs(20)).await?;
    for writing in lost {
        writing.await.context("a write panicked")?;
    }
    let still = user.leader()?;
    let path = "/v1/job/before";
    for server in user.size.server_names() {
        user.api_at(&server, "GET", path, None).await?;
    }
    user.say(&format!("{still} leads, and loses power"));
    user.order(Order::Crash(still.clone()));
    let elected = Duration::from_secs(5);
    user.eventually("another server leads", elected, || async { user.leader() })
        .await?;
    user.order(Order::Bounce(still.clone()));
    user.caught_up(&still, Duration::from_secs(20)).await?;
    user.settled(Duration::from_secs(60)).await
}
