//! An agent's world in a directory of its own, and tasks to run there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use logic::config::AgentConfig;
use logic::model::{LogConfig, Value};
use ports::{Listener, LogStream, PortMapping, TaskKey, TaskSpec, World};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Machine {
    pub(crate) world: World,
    config: AgentConfig,
    folder: tempfile::TempDir,
}

pub(crate) fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

pub(crate) fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| text(item)).collect())
}

pub(crate) fn publish(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        label: "http".to_owned(),
        host_ip: "127.0.0.1".to_owned(),
        host_port,
        container_port,
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with_option("driver.raw_exec.enable", "true")
    }

    pub(crate) fn with_option(name: &str, value: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut config = AgentConfig {
            data_dir: folder.path().to_string_lossy().into_owned(),
            ..AgentConfig::default()
        };
        config
            .client
            .options
            .insert(name.to_owned(), value.to_owned());
        let world = host::world(&config);
        world.disk.prepare().expect("a directory to write to");
        Self {
            world,
            config,
            folder,
        }
    }

    /// What an agent sees that is started again.
    pub(crate) fn next_agent(&self) -> World {
        host::world(&self.config)
    }

    pub(crate) fn alloc_dir(&self, key: &TaskKey) -> PathBuf {
        self.folder.path().join("alloc").join(&key.alloc_id)
    }

    pub(crate) fn spec(
        &self,
        driver: &str,
        task: &str,
        config: BTreeMap<String, Value>,
    ) -> TaskSpec {
        TaskSpec {
            key: TaskKey {
                alloc_id: self.world.random.uuid(),
                task: task.to_owned(),
            },
            driver: driver.to_owned(),
            config,
            env: BTreeMap::new(),
            user: String::new(),
            cpu: 100,
            memory_mb: 64,
            ports: Vec::new(),
            logs: LogConfig::default(),
            labels: BTreeMap::new(),
            kill_signal: String::new(),
        }
    }

    pub(crate) async fn taken_port(&self) -> (u16, Box<dyn Listener>) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = self.world.network.listen(any).await.expect("a free port");
        (listener.local_addr().port(), listener)
    }

    /// Waits until a task's output contains `wanted`, and returns the output.
    pub(crate) async fn printed(&self, key: &TaskKey, wanted: &str) -> String {
        let looking = async {
            loop {
                let chunk = self
                    .world
                    .containers
                    .read_log(key, LogStream::Stdout, 0, 1 << 16)
                    .await;
                let said = chunk.map(|chunk| String::from_utf8_lossy(&chunk.data).into_owned());
                match said {
                    Ok(said) if said.contains(wanted) => return said,
                    Ok(_) | Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| panic!("{key} never printed `{wanted}`"))
    }
}

pub(crate) async fn output(world: &World, key: &TaskKey, stream: LogStream) -> String {
    let chunk = world
        .containers
        .read_log(key, stream, 0, 1 << 20)
        .await
        .expect("there is output");
    String::from_utf8(chunk.data).expect("text")
}
