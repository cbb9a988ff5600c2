//! Servers that come and go.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use MemberStatus::{Alive, Failed, Left};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn id(number: u8) -> String {
    format!("s{number}")
}

fn address(number: u8) -> String {
    format!("10.0.0.{number}:4647")
}

fn peer(number: u8, voter: bool) -> Peer {
    Peer {
        id: id(number),
        name: format!("{}.global", id(number)),
        address: address(number),
        voter,
        caught_up: true,
    }
}

fn seen(number: u8, status: MemberStatus, lasted: Duration) -> (String, Seen) {
    let member = Member {
        id: id(number),
        name: id(number),
        region: "global".into(),
        datacenter: "dc1".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        serf_port: 4648,
        rpc_port: 4647,
        http_port: 4646,
        server: true,
        bootstrap_expect: 3,
        version: String::new(),
        generation: 1,
    };
    let seen = Seen {
        member,
        status,
        lasted,
    };
    (id(number), seen)
}

/// Voters 1, 2, ... which have the statuses given since a minute; 1 leads.
fn voters(statuses: &[MemberStatus]) -> Situation {
    let numbers = || (1..).zip(statuses.iter().copied());
    Situation {
        me: id(1),
        led_for: HOUR,
        region: "global".into(),
        bootstrap_expect: 3,
        peers: numbers().map(|(number, _)| peer(number, true)).collect(),
        members: numbers()
            .map(|(number, status)| seen(number, status, 60 * SECOND))
            .collect(),
        changing: false,
    }
}

fn but(mut situation: Situation, change: impl FnOnce(&mut Situation)) -> Situation {
    change(&mut situation);
    situation
}

fn promote(number: u8) -> Step {
    Step::Promote { id: id(number) }
}

fn remove(number: u8, reason: Reason) -> Step {
    Step::Remove {
        id: id(number),
        reason,
    }
}

#[test]
fn what_the_leader_does_about_its_servers() {
    let learner = |statuses: &[MemberStatus]| {
        let mut situation = voters(statuses);
        situation.peers.last_mut().unwrap().voter = false;
        situation
    };
    let newcomer = Step::AddLearner {
        id: id(4),
        name: "s4.global".into(),
        address: address(4),
    };
    let moved = Step::SetAddress {
        id: id(2),
        address: address(9),
    };
    let short =
        |number| move |it: &mut Situation| it.members.extend([seen(number, Failed, 9 * SECOND)]);
    for (case, situation, steps) in [
        ("all is well", voters(&[Alive; 3]), vec![]),
        (
            "one joins",
            but(voters(&[Alive; 3]), |it| {
                it.members.extend([seen(4, Alive, SECOND)])
            }),
            vec![newcomer],
        ),
        (
            "a client joins",
            but(voters(&[Alive; 3]), |it| {
                it.members.extend([seen(4, Alive, SECOND)]);
                it.members.get_mut("s4").unwrap().member.server = false;
            }),
            vec![],
        ),
        (
            "a server of another region is seen",
            but(voters(&[Alive; 3]), |it| {
                it.members.extend([seen(4, Alive, SECOND)]);
                it.members.get_mut("s4").unwrap().member.region = "moon".into();
            }),
            vec![],
        ),
        (
            "a learner has caught up",
            learner(&[Alive; 4]),
            vec![promote(4)],
        ),
        (
            "a learner hasn't yet",
            but(learner(&[Alive; 4]), |it| it.peers[3].caught_up = false),
            vec![],
        ),
        (
            "a learner has, but the voters change",
            but(learner(&[Alive; 4]), |it| it.changing = true),
            vec![],
        ),
        (
            "a learner failed",
            learner(&[Alive, Alive, Alive, Failed]),
            vec![],
        ),
        (
            "a learner failed 72 hours ago",
            but(learner(&[Alive; 4]), |it| {
                it.members.extend([seen(4, Failed, 72 * HOUR)])
            }),
            vec![remove(4, Reason::Abandoned)],
        ),
        (
            "a learner left",
            learner(&[Alive, Alive, Alive, Left]),
            vec![remove(4, Reason::Left)],
        ),
        (
            "one moved",
            but(voters(&[Alive; 3]), |it| {
                it.peers[1].address = "10.0.0.2:1".into()
            }),
            vec![Step::SetAddress {
                id: id(2),
                address: address(2),
            }],
        ),
        (
            "one moved to another host",
            but(voters(&[Alive; 3]), |it| {
                it.members.get_mut("s2").unwrap().member.address = "10.0.0.9".parse().unwrap()
            }),
            vec![moved],
        ),
        (
            "one of three left",
            voters(&[Alive, Alive, Left]),
            vec![remove(3, Reason::Left)],
        ),
        (
            "one of two left",
            voters(&[Alive, Left]),
            vec![remove(2, Reason::Left)],
        ),
        (
            "one left, but the voters change",
            but(voters(&[Alive, Alive, Left]), |it| it.changing = true),
            vec![],
        ),
        (
            "two of five left",
            voters(&[Alive, Alive, Alive, Left, Left]),
            vec![remove(4, Reason::Left)],
        ),
        (
            "two of three left: one alone is no majority of two",
            voters(&[Alive, Left, Left]),
            vec![],
        ),
        (
            "one of three failed",
            voters(&[Alive, Alive, Failed]),
            vec![],
        ),
        (
            "one of four failed",
            voters(&[Alive, Alive, Alive, Failed]),
            vec![remove(4, Reason::Replaced)],
        ),
        (
            "one of four failed just now",
            but(voters(&[Alive; 4]), short(4)),
            vec![],
        ),
        (
            "one of four failed, and the voters change",
            but(voters(&[Alive, Alive, Alive, Failed]), |it| {
                it.changing = true
            }),
            vec![],
        ),
        (
            "two of five failed",
            voters(&[Alive, Alive, Alive, Failed, Failed]),
            vec![remove(4, Reason::Replaced)],
        ),
        (
            "one of five failed, one left",
            voters(&[Alive, Alive, Alive, Failed, Left]),
            vec![remove(5, Reason::Left)],
        ),
        (
            "a replacement is promoted before the failed one goes",
            but(voters(&[Alive, Alive, Alive, Failed, Alive]), |it| {
                it.peers[4].voter = false
            }),
            vec![promote(5)],
        ),
        (
            "gossip knows nothing of one",
            but(voters(&[Alive; 4]), |it| {
                it.members.remove("s4");
            }),
            vec![remove(4, Reason::Replaced)],
        ),
        (
            "gossip knows nothing of one yet",
            but(voters(&[Alive; 4]), |it| {
                it.members.remove("s4");
                it.led_for = SECOND;
            }),
            vec![],
        ),
        (
            "gossip takes the leader itself for gone",
            voters(&[Left, Alive, Alive, Alive]),
            vec![],
        ),
        (
            "a cluster of one",
            but(voters(&[Alive]), |it| it.bootstrap_expect = 1),
            vec![],
        ),
    ] {
        assert_eq!(decide(&situation), steps, "{case}");
    }
}

/// Gossip and the log's configuration, and steps that take effect at once.
struct World {
    situation: Situation,
}

impl World {
    fn alive_majority(&self) -> bool {
        let alive = self
            .situation
            .voters()
            .filter(|peer| self.situation.is_alive(&peer.id));
        alive.count() * 2 > self.situation.voters().count()
    }

    fn set(&mut self, number: u8, status: MemberStatus) {
        let lasted = Duration::ZERO;
        self.situation
            .members
            .extend([seen(number, status, lasted)]);
    }

    /// The leader is dead: the first alive voter follows, if a majority is.
    fn elect(&mut self) {
        self.situation.me.clear();
        if self.alive_majority() {
            let alive = self
                .situation
                .voters()
                .find(|peer| self.situation.is_alive(&peer.id));
            self.situation.me = alive.unwrap().id.clone();
            self.situation.led_for = Duration::ZERO;
        }
    }

    fn wait(&mut self, time: Duration) {
        self.situation.led_for += time;
        for seen in self.situation.members.values_mut() {
            seen.lasted += time;
        }
    }

    fn act(&mut self) -> Result<usize, TestCaseError> {
        if self.situation.alive(&self.situation.me).is_none() {
            self.elect();
        }
        if self.situation.me.is_empty() {
            return Ok(0);
        }
        let steps = decide(&self.situation);
        let changes = steps
            .iter()
            .filter(|step| self.changes_voters(step))
            .count();
        prop_assert!(changes <= 1, "{steps:?}");
        let before = self.alive_majority();
        let count = steps.len();
        for step in steps {
            self.take(step)?;
        }
        prop_assert!(!before || self.alive_majority());
        Ok(count)
    }

    fn changes_voters(&self, step: &Step) -> bool {
        match step {
            Step::Promote { .. } => true,
            Step::Remove { id, .. } => self.situation.voters().any(|peer| peer.id == *id),
            Step::AddLearner { .. } | Step::SetAddress { .. } => false,
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let peers = &mut self.situation.peers;
        match step {
            Step::AddLearner { id, name, address } => peers.push(Peer {
                id,
                name,
                address,
                voter: false,
                caught_up: false,
            }),
            Step::Promote { id } => {
                let peer = peers.iter_mut().find(|peer| peer.id == id).unwrap();
                prop_assert!(peer.caught_up && !peer.voter);
                peer.voter = true;
            }
            Step::SetAddress { id, address } => {
                peers.iter_mut().find(|peer| peer.id == id).unwrap().address = address;
            }
            Step::Remove { id, .. } => {
                prop_assert!(id != self.situation.me);
                peers.retain(|peer| peer.id != id);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sequence of events through the leader's decisions loses an alive majority; and when all
    /// servers are back, all of them vote.
    #[test]
    fn an_alive_majority_is_never_lost_by_a_decision(
        events in proptest::collection::vec((1..8u8, 0..6u8, 0..400u64), 0..80),
    ) {
        let mut world = World { situation: voters(&[Alive; 3]) };
        for (number, what, time) in events {
            match what {
                0 | 1 => world.set(number, Alive),
                2 if world.situation.members.contains_key(&id(number)) => world.set(number, Failed),
                3 if world.situation.members.contains_key(&id(number)) => world.set(number, Left),
                4 => world.wait(Duration::from_secs(time * time)),
                _ => for peer in &mut world.situation.peers {
                    peer.caught_up = true;
                },
            }
            world.act()?;
        }
        for number in 1..8 {
            world.set(number, Alive);
        }
        for _ in 0..40 {
            world.act()?;
            for peer in &mut world.situation.peers {
                peer.caught_up = true;
            }
        }
        prop_assert_eq!(world.act()?, 0, "it rests");
        prop_assert_eq!(world.situation.voters().count(), 7);
    }
}
