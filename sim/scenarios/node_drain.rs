//! `node-drain`: a machine is emptied, and may lose its agent or its leader meanwhile. Visitors
//! notice nothing; the instances move one after the other, and what ran elsewhere is not touched.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::web::{self, Visitor};
use crate::order::Order;
use crate::user::User;

/// Each instance has to be well for ten seconds before the next one leaves.
const EMPTY_WITHIN: Duration = Duration::from_secs(90);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 4).await?;
    let node = placed[user.pick(placed.len())].node_name.clone();
    let nodes = user.ready_nodes().await?;
    let id = nodes.iter().find(|ready| ready.name == node);
    let id = id.context("its node isn't ready")?.id.clone();
    let (_, kept): (Vec<_>, Vec<_>) = placed
        .into_iter()
        .partition(|alloc| alloc.node_name == node);
    let starts = web::starts(&user, &kept)?;
    let mut others = user.size.client_names();
    others.retain(|host| *host != node);
    let visitors = Visitor::on_each(&user, &others);
    user.say(&format!("{node} is to be emptied"));
    let minutes = 60_000_000_000_i64 * 10;
    let asked = json!({ "DrainSpec": { "Deadline": minutes, "IgnoreSystemJobs": false } });
    let path = format!("/v1/node/{id}/drain");
    user.api("PUT", &path, Some(&asked)).await?;
    if user.size.servers > 1 && user.random.below(2) == 0 {
        let leader = user.leader()?;
        user.order(Order::KillAgent(leader.clone()));
        user.another_leader(&leader, Duration::from_secs(20))
            .await?;
        user.order(Order::StartAgent(leader));
    }
    let running = user
        .eventually("the machine is empty", EMPTY_WITHIN, || async {
            let shown = user.api("GET", &format!("/v1/node/{id}"), None).await?;
            ensure!(shown["Drain"] == false, "it is still being emptied");
            ensure!(shown["SchedulingEligibility"] == "ineligible");
            let running = user.running("web").await?;
            ensure!(running.len() == 4, "{} run", running.len());
            ensure!(running.iter().all(|alloc| alloc.node_name != node));
            Ok(running)
        })
        .await?;
    for host in &others {
        web::known(&user, host, &web::ports(&running), Duration::from_secs(5)).await?;
    }
    for visitor in visitors {
        visitor.finish().await?;
    }
    web::undisturbed(&user, &kept, &starts)?;
    let eligible = json!({ "NodeID": id, "Eligibility": "eligible" });
    let path = format!("/v1/node/{id}/eligibility");
    user.api("PUT", &path, Some(&eligible)).await?;
    user.settled(Duration::from_secs(30)).await
}
