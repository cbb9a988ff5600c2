//! The `docker` driver: containers of a Docker Engine.

mod client;
mod follow;
mod image;
mod options;
mod request;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::errors::Error as ApiError;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerStatsResponse,
};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
    StatsOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use logic::model::DriverInfo;
use ports::errors::ContainersError;
use ports::{Asked, Exit, TaskKey, TaskSpec, TaskUsage};
use tokio::time::{sleep, timeout};

use crate::containers::Driver;
use crate::dirs::AllocDirs;
use crate::machine::mhz_per_core;

use client::{Client, is_missing};
use follow::Followers;
use image::Images;
use request::{ALLOC_LABEL, DIR_LABEL, TASK_LABEL};

/// How long to wait before asking an engine again that doesn't answer, at first and at most.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(4);

/// How long the engine may take to end a killed container.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the last output of an ended container may take to arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(3);

/// The exit code of a container ended by SIGKILL, and how long the engine may take to say that
/// it was for want of memory.
const KILLED: i64 = 137;
const REASON_WITHIN: Duration = Duration::from_millis(150);

/// How long asking for the engine's health may take.
const INFO_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    dirs: AllocDirs,
    client: Client,
    images: Images,
    followers: Followers,
    /// CPU time of each container when last looked at.
    samples: Mutex<BTreeMap<TaskKey, (Instant, u64)>>,
}

/// What the container of a task is called.
fn container_name(key: &TaskKey) -> String {
    format!("{}-{}", key.task, key.alloc_id)
}

impl Docker {
    pub(crate) fn new(dirs: AllocDirs, endpoint: &str) -> Self {
        Self {
            inner: Arc::new(Inner {
                dirs,
                client: Client::new(endpoint),
                images: Images::default(),
                followers: Followers::default(),
                samples: Mutex::default(),
            }),
        }
    }

    pub(crate) fn engine_exists(&self) -> bool {
        self.inner.client.engine_exists()
    }

    /// Stops copying the output of an allocation whose directories are about to go.
    pub(crate) fn stop_following(&self, alloc_id: &str) {
        self.inner.followers.stop_all(alloc_id);
    }
}

impl Inner {
    async fn inspect(
        &self,
        key: &TaskKey,
    ) -> Result<Option<ContainerInspectResponse>, ContainersError> {
        let engine = self.client.get().await?;
        match engine.inspect_container(&container_name(key), None).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.client.explain("inspecting a container", &error)),
        }
    }

    async fn remove(&self, key: &TaskKey) -> Result<(), ContainersError> {
        let engine = self.client.get().await?;
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let name = container_name(key);
        let removed = engine.remove_container(&name, Some(options)).await;
        self.followers.stop(key);
        self.samples().remove(key);
        match removed {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            // Somebody else removes it already: wait until they have.
            Err(ApiError::DockerResponseServerError {
                status_code: 409, ..
            }) => {
                let gone = async {
                    while self.inspect(key).await?.is_some() {
                        sleep(ASK_AGAIN / 2).await;
                    }
                    Ok(())
                };
                timeout(KILL_TIMEOUT, gone).await.unwrap_or_else(|_| {
                    Err(ContainersError::TimedOut(format!(
                        "container {name} is being removed, but stays"
                    )))
                })
            }
            Err(error) => Err(self.client.explain("removing a container", &error)),
        }
    }

    async fn start(&self, spec: &TaskSpec) -> Result<(), ContainersError> {
        self.dirs.create(&spec.key)?;
        let body = request::build(spec, &self.dirs)?;
        self.remove(&spec.key).await?;
        let engine = self.client.get().await?;
        let name = container_name(&spec.key);
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            ..CreateContainerOptions::default()
        };
        let created = engine
            .create_container(Some(options), body)
            .await
            .map_err(|error| self.client.explain("creating the container", &error))?;
        if let Err(error) = engine.start_container(&name, None).await {
            let problem = start_problem(spec, &error)
                .unwrap_or_else(|| self.client.explain("starting the container", &error));
            self.remove(&spec.key).await?;
            return Err(problem);
        }
        self.followers
            .start(&engine, spec, &created.id, &self.dirs)?;
        Ok(())
    }

    async fn reattach(&self, spec: &TaskSpec) -> Result<bool, ContainersError> {
        let Some(found) = self.inspect(&spec.key).await? else {
            return Ok(false);
        };
        let never_started = found
            .state
            .as_ref()
            .is_some_and(|state| state.status == Some(ContainerStateStatusEnum::CREATED));
        let Some(id) = found.id.filter(|_| !never_started) else {
            return Ok(false);
        };
        let engine = self.client.get().await?;
        self.followers.start(&engine, spec, &id, &self.dirs)?;
        Ok(true)
    }

    /// Outlives restarts of the engine: as long as nobody says that the container is gone, it may
    /// still run.
    async fn wait(&self, key: &TaskKey) -> Exit {
        let mut pause = ASK_AGAIN;
        loop {
            if let Ok(engine) = self.client.get().await {
                let options = WaitContainerOptions {
                    condition: "not-running".to_owned(),
                };
                let name = container_name(key);
                let mut ends = std::pin::pin!(engine.wait_container(&name, Some(options)));
                // What it says about the end, `inspect` says too, and why.
                let _ = ends.next().await;
            }
            match self.inspect(key).await {
                Ok(None) => {
                    return Exit {
                        lost: Some(format!("there is no container {}", container_name(key))),
                        ..Exit::default()
                    };
                }
                Ok(Some(found)) => {
                    if let Some(exit) = found.state.as_ref().and_then(exit_of) {
                        let exit = self.with_reason(key, exit).await;
                        let _ = timeout(LAST_OUTPUT, self.followers.finished(key)).await;
                        return exit;
                    }
                    pause = ASK_AGAIN;
                }
                Err(error) => {
                    if pause == ASK_AGAIN {
                        tracing::warn!(%key, %error, "can't tell whether a container runs");
                    }
                    pause = (pause * 2).min(ASK_AGAIN_MAX);
                }
            }
            sleep(pause).await;
        }
    }

    /// The engine learns that a container ran out of memory apart from its end, now and then
    /// a moment later.
    async fn with_reason(&self, key: &TaskKey, mut exit: Exit) -> Exit {
        let asked_until = Instant::now() + REASON_WITHIN;
        while exit.code == KILLED && !exit.out_of_memory && Instant::now() < asked_until {
            sleep(REASON_WITHIN / 5).await;
            let Ok(Some(found)) = self.inspect(key).await else {
                break;
            };
            exit = found.state.as_ref().and_then(exit_of).unwrap_or(exit);
        }
        exit
    }

    async fn kill(&self, key: &TaskKey, signal: &str) -> Result<bool, ContainersError> {
        let engine = self.client.get().await?;
        let options = KillContainerOptions {
            signal: signal.to_owned(),
        };
        match engine
            .kill_container(&container_name(key), Some(options))
            .await
        {
            Ok(()) => Ok(true),
            // Not running any more, or gone.
            Err(ApiError::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(false),
            Err(error) => Err(self.client.explain("stopping the container", &error)),
        }
    }

    async fn stop(
        &self,
        key: &TaskKey,
        signal: &str,
        grace: Duration,
    ) -> Result<(), ContainersError> {
        let first = if signal.is_empty() { "SIGTERM" } else { signal };
        if !self.kill(key, first).await? {
            return Ok(());
        }
        if timeout(grace, self.wait(key)).await.is_ok() {
            return Ok(());
        }
        if !self.kill(key, "SIGKILL").await? {
            return Ok(());
        }
        match timeout(KILL_TIMEOUT, self.wait(key)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ContainersError::TimedOut(format!(
                "container {} doesn't end, even when killed",
                container_name(key)
            ))),
        }
    }

    async fn list(&self) -> Result<Vec<TaskKey>, ContainersError> {
        if !self.client.engine_exists() {
            return Ok(Vec::new());
        }
        let engine = self.client.get().await?;
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([(
                "label".to_owned(),
                vec![
                    ALLOC_LABEL.to_owned(),
                    format!("{DIR_LABEL}={}", self.dirs.root().display()),
                ],
            )])),
            ..ListContainersOptions::default()
        };
        let found = engine
            .list_containers(Some(options))
            .await
            .map_err(|error| self.client.explain("listing containers", &error))?;
        let mut keys: Vec<TaskKey> = found
            .into_iter()
            .filter_map(|container| {
                let mut labels = container.labels?;
                Some(TaskKey {
                    alloc_id: labels.remove(ALLOC_LABEL)?,
                    task: labels.remove(TASK_LABEL)?,
                })
            })
            .collect();
        keys.sort();
        Ok(keys)
    }

    async fn usage(&self, key: &TaskKey) -> Result<TaskUsage, ContainersError> {
        let engine = self.client.get().await?;
        let options = StatsOptions {
            stream: false,
            one_shot: true,
        };
        let name = container_name(key);
        let mut stats = std::pin::pin!(engine.stats(&name, Some(options)));
        let not_running =
            || ContainersError::Missing(format!("container {name} isn't running here"));
        match stats.next().await {
            Some(Ok(stats)) => self.measure(key, &stats).ok_or_else(not_running),
            Some(Err(error)) if is_missing(&error) => Err(not_running()),
            Some(Err(error)) => Err(self.client.explain("measuring a container", &error)),
            None => Err(not_running()),
        }
    }

    /// None for a container that has ended, of which the engine knows only zeros.
    #[expect(clippy::cast_precision_loss, reason = "a share of some thousand MHz")]
    fn measure(&self, key: &TaskKey, stats: &ContainerStatsResponse) -> Option<TaskUsage> {
        let used = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
        let memory = stats.memory_stats.as_ref()?;
        let cache = ["inactive_file", "total_inactive_file"]
            .iter()
            .find_map(|name| memory.stats.as_ref()?.get(*name));
        let memory_bytes = memory.usage?.saturating_sub(cache.copied().unwrap_or(0));
        let now = Instant::now();
        let earlier = self.samples().insert(key.clone(), (now, used));
        let cpu_mhz = earlier.map_or(0.0, |(then, before)| {
            let busy = Duration::from_nanos(used.saturating_sub(before));
            let passed = now.duration_since(then).as_secs_f64().max(1e-3);
            busy.as_secs_f64() / passed * mhz_per_core() as f64
        });
        Some(TaskUsage {
            cpu_mhz,
            memory_bytes,
        })
    }

    fn samples(&self) -> MutexGuard<'_, BTreeMap<TaskKey, (Instant, u64)>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exit_of(state: &ContainerState) -> Option<Exit> {
    let runs = state.running == Some(true) || state.restarting == Some(true);
    if runs || state.status == Some(ContainerStateStatusEnum::CREATED) {
        return None;
    }
    Some(Exit {
        code: state.exit_code.unwrap_or(-1),
        out_of_memory: state.oom_killed == Some(true),
        ..Exit::default()
    })
}

/// What the engine says when a container can't start, in our terms.
fn start_problem(spec: &TaskSpec, error: &ApiError) -> Option<ContainersError> {
    let ApiError::DockerResponseServerError { message, .. } = error else {
        return None;
    };
    let taken = ["port is already allocated", "address already in use"];
    if taken.iter().any(|words| message.contains(words)) {
        let port = spec
            .ports
            .iter()
            .map(|port| port.host_port)
            .find(|port| message.contains(&format!(":{port}")))
            .unwrap_or_default();
        return Some(ContainersError::PortInUse { port });
    }
    let missing = [
        "executable file not found",
        "no such file or directory: unknown",
        "exec format error",
    ];
    missing
        .iter()
        .any(|words| message.contains(words))
        .then(|| ContainersError::Missing(format!("can't start the container: {message}")))
}

impl Driver for Docker {
    fn info(&self) -> Asked<'_, DriverInfo> {
        Box::pin(async move {
            let client = &self.inner.client;
            let mut info = DriverInfo {
                detected: client.engine_exists(),
                ..DriverInfo::default()
            };
            let version = async {
                let version = client.get().await?.version().await;
                version.map_err(|error| client.explain("asking for its version", &error))
            };
            let answer = timeout(INFO_TIMEOUT, version).await.unwrap_or_else(|_| {
                Err(ContainersError::TimedOut(format!(
                    "{} doesn't answer for {} s",
                    client.endpoint(),
                    INFO_TIMEOUT.as_secs()
                )))
            });
            match answer {
                Ok(version) => {
                    info.healthy = true;
                    "Docker Engine is reachable".clone_into(&mut info.health_description);
                    let version = version.version.unwrap_or_default();
                    for (name, value) in [
                        ("driver.docker", "1"),
                        ("driver.docker.version", &version),
                        ("driver.docker.volumes.enabled", "1"),
                    ] {
                        info.attributes.insert(name.to_owned(), value.to_owned());
                    }
                }
                Err(problem) => info.health_description = problem.to_string(),
            }
            info
        })
    }

    fn prepare<'a>(
        &'a self,
        spec: &'a TaskSpec,
    ) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        Box::pin(async move {
            let inner = &self.inner;
            request::build(spec, &inner.dirs)?;
            inner.dirs.create(&spec.key)?;
            inner.images.ensure(&inner.client, spec).await
        })
    }

    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.inner.start(spec))
    }

    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        Box::pin(self.inner.reattach(spec))
    }

    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit> {
        Box::pin(self.inner.wait(key))
    }

    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        signal: &'a str,
        grace: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.inner.stop(key, signal, grace))
    }

    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.inner.remove(key))
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        Box::pin(self.inner.list())
    }

    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        Box::pin(self.inner.usage(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_for_want_of_memory_is_told() {
        let ended = |oom_killed| ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            running: Some(false),
            exit_code: Some(KILLED),
            oom_killed,
            ..ContainerState::default()
        };
        for (told, expected) in [(Some(true), true), (Some(false), false), (None, false)] {
            let exit = exit_of(&ended(told)).expect("it has ended");
            assert_eq!((exit.code, exit.out_of_memory), (KILLED, expected));
        }
    }
}
