//! The `raw_exec` driver: plain processes, each under a supervisor (see `executor`).

mod command;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use logic::model::DriverInfo;
use ports::errors::ContainersError;
use ports::{Asked, Exit, PortMapping, TaskKey, TaskSpec, TaskUsage};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::process::Command;
use tokio::time::timeout;

use crate::containers::{Driver, log_limits};
use crate::dirs::{AllocDirs, log_name};
use crate::disk::{self, create_private_dir};
use crate::executor::{Files, Report, Spec, State};
use crate::machine::mhz_per_core;
use crate::process::{ProcessId, Stat, signal};

/// How long a supervisor may take to get its task running.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the kernel may take to end a killed task.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const ENABLE_OPTION: &str = "driver.raw_exec.enable";

pub(crate) struct RawExec {
    dirs: AllocDirs,
    enabled: bool,
    /// CPU time of each task when last looked at.
    samples: Mutex<BTreeMap<TaskKey, (Instant, u64)>>,
}

impl RawExec {
    pub(crate) fn new(dirs: AllocDirs, enabled: bool) -> Self {
        Self {
            dirs,
            enabled,
            samples: Mutex::default(),
        }
    }

    fn files(&self, key: &TaskKey) -> Result<Files, ContainersError> {
        let folder = self.dirs.task(key)?.join(".executor");
        Ok(Files::in_folder(folder))
    }

    pub(crate) fn knows(&self, key: &TaskKey) -> bool {
        self.files(key).is_ok_and(|files| files.folder().is_dir())
    }

    fn check_enabled(&self) -> Result<(), ContainersError> {
        if self.enabled {
            Ok(())
        } else {
            Err(ContainersError::Refused(DISABLED.to_owned()))
        }
    }

    fn spec(&self, spec: &TaskSpec) -> Result<Spec, ContainersError> {
        let seen = self.dirs.on_host(&spec.key)?;
        let mut env = seen.env(&spec.env);
        if let Ok(path) = std::env::var("PATH") {
            env.entry("PATH".to_owned()).or_insert(path);
        }
        let (max_files, max_file_len) = log_limits(&spec.logs);
        Ok(Spec {
            command: command::resolve(spec, &self.dirs.task(&spec.key)?)?,
            args: command::args(spec)?,
            work_dir: command::work_dir(spec, &seen)?,
            run_as: command::run_as(&spec.user)?,
            env,
            logs: self.dirs.logs(&spec.key)?,
            stdout: log_name(&spec.key.task, ports::LogStream::Stdout),
            stderr: log_name(&spec.key.task, ports::LogStream::Stderr),
            max_files,
            max_file_len,
        })
    }

    async fn launch(&self, spec: &TaskSpec) -> Result<(), ContainersError> {
        self.check_enabled()?;
        self.dirs.create(&spec.key)?;
        self.kill_and_remove(&spec.key).await?;
        spec.ports.iter().try_for_each(check_port)?;
        let files = self.files(&spec.key)?;
        let written = serde_json::to_vec(&self.spec(spec)?).map_err(std::io::Error::other);
        written
            .and_then(|spec| {
                create_private_dir(files.folder())?;
                disk::replace(&files.spec(), &spec)
            })
            .map_err(|error| failed(&spec.key, "can't write down how to run it", &error))?;
        let report = supervisor(&files).await.unwrap_or_else(|error| {
            Report::Failed(format!("can't start the supervisor process: {error}"))
        });
        let problem = match report {
            Report::Started => return Ok(()),
            Report::Missing(reason) => ContainersError::Missing(reason),
            Report::Refused(reason) => ContainersError::Refused(reason),
            Report::Failed(reason) => ContainersError::Failed(reason),
        };
        self.kill_and_remove(&spec.key).await?;
        Err(problem)
    }

    async fn wait_for(&self, key: &TaskKey) -> Exit {
        let lost = |reason: String| Exit {
            lost: Some(reason),
            ..Exit::default()
        };
        let files = match self.files(key) {
            Ok(files) => files,
            Err(error) => return lost(error.to_string()),
        };
        if let Some(exit) = files.exit() {
            return exit;
        }
        let Some(state) = files.state() else {
            return lost(format!("task {key} doesn't run here"));
        };
        ended(&state.supervisor).await;
        files.exit().unwrap_or_else(|| {
            state.task.signal_group(Signal::KILL);
            lost("the task's supervisor process ended before the task: how the task ended is unknown".to_owned())
        })
    }

    async fn end(
        &self,
        key: &TaskKey,
        first: Signal,
        grace: Duration,
    ) -> Result<(), ContainersError> {
        let files = self.files(key)?;
        let Some(state) = files.state() else {
            return Ok(());
        };
        if files.exit().is_some() {
            return Ok(());
        }
        state.task.signal_group(first);
        if timeout(grace, ended(&state.supervisor)).await.is_ok() {
            return Ok(());
        }
        state.task.signal_group(Signal::KILL);
        match timeout(KILL_TIMEOUT, ended(&state.supervisor)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ContainersError::TimedOut(format!(
                "task {key} (process {}) doesn't end, even when killed",
                state.task.pid
            ))),
        }
    }

    async fn kill_and_remove(&self, key: &TaskKey) -> Result<(), ContainersError> {
        self.end(key, Signal::KILL, Duration::ZERO).await?;
        disk::remove_all(self.files(key)?.folder())
            .map_err(|error| failed(key, "can't remove what is left of it", &error))?;
        self.samples().remove(key);
        Ok(())
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskKey, (Instant, u64)>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Vec<TaskKey> {
        let names = |path: &std::path::Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten();
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect()
        };
        let mut found = Vec::new();
        for alloc_id in names(self.dirs.root()) {
            for task in names(&self.dirs.root().join(&alloc_id)) {
                let key = TaskKey {
                    alloc_id: alloc_id.clone(),
                    task,
                };
                if self.knows(&key) {
                    found.push(key);
                }
            }
        }
        found.sort();
        found
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of some thousand MHz")]
    fn measure(&self, key: &TaskKey, state: &State) -> TaskUsage {
        let group = Stat::of_group(state.task.pid);
        let ticks: u64 = group.iter().map(|process| process.cpu_ticks).sum();
        let pages: u64 = group.iter().map(|process| process.resident_pages).sum();
        let now = Instant::now();
        let earlier = self.samples().insert(key.clone(), (now, ticks));
        let cpu_mhz = earlier.map_or(0.0, |(then, before)| {
            let busy = ticks.saturating_sub(before) as f64
                / rustix::param::clock_ticks_per_second() as f64;
            let passed = now.duration_since(then).as_secs_f64().max(1e-3);
            busy / passed * mhz_per_core() as f64
        });
        TaskUsage {
            cpu_mhz,
            memory_bytes: pages * rustix::param::page_size() as u64,
        }
    }
}

const DISABLED: &str = "raw_exec is disabled: tasks would run with the agent's rights, without any \
     isolation; to allow that, set client { options { \"driver.raw_exec.enable\" = \"true\" } }";

fn failed(key: &TaskKey, what: &str, error: &dyn std::fmt::Display) -> ContainersError {
    ContainersError::Failed(format!("task {key}: {what}: {error}"))
}

/// Better an error that names the port than a task that fails on its own.
fn check_port(port: &PortMapping) -> Result<(), ContainersError> {
    let ip = port
        .host_ip
        .parse()
        .unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    match TcpListener::bind((ip, port.host_port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(ContainersError::PortInUse {
            port: port.host_port,
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Starts the supervisor and reads its report. This same binary is run, even if its file has been
/// replaced by another version meanwhile.
async fn supervisor(files: &Files) -> std::io::Result<Report> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("drover")
        .arg("executor")
        .arg(files.spec())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take();
    // Somebody must wait for it, or it stays around as a zombie.
    tokio::spawn(async move { child.wait().await });
    let Some(stdout) = stdout else {
        return Err(std::io::Error::other("it has no output"));
    };
    let mut lines = BufReader::new(stdout).lines();
    let read = async {
        while let Some(line) = lines.next_line().await? {
            if let Ok(report) = serde_json::from_str(&line) {
                return Ok(report);
            }
        }
        Err(std::io::Error::other("it ended without a word"))
    };
    match timeout(START_TIMEOUT, read).await {
        Ok(report) => report,
        Err(_) => Err(std::io::Error::other("it doesn't answer")),
    }
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function; a descriptor that is owned can't be closed early"
)]
fn watch(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Returns when that process has ended.
async fn ended(process: &ProcessId) {
    let Some(pid) = process.pid().filter(|_| process.alive()) else {
        return;
    };
    let watch = pidfd_open(pid, PidfdFlags::NONBLOCK)
        .map_err(std::io::Error::from)
        .and_then(watch);
    match watch {
        // It may have ended, and its number gone to another, before it was opened.
        Ok(pidfd) if process.alive() => {
            let _ = pidfd.readable().await;
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%error, "can't watch a process: looking at it every second instead");
            while process.alive() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Driver for RawExec {
    fn info(&self) -> Asked<'_, DriverInfo> {
        Box::pin(async move {
            let mut info = DriverInfo {
                detected: self.enabled,
                healthy: self.enabled,
                ..DriverInfo::default()
            };
            if self.enabled {
                info.attributes
                    .insert("driver.raw_exec".to_owned(), "1".to_owned());
                "raw_exec is enabled".clone_into(&mut info.health_description);
            } else {
                DISABLED.clone_into(&mut info.health_description);
            }
            info
        })
    }

    fn prepare<'a>(
        &'a self,
        spec: &'a TaskSpec,
    ) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        Box::pin(async move {
            self.check_enabled()?;
            self.dirs.create(&spec.key)?;
            self.spec(spec)?;
            Ok(Vec::new())
        })
    }

    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.launch(spec))
    }

    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        Box::pin(async move {
            let files = self.files(&spec.key)?;
            if files.exit().is_some() {
                return Ok(true);
            }
            let Some(state) = files.state() else {
                return Ok(false);
            };
            if state.supervisor.alive() {
                return Ok(true);
            }
            // It may have ended properly in this very moment.
            if files.exit().is_some() {
                return Ok(true);
            }
            state.task.signal_group(Signal::KILL);
            Ok(false)
        })
    }

    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit> {
        Box::pin(self.wait_for(key))
    }

    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        name: &'a str,
        grace: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async move {
            let first = signal(name, Signal::INT)?;
            self.end(key, first, grace).await
        })
    }

    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.kill_and_remove(key))
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        Box::pin(async move { Ok(self.keys()) })
    }

    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        Box::pin(async move {
            let state = self.files(key)?.state();
            let running = state.filter(|state| state.supervisor.alive());
            running
                .map(|state| self.measure(key, &state))
                .ok_or_else(|| ContainersError::Missing(format!("task {key} isn't running here")))
        })
    }
}
