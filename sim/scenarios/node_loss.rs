//! `node-loss`: a machine with an instance loses power. It is gone from DNS and routes at once,
//! its replacement passes soon, and nothing else is touched. The machine comes back, and nothing
//! moves.

use std::time::Duration;

use anyhow::{Result, ensure};
use logic::model::Allocation;

use super::web;
use crate::order::Order;
use crate::user::User;

const GONE_WITHIN: Duration = Duration::from_secs(3);
const REPLACED_WITHIN: Duration = Duration::from_secs(8);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 3).await?;
    let victim = placed[user.pick(placed.len())].node_name.clone();
    let (lost, kept): (Vec<Allocation>, Vec<Allocation>) = placed
        .into_iter()
        .partition(|alloc| alloc.node_name == victim);
    let starts = web::starts(&user, &kept)?;
    user.say(&format!("{victim} loses power"));
    user.order(Order::Crash(victim.clone()));
    let began = user.now();
    let mut others = user.size.client_names();
    others.retain(|host| *host != victim);
    for host in &others {
        let so_far = user.now().saturating_sub(began);
        let left = GONE_WITHIN.saturating_sub(so_far);
        web::gone(&user, host, &web::ports(&lost), left).await?;
    }
    let left = REPLACED_WITHIN.saturating_sub(user.now().saturating_sub(began));
    let running = user
        .eventually("replacements run", left, || async {
            let running = user.running("web").await?;
            ensure!(running.len() == 3, "{} run", running.len());
            ensure!(running.iter().all(|alloc| alloc.node_name != victim));
            Ok(running)
        })
        .await?;
    for host in &others {
        let so_far = user.now().saturating_sub(began);
        let left = REPLACED_WITHIN.saturating_sub(so_far);
        web::known(&user, host, &web::ports(&running), left).await?;
        web::passed_on(&user, host).await?;
    }
    user.say(&format!(
        "replaced after {:?}",
        user.now().saturating_sub(began)
    ));
    web::undisturbed(&user, &kept, &starts)?;
    let starts = web::starts(&user, &running)?;
    user.order(Order::Bounce(victim));
    user.settled(Duration::from_secs(30)).await?;
    web::undisturbed(&user, &running, &starts)
}
