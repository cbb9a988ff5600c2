//! Follows the job's instances from placed to healthy, and finds the reason if one doesn't get
//! there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use logic::model::{Allocation, CLIENT_FAILED, CLIENT_LOST, CLIENT_RUNNING, TaskState};
use serde_json::Value;

use super::ask::Api;
use super::screen::Screen;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How far an instance has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Placed,
    Running,
    Healthy,
}

pub(super) struct Instances<'a> {
    pub(super) nomad: &'a Api,
    pub(super) consul: &'a Api,
    pub(super) job: &'a str,
    pub(super) screen: &'a Screen,
}

impl Instances<'_> {
    /// Returns the allocations once `count` of them are healthy.
    pub(super) async fn healthy(
        &self,
        count: usize,
        deadline: Instant,
    ) -> anyhow::Result<Vec<Allocation>> {
        let mut stages = BTreeMap::new();
        loop {
            let allocs = self.allocations().await?;
            let passing = self.passing_ports().await?;
            for alloc in &allocs {
                self.advance(alloc, &passing, &mut stages);
            }
            let healthy = stages
                .values()
                .filter(|stage| **stage == Stage::Healthy)
                .count();
            if healthy >= count {
                return Ok(allocs);
            }
            if let Some(failed) = allocs
                .iter()
                .find(|alloc| [CLIENT_FAILED, CLIENT_LOST].contains(&alloc.client_status.as_str()))
            {
                bail!(
                    "{} has {}: {}",
                    short(&failed.name),
                    failed.client_status,
                    reason(failed)
                );
            }
            if Instant::now() > deadline {
                bail!("{}", late(&allocs, &stages, count));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn advance(&self, alloc: &Allocation, passing: &[u16], stages: &mut BTreeMap<String, Stage>) {
        let port = port(alloc);
        let reached = match alloc.client_status.as_str() {
            CLIENT_RUNNING if port.is_some_and(|port| passing.contains(&port)) => Stage::Healthy,
            CLIENT_RUNNING => Stage::Running,
            _ => Stage::Placed,
        };
        let before = stages.insert(alloc.id.clone(), reached);
        for stage in [Stage::Placed, Stage::Running, Stage::Healthy] {
            if before < Some(stage) && stage <= reached {
                self.screen.event(short(&alloc.name), &told(stage, alloc));
            }
        }
    }

    async fn allocations(&self) -> anyhow::Result<Vec<Allocation>> {
        let stubs: Vec<Value> = self
            .nomad
            .get(&format!("/v1/job/{}/allocations", self.job))
            .await?;
        let mut allocs: Vec<Allocation> = Vec::new();
        for stub in stubs {
            let id = stub["ID"].as_str().context("an allocation without an id")?;
            allocs.push(self.nomad.get(&format!("/v1/allocation/{id}")).await?);
        }
        allocs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(allocs)
    }

    async fn passing_ports(&self) -> anyhow::Result<Vec<u16>> {
        let path = format!("/v1/health/service/{}?passing=1", self.job);
        let instances: Vec<Value> = self.consul.get(&path).await?;
        let port = |instance: &Value| instance["Service"]["Port"].as_u64();
        Ok(instances
            .iter()
            .filter_map(port)
            .filter_map(|port| u16::try_from(port).ok())
            .collect())
    }

    /// Returns when none of them runs any more.
    pub(super) async fn ended(&self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let allocs = self.allocations().await?;
            let Some(running) = allocs.iter().find(|alloc| !alloc.client_terminal()) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                bail!(
                    "{} is still {}",
                    short(&running.name),
                    running.client_status
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn told(stage: Stage, alloc: &Allocation) -> String {
    match stage {
        Stage::Placed => {
            let port = port(alloc)
                .map(|port| format!(", port {port}"))
                .unwrap_or_default();
            format!("placed on {}{port}", alloc.node_name)
        }
        Stage::Running => "running".to_owned(),
        Stage::Healthy => "healthy: its check passes".to_owned(),
    }
}

fn port(alloc: &Allocation) -> Option<u16> {
    alloc.ports().next().map(|(_, port)| port.value)
}

/// `hello[0]` of `hello.hello[0]`.
pub(super) fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, name)| name)
}

/// What its task last said.
fn reason(alloc: &Allocation) -> String {
    let events = alloc
        .task_states
        .values()
        .flat_map(|state: &TaskState| &state.events);
    let last = events.max_by_key(|event| event.time);
    last.map_or_else(
        || "nothing has happened to its task yet".to_owned(),
        |event| event.display_message.clone(),
    )
}

fn late(allocs: &[Allocation], stages: &BTreeMap<String, Stage>, count: usize) -> String {
    let waiting = allocs.iter().find(|alloc| {
        stages
            .get(&alloc.id)
            .is_some_and(|stage| *stage < Stage::Healthy)
    });
    match waiting {
        Some(alloc) => {
            let name = short(&alloc.name);
            let status = &alloc.client_status;
            format!(
                "{name} isn't healthy in time: it is {status}; {}",
                reason(alloc)
            )
        }
        None => format!(
            "only {} of {count} instances were placed in time",
            allocs.len()
        ),
    }
}
