//! The containers port of a simulated machine.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use logic::model::DriverInfo;
use ports::errors::{ContainersError, NetworkError};
use ports::{
    Asked, Containers, Exit, Found, Listener, LogChunk, LogStream, Network, PortMapping, TaskKey,
    TaskSpec, TaskUsage,
};
use tokio::sync::watch;

use crate::engine::{Behaviour, Engine, Task, is_stderr, memory_of};
use crate::files;
use crate::service::{self, Stop};
use crate::world::{SimHost, lock};

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
        if self.engine().failing_pulls.contains(&name) {
            return Err(ContainersError::Failed(format!(
                "failed to pull `{name}`: net/http: TLS handshake timeout"
            )));
        }
        let event = format!("Pulled image {name}");
        self.engine().pulled.insert(name);
        Ok(vec![event])
    }

    /// What the engine publishes on the host's ports.
    async fn bind(&self, spec: &TaskSpec) -> Result<Vec<Box<dyn Listener>>, ContainersError> {
        let network = self.host.network();
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
        let serves = matches!(behaviour, Behaviour::Http { .. } | Behaviour::Https { .. });
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
            Behaviour::Http { .. }
            | Behaviour::Https { .. }
            | Behaviour::Edge
            | Behaviour::Idle
            | Behaviour::Stubborn => {
                engine.delay(Duration::from_millis(1), Duration::from_millis(50))
            }
        };
        let task = Task {
            spec: spec.clone(),
            stop,
            exit: exit.clone(),
        };
        engine.tasks.insert(spec.key.clone(), task);
        *engine.starts.entry(spec.key.clone()).or_default() += 1;
        drop(engine);
        let docker = spec.driver == "docker";
        let (host, arguments) = (self.host.clone(), arguments(spec));
        self.host.spawn(move || async move {
            let ended = if behaviour == Behaviour::Edge {
                service::run_edge(&host, &arguments, stopped).await
            } else {
                service::run(behaviour, listeners, stopped, lifetime).await
            };
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

fn arguments(spec: &TaskSpec) -> Vec<String> {
    let list = spec.config.get("args").and_then(|args| args.as_list());
    let texts = list.into_iter().flatten().filter_map(|arg| arg.as_str());
    texts.map(str::to_owned).collect()
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
            let mut engine = self.engine();
            if let Some(task) = engine.tasks.get(key) {
                engine.check_reachable(&task.spec.driver)?;
                engine.tasks.remove(key);
            }
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
            Ok(files::piece(log, offset, max))
        })
    }

    fn look<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
    ) -> Asked<'a, Result<Found, ContainersError>> {
        Box::pin(async move { files::look(&self.engine().logs, alloc_id, path) })
    }

    fn read_file<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        Box::pin(async move { files::read(&self.engine().logs, alloc_id, path, offset, max) })
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
