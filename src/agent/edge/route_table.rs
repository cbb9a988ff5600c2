//! The actor that keeps the routing table: a new catalog makes a new table, swapped in whole.
//!
//! Requests in flight keep the table they began with; no request ever waits for the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwap;
use futures_util::stream;
use logic::address;
use logic::catalog::{Instance, View};
use logic::model::{CHECK_CRITICAL, SERF_HEALTH};
use logic::routes::{BadLine, Overrides, Rejected, Row, Rules, Table};

use super::Source;
use crate::published::Subscriber;

/// Tells the routes there are, in the order of `/api/routes`.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Row>")]
pub struct DescribeRoutes;

#[derive(Message)]
#[rtype(result = "()")]
struct CatalogChanged(Arc<View>);

#[derive(Message)]
#[rtype(result = "()")]
struct OverridesChanged(Arc<Overrides>);

/// Addresses of the instances whose nodes can't be reached, as targets write them. An instance
/// that was withdrawn, such as one that ends its last requests, isn't among them.
pub(super) type Lost = Arc<ArcSwap<BTreeSet<String>>>;

pub struct RouteTable {
    rules: Rules,
    view: Subscriber<Arc<View>>,
    overrides: Subscriber<Arc<Overrides>>,
    table: Arc<ArcSwap<Table>>,
    lost: Lost,
    /// Tags already complained about; one that was mended and broken again is told again.
    told: BTreeSet<Rejected>,
    told_lines: BTreeSet<BadLine>,
}

impl RouteTable {
    /// The table is filled from the start with what the catalog holds.
    pub(super) fn new(source: Source) -> Self {
        let mut routes = Self {
            rules: source.rules,
            view: source.view,
            overrides: source.overrides,
            table: Arc::default(),
            lost: Lost::default(),
            told: BTreeSet::new(),
            told_lines: BTreeSet::new(),
        };
        let first = routes.view.borrow_and_update().clone();
        let overrides = routes.overrides.borrow_and_update().clone();
        routes.rebuild(&first, &overrides);
        routes
    }

    /// Always the newest table; shared by everyone who routes.
    pub fn table(&self) -> Arc<ArcSwap<Table>> {
        self.table.clone()
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.clone()
    }

    fn rebuild(&mut self, view: &View, overrides: &Overrides) {
        let lost = lost(view);
        if **self.lost.load() != lost {
            self.lost.store(Arc::new(lost));
        }
        let table = Table::build(view, &self.rules, overrides);
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
        let bad: BTreeSet<BadLine> = table.bad_lines().iter().cloned().collect();
        for BadLine {
            number,
            line,
            reason,
        } in bad.difference(&self.told_lines)
        {
            tracing::warn!(
                number,
                line,
                reason,
                "a line of the overrides is no route command"
            );
        }
        self.told_lines = bad;
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
    address::join(instance.address(), instance.service.port)
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
        let changes = stream::unfold(self.overrides.clone(), |mut overrides| async move {
            overrides.changed().await.ok()?;
            let new = overrides.borrow_and_update().clone();
            Some((OverridesChanged(new), overrides))
        });
        ctx.add_message_stream(changes);
    }
}

impl Handler<CatalogChanged> for RouteTable {
    type Result = ();

    fn handle(&mut self, CatalogChanged(view): CatalogChanged, _: &mut Context<Self>) {
        let overrides = self.overrides.borrow().clone();
        self.rebuild(&view, &overrides);
    }
}

impl Handler<OverridesChanged> for RouteTable {
    type Result = ();

    fn handle(&mut self, OverridesChanged(overrides): OverridesChanged, _: &mut Context<Self>) {
        let view = self.view.borrow().clone();
        self.rebuild(&view, &overrides);
    }
}

impl Handler<DescribeRoutes> for RouteTable {
    type Result = MessageResult<DescribeRoutes>;

    fn handle(&mut self, _: DescribeRoutes, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.table.load().rows())
    }
}
