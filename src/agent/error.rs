//! Why an agent can't start.

use ports::errors::{DiskError, NetworkError};
use thiserror::Error;

/// Why an agent can't start: one line that says what, where and what to do.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("can't listen for {what} on {source}; {}", remedy(source, setting))]
    Listen {
        what: &'static str,
        setting: &'static str,
        source: NetworkError,
    },
    #[error("can't use the data directory: {0}")]
    Disk(#[from] DiskError),
    #[error("can't use the servers' log in the data directory: {0}")]
    Log(String),
    #[error("{0}")]
    Config(String),
}

fn remedy(source: &NetworkError, setting: &str) -> String {
    match source {
        NetworkError::NoSuchAddress { .. } => {
            "addresses are set by bind_addr, addresses { } or -bind".to_owned()
        }
        NetworkError::InUse { .. } => {
            format!("is another agent running? its port is set by {setting}")
        }
        _ => format!("its port is set by {setting}"),
    }
}
