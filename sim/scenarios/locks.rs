//! `locks`: several holders want one lock, while leaders lose power, are cut off or say goodbye,
//! and a machine that a session depends on loses power. No two hold it at once, and in the end
//! somebody gets it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::locks::Locks;
use crate::order::Order;
use crate::user::User;

const HOLDERS: usize = 4;
const ROUNDS: usize = 4;
const BACK_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let locks = Locks::start(&user, HOLDERS);
    for _ in 0..ROUNDS {
        let calm = 3_000 + user.random.below(9_000);
        tokio::time::sleep(Duration::from_millis(calm)).await;
        let leader = user.leader()?;
        let others: Vec<String> = [user.size.server_names(), user.size.client_names()]
            .concat()
            .into_iter()
            .filter(|host| *host != leader)
            .collect();
        let client = user.size.client_names().into_iter().next_back();
        let away = 500 + user.random.below(12_000);
        let (down, up) = match (user.random.below(5), client) {
            (0, _) => (Order::Crash(leader.clone()), Order::Bounce(leader.clone())),
            (1, _) => (
                Order::KillAgent(leader.clone()),
                Order::StartAgent(leader.clone()),
            ),
            (2, _) => (
                Order::LeaveAgent(leader.clone()),
                Order::StartAgent(leader.clone()),
            ),
            (3, Some(client)) => (Order::Crash(client.clone()), Order::Bounce(client)),
            (3.., _) => (
                Order::Partition {
                    a: vec![leader.clone()],
                    b: others,
                },
                Order::Heal,
            ),
        };
        user.say(&format!("{down:?} for {away} ms"));
        user.order(down);
        tokio::time::sleep(Duration::from_millis(away)).await;
        user.order(up);
        user.caught_up(&leader, BACK_WITHIN).await?;
        user.ready().await?;
    }
    let times = locks.finish().await?;
    ensure!(times > 0, "nobody ever got the lock");
    user.settled(Duration::from_secs(60)).await
}
