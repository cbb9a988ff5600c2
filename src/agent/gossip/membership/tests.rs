//! Agents that exchange packets without a network.

use super::*;
use crate::gossip::tests::member;

const NOW: Duration = Duration::from_secs(1_000);

fn agent(number: u8) -> Membership {
    Membership::new(member(number), Random::seeded(number.into()))
}

fn address(number: u8) -> SocketAddr {
    member(number).serf_address()
}

fn id(number: u8) -> String {
    member(number).id
}

fn status_of(agent: &Membership, number: u8) -> Option<MemberStatus> {
    agent.members().get(&id(number)).map(|known| known.status)
}

/// Delivers packets until nobody says anything any more; what is for nobody here is lost.
fn exchange(agents: &mut [&mut Membership], mut effects: Effects, from: SocketAddr) -> Vec<u64> {
    let mut letters: Vec<_> = effects.sends.drain(..).map(|sent| (from, sent)).collect();
    let mut answered = Vec::new();
    for _ in 0..1_000 {
        let Some((from, (to, packet))) = letters.pop() else {
            return answered;
        };
        let at = agents
            .iter()
            .position(|agent| agent.me().member.serf_address() == to);
        if let Some(receiver) = at.and_then(|at| agents.get_mut(at)) {
            let effects = receiver.receive(packet, from, NOW);
            answered.extend(effects.answered);
            letters.extend(effects.sends.into_iter().map(|sent| (to, sent)));
        }
    }
    panic!("they talk without end");
}

fn meet(one: &mut Membership, other: &mut Membership) -> Vec<u64> {
    let from = one.me().member.serf_address();
    let greeting = one.greet(other.me().member.serf_address(), 7);
    exchange(&mut [one, other], greeting, from)
}

/// Makes `agent` believe, as by foca's own doing, that the other one is dead.
fn bury(agent: &mut Membership, number: u8) {
    let peer = Peer::new(Arc::new(member(number)), false);
    let mut out = Effects::default();
    agent.apply(vec![foca::Member::down(peer)], true, &mut out);
    agent.settle(NOW, &mut out);
    assert_eq!(status_of(agent, number), Some(MemberStatus::Failed));
}

#[test]
fn a_greeting_makes_two_agents_members_of_each_other() {
    let (mut one, mut two) = (agent(1), agent(2));
    assert_eq!(meet(&mut one, &mut two), [7]);
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Alive));
    assert_eq!(status_of(&two, 1), Some(MemberStatus::Alive));
    assert!(one.is_alive_at(address(2)) && !one.is_alive_at(address(1)));
    let myself = one.greet(address(1), 8);
    assert_eq!(exchange(&mut [&mut one], myself, address(1)), [8]);
}

#[test]
fn agents_that_bury_each_other_come_back_with_a_greeting() {
    let (mut one, mut two) = (agent(1), agent(2));
    meet(&mut one, &mut two);
    bury(&mut one, 2);
    bury(&mut two, 1);
    let asks = one.ask_failed();
    exchange(&mut [&mut one, &mut two], asks, address(1));
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Alive));
    assert_eq!(status_of(&two, 1), Some(MemberStatus::Alive));
    assert!(two.me().member.generation > member(2).generation);
}

#[test]
fn newcomers_hear_of_everybody() {
    let (mut one, mut two, mut three) = (agent(1), agent(2), agent(3));
    meet(&mut one, &mut two);
    bury(&mut one, 9);
    meet(&mut three, &mut one);
    assert_eq!(status_of(&three, 2), Some(MemberStatus::Alive));
    assert_eq!(status_of(&three, 9), Some(MemberStatus::Failed));
}

#[test]
fn nobody_buries_one_it_sees_alive_on_hearsay() {
    let (mut one, mut two) = (agent(1), agent(2));
    meet(&mut one, &mut two);
    let peer = Peer::new(Arc::new(member(2)), false);
    let rumour = Rumour::new(&peer, 0, State::Down, 0);
    let effects = one.receive(Packet::Known(vec![rumour]), address(3), NOW);
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Alive));
    exchange(&mut [&mut one, &mut two], effects, address(1));
    assert!(two.me().member.generation > member(2).generation);
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Alive));
}

#[test]
fn an_agent_that_lost_its_data_replaces_the_one_at_its_address() {
    let (mut one, mut two) = (agent(1), agent(2));
    meet(&mut one, &mut two);
    bury(&mut one, 2);
    let mut newborn = member(3);
    newborn.address = member(2).address;
    newborn.generation += 1;
    let mut newborn = Membership::new(newborn, Random::seeded(3));
    meet(&mut newborn, &mut one);
    assert_eq!(status_of(&one, 3), Some(MemberStatus::Alive));
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Left));
}

#[test]
fn the_dead_are_forgotten_after_a_day_and_not_learnt_of_again() {
    let (mut one, mut two) = (agent(1), agent(2));
    meet(&mut one, &mut two);
    bury(&mut one, 9);
    let almost = NOW + REMEMBERED_FOR.saturating_sub(Duration::from_secs(1));
    assert!(!one.forget(almost).changed);
    let later = NOW + REMEMBERED_FOR;
    for (_, packet) in one.tell_somebody(later).sends {
        two.receive(packet, address(1), later);
    }
    assert_eq!(status_of(&two, 9), None);
    assert!(one.forget(later).changed);
    assert_eq!(status_of(&one, 9), None);
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Alive));
}

#[test]
fn one_that_left_neither_hears_nor_says_anything() {
    let (mut one, mut two) = (agent(1), agent(2));
    meet(&mut one, &mut two);
    let goodbye = two.leave();
    exchange(&mut [&mut one, &mut two], goodbye, address(2));
    assert_eq!(status_of(&one, 2), Some(MemberStatus::Left));
    assert_eq!(status_of(&two, 2), Some(MemberStatus::Left));
    assert!(meet(&mut one, &mut two).is_empty());
    assert!(two.greet(address(1), 9).sends.is_empty());
    assert_eq!(one.force_leave("node-2", NOW).map(|_| ()), Ok(()));
}
