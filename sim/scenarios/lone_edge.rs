//! An edge that is a program of its own, beside one agent's catalog, which it loses and finds
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::edge::standalone::{self, Standalone};
use anyhow::{Context, Result, anyhow, ensure};
use logic::fabio;

use super::web;
use crate::cluster::USER;
use crate::order::Order;
use crate::user::User;
use crate::world::{SimHost, world};

/// Whose catalog it follows.
const CATALOG: &str = "client-1";
const SOON: Duration = Duration::from_secs(30);
/// How long the catalog is away.
const AWAY: Duration = Duration::from_secs(20);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let machine = SimHost::new(USER, user.random.next_u64());
    machine.boot();
    let edge = start(&machine).await?;
    let placed = web::run(&user, 2).await?;
    leads_to(&user, &edge, &web::ports(&placed)).await?;
    web::passed_on(&user, USER).await?;

    user.say("its catalog's agent dies: what it knows stays");
    user.order(Order::KillAgent(CATALOG.to_owned()));
    let visitor = web::Visitor::start(&user, USER);
    tokio::time::sleep(AWAY).await;
    visitor.finish().await?;
    user.order(Order::StartAgent(CATALOG.to_owned()));
    user.ready().await?;

    user.say("what changes then is known to it");
    let placed = web::run(&user, 3).await?;
    leads_to(&user, &edge, &web::ports(&placed)).await?;
    edge.stop().await;
    Ok(())
}

async fn start(machine: &SimHost) -> Result<Standalone> {
    let arguments = [
        "-proxy.addr=:9999;proto=http,:9997;proto=tcp".to_owned(),
        format!("-registry.consul.addr={CATALOG}:8500"),
        "-registry.consul.register.enabled=false".to_owned(),
    ];
    let configured = fabio::typed(&arguments)
        .and_then(|typed| fabio::configured(&typed, &BTreeMap::new(), None));
    let (fabio, _) = configured.map_err(|why| anyhow!(why))?;
    let started = standalone::start(&world(machine), &fabio).await;
    started.context("the edge doesn't start")
}

/// Its table leads to exactly these ports, and a request through it is answered.
async fn leads_to(user: &User, edge: &Standalone, ports: &BTreeSet<u16>) -> Result<()> {
    let what = format!("the edge leads to {ports:?}");
    user.eventually(&what, SOON, || async {
        let rows = edge.edge.table.load().rows();
        let port = |dst: &str| dst.trim_end_matches('/').rsplit(':').next()?.parse().ok();
        let led: BTreeSet<u16> = rows.iter().filter_map(|row| port(&row.dst)).collect();
        ensure!(led == *ports, "it leads to {led:?}");
        Ok(())
    })
    .await?;
    let answer = user.through_edge(USER, web::SITE).await?;
    ensure!(answer.status == 200, "through the edge: {answer:?}");
    Ok(())
}
