//! What allocations hold of a node: kept up to date with each change, so that nobody has to add up.

use std::collections::BTreeMap;

use super::Store;
use crate::model::{Allocation, Resources};

/// Resources and ports held on one node. A port may be held more than once for a moment, while a
/// stopping allocation hands it to its successor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// MHz.
    pub cpu: i64,
    pub memory_mb: i64,
    pub disk_mb: i64,
    /// How many allocations hold each port.
    pub ports: BTreeMap<u16, u32>,
}

impl Usage {
    pub fn add(&mut self, alloc: &Allocation) {
        self.change(&alloc.resources, 1);
        for (_, port) in alloc.ports() {
            *self.ports.entry(port.value).or_default() += 1;
        }
    }

    pub fn take(&mut self, alloc: &Allocation) {
        self.change(&alloc.resources, -1);
        for (_, port) in alloc.ports() {
            if let Some(holders) = self.ports.get_mut(&port.value) {
                *holders -= 1;
                if *holders == 0 {
                    self.ports.remove(&port.value);
                }
            }
        }
    }

    pub(crate) fn change(&mut self, resources: &Resources, sign: i64) {
        self.cpu += sign * resources.cpu;
        self.memory_mb += sign * resources.memory_mb;
        self.disk_mb += sign * resources.disk_mb;
    }
}

impl Store {
    /// Accounts for an allocation's row being replaced by another (or by nothing).
    pub(super) fn account(&mut self, old: Option<&Allocation>, new: Option<&Allocation>) {
        let holds = |alloc: &&Allocation| alloc.occupies();
        for (alloc, sign) in [(old.filter(holds), false), (new.filter(holds), true)]
            .into_iter()
            .filter_map(|(alloc, sign)| alloc.map(|alloc| (alloc, sign)))
        {
            let mut usage = self.usage(&alloc.node_id);
            if sign {
                usage.add(alloc);
            } else {
                usage.take(alloc);
            }
            if usage == Usage::default() {
                self.usage.remove(&alloc.node_id);
            } else {
                self.usage.insert(alloc.node_id.clone(), usage);
            }
        }
        self.note_leaving(old, new);
    }

    fn note_leaving(&mut self, old: Option<&Allocation>, new: Option<&Allocation>) {
        let leaves = |alloc: &&Allocation| alloc.migrate && !alloc.terminal();
        if let Some(old) = old.filter(leaves) {
            self.allocs_leaving.remove(&old.id);
        }
        if let Some(new) = new.filter(leaves) {
            self.allocs_leaving.insert(new.id.clone(), ());
        }
    }
}
