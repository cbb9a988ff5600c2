//! `beside-a-consul`: agents register what runs in a Consul that isn't theirs. It restarts, is cut
//! off and forgets, agents die and containers are killed; in the end it has what runs and nothing
//! else of theirs, others' services were never touched, and nobody who asked noticed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::web::{self, Visitor};
use crate::consul::NAME;
use crate::order::Order;
use crate::user::{User, only_task};

const ADDRESS: &str = "consul:8500";
/// Agents that found it away look again within half a minute.
const FOUND_AGAIN: Duration = Duration::from_secs(45);
const SOON: Duration = Duration::from_secs(15);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    let others = others_register(&user).await?;
    let placed = web::run(&user, 3).await?;
    kept(&user, &others, SOON).await?;
    let starts = web::starts(&user, &placed)?;
    let watcher = user.size.client_names().remove(0);
    let visitor = Visitor::start(&user, &watcher);

    user.say("the Consul restarts");
    user.order(Order::Crash(NAME.to_owned()));
    pause(&user, 8_000).await;
    user.order(Order::Bounce(NAME.to_owned()));
    kept(&user, &others, FOUND_AGAIN).await?;

    forgotten(&user).await?;
    kept(&user, &others, SOON).await?;
    visitor.finish().await?;

    // What can't be reached doesn't pass: visitors notice this one.
    user.say("the Consul is cut off");
    let agents = [user.size.client_names(), user.size.server_names()].concat();
    user.order(Order::Partition {
        a: vec![NAME.to_owned()],
        b: agents.clone(),
    });
    pause(&user, 20_000).await;
    user.order(Order::Heal);
    kept(&user, &others, FOUND_AGAIN).await?;

    web::undisturbed(&user, &placed, &starts)?;

    agents_change(&user, &others, &agents).await?;
    withdrawn_before_its_end(&user).await?;
    web::run(&user, 2).await?;
    kept(&user, &others, SOON).await?;
    stopped_while_away(&user, &others).await
}

/// What fate has time for.
async fn pause(user: &User, up_to_millis: u64) {
    let millis = 200 + user.random.below(up_to_millis);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Containers and agents end, and come back.
async fn agents_change(user: &User, others: &BTreeSet<String>, agents: &[String]) -> Result<()> {
    let running = user.running("web").await?;
    let victim = &running[user.pick(running.len())];
    user.say(&format!("kill the container of {}", victim.name));
    user.order(Order::Kill {
        host: victim.node_name.clone(),
        key: only_task(victim)?,
    });
    pause(user, 3_000).await;
    let agent = &agents[user.pick(agents.len())];
    user.say(&format!("the agent of {agent} dies, and starts again"));
    user.order(Order::KillAgent(agent.clone()));
    pause(user, 3_000).await;
    user.order(Order::StartAgent(agent.clone()));
    user.ready().await?;
    user.settled(FOUND_AGAIN).await?;
    kept(user, others, FOUND_AGAIN).await
}

/// A job is stopped: nobody finds a task in the Consul that has ended.
async fn withdrawn_before_its_end(user: &User) -> Result<()> {
    let placed = user.running("web").await?;
    user.api("DELETE", "/v1/job/web", None).await?;
    let began = user.now();
    loop {
        let listed = asked(user, "/v1/agent/services").await?;
        let mut left = 0;
        for alloc in &placed {
            if listed[task_id(&alloc.id)].is_object() {
                left += 1;
                let machine = user.sight.machine(&alloc.node_name)?;
                let runs = machine.running().contains(&only_task(alloc)?);
                ensure!(runs, "{} has ended, and is in the Consul", alloc.name);
            }
        }
        if left == 0 {
            return user.settled(SOON).await;
        }
        ensure!(
            user.now().saturating_sub(began) < SOON,
            "{left} are in the Consul still"
        );
    }
}

fn task_id(alloc: &str) -> String {
    format!("_nomad-task-{alloc}-web-web-http")
}

/// A job that is stopped while the Consul is away leaves nothing there.
async fn stopped_while_away(user: &User, others: &BTreeSet<String>) -> Result<()> {
    user.order(Order::Crash(NAME.to_owned()));
    pause(user, 3_000).await;
    user.api("DELETE", "/v1/job/web", None).await?;
    user.settled(SOON).await?;
    user.order(Order::Bounce(NAME.to_owned()));
    kept(user, others, FOUND_AGAIN).await?;
    let left = asked(user, "/v1/agent/services").await?;
    let left = left.as_object().context("no services")?;
    let task = left
        .keys()
        .find(|id| id.starts_with("_nomad-task-") && !others.contains(*id));
    ensure!(task.is_none(), "{task:?} is left of a stopped job");
    Ok(())
}

/// Other software's services, some of which look like ours.
async fn others_register(user: &User) -> Result<BTreeSet<String>> {
    let mut others = BTreeSet::new();
    for (id, meta) in [
        ("db", json!({})),
        (
            "_nomad-task-0f7e-of-a-nomad-web-http",
            json!({ "external-source": "nomad" }),
        ),
        (
            "_nomad-task-1f7e-of-another-agent",
            json!({ "drover-agent": "elsewhere:4646" }),
        ),
    ] {
        let body = json!({ "ID": id, "Name": "web", "Port": 1, "Meta": meta });
        let path = "/v1/agent/service/register";
        let answer = user.http(ADDRESS, "PUT", path, NAME, Some(&body)).await?;
        ensure!(answer.status == 200, "{answer:?}");
        others.insert(id.to_owned());
    }
    Ok(others)
}

/// All that the agents registered is lost.
async fn forgotten(user: &User) -> Result<()> {
    user.say("the Consul forgets what the agents registered");
    let services = asked(user, "/v1/agent/services").await?;
    for (id, service) in services.as_object().context("no services")? {
        if service["Meta"]["drover-agent"].is_string() && !id.contains("another-agent") {
            let path = format!("/v1/agent/service/deregister/{id}");
            user.http(ADDRESS, "PUT", &path, NAME, None).await?;
        }
    }
    Ok(())
}

async fn asked(user: &User, path: &str) -> Result<Value> {
    let answer = user.http(ADDRESS, "GET", path, NAME, None).await?;
    ensure!(answer.status == 200, "{path}: {answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

/// The Consul has what runs, all of it passing, and what others registered.
async fn kept(user: &User, others: &BTreeSet<String>, within: Duration) -> Result<()> {
    user.eventually("the Consul has what runs", within, || async {
        let services = asked(user, "/v1/agent/services").await?;
        let services = services.as_object().context("no services")?;
        let ids: BTreeSet<String> = services.keys().cloned().collect();
        let lost = others.difference(&ids).next();
        ensure!(lost.is_none(), "another's {lost:?} is gone");
        let agents = ids
            .iter()
            .filter(|id| !id.starts_with("_nomad-task-") && !others.contains(*id));
        let (agents, wanted) = (agents.count(), user.size.servers * 3 + user.size.clients);
        ensure!(
            agents == wanted,
            "{agents} services of agents instead of {wanted}"
        );
        let tasks: BTreeSet<String> = ids
            .iter()
            .filter(|id| id.starts_with("_nomad-task-") && !others.contains(*id))
            .cloned()
            .collect();
        let running = user.running("web").await.unwrap_or_default();
        let running: BTreeSet<String> = running.iter().map(|alloc| task_id(&alloc.id)).collect();
        ensure!(
            tasks == running,
            "{tasks:?} are registered, {running:?} run"
        );
        let checks = asked(user, "/v1/agent/checks").await?;
        let checks = checks.as_object().context("no checks")?;
        let bad = checks.values().find(|check| check["Status"] != "passing");
        ensure!(bad.is_none(), "{bad:?}");
        ensure!(
            checks.len() == agents + tasks.len(),
            "{} checks",
            checks.len()
        );
        Ok(())
    })
    .await
}
