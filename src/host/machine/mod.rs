//! What this machine is and how busy it is, from /proc and /sys.

mod addresses;
mod facts;
mod sockets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use logic::config::ClientConfig;
use logic::model::{Network, Resources};
use ports::{Fingerprint, Machine, MachineUsage};

use facts::CpuTimes;

pub(crate) use facts::mhz_per_core;

const MIB: u64 = 1024 * 1024;

/// What a network card is taken to manage if it doesn't say.
const DEFAULT_MBITS: i64 = 1000;

pub(crate) struct HostMachine {
    alloc_dir: PathBuf,
    interface: String,
    cpu_override: i64,
    memory_override_mb: i64,
    last_cpu: Mutex<CpuTimes>,
}

impl HostMachine {
    pub(crate) fn new(config: &ClientConfig, alloc_dir: PathBuf) -> Self {
        Self {
            alloc_dir,
            interface: config.network_interface.clone(),
            cpu_override: config.cpu_total_compute,
            memory_override_mb: config.memory_total_mb,
            last_cpu: Mutex::new(CpuTimes::default()),
        }
    }

    fn cpu_mhz(&self) -> i64 {
        if self.cpu_override > 0 {
            self.cpu_override
        } else {
            facts::cores() * mhz_per_core()
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The directory itself, or the nearest one above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

/// What an operator names is small; the rest is a mistake.
const FILE_BYTES_MAX: u64 = 8 << 20;

impl Machine for HostMachine {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("{path}: larger than {FILE_BYTES_MAX} bytes"));
        }
        std::fs::read(path).map_err(failed)
    }

    fn folder(&self, path: &str) -> Result<Vec<String>, String> {
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            names.push(
                entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        names.sort();
        Ok(names)
    }

    fn trusted_certificates(&self) -> Vec<Vec<u8>> {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "can't read a trusted certificate of this machine");
        }
        let certificates = found.certs.into_iter();
        certificates
            .map(|certificate| certificate.to_vec())
            .collect()
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut attributes = facts::attributes();
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                attributes.insert(name.to_owned(), value);
            }
        };
        let memory = facts::memory();
        let disk = facts::disk(existing(&self.alloc_dir));
        put("cpu.totalcompute", self.cpu_mhz().to_string());
        put("memory.totalbytes", memory.total.to_string());
        put("unique.storage.bytesfree", disk.free.to_string());
        put("unique.storage.bytestotal", disk.total.to_string());
        put(
            "unique.storage.volume",
            facts::volume(existing(&self.alloc_dir)),
        );
        let interface = addresses::choose(&self.interface);
        let mut networks = Vec::new();
        if let Some(interface) = &interface {
            let ip = interface.address.to_string();
            put("unique.network.ip-address", ip.clone());
            networks.push(Network {
                device: interface.name.clone(),
                cidr: format!("{ip}/32"),
                ip,
                mbits: addresses::mbits(&interface.name).unwrap_or(DEFAULT_MBITS),
                ..Network::default()
            });
        }
        let memory_mb = if self.memory_override_mb > 0 {
            self.memory_override_mb
        } else {
            signed(memory.total / MIB)
        };
        Fingerprint {
            hostname: attributes
                .get("unique.hostname")
                .cloned()
                .unwrap_or_default(),
            address: interface.map(|interface| interface.address),
            attributes,
            resources: Resources {
                cpu: self.cpu_mhz(),
                memory_mb,
                disk_mb: signed(disk.free / MIB),
                iops: 0,
                networks,
            },
        }
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        sockets::listening()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a share of some thousand MHz"
    )]
    fn usage(&self) -> MachineUsage {
        let now = facts::cpu_times();
        let mut last = self.last_cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = now.busy_share_since(*last);
        *last = now;
        let memory = facts::memory();
        let disk = facts::disk(existing(&self.alloc_dir));
        MachineUsage {
            cpu_mhz: (busy * self.cpu_mhz() as f64) as i64,
            memory_used_bytes: memory.total.saturating_sub(memory.available),
            memory_total_bytes: memory.total,
            disk_used_bytes: disk.total.saturating_sub(disk.free),
            disk_total_bytes: disk.total,
            uptime_secs: facts::uptime_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(config: &ClientConfig) -> HostMachine {
        HostMachine::new(config, PathBuf::from("/no/such/folder/alloc"))
    }

    #[test]
    fn this_machine_has_a_cpu_memory_a_disk_and_an_address() {
        let found = machine(&ClientConfig::default()).fingerprint();
        for name in [
            "cpu.arch",
            "cpu.numcores",
            "cpu.totalcompute",
            "kernel.name",
            "kernel.version",
            "memory.totalbytes",
            "os.name",
            "unique.hostname",
            "unique.network.ip-address",
            "unique.storage.bytesfree",
            "unique.storage.bytestotal",
        ] {
            let value = found.attributes.get(name);
            assert!(value.is_some_and(|value| !value.is_empty()), "{name}");
        }
        assert!(found.resources.cpu >= 100);
        assert!(found.resources.memory_mb > 0);
        assert!(found.resources.disk_mb > 0);
        assert_eq!(
            found.resources.networks[0].ip,
            found.address.expect("an address").to_string()
        );
    }

    #[test]
    fn what_the_configuration_says_about_the_machine_wins() {
        let config = ClientConfig {
            cpu_total_compute: 4242,
            memory_total_mb: 77,
            network_interface: "lo".to_owned(),
            ..ClientConfig::default()
        };
        let found = machine(&config).fingerprint();
        assert_eq!(found.resources.cpu, 4242);
        assert_eq!(found.attributes["cpu.totalcompute"], "4242");
        assert_eq!(found.resources.memory_mb, 77);
        assert_eq!(found.address, Some(std::net::Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn usage_stays_within_what_there_is() {
        let machine = machine(&ClientConfig::default());
        for _ in 0..2 {
            let usage = machine.usage();
            assert!(usage.cpu_mhz <= machine.cpu_mhz());
            assert!(usage.memory_used_bytes <= usage.memory_total_bytes);
            assert!(usage.disk_used_bytes <= usage.disk_total_bytes);
            assert!(usage.uptime_secs > 0);
        }
    }
}
