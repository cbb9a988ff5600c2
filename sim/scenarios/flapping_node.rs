//! `flapping-node`: a machine comes and goes, by its network or its agent. What runs on the others
//! is never touched, and in the end everything is as it should be.

use std::time::Duration;

use anyhow::{Result, ensure};
use logic::model::Allocation;

use super::web;
use crate::order::Order;
use crate::user::User;

const FLAPS: usize = 8;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 3).await?;
    let victim = placed[user.pick(placed.len())].node_name.clone();
    let kept: Vec<Allocation> = placed
        .into_iter()
        .filter(|alloc| alloc.node_name != victim)
        .collect();
    let starts = web::starts(&user, &kept)?;
    let mut others = [user.size.server_names(), user.size.client_names()].concat();
    others.retain(|host| *host != victim);
    let by_agent = user.random.below(2) == 0;
    for _ in 0..FLAPS {
        let (down, up) = if by_agent {
            let host = victim.clone();
            (Order::KillAgent(host.clone()), Order::StartAgent(host))
        } else {
            let cut = Order::Partition {
                a: vec![victim.clone()],
                b: others.clone(),
            };
            (cut, Order::Heal)
        };
        for order in [down, up] {
            user.order(order);
            let lasts = 300 + user.random.below(7_000);
            tokio::time::sleep(Duration::from_millis(lasts)).await;
        }
        web::undisturbed(&user, &kept, &starts)?;
    }
    user.settled(Duration::from_secs(60)).await?;
    web::undisturbed(&user, &kept, &starts)?;
    let list = user.api("GET", "/v1/job/web/allocations", None).await?;
    let made = list.as_array().map_or(0, Vec::len);
    ensure!(made <= 3 * (FLAPS + 1), "{made} allocations were made");
    Ok(())
}
