//! What a group wants when the node of one of its allocations is no longer heard.

use serde::{Deserialize, Serialize};

use super::{Allocation, CLIENT_PENDING, CLIENT_RUNNING, CLIENT_UNKNOWN, TASK_RUNNING, TaskGroup};
use crate::serial::lenient;
use crate::time::Time;

pub const KEEP_ORIGINAL: &str = "keep_original";
pub const KEEP_REPLACEMENT: &str = "keep_replacement";
pub const BEST_SCORE: &str = "best_score";
pub const LONGEST_RUNNING: &str = "longest_running";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisconnectStrategy {
    /// Nanoseconds after which an allocation on a silent node is lost; until then it is unknown.
    #[serde(deserialize_with = "lenient")]
    pub lost_after: i64,
    /// Nanoseconds after which the silent node itself stops the allocation.
    pub stop_on_client_after: Option<i64>,
    /// Whether an unknown allocation is replaced; absent means yes.
    pub replace: Option<bool>,
    /// Which one stays when the node is back; empty means the one with the best score.
    #[serde(deserialize_with = "lenient")]
    pub reconcile: String,
}

/// A change of an allocation's status that later decisions depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocState {
    /// What changed: `ClientStatus`.
    pub field: String,
    pub value: String,
    pub time: Time,
}

impl TaskGroup {
    /// How long an allocation may be unknown before it is lost; 0: it is lost at once.
    pub fn lost_after(&self) -> i64 {
        match &self.disconnect {
            Some(strategy) => strategy.lost_after,
            None => self.max_client_disconnect.unwrap_or(0),
        }
    }

    /// How long a node that hears no server lets the group's allocations run; `None`: on and on.
    pub fn stop_on_client_after(&self) -> Option<i64> {
        match &self.disconnect {
            Some(strategy) => strategy.stop_on_client_after,
            None => self.stop_after_client_disconnect,
        }
    }

    pub fn replaces_unknown(&self) -> bool {
        let strategy = self.disconnect.as_ref();
        strategy.is_none_or(|strategy| strategy.replace.unwrap_or(true))
    }

    /// Which of an allocation that is back and its replacement stays.
    pub fn reconcile_strategy(&self) -> &str {
        match &self.disconnect {
            Some(strategy) if !strategy.reconcile.is_empty() => &strategy.reconcile,
            Some(_) | None => BEST_SCORE,
        }
    }
}

impl Allocation {
    pub fn unknown(&self) -> bool {
        self.client_status == CLIENT_UNKNOWN
    }

    /// Since when it is unknown, or was so last.
    pub fn unknown_since(&self) -> Option<Time> {
        let mut states = self.alloc_states.iter().rev();
        states
            .find(|state| state.value == CLIENT_UNKNOWN)
            .map(|state| state.time)
    }

    /// It was unknown, and its node is back.
    pub fn returned(&self) -> bool {
        !self.unknown() && !self.alloc_states.is_empty()
    }

    /// Whether it has been unknown for as long as its group allows.
    pub fn expired(&self, now: Time) -> bool {
        let allowed = self.group().map_or(0, TaskGroup::lost_after);
        let since = self.unknown_since().filter(|_| self.unknown());
        since.is_some_and(|since| now.0 >= since.0.saturating_add(allowed))
    }

    /// What its tasks were doing when they were last heard of.
    pub fn last_heard_status(&self) -> &'static str {
        let mut tasks = self.task_states.values();
        if tasks.any(|task| task.state == TASK_RUNNING) {
            CLIENT_RUNNING
        } else {
            CLIENT_PENDING
        }
    }

    /// Notes a change of its status that is no report of its node.
    pub fn note_status(&mut self, status: &str, at: Time) {
        status.clone_into(&mut self.client_status);
        self.alloc_states.push(AllocState {
            field: "ClientStatus".to_owned(),
            value: status.to_owned(),
            time: at,
        });
        let surplus = self.alloc_states.len().saturating_sub(STATES_KEPT);
        self.alloc_states.drain(..surplus);
    }
}

/// Enough to see how a node came and went.
const STATES_KEPT: usize = 10;
