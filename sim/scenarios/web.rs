//! A service with a route that several stories watch: where DNS and the edges lead, and whether
//! its instances stay where they are.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use logic::model::Allocation;
use ports::TaskKey;
use tokio::task::JoinHandle;

use crate::user::{User, only_task};

const IMAGE: &str = "bigwhite/httpbackendservice:v1.0.0";
pub(super) const SITE: &str = "web.example";
const NAME: &str = "web.service.dc1.consul.";
const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

fn file(count: usize, image: &str, update: &str) -> String {
    format!(
        r#"
job "web" {{
  datacenters = ["dc1"]
{update}
  group "web" {{
    count = {count}
    restart {{
      attempts = 10
      interval = "10m"
      delay    = "1s"
      mode     = "delay"
    }}
    ephemeral_disk {{
      size = 10
    }}
    task "web" {{
      driver = "docker"
      config {{
        image = "{image}"
        port_map {{
          http = 8081
        }}
      }}
      resources {{
        cpu    = 100
        memory = 64
        network {{
          port "http" {{}}
        }}
      }}
      service {{
        name = "web"
        tags = ["urlprefix-{SITE}/", "urlprefix-:9997 proto=tcp"]
        port = "http"
        check {{
          type     = "http"
          path     = "/"
          interval = "2s"
          timeout  = "1s"
        }}
      }}
    }}
  }}
}}
"#
    )
}

/// Registers the job with this image, to be updated as `update` says.
pub(super) async fn deploy(user: &User, count: usize, image: &str, update: &str) -> Result<()> {
    let update = format!("  update {{{update}\n  }}");
    user.run_job("web.nomad", &file(count, image, &update))
        .await?;
    Ok(())
}

/// Registers the job, and waits until every client's DNS knows all instances.
pub(super) async fn run(user: &User, count: usize) -> Result<Vec<Allocation>> {
    user.run_job("web.nomad", &file(count, IMAGE, "")).await?;
    let soon = Duration::from_secs(30);
    let placed = user.eventually("all instances run", soon, || async {
        let running = user.running("web").await?;
        ensure!(running.len() == count, "{} run", running.len());
        Ok(running)
    });
    let placed = placed.await?;
    let expected = ports(&placed);
    for host in user.size.client_names() {
        known(user, &host, &expected, soon).await?;
        passed_on(user, &host).await?;
    }
    Ok(placed)
}

/// The edge of `host` passes connections on to an instance that answers. DNS and routes come from
/// the same replica: it does so as soon as DNS is right.
pub(super) async fn passed_on(user: &User, host: &str) -> Result<()> {
    let answer = user.through_tcp(host).await?;
    ensure!(answer.status == 200, "through {host} over TCP: {answer:?}");
    Ok(())
}

pub(super) fn ports(allocs: &[Allocation]) -> BTreeSet<u16> {
    let ports = allocs.iter().flat_map(Allocation::ports);
    ports.map(|(_, port)| port.value).collect()
}

/// DNS on `host` names exactly these ports; returns how long that took.
pub(super) async fn known(
    user: &User,
    host: &str,
    ports: &BTreeSet<u16>,
    within: Duration,
) -> Result<Duration> {
    let began = user.now();
    let what = format!("DNS on {host} names {ports:?}");
    user.eventually_quietly(&what, within, || async {
        let named = user.srv(host, NAME).await?;
        let named: BTreeSet<u16> = named.into_iter().map(|(port, _)| port).collect();
        ensure!(named == *ports, "it names {named:?}");
        Ok(user.now().saturating_sub(began))
    })
    .await
}

/// DNS on `host` names none of these ports any more; returns how long that took.
pub(super) async fn gone(
    user: &User,
    host: &str,
    ports: &BTreeSet<u16>,
    within: Duration,
) -> Result<Duration> {
    let began = user.now();
    let what = format!("DNS on {host} doesn't name {ports:?}");
    user.eventually(&what, within, || async {
        let named = user.srv(host, NAME).await?;
        let left = named.iter().find(|(port, _)| ports.contains(port));
        ensure!(left.is_none(), "it names {left:?}");
        Ok(user.now().saturating_sub(began))
    })
    .await
}

/// How often each instance's task was started, by its key.
pub(super) fn starts(user: &User, allocs: &[Allocation]) -> Result<BTreeMap<TaskKey, u64>> {
    let mut starts = BTreeMap::new();
    for alloc in allocs {
        let (key, machine) = (only_task(alloc)?, user.sight.machine(&alloc.node_name)?);
        ensure!(
            machine.running().contains(&key),
            "{key} doesn't run on {}",
            alloc.node_name
        );
        starts.insert(key.clone(), machine.starts(&key));
    }
    Ok(starts)
}

/// The very same containers still run, as `starts` found them.
pub(super) fn undisturbed(
    user: &User,
    allocs: &[Allocation],
    before: &BTreeMap<TaskKey, u64>,
) -> Result<()> {
    let now = starts(user, allocs)?;
    ensure!(
        now == *before,
        "tasks were started again: {before:?}, now {now:?}"
    );
    Ok(())
}

/// Somebody who asks for the site all the time, through one host's edge, until stopped.
pub(super) struct Visitor {
    over: Rc<Cell<bool>>,
    visiting: JoinHandle<Result<u64>>,
}

impl Visitor {
    /// One on each of these hosts.
    pub(super) fn on_each(user: &User, hosts: &[String]) -> Vec<Self> {
        hosts.iter().map(|host| Self::start(user, host)).collect()
    }

    /// Every request has to be answered well.
    pub(super) fn start(user: &User, host: &str) -> Self {
        let over = Rc::<Cell<bool>>::default();
        let (user, host, end) = (user.clone(), host.to_owned(), over.clone());
        let visiting = tokio::task::spawn_local(async move {
            let mut answers = 0;
            while !end.get() {
                let answer = user.through_edge(&host, SITE).await;
                let answer = answer.with_context(|| format!("a request through {host}"))?;
                if answer.status != 200 {
                    bail!("at {:?} a request through {host}: {answer:?}", user.now());
                }
                answers += 1;
                tokio::time::sleep(BETWEEN_REQUESTS).await;
            }
            Ok(answers)
        });
        Self { over, visiting }
    }

    /// Fails if a request did.
    pub(super) async fn finish(self) -> Result<()> {
        self.over.set(true);
        let answers = self.visiting.await.context("a visitor panicked")??;
        ensure!(answers > 0, "a visitor asked for nothing");
        Ok(())
    }
}
