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

fn configured(number: u8, voter: bool) -> Configured {
    Configured {
        id: id(number),
        address: address(number),
        voter,
        caught_up: true,
    }
}

fn member(number: u8) -> Member {
    Member {
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
    }
}

fn heard(number: u8, status: MemberStatus, since: Duration) -> Heard {
    Heard {
        member: member(number),
        status,
        since,
    }
}

/// Voters 1, 2, ... which have the statuses given since a minute; 1 leads.
fn voters(statuses: &[MemberStatus]) -> Situation {
    let numbers = || (1..).zip(statuses.iter().copied());
    Situation {
        leader: id(1),
        bootstrap_expect: 3,
        configured: numbers()
            .map(|(number, _)| configured(number, true))
            .collect(),
        heard: numbers()
            .map(|(number, status)| heard(number, status, 60 * SECOND))
            .collect(),
    }
}

fn but(mut situation: Situation, change: impl FnOnce(&mut Situation)) -> Situation {
    change(&mut situation);
    situation
}

/// Whom a step removes.
fn removed(step: Option<Step>) -> Option<String> {
    match step {
        Some(Step::Remove { id, .. }) => Some(id),
        None | Some(Step::AddLearner(_) | Step::SetAddress(_) | Step::Promote(_)) => None,
    }
}

fn with_learner(statuses: &[MemberStatus]) -> Situation {
    let mut situation = voters(statuses);
    situation.configured.last_mut().unwrap().voter = false;
    situation
}

#[test]
fn who_is_removed_when() {
    let recently = |it: &mut Situation| it.heard[3].since = 9 * SECOND;
    let long_ago = |it: &mut Situation| it.heard[3].since = 72 * HOUR;
    let lone = |it: &mut Situation| it.bootstrap_expect = 1;
    for (case, situation, whom) in [
        ("nobody failed", voters(&[Alive; 3]), None),
        (
            "a learner failed",
            with_learner(&[Alive, Alive, Alive, Failed]),
            None,
        ),
        (
            "a learner failed 72 hours ago",
            but(with_learner(&[Alive, Alive, Alive, Failed]), long_ago),
            Some(4),
        ),
        (
            "a learner left",
            with_learner(&[Alive, Alive, Alive, Left]),
            Some(4),
        ),
        ("one of three left", voters(&[Alive, Alive, Left]), Some(3)),
        ("one of two left", voters(&[Alive, Left]), Some(2)),
        (
            "two of five left",
            voters(&[Alive, Alive, Alive, Left, Left]),
            Some(4),
        ),
        (
            "two of three left: one alone is no majority of two",
            voters(&[Alive, Left, Left]),
            None,
        ),
        ("one of three failed", voters(&[Alive, Alive, Failed]), None),
        (
            "one of four failed",
            voters(&[Alive, Alive, Alive, Failed]),
            Some(4),
        ),
        (
            "one of four failed just now",
            but(voters(&[Alive, Alive, Alive, Failed]), recently),
            None,
        ),
        (
            "three of five failed",
            voters(&[Alive, Alive, Failed, Failed, Failed]),
            None,
        ),
        (
            "gossip takes the leader for gone",
            voters(&[Left, Alive, Alive, Alive]),
            None,
        ),
        ("there is one server", but(voters(&[Alive]), lone), None),
    ] {
        assert_eq!(removed(decide(&situation)), whom.map(id), "{case}");
    }
}

#[test]
fn a_replacement_votes_before_the_failed_one_goes() {
    let mut situation = with_learner(&[Alive, Alive, Alive, Failed, Alive]);
    assert_eq!(decide(&situation), Some(Step::Promote(id(5))));
    situation.configured[4].voter = true;
    assert_eq!(removed(decide(&situation)), Some(id(4)));
}

/// Gossip and the log's configuration; steps take effect at once.
struct World {
    situation: Situation,
}

impl World {
    fn alive_majority(&self) -> bool {
        let voters = || self.situation.configured.iter().filter(|it| it.voter);
        let alive = voters().filter(|it| self.situation.is_alive(&it.id));
        alive.count() * 2 > voters().count()
    }

    fn position(&self, number: u8) -> Option<usize> {
        let mut heard = self.situation.heard.iter();
        heard.position(|it| it.member.id == id(number))
    }

    fn set(&mut self, number: u8, status: MemberStatus) {
        let heard = heard(number, status, Duration::ZERO);
        match self.position(number) {
            Some(at) => self.situation.heard[at] = heard,
            // Nobody fails or leaves who never came.
            None if status == Alive => self.situation.heard.push(heard),
            None => {}
        }
    }

    /// If the leader is dead, the first voter that is alive follows, if a majority is.
    fn has_leader(&mut self) -> bool {
        let leader = self.situation.heard(&self.situation.leader);
        if leader.is_some_and(|it| it.status == Alive) {
            return true;
        }
        self.situation.leader.clear();
        if self.alive_majority() {
            let mut voters = self.situation.configured.iter().filter(|it| it.voter);
            let alive = voters.find(|it| self.situation.is_alive(&it.id)).unwrap();
            self.situation.leader = alive.id.clone();
        }
        !self.situation.leader.is_empty()
    }

    /// Takes the next step, if there is one.
    fn act(&mut self) -> Result<bool, TestCaseError> {
        if !self.has_leader() {
            return Ok(false);
        }
        let Some(step) = decide(&self.situation) else {
            return Ok(false);
        };
        let before = self.alive_majority();
        let known = &mut self.situation.configured;
        match step {
            Step::AddLearner(member) => known.push(Configured {
                address: member.rpc_address().to_string(),
                id: member.id,
                voter: false,
                caught_up: false,
            }),
            Step::SetAddress(member) => {
                let one = known.iter_mut().find(|it| it.id == member.id).unwrap();
                one.address = member.rpc_address().to_string();
            }
            Step::Promote(id) => {
                let one = known.iter_mut().find(|it| it.id == id).unwrap();
                prop_assert!(one.caught_up && !one.voter);
                one.voter = true;
            }
            Step::Remove { id, .. } => {
                prop_assert!(id != self.situation.leader);
                known.retain(|it| it.id != id);
            }
        }
        prop_assert!(!before || self.alive_majority());
        Ok(true)
    }

    fn catch_up(&mut self) {
        for known in &mut self.situation.configured {
            known.caught_up = true;
        }
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]

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
                2 => world.set(number, Failed),
                3 => world.set(number, Left),
                4 => for heard in &mut world.situation.heard {
                    heard.since += Duration::from_secs(time * time);
                },
                _ => world.catch_up(),
            }
            world.act()?;
        }
        for number in 1..8 {
            world.set(number, Alive);
        }
        world.catch_up();
        while world.act()? {
            world.catch_up();
        }
        let voting = world.situation.configured.iter().filter(|it| it.voter);
        prop_assert_eq!(voting.count(), 7);
    }
}
