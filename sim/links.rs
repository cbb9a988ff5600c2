//! Which machines' messages reach which.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sight::Sight;

/// How long messages take on the connections of a machine that loses some.
const RESENT_WITHIN: Duration = Duration::from_millis(400);

/// The state of every link. Links have a direction each way.
pub(crate) struct Links {
    names: BTreeSet<String>,
    /// The longest a message takes on a link without trouble.
    slowest: Duration,
    cut: BTreeSet<(String, String)>,
    held: BTreeSet<(String, String)>,
    slow: BTreeSet<(String, String)>,
    /// Machines without power.
    dark: BTreeSet<String>,
    /// What turmoil has been told so far.
    blocked: BTreeSet<(String, String)>,
}

fn sorted(a: &str, b: &str) -> (String, String) {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    (a.to_owned(), b.to_owned())
}

impl Links {
    pub(crate) fn new(names: BTreeSet<String>, slowest: Duration) -> Self {
        Self {
            names,
            slowest,
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            slow: BTreeSet::new(),
            dark: BTreeSet::new(),
            blocked: BTreeSet::new(),
        }
    }

    pub(crate) fn cut(&mut self, from: &[String], to: &[String]) {
        for (from, to) in from.iter().flat_map(|a| to.iter().map(move |b| (a, b))) {
            if from != to {
                self.cut.insert((from.clone(), to.clone()));
            }
        }
    }

    pub(crate) fn power(&mut self, host: &str, on: bool) {
        if on {
            self.dark.remove(host);
        } else {
            self.dark.insert(host.to_owned());
        }
    }

    pub(crate) fn hold(&mut self, sim: &turmoil::Sim<'_>, a: &str, b: &str) {
        if a != b && self.held.insert(sorted(a, b)) {
            sim.hold(a, b);
        }
    }

    pub(crate) fn slow(&mut self, sim: &turmoil::Sim<'_>, a: &str, b: &str, up_to: Duration) {
        if a != b {
            sim.set_link_max_message_latency(a, b, up_to.max(self.slowest));
            self.slow.insert(sorted(a, b));
        }
    }

    /// The links of a machine that loses segments, and whose peers send them again.
    pub(crate) fn lossy(&mut self, sim: &turmoil::Sim<'_>, host: &str) {
        for other in self.names.clone() {
            self.slow(sim, host, &other, RESENT_WITHIN);
        }
    }

    /// Everything works again. Connections that may have lost something are reset.
    pub(crate) fn heal(&mut self, sim: &turmoil::Sim<'_>, sight: &Sight) {
        for (from, to) in std::mem::take(&mut self.cut) {
            for (host, peer) in [(&from, &to), (&to, &from)] {
                if let Ok(machine) = sight.machine(host) {
                    machine.sever(sim.lookup(peer.as_str()));
                }
            }
        }
        for (a, b) in std::mem::take(&mut self.held) {
            sim.release(a.as_str(), b.as_str());
            // Released links are whole ones: what is still to be blocked has to be told anew.
            self.blocked.remove(&(a.clone(), b.clone()));
            self.blocked.remove(&(b, a));
        }
        for (a, b) in std::mem::take(&mut self.slow) {
            sim.set_link_max_message_latency(a, b, self.slowest);
        }
    }

    /// Tells turmoil what has changed.
    pub(crate) fn apply(&mut self, sim: &turmoil::Sim<'_>) {
        let mut blocked = self.cut.clone();
        for host in &self.dark {
            for other in self.names.iter().filter(|other| *other != host) {
                blocked.insert((host.clone(), other.clone()));
                blocked.insert((other.clone(), host.clone()));
            }
        }
        for (from, to) in blocked.difference(&self.blocked) {
            sim.partition_oneway(from.as_str(), to.as_str());
        }
        for (from, to) in self.blocked.difference(&blocked) {
            sim.repair_oneway(from.as_str(), to.as_str());
        }
        self.blocked = blocked;
    }

    /// Whether messages pass both ways.
    pub(crate) fn connects(&self, a: &str, b: &str) -> bool {
        let pair = (a.to_owned(), b.to_owned());
        let back = (b.to_owned(), a.to_owned());
        a == b
            || !(self.blocked.contains(&pair)
                || self.blocked.contains(&back)
                || self.held.contains(&sorted(a, b)))
    }

    /// By host: those it exchanges messages with.
    pub(crate) fn peers<'a>(&self, hosts: &'a [String]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let peers = |host: &'a String| {
            let reached = hosts.iter().filter(|other| self.connects(host, other));
            (host.as_str(), reached.map(String::as_str).collect())
        };
        hosts.iter().map(peers).collect()
    }
}
