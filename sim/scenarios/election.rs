//! `election`: the leader loses power, again and again. The others have a new one at once, and
//! writes that are made meanwhile succeed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Load;
use crate::order::Order;
use crate::user::User;

const ELECTED_WITHIN: Duration = Duration::from_millis(1_500);
const BACK_WITHIN: Duration = Duration::from_secs(20);
const ROUNDS: usize = 3;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let load = Load::start(&user, 3);
    for round in 0..ROUNDS {
        let calm = 1_000 + user.random.below(3_000);
        tokio::time::sleep(Duration::from_millis(calm)).await;
        let old = user.leader()?;
        user.say(&format!("{old} leads, and loses power"));
        user.order(Order::Crash(old.clone()));
        let mut others = user.size.server_names();
        others.retain(|server| *server != old);
        let writes = others.iter().map(|server| {
            let (user, server) = (user.clone(), server.clone());
            tokio::task::spawn_local(async move {
                // The power goes with the next step.
                tokio::time::sleep(Duration::from_millis(5)).await;
                user.register_small(&server, &format!("meanwhile-{round}-{server}"))
                    .await
            })
        });
        let writes: Vec<_> = writes.collect();
        user.eventually("another server leads", ELECTED_WITHIN, || async {
            let leader = user.leader()?;
            ensure!(leader != old, "{old} still does");
            Ok(())
        })
        .await?;
        for write in writes {
            let written = write.await.context("a write panicked")?;
            written.context("a write during the election")?;
        }
        user.order(Order::Bounce(old.clone()));
        user.caught_up(&old, BACK_WITHIN).await?;
    }
    load.finish().await?;
    user.settled(Duration::from_secs(60)).await
}
