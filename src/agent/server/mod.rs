//! The server half of an agent: the log, the state, the scheduler and the nodes' leases.

mod consensus;
mod control;
mod eval_broker;
mod evaluation;
mod garbage;
mod heartbeats;
mod log;
mod plan_applier;
mod requests;
mod state_store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use logic::config::AgentConfig;
use logic::state::Command;
use ports::World;

pub use consensus::{Consensus, Propose, ProposeError};
pub use control::{Health, Peer, PeerHealth};
pub use eval_broker::EvalBroker;
pub use heartbeats::Heartbeats;
pub use plan_applier::PlanApplier;
pub use requests::{Requests, Routers};
pub use state_store::StateStore;

use crate::error::StartError;
use crate::published::publish;
use crate::state::State;

/// A running server.
#[derive(Clone)]
pub struct Server {
    pub state: State,
    pub consensus: Addr<Consensus>,
    pub heartbeats: Addr<Heartbeats>,
}

/// Recovers the state from disk and starts the server's actors.
pub async fn start(world: &World, config: &AgentConfig) -> Result<Server, StartError> {
    let expected = config.server.bootstrap_expect;
    if expected > 1 {
        tracing::warn!(
            "bootstrap_expect is {expected}, but servers don't join each other yet: this one \
             is a cluster of its own; run one server, and clients with `servers` set to it"
        );
    }
    let (log, store) = log::Log::open(world, config.dev_mode)?;
    let pending: Vec<_> = store.pending_evals().cloned().collect();
    let founded = store.seed() != 0;
    let (newest, reader) = publish(Arc::new(store.clone()));
    let state = State::new(reader);

    let broker = EvalBroker::new(world.clone(), state.clone()).start();
    let store = StateStore::new(store, newest, broker.clone().recipient()).start();
    let consensus = Consensus::new(world.clone(), log, store).start();
    let applier = PlanApplier::new(state.clone(), consensus.clone()).start();
    broker.do_send(eval_broker::Lead {
        consensus: consensus.clone(),
        applier,
    });
    broker.do_send(eval_broker::Enqueue(pending));
    let ttl = Duration::from_millis(config.server.heartbeat_ttl_ms);
    let heartbeats = Heartbeats::new(world.clone(), state.clone(), consensus.clone(), ttl).start();
    garbage::Collector::new(world.clone(), state.clone(), consensus.clone()).start();
    if !founded {
        let seed = world.random.next_u64().max(1);
        let founding = consensus.send(Propose(Command::Found { seed })).await;
        if !matches!(founding, Ok(Ok(_))) {
            return Err(StartError::Log(
                "the first log entry could not be written".to_owned(),
            ));
        }
    }
    Ok(Server {
        state,
        consensus,
        heartbeats,
    })
}

/// Where a server's requests from other agents arrive.
pub fn rpc_address(config: &AgentConfig) -> SocketAddr {
    SocketAddr::new(
        config.addresses.rpc.unwrap_or(config.bind_addr),
        config.ports.rpc,
    )
}
