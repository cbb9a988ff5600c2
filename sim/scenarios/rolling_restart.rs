//! `rolling-restart`: each server in turn is restarted, in one of three ways. Jobs, containers and
//! visitors notice nothing, and no node is down at any time.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::web::{self, Visitor};
use crate::load::Load;
use crate::order::Order;
use crate::user::User;

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let placed = web::run(&user, 3).await?;
    let starts = web::starts(&user, &placed)?;
    let visitors = Visitor::on_each(&user, &user.size.client_names());
    let load = Load::start(&user, 2);
    for server in user.size.server_names() {
        let host = server.clone();
        let (down, up) = match user.random.below(3) {
            0 => (Order::Crash(host.clone()), Order::Bounce(host)),
            1 => (Order::KillAgent(host.clone()), Order::StartAgent(host)),
            _ => (Order::LeaveAgent(host.clone()), Order::StartAgent(host)),
        };
        user.order(down);
        let away = 200 + user.random.below(6_000);
        tokio::time::sleep(Duration::from_millis(away)).await;
        user.order(up);
        user.caught_up(&server, Duration::from_secs(30)).await?;
        let ready = user.ready_nodes().await?.len();
        ensure!(ready == user.size.clients, "{ready} nodes are ready");
    }
    for visitor in visitors {
        visitor.finish().await?;
    }
    load.finish().await?;
    web::undisturbed(&user, &placed, &starts)?;
    user.settled(Duration::from_secs(60)).await
}
