//! Many seeds, and deliberate mistakes that many seeds have to notice.

use agent::planted::Planted;
use anyhow::Result;

use crate::pool::{self, Task, Verdict};
use crate::run::Options;
use crate::scenarios::{self, Scenario};

/// How many runs passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: u64,
    pub failed: u64,
}

/// Plays `seeds` seeds: of one scenario, or of all in turn. `failed` is told of each that fails.
pub fn swarm(
    from: u64,
    seeds: u64,
    scenario: Option<&'static Scenario>,
    servers: Option<usize>,
    mut failed: impl FnMut(&Verdict),
) -> Result<Count> {
    let tasks = (from..from.saturating_add(seeds)).map(move |seed| Task {
        scenario: scenario.unwrap_or_else(|| in_turn(scenarios::ALL, seed)),
        options: Options {
            seed,
            servers,
            ..Options::default()
        },
    });
    let mut count = Count::default();
    pool::play(tasks, |verdict| {
        if verdict.passed {
            count.passed += 1;
        } else {
            count.failed += 1;
            failed(verdict);
        }
        true
    })?;
    Ok(count)
}

fn in_turn<T>(all: &'static [T], number: u64) -> &'static T {
    let number = usize::try_from(number).unwrap_or(0) % all.len();
    &all[number]
}

/// A mistake that was noticed.
pub struct Caught {
    /// How many runs it took.
    pub runs: u64,
    pub by: Verdict,
}

/// Plants a mistake and plays up to `seeds` runs of the scenarios that may notice it.
pub fn hunt(planted: Planted, from: u64, seeds: u64) -> Result<Option<Caught>> {
    let grounds = hunting_grounds(planted);
    let tasks = (from..from.saturating_add(seeds)).filter_map(move |seed| {
        Some(Task {
            scenario: scenarios::find(in_turn::<&str>(grounds, seed))?,
            options: Options {
                seed,
                planted: Some(planted),
                ..Options::default()
            },
        })
    });
    let (mut runs, mut caught) = (0, None);
    pool::play(tasks, |verdict| {
        runs += 1;
        if !verdict.passed {
            caught = Some(Caught {
                runs,
                by: Verdict {
                    task: verdict.task,
                    passed: false,
                    digest: verdict.digest.clone(),
                },
            });
        }
        verdict.passed
    })?;
    Ok(caught)
}

/// The scenarios in which a mistake may show.
fn hunting_grounds(planted: Planted) -> &'static [&'static str] {
    match planted {
        Planted::SkippedFsync => &["lose-quorum-and-recover", "snapshot-catch-up", "first-job"],
        Planted::VoteNotPersisted | Planted::DoubleApplyAfterForwarding => {
            &["election", "everything-at-once"]
        }
        Planted::LeaseWithoutGrace => &["election", "rolling-restart"],
        Planted::StalePlanApplied => &["everything-at-once", "flapping-node"],
        Planted::NoPreVote => &["follower-isolated-and-healed"],
        Planted::ReadWithoutQuorum => &["leader-isolated"],
        Planted::LostTruncation => &["old-leader-restarts"],
        Planted::SnapshotWithoutMembership => &["snapshot-catch-up"],
        Planted::RestartForgetsTasks => &["agent-restart"],
        Planted::WithdrawAfterKill => &["first-job"],
        Planted::DownNodeKeepsPassing => &["node-loss"],
        Planted::SessionsWithoutGrace => &["locks"],
        Planted::HealthyUnseen => &["rolling-update"],
        Planted::OthersServicesRemoved => &["beside-a-consul"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_hunted_in_scenarios_that_exist() {
        for planted in Planted::ALL {
            for name in hunting_grounds(planted) {
                assert!(scenarios::find(name).is_some(), "{name}");
            }
        }
    }
}
