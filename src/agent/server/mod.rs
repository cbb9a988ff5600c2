//! The server half of an agent: the log, the state, the scheduler and the nodes' leases.

mod asked;
mod beside;
mod cluster;
mod consensus;
mod control;
mod deployments;
mod drainer;
mod eval_broker;
mod evaluation;
mod garbage;
mod heartbeats;
mod leadership;
mod plan_applier;
mod portion;
mod raft;
mod reads;
mod requests;
mod sessions;
pub mod snapshot_file;
mod standing;
mod state_store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use logic::config::AgentConfig;
use logic::membership::Member;
use logic::state::Store;
use ports::World;

pub use consensus::{Applied, Consensus, Proposal, Propose, ProposeError};
pub use control::{Health, Peer, PeerHealth};
pub use eval_broker::EvalBroker;
pub use heartbeats::Heartbeats;
pub use plan_applier::PlanApplier;
pub use raft::network::{RaftRequest, RaftResponse};
pub use raft::types::ServerNode;
pub use requests::{Requests, Routers};
pub use sessions::Sessions;
pub use standing::Standing;
pub use state_store::StateStore;

use crate::error::StartError;
use crate::gossip::Gossip;
use crate::published::{Subscriber, publish};
use crate::rpc::Rpc;
use crate::state::State;
use consensus::{Follow, Leadership, Parts};
use raft::network::Contacts;
use raft::open::{Opened, open};
use raft::types::number_of;

/// How long a server that is alone takes at most to lead itself.
const LEAD_WITHIN: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Clone)]
pub struct Server {
    pub state: State,
    pub consensus: Addr<Consensus>,
    pub heartbeats: Addr<Heartbeats>,
    pub sessions: Addr<Sessions>,
    pub standing: Subscriber<Arc<Standing>>,
    pub rpc: Rpc,
    pub gossip: Gossip,
    world: World,
    contacts: Contacts,
}

/// Recovers the state from disk and starts the server's actors.
pub async fn start(
    world: &World,
    config: &Arc<AgentConfig>,
    member: &Member,
    gossip: &Gossip,
    rpc: &Rpc,
) -> Result<Server, StartError> {
    let me = ServerNode::from(member);
    let (newest, reader) = publish(Arc::new(Store::default()));
    let state = State::new(reader);
    let broker = EvalBroker::new(world.clone(), state.clone()).start();
    let store = StateStore::new(newest, broker.clone().recipient()).start();
    let network = leadership::network(world, rpc, gossip);
    let contacts = network.contacts.clone();
    let opening = open(
        world,
        config,
        number_of(&me.id),
        network.clone(),
        store,
        state.clone(),
    );
    let Opened { log, machine, raft } = opening.await?;
    let alone = config.server.bootstrap_expect == 1;
    if alone && log.last().is_none() {
        let began = cluster::begin(&raft, vec![me.clone()]).await;
        began.map_err(StartError::Log)?;
    }
    let (published, mut standing) = publish(Arc::new(Standing::unknown(number_of(&me.id))));
    let consensus = Consensus::new(Parts {
        world: world.clone(),
        config: Arc::clone(config),
        me,
        rpc: rpc.clone(),
        gossip: gossip.clone(),
        state: state.clone(),
        log,
        machine,
        raft,
        network,
        published,
        reader: standing.clone(),
    })
    .start();
    let applier = PlanApplier::new(consensus.clone()).start();
    broker.do_send(eval_broker::Equip {
        consensus: consensus.clone(),
        applier,
    });
    let (heartbeats, sessions) = leaders_actors(
        world,
        config,
        gossip,
        &state,
        &consensus,
        &standing,
        broker.recipient(),
    );
    if alone {
        // Nobody else has to be there for this one to lead; what follows needs a leader.
        let led = standing.wait_for(|standing| standing.leads() || standing.servers.len() > 1);
        if tokio::time::timeout(LEAD_WITHIN, led).await.is_err() {
            tracing::warn!("this server doesn't lead yet");
        }
    }
    Ok(Server {
        state,
        consensus,
        heartbeats,
        sessions,
        standing,
        rpc: rpc.clone(),
        gossip: gossip.clone(),
        world: world.clone(),
        contacts,
    })
}

/// The actors that work only while this server leads.
fn leaders_actors(
    world: &World,
    config: &AgentConfig,
    gossip: &Gossip,
    state: &State,
    consensus: &Addr<Consensus>,
    standing: &Subscriber<Arc<Standing>>,
    broker: Recipient<Leadership>,
) -> (Addr<Heartbeats>, Addr<Sessions>) {
    let ttl = Duration::from_millis(config.server.heartbeat_ttl_ms);
    let heartbeats = Heartbeats::new(
        world.clone(),
        state.clone(),
        consensus.clone(),
        standing.clone(),
        ttl,
        gossip.clone(),
    )
    .start();
    let collector =
        garbage::Collector::new(world.clone(), state.clone(), consensus.clone()).start();
    let sessions = Sessions::new(
        world.clone(),
        state.clone(),
        consensus.clone(),
        standing.clone(),
    )
    .start();
    let deployments =
        deployments::Deployments::new(world.clone(), state.clone(), consensus.clone()).start();
    let drainer = drainer::Drainer::new(world.clone(), state.clone(), consensus.clone()).start();
    consensus.do_send(Follow(vec![
        broker,
        heartbeats.clone().recipient(),
        collector.recipient(),
        sessions.clone().recipient(),
        deployments.recipient(),
        drainer.recipient(),
    ]));
    (heartbeats, sessions)
}

/// Where a server's requests from other agents arrive.
pub fn rpc_address(config: &AgentConfig) -> SocketAddr {
    SocketAddr::new(
        config.addresses.rpc.unwrap_or(config.bind_addr),
        config.ports.rpc,
    )
}
