//! Many nodes that do nothing but stay alive, against one server: what that costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::rpc::{NodeProof, Request, Response};
use agent::wire;
use anyhow::{Context, Result, bail, ensure};
use logic::config::AgentConfig;
use logic::model::{CatalogNode, Node, Resources};
use ports::{Random, World};
use tokio::io::DuplexStream;

use crate::clock;
use crate::memory_network::MemoryNetwork;
use crate::world::{SimHost, lock, world};

const RPC_PORT: u16 = 4647;
/// As production clients do.
const BEATS_PER_LEASE: u32 = 5;
/// Nodes share this many connections; each still sends its own frames.
const CONNECTIONS: usize = 256;

/// What was measured. The time is this thread's: the nodes' own and the simulator's included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub registering: Duration,
    pub beating: Duration,
    pub beats: u64,
    /// Nodes that are ready in the end.
    pub ready: usize,
}

/// Registers `count` nodes, then lets them beat for `seconds` of simulated time.
pub fn measure(count: usize, seconds: u64, seed: u64) -> Result<Measured> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(86_400))
        .tick_duration(Duration::from_millis(10))
        .build();
    let measured = Arc::new(Mutex::new(None));
    let told = measured.clone();
    sim.client("server-1", async move {
        let result = beat(count, Duration::from_secs(seconds), seed).await;
        *lock(&told) = Some(result);
        Ok(())
    });
    sim.run().map_err(|error| anyhow::anyhow!("{error}"))?;
    let result = lock(&measured).take();
    result.context("it ended without a result")?
}

async fn beat(count: usize, lasting: Duration, seed: u64) -> Result<Measured> {
    let network = MemoryNetwork::default();
    let world = World {
        network: Arc::new(network.clone()),
        ..world(&SimHost::new("server-1", seed))
    };
    let mut config = AgentConfig {
        name: "server-1".to_owned(),
        data_dir: "/var/lib/drover".to_owned(),
        advertise_addr: Some(turmoil::lookup("server-1")),
        ..AgentConfig::default()
    };
    config.server.enabled = true;
    let lease = Duration::from_millis(config.server.heartbeat_ttl_ms);
    let agent = agent::start(world, config).await?;
    let server = agent.server.as_ref().context("it is no server")?;
    let random = Random::seeded(seed);
    let nodes: Vec<Node> = (0..count).map(|number| node(number, &random)).collect();
    let share = count.div_ceil(CONNECTIONS).max(1);

    let before = cpu_time()?;
    let registering = nodes.chunks(share).map(|nodes| {
        let (nodes, stream) = (nodes.to_vec(), network.to(RPC_PORT));
        tokio::task::spawn_local(async move { register(nodes, stream?).await })
    });
    for registered in registering.collect::<Vec<_>>() {
        registered.await??;
    }
    let registering = cpu_time()?.saturating_sub(before);

    let (before, end) = (cpu_time()?, now() + lasting);
    let beating = nodes.chunks(share).map(|nodes| {
        let proofs: Vec<NodeProof> = nodes.iter().map(proof).collect();
        let (stream, pause) = (network.to(RPC_PORT), lease / BEATS_PER_LEASE);
        tokio::task::spawn_local(async move { keep_alive(proofs, stream?, pause, end).await })
    });
    let mut beats = 0;
    for beaten in beating.collect::<Vec<_>>() {
        beats += beaten.await??;
    }
    let beating = cpu_time()?.saturating_sub(before);
    let ready = server
        .state
        .now()
        .nodes()
        .filter(|node| node.ready())
        .count();
    Ok(Measured {
        registering,
        beating,
        beats,
        ready,
    })
}

fn now() -> Duration {
    clock::elapsed()
}

fn node(number: usize, random: &Random) -> Node {
    Node {
        id: random.uuid(),
        secret_id: random.uuid(),
        datacenter: "dc1".to_owned(),
        name: format!("node-{number}"),
        resources: Resources {
            cpu: 4_000,
            memory_mb: 8_192,
            disk_mb: 50_000,
            ..Resources::default()
        },
        ..Node::default()
    }
}

fn proof(node: &Node) -> NodeProof {
    NodeProof {
        node_id: node.id.clone(),
        secret: node.secret_id.clone(),
    }
}

async fn ask(stream: &mut DuplexStream, request: &Request) -> Result<Response> {
    wire::write_frame(stream, request).await?;
    Ok(wire::read_frame(stream).await?)
}

async fn register(nodes: Vec<Node>, mut stream: DuplexStream) -> Result<()> {
    for node in nodes {
        let catalog = CatalogNode {
            id: node.id.clone(),
            node: node.name.clone(),
            datacenter: node.datacenter.clone(),
            ..CatalogNode::default()
        };
        let request = Request::RegisterNode {
            node: Box::new(node),
            catalog,
        };
        match ask(&mut stream, &request).await? {
            Response::Done | Response::Registered { .. } => {}
            other => bail!("a node can't register: {other:?}"),
        }
    }
    Ok(())
}

async fn keep_alive(
    proofs: Vec<NodeProof>,
    mut stream: DuplexStream,
    pause: Duration,
    end: Duration,
) -> Result<u64> {
    let mut beats = 0;
    while now() < end {
        let began = now();
        for proof in &proofs {
            let proof = proof.clone();
            match ask(&mut stream, &Request::Heartbeat { proof }).await? {
                Response::Lease { .. } => beats += 1,
                other => bail!("a node's lease isn't renewed: {other:?}"),
            }
        }
        let took = now().saturating_sub(began);
        ensure!(
            took <= pause,
            "a round of heartbeats took {took:?} of simulated time"
        );
        tokio::time::sleep(pause.saturating_sub(took)).await;
    }
    Ok(beats)
}

/// The CPU time this thread has used.
fn cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .context("CPU time is read from /proc, which Linux has")?;
    let nanos = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_beat_stay_ready() {
        let measured = measure(40, 12, 1).expect("it is measured");
        assert_eq!((measured.ready, measured.beats), (40, 40 * 12));
    }
}
