//! Networks and ports.

use std::collections::{BTreeMap, BTreeSet};

use super::{Path, Report};
use crate::model::{Network, Task, TaskGroup};

/// The ports of a group and of its tasks, which all end up on the same node.
pub(super) fn group(report: &mut Report, path: &Path, group: &TaskGroup) {
    let mut reserved = BTreeMap::new();
    let mut shared = BTreeSet::new();
    networks(
        report,
        &path.field("Networks"),
        &group.networks,
        &mut shared,
        &mut reserved,
    );
    for (index, task) in group.tasks.iter().enumerate() {
        let path = path.field("Tasks").index(index).field("Resources");
        let mut labels = shared.clone();
        let list = &task.resources.networks;
        networks(
            report,
            &path.field("Networks"),
            list,
            &mut labels,
            &mut reserved,
        );
    }
}

fn networks<'a>(
    report: &mut Report,
    path: &Path,
    networks: &'a [Network],
    labels: &mut BTreeSet<&'a str>,
    reserved: &mut BTreeMap<u16, &'a str>,
) {
    if networks.len() > 1 {
        report.add(path.index(1), "more than one network isn't supported yet");
    }
    for (index, network) in networks.iter().enumerate() {
        let path = path.index(index);
        mode(report, path.field("Mode"), &network.mode);
        report.at_least(path.field("MBits"), "mbits", network.mbits, 0);
        for (list, ports) in [
            ("ReservedPorts", &network.reserved_ports),
            ("DynamicPorts", &network.dynamic_ports),
        ] {
            for (index, port) in ports.iter().enumerate() {
                let path = path.field(list).index(index);
                label(report, path.field("Label"), &port.label);
                if !labels.insert(port.label.as_str()) {
                    let message = format!("port `{}` is defined more than once", port.label);
                    report.add(path.field("Label"), message);
                }
            }
        }
        for (index, port) in network.reserved_ports.iter().enumerate() {
            let path = path.field("ReservedPorts").index(index).field("Value");
            if port.value == 0 {
                report.add(path, "a static port must be from 1 to 65535");
            } else if let Some(other) = reserved.insert(port.value, port.label.as_str()) {
                let message = format!("static port {} is already port `{other}`", port.value);
                report.add(path, message);
            }
        }
    }
}

fn mode(report: &mut Report, path: Path, mode: &str) {
    if mode.starts_with("cni/") || matches!(mode, "bridge" | "none") {
        let hint = "leave out `mode`: a container gets a network of its own anyway";
        let message = format!("network mode `{mode}` isn't supported yet");
        return report.add_with(path, message, Some(hint.to_owned()));
    }
    report.one_of(path, "network mode", mode, &["", "host"], &[]);
}

/// Labels become part of the names of environment variables.
fn label(report: &mut Report, path: Path, label: &str) {
    let is_word = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if label.is_empty() || !is_word {
        let message = format!(
            "port label `{}` must consist of letters, digits and `_`",
            label.escape_debug()
        );
        report.add(path, message);
    }
}

/// All port labels that `task` (or, without one, a group's service) can refer to.
pub(super) fn labels<'a>(group: &'a TaskGroup, task: Option<&'a Task>) -> Vec<&'a str> {
    let own = task.into_iter().flat_map(|task| &task.resources.networks);
    own.chain(&group.networks)
        .flat_map(Network::ports)
        .map(|port| port.label.as_str())
        .collect()
}
