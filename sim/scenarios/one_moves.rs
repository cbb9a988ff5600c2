//! `one-instance-moves`: a service has one instance. A user stops it, then its machine is emptied,
//! and the leader may die meanwhile: it moves, and visitors notice nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logic::model::Allocation;
use serde_json::json;

use super::web::{self, Visitor};
use crate::order::Order;
use crate::user::User;

/// The one that comes has to be well for ten seconds.
const MOVED_WITHIN: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(5);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 1).await?;
    let first = placed.into_iter().next().context("none runs")?;
    let visitors = Visitor::on_each(&user, &user.size.client_names());

    user.say("the instance is to be stopped");
    let path = format!("/v1/allocation/{}/stop", first.id);
    user.api("PUT", &path, None).await?;
    let second = moved(&user, &first).await?;

    let node = second.node_name.clone();
    user.say(&format!("{node} is to be emptied"));
    let nodes = user.ready_nodes().await?;
    let id = nodes.iter().find(|ready| ready.name == node);
    let id = id.context("its node isn't ready")?.id.clone();
    let minutes = 60_000_000_000_i64 * 10;
    let asked = json!({ "DrainSpec": { "Deadline": minutes, "IgnoreSystemJobs": false } });
    let path = format!("/v1/node/{id}/drain");
    user.api("PUT", &path, Some(&asked)).await?;
    leader_dies(&user).await?;
    let third = moved(&user, &second).await?;
    ensure!(third.node_name != node, "it is still on {node}");
    user.eventually("the machine is empty", MOVED_WITHIN, || async {
        let shown = user.api("GET", &format!("/v1/node/{id}"), None).await?;
        ensure!(shown["Drain"] == false, "it is still being emptied");
        Ok(())
    })
    .await?;
    for visitor in visitors {
        visitor.finish().await?;
    }
    let eligible = json!({ "NodeID": id, "Eligibility": "eligible" });
    let path = format!("/v1/node/{id}/eligibility");
    user.api("PUT", &path, Some(&eligible)).await?;
    user.settled(Duration::from_secs(30)).await
}

/// Waits until another instance runs alone, and everybody knows it.
async fn moved(user: &User, old: &Allocation) -> Result<Allocation> {
    let new = user.eventually("the instance has moved", MOVED_WITHIN, || async {
        let running = user.running("web").await?;
        ensure!(running.len() == 1, "{} run", running.len());
        let new = running.into_iter().next().context("none runs")?;
        ensure!(new.id != old.id, "it is the old one");
        Ok(new)
    });
    let new = new.await?;
    for host in user.size.client_names() {
        let ports = web::ports(std::slice::from_ref(&new));
        web::known(user, &host, &ports, SOON).await?;
    }
    Ok(new)
}

async fn leader_dies(user: &User) -> Result<()> {
    if user.size.servers < 3 || user.random.below(2) == 0 {
        return Ok(());
    }
    tokio::time::sleep(Duration::from_millis(user.random.below(15_000))).await;
    let leader = user.leader()?;
    user.order(Order::KillAgent(leader.clone()));
    user.another_leader(&leader, Duration::from_secs(20))
        .await?;
    user.order(Order::StartAgent(leader));
    Ok(())
}
