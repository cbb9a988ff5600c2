//! `agent-restart`: agents die and start again, one after the other. Their containers go on and
//! are taken up: the same ones, never started twice, and no route is lost.

use std::time::Duration;

use anyhow::Result;

use super::web::{self, Visitor};
use crate::order::Order;
use crate::user::User;

/// How long an agent is away at most: its lease lasts longer.
const AWAY_MILLIS: u64 = 1_500;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 4).await?;
    let starts = web::starts(&user, &placed)?;
    let mut hosts = [user.size.client_names(), user.size.server_names()].concat();
    let watcher = hosts.remove(0);
    let visitor = Visitor::start(&user, &watcher);
    for round in 0..2 {
        for host in &hosts {
            user.order(Order::KillAgent(host.clone()));
            let away = user.random.below(AWAY_MILLIS);
            tokio::time::sleep(Duration::from_millis(away)).await;
            user.order(Order::StartAgent(host.clone()));
            user.ready().await?;
            // The restarted agent has been told of its allocations.
            let calm = 500 + user.random.below(1_500);
            tokio::time::sleep(Duration::from_millis(calm)).await;
            web::undisturbed(&user, &placed, &starts)?;
        }
        user.say(&format!("round {round} is over"));
    }
    visitor.finish().await?;
    let same = user.running("web").await?;
    web::undisturbed(&user, &same, &starts)?;
    user.settled(Duration::from_secs(30)).await
}
