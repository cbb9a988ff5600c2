//! Files that must survive a crash: the servers' log, the clients' state.

use std::sync::Arc;

use thiserror::Error;

use crate::Asked;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{path}: permission denied")]
    Denied { path: String },
    #[error("{path}: no space left on the device")]
    Full { path: String },
    #[error("{path}: no such file")]
    Missing { path: String },
    #[error("{path}: {reason}")]
    Failed { path: String, reason: String },
}

/// Paths are relative to the agent's data directory and use `/`.
pub trait Disk: Send + Sync {
    /// Makes sure the data directory exists and can be written to.
    fn prepare(&self) -> Result<(), Error>;

    /// Opens a file for random access, creating it and its folders if need be.
    fn open(&self, path: &str) -> Result<Arc<dyn File>, Error>;

    /// The whole of a small file; `Missing` if there is none.
    fn read(&self, path: &str) -> Asked<'_, Result<Vec<u8>, Error>>;

    /// Replaces a small file as a whole: after a crash it is either the old or the new one.
    fn write(&self, path: &str, bytes: Vec<u8>) -> Asked<'_, Result<(), Error>>;

    /// Removes a file or a whole folder; fine if there is none.
    fn remove(&self, path: &str) -> Asked<'_, Result<(), Error>>;

    /// Names of the files and folders in a folder, sorted; empty if there is no such folder.
    fn list(&self, path: &str) -> Asked<'_, Result<Vec<String>, Error>>;
}

/// A file for random access. Calls block: they are for small writes by a store's own actor.
pub trait File: Send + Sync + std::fmt::Debug {
    fn len(&self) -> std::io::Result<u64>;

    fn is_empty(&self) -> std::io::Result<bool> {
        Ok(self.len()? == 0)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()>;

    fn set_len(&self, len: u64) -> std::io::Result<()>;

    /// Returns when everything written so far survives a power cut.
    fn sync(&self) -> std::io::Result<()>;
}
