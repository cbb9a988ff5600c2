//! Each agent watches its neighbours. foca asks members in random order, so that now and then
//! nobody happens to ask a dead one for seconds; here somebody always does. Members stand in a
//! ring, ordered by their keys, and each asks the next two.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::State;

use super::Membership;
use crate::gossip::effects::{Alarm, Effects};
use crate::gossip::packet::Packet;
use crate::gossip::peer::{Peer, SUSPECT_FOR};

/// Two, since a neighbour may fail together with the one that watches it.
const WATCHED: usize = 2;
/// How often they are asked.
pub(in crate::gossip) const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Three questions without an answer.
const SILENT_AFTER: Duration = Duration::from_millis(750);

#[derive(Default)]
pub(super) struct Watch {
    looked_at: Option<Duration>,
    /// By the key of the member.
    neighbours: BTreeMap<u128, Neighbour>,
}

struct Neighbour {
    generation: u64,
    heard_at: Duration,
    /// Once for each silence: if others can reach it, only the way to it is cut.
    accused: bool,
}

impl Watch {
    pub(super) fn answered(&mut self, key: u128, generation: u64, now: Duration) {
        let neighbour = self.neighbours.get_mut(&key);
        if let Some(neighbour) = neighbour.filter(|known| known.generation == generation) {
            neighbour.heard_at = now;
            neighbour.accused = false;
        }
    }

    /// Begins to watch those that are new, and no longer those that are none of `peers`.
    fn turn_to(&mut self, peers: &[Peer], now: Duration) {
        let mut before = std::mem::take(&mut self.neighbours);
        for peer in peers {
            let generation = peer.member.generation;
            let known = before.remove(&peer.key());
            let known = known.filter(|known| known.generation == generation);
            let neighbour = known.unwrap_or(Neighbour {
                generation,
                heard_at: now,
                accused: false,
            });
            self.neighbours.insert(peer.key(), neighbour);
        }
        let slept = self
            .looked_at
            .is_some_and(|last| now.saturating_sub(last) > 2 * WATCH_EVERY);
        if slept {
            // Their answers haven't been read yet.
            for neighbour in self.neighbours.values_mut() {
                neighbour.heard_at = now;
            }
        }
        self.looked_at = Some(now);
    }

    /// Whether it has just become one to accuse.
    fn accuses(&mut self, peer: &Peer, now: Duration) -> bool {
        let Some(neighbour) = self.neighbours.get_mut(&peer.key()) else {
            return false;
        };
        let silent = now.saturating_sub(neighbour.heard_at) >= SILENT_AFTER;
        let accuses = silent && !neighbour.accused;
        neighbour.accused |= accuses;
        accuses
    }

    fn is_silent(&self, peer: &Peer) -> bool {
        self.neighbours.get(&peer.key()).is_some_and(|neighbour| {
            neighbour.accused && neighbour.generation == peer.member.generation
        })
    }
}

impl Membership {
    pub(super) fn here(&self) -> Packet {
        Packet::Here {
            key: self.me().key(),
            generation: self.me().member.generation,
        }
    }

    /// The members that follow this one in the ring.
    fn neighbours(&self) -> Vec<Peer> {
        let own = self.me().key();
        let mut nearest = BTreeMap::new();
        for member in self.foca.iter_members() {
            let distance = member.id().key().wrapping_sub(own);
            if distance != 0 {
                nearest.insert(distance, member.id());
            }
            if nearest.len() > WATCHED {
                nearest.pop_last();
            }
        }
        nearest.into_values().cloned().collect()
    }

    /// Every [`WATCH_EVERY`]: asks the neighbours whether they are there, and suspects those that
    /// haven't answered for a while.
    pub(in crate::gossip) fn watch(&mut self, now: Duration) -> Effects {
        let mut out = Effects::default();
        if self.left {
            return out;
        }
        let neighbours = self.neighbours();
        self.watch.turn_to(&neighbours, now);
        for peer in neighbours {
            let address = peer.member.serf_address();
            out.sends.push((address, Packet::AreYouThere));
            if self.watch.accuses(&peer, now) {
                self.accuse(peer, &mut out);
            }
        }
        self.settle(now, &mut out);
        out
    }

    fn accuse(&mut self, suspect: Peer, out: &mut Effects) {
        let Some(known) = self.state_of(&suspect) else {
            return;
        };
        let incarnation = known.incarnation();
        if known.state() == State::Alive {
            let suspicion = foca::Member::new(suspect.clone(), incarnation, State::Suspect);
            self.apply(vec![suspicion], true, out);
        }
        let tell = Alarm::TellSuspect {
            suspect: suspect.clone(),
            incarnation,
        };
        out.alarms.push((Duration::ZERO, tell));
        let judge = Alarm::StillSilent {
            suspect,
            incarnation,
        };
        out.alarms.push((SUSPECT_FOR, judge));
    }

    /// A suspect had the time to say that it lives.
    pub(super) fn still_silent(&mut self, suspect: Peer, incarnation: u16, out: &mut Effects) {
        let suspected = self.state_of(&suspect).is_some_and(|known| {
            let same = known.id() == &suspect && known.incarnation() == incarnation;
            same && known.state() == State::Suspect
        });
        if suspected && self.watch.is_silent(&suspect) {
            let dead = foca::Member::new(suspect, incarnation, State::Down);
            self.apply(vec![dead], true, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logic::membership::MemberStatus;
    use ports::Random;

    use super::*;
    use crate::gossip::tests::member;

    const START: Duration = Duration::from_secs(1_000);

    fn agent(number: u8, others: &[u8]) -> Membership {
        let mut agent = Membership::new(member(number), Random::seeded(number.into()));
        let others = others.iter();
        let others = others.map(|id| foca::Member::alive(Peer::new(Arc::new(member(*id)), false)));
        agent.apply(others.collect(), false, &mut Effects::default());
        agent
    }

    fn here(number: u8) -> Packet {
        Packet::Here {
            key: Peer::new(Arc::new(member(number)), false).key(),
            generation: member(number).generation,
        }
    }

    fn is(agent: &Membership, number: u8) -> Option<MemberStatus> {
        let members = agent.members();
        members.get(&member(number).id).map(|known| known.status)
    }

    /// Watches for that long; `answers` says who answers when. Returns when 2 failed.
    fn watched(
        agent: &mut Membership,
        lasts: Duration,
        answers: impl Fn(Duration) -> Vec<u8>,
    ) -> Option<Duration> {
        let mut alarms: Vec<(Duration, Alarm)> = Vec::new();
        let mut at = Duration::ZERO;
        while at < lasts {
            at += WATCH_EVERY;
            let due = alarms
                .extract_if(.., |(due, _)| *due <= at)
                .collect::<Vec<_>>();
            let mut all: Vec<_> = due
                .into_iter()
                .filter(|(_, alarm)| !matches!(alarm, Alarm::Swim(_)))
                .map(|(_, alarm)| agent.alarm(alarm, START + at))
                .collect();
            all.push(agent.watch(START + at));
            for number in answers(at) {
                let from = member(number).serf_address();
                let soon = START + at + Duration::from_millis(2);
                all.push(agent.receive(here(number), from, soon));
            }
            alarms.extend(
                all.into_iter()
                    .flat_map(|out| out.alarms)
                    .map(|(in_, it)| (at + in_, it)),
            );
            if is(agent, 2) == Some(MemberStatus::Failed) {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn a_dead_neighbour_is_found_even_if_swim_asks_nobody() {
        let mut one = agent(1, &[2, 3]);
        let dies = Duration::from_secs(5);
        let found = watched(&mut one, Duration::from_secs(60), |at| {
            if at < dies { vec![2, 3] } else { vec![3] }
        });
        let took = found.expect("it is found").saturating_sub(dies);
        assert!(took <= Duration::from_millis(2_250), "{took:?}");
        assert_eq!(is(&one, 3), Some(MemberStatus::Alive));
    }

    #[test]
    fn lost_answers_and_own_sleep_accuse_nobody() {
        let mut one = agent(1, &[2, 3]);
        // Two of three are lost.
        let lossy = |at: Duration| {
            if at.as_millis().is_multiple_of(750) {
                vec![2, 3]
            } else {
                vec![]
            }
        };
        assert_eq!(watched(&mut one, Duration::from_secs(60), lossy), None);
        let after_sleep = START + Duration::from_secs(3_600);
        one.watch(after_sleep);
        assert!(
            one.state_of(&Peer::new(Arc::new(member(2)), false))
                .is_some_and(|known| { known.state() == State::Alive })
        );
    }

    #[test]
    fn one_that_others_reach_is_accused_once_only() {
        let mut one = agent(1, &[2, 3]);
        let peer = Peer::new(Arc::new(member(2)), false);
        let mut now = START;
        let mut accusations = 0;
        for _ in 0..100 {
            now += WATCH_EVERY;
            let out = one.watch(now);
            one.receive(here(3), member(3).serf_address(), now);
            let judged = out.alarms.iter();
            let judged = judged.filter(|(_, alarm)| matches!(alarm, Alarm::StillSilent { .. }));
            accusations += judged.count();
            // Others tell that it denies.
            let denial = foca::Member::new(peer.clone(), 1, State::Alive);
            one.apply(vec![denial], false, &mut Effects::default());
        }
        assert_eq!(accusations, 1);
        one.still_silent(peer, 0, &mut Effects::default());
        assert_eq!(is(&one, 2), Some(MemberStatus::Alive));
    }

    #[test]
    fn two_that_follow_in_the_ring_are_watched_and_everybody_is_watched_by_two() {
        let all: Vec<u8> = (1..=20).collect();
        let mut watched = BTreeMap::new();
        for number in &all {
            let others: Vec<u8> = all
                .iter()
                .copied()
                .filter(|other| other != number)
                .collect();
            for peer in agent(*number, &others).neighbours() {
                *watched.entry(peer.key()).or_insert(0) += 1;
            }
        }
        assert_eq!(watched.len(), all.len());
        assert!(watched.values().all(|watchers| *watchers == WATCHED));
    }
}
