//! Which host ports an allocation gets: those it asks for by number, and free ones for the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::room::Lack;
use crate::id::Ids;
use crate::model::{Network, Node, Port, Resources, TaskGroup};
use crate::state::Usage;

/// Dynamic ports come from this range.
pub(super) const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 20_000..=32_000;

/// What a group is given on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Assigned {
    pub(super) shared: Vec<Network>,
    /// By task: its resources, networks filled in.
    pub(super) tasks: BTreeMap<String, Resources>,
}

/// Assigns every port the group asks for on `node`. `releasing` are ports of allocations that the
/// same plan stops: a port asked for by number may take over from one of them, a dynamic one
/// rather goes elsewhere.
pub(super) fn assign(
    group: &TaskGroup,
    node: &Node,
    usage: &Usage,
    releasing: Option<&BTreeSet<u16>>,
    ids: &mut Ids,
) -> Result<Assigned, Lack> {
    let mut dynamic = Dynamic {
        node,
        usage,
        start: ids.next_u64(),
        taken: reserved(group, node, usage, releasing)?,
    };
    let shared = group
        .networks
        .iter()
        .map(|network| dynamic.fill(network))
        .collect::<Result<_, _>>()?;
    let mut tasks = BTreeMap::new();
    for task in &group.tasks {
        let mut resources = task.resources.clone();
        resources.networks = task
            .resources
            .networks
            .iter()
            .map(|network| dynamic.fill(network))
            .collect::<Result<_, _>>()?;
        tasks.insert(task.name.clone(), resources);
    }
    Ok(Assigned { shared, tasks })
}

/// The ports the group asks for by number, if all of them are free.
pub(super) fn reserved(
    group: &TaskGroup,
    node: &Node,
    usage: &Usage,
    releasing: Option<&BTreeSet<u16>>,
) -> Result<BTreeSet<u16>, Lack> {
    let mut taken = BTreeSet::new();
    let of_tasks = group.tasks.iter().flat_map(|task| &task.resources.networks);
    for network in group.networks.iter().chain(of_tasks) {
        for port in &network.reserved_ports {
            let released = releasing.is_some_and(|ports| ports.contains(&port.value));
            let holders = usage.ports.get(&port.value).copied().unwrap_or(0);
            let taken_by = if node.used_ports.contains(&port.value) {
                "a program that is no allocation's, perhaps the agent's own edge"
            } else if holders > u32::from(released) {
                "another allocation"
            } else if !taken.insert(port.value) {
                "another port of the same group"
            } else {
                continue;
            };
            return Err(collision(port, taken_by));
        }
    }
    Ok(taken)
}

fn collision(port: &Port, taken_by: &str) -> Lack {
    let Port { label, value, .. } = port;
    Lack {
        dimension: format!("network: reserved port collision {label}={value}"),
        detail: format!("port {value} (\"{label}\") is taken by {taken_by}"),
    }
}

struct Dynamic<'a> {
    node: &'a Node,
    usage: &'a Usage,
    start: u64,
    taken: BTreeSet<u16>,
}

impl Dynamic<'_> {
    fn fill(&mut self, network: &Network) -> Result<Network, Lack> {
        let mut network = network.clone();
        network.ip.clone_from(&self.node.address);
        if network.device.is_empty()
            && let Some(device) = self.node.attributes.get("unique.network.interface")
        {
            network.device.clone_from(device);
        }
        for port in &mut network.dynamic_ports {
            port.value = self.next().ok_or_else(|| Lack {
                dimension: "network: dynamic port selection failed".to_owned(),
                detail: format!(
                    "all ports from {} to {} are taken",
                    DYNAMIC_PORTS.start(),
                    DYNAMIC_PORTS.end()
                ),
            })?;
        }
        Ok(network)
    }

    /// The next free port from a random start, so that one just given up isn't reused at once.
    fn next(&mut self) -> Option<u16> {
        let width = u64::from(DYNAMIC_PORTS.end() - DYNAMIC_PORTS.start()) + 1;
        let free = (0..width)
            .map(|step| self.start.wrapping_add(step) % width)
            .filter_map(|offset| u16::try_from(offset).ok())
            .map(|offset| DYNAMIC_PORTS.start() + offset)
            .find(|port| {
                !self.taken.contains(port)
                    && !self.usage.ports.contains_key(port)
                    && !self.node.used_ports.contains(port)
            })?;
        self.taken.insert(free);
        self.start = self
            .start
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(1);
        Some(free)
    }
}
