//! The key-value store: a row, and what can be done to rows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A key and what is written there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvPair {
    pub key: String,
    pub value: Bytes,
    /// Means what its writer wants.
    pub flags: u64,
    pub create_index: u64,
    pub modify_index: u64,
    /// How often the key was locked.
    pub lock_index: u64,
    /// The session that holds the key's lock; empty: none.
    pub session: String,
}

/// A change that a client asks for. With `cas` only if the row's `modify_index` is this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvChange {
    Put {
        key: String,
        value: Bytes,
        flags: u64,
        /// 0: only if there is no such key.
        cas: Option<u64>,
    },
    Delete {
        key: String,
        cas: Option<u64>,
    },
    /// Deletes every key that begins so.
    DeleteTree {
        prefix: String,
    },
    /// Writes the key and locks it for a session, if no other one holds it.
    Acquire {
        key: String,
        value: Bytes,
        flags: u64,
        session: String,
    },
    /// Writes the key and unlocks it, if this session holds it.
    Release {
        key: String,
        value: Bytes,
        flags: u64,
        session: String,
    },
}
