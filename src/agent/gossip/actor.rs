//! The actor between [`Membership`] and the world: datagrams, timers, and what is published.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use foca::Timer;
use logic::membership::Members;
use ports::{Datagrams, World};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::address::{Target, resolve};
use super::effects::{Alarm, Effects};
use super::membership::{Membership, WATCH_EVERY};
use super::packet::{DATAGRAM_BYTES_MAX, Packet, Refused};
use super::peer::SUSPECT_FOR;
use crate::published::Publisher;
use crate::seal::Seal;

const TICK: Duration = Duration::from_secs(1);
/// How often the addresses of `join` are asked: agents that start together soon know each other,
/// and addresses that stay silent are asked less and less often.
const JOIN_AT_ONCE: Duration = Duration::from_millis(250);
const JOIN_AT_ONCE_FOR: Duration = Duration::from_secs(5);
const JOIN_FAST: Duration = Duration::from_secs(1);
const JOIN_FAST_FOR: Duration = Duration::from_secs(30);
const JOIN_SLOW: Duration = Duration::from_secs(15);
/// A greeting may get lost.
const GREET_AGAIN: Duration = Duration::from_millis(500);
/// Changes that come together are published together.
const PUBLISH_AFTER: Duration = Duration::from_millis(10);
/// An alarm later than this says that this agent itself was asleep.
const ASLEEP: Duration = Duration::from_millis(500);
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Addresses of strangers that are remembered at most.
const STRANGERS_MAX: usize = 1_000;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// A goodbye is said more than once, since it may get lost.
const GOODBYES: u32 = 3;
const BETWEEN_GOODBYES: Duration = Duration::from_millis(100);
const OUTBOX: usize = 4_096;

pub(super) struct Gossiper {
    world: World,
    seal: Seal,
    membership: Membership,
    published: Arc<Members>,
    publisher: Arc<Publisher<Arc<Members>>>,
    publishing: bool,
    socket: Option<Arc<dyn Datagrams>>,
    local: SocketAddr,
    outbox: Option<mpsc::Sender<(SocketAddr, Vec<u8>)>>,
    receiver: Option<AbortHandle>,
    join: Vec<Target>,
    /// Since when nobody else is known, and when the addresses of `join` are asked next.
    lonely_since: Option<Duration>,
    join_at: Duration,
    tell_at: Duration,
    /// Who waits for the answer to a greeting, by its token.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    /// Those whose datagrams can't be opened, and when that was last said.
    strangers: BTreeMap<IpAddr, Duration>,
}

/// What a new [`Gossiper`] is made of.
pub(super) struct Parts {
    pub(super) world: World,
    pub(super) seal: Seal,
    pub(super) membership: Membership,
    pub(super) published: Arc<Members>,
    pub(super) publisher: Arc<Publisher<Arc<Members>>>,
    pub(super) socket: Arc<dyn Datagrams>,
    pub(super) join: Vec<Target>,
}

impl Gossiper {
    pub(super) fn new(parts: Parts) -> Self {
        let now = parts.world.clock.monotonic();
        Self {
            world: parts.world,
            seal: parts.seal,
            membership: parts.membership,
            published: parts.published,
            publisher: parts.publisher,
            publishing: false,
            local: parts.socket.local_addr(),
            socket: Some(parts.socket),
            outbox: None,
            receiver: None,
            join: parts.join,
            lonely_since: None,
            join_at: now,
            tell_at: now,
            waiting: BTreeMap::new(),
            strangers: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        self.world.clock.monotonic()
    }

    fn carry_out(&mut self, effects: Effects, context: &mut Context<Self>) {
        for (to, packet) in effects.sends {
            self.send(to, &packet);
        }
        for (after, alarm) in effects.alarms {
            self.set(alarm, after, context);
        }
        if !effects.answered.is_empty() {
            // Whoever joined sees the members it joined.
            self.publish();
            for token in effects.answered {
                if let Some(waiting) = self.waiting.remove(&token) {
                    // Nobody waits any more: fine.
                    let _ = waiting.send(());
                }
            }
        }
        if effects.changed && !self.publishing {
            self.publishing = true;
            context.run_later(PUBLISH_AFTER, |gossiper, _| {
                gossiper.publishing = false;
                gossiper.publish();
            });
        }
    }

    fn set(&mut self, alarm: Alarm, after: Duration, context: &mut Context<Self>) {
        let due = self.now() + after;
        context.run_later(after, move |gossiper, context| {
            let now = gossiper.now();
            let accuses = matches!(
                alarm,
                Alarm::Swim(Timer::ChangeSuspectToDown { .. }) | Alarm::StillSilent { .. }
            );
            if accuses && now.saturating_sub(due) > ASLEEP {
                // What the suspect said meanwhile hasn't been read yet.
                return gossiper.set(alarm, SUSPECT_FOR, context);
            }
            let effects = gossiper.membership.alarm(alarm, now);
            gossiper.carry_out(effects, context);
        });
    }

    fn send(&self, to: SocketAddr, packet: &Packet) {
        let Some(to) = reachable(self.local, to) else {
            tracing::debug!(%to, "gossip can't send to an address of another family than its own");
            return;
        };
        match packet.datagram(&self.seal, &self.world.random) {
            Ok(datagram) => {
                let sent = self
                    .outbox
                    .as_ref()
                    .map(|outbox| outbox.try_send((to, datagram)));
                if let Some(Err(error)) = sent {
                    tracing::debug!(%to, %error, "a gossip packet is dropped");
                }
            }
            Err(error) => tracing::warn!(%to, %error, "a gossip packet can't be written"),
        }
    }

    fn publish(&mut self) {
        let members = Arc::new(self.membership.members());
        if members == self.published {
            return;
        }
        for known in members.iter() {
            let before = self.published.get(&known.member.id);
            if before.map(|before| before.status) != Some(known.status) {
                let member = &known.member;
                tracing::info!(
                    name = member.name,
                    address = %member.serf_address(),
                    status = known.status.name(),
                    "a member's status changed"
                );
            }
        }
        self.published = Arc::clone(&members);
        self.publisher.send_replace(members);
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.now();
        let mut all = vec![self.membership.ask_failed(), self.membership.forget(now)];
        if now >= self.tell_at {
            // Seldom in large clusters, where there is much to tell.
            let seconds = 5 + self.membership.alive() as u64 / 20;
            self.tell_at = now + Duration::from_secs(seconds);
            all.push(self.membership.tell_somebody(now));
        }
        for effects in all {
            self.carry_out(effects, context);
        }
        self.strangers
            .retain(|_, warned| now.saturating_sub(*warned) < WARN_EVERY);
    }

    fn look_around(&mut self, context: &mut Context<Self>) {
        let now = self.now();
        let effects = self.membership.watch(now);
        self.carry_out(effects, context);
        self.join_configured(now, context);
    }

    /// Asks the addresses of `join`, often while nobody else is known.
    fn join_configured(&mut self, now: Duration, context: &mut Context<Self>) {
        if self.join.is_empty() {
            return;
        }
        if self.membership.alive() > 0 {
            self.lonely_since = None;
        } else if self.lonely_since.is_none() {
            self.lonely_since = Some(now);
            self.join_at = now;
        }
        if now < self.join_at {
            return;
        }
        let lonely_for = self.lonely_since.map(|since| now.saturating_sub(since));
        self.join_at = now
            + match lonely_for {
                Some(lonely_for) if lonely_for < JOIN_AT_ONCE_FOR => JOIN_AT_ONCE,
                Some(lonely_for) if lonely_for < JOIN_FAST_FOR => JOIN_FAST,
                Some(_) | None => JOIN_SLOW,
            };
        if lonely_for.is_some_and(|lonely_for| lonely_for >= JOIN_FAST_FOR) {
            let join: Vec<_> = self.join.iter().map(Target::to_string).collect();
            tracing::warn!(
                join = join.join(", "),
                "nobody answers; is asked again and again"
            );
        }
        for target in self.join.clone() {
            let network = self.world.network.clone();
            let found = async move { resolve(&*network, &target).await };
            let greeting = found
                .into_actor(self)
                .map(|found, gossiper, context| match found {
                    Ok(addresses) => gossiper.greet_strangers(addresses, context),
                    Err(error) => tracing::debug!(error, "an address of join isn't found"),
                });
            context.spawn(greeting);
        }
    }

    fn greet_strangers(&mut self, addresses: Vec<SocketAddr>, context: &mut Context<Self>) {
        for address in addresses {
            if !self.membership.is_alive_at(address) {
                let effects = self.membership.greet(address, 0);
                self.carry_out(effects, context);
            }
        }
    }

    /// Greets until the token comes back or nobody waits for it any more.
    fn greet(&mut self, addresses: Vec<SocketAddr>, token: u64, context: &mut Context<Self>) {
        let waits = self.waiting.get(&token);
        if waits.is_none_or(oneshot::Sender::is_closed) {
            self.waiting.remove(&token);
            return;
        }
        for address in &addresses {
            let effects = self.membership.greet(*address, token);
            self.carry_out(effects, context);
        }
        context.run_later(GREET_AGAIN, move |gossiper, context| {
            gossiper.greet(addresses, token, context);
        });
    }

    fn say(&self, goodbye: &[(SocketAddr, Packet)]) {
        for (to, packet) in goodbye {
            self.send(*to, packet);
        }
    }

    fn refused(&mut self, from: SocketAddr, refused: &Refused) {
        match refused {
            Refused::Key => {
                let (address, now) = (from.ip(), self.now());
                let known = self.strangers.contains_key(&address);
                if !known && self.strangers.len() < STRANGERS_MAX {
                    self.strangers.insert(address, now);
                    tracing::warn!("an agent at {from} has another key (encrypt) or none");
                }
            }
            Refused::Malformed(_) | Refused::Stranger => {
                tracing::debug!(%from, error = %refused, "a datagram is dropped");
            }
        }
    }
}

/// How a socket that is bound to `local` names `to`.
fn reachable(local: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
    match (local.ip(), to.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some(to),
        (IpAddr::V6(local), IpAddr::V4(ip)) if local.is_unspecified() => {
            Some((ip.to_ipv6_mapped(), to.port()).into())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

impl Actor for Gossiper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(socket) = self.socket.take() {
            let (outbox, letters) = mpsc::channel(OUTBOX);
            self.outbox = Some(outbox);
            tokio::task::spawn_local(deliver(Arc::clone(&socket), letters));
            let receiving = receive(socket, context.address());
            self.receiver = Some(tokio::task::spawn_local(receiving).abort_handle());
        }
        self.tick(context);
        context.run_interval(TICK, Self::tick);
        self.look_around(context);
        context.run_interval(WATCH_EVERY, Self::look_around);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(receiver) = &self.receiver {
            receiver.abort();
        }
    }
}

async fn deliver(socket: Arc<dyn Datagrams>, mut letters: mpsc::Receiver<(SocketAddr, Vec<u8>)>) {
    while let Some((to, datagram)) = letters.recv().await {
        if let Err(error) = socket.send(&datagram, to).await {
            tracing::debug!(%to, %error, "a gossip packet can't be sent");
        }
    }
}

async fn receive(socket: Arc<dyn Datagrams>, gossiper: Addr<Gossiper>) {
    // One byte more shows what is too long.
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    loop {
        match socket.receive(&mut buffer).await {
            Ok((length, from)) => {
                let datagram = buffer[..length.min(buffer.len())].to_vec();
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                if gossiper.send(Received { datagram, from }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "gossip can't receive");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Received {
    datagram: Vec<u8>,
    from: SocketAddr,
}

impl Handler<Received> for Gossiper {
    type Result = ();

    fn handle(&mut self, Received { datagram, from }: Received, context: &mut Context<Self>) {
        match Packet::read(&datagram, &self.seal) {
            Ok(packet) => {
                let now = self.now();
                let effects = self.membership.receive(packet, from, now);
                self.carry_out(effects, context);
            }
            Err(refused) => self.refused(from, &refused),
        }
    }
}

/// Greets an agent at these addresses; `answered` hears of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Greet {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) answered: oneshot::Sender<()>,
}

impl Handler<Greet> for Gossiper {
    type Result = ();

    fn handle(&mut self, greet: Greet, context: &mut Context<Self>) {
        // 0 stands for greetings whose answer nobody waits for.
        let token = self.world.random.next_u64().max(1);
        self.waiting.insert(token, greet.answered);
        self.greet(greet.addresses, token, context);
    }
}

/// Whether datagrams from there couldn't be opened of late.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct IsStranger(pub(super) Vec<SocketAddr>);

impl Handler<IsStranger> for Gossiper {
    type Result = bool;

    fn handle(&mut self, IsStranger(addresses): IsStranger, _: &mut Context<Self>) -> bool {
        let mut addresses = addresses.iter();
        addresses.any(|address| self.strangers.contains_key(&address.ip()))
    }
}

#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub(super) struct ForceLeave(pub(super) String);

impl Handler<ForceLeave> for Gossiper {
    type Result = Result<(), String>;

    fn handle(
        &mut self,
        ForceLeave(name): ForceLeave,
        context: &mut Context<Self>,
    ) -> Result<(), String> {
        let now = self.now();
        let effects = self.membership.force_leave(&name, now)?;
        self.carry_out(effects, context);
        self.publish();
        Ok(())
    }
}

/// Answered once the goodbye has been said.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

impl Handler<Leave> for Gossiper {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Leave, _: &mut Context<Self>) -> ResponseActFuture<Self, ()> {
        let goodbye = self.membership.leave().sends;
        self.publish();
        self.say(&goodbye);
        let mut saying: ResponseActFuture<Self, ()> = Box::pin(actix::fut::ready(()));
        for _ in 1..GOODBYES {
            let goodbye = goodbye.clone();
            let pause = move |(), _: &mut Self, _: &mut Context<Self>| {
                actix::fut::wrap_future(tokio::time::sleep(BETWEEN_GOODBYES))
            };
            saying = Box::pin(saying.then(pause).map(move |(), gossiper, _| {
                gossiper.say(&goodbye);
            }));
        }
        saying
    }
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

impl Handler<Stop> for Gossiper {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
        context.stop();
    }
}
