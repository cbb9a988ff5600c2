//! Which machines have no reason to be in trouble.

use std::collections::{BTreeMap, BTreeSet};

/// Who reaches whom, among the agents that run.
pub(super) struct Reach<'a> {
    /// Both ways.
    pub(super) peers: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Agents that run, on machines that do.
    pub(super) up: BTreeSet<&'a str>,
    pub(super) servers: &'a [String],
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// A majority of servers reach each other.
    pub(super) quorum: bool,
    /// Machines that reach the whole of such a majority.
    pub(super) connected: BTreeSet<String>,
}

impl Reach<'_> {
    fn all_reach(&self, host: &str, group: &[&str]) -> bool {
        let peers = self.peers.get(host);
        group
            .iter()
            .all(|other| *other == host || peers.is_some_and(|peers| peers.contains(other)))
    }

    /// Every majority of running servers that all reach each other.
    fn majorities(&self) -> Vec<Vec<&str>> {
        let up: Vec<&str> = self
            .servers
            .iter()
            .map(String::as_str)
            .filter(|server| self.up.contains(server))
            .collect();
        let group = |set: u32| -> Vec<&str> {
            let chosen = up.iter().enumerate();
            let chosen = chosen.filter(|(number, _)| set >> number & 1 == 1);
            chosen.map(|(_, server)| *server).collect()
        };
        (0..1u32 << up.len())
            .map(group)
            .filter(|group| group.len() * 2 > self.servers.len())
            .filter(|group| group.iter().all(|server| self.all_reach(server, group)))
            .collect()
    }

    pub(super) fn health(&self) -> Health {
        let majorities = self.majorities();
        let connected = self.peers.keys().filter(|host| {
            let reaches = |group: &Vec<&str>| self.all_reach(host, group);
            majorities.iter().any(reaches)
        });
        Health {
            quorum: !majorities.is_empty(),
            connected: connected.map(|host| (*host).to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 4] = ["c", "s1", "s2", "s3"];

    fn health(up: &[&str], cut: &[(&str, &str)]) -> Health {
        let servers = ["s1", "s2", "s3"].map(str::to_owned);
        let reaches = |a: &str, b: &str| {
            !cut.iter()
                .any(|(from, to)| (*from, *to) == (a, b) || (*to, *from) == (a, b))
        };
        let reach = Reach {
            peers: HOSTS
                .iter()
                .map(|host| {
                    let peers = HOSTS.iter().filter(|other| reaches(host, other));
                    (*host, peers.copied().collect())
                })
                .collect(),
            up: up.iter().copied().collect(),
            servers: &servers,
        };
        reach.health()
    }

    #[test]
    fn a_machine_is_connected_if_it_reaches_a_whole_majority() {
        let whole = health(&HOSTS, &[]);
        assert!(whole.quorum && whole.connected.len() == 4);
        let one_away = health(&HOSTS, &[("s1", "s2"), ("s1", "s3"), ("s1", "c")]);
        assert!(one_away.quorum && one_away.connected.contains("c"));
        assert!(!one_away.connected.contains("s1"));
        let cut = health(&HOSTS, &[("c", "s2"), ("c", "s3")]);
        assert!(cut.quorum && !cut.connected.contains("c"));
        assert!(!health(&["c", "s3"], &[]).quorum);
    }
}
