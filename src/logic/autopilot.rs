//! Who should be a server of the cluster: what the leader changes, one step at a time, as servers
//! come, fail and go. Never so that the servers that are alive would no longer be a majority.

use std::time::Duration;

use crate::membership::{Member, MemberStatus};

/// A voter must have been silent for this long before it makes room for its replacement.
pub const FAILED_FOR: Duration = Duration::from_secs(10);
/// A server that doesn't vote and stays away is forgotten after this long.
pub const LEARNER_FAILED_FOR: Duration = Duration::from_secs(72 * 3_600);

/// A server of the replicated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    pub id: String,
    pub address: String,
    pub voter: bool,
    /// Its log is (almost) as long as the leader's.
    pub caught_up: bool,
}

/// A server as gossip has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub member: Member,
    pub status: MemberStatus,
    /// For how long it has had this status.
    pub since: Duration,
}

/// What the leader knows of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    pub leader: String,
    pub bootstrap_expect: u32,
    pub configured: Vec<Configured>,
    pub heard: Vec<Heard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends it the log; it doesn't vote yet.
    AddLearner(Member),
    /// It is reached at another address now.
    SetAddress(Member),
    Promote(String),
    Remove {
        id: String,
        reason: &'static str,
    },
}

/// The next step, if there is any to take.
pub fn decide(situation: &Situation) -> Option<Step> {
    situation
        .returned()
        .or_else(|| situation.promoted())
        .or_else(|| situation.gone())
}

impl Situation {
    fn heard(&self, id: &str) -> Option<&Heard> {
        self.heard.iter().find(|heard| heard.member.id == id)
    }

    fn is_alive(&self, id: &str) -> bool {
        id == self.leader
            || self
                .heard(id)
                .is_some_and(|heard| heard.status == MemberStatus::Alive)
    }

    /// A server that is new, back, or somewhere else.
    fn returned(&self) -> Option<Step> {
        let alive = self
            .heard
            .iter()
            .filter(|heard| heard.status == MemberStatus::Alive);
        for heard in alive {
            let member = &heard.member;
            match self.configured.iter().find(|known| known.id == member.id) {
                None => return Some(Step::AddLearner(member.clone())),
                Some(known) if known.address != member.rpc_address().to_string() => {
                    return Some(Step::SetAddress(member.clone()));
                }
                Some(_) => {}
            }
        }
        None
    }

    fn promoted(&self) -> Option<Step> {
        let ready =
            |known: &&Configured| !known.voter && known.caught_up && self.is_alive(&known.id);
        let learner = self.configured.iter().find(ready)?;
        Some(Step::Promote(learner.id.clone()))
    }

    fn gone(&self) -> Option<Step> {
        self.configured.iter().find_map(|known| {
            let heard = self.heard(&known.id)?;
            let reason = match heard.status {
                MemberStatus::Alive => return None,
                MemberStatus::Left => "it left",
                MemberStatus::Failed if known.voter => {
                    let replaced = self.alive_voters(&known.id) >= self.bootstrap_expect as usize;
                    if !replaced || heard.since < FAILED_FOR {
                        return None;
                    }
                    "it failed and has been replaced"
                }
                MemberStatus::Failed if heard.since < LEARNER_FAILED_FOR => return None,
                MemberStatus::Failed => "it failed long ago",
            };
            let safe = !known.voter || self.is_majority_without(&known.id);
            (known.id != self.leader && safe).then(|| Step::Remove {
                id: known.id.clone(),
                reason,
            })
        })
    }

    fn alive_voters(&self, but: &str) -> usize {
        let voters = self.configured.iter().filter(|known| known.voter);
        voters
            .filter(|known| known.id != but && self.is_alive(&known.id))
            .count()
    }

    /// Whether those alive are a majority of the voters that remain.
    fn is_majority_without(&self, id: &str) -> bool {
        let voters = self.configured.iter().filter(|known| known.voter);
        let remaining = voters.filter(|known| known.id != id).count();
        self.alive_voters(id) * 2 > remaining
    }
}

#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(id: &str) -> Member {
        Member {
            id: id.to_owned(),
            name: format!("server-{id}"),
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            address: [10, 0, 0, 1].into(),
            serf_port: 4648,
            rpc_port: 4647,
            http_port: 4646,
            server: true,
            bootstrap_expect: 3,
            version: "0".to_owned(),
            generation: 1,
        }
    }

    fn heard(id: &str, status: MemberStatus, since: u64) -> Heard {
        Heard {
            member: member(id),
            status,
            since: Duration::from_secs(since),
        }
    }

    fn known(id: &str, voter: bool, caught_up: bool) -> Configured {
        Configured {
            id: id.to_owned(),
            address: "10.0.0.1:4647".to_owned(),
            voter,
            caught_up,
        }
    }

    use MemberStatus::{Alive, Failed, Left};

    /// Id, configured (voter, caught up), status and since when.
    type Server = (&'static str, Option<(bool, bool)>, MemberStatus, u64);

    /// `a` leads.
    fn next(servers: &[Server]) -> Option<Step> {
        decide(&Situation {
            leader: "a".to_owned(),
            bootstrap_expect: 3,
            configured: servers
                .iter()
                .filter_map(|(id, configured, ..)| {
                    configured.map(|(voter, caught_up)| known(id, voter, caught_up))
                })
                .collect(),
            heard: servers
                .iter()
                .map(|(id, _, status, since)| heard(id, *status, *since))
                .collect(),
        })
    }

    const VOTER: Option<(bool, bool)> = Some((true, true));

    fn removed(id: &str, reason: &'static str) -> Step {
        Step::Remove {
            id: id.to_owned(),
            reason,
        }
    }

    #[test]
    fn servers_come_fail_and_go() {
        let trio = [("a", VOTER, Alive, 9), ("b", VOTER, Alive, 9)];
        let with = |more: &[Server]| next(&[&trio, more].concat());
        assert_eq!(with(&[("c", VOTER, Alive, 9)]), None);
        assert_eq!(
            with(&[("c", None, Alive, 0)]),
            Some(Step::AddLearner(member("c")))
        );
        assert_eq!(with(&[("c", Some((false, false)), Alive, 9)]), None);
        assert_eq!(
            with(&[("c", Some((false, true)), Alive, 0)]),
            Some(Step::Promote("c".to_owned()))
        );
        // It stays a voter: it may come back, and counts as one that is down until then.
        assert_eq!(with(&[("c", VOTER, Failed, 9_999)]), None);
        let replaced = [("c", VOTER, Failed, 11), ("d", VOTER, Alive, 9)];
        assert_eq!(
            with(&replaced),
            Some(removed("c", "it failed and has been replaced"))
        );
        let just_now = [("c", VOTER, Failed, 9), ("d", VOTER, Alive, 9)];
        assert_eq!(with(&just_now), None);
        assert_eq!(
            with(&[("c", VOTER, Left, 0)]),
            Some(removed("c", "it left"))
        );
        assert_eq!(with(&[("c", Some((false, true)), Failed, 3_600)]), None);
        let long = 73 * 3_600;
        assert_eq!(
            with(&[("c", Some((false, true)), Failed, long)]),
            Some(removed("c", "it failed long ago"))
        );
    }

    #[test]
    fn nobody_is_removed_when_the_rest_would_be_no_majority() {
        assert_eq!(
            next(&[
                ("a", VOTER, Alive, 9),
                ("b", VOTER, Failed, 99),
                ("c", VOTER, Left, 9)
            ]),
            None
        );
        assert_eq!(
            next(&[("a", VOTER, Alive, 9), ("b", VOTER, Left, 9)]),
            Some(removed("b", "it left"))
        );
    }

    #[test]
    fn a_server_at_another_address_is_looked_for_there() {
        let mut moved = heard("b", Alive, 9);
        moved.member.address = [10, 0, 0, 2].into();
        let step = decide(&Situation {
            leader: "a".to_owned(),
            bootstrap_expect: 3,
            configured: vec![known("a", true, true), known("b", true, true)],
            heard: vec![heard("a", Alive, 9), moved.clone()],
        });
        assert_eq!(step, Some(Step::SetAddress(moved.member)));
    }

    proptest! {
        #[test]
        fn whatever_happens_those_alive_stay_a_majority(
            servers in prop::collection::vec((any::<(bool, bool)>(), 0..3u8, 0..400_000u64), 1..8),
            expect in 1..6u32,
        ) {
            let status = |number| [Alive, Failed, Left][usize::from(number)];
            let ids: Vec<String> = (0..servers.len()).map(|number| number.to_string()).collect();
            let mut situation = Situation {
                leader: "0".to_owned(),
                bootstrap_expect: expect,
                configured: Vec::new(),
                heard: Vec::new(),
            };
            for (id, ((voter, caught_up), number, since)) in ids.iter().zip(servers) {
                let leads = *id == "0";
                situation.configured.push(known(id, voter || leads, caught_up));
                situation.heard.push(heard(id, if leads { Alive } else { status(number) }, since));
            }
            let majority = |situation: &Situation| {
                let voters = situation.configured.iter().filter(|known| known.voter).count();
                situation.alive_voters("") * 2 > voters
            };
            let had_one = majority(&situation);
            for _ in 0..20 {
                let Some(step) = decide(&situation) else { return Ok(()) };
                match step {
                    Step::Promote(id) => {
                        let one = situation.configured.iter_mut().find(|known| known.id == id);
                        one.expect("it is there").voter = true;
                    }
                    Step::Remove { id, .. } => situation.configured.retain(|known| known.id != id),
                    Step::AddLearner(_) | Step::SetAddress(_) => unreachable!("all are known"),
                }
                prop_assert!(!had_one || majority(&situation));
                prop_assert!(situation.configured.iter().any(|known| known.id == "0"));
            }
            prop_assert!(false, "it comes to an end");
        }
    }
}
