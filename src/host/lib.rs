//! The real world behind the ports: the operating system's network, disk, clock and processes,
//! and a Docker Engine.

mod clock;
mod containers;
mod dirs;
mod disk;
mod docker;
pub mod executor;
mod files;
mod logs;
mod machine;
mod network;
mod process;
mod random;
mod raw_exec;
#[cfg(target_os = "linux")]
mod splice;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;

use logic::config::AgentConfig;
use ports::World;

use clock::HostClock;
use containers::HostContainers;
use dirs::AllocDirs;
use disk::{DataDir, HostDisk};
use docker::Docker;
use machine::HostMachine;
use network::HostNetwork;
use raw_exec::RawExec;
use workers::HostWorkers;

/// This machine, as an agent with that configuration uses it. Nothing is touched yet: call
/// `disk.prepare` before anything else.
pub fn world(config: &AgentConfig) -> World {
    let random = random::from_os();
    let data = if config.data_dir.is_empty() && config.dev_mode {
        DataDir::temporary(&random.uuid())
    } else {
        DataDir::kept(absolute(&config.data_dir))
    };
    let client = &config.client;
    let alloc_dir = if client.alloc_dir.is_empty() {
        data.path().join("alloc")
    } else {
        absolute(&client.alloc_dir)
    };
    let option = |name: &str| client.options.get(name).map_or("", String::as_str);
    let dirs = AllocDirs::new(alloc_dir.clone(), data.clone());
    let raw_exec = RawExec::new(
        dirs.clone(),
        matches!(option(raw_exec::ENABLE_OPTION), "true" | "1"),
    );
    let docker = Docker::new(dirs.clone(), &docker_endpoint(option("docker.endpoint")));
    World {
        network: Arc::new(HostNetwork::default()),
        containers: Arc::new(HostContainers::new(dirs, raw_exec, docker)),
        disk: Arc::new(HostDisk::new(data)),
        machine: Arc::new(HostMachine::new(client, alloc_dir)),
        clock: Arc::new(HostClock::new()),
        random,
        workers: Arc::new(HostWorkers::new()),
    }
}

/// What is configured, or what Docker's own tools would use.
fn docker_endpoint(configured: &str) -> String {
    if configured.is_empty() {
        std::env::var("DOCKER_HOST").unwrap_or_default()
    } else {
        configured.to_owned()
    }
}

/// Tasks and engines have other working directories than the agent.
fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}
