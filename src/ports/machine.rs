//! The machine an agent runs on: what it has, and what it's busy with.

use std::collections::{BTreeMap, BTreeSet};

use logic::model::Resources;

/// What a machine is, as `${attr.*}` and a node's resources tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// The host's name.
    pub hostname: String,
    /// The address of the interface with the default route, or the only one there is.
    pub address: Option<std::net::IpAddr>,
    /// `cpu.arch`, `kernel.name`, `memory.totalbytes`, `os.name`, ...
    pub attributes: BTreeMap<String, String>,
    pub resources: Resources,
}

/// How busy a machine is right now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineUsage {
    pub cpu_mhz: i64,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    pub disk_used_bytes: u64,
    pub disk_total_bytes: u64,
    pub uptime_secs: u64,
}

pub trait Machine: Send + Sync {
    fn fingerprint(&self) -> Fingerprint;

    /// TCP ports that somebody listens on, in any of the machine's addresses.
    fn ports_in_use(&self) -> BTreeSet<u16>;

    fn usage(&self) -> MachineUsage;

    /// The certificates (DER) of the authorities that the machine trusts.
    fn trusted_certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// What is in a small file that the operator names; an error is a sentence. A machine without
    /// files of its own has none.
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path}: no such file"))
    }

    /// The names of the files in a folder, in order.
    fn folder(&self, path: &str) -> Result<Vec<String>, String> {
        Err(format!("{path}: no such folder"))
    }
}
