//! What holds across hosts, whatever fate does. What holds of one server's state alone is in
//! `logic::invariants`, and is checked with it.

mod health;
mod rollout;
mod watch;

use anyhow::Error;
use logic::invariants::Broken;

pub(crate) use watch::{Scene, Watch};

/// Something that always holds of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: &'static str,
    pub sentence: &'static str,
}

impl Rule {
    pub(crate) fn broken(&self, detail: String) -> Error {
        let Self { id, sentence } = *self;
        Error::new(Broken {
            id,
            sentence,
            detail,
        })
    }
}

pub const ONE_LEADER: Rule = Rule {
    id: "one-leader-a-term",
    sentence: "No two servers lead in the same term.",
};
pub const COMMITTED_AGREE: Rule = Rule {
    id: "committed-entries-agree",
    sentence: "Two servers that have applied the log up to the same index hold the same state, before and after crashes.",
};
pub const TERM_STAYS: Rule = Rule {
    id: "terms-never-go-back",
    sentence: "A server never comes back in an older term than it was in: it could vote twice.",
};
pub const APPLIED_STAYS: Rule = Rule {
    id: "applied-stays-applied",
    sentence: "What a running server has applied it doesn't take back.",
};
pub const ACKNOWLEDGED_READABLE: Rule = Rule {
    id: "acknowledged-write-readable",
    sentence: "A write that was acknowledged is read by everybody who asks afterwards, until the next write.",
};
pub const ONE_A_NAME: Rule = Rule {
    id: "one-live-allocation-a-name",
    sentence: "On reachable machines no name such as `web.g[0]` runs twice for long.",
};
pub const ONE_MACHINE: Rule = Rule {
    id: "one-machine-per-task",
    sentence: "A task runs on one machine.",
};
pub const NOT_OVERCOMMITTED: Rule = Rule {
    id: "no-machine-overcommitted",
    sentence: "The tasks that run on a reachable machine fit into what it has.",
};
pub const WANTED: Rule = Rule {
    id: "nothing-unwanted-runs",
    sentence: "A reachable machine doesn't go on running what the servers don't want.",
};
pub const ROUTES_FRESH: Rule = Rule {
    id: "routes-follow-the-catalog",
    sentence: "An agent's routes lead to what passes in its replica of the catalog.",
};
pub const ONLY_PASSING: Rule = Rule {
    id: "only-passing-in-dns-and-routes",
    sentence: "What doesn't run or can't be reached soon leaves DNS and routes of every agent that reaches the servers.",
};
pub const DESIRED_RESTORED: Rule = Rule {
    id: "desired-count-restored",
    sentence: "Once faults stop, every job runs as often as it should, and nothing else does.",
};
pub const NEVER_DOWN: Rule = Rule {
    id: "healthy-node-never-down",
    sentence: "A node whose agent runs and reaches a majority of servers is never declared down.",
};
pub const SUCCESSOR_FIRST: Rule = Rule {
    id: "successor-healthy-first",
    sentence: "In a rolling update no healthy allocation is stopped before its successor is healthy, and none that moves before its successor runs, where there is room for both.",
};

pub const ONE_HOLDER: Rule = Rule {
    id: "one-holder-a-lock",
    sentence: "No two holders believe at once that they hold a lock.",
};

pub const ALL: &[&Rule] = &[
    &ONE_LEADER,
    &COMMITTED_AGREE,
    &TERM_STAYS,
    &APPLIED_STAYS,
    &ACKNOWLEDGED_READABLE,
    &ONE_A_NAME,
    &ONE_MACHINE,
    &NOT_OVERCOMMITTED,
    &WANTED,
    &ROUTES_FRESH,
    &ONLY_PASSING,
    &DESIRED_RESTORED,
    &NEVER_DOWN,
    &ONE_HOLDER,
    &SUCCESSOR_FIRST,
];
