//! The actor that keeps the routing table: a new catalog makes a new table, swapped in whole.
//!
//! Requests in flight keep the table they began with; no request ever waits for the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwap;
use futures_util::stream;
use logic::catalog::{Instance, View};
use logic::model::{CHECK_CRITICAL, SERF_HEALTH};
use logic::routes::{Rejected, Row, Table};

use crate::published::Subscriber;

/// Tells the routes there are, in the order of `/api/routes`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Row>")]
pub struct DescribeRoutes;

#[derive(Message)]
#[rtype(result = "()")]
struct CatalogChanged(Arc<View>);

/// Addresses of the instances whose nodes can't be reached, as targets write them. An instance
/// that was withdrawn, such as one that ends its last requests, isn't among them.
pub(super) type Lost = Arc<ArcSwap<BTreeSet<String>>>;

pub struct RouteTable {
    prefix: String,
    view: Subscriber<Arc<View>>,
    table: Arc<ArcSwap<Table>>,
    lost: Lost,
    /// Tags already complained about; one that was mended and broken again is told again.
    told: BTreeSet<Rejected>,
}

impl RouteTable {
    /// The table is filled from the start with what the catalog holds.
    pub fn new(mut view: Subscriber<Arc<View>>, prefix: &str) -> Self {
        let first = view.borrow_and_update().clone();
        let mut routes = Self {
            prefix: prefix.to_owned(),
            view,
            table: Arc::default(),
            lost: Lost::default(),
            told: BTreeSet::new(),
        };
        routes.rebuild(&first);
        routes
    }

    /// Always the newest table; shared by everyone who routes.
    pub fn table(&self) -> Arc<ArcSwap<Table>> {
        self.table.clone()
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.clone()
    }

    fn rebuild(&mut self, view: &View) {
        let lost = lost(view);
        if **self.lost.load() != lost {
            self.lost.store(Arc::new(lost));
        }
        let table = Table::new(view, &self.prefix);
        self.complain(&table);
        let old = self.table.load_full();
        if *old == table {
            return;
        }
        log_changes(&old, &table);
        self.table.store(Arc::new(table));
    }

    fn complain(&mut self, table: &Table) {
        let rejected: BTreeSet<Rejected> = table.rejected().iter().cloned().collect();
        for Rejected {
            service,
            tag,
            reason,
        } in rejected.difference(&self.told)
        {
            tracing::warn!(service, tag, reason, "a tag is no route");
        }
        self.told = rejected;
    }
}

fn lost(view: &View) -> BTreeSet<String> {
    let (lost, others): (Vec<_>, Vec<_>) = view.services.values().flatten().partition(|instance| {
        let mut checks = instance.checks.iter();
        checks.any(|check| check.check_id == SERF_HEALTH && check.status == CHECK_CRITICAL)
    });
    let mut lost: BTreeSet<String> = lost.into_iter().map(address).collect();
    // Two nodes can have the same addresses, if those are the containers' own.
    for other in others {
        lost.remove(&address(other));
    }
    lost
}

fn address(instance: &Instance) -> String {
    let (host, port) = (instance.address(), instance.service.port);
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn log_changes(old: &Table, new: &Table) {
    let old: BTreeSet<String> = old.commands().into_iter().collect();
    let new: BTreeSet<String> = new.commands().into_iter().collect();
    for route in old.difference(&new) {
        tracing::info!(route, "route removed");
    }
    for route in new.difference(&old) {
        tracing::info!(route, "route added");
    }
}

impl Actor for RouteTable {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let changes = stream::unfold(self.view.clone(), |mut view| async move {
            view.changed().await.ok()?;
            let changed = view.borrow_and_update().clone();
            Some((CatalogChanged(changed), view))
        });
        ctx.add_message_stream(changes);
    }
}

impl Handler<CatalogChanged> for RouteTable {
    type Result = ();

    fn handle(&mut self, CatalogChanged(view): CatalogChanged, _: &mut Context<Self>) {
        self.rebuild(&view);
    }
}

impl Handler<DescribeRoutes> for RouteTable {
    type Result = MessageResult<DescribeRoutes>;

    fn handle(&mut self, _: DescribeRoutes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.table.load().rows())
    }
}
