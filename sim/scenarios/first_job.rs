//! `first-job`: the walk-through's httpbackend-2 on one server and three clients. A container is
//! killed and comes back after its delay; a machine loses power and its allocation moves; the
//! machine comes back and nothing runs twice; the job is stopped and nothing is left.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use logic::model::Allocation;

use crate::order::Order;
use crate::user::{User, only_task};

const JOB: &str = include_str!("../../docs/jobs/walkthrough/httpbackend-2.nomad");
const SITE: &str = "mysite.com:9999";
const SERVICE: &str = "httpbackend.service.dc1.consul.";
const BODY: &str = "this is httpbackendservice, version: v1.0.0\n";
const CLIENTS: [&str; 3] = ["client-1", "client-2", "client-3"];

/// A restart waits 15 s, and up to a quarter longer.
const RESTART_DELAY: Duration = Duration::from_secs(15);
const RESTART_WITHIN: Duration = Duration::from_millis(18_750 + 3_000);
/// A silent node's lease, and time to notice and to place its allocation elsewhere.
const LOSS_WITHIN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(10);

pub(super) async fn story(user: User) -> Result<()> {
    user.eventually("three nodes are ready", SOON, || async {
        let ready = user.ready_nodes().await?.len();
        ensure!(ready == 3, "{ready} are");
        Ok(())
    })
    .await?;
    user.run_job("httpbackend-2.nomad", JOB).await?;
    let placed = two_run(&user, SOON).await?;
    ensure!(
        placed[0].node_id != placed[1].node_id,
        "both allocations are on one node"
    );
    reachable(&user, &CLIENTS, &placed, SOON).await?;
    shown(&user, &placed).await?;

    container_killed(&user).await?;
    machine_lost(&user).await?;
    job_stopped(&user).await
}

async fn two_run(user: &User, within: Duration) -> Result<Vec<Allocation>> {
    user.eventually("two allocations run", within, || async {
        let running = user.running("httpbackend").await?;
        ensure!(running.len() == 2, "{} run", running.len());
        Ok(running)
    })
    .await
}

/// DNS and edge of each host know exactly these allocations.
async fn reachable(
    user: &User,
    hosts: &[&str],
    allocs: &[Allocation],
    within: Duration,
) -> Result<()> {
    let mut ports: Vec<u16> = allocs
        .iter()
        .flat_map(|alloc| alloc.ports().map(|(_, port)| port.value))
        .collect();
    ports.sort_unstable();
    for host in hosts {
        let what = format!("DNS on {host} names {} instances", ports.len());
        user.eventually(&what, within, || async {
            let named = user.srv(host, SERVICE).await?;
            let named: Vec<u16> = named.into_iter().map(|(port, _)| port).collect();
            let mut sorted = named.clone();
            sorted.sort_unstable();
            ensure!(sorted == ports, "it names {named:?}, not {ports:?}");
            Ok(())
        })
        .await?;
        // DNS and routes come from the same replica: from here on no request may fail.
        answers(user, host, 4).await?;
    }
    Ok(())
}

/// The web page of every agent shows the job and its allocations, and hears of news.
async fn shown(user: &User, allocs: &[Allocation]) -> Result<()> {
    for host in ["server-1"].iter().chain(&CLIENTS) {
        let page = user.page(host, "/ui/jobs/httpbackend").await?;
        for alloc in allocs {
            ensure!(page.contains(&alloc.id), "{host} doesn't show {}", alloc.id);
        }
        user.page(host, "/ui/").await?;
    }
    Ok(())
}

async fn answers(user: &User, host: &str, times: usize) -> Result<()> {
    for _ in 0..times {
        let answer = user.through_edge(host, SITE).await?;
        ensure!(
            answer.status == 200 && answer.body == BODY,
            "the edge of {host}: {answer:?}"
        );
    }
    Ok(())
}

async fn container_killed(user: &User) -> Result<()> {
    let running = user.running("httpbackend").await?;
    let victim = &running[pick(user, running.len())];
    let others: Vec<_> = running
        .iter()
        .filter(|alloc| alloc.id != victim.id)
        .cloned()
        .collect();
    user.say(&format!(
        "kill the container of {} on {}",
        victim.name, victim.node_name
    ));
    user.order(Order::Kill {
        host: victim.node_name.clone(),
        key: only_task(victim)?,
    });
    let killed = user.now();
    reachable(user, &CLIENTS, &others, SOON).await?;

    let back = user.eventually("the container is back", RESTART_WITHIN, || async {
        let running = user.running("httpbackend").await?;
        let again = running.iter().find(|alloc| alloc.id == victim.id);
        let again = again.context("its allocation doesn't run")?;
        let restarts = again
            .task_states
            .values()
            .map(|state| state.restarts)
            .sum::<u64>();
        ensure!(restarts == 1, "{restarts} restarts");
        answers(user, CLIENTS[0], 1).await?;
        Ok(user.now())
    });
    let waited = back.await?.saturating_sub(killed);
    ensure!(
        waited >= RESTART_DELAY,
        "restarted after {waited:?}, before its delay was over"
    );
    let both = two_run(user, SOON).await?;
    reachable(user, &CLIENTS, &both, SOON).await
}

async fn machine_lost(user: &User) -> Result<()> {
    let running = user.running("httpbackend").await?;
    let victim = running[pick(user, running.len())].clone();
    let host = victim.node_name.clone();
    user.say(&format!("{host} loses power"));
    user.order(Order::Crash(host.clone()));
    let left: Vec<&str> = CLIENTS.into_iter().filter(|name| *name != host).collect();
    let moved = user.eventually("its allocation runs elsewhere", LOSS_WITHIN, || async {
        let running = user.running("httpbackend").await?;
        ensure!(running.len() == 2, "{} run", running.len());
        ensure!(
            running.iter().all(|alloc| alloc.node_name != host),
            "one runs on {host}"
        );
        Ok(running)
    });
    let moved = moved.await?;
    let successor = moved
        .iter()
        .find(|alloc| alloc.previous_allocation == victim.id);
    ensure!(successor.is_some(), "nobody succeeded {}", victim.id);
    reachable(user, &left, &moved, SOON).await?;

    user.say(&format!("{host} is powered on again"));
    user.order(Order::Bounce(host.clone()));
    user.eventually("three nodes are ready again", LOSS_WITHIN, || async {
        let ready = user.ready_nodes().await?.len();
        ensure!(ready == 3, "{ready} are");
        Ok(())
    })
    .await?;
    let same = two_run(user, SOON).await?;
    let ids = |allocs: &[Allocation]| {
        let mut ids: Vec<_> = allocs.iter().map(|alloc| alloc.id.clone()).collect();
        ids.sort();
        ids
    };
    ensure!(
        ids(&same) == ids(&moved),
        "the node's return moved allocations"
    );
    reachable(user, &CLIENTS, &same, SOON).await
}

async fn job_stopped(user: &User) -> Result<()> {
    let probing = CLIENTS.map(|host| tokio::task::spawn_local(probe(user.clone(), host)));
    user.api("DELETE", "/v1/job/httpbackend", None).await?;
    for probe in probing {
        probe.await.context("a probe panicked")??;
    }
    user.eventually("nothing runs any more", SOON, || async {
        let list = user
            .api("GET", "/v1/job/httpbackend/allocations", None)
            .await?;
        let list = list.as_array().context("no list")?;
        let ended = |status: &str| matches!(status, "complete" | "failed" | "lost");
        let alive = list
            .iter()
            .filter(|stub| !stub["ClientStatus"].as_str().is_some_and(ended));
        let alive = alive.count();
        ensure!(alive == 0, "{alive} live on");
        Ok(())
    })
    .await?;
    for host in CLIENTS {
        user.eventually(&format!("{host} has no route"), SOON, || async {
            let status = user.through_edge(host, SITE).await?.status;
            ensure!(status == 404, "the edge answers {status}");
            let named = user.srv(host, SERVICE).await?;
            ensure!(named.is_empty(), "DNS names {named:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A service that is stopped in order answers until it has no route: nobody sees an error.
async fn probe(user: User, host: &str) -> Result<()> {
    loop {
        let answer = user.through_edge(host, SITE).await?;
        match answer.status {
            200 => {}
            404 => return Ok(()),
            _ => bail!("while the job is stopped, the edge of {host} answers {answer:?}"),
        }
    }
}

fn pick(user: &User, count: usize) -> usize {
    usize::try_from(user.random.below(count as u64)).unwrap_or(0)
}
