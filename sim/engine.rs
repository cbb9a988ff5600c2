//! A simulated engine: images that exist or don't, services that answer, tasks that crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ports::errors::ContainersError;
use ports::{Exit, LogStream, Random, TaskKey, TaskSpec};
use tokio::sync::watch;

use crate::service::Stop;

const MIB: u64 = 1024 * 1024;

/// What a task does once it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers every HTTP request on all its ports alike.
    Http { status: u16, body: String },
    /// The same over TLS, with a certificate of its own.
    Https { body: String },
    /// The edge as a program of its own, with the task's arguments.
    Edge,
    /// Accepts connections and drops them; runs until it is stopped.
    Idle,
    /// As `Idle`, but takes no notice of signals other than SIGKILL.
    Stubborn,
    /// Ends by itself after a random time between these.
    Exits {
        code: i64,
        after: (Duration, Duration),
    },
}

impl Behaviour {
    /// The service of the walk-through, in some version.
    pub fn backend(version: &str) -> Self {
        Self::Http {
            status: 200,
            body: format!("this is httpbackendservice, version: {version}\n"),
        }
    }

    /// Its relative that speaks HTTPS.
    pub fn https_backend(version: &str) -> Self {
        Self::Https {
            body: format!("this is httpsbackendservice, version: {version}\n"),
        }
    }

    /// Ends with `code` after one to three seconds.
    pub fn exits(code: i64) -> Self {
        Self::Exits {
            code,
            after: (Duration::from_secs(1), Duration::from_secs(3)),
        }
    }
}

/// What the engine knows, and what outlives the agent's interest in it.
pub(crate) struct Engine {
    images: BTreeMap<String, Behaviour>,
    programs: BTreeMap<String, Behaviour>,
    /// Images that needn't be pulled any more.
    pub(crate) pulled: BTreeSet<String>,
    /// Images whose registry doesn't answer.
    pub(crate) failing_pulls: BTreeSet<String>,
    pub(crate) tasks: BTreeMap<TaskKey, Task>,
    pub(crate) logs: BTreeMap<(TaskKey, bool), Vec<u8>>,
    /// How often each task was started.
    pub(crate) starts: BTreeMap<TaskKey, u64>,
    random: Random,
    pub(crate) reachable: bool,
}

pub(crate) struct Task {
    pub(crate) spec: TaskSpec,
    pub(crate) stop: watch::Sender<Option<Stop>>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
}

impl Task {
    pub(crate) fn runs(&self) -> bool {
        self.exit.borrow().is_none()
    }
}

/// What all tasks of a machine use together.
pub(crate) struct EngineUsage {
    pub(crate) cpu_mhz: i64,
    pub(crate) memory_bytes: u64,
}

impl Engine {
    pub(crate) fn with_known_images() -> Self {
        let images = [
            (
                "bigwhite/httpbackendservice:v1.0.0",
                Behaviour::backend("v1.0.0"),
            ),
            (
                "bigwhite/httpbackendservice:v1.0.1",
                Behaviour::backend("v1.0.1"),
            ),
            (
                "bigwhite/httpsbackendservice:v1.0.0",
                Behaviour::https_backend("v1.0.0"),
            ),
            (
                "bigwhite/httpsbackendservice:v1.0.1",
                Behaviour::https_backend("v1.0.1"),
            ),
            ("fabiolb/fabio", Behaviour::Edge),
            ("idle", Behaviour::Idle),
            ("stubborn", Behaviour::Stubborn),
            ("crashy", Behaviour::exits(1)),
            ("batch", Behaviour::exits(0)),
        ];
        let programs = [
            ("example-backend", Behaviour::backend("v1.0.0")),
            ("sleep", Behaviour::Idle),
            ("false", Behaviour::exits(1)),
            ("true", Behaviour::exits(0)),
        ];
        let owned = |(name, behaviour): (&str, Behaviour)| (name.to_owned(), behaviour);
        Self {
            images: images.into_iter().map(owned).collect(),
            programs: programs.into_iter().map(owned).collect(),
            pulled: BTreeSet::new(),
            failing_pulls: BTreeSet::new(),
            tasks: BTreeMap::new(),
            logs: BTreeMap::new(),
            starts: BTreeMap::new(),
            random: Random::seeded(0),
            reachable: true,
        }
    }

    pub(crate) fn reset(&mut self, random: Random) {
        self.tasks.clear();
        self.random = random;
    }

    pub(crate) fn add_image(&mut self, image: &str, behaviour: Behaviour) {
        self.images.insert(image.to_owned(), behaviour);
    }

    pub(crate) fn remove_image(&mut self, image: &str) {
        self.images.remove(image);
        self.pulled.remove(image);
    }

    pub(crate) fn add_program(&mut self, command: &str, behaviour: Behaviour) {
        self.programs.insert(command.to_owned(), behaviour);
    }

    pub(crate) fn kill(&mut self, key: &TaskKey) -> bool {
        match self.tasks.get(key) {
            Some(task) if task.runs() => {
                task.stop.send_replace(Some(Stop::Kill));
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn running(&self) -> Vec<TaskKey> {
        let running = self.tasks.iter().filter(|(_, task)| task.runs());
        running.map(|(key, _)| key.clone()).collect()
    }

    /// CPU and memory that the running tasks were promised.
    pub(crate) fn promised(&self) -> (i64, i64) {
        let running = self.tasks.values().filter(|task| task.runs());
        running.fold((0, 0), |(cpu, memory), task| {
            (cpu + task.spec.cpu, memory + task.spec.memory_mb)
        })
    }

    pub(crate) fn usage(&self) -> EngineUsage {
        let running: Vec<&Task> = self.tasks.values().filter(|task| task.runs()).collect();
        EngineUsage {
            cpu_mhz: running.iter().map(|task| task.spec.cpu / 10).sum(),
            memory_bytes: running.iter().map(|task| memory_of(&task.spec)).sum(),
        }
    }

    pub(crate) fn check_reachable(&self, driver: &str) -> Result<(), ContainersError> {
        if self.reachable || driver != "docker" {
            return Ok(());
        }
        Err(ContainersError::Unreachable(
            "can't connect to unix:///var/run/docker.sock: connection refused: is dockerd running?"
                .to_owned(),
        ))
    }

    pub(crate) fn delay(&self, from: Duration, to: Duration) -> Duration {
        let spread = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.random.below(spread))
    }

    pub(crate) fn behaviour(
        &self,
        spec: &TaskSpec,
    ) -> Result<(String, Behaviour), ContainersError> {
        let docker = match spec.driver.as_str() {
            "docker" => true,
            "raw_exec" => false,
            other => {
                return Err(ContainersError::Refused(format!(
                    "there is no driver `{other}`: use docker or raw_exec"
                )));
            }
        };
        let (option, known) = if docker {
            ("image", &self.images)
        } else {
            ("command", &self.programs)
        };
        let name = spec.config.get(option).and_then(|value| value.as_str());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(ContainersError::Refused(format!(
                "{}: `{option}` is missing",
                spec.driver
            )));
        };
        let base = if docker {
            name
        } else {
            name.rsplit('/').next().unwrap_or(name)
        };
        match known.get(base) {
            Some(behaviour) => Ok((name.to_owned(), behaviour.clone())),
            None if docker => Err(ContainersError::Missing(format!(
                "failed to pull `{name}`: pull access denied for {name}, repository does not exist \
                 or may require 'docker login'"
            ))),
            None => Err(ContainersError::Missing(format!(
                "raw_exec: there is no program `{name}` in the task's directory or in PATH"
            ))),
        }
    }

    pub(crate) fn log(&mut self, key: &TaskKey, stream: LogStream, text: &str) {
        let log = self.logs.entry((key.clone(), is_stderr(stream)));
        log.or_default().extend_from_slice(text.as_bytes());
    }
}

pub(crate) fn memory_of(spec: &TaskSpec) -> u64 {
    u64::try_from(spec.memory_mb).unwrap_or(0) * MIB / 4
}

pub(crate) fn is_stderr(stream: LogStream) -> bool {
    match stream {
        LogStream::Stdout => false,
        LogStream::Stderr => true,
    }
}
