//! Transactions on the key-value store: all of it happens, or nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::KvPair;

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnOp {
    pub verb: TxnVerb,
    pub key: String,
    pub value: Bytes,
    pub flags: u64,
    pub index: u64,
    pub session: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnVerb {
    Set,
    Cas,
    Lock,
    Unlock,
    Get,
    GetOrEmpty,
    GetTree,
    CheckIndex,
    CheckSession,
    CheckNotExists,
    Delete,
    DeleteCas,
    DeleteTree,
}

impl TxnVerb {
    pub fn writes(self) -> bool {
        match self {
            Self::Set
            | Self::Cas
            | Self::Lock
            | Self::Unlock
            | Self::Delete
            | Self::DeleteCas
            | Self::DeleteTree => true,
            Self::Get
            | Self::GetOrEmpty
            | Self::GetTree
            | Self::CheckIndex
            | Self::CheckSession
            | Self::CheckNotExists => false,
        }
    }
}

/// What came of a transaction: the rows that its steps tell of, or what was wrong with which step.
/// Rows that were written come without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnDone {
    pub rows: Vec<KvPair>,
    pub errors: Vec<(usize, String)>,
}
