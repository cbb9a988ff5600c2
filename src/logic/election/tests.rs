//! Servers that ask each other, on a network with cuts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(50);

struct Server {
    election: Election,
    alive: bool,
    term: u64,
    last_log: LogId,
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
        let voters: BTreeSet<ServerId> = (1..=count as u64).collect();
        let servers = voters.iter().map(|id| {
            let mut election = Election::new(*id, Duration::ZERO, TIMEOUT_MIN);
            election.step(Duration::ZERO, Input::Voters(voters.clone()));
            Server {
                election,
                alive: true,
                term: 1,
                last_log: LogId { term: 1, index: 10 },
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
        self.servers[server].election.step(now, Input::BecameLeader);
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
        TIMEOUT_MIN + Duration::from_millis((self.draws >> 33) % 501)
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
                self.servers[*other].election.step(now, Input::LeaderHeard);
            }
            if (heard.len() + 1) * 2 > self.servers.len() {
                self.servers[leader].election.step(now, Input::QuorumHeard);
            }
        }
        for server in 0..self.servers.len() {
            if self.servers[server].alive {
                let timeout_draw = self.draw();
                let tick = Input::Tick { timeout_draw };
                let effects = self.servers[server].election.step(now, tick);
                self.carry_out(server, effects);
            }
        }
    }

    fn carry_out(&mut self, server: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Elect => self.stand(server),
                Effect::AskPreVotes { round, of } => {
                    for id in of {
                        self.ask(server, id, round);
                    }
                }
            }
        }
    }

    fn ask(&mut self, server: usize, id: ServerId, round: u64) {
        let other = usize::try_from(id).unwrap() - 1;
        if !self.reach(server, other) {
            return;
        }
        let asker = PreVote {
            from: server as u64 + 1,
            round,
            term: self.servers[server].term + 1,
            last_log: self.servers[server].last_log,
        };
        let answerer = &self.servers[other];
        let granted = answerer
            .election
            .grants(self.now, &asker, answerer.last_log);
        let answer = Input::PreVoteAnswer {
            from: id,
            round,
            granted,
        };
        let now = self.now;
        let effects = self.servers[server].election.step(now, answer);
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
        net.servers[newest].last_log.index += 1;
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

#[test]
fn a_handed_over_leadership_is_taken_at_once() {
    let mut net = Net::of(3);
    net.run(Duration::from_secs(1));
    let now = net.now;
    let follower = &mut net.servers[1].election;
    assert_eq!(follower.step(now, Input::Transfer), [Effect::Elect]);
    let leader = &mut net.servers[0].election;
    assert_eq!(leader.step(now, Input::Transfer), [], "it leads already");
}

#[test]
fn only_voters_stand_and_count() {
    let at = Duration::from_secs;
    let tick = || Input::Tick {
        timeout_draw: TIMEOUT_MIN,
    };
    let answer = |from| Input::PreVoteAnswer {
        from,
        round: 1,
        granted: true,
    };
    let mut learner = Election::new(9, at(0), TIMEOUT_MIN);
    learner.step(at(0), Input::Voters([1, 2, 3].into()));
    assert_eq!(learner.step(at(5), tick()), []);
    assert_eq!(learner.step(at(5), Input::Transfer), []);

    let mut voter = Election::new(1, at(0), TIMEOUT_MIN);
    voter.step(at(0), Input::Voters([1, 2, 3].into()));
    let ask = Effect::AskPreVotes {
        round: 1,
        of: [2, 3].into(),
    };
    assert_eq!(voter.step(at(5), tick()), [ask]);
    assert_eq!(voter.step(at(5), answer(9)), [], "a learner's answer");
    assert_eq!(voter.step(at(5), answer(2)), [Effect::Elect]);
    assert_eq!(voter.step(at(5), answer(3)), [], "once is enough");

    let mut alone = Election::new(1, at(0), TIMEOUT_MIN);
    alone.step(at(0), Input::Voters([1].into()));
    assert_eq!(alone.step(at(1), tick()), [Effect::Elect]);
}

#[test]
fn late_answers_count_for_nothing() {
    let at = Duration::from_millis;
    let tick = || Input::Tick {
        timeout_draw: TIMEOUT_MIN,
    };
    let answer = |round, granted| Input::PreVoteAnswer {
        from: 2,
        round,
        granted,
    };
    let mut voter = Election::new(1, at(0), TIMEOUT_MIN);
    voter.step(at(0), Input::Voters([1, 2, 3].into()));
    assert_eq!(voter.step(at(500), tick()).len(), 1);
    assert_eq!(voter.step(at(1_000), tick()).len(), 1);
    assert_eq!(voter.step(at(1_001), answer(1, true)), [], "of round 1");
    assert_eq!(voter.step(at(1_001), answer(2, false)), []);
    voter.step(at(1_002), Input::LeaderHeard);
    assert_eq!(
        voter.step(at(1_003), answer(2, true)),
        [],
        "it has a leader"
    );
}

#[test]
fn a_pre_vote_is_granted_only_without_a_leader_and_to_a_log_at_least_as_new() {
    let at = Duration::from_millis;
    let mut follower = Election::new(1, at(0), TIMEOUT_MIN);
    let own = LogId { term: 3, index: 7 };
    let asker = |term, index| PreVote {
        from: 2,
        round: 1,
        term: 4,
        last_log: LogId { term, index },
    };
    assert!(!follower.grants(at(499), &asker(3, 7), own), "just started");
    for (term, index, granted) in [(3, 7, true), (3, 6, false), (2, 99, false), (4, 1, true)] {
        assert_eq!(follower.grants(at(500), &asker(term, index), own), granted);
    }
    follower.step(at(600), Input::LeaderHeard);
    assert!(!follower.grants(at(1_099), &asker(3, 7), own));
    assert!(follower.grants(at(1_100), &asker(3, 7), own));
    follower.step(at(2_000), Input::BecameLeader);
    follower.step(at(2_400), Input::QuorumHeard);
    assert!(!follower.grants(at(2_899), &asker(3, 7), own));
    assert!(
        follower.grants(at(2_900), &asker(3, 7), own),
        "it leads nobody"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

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
