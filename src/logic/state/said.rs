//! What nodes said last. An agent that gets no answer asks another server, while the first may
//! still hold what it was asked and apply it late: that must not bring back what was.
//!
//! Whatever a node says has a serial greater than that of all it said before. Each kind of saying
//! holds all that is new since the last one that was answered, so that none is missed.

use std::cmp::Ordering;

use super::{Applying, Reply, Store};
use crate::model::{AllocReport, CatalogChange};
use crate::table::Table;

/// Notes what a node says. Answered if it was said already, or something later was: then it
/// changes nothing. What has no serial (0) is always news.
fn known(said: &mut Table<String, u64>, node: &str, serial: u64) -> Option<Reply> {
    let last = said.get(node).map_or(0, |last| **last);
    match serial.cmp(&last) {
        _ if serial == 0 => None,
        Ordering::Less => Some(Reply::Superseded { serial: last }),
        Ordering::Equal => Some(Reply::Done),
        Ordering::Greater => {
            said.insert(node.to_owned(), serial);
            None
        }
    }
}

impl Store {
    pub(super) fn hear_offers(&mut self, change: CatalogChange, now: &mut Applying) -> Reply {
        if !self.catalog_nodes.contains(&change.node) {
            return Reply::Done;
        }
        if let Some(reply) = known(&mut self.catalog_said, &change.node, change.serial) {
            return reply;
        }
        self.change_catalog(change, now);
        Reply::Done
    }

    pub(super) fn hear_reports(
        &mut self,
        node_id: &str,
        serial: u64,
        reports: Vec<AllocReport>,
        now: &mut Applying,
    ) -> Reply {
        if !self.nodes.contains(node_id) {
            return Reply::Done;
        }
        if let Some(reply) = known(&mut self.allocs_said, node_id, serial) {
            return reply;
        }
        self.report_allocs(node_id, reports, now);
        Reply::Done
    }

    /// Nodes of which a serial is kept though there are none such.
    pub(crate) fn serials_of_nobody(&self) -> impl Iterator<Item = &str> {
        let in_catalog = self.catalog_said.iter().map(|(node, _)| node.as_str());
        let of_allocs = self.allocs_said.iter().map(|(node, _)| node.as_str());
        let unnamed = in_catalog.filter(|node| !self.catalog_nodes.contains(*node));
        unnamed.chain(of_allocs.filter(|node| !self.nodes.contains(*node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AllocReport, CHECK_PASSING, CLIENT_COMPLETE, CLIENT_PENDING, CLIENT_RUNNING, CatalogChange,
        Check, ServiceInstance,
    };
    use crate::schedule::tests::cluster::{Cluster, service};
    use crate::state::Command;

    fn offers(serial: u64, id: &str) -> Command {
        let change = CatalogChange {
            node: "n1".into(),
            serial,
            whole: true,
            services: vec![ServiceInstance {
                id: id.into(),
                ..ServiceInstance::default()
            }],
            checks: vec![Check {
                check_id: id.into(),
                service_id: id.into(),
                status: CHECK_PASSING.into(),
                ..Check::default()
            }],
            ..CatalogChange::default()
        };
        Command::ChangeCatalog { change }
    }

    fn offered(cluster: &Cluster) -> Vec<String> {
        cluster.store.services().map(|row| row.id.clone()).collect()
    }

    #[test]
    fn an_offer_that_comes_late_is_not_taken_for_news() {
        let mut cluster = Cluster::of(1);
        for (serial, id, reply, now) in [
            (7, "a", Reply::Done, "a"),
            (9, "b", Reply::Done, "b"),
            (8, "a", Reply::Superseded { serial: 9 }, "b"),
            (9, "a", Reply::Done, "b"),
            (10, "c", Reply::Done, "c"),
            (0, "d", Reply::Done, "d"),
        ] {
            let got = cluster.apply(offers(serial, id)).reply;
            assert_eq!(got, Ok(reply), "{serial}");
            assert_eq!(offered(&cluster), [now], "{serial}");
        }
        let restored = Store::restore(cluster.store.dump());
        assert_eq!(restored, cluster.store, "also after a restart");
    }

    #[test]
    fn a_report_that_comes_late_is_not_taken_for_news() {
        let mut cluster = Cluster::of(1);
        cluster.run(&service("web", 1));
        let alloc = cluster.store.allocs().next().expect("one").clone();
        for (serial, status, now) in [
            (4, CLIENT_RUNNING, CLIENT_RUNNING),
            (3, CLIENT_PENDING, CLIENT_RUNNING),
            (4, CLIENT_PENDING, CLIENT_RUNNING),
            (5, CLIENT_COMPLETE, CLIENT_COMPLETE),
        ] {
            let report = AllocReport {
                alloc_id: alloc.id.clone(),
                client_status: status.into(),
                ..AllocReport::default()
            };
            cluster.apply(Command::ReportAllocs {
                node_id: alloc.node_id.clone(),
                serial,
                reports: vec![report],
            });
            let now_is = cluster
                .store
                .alloc(&alloc.id)
                .expect("it")
                .client_status
                .clone();
            assert_eq!(now_is, now, "{serial} {status}");
        }
        let restored = Store::restore(cluster.store.dump());
        assert_eq!(restored, cluster.store, "also after a restart");
    }
}
