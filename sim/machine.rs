//! What a simulated machine is.

use std::collections::{BTreeMap, BTreeSet};

use logic::model::{Network, Resources};
use ports::{Fingerprint, Machine, MachineUsage};

use crate::clock;
use crate::world::{SimHost, lock};

const MIB: u64 = 1024 * 1024;
const CORES: i64 = 4;
const MBITS: i64 = 1000;

pub(crate) struct SimMachine {
    host: SimHost,
}

impl SimMachine {
    pub(crate) fn new(host: SimHost) -> Self {
        Self { host }
    }
}

fn bytes(mib: i64) -> u64 {
    u64::try_from(mib).unwrap_or(0) * MIB
}

impl Machine for SimMachine {
    fn fingerprint(&self) -> Fingerprint {
        let shared = self.host.shared();
        let address = turmoil::lookup(shared.name.as_str());
        let has = &shared.resources;
        let facts = [
            ("cpu.arch", "amd64".to_owned()),
            ("cpu.frequency", (has.cpu / CORES).to_string()),
            ("cpu.modelname", "Simulated".to_owned()),
            ("cpu.numcores", CORES.to_string()),
            ("cpu.totalcompute", has.cpu.to_string()),
            ("kernel.name", "linux".to_owned()),
            ("kernel.version", "6.1.0-sim".to_owned()),
            ("memory.totalbytes", bytes(has.memory_mb).to_string()),
            ("os.name", "debian".to_owned()),
            ("os.version", "12.0".to_owned()),
            ("unique.hostname", shared.name.clone()),
            ("unique.network.ip-address", address.to_string()),
            ("unique.storage.bytesfree", bytes(has.disk_mb).to_string()),
            ("unique.storage.bytestotal", bytes(has.disk_mb).to_string()),
            ("unique.storage.volume", "/dev/sim0".to_owned()),
        ];
        let attributes: BTreeMap<String, String> = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let network = Network {
            device: "eth0".to_owned(),
            cidr: format!("{address}/32"),
            ip: address.to_string(),
            mbits: MBITS,
            ..Network::default()
        };
        Fingerprint {
            hostname: shared.name.clone(),
            address: Some(address),
            attributes,
            resources: Resources {
                networks: vec![network],
                ..has.clone()
            },
        }
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        lock(&self.host.shared().network).listening()
    }

    fn usage(&self) -> MachineUsage {
        let shared = self.host.shared();
        let running = lock(&shared.engine).usage();
        let disk = lock(&shared.disk).bytes_used();
        MachineUsage {
            cpu_mhz: running.cpu_mhz,
            memory_used_bytes: running.memory_bytes,
            memory_total_bytes: bytes(shared.resources.memory_mb),
            disk_used_bytes: disk,
            disk_total_bytes: bytes(shared.resources.disk_mb),
            uptime_secs: clock::elapsed().as_secs(),
        }
    }
}
