//! Servers that ask each other, on a network with cuts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(50);

struct Server {
    election: Election,
    alive: bool,
    term: u64,
    last_log: (u64, u64),
    elected: usize,
}

/// Servers 1, 2, ...: a leader beats every step, and all messages arrive within it.
struct Net {
    now: Duration,
    servers: Vec<Server>,
    leader: Option<usize>,
    /// Pairs that don't hear each other.
    cut: BTreeSet<(usize, usize)>,
    draws: u64,
}

impl Net {
    fn of(count: usize) -> Self {
        let voters: BTreeSet<u64> = (1..=count as u64).collect();
        let servers = voters.iter().map(|id| {
            let mut election = Election::new(*id, Duration::ZERO);
            election.step(Input::Voters(voters.clone()));
            Server {
                election,
                alive: true,
                term: 1,
                last_log: (1, 10),
                elected: 0,
            }
        });
        let mut net = Self {
            now: Duration::ZERO,
            servers: servers.collect(),
            leader: None,
            cut: BTreeSet::new(),
            draws: 7,
        };
        net.lead(0);
        net
    }

    fn lead(&mut self, server: usize) {
        self.leader = Some(server);
        let term = self.servers.iter().map(|server| server.term).max();
        self.servers[server].term = term.unwrap() + 1;
        let now = self.now;
        self.servers[server].election.step(Input::Leading { now });
    }

    fn isolate(&mut self, server: usize) {
        for other in 0..self.servers.len() {
            self.cut.insert((server.min(other), server.max(other)));
        }
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        self.servers[a].alive && self.servers[b].alive && !self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn draw(&mut self) -> Duration {
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        SILENCE + Duration::from_millis((self.draws >> 33) % 501)
    }

    /// One step; whoever stands gets all votes that it can reach with an old enough log.
    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        if let Some(leader) = self.leader.filter(|leader| self.servers[*leader].alive) {
            let heard: Vec<usize> = (0..self.servers.len())
                .filter(|other| *other != leader && self.reach(leader, *other))
                .collect();
            for other in &heard {
                self.servers[*other].term = self.servers[leader].term;
                let heard = Input::LeaderHeard { now };
                self.servers[*other].election.step(heard);
            }
            self.servers[leader].election.step(Input::Leading { now });
        }
        for server in 0..self.servers.len() {
            if self.servers[server].alive && self.leader != Some(server) {
                let timeout = self.draw();
                let tick = Input::Tick { now, timeout };
                let effects = self.servers[server].election.step(tick);
                self.carry_out(server, effects);
            }
        }
    }

    fn carry_out(&mut self, server: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Elect => self.stand(server),
                Effect::AskPreVotes { round, voters } => {
                    for id in voters {
                        self.ask(server, id, round);
                    }
                }
            }
        }
    }

    fn ask(&mut self, server: usize, id: u64, round: u64) {
        let other = usize::try_from(id).unwrap() - 1;
        if !self.reach(server, other) {
            return;
        }
        let asker = PreVote {
            term: self.servers[server].term,
            last_log: self.servers[server].last_log,
        };
        let answerer = &self.servers[other];
        let granted = answerer
            .election
            .grants(self.now, &asker, answerer.last_log);
        let answer = Input::PreVoteAnswer {
            now: self.now,
            from: id,
            round,
            granted,
        };
        let effects = self.servers[server].election.step(answer);
        self.carry_out(server, effects);
    }

    fn stand(&mut self, server: usize) {
        self.servers[server].elected += 1;
        let votes = (0..self.servers.len())
            .filter(|other| *other == server || self.reach(server, *other))
            .filter(|other| self.servers[*other].last_log <= self.servers[server].last_log)
            .count();
        if votes * 2 > self.servers.len() {
            self.lead(server);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn elected(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.elected).collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn while_the_leader_is_heard_nobody_stands() {
    let mut net = Net::of(5);
    net.run(MINUTE);
    assert_eq!(net.elected(), [0; 5]);
}

#[test]
fn an_isolated_follower_never_stands_and_unseats_nobody_when_it_is_back() {
    let mut net = Net::of(3);
    net.isolate(2);
    net.run(MINUTE);
    net.cut.clear();
    net.run(MINUTE);
    assert_eq!((net.elected(), net.leader), (vec![0; 3], Some(0)));
}

#[test]
fn one_that_only_the_leader_doesnt_reach_is_told_that_there_is_one() {
    let mut net = Net::of(5);
    net.cut.insert((0, 4));
    net.run(MINUTE);
    assert_eq!((net.elected(), net.leader), (vec![0; 5], Some(0)));
}

#[test]
fn after_the_leader_died_only_one_with_a_newest_log_leads() {
    for newest in 1..3 {
        let mut net = Net::of(3);
        net.servers[newest].last_log.1 += 1;
        net.run(Duration::from_secs(2));
        net.servers[0].alive = false;
        net.run(Duration::from_secs(5));
        assert_eq!(net.leader, Some(newest));
        let other = 3 - newest;
        assert_eq!(net.servers[other].elected, 0);
    }
}

#[test]
fn a_leader_without_quorum_is_replaced_within_two_seconds_and_then_follows() {
    let mut net = Net::of(5);
    net.cut.extend([(0, 2), (0, 3), (0, 4)]);
    net.run(Duration::from_secs(2));
    let leader = net.leader.unwrap();
    assert!(leader >= 1, "the old one was followed by {leader}");
    net.cut.clear();
    net.run(MINUTE);
    assert_eq!(net.leader, Some(leader));
    assert_eq!(net.elected().iter().sum::<usize>(), 1);
}

#[test]
fn without_a_majority_nobody_stands() {
    let mut net = Net::of(5);
    for dead in 0..3 {
        net.servers[dead].alive = false;
    }
    net.run(MINUTE);
    assert_eq!(net.elected(), [0; 5]);
    net.servers[1].alive = true;
    net.run(Duration::from_secs(3));
    assert_ne!(net.leader, Some(0));
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// Whoever is cut off, dies or comes back: as long as a majority hears the leader, nobody
    /// stands; and when all is well again there is one.
    #[test]
    fn a_leader_with_a_majority_stays(
        draws in 1..u64::MAX,
        events in proptest::collection::vec((1..5usize, 0..3u8, 1..60u64), 0..40),
    ) {
        let mut net = Net::of(5);
        net.draws = draws;
        for (server, what, steps) in events {
            match what {
                0 => net.isolate(server),
                1 => net.servers[server].alive = !net.servers[server].alive,
                _ => net.cut.clear(),
            }
            let followers = (1..5).filter(|other| net.reach(0, *other)).count();
            if followers < 2 {
                net.cut.clear();
                for server in &mut net.servers {
                    server.alive = true;
                }
            }
            for _ in 0..steps {
                net.step();
            }
            prop_assert_eq!(net.elected(), vec![0; 5]);
        }
        net.cut.clear();
        for server in &mut net.servers {
            server.alive = true;
        }
        net.servers[0].alive = false;
        net.run(Duration::from_secs(5));
        prop_assert!(net.leader.is_some_and(|leader| leader != 0));
    }
}
