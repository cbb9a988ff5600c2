//! `walkthrough`: the text's eight job files on its three hosts, each server and client, with edges
//! that come as a job. Then a container is killed, a host loses power, and the leader dies: whoever
//! asks for a site goes on being answered.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logic::model::Allocation;

use self::visitors::{SITES, Visitors};
use crate::order::Order;
use crate::user::{User, only_task};

mod visitors;

const JOBS: [(&str, &str); 8] = [
    job_file!("httpbackend-1"),
    job_file!("fabio"),
    job_file!("httpbackend-2"),
    job_file!("fabio-2"),
    job_file!("httpsbackend-upstreamhttps"),
    job_file!("httpsbackend-tcp"),
    job_file!("httpsbackend-tcp-sni-1"),
    job_file!("httpsbackend-tcp-sni-2"),
];

const SOON: Duration = Duration::from_secs(30);
/// From the first sign of trouble until no name leads there any more.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// A restart waits 15 s, and up to a quarter longer; then its check has to pass.
const RESTARTED_WITHIN: Duration = Duration::from_millis(18_750 + 3_000);
/// A silent node's lease, time to place its allocations elsewhere, to pull their images and to
/// start them.
const REPLACED_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn story(user: User) -> Result<()> {
    user.ready().await?;
    deploy(&user).await?;
    let visitors = Visitors::start(&user, &user.size.client_names());
    tokio::time::sleep(Duration::from_secs(2)).await;
    container_killed(&user).await?;
    visitors.finish().await?;
    host_lost(&user).await?;
    leader_dies(&user).await?;
    stopped(&user).await
}

/// Chapters two to four: each job as it comes in the text, and what is to be seen of it.
async fn deploy(user: &User) -> Result<()> {
    let hosts = user.size.client_names();
    let [first, fabio, second, fabio_2, rest @ ..] = &JOBS;
    run(user, first, "httpbackend", 2).await?;
    let placed = user.running("httpbackend").await?;
    for host in &hosts {
        named(user, host, "httpbackend", &ports(&placed), SOON).await?;
    }
    run(user, fabio, "fabio", hosts.len()).await?;
    for host in &hosts {
        answered(user, host, 404, SOON).await?;
    }
    run(user, second, "httpbackend", 2).await?;
    let ids = |allocs: &[Allocation]| -> BTreeSet<String> {
        allocs.iter().map(|alloc| alloc.id.clone()).collect()
    };
    let changed = user.running("httpbackend").await?;
    ensure!(
        ids(&placed) == ids(&changed),
        "a route and a check moved allocations"
    );
    for host in &hosts {
        answered(user, host, 200, SOON).await?;
    }
    run(user, fabio_2, "fabio", hosts.len()).await?;
    for (file, name) in rest.iter().zip(SITES[1..].iter().map(|site| site.service)) {
        run(user, file, name, 2).await?;
    }
    for host in &hosts {
        for site in SITES {
            user.eventually_quietly(
                &format!("{} through {host}", site.service),
                SOON,
                || async {
                    let answer = site.ask(user, host).await?;
                    ensure!(
                        answer.status == 200 && answer.body == site.body(),
                        "{answer:?}"
                    );
                    Ok(())
                },
            )
            .await?;
        }
    }
    Ok(())
}

async fn run(user: &User, (file, text): &(&str, &str), job: &str, count: usize) -> Result<()> {
    user.run_job(file, text).await?;
    let version = user.api("GET", &format!("/v1/job/{job}"), None).await?["Version"].as_u64();
    user.eventually(&format!("{file} runs"), SOON, || async {
        let running = user.running(job).await?;
        let current = |alloc: &&Allocation| Some(alloc.job_version()) == version;
        let current = running.iter().filter(current).count();
        ensure!(current == count && running.len() == count, "{current} run");
        Ok(())
    })
    .await
}

async fn answered(user: &User, host: &str, status: u16, within: Duration) -> Result<()> {
    user.eventually(
        &format!("the edge of {host} answers {status}"),
        within,
        || async {
            let got = user.through_edge(host, "mysite.com:9999").await?.status;
            ensure!(got == status, "it answers {got}");
            Ok(())
        },
    )
    .await
}

/// DNS on `host` names exactly these ports of a service.
async fn named(
    user: &User,
    host: &str,
    service: &str,
    ports: &BTreeSet<u16>,
    within: Duration,
) -> Result<()> {
    let name = format!("{service}.service.dc1.consul.");
    user.eventually(
        &format!("DNS on {host} names {ports:?}"),
        within,
        || async {
            let named = user.srv(host, &name).await?;
            let named: BTreeSet<u16> = named.into_iter().map(|(port, _)| port).collect();
            ensure!(named == *ports, "it names {named:?}");
            Ok(())
        },
    )
    .await
}

fn ports(allocs: &[Allocation]) -> BTreeSet<u16> {
    let ports = allocs.iter().flat_map(Allocation::ports);
    ports.map(|(_, port)| port.value).collect()
}

/// One of two containers of a service: it leaves DNS at once, and comes back after its delay.
async fn container_killed(user: &User) -> Result<()> {
    let running = user.running("httpbackend").await?;
    let victim = running[user.pick(running.len())].clone();
    let others: Vec<_> = running
        .iter()
        .filter(|alloc| alloc.id != victim.id)
        .cloned()
        .collect();
    user.order(Order::Kill {
        host: victim.node_name.clone(),
        key: only_task(&victim)?,
    });
    for host in user.size.client_names() {
        named(user, &host, "httpbackend", &ports(&others), GONE_WITHIN).await?;
    }
    for host in user.size.client_names() {
        named(
            user,
            &host,
            "httpbackend",
            &ports(&running),
            RESTARTED_WITHIN,
        )
        .await?;
    }
    Ok(())
}

/// A host with all it runs, its edge too. Whoever comes by another edge notices nothing.
async fn host_lost(user: &User) -> Result<()> {
    let leader = user.leader()?;
    let mut hosts = user.size.client_names();
    hosts.retain(|host| *host != leader);
    let victim = hosts[user.pick(hosts.len())].clone();
    let left = others(user, &victim);
    let visitors = Visitors::start(user, &left);
    user.order(Order::Crash(victim.clone()));
    gone(user, &victim, &left).await?;
    whole_without(user, &victim).await?;
    visitors.finish().await?;
    user.order(Order::Bounce(victim));
    whole(user).await
}

/// The leader's agent is killed; what its host runs goes on, and so do all edges.
async fn leader_dies(user: &User) -> Result<()> {
    let leader = user.leader()?;
    let visitors = Visitors::start(user, &user.size.client_names());
    user.order(Order::KillAgent(leader.clone()));
    user.another_leader(&leader, SOON).await?;
    let service = JOBS[0];
    // Changes are taken: a job that is registered as it is.
    let again = user.run_job(service.0, JOBS[2].1);
    again.await?;
    user.order(Order::StartAgent(leader));
    whole(user).await?;
    visitors.finish().await
}

fn others(user: &User, host: &str) -> Vec<String> {
    let mut others = user.size.client_names();
    others.retain(|other| other != host);
    others
}

/// No name leads to what a lost host ran.
async fn gone(user: &User, victim: &str, left: &[String]) -> Result<()> {
    let began = user.now();
    for site in SITES {
        let running = user.running(site.service).await?;
        let lost: Vec<_> = running
            .into_iter()
            .filter(|alloc| alloc.node_name == victim)
            .collect();
        let lost = ports(&lost);
        let name = format!("{}.service.dc1.consul.", site.service);
        for host in left {
            let within = GONE_WITHIN.saturating_sub(user.now().saturating_sub(began));
            let what = format!("DNS on {host} has left {victim}'s {}", site.service);
            user.eventually(&what, within, || async {
                let named = user.srv(host, &name).await?;
                let still = named.iter().find(|(port, _)| lost.contains(port));
                ensure!(still.is_none(), "it names {still:?}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

/// Every service runs as often as it should, elsewhere.
async fn whole_without(user: &User, victim: &str) -> Result<()> {
    for site in SITES {
        let what = format!("{} is whole again", site.service);
        user.eventually(&what, REPLACED_WITHIN, || async {
            let running = user.running(site.service).await?;
            ensure!(running.len() == 2, "{} run", running.len());
            ensure!(running.iter().all(|alloc| alloc.node_name != victim));
            for host in others(user, victim) {
                let name = format!("{}.service.dc1.consul.", site.service);
                let named = user.srv(&host, &name).await?;
                let named: BTreeSet<u16> = named.into_iter().map(|(port, _)| port).collect();
                ensure!(named == ports(&running), "DNS on {host} names {named:?}");
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// All hosts run what they should, an edge each, and every edge leads everywhere.
async fn whole(user: &User) -> Result<()> {
    user.settled(SOON).await?;
    for host in user.size.client_names() {
        for site in SITES {
            let what = format!("{} through {host}", site.service);
            user.eventually_quietly(&what, SOON, || async {
                let answer = site.ask(user, &host).await?;
                ensure!(answer.status == 200, "{answer:?}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn stopped(user: &User) -> Result<()> {
    for job in SITES.map(|site| site.service).into_iter().chain(["fabio"]) {
        user.api("DELETE", &format!("/v1/job/{job}"), None).await?;
    }
    user.eventually("nothing runs any more", SOON, || async {
        for host in user.size.client_names() {
            let running = user.sight.machine(&host)?.running();
            ensure!(running.is_empty(), "{host} runs {running:?}");
            let named = user.srv(&host, "httpbackend.service.dc1.consul.").await?;
            ensure!(named.is_empty(), "DNS on {host} names {named:?}");
        }
        Ok(())
    })
    .await
    .context("after all jobs were stopped")
}
