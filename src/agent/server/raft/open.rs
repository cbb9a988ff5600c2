//! Brings a server's log, state machine and openraft up together.

use std::sync::Arc;

use actix::Addr;
use logic::config::AgentConfig;
use openraft::{Config, SnapshotPolicy};
use ports::World;

use super::log_store::LogStore;
use super::machine::Machine;
use super::network::Network;
use super::runtime;
use super::types::Raft;
use crate::error::StartError;
use crate::server::leadership::LEASE;
use crate::server::state_store::StateStore;
use crate::state::State;

/// How often a leader lets the others hear from it, in milliseconds.
/// An entry, too, has to be taken within that time.
const HEARTBEAT_MS: u64 = 200;
/// Entries sent at once, each of many proposals.
const ENTRIES_AT_ONCE: u64 = 8;
/// How long a part of a snapshot may take to arrive and be written, in milliseconds.
const SNAPSHOT_PART_MS: u64 = 5_000;

pub(in crate::server) struct Opened {
    pub(in crate::server) log: LogStore,
    pub(in crate::server) machine: Machine,
    pub(in crate::server) raft: Raft,
}

/// Opens the log and rebuilds the state from it.
pub(in crate::server) async fn open(
    world: &World,
    config: &AgentConfig,
    number: u64,
    network: Network,
    store: Addr<StateStore>,
    state: State,
) -> Result<Opened, StartError> {
    runtime::seed(&world.random);
    let log = LogStore::open(world, config.dev_mode)?;
    let machine = Machine::recover(world.clone(), log.clone(), store, state)
        .map_err(|error| StartError::Log(error.to_string()))?;
    start(config, number, network, log, machine).await
}

/// Opens a log that failed once more, under the state that was built from it.
pub(in crate::server) async fn reopen(
    world: World,
    config: Arc<AgentConfig>,
    number: u64,
    network: Network,
    failed: Opened,
) -> Result<Opened, (StartError, Opened)> {
    // It has failed already; what matters is that its tasks are gone.
    failed.raft.shutdown().await.ok();
    failed.log.close();
    let log = match LogStore::open(&world, config.dev_mode) {
        Ok(log) => log,
        Err(error) => return Err((error, failed)),
    };
    let machine = failed.machine.over(log.clone());
    match start(&config, number, network, log, machine).await {
        Ok(opened) => Ok(opened),
        Err(error) => Err((error, failed)),
    }
}

async fn start(
    config: &AgentConfig,
    number: u64,
    network: Network,
    log: LogStore,
    machine: Machine,
) -> Result<Opened, StartError> {
    let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
    let every = config.server.snapshot_threshold.max(1);
    let settings = Config {
        cluster_name: config.region.clone(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: lease - 1,
        election_timeout_max: lease,
        install_snapshot_timeout: SNAPSHOT_PART_MS,
        // Elections are called by `leadership`, when they can be won.
        enable_elect: false,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(every),
        max_payload_entries: ENTRIES_AT_ONCE,
        max_in_snapshot_log_to_keep: every / 4,
        ..Config::default()
    };
    let wrong = |error: &dyn std::fmt::Display| StartError::Log(error.to_string());
    let settings = settings.validate().map_err(|error| wrong(&error))?;
    let raft = Raft::new(
        number,
        Arc::new(settings),
        network,
        log.clone(),
        machine.clone(),
    )
    .await
    .map_err(|error| wrong(&error))?;
    Ok(Opened { log, machine, raft })
}
