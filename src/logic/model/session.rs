//! Sessions: who holds locks on keys, and for how long at most.

use serde::{Deserialize, Serialize};

/// What becomes of the keys a session holds when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionBehavior {
    /// They stay, and nobody holds them.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A holder of locks. It ends when it is destroyed, when nobody renewed it for longer than its
/// time to live, and with its node or a check it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: String,
    pub name: String,
    /// The catalog node it belongs to.
    pub node: String,
    /// Nanoseconds during which nobody gets a key that it held when it was ended by something else
    /// than its holder.
    pub lock_delay: i64,
    pub behavior: SessionBehavior,
    /// Nanoseconds; 0: it needs no renewal.
    pub ttl: i64,
    /// Ids of checks of the node.
    pub node_checks: Vec<String>,
    /// Ids of checks of services on the node.
    pub service_checks: Vec<String>,
    pub create_index: u64,
    pub modify_index: u64,
}

impl Session {
    /// Whether it ends when this check of its node becomes critical.
    pub fn depends_on(&self, check_id: &str) -> bool {
        let mut checks = self.node_checks.iter().chain(&self.service_checks);
        checks.any(|id| id == check_id)
    }
}
