//! What one agent knows of all others, and what follows from what it hears: foca's SWIM, and
//! around it how agents meet, come back, leave and are forgotten. Pure: it returns what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foca::{Foca, NoCustomBroadcast, State, Timer};
use logic::membership::{Known, Member, MemberStatus, Members};
use ports::Random;

use super::effects::{Alarm, Effects};
use super::packet::{Hello, Packet, Rumour, Suspected, known};
use super::peer::{Codec, Dice, Peer, config, status};
use watch::Watch;

pub(super) use watch::WATCH_EVERY;

/// How long a member that failed or left is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// A suspect is told of it that often.
const TELL_SUSPECT_EVERY: Duration = Duration::from_millis(60);
/// How many agents ask a failed one every second whether it is back.
const ASK_FAILED: u64 = 3;

/// Since when one is dead, and which of its lives that was.
struct Death {
    peer: Peer,
    since: Duration,
}

pub(super) struct Membership {
    foca: Foca<Peer, Codec, Dice, NoCustomBroadcast>,
    random: Random,
    /// By the key of the member.
    deaths: BTreeMap<u128, Death>,
    /// Suspects that are being told, and the suspicion.
    told: BTreeSet<(u128, u64, u16)>,
    watch: Watch,
    /// The last suspicion of this agent that it denied, and its generation then.
    denied: Option<(u64, u16)>,
    /// How many members were known when it was last looked.
    size: usize,
    left: bool,
}

impl Membership {
    pub(super) fn new(me: Member, random: Random) -> Self {
        let me = Peer::new(Arc::new(me), false);
        Self {
            foca: Foca::new(me, config(), Dice(random.clone()), Codec),
            random,
            deaths: BTreeMap::new(),
            told: BTreeSet::new(),
            watch: Watch::default(),
            denied: None,
            size: 0,
            left: false,
        }
    }

    fn me(&self) -> &Peer {
        self.foca.identity()
    }

    /// How many others are alive.
    pub(super) fn alive(&self) -> usize {
        self.foca.num_members()
    }

    pub(super) fn is_alive_at(&self, address: SocketAddr) -> bool {
        let mut alive = self.foca.iter_members();
        alive.any(|member| member.id().member.serf_address() == address)
    }

    /// Everybody, this agent included.
    pub(super) fn members(&self) -> Members {
        let others = self.foca.iter_membership_state();
        let others = others.filter(|other| !other.id().is_same_node(self.me()));
        let others = others.map(|other| (other.id(), status(other)));
        let own = if self.left {
            MemberStatus::Left
        } else {
            MemberStatus::Alive
        };
        let all = others.chain([(self.me(), own)]);
        Members(
            all.map(|(peer, status)| {
                let member = Member::clone(&peer.member);
                (member.id.clone(), Known { member, status })
            })
            .collect(),
        )
    }

    pub(super) fn greet(&self, address: SocketAddr, token: u64) -> Effects {
        let mut out = Effects::default();
        if !self.left {
            out.sends.push((address, self.hello(token, false, None)));
        }
        out
    }

    fn hello(&self, token: u64, answer: bool, dead_until: Option<u64>) -> Packet {
        Packet::Hello(Hello {
            from: Arc::clone(&self.me().member),
            token,
            answer,
            dead_until,
        })
    }

    pub(super) fn receive(&mut self, packet: Packet, from: SocketAddr, now: Duration) -> Effects {
        let mut out = Effects::default();
        if self.left {
            return out;
        }
        match packet {
            Packet::Swim(data) => {
                if let Err(error) = self.foca.handle_data(&data, &mut out) {
                    tracing::debug!(%from, %error, "a gossip packet is dropped");
                }
            }
            Packet::Hello(hello) => self.greeted(hello, from, now, &mut out),
            Packet::Suspected(suspected) => self.suspected(&suspected, from, &mut out),
            Packet::Known(rumours) => self.heard(rumours, now, &mut out),
            Packet::AreYouThere => out.sends.push((from, self.here())),
            Packet::Here { key, generation } => self.watch.answered(key, generation, now),
        }
        self.settle(now, &mut out);
        out
    }

    pub(super) fn alarm(&mut self, alarm: Alarm, now: Duration) -> Effects {
        let mut out = Effects::default();
        if self.left {
            return out;
        }
        match alarm {
            Alarm::Swim(timer) => {
                if let Err(error) = self.foca.handle_timer(timer, &mut out) {
                    tracing::debug!(%error, "gossip recovers from a late timer");
                }
            }
            Alarm::TellSuspect {
                suspect,
                incarnation,
            } => self.tell_suspect(suspect, incarnation, &mut out),
            Alarm::StillSilent {
                suspect,
                incarnation,
            } => self.still_silent(suspect, incarnation, &mut out),
        }
        self.settle(now, &mut out);
        out
    }

    fn greeted(&mut self, hello: Hello, from: SocketAddr, now: Duration, out: &mut Effects) {
        let peer = Peer::new(hello.from, false);
        if peer.is_same_node(self.me()) {
            return self.greeted_by_itself(&peer, hello.token, hello.answer, from, out);
        }
        let former = self.me().clone();
        if let Some(dead_until) = hello.dead_until {
            self.outlive(dead_until, out);
        }
        let before = self.state_of(&peer);
        let dead_until = before.as_ref().and_then(|before| {
            let outdated = before.id().member.generation > peer.member.generation;
            let dead = before.id() == &peer && before.state() == State::Down;
            let gone = before.id() == &peer.gone();
            (outdated || dead || gone).then_some(before.id().member.generation)
        });
        let was_alive = before.is_some_and(|before| before.state() != State::Down);
        if hello.answer {
            out.answered.push(hello.token);
        } else {
            let answer = self.hello(hello.token, true, dead_until);
            out.sends.push((from, answer));
        }
        if dead_until.is_some() {
            if hello.answer {
                // It doesn't know yet that it is dead to us.
                out.sends.push((from, self.hello(0, false, dead_until)));
            }
            return;
        }
        self.apply(vec![foca::Member::alive(peer.clone())], true, out);
        if hello.answer && &former != self.me() {
            // An answer, so that it ends there.
            out.sends.push((from, self.hello(0, true, None)));
        }
        if !was_alive {
            let roster = self.roster(&peer, from, now);
            out.sends.extend(roster);
        }
    }

    fn greeted_by_itself(
        &self,
        peer: &Peer,
        token: u64,
        answer: bool,
        from: SocketAddr,
        out: &mut Effects,
    ) {
        if peer.member.serf_address() != self.me().member.serf_address() {
            let id = &peer.member.id;
            tracing::warn!(%from, id, "another agent has this node's id: was its data directory copied?");
        } else if answer {
            out.answered.push(token);
        } else {
            out.sends.push((from, self.hello(token, true, None)));
        }
    }

    fn state_of(&self, peer: &Peer) -> Option<foca::Member<Peer>> {
        let mut all = self.foca.iter_membership_state();
        all.find(|known| known.id().is_same_node(peer)).cloned()
    }

    /// Others take this agent, up to that generation, for dead: it goes on with a greater one.
    fn outlive(&mut self, generation: u64, out: &mut Effects) {
        if generation < self.me().member.generation {
            return;
        }
        if let Some(next) = generation.checked_add(1) {
            let reborn = self.me().reborn(next);
            tracing::info!("other agents took this one for dead: it says that it lives");
            out.changed = true;
            if let Err(error) = self.foca.change_identity(reborn, &mut *out) {
                tracing::warn!(%error, "this agent can't tell the others that it lives");
            }
        }
    }

    fn apply(&mut self, news: Vec<foca::Member<Peer>>, spread: bool, out: &mut Effects) {
        if let Err(error) = self.foca.apply_many(news.into_iter(), spread, out) {
            tracing::warn!(%error, "news of members can't be spread");
        }
    }

    /// Packets that tell `to` of everybody but itself.
    fn roster(&self, to: &Peer, address: SocketAddr, now: Duration) -> Vec<(SocketAddr, Packet)> {
        let others = self.foca.iter_membership_state();
        let others = others.filter(|other| {
            let id = other.id();
            !id.is_same_node(to) && !id.is_same_node(self.me())
        });
        let rumours = others.map(|other| {
            let death = self.deaths.get(&other.id().key());
            let dead_for = death.map_or(0, |death| now.saturating_sub(death.since).as_secs());
            let dead_for = u32::try_from(dead_for).unwrap_or(u32::MAX);
            Rumour::new(other.id(), other.incarnation(), other.state(), dead_for)
        });
        let packets = known(rumours.collect()).into_iter();
        packets.map(|packet| (address, packet)).collect()
    }

    /// Somebody got no answer from this agent, and asks once more.
    fn suspected(&mut self, suspected: &Suspected, from: SocketAddr, out: &mut Effects) {
        let (generation, incarnation) = (suspected.generation, suspected.incarnation);
        let own = self.me().member.generation;
        if generation > own {
            self.outlive(generation, out);
        } else if generation == own && self.denied < Some((generation, incarnation)) {
            self.denied = Some((generation, incarnation));
            let me = self.me().clone();
            let suspicion = foca::Member::new(me, incarnation, State::Suspect);
            self.apply(vec![suspicion], true, out);
        }
        // foca has told a few; the one that asks hears it directly.
        let denial = if generation == self.me().member.generation {
            incarnation.saturating_add(1)
        } else {
            0
        };
        let rumour = Rumour::new(self.me(), denial, State::Alive, 0);
        out.sends.push((from, Packet::Known(vec![rumour])));
    }

    fn tell_suspect(&mut self, suspect: Peer, incarnation: u16, out: &mut Effects) {
        let suspicion = (suspect.key(), suspect.member.generation, incarnation);
        let still = self.foca.iter_members().any(|member| {
            let same = member.id() == &suspect && member.incarnation() == incarnation;
            same && member.state() == State::Suspect
        });
        if !still {
            self.told.remove(&suspicion);
            return;
        }
        let packet = Packet::Suspected(Suspected {
            generation: suspect.member.generation,
            incarnation,
        });
        out.sends.push((suspect.member.serf_address(), packet));
        let again = Alarm::TellSuspect {
            suspect,
            incarnation,
        };
        out.alarms.push((TELL_SUSPECT_EVERY, again));
    }

    /// What another agent knows, some of which may be news.
    fn heard(&mut self, rumours: Vec<Rumour>, now: Duration, out: &mut Effects) {
        let mut news = Vec::new();
        for rumour in rumours {
            let dead_for = Duration::from_secs(rumour.dead_for.into());
            let member = rumour.into_member();
            let dead = member.state() == State::Down;
            if member.id().is_same_node(self.me()) {
                if dead {
                    self.outlive(member.id().member.generation, out);
                }
            } else if !dead {
                news.push(member);
            } else if self.contradicts(&member) {
                // Seen alive here: it shall say so to those that think otherwise.
                let dead_until = Some(member.id().member.generation);
                let address = member.id().member.serf_address();
                out.sends.push((address, self.hello(0, false, dead_until)));
            } else if dead_for < REMEMBERED_FOR {
                if self.state_of(member.id()).is_none() {
                    let since = now.saturating_sub(dead_for);
                    let peer = member.id().clone();
                    self.deaths.insert(peer.key(), Death { peer, since });
                }
                out.changed = true;
                news.push(member);
            }
        }
        let others_know_less = self.alive() > 0;
        self.apply(news, others_know_less, out);
    }

    /// Whether one that another agent found silent is alive as far as this one knows.
    fn contradicts(&self, silent: &foca::Member<Peer>) -> bool {
        let mut alive = self.foca.iter_members();
        alive.any(|known| known.id() == silent.id() && known.state() == State::Alive)
    }

    /// What follows from a change, whatever made it.
    fn settle(&mut self, now: Duration, out: &mut Effects) {
        let mut suspicions = std::mem::take(&mut out.alarms);
        suspicions.retain(|(after, alarm)| match alarm {
            // One suspicion at a time: foca raises it again with every probe.
            Alarm::TellSuspect {
                suspect,
                incarnation,
            } if after.is_zero() => {
                let suspicion = (suspect.key(), suspect.member.generation, *incarnation);
                self.told.insert(suspicion)
            }
            Alarm::TellSuspect { .. } | Alarm::StillSilent { .. } | Alarm::Swim(_) => true,
        });
        out.alarms = suspicions;
        // foca doesn't tell of members that it first hears of as dead.
        let size = self.foca.iter_membership_state().len();
        if !out.changed && size == self.size {
            return;
        }
        self.size = size;
        out.changed = true;
        // A changed identity begins unconnected, until the next look at the members.
        self.apply(Vec::new(), false, out);
        self.replace_predecessors(out);
        let dead = self.foca.iter_membership_state();
        let dead = dead.filter(|member| member.state() == State::Down);
        let mut deaths = BTreeMap::new();
        for member in dead {
            let peer = member.id();
            let known = self.deaths.get(&peer.key());
            let since = known
                .filter(|death| &death.peer == peer)
                .map_or(now, |death| death.since);
            let peer = peer.clone();
            deaths.insert(peer.key(), Death { peer, since });
        }
        self.deaths = deaths;
    }

    /// A failed member whose address another one has now doesn't come back: its data is lost.
    fn replace_predecessors(&mut self, out: &mut Effects) {
        let mut alive: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        let others = self.foca.iter_members().map(foca::Member::id);
        for peer in others.chain([self.me()]) {
            alive.insert(peer.member.serf_address(), peer.member.generation);
        }
        let failed = self.foca.iter_membership_state().filter(|member| {
            let successor = alive.get(&member.id().member.serf_address());
            let replaced = successor.is_some_and(|born| *born > member.id().member.generation);
            replaced && status(member) == MemberStatus::Failed
        });
        let failed = failed.filter(|member| !member.id().is_same_node(self.me()));
        let replaced: Vec<_> = failed
            .map(|member| foca::Member::down(member.id().gone()))
            .collect();
        if !replaced.is_empty() {
            self.apply(replaced, true, out);
        }
    }

    /// Once a second: asks failed members whether they are back.
    pub(super) fn ask_failed(&mut self) -> Effects {
        let mut out = Effects::default();
        if self.left {
            return out;
        }
        // All agents together ask each of them that often.
        let askers = self.alive() as u64 + 1;
        let failed = self.foca.iter_membership_state();
        let failed = failed.filter(|member| status(member) == MemberStatus::Failed);
        for member in failed {
            if self.random.below(askers) < ASK_FAILED {
                let dead_until = Some(member.id().member.generation);
                let address = member.id().member.serf_address();
                out.sends.push((address, self.hello(0, false, dead_until)));
            }
        }
        out
    }

    /// Now and then: tells somebody all that is known here, in case that packets were lost.
    pub(super) fn tell_somebody(&mut self, now: Duration) -> Effects {
        let mut out = Effects::default();
        let chosen = self.random.below(self.alive() as u64);
        let chosen = usize::try_from(chosen).unwrap_or_default();
        if let (false, Some(member)) = (self.left, self.foca.iter_members().nth(chosen)) {
            let address = member.id().member.serf_address();
            out.sends = self.roster(member.id(), address, now);
        }
        out
    }

    /// Forgets those that failed or left long ago.
    pub(super) fn forget(&mut self, now: Duration) -> Effects {
        let mut out = Effects::default();
        let all = self.deaths.values();
        let old = all.filter(|death| now.saturating_sub(death.since) >= REMEMBERED_FOR);
        let old: Vec<_> = old.map(|death| death.peer.clone()).collect();
        for peer in old {
            self.deaths.remove(&peer.key());
            if let Err(error) = self.foca.handle_timer(Timer::RemoveDown(peer), &mut out) {
                tracing::debug!(%error, "a dead member can't be forgotten");
            }
            out.changed = true;
        }
        out
    }
}

mod leaving;
#[cfg(test)]
mod tests;
mod watch;
