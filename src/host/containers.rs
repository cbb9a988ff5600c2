//! Passes each task to its driver, and reads the logs that all drivers write alike.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use logic::model::{DriverInfo, LogConfig};
use ports::errors::ContainersError;
use ports::{Asked, Containers, Exit, Found, LogChunk, LogStream, TaskKey, TaskSpec, TaskUsage};

use crate::dirs::AllocDirs;
use crate::docker::Docker;
use crate::raw_exec::RawExec;
use crate::{files, logs};

/// One way of running tasks: the part of [`Containers`] that differs between them.
pub(crate) trait Driver: Send + Sync {
    fn info(&self) -> Asked<'_, DriverInfo>;
    fn prepare<'a>(&'a self, spec: &'a TaskSpec)
    -> Asked<'a, Result<Vec<String>, ContainersError>>;
    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>>;
    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>>;
    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit>;
    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        signal: &'a str,
        grace: Duration,
    ) -> Asked<'a, Result<(), ContainersError>>;
    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>>;
    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>>;
    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>>;
}

/// How many log files of how many bytes a task may have.
pub(crate) fn log_limits(config: &LogConfig) -> (u64, u64) {
    let positive = |number: i64| u64::try_from(number).unwrap_or(0).max(1);
    (
        positive(config.max_files),
        positive(config.max_file_size_mb).saturating_mul(1024 * 1024),
    )
}

pub(crate) struct HostContainers {
    dirs: AllocDirs,
    raw_exec: RawExec,
    docker: Docker,
    /// Which driver runs which task.
    owners: Mutex<BTreeMap<TaskKey, Name>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    RawExec,
    Docker,
}

impl HostContainers {
    pub(crate) fn new(dirs: AllocDirs, raw_exec: RawExec, docker: Docker) -> Self {
        Self {
            dirs,
            raw_exec,
            docker,
            owners: Mutex::default(),
        }
    }

    fn driver(&self, name: Name) -> &dyn Driver {
        match name {
            Name::RawExec => &self.raw_exec,
            Name::Docker => &self.docker,
        }
    }

    /// The driver a task asks for; remembered for later questions about the task.
    fn asked(&self, spec: &TaskSpec) -> Result<&dyn Driver, ContainersError> {
        let name = match spec.driver.as_str() {
            "raw_exec" => Name::RawExec,
            "docker" => Name::Docker,
            other => {
                return Err(ContainersError::Refused(format!(
                    "there is no driver `{other}`: use docker or raw_exec"
                )));
            }
        };
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(spec.key.clone(), name);
        Ok(self.driver(name))
    }

    /// The driver that runs a task; found by its traces if an earlier agent started it. Without an
    /// engine, no container can tell.
    fn owner(&self, key: &TaskKey) -> &dyn Driver {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let name = owners.get(key).copied().unwrap_or_else(|| {
            if self.raw_exec.knows(key) || !self.docker.engine_exists() {
                Name::RawExec
            } else {
                Name::Docker
            }
        });
        self.driver(name)
    }
}

impl Containers for HostContainers {
    fn drivers(&self) -> Asked<'_, BTreeMap<String, DriverInfo>> {
        Box::pin(async move {
            let docker = self.docker.info().await;
            let raw_exec = self.raw_exec.info().await;
            BTreeMap::from([
                ("docker".to_owned(), docker),
                ("raw_exec".to_owned(), raw_exec),
            ])
        })
    }

    fn prepare<'a>(
        &'a self,
        spec: &'a TaskSpec,
    ) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        Box::pin(async move { self.asked(spec)?.prepare(spec).await })
    }

    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async move { self.asked(spec)?.start(spec).await })
    }

    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        Box::pin(async move { self.asked(spec)?.reattach(spec).await })
    }

    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit> {
        self.owner(key).wait(key)
    }

    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        signal: &'a str,
        timeout: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        self.owner(key).stop(key, signal, timeout)
    }

    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        self.owner(key).remove(key)
    }

    fn forget<'a>(&'a self, alloc_id: &'a str) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async move {
            self.owners
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|key, _| key.alloc_id != alloc_id);
            self.docker.stop_following(alloc_id);
            self.dirs.forget(alloc_id)
        })
    }

    fn read_log<'a>(
        &'a self,
        key: &'a TaskKey,
        stream: LogStream,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        Box::pin(async move {
            let (folder, name) = self.dirs.stream(key, stream)?;
            let found = logs::read(&folder, &name, offset, max).map_err(|error| {
                ContainersError::Failed(format!("can't read {name} of {key}: {error}"))
            })?;
            found.ok_or_else(|| {
                ContainersError::Missing(format!("task {key} has no output: it never ran here"))
            })
        })
    }

    fn look<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
    ) -> Asked<'a, Result<Found, ContainersError>> {
        Box::pin(async move { files::look(&self.dirs.alloc(alloc_id)?, path) })
    }

    fn read_file<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        Box::pin(async move { files::read(&self.dirs.alloc(alloc_id)?, path, offset, max) })
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        Box::pin(async move {
            let mut keys = self.raw_exec.list().await?;
            keys.extend(self.docker.list().await?);
            keys.sort();
            keys.dedup();
            Ok(keys)
        })
    }

    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        self.owner(key).usage(key)
    }
}
