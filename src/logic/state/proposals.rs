//! What came of the last proposals: a proposer that got no answer asks again, maybe another
//! server, and must not have its command carried out twice.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Refusal, Reply, Store};
use crate::time::Time;

/// How many proposals are remembered in any case.
const PROPOSALS_KEPT: usize = 4096;
/// Whoever got no answer asks again for ten seconds and a few; clocks of leaders differ.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// No more than these are remembered, however young they are.
const PROPOSALS_MAX: usize = 65_536;

/// A proposal that was applied, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub id: String,
    /// The entry that carried it first.
    pub index: u64,
    pub at: Time,
    pub reply: Result<Reply, Refusal>,
}

impl Store {
    /// What came of a proposal, if it was applied not long ago.
    pub fn outcome_of(&self, proposal: &str) -> Option<Outcome> {
        let first = self.proposals.get(proposal)?;
        Some(Outcome {
            index: first.index,
            reply: first.reply.clone(),
            pending: Vec::new(),
        })
    }

    pub(super) fn remember(&mut self, proposed: Arc<Proposed>) {
        if proposed.id.is_empty() {
            return;
        }
        let now = proposed.at;
        self.proposals_by_index
            .insert(proposed.index, proposed.id.clone());
        self.proposals.insert_shared(proposed.id.clone(), proposed);
        while self.proposals.len() > PROPOSALS_KEPT {
            let oldest = self.proposals_by_index.iter().next();
            let Some((index, id)) = oldest.map(|(index, id)| (*index, Arc::clone(id))) else {
                return;
            };
            let young = |first: &Arc<Proposed>| now.since(first.at) < REMEMBERED_FOR;
            if self.proposals.len() <= PROPOSALS_MAX
                && self.proposals.get(id.as_str()).is_some_and(young)
            {
                return;
            }
            self.proposals_by_index.remove(&index);
            self.proposals.remove(id.as_str());
        }
    }

    /// The proposals remembered, oldest first.
    pub(super) fn proposed(&self) -> impl Iterator<Item = &Arc<Proposed>> {
        let ids = self.proposals_by_index.values();
        ids.filter_map(|id| self.proposals.get(id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Command, Entry};

    fn entry(index: u64, proposal: &str, job: &str) -> Entry {
        Entry {
            index,
            at: Time(0),
            proposal: proposal.to_owned(),
            command: Command::RegisterJob {
                job: Box::new(crate::model::Job {
                    id: job.to_owned(),
                    ..Default::default()
                }),
                check_index: None,
            },
        }
    }

    #[test]
    fn a_proposal_that_comes_twice_is_carried_out_once() {
        let mut store = Store::default();
        let first = store.apply(entry(1, "p1", "a"));
        assert_eq!((first.index, first.pending.len()), (1, 1));
        let mut before = store.clone();
        let second = store.apply(entry(2, "p1", "b"));
        assert_eq!(second.index, 1);
        assert_eq!(second.reply, first.reply);
        assert!(second.pending.is_empty());
        before.index = 2;
        assert_eq!(store, before, "only the index may move");
        assert_eq!(store.outcome_of("p1"), Some(second));
    }

    #[test]
    fn a_refusal_is_remembered_too() {
        let mut store = Store::default();
        let refused = |index| Entry {
            command: Command::EvaluateJob {
                job_id: "a".to_owned(),
            },
            ..entry(index, "p1", "a")
        };
        let first = store.apply(refused(1));
        assert_eq!(first.reply, Err(Refusal::NoSuchJob("a".to_owned())));
        store.apply(entry(2, "p2", "a"));
        assert_eq!(store.apply(refused(3)).reply, first.reply);
    }

    #[test]
    fn entries_without_a_proposal_are_never_taken_for_each_other() {
        let mut store = Store::default();
        store.apply(entry(1, "", "a"));
        let outcome = store.apply(entry(2, "", "b"));
        assert_eq!((outcome.index, store.jobs().count()), (2, 2));
    }

    #[test]
    fn only_the_newest_proposals_are_remembered() {
        let mut store = Store::default();
        let at = |index| Time(i64::try_from(index).expect("few") * 100_000_000);
        for index in 1..=PROPOSALS_KEPT as u64 + 1 {
            let young = entry(index, &format!("p{index}"), "a");
            store.apply(Entry {
                at: at(index),
                ..young
            });
        }
        assert_eq!(store.outcome_of("p1"), None);
        assert!(store.outcome_of("p2").is_some());
        assert_eq!(store.proposed().count(), PROPOSALS_KEPT);
    }

    #[test]
    fn young_proposals_are_remembered_though_they_are_many() {
        let mut store = Store::default();
        for index in 1..=PROPOSALS_MAX as u64 + 2 {
            store.remember(Arc::new(Proposed {
                id: format!("p{index}"),
                index,
                at: Time(0),
                reply: Ok(Reply::Done),
            }));
        }
        assert_eq!(store.proposed().count(), PROPOSALS_MAX);
        assert_eq!(store.outcome_of("p2"), None);
        assert!(store.outcome_of("p3").is_some());
    }

    #[test]
    fn a_restored_store_still_knows_its_proposals() {
        let mut store = Store::default();
        store.apply(entry(1, "p1", "a"));
        let restored = Store::restore(store.dump());
        assert_eq!(restored, store);
        assert_eq!(restored.outcome_of("p1").map(|first| first.index), Some(1));
    }
}
