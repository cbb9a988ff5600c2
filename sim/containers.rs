//! A simulated engine: images that exist or don't, services that answer, tasks that crash.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use logic::model::DriverInfo;
use ports::errors::{ContainersError, NetworkError};
use ports::{
    Asked, Containers, Exit, Listener, LogChunk, LogStream, Network, PortMapping, Random, TaskKey,
    TaskSpec, TaskUsage,
};
use tokio::sync::watch;

use crate::network::SimNetwork;
use crate::service::{self, Stop};
use crate::world::{SimHost, lock};

const MIB: u64 = 1024 * 1024;

/// What a task does once it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers every HTTP request on all its ports alike.
    Http { status: u16, body: String },
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

    /// Ends with `code` after one to three seconds.
    pub fn exits(code: i64) -> Self {
        Self::Exits {
            code,
            after: (Duration::from_secs(1), Duration::from_secs(3)),
        }
    }
}

/// What the engine knows, and what outlives the agent's interest in it.
pub struct Engine {
    images: BTreeMap<String, Behaviour>,
    programs: BTreeMap<String, Behaviour>,
    /// Images that needn't be pulled any more.
    pulled: BTreeSet<String>,
    tasks: BTreeMap<TaskKey, Task>,
    logs: BTreeMap<(TaskKey, bool), Vec<u8>>,
    random: Random,
    pub(crate) reachable: bool,
}

struct Task {
    spec: TaskSpec,
    stop: watch::Sender<Option<Stop>>,
    exit: watch::Sender<Option<Exit>>,
}

impl Task {
    fn runs(&self) -> bool {
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
            ("fabiolb/fabio", Behaviour::Idle),
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
            tasks: BTreeMap::new(),
            logs: BTreeMap::new(),
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

    pub(crate) fn usage(&self) -> EngineUsage {
        let running: Vec<&Task> = self.tasks.values().filter(|task| task.runs()).collect();
        EngineUsage {
            cpu_mhz: running.iter().map(|task| task.spec.cpu / 10).sum(),
            memory_bytes: running.iter().map(|task| memory_of(&task.spec)).sum(),
        }
    }

    fn check_reachable(&self, driver: &str) -> Result<(), ContainersError> {
        if self.reachable || driver != "docker" {
            return Ok(());
        }
        Err(ContainersError::Unreachable(
            "can't connect to unix:///var/run/docker.sock: connection refused: is dockerd running?"
                .to_owned(),
        ))
    }

    fn delay(&self, from: Duration, to: Duration) -> Duration {
        let spread = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.random.below(spread))
    }

    fn behaviour(&self, spec: &TaskSpec) -> Result<(String, Behaviour), ContainersError> {
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

    fn log(&mut self, key: &TaskKey, stream: LogStream, text: &str) {
        let log = self.logs.entry((key.clone(), is_stderr(stream)));
        log.or_default().extend_from_slice(text.as_bytes());
    }
}

fn memory_of(spec: &TaskSpec) -> u64 {
    u64::try_from(spec.memory_mb).unwrap_or(0) * MIB / 4
}

fn is_stderr(stream: LogStream) -> bool {
    match stream {
        LogStream::Stdout => false,
        LogStream::Stderr => true,
    }
}

pub(crate) struct SimContainers {
    host: SimHost,
}

impl SimContainers {
    pub(crate) fn new(host: SimHost) -> Self {
        Self { host }
    }

    fn engine(&self) -> std::sync::MutexGuard<'_, Engine> {
        lock(&self.host.shared().engine)
    }

    async fn get_ready(&self, spec: &TaskSpec) -> Result<Vec<String>, ContainersError> {
        let (found, pause, pull) = {
            let engine = self.engine();
            engine.check_reachable(&spec.driver)?;
            let found = engine.behaviour(spec).map(|(name, _)| name);
            let known = match &found {
                Ok(name) => spec.driver != "docker" || engine.pulled.contains(name),
                Err(_) => false,
            };
            let pause = match &found {
                Ok(_) if known => engine.delay(Duration::ZERO, Duration::from_millis(5)),
                Ok(_) => engine.delay(Duration::from_millis(200), Duration::from_secs(2)),
                Err(_) => engine.delay(Duration::from_millis(50), Duration::from_millis(500)),
            };
            (found, pause, !known)
        };
        tokio::time::sleep(pause).await;
        let name = found?;
        if !pull {
            return Ok(Vec::new());
        }
        let event = format!("Pulled image {name}");
        self.engine().pulled.insert(name);
        Ok(vec![event])
    }

    /// What the engine publishes on the host's ports.
    async fn bind(&self, spec: &TaskSpec) -> Result<Vec<Box<dyn Listener>>, ContainersError> {
        let network = SimNetwork::new(self.host.shared().network.clone(), self.host.name());
        let mut bound = Vec::new();
        for PortMapping { host_port, .. } in &spec.ports {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *host_port));
            match network.listen(address).await {
                Ok(listener) => bound.push(listener),
                Err(NetworkError::InUse { .. }) => {
                    return Err(ContainersError::PortInUse { port: *host_port });
                }
                Err(error) => return Err(ContainersError::Failed(error.to_string())),
            }
        }
        Ok(bound)
    }

    async fn run(&self, spec: &TaskSpec) -> Result<(), ContainersError> {
        self.end(&spec.key, Stop::Kill, Duration::ZERO).await?;
        let (name, behaviour, pause) = {
            let mut engine = self.engine();
            engine.check_reachable(&spec.driver)?;
            engine.tasks.remove(&spec.key);
            let (name, behaviour) = engine.behaviour(spec)?;
            let pause = engine.delay(Duration::from_millis(50), Duration::from_millis(300));
            (name, behaviour, pause)
        };
        tokio::time::sleep(pause).await;
        // A program that does nothing with its ports leaves them to others; an engine's proxy not.
        let publishes = spec.driver == "docker" && !on_host_network(spec);
        let serves = matches!(behaviour, Behaviour::Http { .. });
        let listeners = if publishes || serves {
            self.bind(spec).await?
        } else {
            Vec::new()
        };
        let (stop, stopped) = watch::channel(None);
        let (exit, _) = watch::channel(None);
        let mut engine = self.engine();
        engine.log(&spec.key, LogStream::Stdout, &format!("{name} started\n"));
        let lifetime = match &behaviour {
            Behaviour::Exits { after, .. } => engine.delay(after.0, after.1),
            Behaviour::Http { .. } | Behaviour::Idle | Behaviour::Stubborn => {
                engine.delay(Duration::from_millis(1), Duration::from_millis(50))
            }
        };
        let task = Task {
            spec: spec.clone(),
            stop,
            exit: exit.clone(),
        };
        engine.tasks.insert(spec.key.clone(), task);
        drop(engine);
        let docker = spec.driver == "docker";
        self.host.spawn(move || async move {
            let ended = service::run(behaviour, listeners, stopped, lifetime).await;
            exit.send_replace(Some(ended.exit(docker)));
        });
        Ok(())
    }

    async fn end(
        &self,
        key: &TaskKey,
        first: Stop,
        grace: Duration,
    ) -> Result<(), ContainersError> {
        let exit = {
            let engine = self.engine();
            let Some(task) = engine.tasks.get(key).filter(|task| task.runs()) else {
                return Ok(());
            };
            engine.check_reachable(&task.spec.driver)?;
            task.stop.send_replace(Some(first));
            task.exit.subscribe()
        };
        if tokio::time::timeout(grace, ended(exit.clone()))
            .await
            .is_ok()
        {
            return Ok(());
        }
        if let Some(task) = self.engine().tasks.get(key) {
            task.stop.send_replace(Some(Stop::Kill));
        }
        ended(exit).await;
        Ok(())
    }
}

fn on_host_network(spec: &TaskSpec) -> bool {
    let mode = spec.config.get("network_mode");
    mode.and_then(|mode| mode.as_str()) == Some("host")
}

async fn ended(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.clone().unwrap_or_default(),
        Err(_) => Exit {
            lost: Some("the task was removed while it ran".to_owned()),
            ..Exit::default()
        },
    }
}

impl Containers for SimContainers {
    fn drivers(&self) -> Asked<'_, BTreeMap<String, DriverInfo>> {
        Box::pin(async move {
            let engine = self.engine();
            let driver = |name: &str| {
                let problem = engine.check_reachable(name).err();
                let attributes = BTreeMap::from([(format!("driver.{name}"), "1".to_owned())]);
                let info = DriverInfo {
                    attributes,
                    detected: true,
                    healthy: problem.is_none(),
                    health_description: problem
                        .map_or("healthy".to_owned(), |problem| problem.to_string()),
                    ..DriverInfo::default()
                };
                (name.to_owned(), info)
            };
            BTreeMap::from([driver("docker"), driver("raw_exec")])
        })
    }

    fn prepare<'a>(
        &'a self,
        spec: &'a TaskSpec,
    ) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        Box::pin(self.get_ready(spec))
    }

    fn start<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.run(spec))
    }

    fn reattach<'a>(&'a self, spec: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        Box::pin(async move {
            let engine = self.engine();
            engine.check_reachable(&spec.driver)?;
            Ok(engine.tasks.contains_key(&spec.key))
        })
    }

    fn wait<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Exit> {
        Box::pin(async move {
            let exit = self
                .engine()
                .tasks
                .get(key)
                .map(|task| task.exit.subscribe());
            match exit {
                Some(exit) => ended(exit).await,
                None => Exit {
                    lost: Some(format!("task {key} doesn't run here")),
                    ..Exit::default()
                },
            }
        })
    }

    fn stop<'a>(
        &'a self,
        key: &'a TaskKey,
        signal: &'a str,
        timeout: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(self.end(key, Stop::named(signal), timeout))
    }

    fn remove<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async move {
            self.end(key, Stop::Kill, Duration::ZERO).await?;
            self.engine().tasks.remove(key);
            Ok(())
        })
    }

    fn forget<'a>(&'a self, alloc_id: &'a str) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async move {
            let mut engine = self.engine();
            engine.logs.retain(|(key, _), _| key.alloc_id != alloc_id);
            Ok(())
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
            let engine = self.engine();
            let ran = engine.logs.contains_key(&(key.clone(), false));
            if !ran {
                return Err(ContainersError::Missing(format!(
                    "task {key} has no output: it never ran here"
                )));
            }
            let log = engine.logs.get(&(key.clone(), is_stderr(stream)));
            let log = log.map_or(&[][..], Vec::as_slice);
            let from = usize::try_from(offset).map_or(log.len(), |from| from.min(log.len()));
            let to = from.saturating_add(max).min(log.len());
            Ok(LogChunk {
                offset: from as u64,
                data: log.get(from..to).unwrap_or_default().to_vec(),
                end: log.len() as u64,
            })
        })
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        Box::pin(async move { Ok(self.engine().tasks.keys().cloned().collect()) })
    }

    fn usage<'a>(&'a self, key: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        Box::pin(async move {
            let engine = self.engine();
            let Some(task) = engine.tasks.get(key).filter(|task| task.runs()) else {
                let reason = format!("task {key} isn't running here");
                return Err(ContainersError::Missing(reason));
            };
            Ok(TaskUsage {
                cpu_mhz: f64::from(i32::try_from(task.spec.cpu).unwrap_or(i32::MAX)) / 10.0,
                memory_bytes: memory_of(&task.spec),
            })
        })
    }
}
