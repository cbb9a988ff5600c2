//! What all allocations, tasks and checks of a node share.

use std::sync::Arc;

use actix::Addr;
use logic::model::Node;
use ports::World;

use super::probe::Prober;
use crate::catalog::Catalog;

#[derive(Clone)]
pub(super) struct Here {
    pub(super) world: World,
    /// As it was when what runs on it began.
    pub(super) node: Arc<Node>,
    pub(super) catalog: Addr<Catalog>,
    pub(super) prober: Prober,
}
