//! `Gossip`: who belongs to the cluster and who is alive, kept by all agents among themselves
//! (SWIM, by the foca crate) over datagrams.

mod actor;
mod address;
mod effects;
mod membership;
mod packet;
mod peer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use futures_util::future::join_all;
use logic::config::{AgentConfig, Ports};
use logic::membership::{Known, Member, MemberStatus, Members};
use ports::{Network, World};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use self::actor::{ForceLeave, Gossiper, Greet, IsStranger, Leave, Parts, Stop};
use self::address::{Target, resolve};
use self::membership::Membership;
pub(crate) use self::packet::fuzz_packet;
use crate::error::StartError;
use crate::published::{Publisher, Subscriber, publish};
use crate::seal::Seal;
use crate::wire;

/// How long an agent may take to answer a greeting.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long `start_join` tries.
const START_JOIN_WITHIN: Duration = Duration::from_secs(10);
const START_JOIN_PAUSE: Duration = Duration::from_millis(500);

/// A handle on this agent's gossip. Cheap to clone.
#[derive(Clone)]
pub struct Gossip {
    members: Subscriber<Arc<Members>>,
    publisher: Arc<Publisher<Arc<Members>>>,
    /// None: this agent talks to nobody.
    running: Option<Arc<Running>>,
}

/// The actor, which ends with the last handle.
struct Running {
    gossiper: Addr<Gossiper>,
    network: Arc<dyn Network>,
    keyed: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gossiper.do_send(Stop);
    }
}

impl Gossip {
    /// Opens the port, and joins the agents of `config.join` in the background. A dev agent that
    /// isn't told of others keeps to itself.
    pub async fn start(
        world: &World,
        config: &AgentConfig,
        me: Member,
    ) -> Result<Self, StartError> {
        let seal = Seal::configured(&config.encrypt)?;
        let join = targets("join", &config.join)?;
        targets("start_join", &config.start_join)?;
        if config.dev_mode && config.join.is_empty() && config.start_join.is_empty() {
            return Ok(Self::alone(me));
        }
        check_size(&me)?;
        let ip = config.addresses.serf.unwrap_or(config.bind_addr);
        let address = SocketAddr::new(ip, config.ports.serf);
        let socket = world.network.datagrams(address).await;
        let socket = socket.map_err(|source| StartError::Listen {
            what: "gossip (UDP)",
            setting: "ports { serf }",
            source,
        })?;
        let keyed = !seal.is_none();
        tracing::info!(address = %socket.local_addr(), keyed, "gossip listens");
        let mut gossip = Self::alone(me.clone());
        let gossiper = Gossiper::new(Parts {
            world: world.clone(),
            seal,
            membership: Membership::new(me, world.random.clone()),
            published: gossip.members.borrow().clone(),
            publisher: Arc::clone(&gossip.publisher),
            socket: socket.into(),
            join,
        });
        gossip.running = Some(Arc::new(Running {
            gossiper: gossiper.start(),
            network: world.network.clone(),
            keyed,
        }));
        gossip.start_join(&config.start_join).await?;
        Ok(gossip)
    }

    /// A handle that knows nobody but `me`, for an agent that talks to nobody.
    pub fn alone(me: Member) -> Self {
        let alone = Known {
            member: me.clone(),
            status: MemberStatus::Alive,
        };
        let (publisher, members) = publish(Arc::new(Members([(me.id, alone)].into())));
        Self {
            members,
            publisher: Arc::new(publisher),
            running: None,
        }
    }

    /// Everybody known, now and whenever that changes.
    pub fn members(&self) -> Subscriber<Arc<Members>> {
        self.members.clone()
    }

    /// Asks `host[:port]`s for the members they know; how many answered, or why none did.
    pub async fn join(&self, addresses: Vec<String>) -> Result<usize, String> {
        let Some(running) = &self.running else {
            return Err("this agent runs in dev mode and keeps to itself".to_owned());
        };
        let asked = addresses.iter().map(|address| running.join(address));
        let answers = join_all(asked).await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        if answered > 0 || addresses.is_empty() {
            return Ok(answered);
        }
        let reasons: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        Err(reasons.join("; "))
    }

    async fn start_join(&self, addresses: &[String]) -> Result<(), StartError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let mut last = String::new();
        let trying = async {
            while let Err(why) = self.join(addresses.to_vec()).await {
                last = why;
                sleep(START_JOIN_PAUSE).await;
            }
        };
        timeout(START_JOIN_WITHIN, trying).await.map_err(|_| {
            StartError::Config(format!(
                "start_join: no agent could be joined within {} s: {last}; to start without \
                 them, name them in retry_join instead",
                START_JOIN_WITHIN.as_secs()
            ))
        })
    }

    /// Makes a failed member one that has left; it may be given by name, `NAME.REGION` or id.
    pub async fn force_leave(&self, name: &str) -> Result<(), String> {
        let Some(running) = &self.running else {
            return Err(format!("no failed member is called {name}"));
        };
        let asked = running.gossiper.send(ForceLeave(name.to_owned())).await;
        asked.map_err(|_| "gossip has ended".to_owned())?
    }

    /// Says goodbye, so that nobody takes what follows for a failure.
    pub async fn leave(&self) {
        if let Some(running) = &self.running
            && running.gossiper.send(Leave).await.is_err()
        {
            tracing::debug!("gossip has ended before it could say goodbye");
        }
    }
}

impl Running {
    /// Greets one agent, and waits for its answer.
    async fn join(&self, address: &str) -> Result<(), String> {
        let target = Target::parse(address, Ports::default().serf)?;
        let addresses = resolve(&*self.network, &target).await?;
        let (answered, answer) = oneshot::channel();
        let greet = Greet {
            addresses: addresses.clone(),
            answered,
        };
        let ended = |_| "gossip has ended".to_owned();
        self.gossiper.send(greet).await.map_err(ended)?;
        if let Ok(Ok(())) = timeout(ANSWER_WITHIN, answer).await {
            return Ok(());
        }
        let stranger = self.gossiper.send(IsStranger(addresses)).await;
        if stranger.map_err(ended)? {
            return Err(format!(
                "the agent at {target} has another key (encrypt) or none"
            ));
        }
        let seconds = ANSWER_WITHIN.as_secs();
        let why = if self.keyed {
            "it has another key (encrypt) than this one, or none"
        } else {
            "it has a key (encrypt) that this one lacks"
        };
        Err(format!(
            "nobody answers at {target} (UDP) within {seconds} s; if an agent runs there, {why}"
        ))
    }
}

fn targets(setting: &str, addresses: &[String]) -> Result<Vec<Target>, StartError> {
    let port = Ports::default().serf;
    let read = addresses.iter().map(|text| Target::parse(text, port));
    read.collect::<Result<_, _>>()
        .map_err(|error| StartError::Config(format!("{setting}: {error}")))
}

/// What an agent says of itself must fit into datagrams, three times over.
fn check_size(me: &Member) -> Result<(), StartError> {
    let length = wire::encode(me).map_or(usize::MAX, |bytes| bytes.len());
    if length <= peer::MEMBER_BYTES_MAX {
        return Ok(());
    }
    let over = length.saturating_sub(peer::MEMBER_BYTES_MAX);
    Err(StartError::Config(format!(
        "name, region and datacenter are together {over} bytes too long for gossip: shorten them"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn member(number: u8) -> Member {
        Member {
            id: format!("00000000-0000-4000-8000-0000000000{number:02x}"),
            name: format!("node-{number}"),
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            address: std::net::IpAddr::from([192, 0, 2, number]),
            serf_port: 4648,
            rpc_port: 4647,
            http_port: 4646,
            server: true,
            bootstrap_expect: 3,
            version: "0.1.0".to_owned(),
            generation: 1_767_225_600_000_000_000,
        }
    }

    #[test]
    fn a_name_too_long_for_datagrams_is_refused() {
        let mut me = member(1);
        check_size(&me).expect("it fits");
        me.name = "n".repeat(300);
        let refused = check_size(&me).expect_err("too long").to_string();
        assert!(refused.contains("too long for gossip"), "{refused}");
    }
}
