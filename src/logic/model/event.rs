//! Events that users fire for others to hear of.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEvent {
    pub id: String,
    pub name: String,
    pub payload: Bytes,
    /// Patterns of whom it concerns, as its sender wrote them.
    pub node_filter: String,
    pub service_filter: String,
    pub tag_filter: String,
    /// The entry that fired it.
    pub index: u64,
}
