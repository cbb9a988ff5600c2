//! When a server asks to lead. openraft lacks the "pre-vote": a server that was cut off would come
//! back with a higher term and depose a healthy leader. So an election is only called once a
//! majority has said that it would vote: nobody who hears from a leader does.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a server asks in the time it waits for a leader.
const ROUNDS: u32 = 3;
/// A leader that was heard from this recently is alive.
pub const SILENCE: Duration = Duration::from_millis(500);

/// "Would you vote for me?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVote {
    pub term: u64,
    /// Term and index of the asker's last log entry.
    pub last_log: (u64, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Who votes.
    Voters(BTreeSet<u64>),
    /// This server leads.
    Leading { now: Duration },
    /// A leader was heard from.
    LeaderHeard { now: Duration },
    /// This server votes for another, which needs time to lead.
    Voted { now: Duration },
    /// Time passes; `timeout` is how long a leader may be silent from now on, drawn at random.
    Tick { now: Duration, timeout: Duration },
    PreVoteAnswer {
        now: Duration,
        from: u64,
        round: u64,
        granted: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    AskPreVotes {
        round: u64,
        voters: Vec<u64>,
    },
    /// A majority would vote for this server.
    Elect,
}

#[derive(Clone, Debug)]
pub struct Election {
    me: u64,
    voters: BTreeSet<u64>,
    /// When a leader was last heard from.
    heard: Duration,
    /// When this server last voted, for itself or another.
    voted: Option<Duration>,
    /// When to ask for pre-votes, unless a leader is heard from.
    due: Option<Duration>,
    round: u64,
    granted: BTreeSet<u64>,
    asking: bool,
    /// The first round of those whose answers count: it is asked again until one is enough.
    first: u64,
}

impl Election {
    pub fn new(me: u64, now: Duration) -> Self {
        Self {
            me,
            voters: BTreeSet::new(),
            heard: now,
            voted: None,
            due: None,
            round: 0,
            granted: BTreeSet::new(),
            asking: false,
            first: 0,
        }
    }

    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Voters(voters) => {
                self.voters = voters;
                Vec::new()
            }
            Input::Leading { now } | Input::LeaderHeard { now } => {
                self.heard = now;
                self.due = None;
                self.asking = false;
                Vec::new()
            }
            Input::Voted { now } => {
                self.voted = Some(now);
                self.due = None;
                self.asking = false;
                Vec::new()
            }
            Input::Tick { now, timeout } => self.tick(now, timeout),
            Input::PreVoteAnswer {
                now,
                from,
                round,
                granted,
            } => self.answered(now, from, round, granted),
        }
    }

    fn tick(&mut self, now: Duration, timeout: Duration) -> Vec<Effect> {
        if !self.voters.contains(&self.me) {
            return Vec::new();
        }
        // Nobody else has to agree, and nobody else can lead.
        let alone = self.voters.len() == 1;
        let due = *self.due.get_or_insert(if alone {
            now
        } else {
            self.heard.max(self.voted.unwrap_or_default()) + timeout
        });
        if now < due {
            return Vec::new();
        }
        if alone {
            self.due = Some(now + timeout);
            return vec![Effect::Elect];
        }
        // Asking does no harm, and an answer may have been lost.
        self.due = Some(now + timeout / ROUNDS);
        self.round += 1;
        if !self.asking {
            self.first = self.round;
            self.granted = BTreeSet::from([self.me]);
            self.asking = true;
        }
        vec![Effect::AskPreVotes {
            round: self.round,
            voters: self
                .voters
                .iter()
                .copied()
                .filter(|voter| *voter != self.me)
                .collect(),
        }]
    }

    fn answered(&mut self, now: Duration, from: u64, round: u64, granted: bool) -> Vec<Effect> {
        let counts = (self.first..=self.round).contains(&round);
        if !self.asking || !counts || !granted || !self.voters.contains(&from) {
            return Vec::new();
        }
        self.granted.insert(from);
        if self.granted.len() * 2 <= self.voters.len() {
            return Vec::new();
        }
        // It votes for itself, and gives that time like everybody.
        self.step(Input::Voted { now });
        vec![Effect::Elect]
    }

    /// Whether this server would vote for the asker.
    pub fn grants(&self, now: Duration, asked: &PreVote, own_last_log: (u64, u64)) -> bool {
        let lately = |at: Duration| now.saturating_sub(at) < SILENCE;
        // Whoever has just voted waits for what comes of it: two elections at once would both fail.
        !lately(self.heard) && !self.voted.is_some_and(lately) && asked.last_log >= own_last_log
    }
}

#[cfg(test)]
mod network;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn election(me: u64, voters: u64) -> Election {
        let mut election = Election::new(me, Duration::ZERO);
        election.step(Input::Voters((1..=voters).collect()));
        election
    }

    fn tick(election: &mut Election, now: Duration) -> Vec<Effect> {
        election.step(Input::Tick {
            now,
            timeout: SECOND,
        })
    }

    fn answer(election: &mut Election, from: u64, round: u64, granted: bool) -> Vec<Effect> {
        election.step(Input::PreVoteAnswer {
            now: SECOND + SECOND / ROUNDS,
            from,
            round,
            granted,
        })
    }

    #[test]
    fn a_server_that_reaches_nobody_never_elects() {
        let mut cut_off = election(1, 3);
        for second in 0..100 {
            let effects = tick(&mut cut_off, SECOND * second);
            assert!(!effects.contains(&Effect::Elect));
        }
    }

    #[test]
    fn a_majority_of_pre_votes_of_this_round_elects_once() {
        let mut candidate = election(1, 5);
        assert_eq!(tick(&mut candidate, Duration::ZERO), []);
        let asked = tick(&mut candidate, SECOND);
        let round = 1;
        let voters = vec![2, 3, 4, 5];
        assert_eq!(asked, [Effect::AskPreVotes { round, voters }]);
        assert_eq!(answer(&mut candidate, 2, round, true), []);
        assert_eq!(
            answer(&mut candidate, 2, round, true),
            [],
            "one server has one vote"
        );
        assert_eq!(answer(&mut candidate, 3, round, false), []);
        assert_eq!(
            answer(&mut candidate, 4, round + 1, true),
            [],
            "another round's"
        );
        assert_eq!(answer(&mut candidate, 9, round, true), [], "no voter");
        assert_eq!(answer(&mut candidate, 5, round, true), [Effect::Elect]);
        assert_eq!(answer(&mut candidate, 4, round, true), []);
    }

    #[test]
    fn who_gets_no_answers_soon_asks_again_and_late_answers_count() {
        let mut candidate = election(1, 3);
        tick(&mut candidate, Duration::ZERO);
        assert_ne!(tick(&mut candidate, SECOND), []);
        let again = SECOND + SECOND / ROUNDS;
        assert_eq!(tick(&mut candidate, SECOND + SECOND / 4), []);
        let voters = vec![2, 3];
        let asked = tick(&mut candidate, again);
        assert_eq!(asked, [Effect::AskPreVotes { round: 2, voters }]);
        assert_eq!(answer(&mut candidate, 2, 1, true), [Effect::Elect]);
        // The election itself has its time, then the asking begins anew.
        assert_eq!(tick(&mut candidate, again + SECOND / 2), []);
        assert_ne!(tick(&mut candidate, again + SECOND), []);
        assert_eq!(answer(&mut candidate, 2, 2, true), [], "of before");
        assert_eq!(answer(&mut candidate, 2, 3, true), [Effect::Elect]);
    }

    #[test]
    fn whoever_votes_promises_no_other_vote_for_a_while() {
        let asked = PreVote {
            term: 3,
            last_log: (3, 9),
        };
        let mut candidate = election(1, 3);
        tick(&mut candidate, Duration::ZERO);
        tick(&mut candidate, SECOND);
        let now = SECOND + SECOND / ROUNDS;
        assert!(candidate.grants(now, &asked, (3, 9)));
        assert_eq!(answer(&mut candidate, 2, 1, true), [Effect::Elect]);
        assert!(!candidate.grants(now, &asked, (3, 9)), "it stands itself");
        assert!(candidate.grants(now + SILENCE, &asked, (3, 9)));
        candidate.step(Input::Voted { now: SECOND * 3 });
        assert!(!candidate.grants(SECOND * 3, &asked, (3, 9)));
    }

    #[test]
    fn whoever_has_voted_for_another_gives_it_time() {
        let mut voter = election(1, 3);
        tick(&mut voter, Duration::ZERO);
        assert_ne!(tick(&mut voter, SECOND), []);
        voter.step(Input::Voted { now: SECOND });
        assert_eq!(answer(&mut voter, 2, 1, true), [], "a late answer");
        assert_eq!(tick(&mut voter, SECOND + SECOND / 2), []);
        assert_ne!(tick(&mut voter, SECOND * 2), []);
    }

    #[test]
    fn a_leader_that_is_heard_ends_the_asking() {
        let mut follower = election(1, 3);
        tick(&mut follower, Duration::ZERO);
        tick(&mut follower, SECOND);
        follower.step(Input::LeaderHeard { now: SECOND });
        assert_eq!(answer(&mut follower, 2, 1, true), []);
        assert_eq!(tick(&mut follower, SECOND + SECOND / 2), []);
        assert_ne!(tick(&mut follower, SECOND * 2), []);
    }

    #[test]
    fn a_vote_is_promised_when_the_leader_is_silent_and_the_log_is_as_new() {
        let mut voter = election(2, 3);
        voter.step(Input::LeaderHeard { now: SECOND });
        let asked = |last_log| PreVote { term: 3, last_log };
        for (now, last_log, granted) in [
            (SECOND + SILENCE / 2, (3, 9), false),
            (SECOND + SILENCE, (3, 9), true),
            (SECOND + SILENCE, (3, 8), false),
            (SECOND + SILENCE, (2, 12), false),
            (SECOND + SILENCE, (4, 1), true),
        ] {
            assert_eq!(
                voter.grants(now, &asked(last_log), (3, 9)),
                granted,
                "{now:?} {last_log:?}"
            );
        }
    }

    #[test]
    fn a_server_that_is_alone_elects_itself_at_once_and_one_without_a_vote_never() {
        let mut alone = election(1, 1);
        assert_eq!(tick(&mut alone, Duration::ZERO), [Effect::Elect]);
        let mut learner = election(7, 3);
        assert_eq!(tick(&mut learner, SECOND * 100), []);
    }
}
